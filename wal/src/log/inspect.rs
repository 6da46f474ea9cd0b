//! The log's files as they are: everything that is in them, and every place that is not as it was written.
//!
//! Which records count, and where a torn write begins, is judged by [`assemble`], as when a log is opened. What is
//! added here is the walk over each segment that names the places and says what is wrong with them.

use super::assemble::{Judged, Reading, assemble};
use super::marks::{HINT, MARK, open_hint};
use super::recovery::{Directory, SegmentFile, known_durable};
use super::{DamagedRange, TermRun};
use crate::backend::Backend;
use crate::error::Error;
use crate::inspect::{Damage, LogReport, SegmentReport, SegmentState};
use crate::record::{HEADER_BYTES, Place, RecordHeader};
use crate::segment::{HEADER_COPIES_AT, RECORDS_AT, SegmentHeader, segment_name};

pub(crate) fn inspect(backend: &dyn Backend) -> Result<LogReport, Error> {
    let Directory {
        mark,
        first,
        segments,
        useless,
        salt,
        ..
    } = Directory::look(backend)?;
    let salt = salt.unwrap_or(0);
    let hint = open_hint(backend, salt)?;
    let known = known_durable(mark.as_ref(), hint.as_ref());
    let marks: Vec<_> = [MARK, HINT]
        .into_iter()
        .filter_map(|kind| crate::slot::inspect(backend, kind).transpose())
        .collect::<Result<_, _>>()?;

    let mut walk = Walk::default();
    for segment in &segments {
        walk.begin(segment)?;
    }
    let lowest = segments.first().map_or(1, |segment| segment.number);
    let first = if mark.is_some() { first } else { lowest };
    let mut show = |judged: Judged<'_>| walk.judge(&judged);
    let log = assemble(
        segments,
        first,
        salt,
        known,
        &mut Reading::ToShow(&mut show),
    )?;

    walk.account(&log.obsolete, first, known);
    for damage in &mut walk.damage {
        damage.loses_entries = log.map.damaged().iter().any(|range| loses(damage, range));
    }
    walk.damage
        .extend(marks.iter().flat_map(|mark| mark.damage()));
    let counting = walk.segments.iter();
    let counting = counting.filter(|segment| segment.state != SegmentState::Obsolete);
    let used_bytes = counting.map(|segment| segment.used_bytes).sum();
    let mut allocated_bytes: u64 = walk.segments.iter().map(|s| s.allocated_bytes).sum();
    for name in &useless {
        let len = backend.open(name, false).and_then(|file| file.len());
        allocated_bytes += len.map_err(|e| Error::at("open", name, e))?;
    }
    Ok(LogReport {
        first_index: log.map.first_index(),
        last_index: log.map.last_index(),
        base: log.map.base(),
        terms: log.map.term_runs(),
        segments: walk.segments,
        useless_files: useless,
        used_bytes,
        allocated_bytes,
        torn_bytes: log.torn_bytes,
        damaged: log.map.damaged().to_vec(),
        damage: walk.damage,
        marks,
    })
}

/// Whether entries of `range` are missing because of `damage`.
fn loses(damage: &Damage, range: &DamagedRange) -> bool {
    match damage.index {
        Some(first) => {
            let last = damage.last_index.unwrap_or(u64::MAX);
            range.first <= last && range.last.is_none_or(|range_last| first <= range_last)
        }
        None => damage.file == range.file,
    }
}

/// The segments so far, and what is wrong with them.
#[derive(Default)]
struct Walk {
    segments: Vec<SegmentReport>,
    damage: Vec<Damage>,
}

/// The entries that a damaged place held, as far as they are known.
#[derive(Default)]
struct Lost {
    index: Option<u64>,
    last_index: Option<u64>,
    term: Option<u64>,
}

impl Walk {
    fn note(&mut self, file: &str, offset: u32, reason: &'static str, lost: Lost) {
        self.damage.push(Damage {
            file: file.to_owned(),
            offset: u64::from(offset),
            index: lost.index,
            last_index: lost.last_index,
            term: lost.term.filter(|term| *term != 0),
            loses_entries: false,
            reason,
        });
    }

    /// Takes in a file, before anything is known of its records.
    fn begin(&mut self, segment: &SegmentFile) -> Result<(), Error> {
        let failed = |e| Error::at("read", &segment.name, e);
        let allocated_bytes = segment.file.len().map_err(failed)?;
        self.segments.push(SegmentReport {
            file: segment.name.clone(),
            number: segment.number,
            state: SegmentState::Unreadable,
            base: None,
            first_index: None,
            last_index: None,
            terms: Vec::new(),
            records: 0,
            used_bytes: 0,
            allocated_bytes,
        });
        if segment.header.is_some() {
            for at in HEADER_COPIES_AT {
                let mut block = [0; RECORDS_AT as usize / 2];
                let read = segment.file.read_at(u64::from(at), &mut block);
                let reason = match read.map(|_| SegmentHeader::decode_copy(&block)) {
                    Ok(copy) if copy == segment.header => continue,
                    Ok(_) => "this copy of the segment's header is damaged; the other is good",
                    Err(_) => "the system cannot read this copy of the segment's header",
                };
                self.note(&segment.name, at, reason, Lost::default());
            }
        }
        Ok(())
    }

    /// Goes over the records of a segment that counts.
    fn judge(&mut self, judged: &Judged<'_>) {
        let header = judged.header;
        if judged.restored {
            let reason = "both copies of the segment's header are damaged; the segments beside it tell what it said";
            self.note(judged.name, 0, reason, Lost::default());
        }
        let mut terms: Vec<TermRun> = Vec::new();
        let (mut records, mut whole) = (0, None);
        let (mut offset, mut index) = (RECORDS_AT, header.prev_index + 1);
        for found in judged.found {
            if found.offset > offset {
                let lost = Lost {
                    index: Some(index),
                    last_index: Some(found.header.index - 1),
                    term: Some(found.header.prev_term),
                };
                self.note(judged.name, offset, why(judged, offset), lost);
            }
            (offset, index) = (found.end, found.header.index + 1);
            if !found.payload_ok {
                let reason = "the checksum of the record's payload is wrong";
                let lost = Lost {
                    index: Some(found.header.index),
                    last_index: Some(found.header.index),
                    term: Some(found.header.term),
                };
                self.note(judged.name, found.offset, reason, lost);
                continue;
            }
            records += 1;
            let first = whole.map_or(found.header.index, |(first, _)| first);
            whole = Some((first, found.header.index));
            if terms.last().is_none_or(|run| run.term != found.header.term) {
                terms.push(TermRun {
                    first_index: found.header.index,
                    term: found.header.term,
                });
            }
        }
        if judged.cut.is_none() && judged.durable_end > offset {
            let lost = Lost {
                index: Some(index),
                ..Lost::default()
            };
            self.note(judged.name, offset, why(judged, offset), lost);
        }
        let report = self.segments.iter_mut().find(|s| s.number == header.number);
        if let Some(report) = report {
            report.state = match (header.start, header.repair) {
                (_, true) => SegmentState::Repairs,
                (true, _) => SegmentState::Start,
                _ => SegmentState::Entries,
            };
            report.base = Some((header.prev_index, header.prev_term));
            report.first_index = whole.map(|(first, _)| first);
            report.last_index = whole.map(|(_, last)| last);
            report.terms = terms;
            report.records = records;
            report.used_bytes = u64::from(offset);
        }
    }

    /// Names the segments that were not shown: those that do not count, those that nobody can place, and those that
    /// are not there.
    fn account(&mut self, obsolete: &[String], first: u64, known: u64) {
        let mut expected = first.max(1);
        let mut lost = Vec::new();
        for segment in &mut self.segments {
            if obsolete.contains(&segment.file) {
                segment.state = SegmentState::Obsolete;
                expected = segment.number + 1;
                continue;
            }
            if segment.number > expected && segment.state != SegmentState::Start {
                lost.push((
                    segment_name(expected),
                    "the file is missing, or the first of several that are",
                ));
            }
            expected = segment.number + 1;
            if segment.state == SegmentState::Unreadable {
                let reason = "the segment's header and first record are damaged";
                lost.push((segment.file.clone(), reason));
            }
        }
        if self.segments.is_empty() && known > 0 {
            let reason = "the file is missing, and with it all of the log";
            lost.push((segment_name(expected), reason));
        }
        for (file, reason) in lost {
            self.note(&file, 0, reason, Lost::default());
        }
    }
}

/// What is wrong at `offset`, where a record should be.
fn why(judged: &Judged<'_>, offset: u32) -> &'static str {
    let at = offset as usize;
    let Some(bytes) = judged.bytes.get(at..at + HEADER_BYTES as usize) else {
        return "the file ends before the record";
    };
    if judged.unreadable.iter().any(|range| range.contains(&at)) {
        return "the system cannot read the record";
    }
    let place = Place {
        salt: judged.header.salt,
        segment: judged.header.number,
        offset,
    };
    match RecordHeader::decode(place, bytes) {
        Some(_) => "the record there does not follow the one before it",
        None if bytes.iter().all(|byte| *byte == 0) => "zeros are where a record was",
        None => "the record's header is damaged",
    }
}
