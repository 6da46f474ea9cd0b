//! Laying records behind each other.

use crate::record::{Place, Record, RecordHeader, stored_bytes};

/// Where an encoded record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub index: u64,
    pub term: u64,
    /// Offset of its header in the segment.
    pub offset: u32,
    /// Length of its payload.
    pub len: u32,
}

/// The end of a segment, to which records are added.
#[derive(Debug)]
pub(super) struct Encoder {
    pub salt: u64,
    pub segment: u64,
    /// Position of the segment's first byte.
    pub position: u64,
    /// Position up to which the log is durable; never past the next record.
    pub durable: u64,
    pub repair: bool,
    /// Offset of the next record.
    pub offset: u32,
    /// Header checksum of the record before.
    pub link: u32,
    /// Term of the entry before.
    pub term: u64,
}

impl Encoder {
    /// Adds the bytes of `records` to `out`. They must fit the segment, and each payload its length field.
    pub fn records(&mut self, records: &[Record], out: &mut Vec<u8>) -> Vec<Placed> {
        records
            .iter()
            .map(|record| self.record(record, out))
            .collect()
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) -> Placed {
        let len = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
        let offset = self.offset;
        let position = self.position + u64::from(offset);
        let header = RecordHeader {
            len,
            kind: record.kind,
            repair: self.repair,
            index: record.index,
            term: record.term,
            prev_term: self.term,
            durable_back: u32::try_from(position.saturating_sub(self.durable)).unwrap_or(u32::MAX),
            link: self.link,
            payload_crc: crc32fast::hash(&record.payload),
        };
        self.link = header.encode(
            Place {
                salt: self.salt,
                segment: self.segment,
                offset,
            },
            out,
        );
        self.term = record.term;
        self.offset += stored_bytes(len).unwrap_or(0);
        out.extend_from_slice(&record.payload);
        out.resize(out.len().next_multiple_of(8), 0);
        Placed {
            index: record.index,
            term: record.term,
            offset,
            len,
        }
    }
}
