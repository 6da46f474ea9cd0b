//! Putting fetched entries in the place of damaged ones.
//!
//! The damaged file is not touched: what is left of it may still be wanted. The entries go into a segment of their own,
//! which is complete and durable before it gets its name, so that a crash shows all of them or none. Appending them
//! would not do: that supersedes the good entries behind them, which others count on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Log;
use crate::error::Error;
use crate::record::{Place, Record, RecordHeader, stored_bytes};
use crate::segment::{RECORDS_AT, SegmentHeader, segment_name};

/// The longest segment.
const MAX_SEGMENT_BYTES: u32 = 1 << 30;

impl Log {
    pub(super) fn replace_damaged(&self, records: &[Record]) -> Result<(), Error> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        let mut writer = self.writer();
        let file_len = self.check_repair(first.index, records)?;
        self.sync_held(&writer)?;
        let prev_term = self.map().term(first.index - 1).unwrap_or(0);
        let spare = self.take_spare(file_len)?;
        let header = SegmentHeader {
            number: writer.next_number,
            position: writer.next_position,
            file_len,
            salt: self.salt,
            prev_index: first.index - 1,
            prev_term,
            prev_end: writer.end,
            prev_first: writer.newest_first,
            link: writer.link,
            start: false,
            repair: true,
        };
        let durable = self.durable_position();
        let mut bytes = header.encode();
        let (mut offset, mut link, mut term) = (RECORDS_AT, writer.link, prev_term);
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let len = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
            let position = header.position + u64::from(offset);
            let fields = RecordHeader {
                len,
                kind: record.kind,
                repair: true,
                index: record.index,
                term: record.term,
                prev_term: term,
                durable_back: u32::try_from(position - durable).unwrap_or(u32::MAX),
                link,
                payload_crc: crc32fast::hash(&record.payload),
            };
            link = fields.encode(
                Place {
                    salt: self.salt,
                    segment: header.number,
                    offset,
                },
                &mut bytes,
            );
            bytes.extend_from_slice(&record.payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            places.push((record.index, record.term, offset, len));
            offset += stored_bytes(len).unwrap_or(0);
            term = record.term;
        }
        let name = segment_name(header.number);
        let made = spare
            .file
            .write_at(0, &bytes)
            .and_then(|()| spare.file.sync())
            .and_then(|()| self.backend.rename(&spare.name, &name))
            .and_then(|()| self.backend.sync());
        made.map_err(|e| self.stop(Error::at("begin segment", &name, e)))?;

        writer.next_number += 1;
        writer.next_position += u64::from(file_len);
        writer.end = header.position + u64::from(offset);
        writer.link = link;
        writer.active = None;
        let mut map = self.map_mut();
        writer.newest_first = map.last_index() + 1;
        map.push_segment(header, name, Arc::clone(&spare.file));
        for (index, term, offset, len) in places {
            map.repair(index, term, offset, len);
        }
        drop(map);
        self.durable.fetch_max(writer.end, Ordering::AcqRel);
        self.save_hint()
    }

    /// Checks that all records stand for damaged ones, and returns the length of the segment that holds them.
    fn check_repair(&self, first: u64, records: &[Record]) -> Result<u32, Error> {
        let map = self.map();
        let mut bytes = u64::from(RECORDS_AT);
        for (record, index) in records.iter().zip(first..) {
            let out_of_order = |reason| {
                Err(Error::OutOfOrder {
                    index: record.index,
                    term: record.term,
                    reason,
                })
            };
            if record.index != index {
                return out_of_order("the indexes of a batch must follow each other");
            }
            if !map.is_damaged(index) {
                return out_of_order("the entry is not damaged");
            }
            if record.term == 0 || map.term(index).is_ok_and(|term| term != record.term) {
                return out_of_order("the damaged entry had another term");
            }
            let len = u32::try_from(record.payload.len())
                .ok()
                .and_then(stored_bytes);
            bytes += len.map_or(u64::from(u32::MAX), u64::from);
        }
        match u32::try_from(bytes.next_multiple_of(4096)) {
            Ok(len) if len <= MAX_SEGMENT_BYTES => Ok(len),
            _ => Err(Error::TooLarge {
                what: "repair",
                len: bytes,
                max: u64::from(MAX_SEGMENT_BYTES),
            }),
        }
    }
}
