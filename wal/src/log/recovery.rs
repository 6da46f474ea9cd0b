//! Opening a log: what is there, what was never finished, and what is damaged.
//!
//! # The reader's algorithm
//!
//! 1. Segments before the mark's first do not count; remove them, and spare files. Without a readable mark, all count.
//! 2. Take the segments in the order of their numbers. One whose header says *the log starts here* makes
//!    everything before it not count.
//! 3. Scan each for valid records ([`scan`](super::scan)). Let *durable* be the highest position that the mark, the
//!    hint, any record, or the next segment's *end of the records before* names. A segment's first record was durable
//!    before the segment had its name.
//! 4. The first record of a segment supersedes all entries from its index on.
//! 5. Where a record is missing or wrong:
//!
//! | where | what it is | what is done |
//! |---|---|---|
//! | in an older segment | damage: it was synced before the next segment was made | reported |
//! | in the newest, before *durable* | damage | reported |
//! | in the newest, from *durable* on | a torn write: nobody was promised it | cut off, with all that follows |
//! | a whole segment, or its header | damage | reported, with the entries it must have held |
//!
//! Entries missing between two records are those between their indexes, because inside a segment indexes rise by one.
//! A file that is damaged is never written to.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};

use super::assemble::{Reading, assemble};
use super::marks::{Mark, create_hint, create_mark, open_hint, open_mark};
use super::{Log, LogOptions, Recovery};
use crate::backend::{Backend, BackendFile};
use crate::error::Error;
use crate::segment::{
    RECORDS_AT, SegmentHeader, is_unfinished_name, segment_name, segment_number, spare_number,
};
use crate::slot::SlotFile;

/// A segment file; without a header when both copies of it are damaged.
pub(super) struct SegmentFile {
    pub number: u64,
    pub name: String,
    pub file: Arc<dyn BackendFile>,
    pub header: Option<SegmentHeader>,
    /// Whether the header was made up from what is around it.
    pub restored: bool,
}

pub(super) fn open(
    backend: Arc<dyn Backend>,
    options: LogOptions,
) -> Result<(Log, Recovery), Error> {
    let Directory {
        mark,
        first,
        segments,
        useless,
        highest_spare,
        salt,
    } = Directory::look(&*backend)?;
    for name in useless {
        backend
            .remove(&name)
            .map_err(|e| Error::at("remove", &name, e))?;
    }
    let salt = salt
        .or(options.salt)
        .unwrap_or_else(|| RandomState::new().hash_one("log"));
    let hint = open_hint(&*backend, salt)?;
    let known = known_durable(mark.as_ref(), hint.as_ref());
    let fresh = segments.is_empty();
    if fresh && known > 0 {
        // An empty log would forget what was acknowledged.
        return Err(all_lost(first));
    }
    let lowest = segments.first().map_or(1, |segment| segment.number);

    let assembled = assemble(
        segments,
        if mark.is_some() { first } else { lowest },
        salt,
        known,
        &mut Reading::ToWrite,
    )?;
    let recovery = Recovery {
        first_index: assembled.map.first_index(),
        last_index: assembled.map.last_index(),
        last_term: assembled.map.term(assembled.map.last_index()).unwrap_or(0),
        torn_bytes: assembled.torn_bytes,
        damaged: assembled.map.damaged().to_vec(),
    };
    let mark_file = match mark {
        Some((file, _)) => file,
        None => create_mark(
            &*backend,
            Mark {
                salt,
                first_segment: lowest,
                durable: known,
            },
        )?,
    };
    let hint_file = match hint {
        Some((file, _)) => file,
        None => create_hint(&*backend, salt, assembled.durable)?,
    };
    let log = Log {
        durable: AtomicU64::new(assembled.durable),
        backend,
        options,
        salt,
        writer: Mutex::new(assembled.writer),
        spare_number: AtomicU64::new(highest_spare),
        map: RwLock::new(assembled.map),
        syncing: Mutex::new(false),
        synced: Condvar::new(),
        retention_turn: Mutex::new(()),
        spares: Mutex::new(Vec::new()),
        mark: mark_file,
        hint: hint_file,
        failed: OnceLock::new(),
    };
    if fresh {
        log.start_over(0, 0)?;
    } else {
        log.settle(assembled.obsolete)?;
    }
    Ok((log, recovery))
}

/// What a directory holds, with nothing changed.
pub(super) struct Directory {
    pub mark: Option<(SlotFile, Mark)>,
    /// Number of the first segment that counts, as the mark says; 0 without one.
    pub first: u64,
    /// By number.
    pub segments: Vec<SegmentFile>,
    /// Files that are certainly of no use.
    pub useless: Vec<String>,
    /// The highest number in a spare file's name.
    pub highest_spare: u64,
    /// The log's salt, if anything there tells it.
    pub salt: Option<u64>,
}

impl Directory {
    pub fn look(backend: &dyn Backend) -> Result<Directory, Error> {
        let mark = open_mark(backend)?;
        let mut found = Directory {
            first: mark.as_ref().map_or(0, |(_, mark)| mark.first_segment),
            segments: Vec::new(),
            useless: Vec::new(),
            highest_spare: 0,
            salt: mark.as_ref().map(|(_, mark)| mark.salt),
            mark,
        };
        for name in backend
            .list()
            .map_err(|e| Error::at("list", "the log's directory", e))?
        {
            let number = segment_number(&name);
            let spare = spare_number(&name);
            found.highest_spare = found.highest_spare.max(spare.unwrap_or(0));
            if let Some(number) = number.filter(|number| *number >= found.first) {
                found.segments.push(open_segment(backend, number, name)?);
            } else if number.is_some() || spare.is_some() || is_unfinished_name(&name) {
                // A spare file too: a crash may have left in it what was to be the next segment. Used again for that
                // segment, it would bring back records that nobody was promised.
                found.useless.push(name);
            }
        }
        found.segments.sort_by_key(|segment| segment.number);
        let headers = || found.segments.iter().rev().find_map(|s| s.header);
        found.salt = found.salt.or_else(|| Some(headers()?.salt));
        Ok(found)
    }
}

/// How far the log was durable, as the files beside the segments have it.
pub(super) fn known_durable(
    mark: Option<&(SlotFile, Mark)>,
    hint: Option<&(SlotFile, u64)>,
) -> u64 {
    let mark = mark.map_or(0, |(_, mark)| mark.durable);
    hint.map_or(mark, |(_, position)| mark.max(*position))
}

/// No segment is left of a log that once held something.
pub(super) fn all_lost(first: u64) -> Error {
    Error::Damaged {
        file: segment_name(first.max(1)),
        offset: 0,
        index: None,
        term: None,
    }
}

fn open_segment(backend: &dyn Backend, number: u64, name: String) -> Result<SegmentFile, Error> {
    let file = backend
        .open(&name, false)
        .map_err(|e| Error::at("open", &name, e))?;
    let mut block = [0; RECORDS_AT as usize];
    // A block that cannot be read is a block that is damaged.
    let len = file.read_at(0, &mut block).unwrap_or(0);
    let header = SegmentHeader::decode(&name, block.get(..len).unwrap_or_default())?;
    Ok(SegmentFile {
        number,
        name,
        file,
        header: header.filter(|header| header.number == number),
        restored: false,
    })
}

impl Log {
    /// Makes what recovery decided durable: files that do not count go, and what counts is on disk.
    fn settle(&self, obsolete: Vec<String>) -> Result<(), Error> {
        self.backend
            .sync()
            .map_err(|e| self.stop(Error::at("sync", "the log's directory", e)))?;
        let oldest = self.map().oldest().map(|segment| segment.header.number);
        if let Some(oldest) = oldest.filter(|_| !obsolete.is_empty()) {
            self.save_mark(oldest)?;
        }
        for name in obsolete {
            self.backend
                .remove(&name)
                .map_err(|e| self.stop(Error::at("remove", &name, e)))?;
        }
        self.backend
            .sync()
            .map_err(|e| self.stop(Error::at("sync", "the log's directory", e)))?;
        self.save_hint()
    }
}
