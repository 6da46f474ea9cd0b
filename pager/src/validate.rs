//! Whether bytes are an SQLite database that can be replicated.
//!
//! A file may come from anywhere: a user imports it, a peer sends it, a disk gives it back. Before it is opened by an
//! engine it is looked at here, by code that believes nothing: no bytes whatsoever make it panic, loop or ask for
//! memory without bound.
//!
//! ```
//! use ferrolite_pager::validate;
//!
//! let error = validate::file(b"no database".as_slice()).unwrap_err();
//! assert!(error.is_not_a_database());
//! ```
//!
//! Section numbers are those of "Database File Format" at sqlite.org/fileformat2.html.

mod header;
mod source;

pub use header::Header;
pub use source::Source;

use crate::error::Error;

/// What a database turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What its first page says.
    pub header: Header,
    /// Pages in the file.
    pub pages: u32,
}

/// Checks a file: a path, a [`PageFile`](crate::PageFile), or bytes.
///
/// # Errors
/// [`Error::NotADatabase`] with the reason when it is no SQLite database, or one that cannot be replicated;
/// [`Error::Io`] when it cannot be read.
pub fn file<S: Source + ?Sized>(source: &S) -> Result<Report, Error> {
    let opened = source.open()?;
    let (header, pages) = header::read(&opened)?;
    Ok(Report { header, pages })
}
