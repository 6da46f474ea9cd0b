//! The sending side: files in use, read as a stream.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::format::{
    CHECKSUM_BYTES, Database, HEAD_BYTES, Head, MAX_DATABASES, page_checksum, page_record_bytes,
    total_bytes,
};
use crate::error::Error;
use crate::naming;
use crate::page_file::{PageFile, is_page_size};

/// Most bytes that one read gives, whatever was asked for.
const MAX_CHUNK_BYTES: usize = 16 << 20;

/// A stream of all pages of a set of databases. See the [module](super).
///
/// Cheap to make and to keep: it holds the files open and nothing in memory. Reads may come in any order, from any
/// thread.
#[derive(Debug)]
pub struct SnapshotSource {
    page_size: u32,
    total: u64,
    /// In the order of the stream.
    databases: Vec<Part>,
}

/// One database, and where it stands in the stream.
#[derive(Debug)]
struct Part {
    database: Database,
    file: Arc<PageFile>,
    /// Where its record begins, in bytes.
    record_at: u64,
    /// Where its first page's record begins, in bytes.
    pages_at: u64,
}

impl SnapshotSource {
    /// Freezes the list: name, file and number of pages of each database, in the order in which they will be sent.
    ///
    /// # Errors
    /// [`Error::Refused`] for a page size that SQLite does not have and for two databases of one name,
    /// [`Error::Name`] for a name that no database can have, [`Error::TooLarge`] for more than [`MAX_DATABASES`].
    pub fn new(
        databases: Vec<(String, Arc<PageFile>, u32)>,
        page_size: u32,
    ) -> Result<SnapshotSource, Error> {
        if !is_page_size(page_size) {
            return Err(Error::Refused {
                reason: "SQLite has no such page size",
            });
        }
        if databases.len() > MAX_DATABASES as usize {
            return Err(Error::TooLarge {
                what: "the number of databases in a snapshot",
                len: databases.len() as u64,
                max: u64::from(MAX_DATABASES),
            });
        }
        let mut names = HashSet::new();
        for (name, _, _) in &databases {
            naming::file_name(name)?;
            if !names.insert(name.as_str()) {
                return Err(Error::Refused {
                    reason: "two databases of a snapshot have one name",
                });
            }
        }
        let (list, files): (Vec<Database>, Vec<Arc<PageFile>>) = databases
            .into_iter()
            .map(|(name, file, pages)| (Database { name, pages }, file))
            .unzip();
        let too_long = || Error::Refused {
            reason: "the snapshot is longer than can be counted",
        };
        let total = total_bytes(&list, page_size).ok_or_else(too_long)?;
        let mut record_at = HEAD_BYTES as u64;
        let mut pages_at = record_at + list.iter().map(Database::record_bytes).sum::<u64>();
        let mut parts = Vec::with_capacity(list.len());
        for (database, file) in list.into_iter().zip(files) {
            let next_record = record_at + database.record_bytes();
            let next_pages = pages_at + u64::from(database.pages) * page_record_bytes(page_size);
            parts.push(Part {
                database,
                file,
                record_at,
                pages_at,
            });
            (record_at, pages_at) = (next_record, next_pages);
        }
        Ok(SnapshotSource {
            page_size,
            total,
            databases: parts,
        })
    }

    /// Bytes of the whole stream. Never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always a head
    pub fn len(&self) -> u64 {
        self.total
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
        let max = max.min(MAX_CHUNK_BYTES);
        let mut chunk = Vec::new();
        let mut at = offset;
        while at < self.total {
            let room = max.saturating_sub(chunk.len());
            let before = chunk.len();
            if at == 0 {
                chunk.extend_from_slice(&self.head().encode());
            } else if let Some((ordinal, part)) = self.record_at(at) {
                chunk.extend_from_slice(&part.database.encode(ordinal));
            } else {
                let (ordinal, part, page_no) = self.page_at(at).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("no record of the snapshot begins at byte {at}"),
                    )
                })?;
                self.read_pages(ordinal, part, page_no, room, before == 0, &mut chunk)?;
            }
            if before > 0 && chunk.len() > max {
                chunk.truncate(before);
                break;
            }
            if chunk.len() == before {
                break;
            }
            at += (chunk.len() - before) as u64;
        }
        if at > self.total {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("byte {at} is past the end of the snapshot"),
            ));
        }
        Ok((chunk, at == self.total))
    }

    fn head(&self) -> Head {
        // The number of databases was checked against MAX_DATABASES.
        let databases = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        Head {
            page_size: self.page_size,
            databases,
            total: self.total,
        }
    }

    /// The database whose record begins at `at`, with its number.
    fn record_at(&self, at: u64) -> Option<(u32, &Part)> {
        let ordinal = self
            .databases
            .binary_search_by_key(&at, |part| part.record_at)
            .ok()?;
        Some((u32::try_from(ordinal).ok()?, self.databases.get(ordinal)?))
    }

    /// The page whose record begins at `at`: number and place of its database, and its own number.
    fn page_at(&self, at: u64) -> Option<(u32, &Part, u32)> {
        // Of databases without pages several begin at one place; the last one has the pages.
        let ordinal = self
            .databases
            .partition_point(|part| part.pages_at <= at)
            .checked_sub(1)?;
        let part = self.databases.get(ordinal)?;
        let within = at.checked_sub(part.pages_at)?;
        if within % page_record_bytes(self.page_size) != 0 {
            return None;
        }
        let before = u32::try_from(within / page_record_bytes(self.page_size)).ok()?;
        let page_no = before
            .checked_add(1)
            .filter(|page_no| *page_no <= part.database.pages)?;
        Some((u32::try_from(ordinal).ok()?, part, page_no))
    }

    /// Appends the records of pages from `page_no` on that fit into `room` bytes; one at least if `must`.
    fn read_pages(
        &self,
        ordinal: u32,
        part: &Part,
        page_no: u32,
        room: usize,
        must: bool,
        chunk: &mut Vec<u8>,
    ) -> io::Result<()> {
        let page_bytes = self.page_size as usize;
        let fit = (room / (page_bytes + CHECKSUM_BYTES)).max(usize::from(must));
        let left = (part.database.pages - page_no) as usize + 1;
        let mut pages = vec![0; fit.min(left) * page_bytes];
        let position = u64::from(page_no - 1) * u64::from(self.page_size);
        // What the file does not have any more stays zero.
        part.file.read_at(position, &mut pages)?;
        chunk.reserve(pages.len() + pages.len() / page_bytes * CHECKSUM_BYTES);
        for (page_no, page) in (page_no..).zip(pages.chunks_exact(page_bytes)) {
            chunk.extend_from_slice(page);
            chunk.extend_from_slice(&page_checksum(ordinal, page_no, page).to_le_bytes());
        }
        Ok(())
    }
}
