//! What the owner of a node decides once: timing, limits, identity.

use crate::entry::{Incarnation, NodeId};
use crate::error::Error;

/// How far clocks may be trusted, for reads under a lease.
///
/// A leader that was answered by a quorum at a moment knows that no other leader can be elected until the least
/// election timeout has passed on those nodes' clocks, because they refuse votes for that long. The lease is that
/// timeout, shortened by what the clocks may differ. If real clocks differ by more, a lease read can be stale;
/// everything else in this crate stays correct whatever the clocks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The most by which the rates of two nodes' monotonic clocks may differ, in parts per million.
    pub drift_ppm: u64,
    /// The most by which a clock may jump (a suspended virtual machine, a stepped counter), in milliseconds.
    pub jump_ms: u64,
}

/// A node's settings. Start from [`Options::new`] and change what is to be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// This node's number; not zero.
    pub id: NodeId,
    /// The incarnation of this node's data directory; not zero.
    pub incarnation: Incarnation,
    /// The least time without word from a leader before a node stands for election, in milliseconds. For as long a
    /// node refuses to elect another leader (CheckQuorum, dissertation §4.2.3).
    pub election_timeout_min_ms: u64,
    /// The most such time. Each wait is drawn between the two.
    pub election_timeout_max_ms: u64,
    /// Time between two heartbeats of a leader, in milliseconds; less than half of the least election timeout.
    pub heartbeat_ms: u64,
    /// The most bytes of entries in one message or one read of the log. One larger entry still goes, alone.
    pub max_message_bytes: u64,
    /// The most messages with entries on their way to one peer.
    pub max_inflight_messages: usize,
    /// The most bytes of entries on their way to one peer.
    pub max_inflight_bytes: u64,
    /// The most bytes that a leader accepts beyond what is committed; past it proposals are answered `Full`.
    pub max_uncommitted_bytes: u64,
    /// The largest payload of one entry, in bytes.
    pub max_entry_bytes: u64,
    /// Bytes of recent entries held in memory. What is not durable yet is held beyond the limit.
    pub tail_cache_bytes: u64,
    /// The most reads that wait for a leader's confirmation at one time.
    pub max_pending_reads: usize,
    /// The largest chunk of a snapshot, in bytes.
    pub snapshot_chunk_bytes: u64,
    /// The most chunks of a snapshot on their way to one peer; and of a follower, the most that it has handed out and that
    /// are not written.
    pub snapshot_window_chunks: usize,
    /// The most bytes of such chunks; at least as many as a chunk has. A chunk goes beyond it only when it is alone.
    pub snapshot_window_bytes: u64,
    /// How many applied entries [`Raft::purge_limit`](crate::Raft::purge_limit) leaves in the log for followers.
    pub trailing_entries: u64,
    /// A standby may become a voter when it lacks at most this many committed entries.
    pub promotion_lag_entries: u64,
    /// How long a transfer of leadership may take, in milliseconds.
    pub transfer_timeout_ms: u64,
    /// The wish *not* to lead: each unit lengthens the election timeout by a quarter of the drawn range, up to eight
    /// units, and a leader that hands over picks the peer of the lowest weight.
    pub weight: u32,
    /// Serve reads under a lease; `None` asks a quorum for every round of reads.
    pub lease: Option<Lease>,
    /// Tell followers of every advance of the commit index at once, by a message without entries if need be. Without
    /// it they learn with the next entries or the next heartbeat.
    pub eager_commit: bool,
}

impl Options {
    /// The usual settings for nodes on one local network.
    #[must_use]
    pub const fn new(id: NodeId, incarnation: Incarnation) -> Self {
        Self {
            id,
            incarnation,
            election_timeout_min_ms: 400,
            election_timeout_max_ms: 800,
            heartbeat_ms: 100,
            max_message_bytes: 1 << 20,
            max_inflight_messages: 64,
            max_inflight_bytes: 8 << 20,
            max_uncommitted_bytes: 64 << 20,
            max_entry_bytes: 16 << 20,
            tail_cache_bytes: 4 << 20,
            max_pending_reads: 65_536,
            snapshot_chunk_bytes: 512 << 10,
            snapshot_window_chunks: 8,
            snapshot_window_bytes: 4 << 20,
            trailing_entries: 4096,
            promotion_lag_entries: 1024,
            transfer_timeout_ms: 2_000,
            weight: 0,
            lease: None,
            eager_commit: false,
        }
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`], whose text says which.
    pub fn validate(&self) -> Result<(), Error> {
        let rules = [
            (self.id != 0, "the node's number is zero"),
            (self.incarnation != 0, "the incarnation is zero"),
            (self.heartbeat_ms > 0, "heartbeat_ms is zero"),
            (
                self.heartbeat_ms.saturating_mul(2) <= self.election_timeout_min_ms,
                "heartbeat_ms is more than half of election_timeout_min_ms",
            ),
            (
                self.election_timeout_min_ms <= self.election_timeout_max_ms,
                "election_timeout_min_ms is more than election_timeout_max_ms",
            ),
            (
                self.max_inflight_messages > 0,
                "max_inflight_messages is zero",
            ),
            (self.max_message_bytes > 0, "max_message_bytes is zero"),
            (
                self.snapshot_chunk_bytes > 0,
                "snapshot_chunk_bytes is zero",
            ),
            (
                self.snapshot_window_chunks > 0,
                "snapshot_window_chunks is zero",
            ),
            (
                self.snapshot_window_bytes >= self.snapshot_chunk_bytes,
                "snapshot_window_bytes is less than snapshot_chunk_bytes",
            ),
            (self.max_pending_reads > 0, "max_pending_reads is zero"),
            (
                self.max_entry_bytes <= 1 << 30,
                "max_entry_bytes is more than 1 GiB",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, text)) => Err(Error::InvalidOptions(text)),
            None => Ok(()),
        }
    }

    /// How long a leader may rely on having been confirmed by a quorum, in milliseconds; `None` without a lease or
    /// when the clocks are trusted so little that nothing is left of it.
    pub(crate) fn lease_ms(&self) -> Option<u64> {
        let lease = self.lease?;
        let million = 1_000_000_u128;
        let scaled = u128::from(self.election_timeout_min_ms) * million
            / (million + u128::from(lease.drift_ppm));
        // Two milliseconds more: `now` is rounded down at both ends.
        let left = u64::try_from(scaled)
            .unwrap_or(0)
            .saturating_sub(lease.jump_ms)
            .saturating_sub(2);
        (left > 0).then_some(left)
    }
}
