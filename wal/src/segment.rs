//! Segment files: their names, their headers, and how a new one is made ready.
//!
//! A segment is a file of fixed length that was filled with zeros, or with an earlier segment's records, before
//! it was used: writing into it changes no metadata, so `fdatasync` writes the data and nothing else. Its header
//! is durable *before* the file gets its name, so a file with a segment's name has a valid header or is damaged.
//!
//! ```text
//!   0  [8]  "FLWALSEG"
//!   8  u32  format version, 1
//!  12  u32  CRC-32 of bytes 0 to 12
//!  16  u64  segment number, from 1; also in the file's name, in hexadecimal
//!  24  u64  position: bytes of log before this file (the sum of the lengths of the files before it)
//!  32  u64  length of this file in bytes
//!  40  u64  salt of the log
//!  48  u64  index of the entry before the first in this segment
//!  56  u64  its term
//!  64  u64  position at which the records of the segment before end
//!  72  u64  first index of the segment before
//!  80  u32  link: header checksum of the last record before
//!  84  u32  flags: bit 0, the log starts here (all earlier entries are gone);
//!           bit 1, a repair: its records stand for damaged ones, and supersede nothing
//!  88  u32  CRC-32 of bytes 0 to 88
//! ```
//!
//! The same 92 bytes stand again at offset 2048; records begin at offset 4096. Inside one segment indexes rise by
//! one from record to record. A record that supersedes earlier entries therefore always begins a new segment, and
//! the header's *index before the first* says what is left of the old ones.

use std::io;
use std::sync::Arc;

use crate::backend::{Backend, BackendFile};
use crate::bytes_le::{get_u32, get_u64, slice};
use crate::error::Error;
use crate::slot::{check_prefix, prefix};

/// Version of the segment format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Where records begin.
pub(crate) const RECORDS_AT: u32 = 4096;
/// Where the header's second copy stands.
const SECOND_COPY_AT: usize = 2048;
/// Where both copies of the header stand.
pub(crate) const HEADER_COPIES_AT: [u32; 2] = [0, 2048];
const MAGIC: [u8; 8] = *b"FLWALSEG";
const HEADER_BYTES: usize = 92;
/// No number, position, index or term that a log gets to is higher than this; so sums of them never overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 60;
/// Why a record with a higher one is refused.
pub(crate) const NUMBER_TOO_HIGH: &str = "an index or a term is at most 2^60";
/// The longest file: that of one record with a payload of 1 GiB.
pub(crate) const MAX_FILE_BYTES: u32 = (1 << 30) + 2 * RECORDS_AT;
const FLAG_START: u32 = 1;
const FLAG_REPAIR: u32 = 2;
/// What is added to a spare file's name until it is filled and synced.
const UNFINISHED: &str = ".filling";
/// Zeros are written in pieces of this many bytes.
const ZEROS_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: u64,
    pub position: u64,
    pub file_len: u32,
    pub salt: u64,
    pub prev_index: u64,
    pub prev_term: u64,
    pub prev_end: u64,
    pub prev_first: u64,
    pub link: u32,
    /// Nothing before this segment counts: a new log, or one that starts over after a snapshot.
    pub start: bool,
    /// Its records stand for damaged ones elsewhere; they are no part of the log's order.
    pub repair: bool,
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut header = prefix(MAGIC, FORMAT_VERSION);
        for field in [
            self.number,
            self.position,
            u64::from(self.file_len),
            self.salt,
            self.prev_index,
            self.prev_term,
            self.prev_end,
            self.prev_first,
        ] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.extend_from_slice(&self.link.to_le_bytes());
        let flags = u32::from(self.start) * FLAG_START + u32::from(self.repair) * FLAG_REPAIR;
        header.extend_from_slice(&flags.to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        let mut block = header.clone();
        block.resize(SECOND_COPY_AT, 0);
        block.extend_from_slice(&header);
        block.resize(RECORDS_AT as usize, 0);
        block
    }

    /// Reads the header from a segment's first 4096 bytes: from whichever copy is valid.
    pub fn decode(name: &str, block: &[u8]) -> Result<Option<SegmentHeader>, Error> {
        for at in HEADER_COPIES_AT {
            let Some(copy) = slice(block, at as usize, HEADER_BYTES) else {
                continue;
            };
            let Some(version) = check_prefix(MAGIC, copy) else {
                continue;
            };
            if version > FORMAT_VERSION {
                return Err(Error::NewerFormat {
                    file: name.to_owned(),
                    found: version,
                    supported: FORMAT_VERSION,
                });
            }
            if let Some(header) = decode_copy(copy) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// One of the copies, if it is whole and of this program's version.
    pub fn decode_copy(copy: &[u8]) -> Option<SegmentHeader> {
        check_prefix(MAGIC, copy).filter(|version| *version <= FORMAT_VERSION)?;
        decode_copy(copy)
    }
}

fn decode_copy(copy: &[u8]) -> Option<SegmentHeader> {
    if get_u32(copy, 88)? != crc32fast::hash(slice(copy, 0, 88)?) {
        return None;
    }
    let number_at = |at| get_u64(copy, at).filter(|number| *number <= MAX_NUMBER);
    let file_len = u32::try_from(get_u64(copy, 32)?).ok()?;
    Some(SegmentHeader {
        number: number_at(16)?,
        position: number_at(24)?,
        file_len: Some(file_len).filter(|len| (RECORDS_AT..=MAX_FILE_BYTES).contains(len))?,
        salt: get_u64(copy, 40)?,
        prev_index: number_at(48)?,
        prev_term: number_at(56)?,
        prev_end: number_at(64)?,
        prev_first: number_at(72)?,
        link: get_u32(copy, 80)?,
        start: get_u32(copy, 84)? & FLAG_START != 0,
        repair: get_u32(copy, 84)? & FLAG_REPAIR != 0,
    })
}

/// File name of segment `number`.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (number <= MAX_NUMBER && segment_name(number) == name).then_some(number)
}

/// File name of a file that waits to become a segment.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// The number in a spare file's name.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".spare")?, 16).ok()?;
    (number <= MAX_NUMBER && spare_name(number) == name).then_some(number)
}

/// Whether `name` is that of a file which was still being filled with zeros.
pub(crate) fn is_unfinished_name(name: &str) -> bool {
    name.strip_suffix(UNFINISHED)
        .is_some_and(|spare| spare_number(spare).is_some())
}

/// A file with its blocks allocated, which no segment uses yet.
#[derive(Debug)]
pub(crate) struct Spare {
    pub name: String,
    pub file: Arc<dyn BackendFile>,
    pub len: u32,
}

/// Makes a file of `len` zeros, durable, under a spare name.
///
/// A disk without room is found here, before anything of the log is touched: then the file is removed again and
/// the error is [`Error::Full`].
pub(crate) fn preallocate(backend: &dyn Backend, name: String, len: u32) -> Result<Spare, Error> {
    let unfinished = format!("{name}{UNFINISHED}");
    match fill(backend, &unfinished, len) {
        Ok(file) => {
            backend
                .rename(&unfinished, &name)
                .map_err(|e| Error::at("rename", &name, e))?;
            Ok(Spare { name, file, len })
        }
        Err(e) if is_no_room(&e) => match backend.remove(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::at("remove", &name, e)),
            _ => Err(Error::Full {
                file: name,
                needed_bytes: u64::from(len),
            }),
        },
        Err(e) => Err(Error::at("preallocate", &name, e)),
    }
}

/// Whether an operation failed because the disk is full, or this user's share of it.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn fill(backend: &dyn Backend, name: &str, len: u32) -> io::Result<Arc<dyn BackendFile>> {
    let file = backend.open(name, true)?;
    let zeros = vec![0; ZEROS_BYTES.min(len as usize)];
    let mut offset = 0;
    while offset < u64::from(len) {
        let piece = u64::from(len) - offset;
        let piece = zeros
            .get(..usize::try_from(piece).unwrap_or(usize::MAX))
            .unwrap_or(&zeros);
        file.write_at(offset, piece)?;
        offset += piece.len() as u64;
    }
    file.sync()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )]

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 3,
            position: 8192,
            file_len: 65536,
            salt: 42,
            prev_index: 10,
            prev_term: 2,
            prev_end: 8000,
            prev_first: 4,
            link: 7,
            start: true,
            repair: true,
        }
    }

    /// Any single flipped bit leaves one of the two copies.
    #[test]
    fn header_survives_any_bit_flip() {
        let mut block = header().encode();
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode("s", &block).unwrap(),
                Some(header()),
                "bit {bit}"
            );
            block[bit / 8] ^= 1 << (bit % 8);
        }
        block[20] ^= 1;
        block[SECOND_COPY_AT + 20] ^= 1;
        assert_eq!(SegmentHeader::decode("s", &block).unwrap(), None);
    }

    /// A newer format is named as such, with both versions.
    #[test]
    fn newer_version_is_refused() {
        let mut block = header().encode();
        block.splice(..16, prefix(MAGIC, 9));
        let error = SegmentHeader::decode("s", &block).unwrap_err();
        assert!(matches!(
            error,
            Error::NewerFormat {
                found: 9,
                supported: 1,
                ..
            }
        ));
    }

    /// Only names that we would write ourselves are taken for segments.
    #[test]
    fn names() {
        assert_eq!(segment_number(&segment_name(0xabc)), Some(0xabc));
        for name in [
            "abc.log",
            "0000000000000ABC.log",
            "0000000000000abc.spare",
            "x.log",
            "+000000000000abc.log",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
        assert_eq!(spare_number(&spare_name(1)), Some(1));
        assert!(is_unfinished_name("0000000000000001.spare.filling"));
    }
}
