//! Names of files made durable. A file's bytes and its name are two things to the system: after a crash a synced file
//! may be there without a name, unless its directory was synced too.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::Error;

/// Makes all names in `path` durable.
pub(crate) fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io("sync directory", path, e))
}

/// Makes the name `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}

/// Makes the directory `path`, durably, unless it is there. Its parent must be.
pub(crate) fn make(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("make directory", path, e)),
    }
}

/// Removes the file `path` if it is there, and says whether it was.
pub(crate) fn remove_file(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Removes the directory `path` and all in it if it is there.
pub(crate) fn remove_all(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove directory", path, e)),
    }
}

/// Whether there is something under `path`.
pub(crate) fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists()
        .map_err(|e| Error::io("look for", path, e))
}
