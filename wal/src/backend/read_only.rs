//! Real files that are only looked at.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::{LOCK_FILE, holder, list, plain, read_fully};
use super::{Backend, BackendFile};
use crate::error::Error;

/// Files of a directory that nobody else may change meanwhile, and that are not changed either: every operation that
/// would is answered with [`io::ErrorKind::ReadOnlyFilesystem`].
///
/// A directory that a live process has is refused. While it is looked at, no process can [take](super::DirBackend::open)
/// it, but others may look too. The lock file is neither made nor written, so a directory without one, as a copy may be,
/// is not guarded; and whoever is kept out is told the process that had the directory last.
///
/// ```
/// use ferrolite_wal::backend::{Backend, DirBackend, ReadOnlyDir};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let data = DirBackend::open(dir.path())?;
/// assert!(ReadOnlyDir::open(dir.path()).unwrap_err().is_in_use());
/// drop(data);
/// let data = ReadOnlyDir::open(dir.path())?;
/// assert!(data.open("a", true).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReadOnlyDir {
    path: PathBuf,
    /// The open lock file, if there is one; dropping the last reference frees the directory.
    lock: Option<Arc<File>>,
}

impl ReadOnlyDir {
    /// Opens `path`, which must be there, and keeps processes that would write out of it.
    ///
    /// # Errors
    /// [`Error::InUse`] when a live process has it, [`Error::NoPermission`] when it may not be read, otherwise
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<ReadOnlyDir, Error> {
        let path = path.as_ref().to_path_buf();
        let directory = path.display().to_string();
        let failed = |operation, source: io::Error| Error::at(operation, &directory, source);
        list(&path).map_err(|e| failed("read", e))?;
        let mut lock = match File::open(path.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(ReadOnlyDir { path, lock: None });
            }
            Err(e) => return Err(failed("open lock file of", e)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(ReadOnlyDir {
                path,
                lock: Some(Arc::new(lock)),
            }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                directory,
                process: holder(&mut lock),
            }),
            Err(TryLockError::Error(e)) => Err(failed("lock", e)),
        }
    }

    /// The directory `name` inside this one, under the same lock.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NoPermission`] when it is not there or cannot be read, and for a name that is not one
    /// plain component.
    pub fn subdirectory(&self, name: &str) -> Result<ReadOnlyDir, Error> {
        let path = plain(&self.path, name)
            .and_then(|path| list(&path).map(|_| path))
            .map_err(|e| Error::at("read", &self.path.join(name).display().to_string(), e))?;
        Ok(ReadOnlyDir {
            path,
            lock: self.lock.clone(),
        })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Backend for ReadOnlyDir {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        match File::open(plain(&self.path, name)?) {
            Err(e) if create && e.kind() == io::ErrorKind::NotFound => refused(),
            file => Ok(Arc::new(ReadOnlyFile { file: file? })),
        }
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}

#[derive(Debug)]
struct ReadOnlyFile {
    file: File,
}

impl BackendFile for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_fully(&self.file, offset, buf)
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}
