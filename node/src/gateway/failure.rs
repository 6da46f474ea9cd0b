//! The answer to a request that failed, in the protocol's terms.

use std::time::Duration;

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

    /// A stale session was given something that only the leader can do.
    pub(super) fn only_reads(leader: Option<String>) -> Self {
        let leader = leader.map_or_else(String::new, |address| format!(", now at {address}"));
        Self::new(
            ErrorCode::IOERR_NOT_LEADER,
            format!(
                "not leader: this connection reads what may be stale from a node that follows, and writes go to the leader{leader}"
            ),
        )
    }

    /// What this node has is older than the client allows, and `behind` says by how much, if that is known.
    pub(super) fn too_stale(bound: Duration, behind: Option<Duration>) -> Self {
        let behind = behind.map_or_else(
            || "it is not known how far this node is behind the cluster".to_owned(),
            |behind| {
                format!(
                    "this node may be {} ms behind the cluster",
                    behind.as_millis()
                )
            },
        );
        Self::new(
            ErrorCode::BUSY_TOO_STALE,
            format!(
                "too stale: {behind}, and {} ms were allowed; ask another node, or later, or allow more (PRAGMA ferrolite_staleness)",
                bound.as_millis()
            ),
        )
    }

    /// The database was opened anew under a transaction that has only read.
    pub(super) fn snapshot_lost() -> Self {
        Self::new(
            ErrorCode::BUSY_SNAPSHOT,
            "the snapshot of this transaction is gone, because the node opened the database anew; begin again",
        )
    }

    pub(super) fn no_database(name: &str) -> Self {
        Self::new(
            ErrorCode::DQLITE_NOTFOUND,
            format!("there is no database named {name}"),
        )
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
