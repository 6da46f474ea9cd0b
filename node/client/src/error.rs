//! What can go wrong, and what the caller may do next.
//!
//! The question that matters after a failed write is whether it may be sent again. The variants answer it by
//! construction, and the predicates ask it:
//!
//! | the error | took effect? | [`is_retryable`](Error::is_retryable) | [`is_outcome_unknown`](Error::is_outcome_unknown) |
//! |---|---|---|---|
//! | no leader or server found, connection lost before or outside a write | no | yes | no |
//! | busy, too stale | no | yes | no |
//! | not the leader | no | yes | no |
//! | connection or leadership lost after a write was sent | unknown | no | yes |
//! | any other failure the server reported | no | no | no |

use std::io;
use std::time::Duration;

use ferrolite_wire::{ErrorCode, WireError};

/// The result of a call on a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server could be found that leads the cluster, within the retry deadline.
    #[error("no leader found within {waited:?}: {}", attempts.join("; "))]
    NoLeader {
        /// How long was spent looking.
        waited: Duration,
        /// What the servers last answered, one line each.
        attempts: Vec<String>,
    },
    /// No server could be found that can be read from, within the retry deadline.
    #[error("no server to read from found within {waited:?}: {}", attempts.join("; "))]
    NoServer {
        /// How long was spent looking.
        waited: Duration,
        /// What the servers last answered, one line each.
        attempts: Vec<String>,
    },
    /// A server could not be reached, or did not answer as one.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server's address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke (or a timeout passed on it) at a point where nothing can have taken effect: before
    /// a request was sent, while reading, or inside a transaction that is rolled back with its connection.
    #[error("connection to {address} lost: {source}")]
    ConnectionLost {
        /// The server's address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A write was sent and its fate never learned: it may or may not have taken effect.
    #[error("the outcome of the write is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened after the write was sent.
        reason: Box<Error>,
    },
    /// The server answered with a failure. The connection lives on.
    #[error("{message} [{code}]")]
    Server {
        /// The result code.
        code: ErrorCode,
        /// The server's words.
        message: String,
    },
    /// The server broke the protocol; the connection was given up.
    #[error("{address} broke the protocol: {source}")]
    Protocol {
        /// The server's address.
        address: String,
        /// How.
        source: WireError,
    },
    /// The server's answer is of a kind that the request does not have.
    #[error("unexpected answer to {request}: {answer}")]
    UnexpectedAnswer {
        /// The request's name.
        request: &'static str,
        /// The answer's name.
        answer: &'static str,
    },
    /// The request cannot be expressed in the protocol; nothing was sent.
    #[error("cannot send the request: {0}")]
    Encode(#[from] WireError),
    /// A value does not convert to the Rust type asked for.
    #[error("column {column}: expected {expected}, found {found}")]
    Conversion {
        /// The column's number, from 0.
        column: usize,
        /// The Rust type.
        expected: &'static str,
        /// The value's type.
        found: String,
    },
    /// A row has not as many columns as the Rust type has fields.
    #[error("expected a row of {expected} columns, found {found}")]
    ColumnCount {
        /// What the Rust type has.
        expected: usize,
        /// What the row has.
        found: usize,
    },
    /// No column has this name.
    #[error("no column is named {0:?}")]
    UnknownColumn(String),
    /// `query_one` found no row.
    #[error("the query returned no row")]
    NoRow,
    /// The session or transaction is of no use any more: its connection was lost earlier.
    #[error("the session is closed: its connection was lost or given up earlier")]
    Closed,
    /// The call makes no sense on this handle; the text says what to do instead.
    #[error("{0}")]
    Misuse(&'static str),
    /// The other end of an import or export (a reader or a writer of the caller's) failed.
    #[error("local I/O failed: {0}")]
    LocalIo(#[source] io::Error),
}

impl Error {
    /// Whether a write was sent whose effect is unknown. Look before sending it again, or make it idempotent.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
            || matches!(self, Self::Server { code, .. } if *code == ErrorCode::IOERR_LEADERSHIP_LOST)
    }

    /// Whether the same call (or the whole transaction) may be made again: nothing took effect, and the cause
    /// is one that passes.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoLeader { .. }
            | Self::NoServer { .. }
            | Self::Connect { .. }
            | Self::ConnectionLost { .. } => true,
            Self::Server { .. } => self.is_busy() || self.is_not_leader(),
            _ => false,
        }
    }

    /// Whether the server said that it does not lead the cluster.
    pub fn is_not_leader(&self) -> bool {
        self.server_code() == Some(ErrorCode::IOERR_NOT_LEADER)
    }

    /// Whether another connection held the writer's turn for longer than the busy timeout, or a read
    /// transaction was too old to become a writing one.
    pub fn is_busy(&self) -> bool {
        self.server_code().is_some_and(ErrorCode::is_busy)
    }

    /// Whether what the server has is older than was allowed: ask again a little later, or allow more.
    pub fn is_too_stale(&self) -> bool {
        self.server_code() == Some(ErrorCode::BUSY_TOO_STALE)
    }

    /// Whether a constraint was violated.
    pub fn is_constraint(&self) -> bool {
        self.server_code().is_some_and(ErrorCode::is_constraint)
    }

    /// Whether the statement was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.server_code() == Some(ErrorCode::INTERRUPT)
    }

    /// SQLite's (extended) result code, where the server reported one.
    pub fn sqlite_code(&self) -> Option<u64> {
        self.server_code()
            .filter(|code| !code.is_protocol())
            .map(|code| code.0)
    }

    /// The code of the server's failure, where this is (or wraps) one.
    pub fn server_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::OutcomeUnknown { reason } => reason.server_code(),
            _ => None,
        }
    }

    /// Marks the error of a write that was sent.
    pub(crate) fn outcome_unknown(self) -> Self {
        match self {
            already @ Self::OutcomeUnknown { .. } => already,
            reason => Self::OutcomeUnknown {
                reason: Box::new(reason),
            },
        }
    }
}

/// How a request on a connection failed, as far as the connection can tell.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The server cannot have seen the whole request.
    NotSent(Error),
    /// The server may have seen it.
    Sent(Error),
}

impl CallError {
    /// The error, for a request that changes nothing.
    pub(crate) fn harmless(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Sent(error) => error,
        }
    }

    /// The error, for a request that may have changed something.
    pub(crate) fn of_write(self) -> Error {
        match self {
            Self::NotSent(error) => error,
            Self::Sent(error) => error.outcome_unknown(),
        }
    }
}
