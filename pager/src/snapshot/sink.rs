//! The receiving side: a stream, checked and written to files aside.

use std::collections::HashSet;
use std::path::Path;

use super::format::{Database, Head, total_bytes};
use super::install::{self, Complete};
use super::part::Incoming;
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
    /// The log index up to which this node's own files are complete.
    own_base: u64,
    /// Bytes of the stream that came and were good.
    offset: u64,
    /// The first record, once it came.
    head: Option<Head>,
    /// What the head announced, as far as it came.
    databases: Vec<Database>,
    names: HashSet<String>,
    /// The database whose pages are due; `None` until all records of databases came, and when all is there.
    current: Option<Incoming>,
    /// The first failure of the system; from then on the only answer.
    failed: Option<Error>,
}

impl SnapshotSink {
    /// Empties `dir`, making it if it is not there (its parent must be), for the snapshot that the caller knows as
    /// `id`. It has to be one of all pages.
    ///
    /// # Errors
    /// [`Error::InstallPending`] when a complete snapshot waits there; [`Error::Io`].
    pub fn begin(dir: &Path, id: u64) -> Result<SnapshotSink, Error> {
        SnapshotSink::begin_in(&Directory::at(dir), id, 0)
    }

    /// [`begin`](SnapshotSink::begin) on a node whose files hold every entry up to `own_base`, its mark's
    /// [`done`](crate::CheckpointMark::done): the snapshot may also be one of the pages that have changed since that
    /// index, or since an earlier one.
    ///
    /// # Errors
    /// As there.
    pub fn begin_since(dir: &Path, id: u64, own_base: u64) -> Result<SnapshotSink, Error> {
        SnapshotSink::begin_in(&Directory::at(dir), id, own_base)
    }

    /// [`begin_since`](SnapshotSink::begin_since) in a directory that need not be real.
    ///
    /// # Errors
    /// As there.
    pub fn begin_in(directory: &Directory, id: u64, own_base: u64) -> Result<SnapshotSink, Error> {
        install::discard_in(directory)?;
        directory.make()?;
        Ok(SnapshotSink {
            directory: directory.clone(),
            id,
            own_base,
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
            if head.base > self.own_base {
                return refuse("it is of changes since an index that this node does not have");
            }
            if head.databases == 0 {
                check_total(&[], head, offset)?;
            }
            self.head = Some(head);
            return Ok(());
        };
        if let Some(current) = &mut self.current {
            let result = current.pages(&head, reader, &mut self.offset);
            if current.is_filled() {
                self.open_next(&head)?;
            }
            return result;
        }
        if self.databases.len() == head.databases as usize {
            return refuse("bytes follow the end");
        }
        let ordinal = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        let database = Database::decode(reader, &head, ordinal, offset)?;
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
            self.open_next(&head)?;
        }
        self.names.insert(name);
        Ok(())
    }

    /// Puts the filled file away, durably, and goes to the next database of which pages come.
    fn open_next(&mut self, head: &Head) -> Result<(), Error> {
        let mut ordinal = 0;
        if let Some(filled) = self.current.take() {
            ordinal = filled.ordinal() + 1;
            filled.finish()?;
        }
        while let Some(database) = self.databases.get(ordinal as usize) {
            let name = naming::file_name(&database.name)?;
            let incoming = Incoming::create(&self.directory, &name, head, ordinal, database)?;
            if !incoming.is_filled() {
                self.current = Some(incoming);
                return Ok(());
            }
            incoming.finish()?;
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
            has_sums: true,
            id: self.id,
            page_size: head.page_size,
            base: head.base,
            meta: meta.to_vec(),
            databases: self.databases,
        };
        complete.save(&self.directory)
    }
}

/// Whether the length in the head is the one that follows from the databases; the last record that says so is at
/// `offset`.
fn check_total(databases: &[Database], head: Head, offset: u64) -> Result<(), Error> {
    if total_bytes(databases, head.version, head.page_size) == Some(head.total) {
        return Ok(());
    }
    Err(Error::Stream {
        offset,
        reason: "its length is not that of the databases in it",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::snapshot::format::{BARE_VERSION, STREAM_VERSION};

    /// A head that announces databases, and an end right after itself, is not a snapshot of none: installing that
    /// would remove every database.
    #[test]
    fn a_head_alone_is_not_complete() {
        let directory = tempfile::tempdir().unwrap();
        for (databases, version) in [(1, BARE_VERSION), (7, BARE_VERSION), (7, STREAM_VERSION)] {
            let mut head = Head {
                version,
                page_size: 4096,
                databases,
                total: 0,
                base: 0,
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
