//! Counters and gauges, for a driver to export.

/// Counts since the node started, and the present sizes of its queues.
///
/// Counters only grow; gauges (named so) are what they are at the moment of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Rounds of pre-voting begun.
    pub pre_elections: u64,
    /// Elections begun.
    pub elections: u64,
    /// Elections won.
    pub elections_won: u64,
    /// Times that leadership was given up because no quorum answered.
    pub quorum_lost: u64,
    /// Transfers of leadership begun.
    pub transfers: u64,
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
    /// Entries proposed here.
    pub entries_proposed: u64,
    /// Proposals answered `Full`.
    pub proposals_refused_full: u64,
    /// Entries received as a follower.
    pub entries_received: u64,
    /// Appends that this follower rejected.
    pub appends_rejected: u64,
    /// Rejections that this leader received.
    pub rejections_received: u64,
    /// Entries read back from the log for peers.
    pub log_reads: u64,
    /// Chunks of snapshots sent.
    pub snapshot_chunks_sent: u64,
    /// Chunks of snapshots received.
    pub snapshot_chunks_received: u64,
    /// Snapshots installed.
    pub snapshots_installed: u64,
    /// Rounds of heartbeats begun.
    pub heartbeat_rounds: u64,
    /// Reads confirmed by a round or a lease.
    pub reads_confirmed: u64,
    /// Of those, under a lease.
    pub reads_leased: u64,
    /// Reads refused.
    pub reads_failed: u64,
    /// Gauge: writes of entries not completed.
    pub appends_outstanding: u64,
    /// Gauge: writes of the hard state not completed.
    pub saves_outstanding: u64,
    /// Gauge: messages that wait for a write.
    pub messages_held: u64,
    /// Gauge: bytes of entries in memory.
    pub tail_cache_bytes: u64,
    /// Gauge: entries in memory.
    pub tail_cache_entries: u64,
    /// Gauge: runs of terms held for the retained log.
    pub term_runs: u64,
    /// Gauge: bytes proposed here and not committed.
    pub uncommitted_bytes: u64,
    /// Gauge: reads waiting.
    pub reads_pending: u64,
    /// Gauge: messages with entries on their way to peers.
    pub inflight_messages: u64,
    /// Gauge: bytes of entries on their way to peers.
    pub inflight_bytes: u64,
}
