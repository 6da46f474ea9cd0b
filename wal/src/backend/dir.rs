//! Real files in a real directory, held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Backend, BackendFile};
use crate::error::Error;

/// Name of the file whose lock says that a live process has the directory.
pub(super) const LOCK_FILE: &str = "LOCK";

/// Files of a directory, by positional reads and writes.
///
/// [`DirBackend::open`] locks the directory for this process until the last clone and the last
/// [subdirectory](DirBackend::subdirectory) is dropped; the lock goes with the process, however that ends.
///
/// ```
/// use ferrolite_wal::backend::{Backend, BackendFile, DirBackend};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let data = DirBackend::open(dir.path())?;
/// assert!(DirBackend::open(dir.path()).unwrap_err().is_in_use());
/// let file = data.subdirectory("log")?.open("a", true)?;
/// file.write_at(0, b"durable")?;
/// file.sync()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DirBackend {
    path: PathBuf,
    /// The open lock file; dropping the last reference frees the directory.
    lock: Arc<File>,
}

impl DirBackend {
    /// Opens `path`, makes it if it is not there, and locks it for this process.
    ///
    /// # Errors
    /// [`Error::InUse`] when a live process has it, [`Error::NoPermission`] when it may not be written,
    /// otherwise [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<DirBackend, Error> {
        let path = path.as_ref().to_path_buf();
        let failed = |operation, source: io::Error| {
            Error::at(operation, &path.display().to_string(), source)
        };
        make_directory(&path).map_err(|e| failed("make directory", e))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|e| failed("open lock file of", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    directory: path.display().to_string(),
                    process: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", e)),
        }
        lock.set_len(0)
            .map_err(|e| failed("write lock file of", e))?;
        lock.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(|e| failed("write lock file of", e))?;
        Ok(DirBackend {
            path,
            lock: Arc::new(lock),
        })
    }

    /// The directory `name` inside this one, made if it is not there, under the same lock.
    ///
    /// # Errors
    /// [`Error::NoPermission`] or [`Error::Io`] when it cannot be made; [`Error::Io`] for a name that is not one
    /// plain component.
    pub fn subdirectory(&self, name: &str) -> Result<DirBackend, Error> {
        let path = plain(&self.path, name)
            .and_then(|path| make_directory(&path).map(|()| path))
            .map_err(|e| Error::at("make directory", name, e))?;
        Ok(DirBackend {
            path,
            lock: Arc::clone(&self.lock),
        })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process id that the holder of a lock wrote into its file; it is only ever shown to a person.
pub(super) fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    let read = Read::by_ref(lock).take(32).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim().parse().ok())
}

/// Where the file or directory `name` is, if that is one plain component.
pub(super) fn plain(directory: &Path, name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no plain file name"),
        ));
    }
    Ok(directory.join(name))
}

/// Names of all plain files but the lock.
pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        // A name that is no UTF-8 cannot be one of ours.
        if let Ok(name) = entry.file_name().into_string()
            && name != LOCK_FILE
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Reads until `buf` is full or the file ends.
pub(super) fn read_fully(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Makes `path` and makes its name durable. Parents that are missing too are made the same way.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            make_directory(parent)?;
            parent
        }
        _ => Path::new("."),
    };
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

impl Backend for DirBackend {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        let path = plain(&self.path, name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)?;
        Ok(Arc::new(DirFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(plain(&self.path, from)?, plain(&self.path, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(plain(&self.path, name)?)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct DirFile {
    file: File,
}

impl BackendFile for DirFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_fully(&self.file, offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
