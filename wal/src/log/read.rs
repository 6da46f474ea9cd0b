//! Reading entries back.
//!
//! A place is looked up under the lock and read without it, so in the meantime the entry may have been superseded or
//! dropped and its file may hold something else. The file is written over only after the map has let the entry go:
//! if the map still has the entry in its place *after* the read, the bytes are the entry's.

use bytes::Bytes;

use super::Log;
use super::map::Location;
use crate::backend::read_exact_at;
use crate::error::Error;
use crate::record::{HEADER_BYTES, Place, Record, RecordHeader};

impl Log {
    pub(super) fn read_entry(&self, index: u64) -> Result<Record, Error> {
        loop {
            let location = self.map().locate(index)?;
            let len = HEADER_BYTES as usize + location.len as usize;
            let read = self
                .read_bytes(&location, len)
                .and_then(|bytes| check(index, &location, &bytes));
            if self.map().still_at(index, &location) {
                return read.map_err(|e| self.with_term(e));
            }
        }
    }

    pub(super) fn read_range(
        &self,
        lo: u64,
        hi: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Error> {
        let mut records: Vec<Record> = Vec::new();
        let mut left = max_bytes;
        let mut next = lo;
        while next < hi.min(self.last_index().saturating_add(1)) && (records.is_empty() || left > 0)
        {
            match self.read_together(next, hi, left, records.is_empty()) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => {
                    next += batch.len() as u64;
                    left = left.saturating_sub(batch.iter().map(|r| r.payload.len()).sum());
                    records.extend(batch);
                }
                Err(e) if records.is_empty() => return Err(e),
                // The caller meets the error when it asks for that entry.
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// Entries that lie behind each other in one segment, with one read.
    fn read_together(
        &self,
        lo: u64,
        hi: u64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Vec<Record>, Error> {
        let map = self.map();
        let location = map.locate(lo)?;
        if map.neighbours(lo, hi).next().is_none() {
            // Repaired: it lies elsewhere than its neighbours.
            drop(map);
            let fits = at_least_one || location.len as usize <= max_bytes;
            return if fits {
                Ok(vec![self.read_entry(lo)?])
            } else {
                Ok(Vec::new())
            };
        }
        let mut left = max_bytes;
        let mut places = Vec::new();
        for (offset, len) in map.neighbours(lo, hi) {
            let fits = left.checked_sub(len as usize);
            if fits.is_none() && !(at_least_one && places.is_empty()) {
                break;
            }
            left = fits.unwrap_or(0);
            places.push((offset, len));
        }
        drop(map);
        let Some((last_offset, last_len)) = places.last().copied() else {
            return Ok(Vec::new());
        };
        let total = u64::from(last_offset - location.place.offset)
            + u64::from(HEADER_BYTES)
            + u64::from(last_len);
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let bytes = match self.read_bytes(&location, total) {
            Ok(bytes) => bytes,
            // One bad sector must not hide the good entries before it.
            Err(_) => return Ok(vec![self.read_entry(lo)?]),
        };
        let mut records = Vec::with_capacity(places.len());
        for ((offset, len), index) in places.into_iter().zip(lo..) {
            let start = (offset - location.place.offset) as usize;
            let end = start + HEADER_BYTES as usize + len as usize;
            let place = Place {
                offset,
                ..location.place
            };
            let own = Location {
                place,
                len,
                ..location.clone()
            };
            let checked = check(
                index,
                &own,
                &bytes.slice(start.min(bytes.len())..end.min(bytes.len())),
            );
            match checked {
                Ok(record) if self.map().still_at(index, &own) => records.push(record),
                // Superseded, dropped or damaged: found out one by one.
                _ if records.is_empty() => records.push(self.read_entry(index)?),
                _ => break,
            }
        }
        Ok(records)
    }

    pub(super) fn read_piece(&self, index: u64, offset: u32, buf: &mut [u8]) -> Result<(), Error> {
        loop {
            let location = self.map().locate(index)?;
            let end = u64::from(offset) + buf.len() as u64;
            if end > u64::from(location.len) {
                return Err(Error::TooLarge {
                    what: "piece of an entry",
                    len: end,
                    max: u64::from(location.len),
                });
            }
            let at = u64::from(location.place.offset) + u64::from(HEADER_BYTES) + u64::from(offset);
            let read = read_exact_at(&*location.file, at, buf)
                .map_err(|e| Error::at("read", &location.name, e));
            if self.map().still_at(index, &location) {
                return read;
            }
        }
    }

    fn read_bytes(&self, location: &Location, len: usize) -> Result<Bytes, Error> {
        let mut bytes = vec![0; len];
        read_exact_at(
            &*location.file,
            u64::from(location.place.offset),
            &mut bytes,
        )
        .map_err(|e| Error::at("read", &location.name, e))?;
        Ok(Bytes::from(bytes))
    }

    /// Adds the entry's term, which memory knows even when the disk has forgotten it.
    fn with_term(&self, error: Error) -> Error {
        match error {
            Error::Damaged {
                file,
                offset,
                index: Some(index),
                term: None,
            } => Error::Damaged {
                file,
                offset,
                index: Some(index),
                term: self.map().term(index).ok(),
            },
            other => other,
        }
    }
}

/// Turns a record's bytes into the record, if they are that of entry `index`.
fn check(index: u64, location: &Location, bytes: &Bytes) -> Result<Record, Error> {
    let valid = RecordHeader::decode(location.place, bytes)
        .map(|(header, _)| header)
        .filter(|header| header.index == index && header.len == location.len)
        .map(|header| {
            (
                header,
                bytes.slice(bytes.len().min(HEADER_BYTES as usize)..),
            )
        })
        .filter(|(header, payload)| crc32fast::hash(payload) == header.payload_crc);
    match valid {
        Some((header, payload)) => Ok(Record {
            index,
            term: header.term,
            kind: header.kind,
            payload,
        }),
        None => Err(location.damaged(index, None)),
    }
}
