//! The numbers that a FAILURE carries.
//!
//! Most are SQLite's result codes: the low byte is the primary code, the bits above it the extended one
//! (<https://sqlite.org/rescode.html>). dqlite adds two extended I/O errors about leadership and, from 1001 up,
//! codes about the protocol itself, which are outside SQLite's range. Ferrolite adds an extended BUSY, numbered in the
//! same manner as dqlite's.

use std::fmt;

/// The code of a FAILURE: an SQLite (extended) result code, or one of the protocol's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub u64);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:expr, $text:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The code's usual name, such as `SQLITE_BUSY_SNAPSHOT`; for an unknown extended code the name of
            /// its primary code, and `UNKNOWN` where that is unknown too.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    other if other > 0xff && !self.is_protocol() => self.primary().name(),
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

codes! {
    /// Success; dqlite sends it with the message "empty statement".
    OK = 0, "SQLITE_OK";
    /// A generic error: most often a mistake in the SQL.
    ERROR = 1, "SQLITE_ERROR";
    /// An inconsistency inside the engine.
    INTERNAL = 2, "SQLITE_INTERNAL";
    /// The operation is not allowed.
    PERM = 3, "SQLITE_PERM";
    /// The operation was aborted.
    ABORT = 4, "SQLITE_ABORT";
    /// Another connection holds the writer's turn.
    BUSY = 5, "SQLITE_BUSY";
    /// A conflict inside the same connection or shared cache.
    LOCKED = 6, "SQLITE_LOCKED";
    /// Out of memory.
    NOMEM = 7, "SQLITE_NOMEM";
    /// A write to something read-only.
    READONLY = 8, "SQLITE_READONLY";
    /// The statement was interrupted.
    INTERRUPT = 9, "SQLITE_INTERRUPT";
    /// Reading or writing storage failed.
    IOERR = 10, "SQLITE_IOERR";
    /// The database is damaged.
    CORRUPT = 11, "SQLITE_CORRUPT";
    /// No such database or statement.
    NOTFOUND = 12, "SQLITE_NOTFOUND";
    /// The disk or the database is full.
    FULL = 13, "SQLITE_FULL";
    /// The database cannot be opened.
    CANTOPEN = 14, "SQLITE_CANTOPEN";
    /// A locking protocol failed.
    PROTOCOL = 15, "SQLITE_PROTOCOL";
    /// Unused by SQLite today.
    EMPTY = 16, "SQLITE_EMPTY";
    /// The schema changed under the statement.
    SCHEMA = 17, "SQLITE_SCHEMA";
    /// A text, blob or row exceeds a limit.
    TOOBIG = 18, "SQLITE_TOOBIG";
    /// A constraint would be violated.
    CONSTRAINT = 19, "SQLITE_CONSTRAINT";
    /// A value has the wrong type.
    MISMATCH = 20, "SQLITE_MISMATCH";
    /// The interface was misused.
    MISUSE = 21, "SQLITE_MISUSE";
    /// The platform lacks large files.
    NOLFS = 22, "SQLITE_NOLFS";
    /// Authorization was denied.
    AUTH = 23, "SQLITE_AUTH";
    /// Unused by SQLite today.
    FORMAT = 24, "SQLITE_FORMAT";
    /// A parameter number is out of range.
    RANGE = 25, "SQLITE_RANGE";
    /// The file is no database.
    NOTADB = 26, "SQLITE_NOTADB";
    /// A statement that was run for its effect has a row to show.
    ROW = 100, "SQLITE_ROW";
    /// A statement has finished.
    DONE = 101, "SQLITE_DONE";
    /// A statement that needs another process to finish first (recovery of a hot journal).
    BUSY_RECOVERY = 261, "SQLITE_BUSY_RECOVERY";
    /// A read transaction cannot become a write transaction: its snapshot is no longer the newest.
    BUSY_SNAPSHOT = 517, "SQLITE_BUSY_SNAPSHOT";
    /// The busy timeout passed.
    BUSY_TIMEOUT = 773, "SQLITE_BUSY_TIMEOUT";
    /// What this node has is older than the reader allows: ask another, or later, or allow more. Ferrolite's own.
    BUSY_TOO_STALE = 10245, "SQLITE_BUSY_TOO_STALE";
    /// A read from storage failed.
    IOERR_READ = 266, "SQLITE_IOERR_READ";
    /// A write to storage failed.
    IOERR_WRITE = 778, "SQLITE_IOERR_WRITE";
    /// A sync of storage failed.
    IOERR_FSYNC = 1034, "SQLITE_IOERR_FSYNC";
    /// A CHECK constraint failed.
    CONSTRAINT_CHECK = 275, "SQLITE_CONSTRAINT_CHECK";
    /// A commit hook refused.
    CONSTRAINT_COMMITHOOK = 531, "SQLITE_CONSTRAINT_COMMITHOOK";
    /// A foreign key has no parent row, or a parent row still has children.
    CONSTRAINT_FOREIGNKEY = 787, "SQLITE_CONSTRAINT_FOREIGNKEY";
    /// A NOT NULL constraint failed.
    CONSTRAINT_NOTNULL = 1299, "SQLITE_CONSTRAINT_NOTNULL";
    /// A PRIMARY KEY constraint failed.
    CONSTRAINT_PRIMARYKEY = 1555, "SQLITE_CONSTRAINT_PRIMARYKEY";
    /// A trigger raised an error.
    CONSTRAINT_TRIGGER = 1811, "SQLITE_CONSTRAINT_TRIGGER";
    /// A UNIQUE constraint failed.
    CONSTRAINT_UNIQUE = 2067, "SQLITE_CONSTRAINT_UNIQUE";
    /// A rowid is not unique.
    CONSTRAINT_ROWID = 2579, "SQLITE_CONSTRAINT_ROWID";
    /// A value does not fit the column of a STRICT table.
    CONSTRAINT_DATATYPE = 3091, "SQLITE_CONSTRAINT_DATATYPE";
    /// This node is not the leader: nothing of the request took effect, ask the leader.
    IOERR_NOT_LEADER = 10250, "SQLITE_IOERR_NOT_LEADER";
    /// The leader lost its office while the write was on its way: whether it took effect is unknown.
    IOERR_LEADERSHIP_LOST = 10506, "SQLITE_IOERR_LEADERSHIP_LOST";
    /// A breach of the protocol.
    PROTO = 1001, "DQLITE_PROTO";
    /// No such thing.
    DQLITE_NOTFOUND = 1002, "DQLITE_NOTFOUND";
    /// The request cannot be parsed.
    PARSE = 1005, "DQLITE_PARSE";
}

impl ErrorCode {
    /// Whether the code is the protocol's own, not one of SQLite's: the three of dqlite, which a plain look at
    /// the low byte would take for extended codes of something else.
    pub fn is_protocol(self) -> bool {
        (1001..=1005).contains(&self.0)
    }

    /// The primary result code: the low byte of one of SQLite's codes, the code itself if it is the protocol's.
    #[must_use]
    pub fn primary(self) -> Self {
        if self.is_protocol() {
            self
        } else {
            Self(self.0 & 0xff)
        }
    }

    /// Whether another connection was in the way: `SQLITE_BUSY` in any of its extended forms.
    pub fn is_busy(self) -> bool {
        self.primary() == Self::BUSY
    }

    /// Whether a constraint was violated, of whichever kind.
    pub fn is_constraint(self) -> bool {
        self.primary() == Self::CONSTRAINT
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// Extended codes fall back to their primary name; the protocol's codes are not mistaken for extended ones.
    #[test]
    fn names_and_primary_codes() {
        assert_eq!(ErrorCode(2067).name(), "SQLITE_CONSTRAINT_UNIQUE");
        assert_eq!(ErrorCode(2067).primary(), ErrorCode::CONSTRAINT);
        assert_eq!(ErrorCode(0xff00 | 19).name(), "SQLITE_CONSTRAINT");
        assert_eq!(ErrorCode(1001).primary(), ErrorCode::PROTO);
        assert_eq!(ErrorCode(1003).name(), "UNKNOWN");
        assert_eq!(ErrorCode(u64::MAX).name(), "UNKNOWN");
        assert_eq!(ErrorCode::IOERR_NOT_LEADER.primary(), ErrorCode::IOERR);
        assert_eq!(ErrorCode(99).name(), "UNKNOWN");
        assert!(ErrorCode::BUSY_SNAPSHOT.is_busy() && ErrorCode::BUSY_TOO_STALE.is_busy());
    }
}
