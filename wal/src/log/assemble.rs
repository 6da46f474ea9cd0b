//! Putting the log together from its segments, in their order; steps 2 to 5 of the [reader's
//! algorithm](super::recovery).

use std::sync::Arc;

use super::DamagedRange;
use super::append::{Active, Writer};
use super::encode::Placed;
use super::map::{Map, Slot};
use super::recovery::SegmentFile;
use super::scan::{Found, Scan, scan};
use crate::backend::BackendFile;
use crate::error::Error;
use crate::record::{HEADER_BYTES, Place, RecordHeader};
use crate::segment::{MAX_FILE_BYTES, RECORDS_AT, SegmentHeader, segment_name};

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

/// Puts the log together from `segments`, which are in ascending order. `first` is the number of the first one that
/// counts, and `known` a position up to which the log was durable.
pub(super) fn assemble(
    mut segments: Vec<SegmentFile>,
    first: u64,
    salt: u64,
    known: u64,
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
            log.add_repair(segment, header);
            continue;
        }
        let next = rest
            .peek()
            .and_then(|next| next.header.filter(|next| next.number == segment.number + 1));
        let newest = rest.peek().is_none();
        log.add(segment, header, next, newest, &mut lost)?;
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

/// Takes the headers off segments that begin where, to whoever made the next good one, the log had ended already: they
/// were lost then, and stay so although the next one may have helped to make up a header for them.
fn leave_out_unseen(segments: &mut [SegmentFile]) {
    let mut end = None;
    for segment in segments.iter_mut().rev() {
        segment.header = segment
            .header
            .filter(|header| end.is_none_or(|end| header.position < end));
        if let Some(header) = segment.header {
            // A header that was made up without the one before does not know.
            end = Some(header.prev_end).filter(|end| *end != 0);
        }
    }
}

/// Makes up the header of a segment that lost it, from the segments beside it and its first record.
fn restore_headers(segments: &mut [SegmentFile], salt: u64) -> Result<(), Error> {
    let mut before: Option<SegmentHeader> = None;
    let after: Vec<_> = segments
        .iter()
        .skip(1)
        .map(|s| s.header)
        .chain([None])
        .collect();
    for (segment, after) in segments.iter_mut().zip(after) {
        // A segment of another log has no business here.
        segment.header = segment.header.filter(|header| header.salt == salt);
        if segment.header.is_none() {
            segment.header = restore_header(segment, before, after, salt)?;
        }
        before = segment.header;
    }
    Ok(())
}

fn restore_header(
    segment: &SegmentFile,
    before: Option<SegmentHeader>,
    after: Option<SegmentHeader>,
    salt: u64,
) -> Result<Option<SegmentHeader>, Error> {
    let len = segment
        .file
        .len()
        .map_err(|e| Error::at("read", &segment.name, e))?;
    let Some(file_len) = u32::try_from(len).ok().filter(|len| *len <= MAX_FILE_BYTES) else {
        return Ok(None);
    };
    let mut bytes = [0; HEADER_BYTES as usize];
    if segment
        .file
        .read_at(u64::from(RECORDS_AT), &mut bytes)
        .is_err()
    {
        return Ok(None);
    }
    let place = Place {
        salt,
        segment: segment.number,
        offset: RECORDS_AT,
    };
    let Some((record, _)) =
        RecordHeader::decode(place, &bytes).filter(|(record, _)| !record.repair)
    else {
        return Ok(None);
    };
    let before = before.filter(|before| before.number + 1 == segment.number);
    let after = after.filter(|after| after.number == segment.number + 1 && after.salt == salt);
    let position = match (before, after) {
        (Some(before), _) => before.position + u64::from(before.file_len),
        (None, Some(after)) => after.position.saturating_sub(len),
        (None, None) => return Ok(None),
    };
    Ok(Some(SegmentHeader {
        number: segment.number,
        position,
        file_len,
        salt,
        prev_index: record.index - 1,
        prev_term: record.prev_term,
        // At least there.
        prev_end: before.map_or(0, |before| before.position + u64::from(RECORDS_AT)),
        prev_first: before.map_or(0, |before| before.prev_index + 1),
        link: record.link,
        start: false,
        repair: false,
    }))
}

impl Assembled {
    fn add(
        &mut self,
        segment: SegmentFile,
        header: SegmentHeader,
        next: Option<SegmentHeader>,
        newest: bool,
        lost: &mut Lost,
    ) -> Result<(), Error> {
        let SegmentFile { name, file, .. } = segment;
        let bytes = read_all(&*file, header.file_len);
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
            self.cut_off(&name, &*file, cut, torn.last().map_or(cut, |last| last.end))?;
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
        if newest && self.damaged_tail.is_none() {
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
    fn add_repair(&mut self, segment: SegmentFile, header: SegmentHeader) {
        let bytes = read_all(&*segment.file, header.file_len);
        let Scan { found, durable } = scan(&header, &bytes);
        let (end, link) = found
            .last()
            .map_or((RECORDS_AT, header.link), |last| (last.end, last.checksum));
        self.durable = self
            .durable
            .max(durable)
            .max(header.position + u64::from(end));
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

    /// Takes the torn end off the newest segment. Records behind the tear that happen to be whole are wiped, so that
    /// they do not come back once what is written next reaches them.
    fn cut_off(
        &mut self,
        name: &str,
        file: &dyn BackendFile,
        cut: u32,
        wipe_to: u32,
    ) -> Result<(), Error> {
        self.torn_bytes += u64::from(wipe_to - cut);
        let wipe = vec![0; (wipe_to - cut) as usize];
        if !wipe.is_empty() {
            file.write_at(u64::from(cut), &wipe)
                .and_then(|()| file.sync())
                .map_err(|e| Error::at("cut off the torn end of", name, e))?;
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

/// The whole file as far as it can be read; what cannot be read is zeros.
fn read_all(file: &dyn BackendFile, file_len: u32) -> Vec<u8> {
    // A file that is shorter than it should be takes no more memory than it has bytes.
    let len = file.len().map_or(file_len, |len| {
        u32::try_from(len).map_or(file_len, |len| len.min(file_len))
    });
    let mut bytes = vec![0; len as usize];
    match file.read_at(0, &mut bytes) {
        Ok(len) => bytes.truncate(len),
        Err(_) => {
            for (block, at) in bytes
                .chunks_mut(BLOCK_BYTES)
                .zip((0u64..).step_by(BLOCK_BYTES))
            {
                if file.read_at(at, block).is_err() {
                    block.fill(0);
                }
            }
        }
    }
    bytes
}
