//! What is in one segment: every record that is valid in its place.
//!
//! The scan follows the records one by one. Where the next one is not valid, it looks at every later place for a
//! record that is, because what lies behind a damaged record is still good. It does not judge what it finds
//! missing; that takes knowing how far the log was durable ([`Scan::durable`] says what the records know of it).

use crate::bytes_le::{get_u64, slice};
use crate::record::{ALIGNMENT, HEADER_BYTES, Place, RecordHeader, stored_bytes};
use crate::segment::{RECORDS_AT, SegmentHeader};

/// A block that was never written.
const ZEROS: [u8; 1024] = [0; 1024];

/// A record whose header is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub offset: u32,
    /// One past its last byte, with the zeros behind it.
    pub end: u32,
    pub header: RecordHeader,
    pub checksum: u32,
    /// Whether the payload is what the header says.
    pub payload_ok: bool,
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By offset, and so by index.
    pub found: Vec<Found>,
    /// Position up to which the records say that the log was durable.
    pub durable: u64,
}

/// Scans `bytes`, which are the whole file (shorter, if the file is).
pub(super) fn scan(header: &SegmentHeader, bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let (mut offset, mut index, mut link) = (RECORDS_AT, header.prev_index + 1, Some(header.link));
    while let Some(found) = next_record(header, bytes, offset, index, link) {
        if let Some(back) = Some(found.header.durable_back).filter(|back| *back != u32::MAX) {
            let position = header.position + u64::from(found.offset);
            scan.durable = scan.durable.max(position.saturating_sub(u64::from(back)));
        }
        offset = found.end;
        index = found.header.index + 1;
        link = Some(found.checksum);
        scan.found.push(found);
    }
    scan
}

/// The record at `offset`, or else the first valid one after it.
fn next_record(
    header: &SegmentHeader,
    bytes: &[u8],
    offset: u32,
    index: u64,
    link: Option<u32>,
) -> Option<Found> {
    let expected = record_at(header, bytes, offset).filter(|found| {
        found.header.index == index && link.is_none_or(|link| link == found.header.link)
    });
    expected.or_else(|| {
        // A header has its index after its first word, so most places are turned away by looking at one number, and
        // whole blocks that were never written by looking at none.
        let words_at = offset + 2 * ALIGNMENT;
        let blocks = bytes.get(words_at as usize..)?.chunks(ZEROS.len());
        let written = (words_at..)
            .step_by(ZEROS.len())
            .zip(blocks)
            .filter(|(_, block)| !ZEROS.starts_with(block));
        let words = written.flat_map(|(at, block)| {
            (at..)
                .step_by(ALIGNMENT as usize)
                .zip(block.chunks_exact(ALIGNMENT as usize))
        });
        for (word_at, word) in words {
            let place = word_at - ALIGNMENT;
            // Before that place there is at least one record that is missing, and none is smaller than a header.
            let most = u64::from((place - offset) / HEADER_BYTES);
            let there = get_u64(word, 0)?;
            if there > index
                && there <= index.saturating_add(most)
                && let Some(found) = record_at(header, bytes, place)
            {
                return Some(found);
            }
        }
        None
    })
}

/// The record whose header stands at `offset`, if it is valid there.
fn record_at(header: &SegmentHeader, bytes: &[u8], offset: u32) -> Option<Found> {
    let place = Place {
        salt: header.salt,
        segment: header.number,
        offset,
    };
    let (record, checksum) =
        RecordHeader::decode(place, slice(bytes, offset as usize, HEADER_BYTES as usize)?)?;
    let end = offset
        .checked_add(stored_bytes(record.len)?)
        .filter(|end| *end <= header.file_len)?;
    let payload = slice(bytes, (offset + HEADER_BYTES) as usize, record.len as usize);
    let payload_ok = payload.is_some_and(|payload| crc32fast::hash(payload) == record.payload_crc);
    Some(Found {
        offset,
        end,
        header: record,
        checksum,
        payload_ok,
    })
}
