//! Giving up what is no longer needed: the front of the log, or all of it.
//!
//! The mark says which segment is the first that counts, and is durable before any file goes. So a crash in the
//! middle leaves files that no longer count, which the next opening removes, and never a hole.

use std::sync::PoisonError;

use super::Log;
use super::begin::Purpose;
use super::map::Segment;
use crate::error::Error;
use crate::segment::{MAX_NUMBER, NUMBER_TOO_HIGH, Spare};

impl Log {
    pub(super) fn drop_segments_below(&self, first: u64) -> Result<u64, Error> {
        let _turn = self
            .retention_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (dropped, oldest) = {
            let writer = self.writer();
            if !self.map().can_take_front(first) {
                return Ok(self.first_index());
            }
            // A segment may be of no use only because later entries supersede its own. Those must be durable first.
            self.sync_held(&writer)?;
            let mut map = self.map_mut();
            let dropped = map.take_front(first);
            (
                dropped,
                map.oldest().map_or(0, |segment| segment.header.number),
            )
        };
        self.save_mark(oldest)?;
        self.give_up(dropped)?;
        Ok(self.first_index())
    }

    pub(super) fn start_over(&self, index: u64, term: u64) -> Result<(), Error> {
        if index > MAX_NUMBER || term > MAX_NUMBER {
            let reason = NUMBER_TOO_HIGH;
            return Err(Error::OutOfOrder {
                index,
                term,
                reason,
            });
        }
        let _turn = self
            .retention_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.writer();
        let spare = self.take_spare(self.options.segment_bytes)?;
        // From the moment the new segment has its name, the old ones do not count. Readers see them until then.
        self.begin_segment(&mut writer, spare, (index, term), Purpose::Start, &[])?;
        let dropped = self.map_mut().start_over((index, term));
        let newest = writer.next_number - 1;
        drop(writer);
        self.save_mark(newest)?;
        self.give_up(dropped)
    }

    /// Keeps the files of segments that no longer count for reuse, or removes them.
    fn give_up(&self, segments: Vec<Segment>) -> Result<(), Error> {
        for Segment {
            header, name, file, ..
        } in segments
        {
            let len = header.file_len;
            let mut spares = self.spares();
            let result = if len == self.options.segment_bytes && spares.len() < self.options.spares
            {
                let spare = self.next_spare_name();
                let renamed = self.backend.rename(&name, &spare);
                if renamed.is_ok() {
                    spares.push(Spare {
                        name: spare,
                        file,
                        len,
                    });
                }
                renamed
            } else {
                self.backend.remove(&name)
            };
            result.map_err(|e| self.stop(Error::at("remove", &name, e)))?;
        }
        Ok(())
    }
}
