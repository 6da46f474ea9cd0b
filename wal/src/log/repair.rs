//! Putting fetched entries in the place of damaged ones.
//!
//! The damaged file is not touched: what is left of it may still be wanted. The entries go into a segment of their own,
//! which is complete and durable before it gets its name, so that a crash shows all of them or none. Appending them
//! would not do: that supersedes the good entries behind them, which others count on.

use super::Log;
use super::begin::Purpose;
use crate::error::Error;
use crate::record::{Record, stored_bytes};
use crate::segment::{MAX_NUMBER, NUMBER_TOO_HIGH, RECORDS_AT};

/// The longest segment.
const MAX_SEGMENT_BYTES: u32 = 1 << 30;

impl Log {
    pub(super) fn replace_damaged(&self, records: &[Record]) -> Result<(), Error> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        let mut writer = self.writer();
        let file_len = self.check_repair(first.index, records)?;
        let prev_term = self.map().term(first.index - 1).unwrap_or(0);
        let spare = self.take_spare(file_len)?;
        self.begin_segment(
            &mut writer,
            spare,
            (first.index - 1, prev_term),
            Purpose::Repair,
            records,
        )
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
            if record.term > MAX_NUMBER {
                return out_of_order(NUMBER_TOO_HIGH);
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
