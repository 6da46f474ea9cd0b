//! Asynchronous storage: what is handed out to be written, and what waits for it.
//!
//! Writes complete later. Until then
//!
//! - no message of a term leaves before that term and its vote are on disk (paper §5.2: "persistent state is updated
//!   before responding"): everything but pre-votes goes through an outbox that opens only when no save is under way;
//! - an append is acknowledged up to the durable prefix of the log only ([`crate::log`]), and a leader counts itself by
//!   the same rule, while its messages to the peers leave at once;
//! - nothing is handed out to be applied that this node does not have on disk.
//!
//! What a node does between two calls of [`take_actions`](crate::Raft::take_actions) becomes one save and one append.

use alloc::collections::VecDeque;

use crate::action::{Action, State};
use crate::entry::{Index, NodeId, Position};
use crate::message::{Body, Message};
use crate::raft::Raft;

/// The most messages that wait for a save. More are dropped, as a network might: every one is repeated in time.
const MAX_HELD_MESSAGES: usize = 4096;

/// The most saves of the hard state under way. A change that comes while there are so many goes with the next save.
const MAX_SAVES: usize = 4;

/// Where the writing of the hard state stands.
#[derive(Debug)]
pub(crate) struct Saves {
    dirty: bool,
    /// Numbers of the saves under way, ascending; at most [`MAX_SAVES`].
    outstanding: VecDeque<u64>,
    next_seq: u64,
}

impl Saves {
    pub(crate) const fn new() -> Self {
        Self {
            dirty: false,
            outstanding: VecDeque::new(),
            next_seq: 1,
        }
    }

    /// The hard state has changed.
    pub(crate) const fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Whether the hard state on disk is the one in memory.
    pub(crate) fn is_clean(&self) -> bool {
        !self.dirty && self.outstanding.is_empty()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The number of the save to hand out now, if one is due.
    fn begin(&mut self) -> Option<u64> {
        if !self.dirty || self.outstanding.len() >= MAX_SAVES {
            return None;
        }
        self.dirty = false;
        let seq = self.next_seq;
        self.next_seq = self.next_seq.saturating_add(1);
        self.outstanding.push_back(seq);
        Some(seq)
    }

    /// A save has completed. It counts only by its own number: saves replace one another, and which of two that
    /// overlap ends up on disk is for the driver to order.
    fn complete(&mut self, seq: u64) {
        self.outstanding.retain(|&under_way| under_way != seq);
    }
}

impl Raft {
    /// Sends a message once term and vote are on disk.
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let message = self.message(to, self.hard.term, body);
        if self.outbox.len() < MAX_HELD_MESSAGES {
            self.outbox.push_back(message);
        } else {
            self.metrics.messages_overflowed = self.metrics.messages_overflowed.saturating_add(1);
        }
    }

    /// Sends a message that promises nothing, at once.
    pub(crate) fn send_unheld(&mut self, to: NodeId, term: u64, body: Body) {
        let message = self.message(to, term, body);
        self.metrics.messages_sent = self.metrics.messages_sent.saturating_add(1);
        self.actions.push(Action::Send(message));
    }

    const fn message(&self, to: NodeId, term: u64, body: Body) -> Message {
        Message {
            cluster: self.hard.cluster,
            from: self.options.id,
            incarnation: self.options.incarnation,
            to,
            term,
            body,
        }
    }

    /// Turns what has gathered into actions.
    pub(crate) fn flush(&mut self) {
        self.flush_reads();
        self.flush_replication();
        self.flush_snapshot();
        if let Some(seq) = self.saves.begin() {
            // Only what is durable here may be hinted as committed: after a crash the hint is believed for whatever
            // entry the log then holds at that index.
            self.hard.commit = self.hard.commit.max(self.commit.min(self.log.durable()));
            self.actions.push(Action::SaveHardState {
                seq,
                state: self.hard,
            });
        }
        if let Some((seq, entries)) = self.log.flush() {
            self.actions.push(Action::Append { seq, entries });
        }
        self.flush_commit();
        if self.saves.is_clean() {
            let released = self.outbox.len() as u64;
            self.metrics.messages_sent = self.metrics.messages_sent.saturating_add(released);
            self.actions.extend(self.outbox.drain(..).map(Action::Send));
        }
    }

    /// Tells how far the cluster has committed, and hands out what can be applied here.
    fn flush_commit(&mut self) {
        if self.commit > self.commit_announced {
            self.commit_announced = self.commit;
            self.actions.push(Action::Commit { index: self.commit });
        }
        let last = self.commit.min(self.log.durable());
        if last > self.apply_sent {
            let first = self.apply_sent.saturating_add(1);
            self.apply_sent = last;
            let entries = self.log.cached(first, last, u64::MAX).unwrap_or_default();
            self.actions.push(Action::Apply {
                first,
                last,
                entries,
            });
        }
    }

    pub(crate) fn on_persisted(&mut self, seq: u64, end: Position) {
        if !self.log.persisted(seq, end) {
            return;
        }
        self.check_claim();
        if self.state == State::Leader {
            self.advance_commit();
        } else {
            self.acknowledge();
        }
    }

    pub(crate) fn on_hard_state_saved(&mut self, seq: u64) {
        self.saves.complete(seq);
        if self.saves.is_clean() && self.state == State::Candidate {
            // The candidate's own vote counts from here on.
            self.votes.insert(self.options.id, true);
            self.count_votes();
        }
    }

    /// Drops the claim to a damaged log once the log is as good as the claim again.
    pub(crate) fn check_claim(&mut self) {
        let Some(claim) = self.hard.claim else { return };
        if self
            .log
            .position(self.log.durable())
            .is_some_and(|durable| durable >= claim)
        {
            self.hard.claim = None;
            self.saves.mark_dirty();
        }
    }

    pub(crate) fn on_applied(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.apply_sent));
        self.check_serving();
    }

    /// A leader serves once the no-op of its own term is committed and applied: only then does its state hold
    /// everything that was ever acknowledged (paper §8).
    pub(crate) fn check_serving(&mut self) {
        if self.state == State::Leader
            && !self.serving
            && self.has_committed_in_term()
            && self.applied >= self.noop
        {
            self.serving = true;
            self.actions.push(Action::Serving {
                term: self.hard.term,
            });
        }
    }

    /// Whether this leader has committed an entry of its own term.
    pub(crate) const fn has_committed_in_term(&self) -> bool {
        self.commit >= self.noop
    }

    pub(crate) fn on_log_purged(&mut self, first: Index) {
        let boundary = first.saturating_sub(1);
        if boundary > self.applied
            || boundary > self.log.durable()
            || self.log.term(boundary).is_none()
        {
            self.violation();
            return;
        }
        self.log.purge(first);
        self.configurations.purge(boundary);
    }
}
