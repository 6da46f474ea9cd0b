//! Where statements put what does not fit into memory, on a system that has no place for temporary files.
//!
//! The SQL engine asks for a directory of its own for what it sorts, or indexes on the way, however little that is. A static program in
//! a root directory of its own, or a device with a small image, may have no `/tmp`. Then such files go below the data
//! directory, into a directory for each run of the program, which its end removes. What a run that was killed has
//! left, the next one removes once the data directory is its own.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const NAME: &str = "temporary";

/// The directory for temporary files, when the system has none. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    all: PathBuf,
    own: TempDir,
}

impl Temporary {
    /// Makes one below `data_dir` and has it used, if the system has no directory for temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn replace_missing(data_dir: &Path) -> io::Result<Option<Temporary>> {
        let system = std::env::temp_dir();
        if system.is_dir() {
            return Ok(None);
        }
        let all = data_dir.join(NAME);
        std::fs::create_dir_all(&all)?;
        let own = tempfile::Builder::new().tempdir_in(&all)?;
        tempfile::env::override_temp_dir(own.path()).map_err(|other| {
            let other = other.display();
            io::Error::other(format!("{other} is used for temporary files already"))
        })?;
        let (system, all_of_them) = (system.display(), all.display());
        log::info!("there is no {system}: temporary files go to {all_of_them}");
        Ok(Some(Temporary { all, own }))
    }

    /// Removes what runs that were killed have left. The data directory must be this process's alone.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub(super) fn remove_leftovers(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.all)? {
            let path = entry?.path();
            if path != self.own.path() {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}
