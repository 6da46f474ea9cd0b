//! Putting the log together from its segments, in their order; steps 2 to 5 of the [reader's
//! algorithm](super::recovery).

use std::ops::Range;
use std::sync::Arc;

use super::DamagedRange;
use super::append::{Active, Writer};
use super::encode::Placed;
use super::headers::{leave_out_unseen, restore_headers};
use super::map::{Map, Slot};
use super::recovery::SegmentFile;
use super::scan::{Found, Scan, scan};
use crate::backend::BackendFile;
use crate::error::Error;
use crate::record::HEADER_BYTES;
use crate::segment::{RECORDS_AT, SegmentHeader, segment_name};

/// Damaged files are read in pieces of this many bytes, so that one bad sector hides no more than that.
const BLOCK_BYTES: usize = 4096;
/// A log that misses more entries than this in all is refused: each takes memory. Even without payloads, they were
/// 192 MiB of log.
const MAX_MISSING: u64 = 1 << 22;

/// The log as its files tell it.
pub(super) struct Assembled {
    pub map: Map,
    pub writer: Writer,
    pub durable: u64,
    pub torn_bytes: u64,
    /// Files that do not count.
    pub obsolete: Vec<String>,
    /// The file and offset at which the last segment that counts is damaged to its end.
    damaged_tail: Option<(String, u32)>,
    /// How many entries are missing before the first record of a segment.
    missing: u64,
}

/// What the log is put together for.
pub(super) enum Reading<'a> {
    /// To go on with it: torn ends are cut off, and what counts is made durable.
    ToWrite,
    /// To look at it: nothing is changed, and every segment is shown with what is judged of it.
    ToShow(&'a mut dyn FnMut(Judged<'_>)),
}

/// A segment that counts, as it was judged.
pub(super) struct Judged<'a> {
    pub name: &'a str,
    pub header: &'a SegmentHeader,
    /// Whether both copies of its header are damaged, and this one was made up.
    pub restored: bool,
    /// The file; zeros where it could not be read.
    pub bytes: &'a [u8],
    /// Where it could not be read.
    pub unreadable: &'a [Range<usize>],
    /// What is in it, without what is torn.
    pub found: &'a [Found],
    /// Where a write was torn.
    pub cut: Option<u32>,
    /// Where its durable records ended at least; a segment whose records end before that is damaged.
    pub durable_end: u32,
}

/// Puts the log together from `segments`, which are in ascending order. `first` is the number of the first one that
/// counts, and `known` a position up to which the log was durable.
pub(super) fn assemble(
    mut segments: Vec<SegmentFile>,
    first: u64,
    salt: u64,
    known: u64,
    reading: &mut Reading<'_>,
) -> Result<Assembled, Error> {
    restore_headers(&mut segments, salt)?;
    leave_out_unseen(&mut segments);
    let start = segments
        .iter()
        .rposition(|s| s.header.is_some_and(|header| header.start))
        .unwrap_or(0);
    let counting = segments.split_off(start);
    let mut log = Assembled {
        map: Map::default(),
        writer: Writer {
            next_number: 1,
            ..Writer::default()
        },
        durable: known,
        torn_bytes: 0,
        obsolete: segments.into_iter().map(|segment| segment.name).collect(),
        damaged_tail: None,
        missing: 0,
    };
    let started = counting
        .first()
        .is_some_and(|s| s.header.is_some_and(|header| header.start));
    let first = match counting.first() {
        Some(segment) if started => segment.number,
        _ => first,
    };
    let mut lost = Lost {
        count: 0,
        expected: first.max(1),
        name: String::new(),
        before: None,
    };
    let mut rest = counting.into_iter().peekable();
    while let Some(segment) = rest.next() {
        if lost.count == 0 {
            lost.before = log.map.newest().map(|newest| newest.header);
        }
        lost.pass_to(segment.number);
        log.writer.next_number = segment.number + 1;
        let Some(header) = segment.header else {
            let len = segment
                .file
                .len()
                .map_err(|e| Error::at("read", &segment.name, e))?;
            log.writer.next_position += len;
            lost.add(segment.name);
            continue;
        };
        if header.repair {
            if lost.is_older_than(&header) {
                lost.count = 0;
            }
            // What was lost otherwise before a repair cannot be told from the segment after it.
            lost.count += u64::from(lost.count > 0);
            log.add_repair(segment, header, reading);
            continue;
        }
        let next = rest
            .peek()
            .and_then(|next| next.header.filter(|next| next.number == segment.number + 1));
        let newest = rest.peek().is_none();
        let place = (next, newest);
        log.add(segment, header, place, &mut lost, reading)?;
    }
    let lost_end = (lost.count > 0).then_some((lost.name, 0));
    if let Some((file, offset)) = lost_end.or(log.damaged_tail.take()) {
        // The log's end is lost. How many entries it held, and whether they superseded others, nobody knows.
        let first = log.map.last_index() + 1;
        log.map.note_damage(DamagedRange {
            file,
            offset: u64::from(offset),
            first,
            last: None,
            term: None,
        });
        log.writer.active = None;
    }
    log.writer.next_position = log.writer.next_position.max(log.durable);
    Ok(log)
}

/// Segments that are missing, or unreadable, since the last good one.
struct Lost {
    count: u64,
    expected: u64,
    name: String,
    /// The last good one.
    before: Option<SegmentHeader>,
}

impl Lost {
    fn pass_to(&mut self, number: u64) {
        if number > self.expected {
            self.count += number - self.expected;
            self.name = segment_name(self.expected);
        }
        self.expected = number + 1;
    }

    fn add(&mut self, name: String) {
        self.count += 1;
        self.name = name;
    }

    /// Whether the segments were lost before the one of `header` was made: then, to whoever made it, the log ended in
    /// the last good one. What the log showed then was what it went on from, and nothing of it is in doubt now.
    fn is_older_than(&self, header: &SegmentHeader) -> bool {
        self.before.is_some_and(|before| {
            let records = before.position + u64::from(RECORDS_AT);
            let end = before.position + u64::from(before.file_len);
            (records..=end).contains(&header.prev_end)
        })
    }
}

impl Assembled {
    fn add(
        &mut self,
        segment: SegmentFile,
        header: SegmentHeader,
        (next, newest): (Option<SegmentHeader>, bool),
        lost: &mut Lost,
        reading: &mut Reading<'_>,
    ) -> Result<(), Error> {
        let SegmentFile {
            name,
            file,
            restored,
            ..
        } = segment;
        let (bytes, unreadable) = read_all(&*file, header.file_len);
        let Scan { mut found, durable } = scan(&header, &bytes);
        // But for one that the log starts with, a segment had a durable record before it had its name.
        let first_record =
            u64::from(RECORDS_AT) + u64::from(HEADER_BYTES) * u64::from(!header.start);
        let begun = header.position + first_record;
        self.durable = self
            .durable
            .max(durable)
            .max(begun)
            .max(next.map_or(0, |next| next.prev_end));
        let durable_end = match next {
            Some(next) => next.prev_end.max(begun),
            None if newest => self.durable,
            None => begun,
        };
        let cut = if newest {
            cut_of(&header, &found, self.durable)
        } else {
            None
        };
        if let Some(cut) = cut {
            let torn_from = found
                .iter()
                .position(|f| f.offset >= cut)
                .unwrap_or(found.len());
            let torn = found.split_off(torn_from);
            let wipe_to = torn.last().map_or(cut, |last| last.end);
            self.torn_bytes += u64::from(wipe_to - cut);
            if matches!(reading, Reading::ToWrite) {
                wipe(&name, &*file, cut, wipe_to)?;
            }
        }
        if let Reading::ToShow(show) = reading {
            let durable_end = durable_end.saturating_sub(header.position);
            show(Judged {
                name: &name,
                header: &header,
                restored,
                bytes: &bytes,
                unreadable: &unreadable,
                found: &found,
                cut,
                durable_end: u32::try_from(durable_end).unwrap_or(header.file_len),
            });
        }
        self.reach(&header, lost)?;
        self.map
            .push_segment(header, name.clone(), Arc::clone(&file));
        let (mut offset, mut link) = (RECORDS_AT, header.link);
        for record in &found {
            if record.header.index > self.map.last_index() + 1 {
                self.map.push_damaged(
                    name.clone(),
                    offset,
                    record.header.index - 1,
                    known(record.header.prev_term),
                );
            }
            if record.payload_ok {
                self.map.push_entry(
                    record.header.term,
                    Slot::good(record.offset, record.header.len),
                );
            } else {
                self.map.push_damaged(
                    name.clone(),
                    record.offset,
                    record.header.index,
                    known(record.header.term),
                );
            }
            (offset, link) = (record.end, record.checksum);
        }
        let end = header.position + u64::from(offset);
        self.damaged_tail = (durable_end > end).then(|| (name.clone(), offset));
        if newest && self.damaged_tail.is_none() && matches!(reading, Reading::ToWrite) {
            self.make_durable(&name, &*file, &header, &bytes, offset)?;
        }
        self.writer.next_number = header.number + 1;
        self.writer.next_position = header.position + u64::from(header.file_len);
        self.writer.end = end.max(durable_end);
        self.writer.link = link;
        self.writer.newest_first = header.prev_index + 1;
        self.writer.active = Some(Active {
            number: header.number,
            name,
            file,
            position: header.position,
            file_len: header.file_len,
            end: offset,
            next_index: self.map.last_index() + 1,
        });
        Ok(())
    }

    /// Takes in a segment of records that stand for damaged ones. It was complete before it had its name; what is
    /// wrong with it now is damage, and leaves what it repaired as damaged as it was.
    fn add_repair(
        &mut self,
        segment: SegmentFile,
        header: SegmentHeader,
        reading: &mut Reading<'_>,
    ) {
        let (bytes, unreadable) = read_all(&*segment.file, header.file_len);
        let Scan { found, durable } = scan(&header, &bytes);
        let (end, link) = found
            .last()
            .map_or((RECORDS_AT, header.link), |last| (last.end, last.checksum));
        self.durable = self
            .durable
            .max(durable)
            .max(header.position + u64::from(end));
        if let Reading::ToShow(show) = reading {
            show(Judged {
                name: &segment.name,
                header: &header,
                restored: false,
                bytes: &bytes,
                unreadable: &unreadable,
                found: &found,
                cut: None,
                durable_end: end,
            });
        }
        self.map.push_segment(header, segment.name, segment.file);
        for Found {
            offset,
            header: record,
            payload_ok,
            ..
        } in found
        {
            if payload_ok && record.repair && self.map.is_damaged(record.index) {
                let (index, term, len) = (record.index, record.term, record.len);
                self.map.repair(&Placed {
                    index,
                    term,
                    offset,
                    len,
                });
            }
        }
        self.writer.next_position = header.position + u64::from(header.file_len);
        self.writer.end = header.position + u64::from(end);
        self.writer.link = link;
        self.writer.newest_first = self.map.last_index() + 1;
        self.writer.active = None;
    }

    /// Brings the log to the entry before the first of a segment that counts: supersedes what comes after, and marks
    /// what is missing as damaged.
    fn reach(&mut self, header: &SegmentHeader, lost: &mut Lost) -> Result<(), Error> {
        if lost.is_older_than(header) {
            lost.count = 0;
            // What is missing after all was in the last good one.
            lost.name = lost
                .before
                .map_or_else(String::new, |s| segment_name(s.number));
        }
        let (lost_count, name) = (
            std::mem::take(&mut lost.count),
            std::mem::take(&mut lost.name),
        );
        if self.map.oldest().is_none() {
            self.map.set_base((header.prev_index, header.prev_term));
            let first = header.prev_first.max(1);
            if lost_count > 0 && first <= header.prev_index {
                let last = Some(header.prev_index);
                let term = known(header.prev_term);
                self.map.note_damage(DamagedRange {
                    file: name,
                    offset: 0,
                    first,
                    last,
                    term,
                });
            }
            return Ok(());
        }
        match lost_count {
            0 => {}
            // The one lost segment superseded everything from its first entry on.
            1 => self
                .map
                .supersede(header.prev_first.max(self.map.first_index())),
            // Several may have superseded anything.
            _ => self.map.supersede(self.map.first_index()),
        }
        self.map.supersede(header.prev_index + 1);
        if self.map.last_index() < header.prev_index {
            self.missing += header.prev_index - self.map.last_index();
            if self.missing > MAX_MISSING {
                return Err(Error::Damaged {
                    file: segment_name(header.number),
                    offset: 0,
                    index: Some(header.prev_index),
                    term: known(header.prev_term),
                });
            }
            let (file, offset) = match self.damaged_tail.take() {
                Some(tail) if lost_count == 0 => tail,
                _ => (name, 0),
            };
            self.map
                .push_damaged(file, offset, header.prev_index, known(header.prev_term));
        }
        Ok(())
    }

    /// Makes sure that the records of the newest segment are on the disk, and not only in the system's memory since
    /// before the process died. They are written again, because a sync that failed before the restart may have left
    /// them in memory only, and marked as written.
    fn make_durable(
        &mut self,
        name: &str,
        file: &dyn BackendFile,
        header: &SegmentHeader,
        bytes: &[u8],
        end: u32,
    ) -> Result<(), Error> {
        let from = self
            .durable
            .saturating_sub(header.position)
            .max(u64::from(RECORDS_AT));
        let end = u64::from(end);
        let range =
            usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        if let Some(unsure) = bytes.get(range).filter(|unsure| !unsure.is_empty()) {
            file.write_at(from, unsure)
                .map_err(|e| Error::at("write", name, e))?;
        }
        file.sync().map_err(|e| Error::at("sync", name, e))?;
        self.durable = self.durable.max(header.position + end);
        Ok(())
    }
}

/// Wipes the torn end of the newest segment. Records behind the tear that happen to be whole must not come back once
/// what is written next reaches them.
fn wipe(name: &str, file: &dyn BackendFile, from: u32, to: u32) -> Result<(), Error> {
    let zeros = vec![0; (to - from) as usize];
    if zeros.is_empty() {
        return Ok(());
    }
    file.write_at(u64::from(from), &zeros)
        .and_then(|()| file.sync())
        .map_err(|e| Error::at("cut off the torn end of", name, e))
}

fn known(term: u64) -> Option<u64> {
    Some(term).filter(|term| *term != 0)
}

/// Where the newest segment has to be cut: at the first thing that is wrong and was not known to be durable.
fn cut_of(header: &SegmentHeader, found: &[Found], durable: u64) -> Option<u32> {
    let torn = |offset: u32| header.position + u64::from(offset) >= durable;
    let mut offset = RECORDS_AT;
    for record in found {
        if record.offset > offset && torn(offset) {
            return Some(offset);
        }
        if !record.payload_ok && torn(record.offset) {
            return Some(record.offset);
        }
        offset = record.end;
    }
    torn(offset).then_some(offset)
}

/// The whole file; what cannot be read is zeros, and named.
fn read_all(file: &dyn BackendFile, file_len: u32) -> (Vec<u8>, Vec<Range<usize>>) {
    // A file that is shorter than it should be takes no more memory than it has bytes.
    let len = file.len().map_or(file_len, |len| {
        u32::try_from(len).map_or(file_len, |len| len.min(file_len))
    });
    let mut bytes = vec![0; len as usize];
    let mut unreadable = Vec::new();
    match file.read_at(0, &mut bytes) {
        Ok(len) => bytes.truncate(len),
        Err(_) => {
            for (block, at) in bytes
                .chunks_mut(BLOCK_BYTES)
                .zip((0..).step_by(BLOCK_BYTES))
            {
                if file.read_at(at as u64, block).is_err() {
                    block.fill(0);
                    unreadable.push(at..at + block.len());
                }
            }
        }
    }
    (bytes, unreadable)
}
