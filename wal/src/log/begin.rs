//! Beginning a segment.
//!
//! A segment is written into a spare file, header and first records with one write, and synced, before the file gets
//! the segment's name. So a segment that has its name has a header, and its first records are all there. The segment
//! before it is synced first of all: only the newest segment can ever hold a torn write, and anything wrong in an older
//! one is damage.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Log;
use super::append::{Active, Writer};
use super::encode::Encoder;
use crate::error::Error;
use crate::record::Record;
use crate::segment::{
    RECORDS_AT, SegmentHeader, Spare, is_no_room, preallocate, segment_name, spare_name,
};

/// What a new segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The log goes on in it, from its first record on.
    Append,
    /// The log starts over with it.
    Start,
    /// Its records stand for damaged ones.
    Repair,
}

impl Log {
    /// Makes `records`, which come after the entry `prev`, the first of a new segment in the file `spare`. Durable on
    /// return.
    pub(super) fn begin_segment(
        &self,
        writer: &mut Writer,
        spare: Spare,
        prev: (u64, u64),
        purpose: Purpose,
        records: &[Record],
    ) -> Result<(), Error> {
        self.sync_held(writer)?;
        let header = SegmentHeader {
            number: writer.next_number,
            position: writer.next_position,
            file_len: spare.len,
            salt: self.salt,
            prev_index: prev.0,
            prev_term: prev.1,
            prev_end: writer.end,
            prev_first: writer.newest_first,
            link: writer.link,
            start: purpose == Purpose::Start,
            repair: purpose == Purpose::Repair,
        };
        let mut encoder = Encoder {
            salt: self.salt,
            segment: header.number,
            position: header.position,
            durable: self.durable_position(),
            repair: header.repair,
            offset: RECORDS_AT,
            link: header.link,
            term: prev.1,
        };
        let mut bytes = header.encode();
        let placed = encoder.records(records, &mut bytes);
        let name = segment_name(header.number);
        let failed = |e| self.stop(Error::at("begin segment", &name, e));
        // Until it has the segment's name, a spare file may hold anything.
        let no_room = |e| {
            let needed_bytes = u64::from(spare.len);
            let file = name.clone();
            if is_no_room(&e) {
                Error::Full { file, needed_bytes }
            } else {
                failed(e)
            }
        };
        let written = spare.file.write_at(0, &bytes).map_err(no_room);
        let synced = written.and_then(|()| spare.file.sync().map_err(failed));
        let named = synced.and_then(|()| {
            let named = self.backend.rename(&spare.name, &name);
            named.map_err(no_room)
        });
        if let Err(e) = named {
            if e.is_full() {
                // The next opening removes it at the latest.
                self.spares().push(spare);
            }
            return Err(e);
        }
        self.backend.sync().map_err(failed)?;

        writer.next_number += 1;
        writer.next_position += u64::from(header.file_len);
        writer.end = header.position + u64::from(encoder.offset);
        writer.link = encoder.link;
        let mut map = self.map_mut();
        map.push_segment(header, name.clone(), Arc::clone(&spare.file));
        match purpose {
            Purpose::Append => map.push_entries(&placed),
            // The segments before it are taken out by the caller, which has to remove their files.
            Purpose::Start => {}
            Purpose::Repair => placed.iter().for_each(|entry| map.repair(entry)),
        }
        writer.newest_first = if header.repair {
            map.last_index() + 1
        } else {
            prev.0 + 1
        };
        drop(map);
        writer.active = (!header.repair).then(|| Active {
            number: header.number,
            name,
            file: spare.file,
            position: header.position,
            file_len: header.file_len,
            end: encoder.offset,
            next_index: prev.0 + 1 + records.len() as u64,
        });
        self.durable.fetch_max(writer.end, Ordering::AcqRel);
        self.save_hint()
    }

    pub(super) fn take_spare(&self, len: u32) -> Result<Spare, Error> {
        let mut spares = self.spares();
        if let Some(at) = spares.iter().position(|spare| spare.len == len) {
            return Ok(spares.swap_remove(at));
        }
        drop(spares);
        preallocate(&*self.backend, self.next_spare_name(), len)
            .map_err(|e| if e.is_full() { e } else { self.stop(e) })
    }

    /// A name that no spare file has had since the log was opened, nor had before.
    pub(super) fn next_spare_name(&self) -> String {
        spare_name(self.spare_number.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn prepare_spare(&self) -> Result<(), Error> {
        let len = self.options.segment_bytes;
        let spare = self.take_spare(len)?;
        self.spares().push(spare);
        Ok(())
    }
}
