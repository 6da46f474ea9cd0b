//! What nodes say to each other.
//!
//! Every message names its cluster, its sender, the sender's incarnation, its receiver and a term; [`Body`] says the
//! rest. Messages may be lost, delayed, doubled and reordered at will: nothing in the protocol relies on a
//! connection. [`codec`] gives their bytes.
//!
//! | request | answer | from |
//! |---|---|---|
//! | [`Body::VoteRequest`] | [`Body::VoteResponse`] | a (pre-)candidate (paper §5.2; dissertation §9.6) |
//! | [`Body::Append`] | [`Body::AppendResponse`] | the leader (paper §5.3) |
//! | [`Body::Heartbeat`] | [`Body::HeartbeatResponse`] | the leader; carries read rounds (dissertation §6.4) |
//! | [`Body::Snapshot`] | [`Body::SnapshotResponse`] | the leader, a chunk in each, several on their way (paper §7) |
//! | [`Body::TimeoutNow`] | a vote request | the leader that hands over (dissertation §3.10) |

pub mod codec;

use alloc::vec::Vec;
use bytes::Bytes;

use crate::configuration::Configuration;
use crate::entry::{ClusterId, Entry, Incarnation, Index, NodeId, Position, Term};

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Message {
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The incarnation of the sender's data directory.
    pub incarnation: Incarnation,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term; in a pre-vote request and its granting answer the term that the election would have.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotMeta {
    /// Chosen by the leader's driver: chunks of one id are parts of one stream of bytes. No two streams may share one,
    /// whichever node sends them; draw it at random.
    pub id: u64,
    /// The position of the last entry that the snapshot holds.
    pub position: Position,
    /// Index of the entry that `configuration` came from.
    pub configuration_index: Index,
    /// The configuration in effect at `position`.
    pub configuration: Configuration,
}

/// What a follower makes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum AppendOutcome {
    /// The follower holds the leader's log up to this index, on disk.
    Accepted {
        /// The last index it holds.
        matched: Index,
    },
    /// The follower has no such entry at the position before the new ones.
    Rejected {
        /// The last position of the follower's log that can still agree with the leader's.
        hint: Position,
    },
    /// The message came from a leader whose term is over.
    StaleTerm,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Body {
    /// Asks for a vote, or (`pre`) whether a vote would be given.
    VoteRequest {
        /// The end of the candidate's log.
        last: Position,
        /// A question only: nobody's term or vote changes.
        pre: bool,
        /// The leader itself asked for this election, so that voters need not be loyal to it.
        transfer: bool,
    },
    /// Answers a vote request.
    VoteResponse {
        /// Whether it answers a pre-vote.
        pre: bool,
        /// Yes or no.
        granted: bool,
    },
    /// Adds entries after a position that both logs must share.
    Append {
        /// Number of this message to this peer, ascending within a term.
        seq: u64,
        /// The position before the first of `entries`.
        prev: Position,
        /// The leader's commit index.
        commit: Index,
        /// The entries, consecutive from `prev.index + 1`.
        entries: Vec<Entry>,
    },
    /// Answers an append, at once when it is refused, once everything is on disk when it is accepted.
    AppendResponse {
        /// `seq` of the latest append that the follower has dealt with.
        seq: u64,
        /// What came of it.
        outcome: AppendOutcome,
    },
    /// Says that the leader lives, and asks whether it still leads.
    Heartbeat {
        /// Number of the round of heartbeats, ascending within a term.
        round: u64,
        /// The commit index, as far as the follower is known to hold it.
        commit: Index,
    },
    /// Answers a heartbeat.
    HeartbeatResponse {
        /// The round that is answered.
        round: u64,
        /// `seq` of the latest append of this term that the follower has dealt with; zero if none.
        seq: u64,
        /// The last index known to be shared with this leader, on disk or not; zero if not known.
        received: Index,
        /// The last index known to be shared with this leader and on disk.
        matched: Index,
        /// The last index that the follower has applied.
        applied: Index,
        /// The follower's wish not to lead; see [`Options::weight`](crate::Options::weight).
        weight: u32,
    },
    /// A chunk of a snapshot.
    Snapshot {
        /// What the snapshot is of.
        meta: SnapshotMeta,
        /// Where in the stream the chunk starts, in bytes.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether the stream ends with this chunk.
        done: bool,
    },
    /// Answers a chunk.
    SnapshotResponse {
        /// Which snapshot.
        id: u64,
        /// The offset of the next chunk that is wanted: everything before it is written. Said once for each chunk that was
        /// written, and once more when what came instead of it begins elsewhere.
        next: u64,
        /// The follower holds everything up to the snapshot's position, on disk.
        installed: bool,
    },
    /// Tells the receiver to stand for election at once.
    TimeoutNow,
}

impl Body {
    /// Whether this answers something that the receiver has sent. Answers are only taken from members.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        matches!(
            self,
            Self::VoteResponse { .. }
                | Self::AppendResponse { .. }
                | Self::HeartbeatResponse { .. }
                | Self::SnapshotResponse { .. }
        )
    }

    /// Whether only a leader says this.
    #[must_use]
    pub const fn is_from_leader(&self) -> bool {
        matches!(
            self,
            Self::Append { .. } | Self::Heartbeat { .. } | Self::Snapshot { .. } | Self::TimeoutNow
        )
    }
}
