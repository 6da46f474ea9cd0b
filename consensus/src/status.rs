//! What can be asked of a node: nothing here changes anything but [`set_weight`](Raft::set_weight).

use alloc::vec::Vec;

use crate::action::State;
use crate::configuration::Configuration;
use crate::entry::{ClusterId, Entry, HardState, Index, NodeId, Term};
use crate::message::SnapshotMeta;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::progress::{Mode, PeerStatus, Progress};
use crate::raft::Raft;

impl Raft {
    /// Bytes of entries that were proposed here and are not committed.
    #[must_use]
    pub const fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    /// This node's number.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.options.id
    }

    /// The cluster that the node belongs to; zero if none yet.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.hard.cluster
    }

    /// The settings in force.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// What the node is in its term.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether the node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.state == State::Leader
    }

    /// Whether the node leads and has committed and applied the no-op of its term, so that it may serve clients.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        self.serving
    }

    /// Whether storage has failed and the node must be stopped.
    #[must_use]
    pub const fn is_halted(&self) -> bool {
        self.halted
    }

    /// Whether part of the log is lost to damage and not fetched again yet.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.hard.claim.is_some()
    }

    /// The current term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.hard.term
    }

    /// The hard state as it stands, saved or not.
    #[must_use]
    pub const fn hard_state(&self) -> HardState {
        self.hard
    }

    /// The leader of the current term, if it is known.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// When the leader was last heard of, or for a leader when a quorum was last in touch: the start of the interval in
    /// which this node's state may be stale.
    #[must_use]
    pub fn leader_contact(&self) -> Option<u64> {
        if self.state == State::Leader {
            Some(self.quorum_contact())
        } else {
            self.leader.and(self.heard_at)
        }
    }

    /// Everything up to this index is committed.
    #[must_use]
    pub const fn commit(&self) -> Index {
        self.commit
    }

    /// Everything up to this index is applied, as the driver has said.
    #[must_use]
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// Everything up to this index is on this node's disk.
    #[must_use]
    pub const fn durable(&self) -> Index {
        self.log.durable()
    }

    /// Index of the first entry that is retained, or will be.
    #[must_use]
    pub const fn first_index(&self) -> Index {
        self.log.boundary().index.saturating_add(1)
    }

    /// Index of the last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last().index
    }

    /// Term of the entry at `index`, if it is retained.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// The entries from `lo` to `hi`, as many as fit into `max_bytes` but at least one, if `lo` is still in memory.
    #[must_use]
    pub fn cached_entries(&self, lo: Index, hi: Index, max_bytes: u64) -> Option<Vec<Entry>> {
        self.log.cached(lo, hi, max_bytes)
    }

    /// The configuration in effect: the last in the log, committed or not.
    #[must_use]
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configurations
            .latest()
            .map(|(_, configuration)| configuration)
    }

    /// Index of the entry that the configuration in effect came from.
    #[must_use]
    pub fn configuration_index(&self) -> Index {
        self.configurations.index()
    }

    /// What a snapshot of the state at `index` is of. `None` if the index is not applied, or lies before the log.
    #[must_use]
    pub fn snapshot_meta(&self, id: u64, index: Index) -> Option<SnapshotMeta> {
        let position = self.log.position(index).filter(|_| index <= self.applied)?;
        let (configuration_index, configuration) = self.configurations.at(index)?;
        Some(SnapshotMeta {
            id,
            position,
            configuration_index,
            configuration: configuration.clone(),
        })
    }

    /// The highest index up to which the log can be dropped without sending anyone in touch to a snapshot, and
    /// with [`trailing_entries`](Options::trailing_entries) left. The driver may drop more, up to its newest
    /// snapshot, when it needs the room.
    #[must_use]
    pub fn purge_limit(&self) -> Index {
        let mut limit = self
            .applied
            .min(self.log.durable())
            .saturating_sub(self.options.trailing_entries);
        for progress in self
            .progress
            .iter()
            .filter(|progress| self.is_in_touch(progress))
        {
            limit = limit.min(match &progress.mode {
                Mode::Snapshot(send) => send.index().unwrap_or(Index::MAX),
                _ => progress.matched,
            });
        }
        limit.max(self.log.boundary().index)
    }

    /// What a leader knows about its peers; empty on other nodes.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        self.progress.iter().map(Progress::status)
    }

    /// Changes this node's wish not to lead; see [`Options::weight`].
    pub const fn set_weight(&mut self, weight: u32) {
        self.options.weight = weight;
    }

    /// Counters and gauges.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let sum = |value: fn(&Progress) -> u64| self.progress.iter().map(value).sum();
        let mode = |wanted: fn(&Mode) -> bool| {
            let peers = self.progress.iter().filter(|peer| wanted(&peer.mode));
            peers.count() as u64
        };
        Metrics {
            state: self.state,
            term: self.hard.term,
            first_index: self.first_index(),
            applied: self.applied,
            commit: self.commit,
            durable: self.log.durable(),
            last_index: self.log.last().index,
            peers_probing: mode(|mode| matches!(mode, Mode::Probe { .. })),
            peers_replicating: mode(|mode| matches!(mode, Mode::Replicate)),
            peers_in_snapshot: mode(|mode| matches!(mode, Mode::Snapshot(_))),
            applies_outstanding: self.apply_sent.saturating_sub(self.applied),
            configurations_held: self.configurations.len() as u64,
            uncommitted_proposals: self.uncommitted.len() as u64,
            rounds_outstanding: self.reads.rounds() as u64,
            appends_outstanding: self.log.outstanding() as u64,
            saves_outstanding: self.saves.outstanding() as u64,
            messages_held: self.outbox.len() as u64,
            tail_cache_bytes: self.log.tail_bytes(),
            tail_cache_entries: self.log.tail_entries() as u64,
            term_runs: self.log.term_runs() as u64,
            uncommitted_bytes: self.uncommitted_bytes,
            reads_pending: self.reads.len() as u64,
            inflight_messages: sum(|progress| progress.inflight_messages() as u64),
            inflight_bytes: sum(Progress::inflight_bytes),
            snapshot_chunks_inflight: sum(|progress| progress.inflight_chunks() as u64),
            snapshot_chunks_outstanding: self.chunk_writes.len() as u64,
            ..self.metrics
        }
    }
}
