//! One database file: bytes at places, and a promise about failures.
//!
//! The file is an ordinary SQLite database; page `n` (counted from 1) lies at `(n - 1) · page size`. It is read by
//! the SQL engine and by snapshots, and written by checkpoints only: what is committed but not yet checkpointed
//! stands in the log. So a torn or lost write here costs nothing, as long as the checkpoint that made it is
//! repeated, and that is what [`CheckpointMark`](crate::CheckpointMark) is for.
//!
//! What it promises: after [`sync`](PageFile::sync) returned, everything written before is durable. A failed write
//! or sync *latches*: the system may have dropped the pages that it could not write and call the next sync a success,
//! so no later one is believed. Reading goes on. No lock is taken on the file; the data directory has one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::directory;
use crate::error::Error;

/// A database file, open for reading and writing by any number of threads.
#[derive(Debug)]
pub struct PageFile {
    path: PathBuf,
    file: File,
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
    /// Opens the file; if there is none, makes an empty one whose name is durable on return.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened or made.
    pub fn open(path: &Path) -> Result<PageFile, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = options
                    .create(true)
                    .truncate(false)
                    .open(path)
                    .map_err(|e| Error::io("create", path, e))?;
                directory::sync_parent(path)?;
                file
            }
            opened => opened.map_err(|e| Error::io("open", path, e))?,
        };
        Ok(PageFile {
            path: path.to_path_buf(),
            file,
            syncing: Mutex::new(()),
            failed: OnceLock::new(),
        })
    }

    /// Where the file was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads at byte `pos` until `buf` is full or the file ends, and returns how many bytes were read.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_up_to(&self.file, pos, buf).map_err(|e| self.named("read", e))
    }

    /// Writes all of `buf` at byte `pos`. The file grows as needed; a hole reads as zeros.
    ///
    /// # Errors
    /// The system's error, with the path; then any part of `buf` may have been written, and every later write,
    /// truncation and sync fails in the same way.
    pub fn write_at(&self, pos: u64, buf: &[u8]) -> io::Result<()> {
        self.check()?;
        self.latch("write", self.file.write_all_at(buf, pos))
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// The system's error, with the path; then every later write, truncation and sync fails in the same way.
    pub fn sync(&self) -> io::Result<()> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        self.latch("sync", self.file.sync_data())?;
        // A write that failed meanwhile may have been one that this caller counts on.
        self.check()
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// The system's error, with the path.
    #[allow(clippy::len_without_is_empty)] // an empty file is nothing special
    pub fn len(&self) -> io::Result<u64> {
        self.file
            .metadata()
            .map(|m| m.len())
            .map_err(|e| self.named("measure", e))
    }

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// The system's error, with the path; then every later write, truncation and sync fails in the same way.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
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

    fn latch(&self, operation: &str, result: io::Result<()>) -> io::Result<()> {
        result.map_err(|e| {
            let error = Failure(Arc::new(self.named(operation, e)));
            self.failed.get_or_init(|| error).into()
        })
    }
}

/// Reads at `pos` until `buf` is full or the file ends.
pub(crate) fn read_up_to(file: &File, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, pos.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Carries a committed transaction into the file: page images to their places, and the length that the database has
/// after it, `db_size` in pages. It does not sync. Repeating it, or a run of transactions in order, is harmless.
///
/// Of a page that comes more than once the last image counts. Images past `db_size` are left out: a transaction that
/// shrinks the database may have written them before.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a page size that SQLite does not have, an image of another size, page 0, or
/// `db_size` 0, which marks a transaction that is not committed; otherwise the file's error.
pub fn write_transaction<'a>(
    file: &PageFile,
    page_size: u32,
    pages: impl Iterator<Item = (u32, &'a [u8])>,
    db_size: u32,
) -> io::Result<()> {
    let refuse = |reason: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: {reason}", file.path.display()),
        )
    };
    if !is_page_size(page_size) {
        return Err(refuse("no page size of SQLite"));
    }
    if db_size == 0 {
        return Err(refuse(
            "the transaction is not committed: its database size is 0",
        ));
    }
    for (page_no, image) in pages {
        if image.len() != page_size as usize {
            return Err(refuse("a page image is not as long as a page"));
        }
        let before = page_no
            .checked_sub(1)
            .ok_or_else(|| refuse("there is no page 0"))?;
        if page_no <= db_size {
            file.write_at(u64::from(before) * u64::from(page_size), image)?;
        }
    }
    let len = u64::from(db_size) * u64::from(page_size);
    // SQLite believes the size in the header and calls a shorter file damaged, although the last pages may be free
    // ones that were never written.
    if file.len()? != len {
        file.truncate(len)?;
    }
    Ok(())
}

/// Whether SQLite has pages of that many bytes (file format, section 1.3.2).
pub(crate) fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (512..=65536).contains(&bytes)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )]

    use super::*;

    fn open(dir: &tempfile::TempDir) -> PageFile {
        PageFile::open(&dir.path().join("a.sqlite")).unwrap()
    }

    /// Reads tell how much there was; a file keeps its bytes over a reopening.
    #[test]
    fn reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir);
        assert_eq!(file.len().unwrap(), 0);
        file.write_at(10, b"abc").unwrap();
        file.sync().unwrap();
        drop(file);
        let file = open(&dir);
        let mut buf = [9; 8];
        assert_eq!(file.read_at(8, &mut buf).unwrap(), 5);
        assert_eq!(&buf, b"\0\0abc\x09\x09\x09");
        assert_eq!(file.read_at(1 << 40, &mut buf).unwrap(), 0);
        file.truncate(11).unwrap();
        assert_eq!(file.read_at(10, &mut buf).unwrap(), 1);
        assert!(
            PageFile::open(&dir.path().join("none/a.sqlite"))
                .unwrap_err()
                .is_io()
        );
    }

    /// After a failure nothing is promised any more, although the system would: reads go on, all else repeats the
    /// first error.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_failure_latches() {
        let file = PageFile::open(Path::new("/dev/full")).unwrap();
        let first = file.write_at(0, b"x").unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::StorageFull);
        assert!(first.to_string().contains("/dev/full"), "{first}");
        for later in [file.sync(), file.write_at(0, b""), file.truncate(0)] {
            let later = later.unwrap_err();
            assert_eq!(later.kind(), first.kind());
            assert_eq!(later.to_string(), first.to_string());
        }
        assert_eq!(file.read_at(0, &mut [1; 4]).unwrap(), 4);
    }

    /// A transaction leaves exactly its pages and its length, and can be repeated.
    #[test]
    fn transactions_leave_pages_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir);
        let page = |byte: u8| vec![byte; 512];
        let (one, two, three) = (page(1), page(2), page(3));
        for _ in 0..2 {
            let grown = [(2, two.as_slice()), (1, &one), (5, &one), (2, &three)];
            write_transaction(&file, 512, grown.into_iter(), 7).unwrap();
            let mut buf = vec![9; 8 * 512];
            assert_eq!(file.read_at(0, &mut buf).unwrap(), 7 * 512);
            for (n, byte) in [1, 3, 0, 0, 1, 0, 0].into_iter().enumerate() {
                assert_eq!(buf[n * 512..(n + 1) * 512], page(byte), "page {}", n + 1);
            }
            // Page 3 was written and then cut off by the same transaction.
            let shrunk = [(3, three.as_slice()), (2, &two)];
            write_transaction(&file, 512, shrunk.into_iter(), 2).unwrap();
            assert_eq!(file.read_at(0, &mut buf).unwrap(), 2 * 512);
            assert_eq!(buf[512..1024], page(2));
        }
    }

    /// What no committed transaction of SQLite says is refused before it does harm.
    #[test]
    fn impossible_transactions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir);
        let page = [0; 512];
        for (page_size, page_no, db_size, len) in [
            (512, 0, 1, 512),
            (512, 1, 0, 512),
            (512, 1, 1, 511),
            (0, 1, 1, 0),
            (500, 1, 1, 500),
            (1 << 17, 1, 1, 512),
        ] {
            let pages = [(page_no, &page[..len])];
            let error =
                write_transaction(&file, page_size, pages.into_iter(), db_size).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!(file.len().unwrap(), 0);
        file.write_at(0, &page).unwrap(); // and nothing latched
    }
}
