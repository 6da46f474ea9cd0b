//! Whether bytes are an SQLite database that can be replicated.
//!
//! A file may come from anywhere: a user imports it, a peer sends it, a disk gives it back. Before it is opened by an
//! engine it is looked at here, by code that believes nothing: no bytes whatsoever make it panic, loop or ask for
//! memory without bound. Every page is read once; kept are a bit per page and what is due on one path of a tree.
//!
//! What is checked is the structure, page by page: the header; every b-tree from its root in the schema (page types,
//! depth, cells that lie in their page and do not overlap, records that fill their payload, row ids in order); overflow
//! chains and their lengths; the free list and its count; the pointer map of an auto-vacuum database; and that every page
//! is used for exactly one of these. What is not: whether an index holds the rows of its table in the order of its
//! collation, and whether values satisfy their constraints. That needs SQL, and `PRAGMA integrity_check` does it.
//!
//! [`file()`] says yes or why not, [`examine`] lists all that is wrong, [`header()`] looks at the first page only:
//!
//! ```
//! use ferrolite_pager::validate;
//!
//! let error = validate::file(b"no database".as_slice()).unwrap_err();
//! assert!(error.is_not_a_database());
//! ```
//!
//! A file that a checkpoint is at work on, or that a snapshot has just brought, may be half-way between two states. It is
//! to be validated once the log has been redone up to the checkpoint's target.
//!
//! Section numbers are those of "Database File Format" at sqlite.org/fileformat2.html.

mod freelist;
mod header;
mod page;
mod pointer_map;
mod record;
mod schema;
mod source;
mod survey;
mod tree;

use std::fmt;

pub use header::Header;
pub(crate) use source::OpenFile;
pub use source::Source;
pub use survey::MAX_PROBLEMS;

use crate::error::Error;
use survey::Survey;

/// What a database turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What its first page says.
    pub header: Header,
    /// Pages of the database.
    pub pages: u32,
    /// Tables and indexes, with the schema itself.
    pub trees: u32,
    /// Pages of their b-trees.
    pub tree_pages: u32,
    /// Pages of content that did not fit into these.
    pub overflow_pages: u32,
    /// Pages of the free list.
    pub free_pages: u32,
    /// What is wrong, in the order of its finding; at most [`MAX_PROBLEMS`]. Empty for a sound database.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Something that is wrong in a database, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The page in which it was seen, counted from 1.
    pub page: u32,
    /// What is wrong, for a person.
    pub description: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.description)
    }
}

/// Reads the first page's header, and checks it and the length of the file.
///
/// # Errors
/// [`Error::NotADatabase`] with the reason when it is no SQLite database, or one that cannot be replicated;
/// [`Error::Io`] when it cannot be read.
pub fn header<S: Source + ?Sized>(source: &S) -> Result<Header, Error> {
    Ok(header::read(&source.open()?)?.0)
}

/// Looks at every page of a path, a [`PageFile`](crate::PageFile) or bytes, and reports what is wrong.
///
/// # Errors
/// As [`header()`]: without a header there is nothing to look at.
pub fn examine<S: Source + ?Sized>(source: &S) -> Result<Report, Error> {
    let opened = source.open()?;
    let (header, pages) = header::read(&opened)?;
    let mut survey = Survey::new(&opened, header, pages);
    pointer_map::claim(&mut survey);
    freelist::walk(&mut survey)?;
    schema::walk(&mut survey)?;
    survey.unused();
    Ok(survey.report())
}

/// Looks at every page as [`examine`] does, and refuses a database with anything wrong.
///
/// # Errors
/// As [`header()`], and [`Error::Unsound`] with the first problem.
pub fn file<S: Source + ?Sized>(source: &S) -> Result<Report, Error> {
    let report = examine(source)?;
    match report.problems.first() {
        None => Ok(report),
        Some(first) => Err(Error::Unsound {
            path: source.open()?.path().display().to_string(),
            problem: Box::new(first.clone()),
            problems: report.problems.len(),
        }),
    }
}
