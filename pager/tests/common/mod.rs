//! What the tests of snapshots share.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// A directory in memory where the system has such a place: these tests go through many states, and sync in each.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}
