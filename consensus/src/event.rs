//! What happens to a node: the inputs of [`Raft::step`](crate::Raft::step).

use alloc::vec::Vec;
use bytes::Bytes;

use crate::entry::{Entry, Index, NodeId, Term};
use crate::message::{Message, SnapshotMeta};

/// One input. All of them are harmless when late, doubled or unexpected: what does not fit is dropped and counted in
/// [`Metrics`](crate::Metrics).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. Needed no earlier than [`Raft::deadline`](crate::Raft::deadline); more often does no harm.
    Tick,
    /// A message came from a peer.
    Message(Message),
    /// A linearizable read begins; answered by [`Action::ReadReady`](crate::Action::ReadReady) or
    /// [`Action::ReadFailed`](crate::Action::ReadFailed) with the same token.
    Read {
        /// Chosen by the driver; not looked at.
        token: u64,
    },
    /// An [`Action::Append`](crate::Action::Append) is on disk.
    Persisted {
        /// Which one.
        seq: u64,
        /// Index of its last entry.
        index: Index,
        /// Term of its last entry.
        term: Term,
    },
    /// An [`Action::SaveHardState`](crate::Action::SaveHardState) is on disk.
    HardStateSaved {
        /// Which one.
        seq: u64,
    },
    /// A write or a sync failed. The node says nothing more, whatever happens; stop it, and never retry the sync.
    StorageFailed,
    /// Answers [`Action::ReadLog`](crate::Action::ReadLog).
    LogRead {
        /// Which one.
        token: u64,
        /// Consecutive entries from the `lo` that was asked for, as many as fit; none if `lo` is not there any more.
        entries: Vec<Entry>,
    },
    /// The application's state holds all entries up to this one.
    Applied {
        /// Index of the last applied entry.
        index: Index,
    },
    /// The driver has dropped a prefix of the log: all of it durable, applied, and in a snapshot that it can send.
    LogPurged {
        /// Index of the first entry that is left (or would be).
        first: Index,
    },
    /// Answers [`Action::ReadSnapshot`](crate::Action::ReadSnapshot).
    SnapshotRead {
        /// Which one.
        token: u64,
        /// What the snapshot is of: [`Raft::snapshot_meta`](crate::Raft::snapshot_meta) makes it.
        meta: SnapshotMeta,
        /// Where the chunk starts. If the stream that was asked for is gone, start a new one (another `meta.id`) at 0.
        offset: u64,
        /// The chunk.
        data: Bytes,
        /// Whether the stream ends with it.
        done: bool,
    },
    /// [`Action::ReadSnapshot`](crate::Action::ReadSnapshot) cannot be answered now; it is asked again later.
    SnapshotUnavailable {
        /// Which one.
        token: u64,
    },
    /// An [`Action::WriteSnapshot`](crate::Action::WriteSnapshot) is done, and every one before it that was not answered.
    /// If it was the last chunk, the snapshot is installed, durably: the application's state is the snapshot's, and the
    /// log is empty and starts after `meta.position.index`.
    SnapshotWritten {
        /// Which one.
        token: u64,
    },
    /// A chunk could not be used (its checksum is wrong, the stream makes no sense): the transfer starts over. Chunks of the
    /// same stream that were handed out after it are of no use either, and refused as well.
    SnapshotRefused {
        /// Which one.
        token: u64,
    },
    /// The connection to a peer broke, or was made again: what was on its way may be lost.
    PeerUnreachable {
        /// Which peer.
        peer: NodeId,
    },
}
