//! The receiving side: a stream, checked and written to files aside.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use super::format::{Database, Head, page_checksum, page_record_bytes, total_bytes};
use super::install::{self, Complete};
use crate::bytes::Reader;
use crate::directory::Directory;
use crate::error::Error;
use crate::naming;

/// Writes a snapshot into a directory of its own. See the [module](super).
///
/// It keeps the list of databases and one chunk in memory, and one file open. A sink that is dropped leaves its files;
/// [`discard`](super::discard) or the next [`begin`](SnapshotSink::begin) removes them.
#[derive(Debug)]
pub struct SnapshotSink {
    directory: Directory,
    id: u64,
    /// Bytes of the stream that came and were good.
    offset: u64,
    /// The first record, once it came.
    head: Option<Head>,
    /// What the head announced, as far as it came.
    databases: Vec<Database>,
    names: HashSet<String>,
    /// The database whose pages are due; `None` until all records of databases came, and when all is there.
    current: Option<Current>,
    /// The first failure of the system; from then on the only answer.
    failed: Option<Error>,
}

/// A file that is being filled.
#[derive(Debug)]
struct Current {
    ordinal: u32,
    file: Arc<dyn BackendFile>,
    path: PathBuf,
    pages: u32,
    /// The page that comes next.
    next_page: u32,
}

impl SnapshotSink {
    /// Empties `dir`, making it if it is not there (its parent must be), for the snapshot that the caller knows as
    /// `id`.
    ///
    /// # Errors
    /// [`Error::InstallPending`] when a complete snapshot waits there; [`Error::Io`].
    pub fn begin(dir: &Path, id: u64) -> Result<SnapshotSink, Error> {
        SnapshotSink::begin_in(&Directory::at(dir), id)
    }

    /// [`begin`](SnapshotSink::begin) in a directory that need not be real.
    ///
    /// # Errors
    /// As there.
    pub fn begin_in(directory: &Directory, id: u64) -> Result<SnapshotSink, Error> {
        install::discard_in(directory)?;
        directory.make()?;
        Ok(SnapshotSink {
            directory: directory.clone(),
            id,
            offset: 0,
            head: None,
            databases: Vec::new(),
            names: HashSet::new(),
            current: None,
            failed: None,
        })
    }

    /// What the caller knows the snapshot as.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that came and were good: where the next chunk has to begin. Always the beginning of a record.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the whole stream, once its first record came.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.head.map(|head| head.total)
    }

    /// Whether all of the stream came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete_head().is_some()
    }

    /// The head, once everything that it announces has come: the length alone proves nothing, because a head with
    /// a wrong one ends where it says.
    fn complete_head(&self) -> Option<Head> {
        self.head.filter(|head| {
            head.total == self.offset
                && u32::try_from(self.databases.len()) == Ok(head.databases)
                && self.current.is_none()
        })
    }

    /// Takes the next chunk, which begins at byte `offset` of the stream and consists of whole records.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] when it is not the next one; [`Error::Stream`] or [`Error::NewerFormat`] when a record is
    /// not good: the ones before it count, and the rest may be asked for again from [`offset`](Self::offset) on.
    /// [`Error::Io`] when the system fails: then the same error for ever.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if offset != self.offset {
            return Err(Error::OutOfOrder {
                offset,
                expected: self.offset,
            });
        }
        let mut reader = Reader::new(data);
        while !reader.is_empty() {
            let before = reader.len();
            let result = self.record(&mut reader);
            if let Err(error) = result {
                if error.is_io() {
                    self.failed = Some(error.clone());
                }
                return Err(error);
            }
            self.offset += (before - reader.len()) as u64;
        }
        Ok(())
    }

    /// Takes one record, or a run of pages.
    fn record(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let offset = self.offset;
        let refuse = |reason| Err(Error::Stream { offset, reason });
        let Some(head) = self.head else {
            let head = Head::decode(reader)?;
            if head.databases == 0 {
                check_total(&[], head, offset)?;
            }
            self.head = Some(head);
            return Ok(());
        };
        if let Some(current) = &mut self.current {
            let result = current.pages(head.page_size, reader, &mut self.offset);
            if current.next_page > current.pages {
                self.open_next()?;
            }
            return result;
        }
        if self.databases.len() == head.databases as usize {
            return refuse("bytes follow the end");
        }
        let ordinal = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        let database = Database::decode(reader, ordinal, offset)?;
        if self.names.contains(&database.name) {
            return refuse("two databases have one name");
        }
        let name = database.name.clone();
        self.databases.push(database);
        if self.databases.len() == head.databases as usize {
            if let Err(error) = check_total(&self.databases, head, offset) {
                self.databases.pop();
                return Err(error);
            }
            self.open_next()?;
        }
        self.names.insert(name);
        Ok(())
    }

    /// Puts the filled file away, durably, and goes to the next database that has pages.
    fn open_next(&mut self) -> Result<(), Error> {
        let mut ordinal = 0;
        if let Some(filled) = self.current.take() {
            filled
                .file
                .sync()
                .map_err(|e| Error::io("sync", &filled.path, e))?;
            ordinal = filled.ordinal + 1;
        }
        while let Some(database) = self.databases.get(ordinal as usize) {
            let name = naming::file_name(&database.name)?;
            let path = self.directory.path_of(&name);
            let file = self.directory.create(&name)?;
            if database.pages > 0 {
                let pages = database.pages;
                self.current = Some(Current {
                    ordinal,
                    file,
                    path,
                    pages,
                    next_page: 1,
                });
                return Ok(());
            }
            file.sync().map_err(|e| Error::io("sync", &path, e))?;
            ordinal += 1;
        }
        Ok(())
    }

    /// Decides that this snapshot will be installed: durable on return, with `meta`, which is the caller's own (which
    /// index, term and configuration the snapshot stands for, and up to where the log has to be redone).
    ///
    /// # Errors
    /// [`Error::Incomplete`] when bytes are missing, [`Error::TooLarge`] for more than
    /// [`MAX_META_BYTES`](super::MAX_META_BYTES) of `meta`; [`Error::Io`] when the system fails: whether the decision
    /// stands is then seen on the next start, by [`pending_install`](super::pending_install).
    pub fn finish(self, meta: &[u8]) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(head) = self.complete_head() else {
            return Err(Error::Incomplete {
                received: self.offset,
                total: self.head.map(|head| head.total),
            });
        };
        // Every file was synced when its last page came; their names were not.
        self.directory.sync()?;
        let complete = Complete {
            id: self.id,
            page_size: head.page_size,
            meta: meta.to_vec(),
            databases: self.databases,
        };
        complete.save(&self.directory)
    }
}

/// Whether the length in the head is the one that follows from the databases; the last record that says so is at
/// `offset`.
fn check_total(databases: &[Database], head: Head, offset: u64) -> Result<(), Error> {
    if total_bytes(databases, head.page_size) == Some(head.total) {
        return Ok(());
    }
    Err(Error::Stream {
        offset,
        reason: "its length is not that of the databases in it",
    })
}

impl Current {
    /// Takes pages as long as they are good and of this file, and writes them at once. Counts those before a bad one
    /// into `offset`; those of a good run are the caller's to count.
    fn pages(
        &mut self,
        page_size: u32,
        reader: &mut Reader<'_>,
        offset: &mut u64,
    ) -> Result<(), Error> {
        let first = self.next_page;
        let mut run = Vec::new();
        let mut bad = None;
        while self.next_page <= self.pages && !reader.is_empty() {
            let mut record = *reader;
            let (Some(page), Some(checksum)) = (record.take(page_size as usize), record.u32())
            else {
                bad = Some("the record of a page is cut off");
                break;
            };
            if page_checksum(self.ordinal, self.next_page, page) != checksum {
                bad = Some("the checksum of a page is wrong");
                break;
            }
            run.extend_from_slice(page);
            *reader = record;
            self.next_page += 1;
        }
        let position = u64::from(first - 1) * u64::from(page_size);
        self.file
            .write_at(position, &run)
            .map_err(|e| Error::io("write", &self.path, e))?;
        match bad {
            None => Ok(()),
            Some(reason) => {
                *offset += u64::from(self.next_page - first) * page_record_bytes(page_size);
                Err(Error::Stream {
                    offset: *offset,
                    reason,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A head that announces databases, and an end right after itself, is not a snapshot of none: installing that
    /// would remove every database.
    #[test]
    fn a_head_alone_is_not_complete() {
        let directory = tempfile::tempdir().unwrap();
        for databases in [1, 7] {
            let mut head = Head {
                page_size: 4096,
                databases,
                total: 0,
            };
            head.total = head.encode().len() as u64;
            let mut sink = SnapshotSink::begin(directory.path(), 1).unwrap();
            // Whether it is refused now or at the end is the sink's choice.
            let taken = sink.write(0, &head.encode());
            assert!(taken.is_err() || !sink.is_complete());
            assert!(sink.finish(b"").is_err());
        }
    }
}
