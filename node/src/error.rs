//! What can go wrong in a node, sorted by what the caller may do about it.

use ferrolite_consensus as consensus;

/// An error of a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory, or something in it, cannot be used.
    #[error(transparent)]
    Storage(#[from] ferrolite_wal::Error),
    /// The page store failed.
    #[error(transparent)]
    Pages(#[from] ferrolite_pager::Error),
    /// The consensus refused a request.
    #[error(transparent)]
    Consensus(#[from] consensus::Error),
    /// The SQL engine refused something.
    #[error(transparent)]
    Sql(#[from] ferrolite_sql::Error),
    /// The node's address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The options make no sense together.
    #[error("{0}")]
    Options(String),
    /// Joining a cluster failed.
    #[error("cannot join the cluster through {servers}: {reason}")]
    Join {
        /// The servers that were asked.
        servers: String,
        /// What they said.
        reason: String,
    },
    /// Input or output failed outside of the log and the page store.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Nobody can be sent a snapshot now, because of damage in the log.
    #[error(
        "it is not known where a log could begin of which everything up to entry {done} is done"
    )]
    NoAnchor {
        /// The entry up to which the database files hold everything.
        done: u64,
    },
    /// Leadership was lost; whether the request took effect is unknown.
    #[error("leadership was lost before a quorum confirmed it; whether it took effect is unknown")]
    LeadershipLost,
    /// Leadership did not arrive where it should.
    #[error("leadership was not taken over in time")]
    TransferFailed,
    /// The node has stopped, or stopped while the request was under way.
    #[error("the node has stopped")]
    Stopped,
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program, perhaps another node, has the port: stop it or choose another"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        _ => "",
    }
}

impl Error {
    /// Whether another node may be able to do it: this one does not lead.
    #[must_use]
    pub fn is_not_leader(&self) -> bool {
        matches!(self, Self::Consensus(error) if error.is_not_leader())
    }

    /// Whether it is unknown if the request took effect.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::LeadershipLost)
    }

    /// Whether the disk had no room for it. The same may succeed once there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Storage(error) => error.is_full(),
            Self::Pages(error) => error.is_full(),
            Self::Sql(error) => error.is_full(),
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                )
            }
            _ => false,
        }
    }

    /// Whether a page of a database file is not what was written.
    pub(crate) fn is_rot(&self) -> bool {
        match self {
            Self::Pages(error) => error.is_rot(),
            Self::Io { source, .. } => ferrolite_pager::Rot::of(source).is_some(),
            _ => false,
        }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Consensus(error) => error.is_retryable(),
            _ if self.is_full() => true,
            Self::TransferFailed => true,
            _ => false,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }
}
