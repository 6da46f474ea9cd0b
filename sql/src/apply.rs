//! Transactions that another node's engine made, put into this one's.
//!
//! A node that follows needs no engine to have the same file. One that is to answer queries all the same opens the
//! database, and from then on every transaction of the log goes through its engine, as frames of its write-ahead log:
//! readers have the snapshots that they began with, and the next one sees what has come. Nothing is executed.
//!
//! Whoever applies has the writer's [turn](crate::Turn), like any other writer; and there should be no other.

use std::fmt;
use std::sync::Arc;

use ferrolite_wal::view::{FRAME_HEADER_BYTES, TakenTransaction};
use limbo_core::{Connection, LimboError};

use crate::database::{Database, connect};
use crate::error::{Error, code};
use crate::turn::Turn;

/// How often the engine is asked again when a checkpoint came in between.
const ATTEMPTS: u32 = 100;
/// Where in page 1 the number is that changes with the schema: <https://www.sqlite.org/fileformat2.html#schema_cookie>.
pub const SCHEMA_COOKIE: std::ops::Range<usize> = 40..44;

/// Puts transactions into a database; see the [crate](crate).
pub struct Applier {
    database: Arc<Database>,
    connection: Arc<Connection>,
    /// A frame in the making.
    frame: Vec<u8>,
}

impl fmt::Debug for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Applier").field(&self.database).finish()
    }
}

/// Which schema the page 1 of a database speaks of; it grows with each change. `None` if that is no page 1.
#[must_use]
pub fn schema_cookie(first_page: &[u8]) -> Option<u32> {
    let bytes = first_page.get(SCHEMA_COOKIE)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

impl Database {
    /// A way to put transactions of another node into the database.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the engine says.
    pub fn applier(self: &Arc<Self>) -> Result<Applier, Error> {
        let connection = connect(self.engine()).map_err(|error| self.explain(error))?;
        Ok(Applier {
            database: Arc::clone(self),
            connection,
            frame: Vec::new(),
        })
    }
}

impl Applier {
    /// Puts a transaction into the database: the last image of each page that it changed, and how many pages there are
    /// afterwards. The frames of what is returned are those of the pages, in their order; nobody else takes it.
    ///
    /// # Errors
    /// The first error of `pages`; [`Error::Closed`]; or what the engine says. Nobody sees anything of the transaction
    /// then, but only once it has been applied can the ones after it be.
    pub fn apply<E: From<Error>>(
        &mut self,
        _turn: &Turn,
        db_size: u32,
        pages: impl Iterator<Item = Result<(u32, Vec<u8>), E>>,
    ) -> Result<TakenTransaction, E> {
        self.begin()?;
        let inserted = self.insert(db_size, pages);
        // What stands behind the last commit, after a failure, is undone. After a success there is nothing to undo, and to
        // look for it would take longer than all the rest.
        let ended = self.connection.wal_insert_end(inserted.is_ok());
        inserted?;
        ended.map_err(|error| self.database.explain(error))?;
        let taken = self.database.view().take();
        Ok(taken.ok_or_else(|| missing("the engine has not taken a transaction"))?)
    }

    fn begin(&self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            match self.connection.wal_insert_begin() {
                Err(LimboError::Busy | LimboError::BusySnapshot) => std::thread::yield_now(),
                begun => return begun.map_err(|error| self.database.explain(error)),
            }
        }
        Err(Error::Busy)
    }

    fn insert<E: From<Error>>(
        &mut self,
        db_size: u32,
        pages: impl Iterator<Item = Result<(u32, Vec<u8>), E>>,
    ) -> Result<(), E> {
        let state = self.connection.wal_state();
        let mut frame_no = state
            .map_err(|error| self.database.explain(error))?
            .max_frame;
        let mut pages = pages.peekable();
        while let Some(page) = pages.next() {
            let (page_no, image) = page?;
            // The last frame says that the transaction is whole, so it must be known to be the last.
            let is_last = pages.peek().is_none();
            frame_no += 1;
            self.put(frame_no, page_no, if is_last { db_size } else { 0 }, &image)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        frame_no: u64,
        page_no: u32,
        db_size: u32,
        image: &[u8],
    ) -> Result<(), Error> {
        // Of the header the engine reads these two fields, and makes the others itself.
        self.frame.clear();
        self.frame.extend_from_slice(&page_no.to_be_bytes());
        self.frame.extend_from_slice(&db_size.to_be_bytes());
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        self.frame.extend_from_slice(image);
        self.connection
            .wal_insert_frame(frame_no, &self.frame)
            .map_err(|error| self.database.explain(error))?;
        Ok(())
    }
}

fn missing(what: &str) -> Error {
    Error::statement(code::IOERR, what)
}
