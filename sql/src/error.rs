//! What can go wrong in the engine, in SQLite's terms.
//!
//! Clients of every language know SQLite's result codes, so an [`Error`] always has one
//! ([`Error::code`], from <https://www.sqlite.org/rescode.html>). What a *server* needs to know, whether
//! the session is still good and whether a retry makes sense, are predicates.

use std::io::ErrorKind;

use limbo_core::{CompletionError, LimboError};

/// SQLite's (extended) result codes, as far as this crate gives them.
pub mod code {
    /// Generic error.
    pub const ERROR: u32 = 1;
    /// Access was refused.
    pub const PERM: u32 = 3;
    /// The database is locked by another writer.
    pub const BUSY: u32 = 5;
    /// The transaction's snapshot is too old to write.
    pub const BUSY_SNAPSHOT: u32 = 517;
    /// A table is locked within the connection.
    pub const LOCKED: u32 = 6;
    /// Write to something read-only.
    pub const READONLY: u32 = 8;
    /// The statement was interrupted.
    pub const INTERRUPT: u32 = 9;
    /// Input or output failed.
    pub const IOERR: u32 = 10;
    /// The database file is malformed.
    pub const CORRUPT: u32 = 11;
    /// The database or the disk is full.
    pub const FULL: u32 = 13;
    /// The schema changed.
    pub const SCHEMA: u32 = 17;
    /// A value or a transaction is too big.
    pub const TOOBIG: u32 = 18;
    /// A constraint failed.
    pub const CONSTRAINT: u32 = 19;
    /// A CHECK constraint failed.
    pub const CONSTRAINT_CHECK: u32 = 275;
    /// A foreign key constraint failed.
    pub const CONSTRAINT_FOREIGNKEY: u32 = 787;
    /// A NOT NULL constraint failed.
    pub const CONSTRAINT_NOTNULL: u32 = 1299;
    /// A PRIMARY KEY constraint failed.
    pub const CONSTRAINT_PRIMARYKEY: u32 = 1555;
    /// A trigger raised an error.
    pub const CONSTRAINT_TRIGGER: u32 = 1811;
    /// A value does not have the type that a STRICT table wants.
    pub const CONSTRAINT_DATATYPE: u32 = 3091;
    /// A UNIQUE constraint failed.
    pub const CONSTRAINT_UNIQUE: u32 = 2067;
    /// The API was misused.
    pub const MISUSE: u32 = 21;
    /// A parameter index is out of range.
    pub const RANGE: u32 = 25;
    /// The file is not a database.
    pub const NOTADB: u32 = 26;
}

/// An error of the SQL engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The statement failed; the session lives on.
    #[error("{message}")]
    Statement {
        /// SQLite's (extended) result code.
        code: u32,
        /// What SQLite's `sqlite3_errmsg` would say.
        message: String,
    },
    /// The statement is one that a replicated database refuses.
    #[error("{0}")]
    Refused(String),
    /// The transaction's pages pass the limit.
    #[error(
        "transaction too large: it would change more than {limit_bytes} bytes of pages; split it, or raise the node's limit"
    )]
    TransactionTooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Another writer has its turn, and the wait for it timed out.
    #[error("database is locked")]
    Busy,
    /// The statement was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The session's snapshot was given up, because it kept too much of the log; its transaction is rolled back.
    #[error(
        "the snapshot of this transaction is too old: so much was written since that the node does not keep it any longer; begin again"
    )]
    SnapshotTooOld,
    /// The database was closed under the session, because this node no longer leads. The session is
    /// of no further use.
    #[error("the database was closed on this node")]
    Closed,
}

impl Error {
    /// SQLite's (extended) result code.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::Statement { code, .. } => *code,
            Self::Refused(_) => code::ERROR,
            Self::TransactionTooLarge { .. } => code::TOOBIG,
            Self::Busy => code::BUSY,
            Self::SnapshotTooOld => code::BUSY_SNAPSHOT,
            Self::Interrupted => code::INTERRUPT,
            Self::Closed => code::IOERR,
        }
    }

    /// Whether the session and its database can no longer be used.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether the same statement may succeed when it is tried again later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.code(), code::BUSY | code::BUSY_SNAPSHOT)
    }

    /// Whether it is about the statement alone, its text, its values or a constraint, and says nothing about the
    /// transaction or the database.
    #[must_use]
    pub fn is_of_statement(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // The lower byte is the primary result code.
            Self::Statement { code, .. } => {
                matches!(code & 0xff, code::ERROR | code::CONSTRAINT | code::RANGE)
            }
            _ => false,
        }
    }

    /// Whether the schema changed in the moment in which the statement began.
    #[must_use]
    pub fn is_schema(&self) -> bool {
        self.code() == code::SCHEMA
    }

    /// Whether the disk had no room for it. The same may succeed once there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.code() == code::FULL
    }

    /// The storage beneath the engine has failed.
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.code() & 0xff == code::IOERR
    }

    /// A failure of the storage beneath the engine, as SQLite reports it.
    #[must_use]
    pub fn io(message: &str) -> Self {
        Self::statement(code::IOERR, message)
    }

    pub(crate) fn statement(code: u32, message: impl Into<String>) -> Self {
        Self::Statement {
            code,
            message: message.into(),
        }
    }
}

impl From<LimboError> for Error {
    fn from(error: LimboError) -> Self {
        let message = error.to_string();
        // Some of the engine's messages end as the sqlite3 shell would print them, with the code.
        let message = message.strip_suffix(" (19)").unwrap_or(&message).to_owned();
        let code = match &error {
            LimboError::Interrupt => return Self::Interrupted,
            LimboError::Busy => return Self::Busy,
            LimboError::BusySnapshot => code::BUSY_SNAPSHOT,
            LimboError::Constraint(text) => constraint_code(text),
            LimboError::ForeignKeyConstraint(_) => code::CONSTRAINT_FOREIGNKEY,
            LimboError::Raise(..) => code::CONSTRAINT_TRIGGER,
            LimboError::CompletionError(CompletionError::IOError(
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded,
                _,
            )) => code::FULL,
            LimboError::CompletionError(
                CompletionError::IOError(..) | CompletionError::ShortRead { .. },
            ) => code::IOERR,
            other => u32::try_from(other.sqlite_result_code()).unwrap_or(code::ERROR),
        };
        Self::Statement { code, message }
    }
}

/// The engine gives constraint failures as text in SQLite's own wording; the extended code follows from
/// its beginning.
fn constraint_code(text: &str) -> u32 {
    let text = text.strip_prefix("Runtime error: ").unwrap_or(text);
    [
        ("UNIQUE", code::CONSTRAINT_UNIQUE),
        ("NOT NULL", code::CONSTRAINT_NOTNULL),
        ("CHECK", code::CONSTRAINT_CHECK),
        ("FOREIGN KEY", code::CONSTRAINT_FOREIGNKEY),
        ("PRIMARY KEY", code::CONSTRAINT_PRIMARYKEY),
        ("cannot store", code::CONSTRAINT_DATATYPE),
    ]
    .into_iter()
    .find_map(|(start, code)| text.starts_with(start).then_some(code))
    .unwrap_or(code::CONSTRAINT)
}
