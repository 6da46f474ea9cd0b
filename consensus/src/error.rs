//! The crate's one error. Its predicates tell the caller what it may do next.

use core::fmt;

use crate::codec::DecodeError;
use crate::configuration::ConfigurationError;
use crate::entry::{Index, NodeId};

/// Why a request to the core was refused. A refused request has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The settings do not make sense; the text says which.
    InvalidOptions(&'static str),
    /// What was read from storage does not fit together; the text says what.
    InvalidRecovery(&'static str),
    /// Only the leader can do this.
    NotLeader {
        /// The leader, if this node knows it.
        leader: Option<NodeId>,
    },
    /// More is proposed than the cluster has committed; wait for commits.
    Full,
    /// A payload is larger than an entry may be.
    TooLarge {
        /// The largest payload, in bytes.
        limit_bytes: u64,
    },
    /// Leadership is being handed over.
    Transferring,
    /// The leader has not committed an entry of its own term yet.
    NotReady,
    /// Another configuration change is not finished.
    ChangeInProgress,
    /// The standby lacks too much of the log to become a voter.
    NotCaughtUp {
        /// Which standby.
        id: NodeId,
        /// The last index it is known to hold.
        matched: Index,
        /// The index it must reach first.
        needed: Index,
    },
    /// There is no such member.
    UnknownMember(NodeId),
    /// The change asks for something that is not done in one step; the text says what.
    InvalidChange(&'static str),
    /// The change would lead to an impossible configuration.
    InvalidConfiguration(ConfigurationError),
    /// Leadership cannot go to this node: it is no other voter that answers.
    InvalidTarget(Option<NodeId>),
    /// Storage failed; the node has stopped for good.
    Halted,
    /// Bytes could not be read.
    Decode(DecodeError),
}

impl Error {
    /// Whether the caller should go to another node.
    #[must_use]
    pub const fn is_not_leader(&self) -> bool {
        matches!(self, Self::NotLeader { .. })
    }

    /// The leader to go to, if the answer names one.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        match self {
            Self::NotLeader { leader } => *leader,
            _ => None,
        }
    }

    /// Whether the same request may succeed on this node a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::Transferring
                | Self::NotReady
                | Self::ChangeInProgress
                | Self::NotCaughtUp { .. }
        )
    }

    /// Whether the node must be stopped: its storage failed or did not make sense.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Halted | Self::InvalidRecovery(_) | Self::InvalidOptions(_)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOptions(text) => write!(f, "invalid consensus options: {text}"),
            Self::InvalidRecovery(text) => {
                write!(f, "the recovered consensus state is inconsistent: {text}")
            }
            Self::NotLeader { leader: Some(id) } => {
                write!(f, "this node is not the leader; node {id} is")
            }
            Self::NotLeader { leader: None } => {
                f.write_str("this node is not the leader, and knows of none")
            }
            Self::Full => f.write_str("too much is waiting to be committed"),
            Self::TooLarge { limit_bytes } => {
                write!(f, "an entry holds at most {limit_bytes} bytes")
            }
            Self::Transferring => f.write_str("leadership is being transferred"),
            Self::NotReady => f.write_str("the leader has not committed an entry of its term yet"),
            Self::ChangeInProgress => f.write_str("another configuration change is in progress"),
            Self::NotCaughtUp {
                id,
                matched,
                needed,
            } => {
                write!(
                    f,
                    "node {id} has not caught up: it holds the log up to {matched} and needs {needed}"
                )
            }
            Self::UnknownMember(id) => write!(f, "node {id} is not a member"),
            Self::InvalidChange(text) => write!(f, "invalid configuration change: {text}"),
            Self::InvalidConfiguration(error) => write!(f, "invalid configuration: {error}"),
            Self::InvalidTarget(Some(id)) => {
                write!(f, "leadership cannot be transferred to node {id}")
            }
            Self::InvalidTarget(None) => f.write_str("no voter can take over leadership"),
            Self::Halted => f.write_str("the node has stopped because its storage failed"),
            Self::Decode(error) => write!(f, "malformed bytes: {error}"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::InvalidConfiguration(error) => Some(error),
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<ConfigurationError> for Error {
    fn from(error: ConfigurationError) -> Self {
        Self::InvalidConfiguration(error)
    }
}
