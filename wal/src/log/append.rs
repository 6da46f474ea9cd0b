//! The writing end of the log.
//!
//! One append is one write per segment that it touches, which is one write but for once every few megabytes. What goes
//! into the segment that is there already waits for a sync; what begins a new one is durable at once
//! ([`begin`](super::begin)).

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::begin::Purpose;
use super::encode::{Encoder, Placed};
use super::{Log, Record};
use crate::backend::{BackendFile, read_exact_at};
use crate::bytes_le::slice;
use crate::error::Error;
use crate::record::{HEADER_BYTES, stored_bytes};
use crate::segment::{MAX_NUMBER, NUMBER_TOO_HIGH, RECORDS_AT, Spare, is_no_room};

/// A write buffer larger than this is given back after use.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Where the next record goes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Number of the segment that comes after the newest.
    pub next_number: u64,
    /// Position at which that segment will begin.
    pub next_position: u64,
    /// Position at which the log's records end.
    pub end: u64,
    /// Header checksum of the last record.
    pub link: u32,
    /// First index of the newest segment, for the header of the next.
    pub newest_first: u64,
    /// The newest segment, if records may still be added to it.
    pub active: Option<Active>,
    /// Bytes on their way to the file; kept to spare allocations.
    pub buffer: Vec<u8>,
}

/// The segment that records are added to.
#[derive(Debug)]
pub(super) struct Active {
    pub number: u64,
    pub name: String,
    pub file: Arc<dyn BackendFile>,
    pub position: u64,
    pub file_len: u32,
    /// Offset of the next record.
    pub end: u32,
    /// Index that the next record must have.
    pub next_index: u64,
}

/// Consecutive records that go into one segment.
struct Run<'a> {
    records: &'a [Record],
    /// Length of the new segment that they need; `None` when they fit the active one.
    new_segment: Option<u32>,
}

impl Log {
    pub(super) fn append_records(&self, records: &[Record]) -> Result<(), Error> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        let mut writer = self.writer();
        let mut prev_term = self.check_records(first.index, records)?;
        let runs = self.plan(&writer, records)?;
        let mut ready = self.ready(&runs)?;
        let mut begun = false;
        for run in runs {
            let Some(first) = run.records.first() else {
                continue;
            };
            if run.new_segment.is_some() {
                let Some(spare) = ready.pop_front() else {
                    continue;
                };
                let prev = (first.index - 1, prev_term);
                self.begin_segment(&mut writer, spare, prev, Purpose::Append, run.records)
                    .map_err(|e| if begun { self.stop_halfway(e) } else { e })?;
            } else {
                self.write_run(&mut writer, run.records, prev_term)?;
            }
            begun = true;
            prev_term = run.records.last().map_or(prev_term, |last| last.term);
        }
        // What a smaller plan did not need is there for the next.
        self.spares().extend(ready);
        Ok(())
    }

    /// Stops the log because the first part of a batch is in it and the rest found no room: that cannot be called
    /// refused.
    fn stop_halfway(&self, error: Error) -> Error {
        match error {
            Error::Full { file, .. } => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                self.stop(Error::at("write the rest of a batch to", &file, full))
            }
            stopped => stopped,
        }
    }

    /// Checks that the records can go on the log, and returns the term of the entry before the first.
    fn check_records(&self, first: u64, records: &[Record]) -> Result<u64, Error> {
        let map = self.map();
        let out_of_order = |record: &Record, reason| {
            Err(Error::OutOfOrder {
                index: record.index,
                term: record.term,
                reason,
            })
        };
        let Some(before) = first
            .checked_sub(1)
            .filter(|before| *before >= map.base().0)
        else {
            return Err(Error::Compacted {
                index: first,
                first: map.first_index(),
            });
        };
        // A damaged entry may have lost its term; any term may follow it.
        let prev_term = map.term(before).unwrap_or(0);
        let mut term = prev_term;
        for (record, index) in records.iter().zip(first..) {
            if before > map.last_index() {
                return out_of_order(record, "there is a gap before it");
            }
            if record.index != index {
                return out_of_order(record, "the indexes of a batch must follow each other");
            }
            if record.term < term || record.term == 0 {
                return out_of_order(
                    record,
                    "a term is never lower than the one before, and never 0",
                );
            }
            if record.index > MAX_NUMBER || record.term > MAX_NUMBER {
                return out_of_order(record, NUMBER_TOO_HIGH);
            }
            let len = record.payload.len() as u64;
            let max = u64::from(self.options.max_payload_bytes);
            if len > max {
                return Err(Error::TooLarge {
                    what: "entry",
                    len,
                    max,
                });
            }
            term = record.term;
        }
        Ok(prev_term)
    }

    /// Divides the records among the active segment and as many new ones as they need.
    fn plan<'a>(&self, writer: &Writer, records: &'a [Record]) -> Result<Vec<Run<'a>>, Error> {
        let mut runs = Vec::new();
        let (mut room, mut new_segment) = match &writer.active {
            Some(active)
                if records
                    .first()
                    .is_some_and(|r| r.index == active.next_index) =>
            {
                (active.file_len - active.end, None)
            }
            // Superseding: always in a new segment.
            _ => (0, None),
        };
        let (mut rest, mut count) = (records, 0);
        for record in records {
            let len = u32::try_from(record.payload.len())
                .ok()
                .and_then(stored_bytes);
            let stored = len.ok_or(Error::TooLarge {
                what: "entry",
                len: record.payload.len() as u64,
                max: u64::from(self.options.max_payload_bytes),
            })?;
            if stored > room {
                let (full, tail) = rest.split_at(count);
                if !full.is_empty() {
                    runs.push(Run {
                        records: full,
                        new_segment,
                    });
                }
                let len = (RECORDS_AT + stored)
                    .next_multiple_of(4096)
                    .max(self.options.segment_bytes);
                (rest, count, room, new_segment) = (tail, 0, len - RECORDS_AT, Some(len));
            }
            room -= stored;
            count += 1;
        }
        runs.push(Run {
            records: rest,
            new_segment,
        });
        Ok(runs)
    }

    /// Makes the files ready that the runs need, all of them before anything is written: if there is no room, the
    /// whole append is refused.
    fn ready(&self, runs: &[Run]) -> Result<VecDeque<Spare>, Error> {
        let mut ready = VecDeque::new();
        for len in runs.iter().filter_map(|run| run.new_segment) {
            match self.take_spare(len) {
                Ok(spare) => ready.push_back(spare),
                Err(e) => {
                    self.spares().extend(ready);
                    return Err(e);
                }
            }
        }
        Ok(ready)
    }

    /// Writes records into the active segment, with one write, and then lets readers see them.
    fn write_run(
        &self,
        writer: &mut Writer,
        records: &[Record],
        prev_term: u64,
    ) -> Result<(), Error> {
        let Writer {
            active: Some(active),
            buffer,
            link,
            end,
            ..
        } = writer
        else {
            return Ok(());
        };
        buffer.clear();
        let mut encoder = Encoder {
            salt: self.salt,
            segment: active.number,
            position: active.position,
            durable: self.durable_position(),
            repair: false,
            offset: active.end,
            link: *link,
            term: prev_term,
        };
        let placed = encoder.records(records, buffer);
        if let Err(e) = active.file.write_at(u64::from(active.end), buffer) {
            if !is_no_room(&e) {
                return Err(self.stop(Error::at("write", &active.name, e)));
            }
            // On a file system that puts what is written over elsewhere, even a file that is there already may find no
            // room. All that can have been written lies behind the end of the log. If a record of it is there, it must
            // go: it was refused, and may not turn up after a crash. Then nothing happened.
            let needed_bytes = buffer.len() as u64;
            if wrote_any(active, &placed, buffer) {
                buffer.fill(0);
                active
                    .file
                    .write_at(u64::from(active.end), buffer)
                    .and_then(|()| active.file.sync())
                    .map_err(|e| self.stop(Error::at("wipe", &active.name, e)))?;
            }
            return Err(Error::Full {
                file: active.name.clone(),
                needed_bytes,
            });
        }
        if buffer.capacity() > KEPT_BUFFER_BYTES {
            *buffer = Vec::new();
        }
        self.map_mut().push_entries(&placed);
        active.next_index += records.len() as u64;
        active.end = encoder.offset;
        *end = active.position + u64::from(encoder.offset);
        *link = encoder.link;
        Ok(())
    }

    /// Makes everything appended durable while nothing more can be appended.
    pub(super) fn sync_held(&self, writer: &Writer) -> Result<(), Error> {
        if let Some(active) = &writer.active
            && self.durable_position() < writer.end
        {
            active
                .file
                .sync()
                .map_err(|e| self.stop(Error::at("sync", &active.name, e)))?;
            self.durable.fetch_max(writer.end, Ordering::AcqRel);
            self.save_hint()?;
        }
        Ok(())
    }

    pub(super) fn sync_appended(&self) -> Result<u64, Error> {
        // What this call is to make durable, before it waits for its turn: so one sync serves all that wait meanwhile.
        let (wanted, last) = {
            let writer = self.writer();
            (writer.end, self.map().last_index())
        };
        if wanted <= self.durable_position() {
            return Ok(last);
        }
        let mut syncing = self.lock_syncing();
        while *syncing && wanted > self.durable_position() {
            syncing = self
                .synced
                .wait(syncing)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if wanted <= self.durable_position() {
            return Ok(last);
        }
        self.check()?;
        *syncing = true;
        drop(syncing);
        let result = self.sync_active();
        *self.lock_syncing() = false;
        self.synced.notify_all();
        result.map(|()| last)
    }

    fn lock_syncing(&self) -> MutexGuard<'_, bool> {
        self.syncing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes everything durable that is appended at this moment, while more is appended.
    fn sync_active(&self) -> Result<(), Error> {
        let writer = self.writer();
        let end = writer.end;
        let Some(active) = writer
            .active
            .as_ref()
            .filter(|_| self.durable_position() < end)
        else {
            return Ok(());
        };
        let (file, name) = (Arc::clone(&active.file), active.name.clone());
        drop(writer);
        file.sync()
            .map_err(|e| self.stop(Error::at("sync", &name, e)))?;
        self.durable.fetch_max(end, Ordering::AcqRel);
        self.save_hint()
    }
}

/// Whether the header of any of the records in `buffer` got into the file; if that cannot be found out, yes.
fn wrote_any(active: &Active, placed: &[Placed], buffer: &[u8]) -> bool {
    placed.iter().any(|record| {
        let mut found = [0; HEADER_BYTES as usize];
        let read = read_exact_at(&*active.file, u64::from(record.offset), &mut found);
        let at = (record.offset - active.end) as usize;
        match read {
            Ok(()) => slice(buffer, at, found.len()) == Some(&found[..]),
            Err(e) => e.kind() != std::io::ErrorKind::UnexpectedEof,
        }
    })
}
