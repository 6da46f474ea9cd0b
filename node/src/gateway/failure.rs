//! The answer to a request that failed, in the protocol's terms.

use ferrolite_wire::{ErrorCode, Response, WireError};

use crate::error::Error;
use crate::leading::{Lost, OpenRefusal};
use crate::room::Short;

/// Why a request failed, as its client is told.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// Whether the connection is of no more use.
    pub(super) close: bool,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            close: false,
        }
    }

    pub(super) fn not_leader() -> Self {
        Self::new(ErrorCode::IOERR_NOT_LEADER, "not leader")
    }

    pub(super) fn full(free_bytes: u64) -> Self {
        Self::new(
            ErrorCode::FULL,
            format!(
                "the leader's disk is nearly full, {} MiB are left: writes go on when there is room",
                free_bytes >> 20
            ),
        )
    }

    pub(super) fn behind(bytes: u64) -> Self {
        Self::new(
            ErrorCode::BUSY,
            format!(
                "the cluster is slow: {} MiB of transactions wait for a quorum of its nodes; try again later",
                bytes >> 20
            ),
        )
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn response(&self) -> Response {
        Response::Failure {
            code: self.code,
            message: self.message.replace('\0', " "),
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self {
            code: error.failure_code(),
            message: error.to_string(),
            close: error.is_fatal(),
        }
    }
}

impl From<ferrolite_sql::Error> for Failure {
    fn from(error: ferrolite_sql::Error) -> Self {
        if error.is_closed() {
            Self::not_leader()
        } else {
            Self::new(ErrorCode(u64::from(error.code())), error.to_string())
        }
    }
}

impl From<Short> for Failure {
    fn from(short: Short) -> Self {
        Self::full(short.free_bytes)
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unknown => Self::from(Error::LeadershipLost),
            // Nothing of it took effect: the client may try it again elsewhere.
            Lost::Refused => Self::not_leader(),
        }
    }
}

impl From<OpenRefusal> for Failure {
    fn from(refusal: OpenRefusal) -> Self {
        match refusal {
            OpenRefusal::NotLeader => Self::not_leader(),
            OpenRefusal::Failed(error) => Self::from(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            _ if error.is_not_leader() => return Self::not_leader(),
            Error::Stopped => return Self::not_leader(),
            Error::Sql(error) => return Self::from(error.clone()),
            Error::LeadershipLost => ErrorCode::IOERR_LEADERSHIP_LOST,
            Error::Consensus(ferrolite_consensus::Error::UnknownMember(_)) => {
                ErrorCode::DQLITE_NOTFOUND
            }
            _ if error.is_retryable() => ErrorCode::BUSY,
            _ => ErrorCode::ERROR,
        };
        Self::new(code, error.to_string())
    }
}
