//! One database file: bytes at places, and promises about failures and rot.
//!
//! The file is an ordinary SQLite database; page `n` (counted from 1) lies at `(n - 1) · page size`. It is read by
//! the SQL engine and by snapshots, and written by checkpoints only: what is committed but not yet checkpointed
//! stands in the log. So a torn or lost write here costs nothing, as long as the checkpoint that made it is
//! repeated, and that is what [`CheckpointMark`] is for.
//!
//! There are two ways to open one. [`PageFile::open`] gives the bare file. [`PageFile::open_checked`] adds the
//! [sums](crate::sums) of its pages, kept beside it: every write notes them, and every read compares. Whoever writes to a
//! bare file makes the sums beside it worthless, so they are removed before the first such write. A file is to be open
//! once: two that are open at one time know nothing of each other's sums.
//!
//! What it promises:
//!
//! - After [`sync`](PageFile::sync) returned, everything written before is durable, with its sums.
//! - A failed write or sync *latches*: the system may have dropped the pages that it could not write and call the next
//!   sync a success, so no later one is believed. Reading goes on. The exception is a write for which there was no room:
//!   nothing that was promised is lost by it, and it may be tried again, and succeeds once there is.
//! - A checked read gives what was written, or an error with a [`Rot`](crate::Rot) inside. While a checkpoint that a crash interrupted
//!   has not been repeated, a page that differs proves nothing, and is given as it is.
//!
//! A reader never waits for a writer, unless it has met the page that is being written. No lock is taken on the file;
//! the data directory has one.

mod checked;
mod transaction;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ferrolite_wal::backend::BackendFile;

use crate::directory::Directory;
use crate::error::Error;
use crate::mark::CheckpointMark;
use crate::sums::SUMS_SUFFIX;
use checked::Checked;

pub use checked::CheckedPage;
pub use transaction::{write_outcome, write_transaction, write_transaction_at};

/// A database file, open for reading and writing by any number of threads.
#[derive(Debug)]
pub struct PageFile {
    path: PathBuf,
    file: Arc<dyn BackendFile>,
    /// The sums, of a file that has them.
    checked: Option<Checked>,
    /// Sums beside a bare file, which have to go before it is written to.
    foreign_sums: Mutex<Option<(Directory, String)>>,
    /// One sync at a time: the system reports a lost page to one of two concurrent syncs only.
    syncing: Mutex<()>,
    /// The first failure of a write, truncation or sync; from then on the only answer to these.
    failed: OnceLock<Failure>,
}

/// A failure that is handed out again and again.
#[derive(Debug, Clone)]
struct Failure(Arc<io::Error>);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<&Failure> for io::Error {
    fn from(failure: &Failure) -> io::Error {
        io::Error::new(failure.0.kind(), failure.clone())
    }
}

impl PageFile {
    /// Opens the file without sums; if there is none, makes an empty one whose name is durable on return.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened or made; [`Error::Refused`] for a path that names no file.
    pub fn open(path: &Path) -> Result<PageFile, Error> {
        let (directory, name) = split(path)?;
        PageFile::open_in(&directory, name)
    }

    /// [`open`](PageFile::open) of the file `name` in `directory`.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(directory: &Directory, name: &str) -> Result<PageFile, Error> {
        let file = match directory.open(name, false)? {
            Some(file) => file,
            None => {
                let file = directory.create(name)?;
                directory.sync()?;
                file
            }
        };
        let sums = format!("{name}{SUMS_SUFFIX}");
        let has_sums = directory.open(&sums, false)?.is_some();
        Ok(PageFile {
            foreign_sums: Mutex::new(has_sums.then(|| (directory.clone(), sums))),
            ..PageFile::new(directory.path_of(name), file, None)
        })
    }

    /// Opens the file with the sums beside it, for pages of `page_size` bytes. What is not there is made, and its name
    /// durable on return. `mark` is that of the node's checkpoints: it says when a difference is rot, and is the
    /// log index of pages that are written without one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NewerFormat`] for sums that a newer program wrote; [`Error::Damaged`] for sums of pages
    /// of another size; [`Error::Refused`] for a page size that SQLite does not have.
    pub fn open_checked(
        path: &Path,
        page_size: u32,
        mark: Arc<CheckpointMark>,
    ) -> Result<PageFile, Error> {
        let (directory, name) = split(path)?;
        PageFile::open_checked_in(&directory, name, page_size, mark)
    }

    /// [`open_checked`](PageFile::open_checked) of the file `name` in `directory`.
    ///
    /// # Errors
    /// As there.
    pub fn open_checked_in(
        directory: &Directory,
        name: &str,
        page_size: u32,
        mark: Arc<CheckpointMark>,
    ) -> Result<PageFile, Error> {
        let (file, checked) = Checked::open(directory, name, page_size, Some(mark))?;
        let path = directory.path_of(name);
        Ok(PageFile::new(path, file, Some(checked)))
    }

    /// Opens a file with its sums, for pages of a snapshot to be written to it.
    pub(crate) fn open_to_install(
        directory: &Directory,
        name: &str,
        page_size: u32,
    ) -> Result<PageFile, Error> {
        let (file, checked) = Checked::open(directory, name, page_size, None)?;
        let path = directory.path_of(name);
        Ok(PageFile::new(path, file, Some(checked)))
    }

    fn new(path: PathBuf, file: Arc<dyn BackendFile>, checked: Option<Checked>) -> PageFile {
        PageFile {
            path,
            file,
            checked,
            foreign_sums: Mutex::default(),
            syncing: Mutex::new(()),
            failed: OnceLock::new(),
        }
    }

    /// Where the file was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads at byte `pos` until `buf` is full or the file ends, and returns how many bytes were read. Of a checked file,
    /// every page of which a part is read is compared whole.
    ///
    /// # Errors
    /// The system's error, with the path; [`io::ErrorKind::InvalidData`] with a [`Rot`](crate::Rot) inside for a page that is not
    /// what was written.
    pub fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        match &self.checked {
            None => self.read_raw(pos, buf),
            Some(checked) => checked.read_at(self, pos, buf),
        }
    }

    /// Writes all of `buf` at byte `pos`. The file grows as needed; a hole reads as zeros. In a checked file, pages that are
    /// written so count as of the mark's target.
    ///
    /// # Errors
    /// The system's error, with the path; then any part of `buf` may have been written, and every later write,
    /// truncation and sync fails in the same way, unless there was only no room.
    pub fn write_at(&self, pos: u64, buf: &[u8]) -> io::Result<()> {
        match &self.checked {
            None => self.drop_sums().and_then(|()| self.write_raw(pos, buf)),
            Some(checked) => checked.write_at(self, pos, buf, checked.target()),
        }
    }

    /// Makes all that was written durable, and then the sums of it.
    ///
    /// # Errors
    /// The system's error, with the path; then every later write, truncation and sync fails in the same way, unless
    /// there was only no room for the sums.
    pub fn sync(&self) -> io::Result<()> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        self.latch_all("sync", self.file.sync())?;
        if let Some(checked) = &self.checked
            && let Some(sums) = self.latch("write sums", checked.flush())?
        {
            self.latch_all("sync sums", sums.sync())?;
        }
        // A write that failed meanwhile may have been one that this caller counts on.
        self.check()
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// The system's error, with the path.
    #[allow(clippy::len_without_is_empty)] // an empty file is nothing special
    pub fn len(&self) -> io::Result<u64> {
        self.file.len().map_err(|e| self.named("measure", e))
    }

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// As [`write_at`](PageFile::write_at).
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        match &self.checked {
            None => self.drop_sums().and_then(|()| self.truncate_raw(len)),
            Some(checked) => checked.truncate(self, len),
        }
    }

    /// Removes sums that would be wrong after the next write, durably.
    fn drop_sums(&self) -> io::Result<()> {
        let mut foreign = self
            .foreign_sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((directory, sums)) = foreign.as_ref() {
            directory
                .remove(sums)
                .and_then(|_| directory.sync())
                .map_err(io::Error::other)?;
            *foreign = None;
        }
        Ok(())
    }

    fn read_raw(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file
            .read_at(pos, buf)
            .map_err(|e| self.named("read", e))
    }

    fn write_raw(&self, pos: u64, buf: &[u8]) -> io::Result<()> {
        self.check()?;
        self.latch("write", self.file.write_at(pos, buf))
    }

    fn truncate_raw(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.latch("truncate", self.file.set_len(len))
    }

    fn named(&self, operation: &str, error: io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!("cannot {operation} {}: {error}", self.path.display()),
        )
    }

    fn check(&self) -> io::Result<()> {
        self.failed
            .get()
            .map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Remembers a failure, unless it is that there is no room: a write that found none has lost nothing of what was
    /// written before.
    fn latch<T>(&self, operation: &str, result: io::Result<T>) -> io::Result<T> {
        match result {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Err(self.named(operation, e))
            }
            result => self.latch_all(operation, result),
        }
    }

    /// Remembers a failure of any kind: a sync that says there is no room has dropped what it should have written.
    fn latch_all<T>(&self, operation: &str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| {
            let error = Failure(Arc::new(self.named(operation, e)));
            self.failed.get_or_init(|| error).into()
        })
    }
}

/// The directory of a file, and the name in it.
fn split(path: &Path) -> Result<(Directory, &str), Error> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or(Error::Refused {
            reason: "the path names no file, or one that is no UTF-8",
        })?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Ok((Directory::at(parent.unwrap_or(Path::new("."))), name))
}

/// Whether SQLite has pages of that many bytes (file format, section 1.3.2).
pub(crate) fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (512..=65536).contains(&bytes)
}

#[cfg(test)]
mod tests;
