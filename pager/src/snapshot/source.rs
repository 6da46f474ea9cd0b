//! The sending side: files in use, read as a stream.

use std::collections::HashSet;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::format::{
    BARE_VERSION, Database, Head, MAX_DATABASES, PageRecord, STREAM_VERSION, total_bytes,
};
use crate::error::Error;
use crate::naming;
use crate::page_file::{PageFile, is_page_size};

/// Most bytes that one read gives, whatever was asked for.
const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Pages are read so many bytes at once, if they follow one another: few calls, and still in a processor's nearest memory
/// when they are looked at.
const RUN_BYTES: usize = 32 << 10;

/// A stream of pages of a set of databases. See the [module](super).
///
/// It holds the files open, and in memory no more than which pages are sent, as ranges. Reads may come in any order,
/// from any thread.
#[derive(Debug)]
pub struct SnapshotSource {
    head: Head,
    /// In the order of the stream.
    databases: Vec<Part>,
}

/// A database that was chosen: its name, its file, its pages, and those of them that are sent, in order.
type Chosen = (String, Arc<PageFile>, u32, Vec<RangeInclusive<u32>>);

/// One database, and where it stands in the stream.
#[derive(Debug)]
struct Part {
    database: Database,
    file: Arc<PageFile>,
    /// The pages that are sent, each range after the number of pages before it.
    ranges: Vec<(u32, RangeInclusive<u32>)>,
    /// Where its record begins, in bytes.
    record_at: u64,
    /// Where its first page's record begins, in bytes.
    pages_at: u64,
}

impl Part {
    /// The pages that are sent after `before` others of this database, as far as they follow one another: the first of them,
    /// and how many there are.
    fn run_after(&self, before: u32) -> Option<(u32, u32)> {
        let range = self
            .ranges
            .partition_point(|(first, _)| *first <= before)
            .checked_sub(1)?;
        let (first, range) = self.ranges.get(range)?;
        let page_no = range.start().checked_add(before - first)?;
        let others = range.end().checked_sub(page_no)?;
        Some((page_no, others.saturating_add(1)))
    }
}

impl SnapshotSource {
    /// Freezes the list, for a stream of all pages without their log indexes: name, file and number of pages of each
    /// database, in the order in which they will be sent.
    ///
    /// # Errors
    /// [`Error::Refused`] for a page size that SQLite does not have and for two databases of one name,
    /// [`Error::Name`] for a name that no database can have, [`Error::TooLarge`] for more than [`MAX_DATABASES`].
    pub fn new(
        databases: Vec<(String, Arc<PageFile>, u32)>,
        page_size: u32,
    ) -> Result<SnapshotSource, Error> {
        let parts = databases.into_iter().map(|(name, file, pages)| {
            let ranges = if pages == 0 { vec![] } else { vec![1..=pages] };
            (name, file, pages, ranges)
        });
        SnapshotSource::freeze(BARE_VERSION, 0, page_size, parts.collect())
    }

    /// Freezes the list, for a stream of the pages that entries after `base` may have written, with their log indexes;
    /// of all pages if `base` is 0. The files were opened with sums, and hold everything up to the index that the snapshot
    /// claims: that index was taken before.
    ///
    /// # Errors
    /// As [`new`](SnapshotSource::new); [`Error::Refused`] for a file that was opened without sums, or for pages of another
    /// size; [`Error::Io`].
    pub fn since(
        databases: Vec<(String, Arc<PageFile>)>,
        page_size: u32,
        base: u64,
    ) -> Result<SnapshotSource, Error> {
        let mut parts = Vec::with_capacity(databases.len());
        for (name, file) in databases {
            if file.page_size() != Some(page_size) {
                return Err(Error::Refused {
                    reason: "a database of the snapshot has no sums, or pages of another size",
                });
            }
            let pages = file.pages()?;
            let mut ranges = match base {
                0 if pages == 0 => vec![],
                0 => vec![1..=pages],
                base => file.changed_since(base)?,
            };
            // The file may have grown since it was measured.
            ranges.retain_mut(|range| {
                *range = *range.start()..=pages.min(*range.end());
                !range.is_empty()
            });
            parts.push((name, file, pages, ranges));
        }
        SnapshotSource::freeze(STREAM_VERSION, base, page_size, parts)
    }

    fn freeze(
        version: u32,
        base: u64,
        page_size: u32,
        parts: Vec<Chosen>,
    ) -> Result<SnapshotSource, Error> {
        if !is_page_size(page_size) {
            return Err(Error::Refused {
                reason: "SQLite has no such page size",
            });
        }
        let too_many = || Error::TooLarge {
            what: "the number of databases in a snapshot",
            len: parts.len() as u64,
            max: u64::from(MAX_DATABASES),
        };
        let count = u32::try_from(parts.len()).map_err(|_| too_many())?;
        if count > MAX_DATABASES {
            return Err(too_many());
        }
        let mut names = HashSet::new();
        for (name, ..) in &parts {
            naming::file_name(name)?;
            if !names.insert(name.as_str()) {
                return Err(Error::Refused {
                    reason: "two databases of a snapshot have one name",
                });
            }
        }
        let mut databases: Vec<Part> = Vec::with_capacity(parts.len());
        for (name, file, pages, ranges) in parts {
            let mut records = 0;
            let count = |range: RangeInclusive<u32>| {
                let first = records;
                // Ranges of one file do not overlap.
                records += range.end() - range.start() + 1;
                (first, range)
            };
            let ranges = ranges.into_iter().map(count).collect();
            let database = Database {
                name,
                pages,
                records,
            };
            databases.push(Part {
                database,
                file,
                ranges,
                record_at: 0,
                pages_at: 0,
            });
        }
        let list: Vec<_> = databases.iter().map(|part| part.database.clone()).collect();
        let total = total_bytes(&list, version, page_size).ok_or(Error::Refused {
            reason: "the snapshot is longer than can be counted",
        })?;
        let head = Head {
            version,
            page_size,
            databases: count,
            total,
            base,
        };
        let mut record_at = Head::bytes(version) as u64;
        let records = list.iter().map(|database| database.record_bytes(version));
        let mut pages_at = record_at + records.sum::<u64>();
        for part in &mut databases {
            (part.record_at, part.pages_at) = (record_at, pages_at);
            record_at += part.database.record_bytes(version);
            pages_at += u64::from(part.database.records) * head.page_record_bytes();
        }
        Ok(SnapshotSource { head, databases })
    }

    /// The log index since which pages have changed; 0 when all pages are sent.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.head.base
    }

    /// Bytes of the whole stream. Never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always a head
    pub fn len(&self) -> u64 {
        self.head.total
    }

    /// Reads whole records from byte `offset` of the stream on: as many as fit into `max` bytes, but one at
    /// least, unless `offset` is the end. The flag says that the stream ends with these.
    ///
    /// The same offset may be read again later; then a page may be another. A page past the end of a file that became
    /// shorter reads as zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when no record begins at `offset`; otherwise the file's error.
    pub fn read(&self, offset: u64, max: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut chunk = Vec::new();
        let done = self.read_into(offset, max, &mut chunk)?;
        Ok((chunk, done))
    }

    /// [`read`](SnapshotSource::read) into a buffer of the caller's, in place of what it holds.
    ///
    /// # Errors
    /// As there.
    pub fn read_into(&self, offset: u64, max: usize, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        let max = max.min(MAX_CHUNK_BYTES);
        let mut at = offset;
        while at < self.head.total {
            let room = max.saturating_sub(chunk.len());
            let len = chunk.len();
            if at == 0 {
                chunk.extend_from_slice(&self.head.encode());
            } else if let Some((ordinal, part)) = self.record_at(at) {
                chunk.extend_from_slice(&part.database.encode(self.head.version, ordinal));
            } else {
                let (ordinal, part, before) = self.page_at(at).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("no record of the snapshot begins at byte {at}"),
                    )
                })?;
                self.read_pages(ordinal, part, before, room, chunk)?;
            }
            if len > 0 && chunk.len() > max {
                chunk.truncate(len);
                break;
            }
            if chunk.len() == len {
                break;
            }
            at += (chunk.len() - len) as u64;
        }
        if at > self.head.total {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("byte {at} is past the end of the snapshot"),
            ));
        }
        Ok(at == self.head.total)
    }

    /// The database whose record begins at `at`, with its number.
    fn record_at(&self, at: u64) -> Option<(u32, &Part)> {
        let ordinal = self
            .databases
            .binary_search_by_key(&at, |part| part.record_at)
            .ok()?;
        Some((u32::try_from(ordinal).ok()?, self.databases.get(ordinal)?))
    }

    /// The page whose record begins at `at`: number and place of its database, and how many pages of it come before.
    fn page_at(&self, at: u64) -> Option<(u32, &Part, u32)> {
        // Of databases without pages several begin at one place; the last one has the pages.
        let ordinal = self
            .databases
            .partition_point(|part| part.pages_at <= at)
            .checked_sub(1)?;
        let part = self.databases.get(ordinal)?;
        let within = at.checked_sub(part.pages_at)?;
        let record = self.head.page_record_bytes();
        if within % record != 0 {
            return None;
        }
        let before = u32::try_from(within / record).ok()?;
        let before = Some(before).filter(|before| *before < part.database.records)?;
        Some((u32::try_from(ordinal).ok()?, part, before))
    }

    /// Appends the records of pages, from the one after `before` others on, that fit into `room` bytes; one at least
    /// if there is nothing yet.
    fn read_pages(
        &self,
        ordinal: u32,
        part: &Part,
        before: u32,
        room: usize,
        chunk: &mut Vec<u8>,
    ) -> io::Result<()> {
        let record = usize::try_from(self.head.page_record_bytes()).unwrap_or(usize::MAX);
        let must = chunk.is_empty();
        let fit = (room / record).max(usize::from(must));
        let mut left = fit.min((part.database.records - before) as usize);
        chunk.reserve(left * record);
        let page_bytes = self.head.page_size as usize;
        let mut run = vec![0; page_bytes.max(RUN_BYTES)];
        let mut before = before;
        while left > 0 {
            let Some((first, count)) = part.run_after(before) else {
                break;
            };
            let count = (count as usize).min(left).min(run.len() / page_bytes);
            let Some(run) = run.get_mut(..count * page_bytes) else {
                break;
            };
            part.file
                .read_for_snapshot(first, page_bytes, run, |page_no, index, page| {
                    let record = PageRecord {
                        page_no,
                        index: index.filter(|_| self.head.version != BARE_VERSION),
                        page,
                    };
                    record.encode(ordinal, chunk);
                })?;
            left -= count;
            before += u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(())
    }
}
