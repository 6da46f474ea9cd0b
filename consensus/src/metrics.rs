//! Counters and gauges, for a driver to export.

use crate::action::State;
use crate::entry::{Index, Term};

/// Counts since the node started, and the present sizes of its queues.
///
/// Counters only grow; gauges (named so) are what they are at the moment of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    // Elections.
    /// Rounds of pre-voting begun.
    pub pre_elections: u64,
    /// Elections begun.
    pub elections: u64,
    /// Elections won.
    pub elections_won: u64,
    /// Votes given to others.
    pub votes_granted: u64,
    /// Times that leadership was given up because no quorum answered.
    pub quorum_lost: u64,
    /// Transfers of leadership begun.
    pub transfers: u64,
    /// Of those, ended with the target as leader.
    pub transfers_done: u64,
    /// Of those, ended otherwise.
    pub transfers_failed: u64,

    // Messages.
    /// Messages handed out for sending.
    pub messages_sent: u64,
    /// Messages taken in.
    pub messages_received: u64,
    /// Messages refused: of another cluster or incarnation.
    pub messages_refused: u64,
    /// Messages that no correct peer sends; they were dropped.
    pub violations: u64,
    /// Messages dropped because too many waited for a write.
    pub messages_overflowed: u64,

    // The log.
    /// Entries proposed here.
    pub entries_proposed: u64,
    /// Proposals answered `Full`.
    pub proposals_refused_full: u64,
    /// Entries received as a follower.
    pub entries_received: u64,
    /// Entries of this log that were superseded by a leader's.
    pub entries_superseded: u64,
    /// Appends that this follower rejected.
    pub appends_rejected: u64,
    /// Rejections that this leader received.
    pub rejections_received: u64,
    /// Times that a leader found a peer to have lost messages or entries, and went back to probing.
    pub probes_restarted: u64,
    /// Reads of the log for peers.
    pub log_reads: u64,
    /// Configurations that came into effect.
    pub configurations: u64,

    // Snapshots.
    /// Snapshots begun for peers.
    pub snapshots_begun: u64,
    /// Chunks of snapshots sent.
    pub snapshot_chunks_sent: u64,
    /// Chunks of snapshots received.
    pub snapshot_chunks_received: u64,
    /// Times that chunks were sent again, from where the peer was known to stand.
    pub snapshots_resumed: u64,
    /// Snapshots installed.
    pub snapshots_installed: u64,

    // Reads.
    /// Rounds of heartbeats begun.
    pub heartbeat_rounds: u64,
    /// Reads confirmed by a round or a lease.
    pub reads_confirmed: u64,
    /// Of those, under a lease.
    pub reads_leased: u64,
    /// Reads refused.
    pub reads_failed: u64,

    // Gauges: the state.
    /// Gauge: what the node is.
    pub state: State,
    /// Gauge: its term.
    pub term: Term,
    /// Gauge: index of the first entry that is retained, or will be.
    pub first_index: Index,
    /// Gauge: index of the last entry that is applied.
    pub applied: Index,
    /// Gauge: index of the last entry that is known to be committed.
    pub commit: Index,
    /// Gauge: index of the last entry that is on this node's disk.
    pub durable: Index,
    /// Gauge: index of the last entry.
    pub last_index: Index,
    /// Gauge: peers whose log the leader compares with its own.
    pub peers_probing: u64,
    /// Gauge: peers that get entries as they come.
    pub peers_replicating: u64,
    /// Gauge: peers that get a snapshot.
    pub peers_in_snapshot: u64,

    // Gauges: the queues.
    /// Gauge: writes of entries not completed.
    pub appends_outstanding: u64,
    /// Gauge: writes of the hard state not completed.
    pub saves_outstanding: u64,
    /// Gauge: messages that wait for a write.
    pub messages_held: u64,
    /// Gauge: entries handed out to be applied, and not reported as applied.
    pub applies_outstanding: u64,
    /// Gauge: bytes of entries in memory.
    pub tail_cache_bytes: u64,
    /// Gauge: entries in memory.
    pub tail_cache_entries: u64,
    /// Gauge: runs of terms held for the retained log.
    pub term_runs: u64,
    /// Gauge: configurations held for the retained log.
    pub configurations_held: u64,
    /// Gauge: proposals made here and not committed.
    pub uncommitted_proposals: u64,
    /// Gauge: bytes proposed here and not committed.
    pub uncommitted_bytes: u64,
    /// Gauge: reads waiting.
    pub reads_pending: u64,
    /// Gauge: rounds of heartbeats that no quorum has answered.
    pub rounds_outstanding: u64,
    /// Gauge: messages with entries on their way to peers.
    pub inflight_messages: u64,
    /// Gauge: bytes of entries on their way to peers.
    pub inflight_bytes: u64,
    /// Gauge: chunks of snapshots on their way to peers.
    pub snapshot_chunks_inflight: u64,
    /// Gauge: chunks of snapshots that were handed out to be written, and are not.
    pub snapshot_chunks_outstanding: u64,
}
