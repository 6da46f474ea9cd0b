//! One record: one Raft entry as it lies in a segment.
//!
//! ```text
//!  0  u32  payload length in bytes
//!  4  u8   kind, the caller's
//!  5  u8   flags: bit 0, a repair: it stands for a damaged record of the same index
//!  6  [2]  zero
//!  8  u64  index, 1 to 2^60
//! 16  u64  term, 1 to 2^60
//! 24  u64  term of the entry before it (of index - 1)
//! 32  u32  how many bytes before this record the log was known to be durable when it was written
//! 36  u32  link: the header checksum of the record before it
//! 40  u32  CRC-32 of the payload
//! 44  u32  CRC-32 of: salt (u64), segment number (u64), offset (u32), bytes 0 to 44
//! 48       payload, then zeros up to a multiple of 8
//! ```
//!
//! The header checksum takes in where the record stands, so a record is valid in one place of one life of one
//! segment: what a recycled file still holds, a misdirected write, and bytes of a client that look like a record
//! are all no records. The salt is the log's own random number, which no client knows.
//!
//! *Bytes known durable* is what makes a damaged record different from one that was never finished: if any later
//! record says that the log was durable past this one, it was once whole.

use bytes::Bytes;

use crate::bytes_le::{array, get_u8, get_u32, get_u64};
use crate::segment::MAX_NUMBER;

/// Bytes of a record before its payload.
pub const HEADER_BYTES: u32 = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u32 = 8;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Index in the log, from 1 to 2⁶⁰, without gaps.
    pub index: u64,
    /// Term, from 1 to 2⁶⁰; never falls from one record to the next.
    pub term: u64,
    /// What the payload is, in the caller's numbering.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: Bytes,
}

/// Where a record stands: what its header checksum is salted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub salt: u64,
    pub segment: u64,
    pub offset: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub len: u32,
    pub kind: u8,
    /// It stands for a damaged record elsewhere and supersedes nothing.
    pub repair: bool,
    pub index: u64,
    pub term: u64,
    pub prev_term: u64,
    pub durable_back: u32,
    pub link: u32,
    pub payload_crc: u32,
}

impl RecordHeader {
    /// Appends the header's bytes and returns its checksum, which the next record links to.
    pub fn encode(&self, place: Place, out: &mut Vec<u8>) -> u32 {
        let mut bytes = [0; HEADER_BYTES as usize];
        let (fields, checksum_field) = bytes.split_at_mut(44);
        let mut at = fields.iter_mut();
        let mut put = |field: &[u8]| at.by_ref().zip(field).for_each(|(to, from)| *to = *from);
        put(&self.len.to_le_bytes());
        put(&[self.kind, u8::from(self.repair), 0, 0]);
        put(&self.index.to_le_bytes());
        put(&self.term.to_le_bytes());
        put(&self.prev_term.to_le_bytes());
        put(&self.durable_back.to_le_bytes());
        put(&self.link.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        let checksum = header_checksum(place, fields);
        checksum_field.copy_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&bytes);
        checksum
    }

    /// Reads a header at `place` from the start of `bytes`: the header and its checksum, if it is valid there.
    pub fn decode(place: Place, bytes: &[u8]) -> Option<(RecordHeader, u32)> {
        // Index 0 is no entry, so zeros are turned away before any checksum is computed.
        let index = get_u64(bytes, 8).filter(|index| *index != 0)?;
        let fields: [u8; 44] = array(bytes, 0)?;
        let checksum = get_u32(bytes, 44)?;
        if get_u8(bytes, 5)? > 1
            || array::<2>(bytes, 6)? != [0; 2]
            || header_checksum(place, &fields) != checksum
        {
            return None;
        }
        let header = RecordHeader {
            len: get_u32(bytes, 0)?,
            kind: get_u8(bytes, 4)?,
            repair: get_u8(bytes, 5)? != 0,
            index,
            term: get_u64(bytes, 16)?,
            prev_term: get_u64(bytes, 24)?,
            durable_back: get_u32(bytes, 32)?,
            link: get_u32(bytes, 36)?,
            payload_crc: get_u32(bytes, 40)?,
        };
        // The checksum is right, and still somebody may have made the numbers up.
        let numbers = [header.index, header.term, header.prev_term];
        if header.term == 0 || numbers.iter().any(|number| *number > MAX_NUMBER) {
            return None;
        }
        Some((header, checksum))
    }
}

fn header_checksum(place: Place, fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.salt.to_le_bytes());
    hasher.update(&place.segment.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(fields);
    hasher.finalize()
}

/// Bytes that a record with `len` payload bytes takes in a segment; `None` past what a segment can hold.
pub(crate) fn stored_bytes(len: u32) -> Option<u32> {
    len.checked_add(HEADER_BYTES)?
        .checked_next_multiple_of(ALIGNMENT)
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

    /// A header is valid in its own place only, and no bit of it may change.
    #[test]
    fn header_belongs_to_one_place() {
        let header = RecordHeader {
            len: 5,
            kind: 3,
            repair: true,
            index: 7,
            term: 2,
            prev_term: 1,
            durable_back: 100,
            link: 9,
            payload_crc: 11,
        };
        let place = Place {
            salt: 1,
            segment: 2,
            offset: 4096,
        };
        let mut bytes = Vec::new();
        let checksum = header.encode(place, &mut bytes);
        assert_eq!(bytes.len(), 48);
        assert_eq!(
            RecordHeader::decode(place, &bytes),
            Some((header, checksum))
        );
        for other in [
            Place { salt: 3, ..place },
            Place {
                segment: 3,
                ..place
            },
            Place {
                offset: 4104,
                ..place
            },
        ] {
            assert_eq!(RecordHeader::decode(other, &bytes), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(place, &flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(RecordHeader::decode(place, &bytes[..len]), None);
        }
    }
}
