//! A consistent copy of a whole database, page by page, while others write.

use std::fmt;
use std::sync::Arc;

use crate::database::Database;
use crate::error::{Error, code};
use crate::session::{Session, Step};
use crate::value::ValueRef;

/// The pages of a database as they were at one moment; see [`Database::copy`].
pub struct Copy {
    session: Session,
    pages: u32,
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy")
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Holds on to the database as it is now. For as long as the copy lives, checkpoints leave the pages
    /// alone that it needs.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the engine says.
    pub fn copy(self: &Arc<Self>) -> Result<Copy, Error> {
        let session = self.connect()?;
        // A transaction holds a snapshot from its first read on.
        single(&session, "BEGIN")?;
        single(&session, "SELECT count(*) FROM sqlite_schema")?;
        let pages = single(&session, "PRAGMA page_count")?;
        let pages = u32::try_from(pages)
            .map_err(|_| Error::statement(code::CORRUPT, "the database has an impossible size"))?;
        Ok(Copy { session, pages })
    }
}

fn single(session: &Session, sql: &str) -> Result<i64, Error> {
    let statement = session.prepare(sql)?;
    let mut statement = statement.ok_or_else(|| Error::statement(code::MISUSE, "no statement"))?;
    let mut value = 0;
    while session.step(&mut statement)? == Step::Row {
        if let Some(ValueRef::Integer(integer)) = statement.row().next() {
            value = integer;
        }
    }
    Ok(value)
}

impl Copy {
    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Reads page `page_no`, from 1, into `page`, which has the size of one.
    ///
    /// # Errors
    /// [`Error::Closed`]; SQLITE_CORRUPT when there is no such page; or what the engine says.
    pub fn read(&self, page_no: u32, page: &mut [u8]) -> Result<(), Error> {
        if page_no == 0 || page_no > self.pages || page.len() != self.page_size() {
            return Err(Error::statement(
                code::CORRUPT,
                format!("there is no page {page_no}"),
            ));
        }
        match self.session.read_page(page_no, page)? {
            true => Ok(()),
            false => Err(Error::statement(
                code::CORRUPT,
                format!("page {page_no} is missing"),
            )),
        }
    }

    fn page_size(&self) -> usize {
        usize::try_from(self.session.database().view().page_size()).unwrap_or(0)
    }
}
