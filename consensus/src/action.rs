//! What a node wants done: the outputs of [`Raft::take_actions`](crate::Raft::take_actions).
//!
//! Storage actions ([`Append`](Action::Append), [`SaveHardState`](Action::SaveHardState)) are started in the order in
//! which they are given and may complete in any. A driver may put as many of them as it likes under one sync. Messages
//! that depend on a write are held back by the core until that write has completed, so everything that is handed out
//! can be done at once.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::configuration::Configuration;
use crate::entry::{Entry, HardState, Index, NodeId, Term};
use crate::message::{Message, SnapshotMeta};

/// What a node is in its term (paper §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum State {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether it would be elected, without disturbing anyone (PreVote, dissertation §9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// Why a read was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// This node does not lead, or has ceased to; go to the leader.
    NotLeader,
    /// Too many reads wait already; try again later.
    Full,
}

/// How a transfer of leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferOutcome {
    /// The target leads.
    Done,
    /// Time ran out, or another node was elected.
    Failed,
}

/// One output. Done in order, except that sends and storage may overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send a message to [`message.to`](Message::to). It may be lost.
    Send(Message),
    /// Write entries to the log, as one atomic write. If the first index is not after the log's last, everything from
    /// it on is superseded. Answered by [`Event::Persisted`](crate::Event::Persisted).
    Append {
        /// Number of the write, ascending.
        seq: u64,
        /// Consecutive entries, at least one.
        entries: Vec<Entry>,
    },
    /// Save the hard state, replacing the former. Answered by [`Event::HardStateSaved`](crate::Event::HardStateSaved).
    SaveHardState {
        /// Number of the write, ascending.
        seq: u64,
        /// What to save.
        state: HardState,
    },
    /// The cluster has committed everything up to this index: replies that wait for it may go. It may be ahead of what
    /// this node has on disk.
    Commit {
        /// The commit index.
        index: Index,
    },
    /// Apply these entries; they are committed, and on this node's disk. Answered, at any later time and for several
    /// at once, by [`Event::Applied`](crate::Event::Applied).
    Apply {
        /// Index of the first.
        first: Index,
        /// Index of the last.
        last: Index,
        /// The entries if all of them are still in memory, else none: then read them from the log.
        entries: Vec<Entry>,
    },
    /// Read entries from the log, for a peer that is behind. Answered by [`Event::LogRead`](crate::Event::LogRead).
    ReadLog {
        /// To be given back.
        token: u64,
        /// The peer they are for.
        peer: NodeId,
        /// Index of the first entry.
        lo: Index,
        /// Index of the last entry.
        hi: Index,
        /// Stop before the total of payloads passes this, but read at least one entry.
        max_bytes: u64,
    },
    /// The read may be served once the application has applied `index`.
    ReadReady {
        /// The read's token.
        token: u64,
        /// What must be applied first.
        index: Index,
    },
    /// The read cannot be served.
    ReadFailed {
        /// The read's token.
        token: u64,
        /// Why.
        error: ReadError,
    },
    /// State, term or leader have changed. After leaving [`State::Leader`] the outcome of every proposal that is not
    /// committed is unknown until its index is committed with its term, or superseded.
    StateChanged {
        /// The state now.
        state: State,
        /// The term now.
        term: Term,
        /// The leader of the term, if it is known.
        leader: Option<NodeId>,
    },
    /// This leader has committed and applied the no-op of its own term: it may serve clients.
    Serving {
        /// Its term.
        term: Term,
    },
    /// Another configuration is in effect: connect to the new members, or, when an uncommitted one is undone, to the
    /// former.
    ConfigurationChanged {
        /// Index of its entry.
        index: Index,
        /// The configuration.
        configuration: Configuration,
    },
    /// The configuration in effect is committed.
    ConfigurationCommitted {
        /// Index of its entry.
        index: Index,
    },
    /// Read a chunk of a snapshot for a peer. Answered by [`Event::SnapshotRead`](crate::Event::SnapshotRead). The end of a
    /// stream is read when everything before it has arrived, and not only then: what it says of the rest has to hold
    /// when it is read last.
    ReadSnapshot {
        /// To be given back.
        token: u64,
        /// The peer it is for.
        peer: NodeId,
        /// The stream to go on with; `None` to begin one with the newest snapshot.
        id: Option<u64>,
        /// Where the chunk starts, as the peer says: beyond the stream's end if the peer lies, and then to be answered by
        /// [`Event::SnapshotUnavailable`](crate::Event::SnapshotUnavailable).
        offset: u64,
        /// The longest chunk, in bytes.
        max_bytes: u64,
        /// What the peer has applied, as far as is known: a stream may hold only what changed since.
        peer_applied: Index,
    },
    /// No peer needs more of this stream; what was opened for it can be closed.
    CloseSnapshot {
        /// The stream.
        id: u64,
    },
    /// Write a chunk of a snapshot that a leader sends. Several are handed out before the first is answered. Chunks of one
    /// id come in order, without gaps, and are written in that order; a chunk at offset 0 begins anew. With `done`, which
    /// comes when all others are answered, the whole is to be installed, atomically and durably, in place of the
    /// application's state and of the log. Answered by [`Event::SnapshotWritten`](crate::Event::SnapshotWritten) or
    /// [`Event::SnapshotRefused`](crate::Event::SnapshotRefused).
    WriteSnapshot {
        /// To be given back; ascending.
        token: u64,
        /// The leader that sends it.
        from: NodeId,
        /// What the snapshot is of.
        meta: SnapshotMeta,
        /// Where the chunk starts.
        offset: u64,
        /// The chunk.
        data: Bytes,
        /// Install it.
        done: bool,
    },
    /// A transfer of leadership that was asked for has ended.
    TransferEnded {
        /// The node that was to lead.
        target: NodeId,
        /// How it ended.
        outcome: TransferOutcome,
    },
    /// An answer of a known member came from another incarnation of its data directory, or a message from another
    /// cluster, and was refused.
    PeerRefused {
        /// The sender.
        peer: NodeId,
        /// Why, for the log.
        reason: RefusedReason,
    },
}

/// Why a peer's message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedReason {
    /// It belongs to another cluster, or to what this one was before a configuration was forced.
    OtherCluster,
    /// Its data directory is not the one that the cluster knows under its number.
    OtherIncarnation,
}
