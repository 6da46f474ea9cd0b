//! What a session is asked about its earlier writes, though others may have run them for it.
//!
//! Writes that are [shared](super::shared) are run by another session. `last_insert_rowid()`, `changes()` and
//! `total_changes()` are about those of one's own. So a session keeps account of what was done for it, and answers requests
//! by that; and before the first statement that may ask for it in SQL, or that makes the session unlike others, it takes
//! over what was done for it, and shares no more.

use ferrolite_sql::{Error, Session, Statement};

use super::session::Effect;
use super::shared::Changed;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Personal {
    /// Whether its writes may be shared.
    shares: bool,
    /// The last row that was inserted by the session, or for it.
    rowid: i64,
    /// How many rows the last change was of.
    rows: i64,
    /// All rows that were changed for it by others.
    total: i64,
}

impl Personal {
    pub(super) fn new() -> Self {
        Self {
            shares: true,
            rowid: 0,
            rows: 0,
            total: 0,
        }
    }

    /// Whether the session's writes may be run by another.
    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    /// A write was run for the session.
    pub(super) fn shared(&mut self, changed: Changed) -> Effect {
        self.rowid = changed.rowid.unwrap_or(self.rowid);
        self.rows = changed.rows;
        self.total += changed.total;
        Effect {
            last_insert_id: self.rowid,
            rows_affected: self.rows,
        }
    }

    /// The session is about to run this statement: if that must not be shared, nothing is any more.
    pub(super) fn before(&mut self, session: &Session, statement: &Statement) -> Result<(), Error> {
        if !self.shares || !statement.is_personal() {
            return Ok(());
        }
        self.shares = false;
        if self.total == 0 {
            return Ok(());
        }
        let total = self.total + session.total_changes();
        session.take_over(self.rowid, self.rows, total)
    }

    /// The session has run a statement; before it, its own last rowid was `before`.
    pub(super) fn after(
        &mut self,
        session: &Session,
        statement: &Statement,
        before: i64,
    ) -> Effect {
        let (own, rows) = (session.last_insert_rowid(), session.changes());
        // An insert may have been of the row that the one before had.
        if !self.shares || own != before || (statement.inserts() && rows > 0) {
            self.rowid = own;
        }
        self.rows = rows;
        Effect {
            last_insert_id: self.rowid,
            rows_affected: rows,
        }
    }
}
