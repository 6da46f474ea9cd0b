//! A directory of files, real or simulated.
//!
//! A file's bytes and its name are two things to the system: after a crash a synced file may be there without a name,
//! unless its directory was synced too. So everything here that makes, renames or removes a file goes through a
//! [`Directory`], over the same [`Backend`] trait as the log, and a test can put a simulated disk below it and cut the
//! power anywhere.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_wal::backend::{Backend, BackendFile};

use crate::error::Error;

/// A flat directory of files. Cheap to clone; takes no lock.
#[derive(Debug, Clone)]
pub struct Directory {
    backend: Arc<dyn Backend>,
    path: PathBuf,
    /// Whether the system has it, so that it can be made and removed.
    is_real: bool,
    /// What the names of all files in it begin with, in a backend that knows no subdirectories.
    prefix: String,
}

impl Directory {
    /// The real directory `path`, which need not exist yet.
    #[must_use]
    pub fn at(path: &Path) -> Directory {
        Directory {
            backend: Arc::new(RealDirectory {
                path: path.to_path_buf(),
                is_read_only: false,
            }),
            path: path.to_path_buf(),
            is_real: true,
            prefix: String::new(),
        }
    }

    /// The real directory `path`, of which nothing can be changed.
    #[must_use]
    pub fn read_only(path: &Path) -> Directory {
        Directory {
            backend: Arc::new(RealDirectory {
                path: path.to_path_buf(),
                is_read_only: true,
            }),
            path: path.to_path_buf(),
            is_real: false,
            prefix: String::new(),
        }
    }

    /// What `backend` keeps, called `path` in messages.
    #[must_use]
    pub fn on(backend: Arc<dyn Backend>, path: &Path) -> Directory {
        Directory {
            backend,
            path: path.to_path_buf(),
            is_real: false,
            prefix: String::new(),
        }
    }

    /// The directory `name` inside this one. It need not exist yet.
    #[must_use]
    pub fn subdirectory(&self, name: &str) -> Directory {
        if self.is_real {
            return Directory::at(&self.path.join(name));
        }
        Directory {
            path: self.path.join(name),
            prefix: format!("{}{name}/", self.prefix),
            ..self.clone()
        }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file `name` is.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file; `None` when there is none and it is not to be made.
    pub(crate) fn open(
        &self,
        name: &str,
        create: bool,
    ) -> Result<Option<Arc<dyn BackendFile>>, Error> {
        match self.backend.open(&self.own(name), create) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !create => Ok(None),
            Err(e) => Err(Error::io("open", &self.path_of(name), e)),
        }
    }

    /// Opens a file, and makes it if there is none.
    pub(crate) fn create(&self, name: &str) -> Result<Arc<dyn BackendFile>, Error> {
        self.backend
            .open(&self.own(name), true)
            .map_err(|e| Error::io("create", &self.path_of(name), e))
    }

    /// Length in bytes of a file; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn len_of(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(file) = self.open(name, false)? else {
            return Ok(None);
        };
        file.len()
            .map(Some)
            .map_err(|e| Error::io("measure", &self.path_of(name), e))
    }

    /// Names of all files, in order; none when the directory is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self) -> Result<Vec<String>, Error> {
        match self.backend.list() {
            Ok(names) => {
                let mut names: Vec<_> = names
                    .iter()
                    .filter_map(|name| name.strip_prefix(&self.prefix))
                    .filter(|name| !name.contains('/'))
                    .map(str::to_owned)
                    .collect();
                names.sort();
                Ok(names)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io("list", &self.path, e)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.backend
            .rename(&self.own(from), &self.own(to))
            .map_err(|e| Error::io("rename to", &self.path_of(to), e))
    }

    /// Gives a file the same name in another directory, which has to be on the same file system.
    pub(crate) fn move_to(&self, other: &Directory, name: &str) -> Result<(), Error> {
        let result = if self.is_real && other.is_real {
            fs::rename(self.path.join(name), other.path.join(name))
        } else if Arc::ptr_eq(&self.backend, &other.backend) {
            self.backend.rename(&self.own(name), &other.own(name))
        } else {
            Err(io::ErrorKind::CrossesDevices.into())
        };
        result.map_err(|e| Error::io("rename to", &other.path_of(name), e))
    }

    /// The name that the backend knows a file by.
    fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Removes a file if it is there, and says whether it was.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, Error> {
        match self.backend.remove(&self.own(name)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("remove", &self.path_of(name), e)),
        }
    }

    /// Makes the directory, durably, unless it is there. Its parent must be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make(&self) -> Result<(), Error> {
        if !self.is_real {
            return Ok(());
        }
        match fs::create_dir(&self.path) {
            Ok(()) => sync_parent(&self.path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::io("make directory", &self.path, e)),
        }
    }

    /// Removes all that is in the directory, and the directory, durably.
    pub(crate) fn remove_all(&self) -> Result<(), Error> {
        if self.is_real {
            return match fs::remove_dir_all(&self.path) {
                Ok(()) => sync_parent(&self.path),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(e) => Err(Error::io("remove directory", &self.path, e)),
            };
        }
        for name in self.names()? {
            self.remove(&name)?;
        }
        self.sync()
    }

    /// Makes all names durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<(), Error> {
        self.backend
            .sync()
            .map_err(|e| Error::io("sync directory", &self.path, e))
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Directory::at(parent).sync()
}

/// A directory of the system, without a lock: the data directory as a whole has one.
#[derive(Debug)]
struct RealDirectory {
    path: PathBuf,
    is_read_only: bool,
}

impl RealDirectory {
    fn check(&self) -> io::Result<()> {
        if self.is_read_only {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        } else {
            Ok(())
        }
    }
}

impl Backend for RealDirectory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        if create {
            self.check()?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(!self.is_read_only)
            .create(create)
            .truncate(false)
            .open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check()?;
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
pub(crate) struct RealFile(pub(crate) File);

impl BackendFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
