//! The two small files beside the segments.
//!
//! `log.mark` is written durably, when segments are about to be removed: salt (u64), number of the first segment
//! that counts (u64), position up to which the log is durable (u64). `log.durable` is written after every sync
//! without a sync of its own: salt (u64), position (u64). After the crash of the process alone it is exact; after a
//! power cut it may be old or missing, and then the records' own notes of how far the log was durable tell more.

use super::Log;
use crate::backend::Backend;
use crate::bytes_le::get_u64;
use crate::error::Error;
use crate::segment::MAX_NUMBER;
use crate::slot::{SlotFile, SlotKind};

pub(super) const MARK: SlotKind = SlotKind {
    name: "log.mark",
    magic: *b"FLWALMRK",
    version: 1,
};
pub(super) const HINT: SlotKind = SlotKind {
    name: "log.durable",
    magic: *b"FLWALDUR",
    version: 1,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub salt: u64,
    pub first_segment: u64,
    pub durable: u64,
}

impl Mark {
    pub fn encode(self) -> Vec<u8> {
        [self.salt, self.first_segment, self.durable]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    fn decode(payload: &[u8]) -> Option<Mark> {
        Some(Mark {
            salt: get_u64(payload, 0)?,
            first_segment: number_at(payload, 8)?,
            durable: number_at(payload, 16)?,
        })
    }
}

fn number_at(payload: &[u8], at: usize) -> Option<u64> {
    get_u64(payload, at).filter(|number| *number <= MAX_NUMBER)
}

/// The mark, if there is a readable one. A damaged one is as good as none: the segments tell nearly as much.
pub(super) fn open_mark(backend: &dyn Backend) -> Result<Option<(SlotFile, Mark)>, Error> {
    Ok(open(backend, MARK)?.and_then(|(file, payload)| Some((file, Mark::decode(&payload)?))))
}

/// The position in the hint, if there is a readable one of this log.
pub(super) fn open_hint(
    backend: &dyn Backend,
    salt: u64,
) -> Result<Option<(SlotFile, u64)>, Error> {
    Ok(open(backend, HINT)?
        .filter(|(_, payload)| get_u64(payload, 0) == Some(salt))
        .and_then(|(file, payload)| Some((file, number_at(&payload, 8)?))))
}

fn open(backend: &dyn Backend, kind: SlotKind) -> Result<Option<(SlotFile, Vec<u8>)>, Error> {
    match SlotFile::open(backend, kind) {
        Err(e) if e.is_damaged() => Ok(None),
        result => result,
    }
}

pub(super) fn create_mark(backend: &dyn Backend, mark: Mark) -> Result<SlotFile, Error> {
    SlotFile::create(backend, MARK, &mark.encode())
}

pub(super) fn create_hint(
    backend: &dyn Backend,
    salt: u64,
    position: u64,
) -> Result<SlotFile, Error> {
    SlotFile::create(backend, HINT, &encode_hint(salt, position))
}

fn encode_hint(salt: u64, position: u64) -> Vec<u8> {
    [salt, position]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect()
}

impl Log {
    /// Notes that segments before `first_segment` no longer count. Durable on return.
    pub(super) fn save_mark(&self, first_segment: u64) -> Result<(), Error> {
        let mark = Mark {
            salt: self.salt,
            first_segment,
            durable: self.durable_position(),
        };
        self.mark.save(&mark.encode()).map_err(|e| self.stop(e))
    }

    /// Notes how far the log is durable, for recovery to know; costs one small write and no sync.
    pub(super) fn save_hint(&self) -> Result<(), Error> {
        self.hint
            .save_hint(&encode_hint(self.salt, self.durable_position()))
            .map_err(|e| self.stop(e))
    }
}
