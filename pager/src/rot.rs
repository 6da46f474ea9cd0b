//! A page that is not what was written.

use std::fmt;
use std::io;

/// A page whose bytes are not those that were written: what a disk does, not what a crash does.
///
/// Reads answer with an I/O error that has one of these inside; [`Rot::of`] takes it out. The page can be had from another
/// node and put back with [`PageFile::repair`](crate::PageFile::repair).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rot {
    /// The database file.
    pub path: String,
    /// The page, counted from 1.
    pub page_no: u32,
    /// The log index of the last entry that wrote it, or a later one.
    pub index: u64,
    /// The checksum that the page has to have.
    pub expected: u32,
    /// The one that it has; `None` when it cannot be read, because the file ends before it or the disk fails.
    pub found: Option<u32>,
}

impl Rot {
    /// The rot that `error`, from a read, is about.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Rot> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "page {} of {} is rotten: its checksum has to be {:08x} ",
            self.page_no, self.path, self.expected
        )?;
        match self.found {
            Some(found) => write!(f, "and is {found:08x}"),
            None => write!(f, "and it cannot be read"),
        }
    }
}

impl std::error::Error for Rot {}
