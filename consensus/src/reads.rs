//! Linearizable reads without writing to the log (paper §8, dissertation §6.4).
//!
//! A read may be served from the state at the commit index of the moment when it began, once it is certain that no other
//! leader had committed anything by then. Two conditions make it certain:
//!
//! 1. this leader has committed an entry of its own term, so that its commit index is not behind;
//! 2. it still led at some moment *after* the read began.
//!
//! The second is shown by a **round**: a heartbeat with a number of its own, answered by a quorum. All reads that gather
//! while one round is under way share the next. A round started before a read began says nothing about it.
//! Under a **lease** no round is needed: from the start of a round that a quorum answered, no other leader can be
//! elected until the least election timeout has passed on the voters' clocks, for they owe it their loyalty
//! ([`election`](crate::Raft)). A leader that has asked another node to take over by `TimeoutNow` has released them from
//! that, and uses no lease for the rest of its term.

use alloc::collections::VecDeque;

use crate::action::{Action, ReadError, State};
use crate::entry::{Index, NodeId};
use crate::message::Body;
use crate::raft::Raft;

/// The most rounds whose start is remembered. A leader that no quorum answers steps down long before there are so many;
/// an older one that is forgotten can still confirm its reads, it only extends no lease.
const MAX_STARTED_ROUNDS: usize = 1024;

/// Reads that wait, and the rounds that they wait for.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// They wait until the leader has committed in its term.
    unready: VecDeque<u64>,
    /// They wait for the next round: token, and the index that they must see.
    gathered: VecDeque<(u64, Index)>,
    /// They wait for a round that was started: its number, token, index.
    asked: VecDeque<(u64, u64, Index)>,
    /// The latest round.
    round: u64,
    /// Rounds that were not confirmed, with the time of their start.
    started: VecDeque<(u64, u64)>,
    /// Start of the latest confirmed round.
    confirmed_at: Option<u64>,
    /// The voters were released from their loyalty in this term.
    lease_forfeited: bool,
}

impl Reads {
    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        self.unready
            .len()
            .saturating_add(self.gathered.len())
            .saturating_add(self.asked.len())
    }

    /// How many rounds were started and not confirmed.
    pub(crate) fn rounds(&self) -> usize {
        self.started.len()
    }

    /// The latest round.
    pub(crate) const fn round(&self) -> u64 {
        self.round
    }

    /// A new leadership: rounds and lease of an earlier one mean nothing.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(crate) const fn forfeit_lease(&mut self) {
        self.lease_forfeited = true;
    }
}

impl Raft {
    pub(crate) fn on_read(&mut self, token: u64) {
        if self.state != State::Leader {
            self.fail_read(token, ReadError::NotLeader);
        } else if self.reads.len() >= self.options.max_pending_reads {
            self.fail_read(token, ReadError::Full);
        } else if self.has_committed_in_term() {
            self.begin_read(token);
        } else {
            self.reads.unready.push_back(token);
        }
    }

    fn begin_read(&mut self, token: u64) {
        let index = self.commit;
        if self.configurations.current().is_only_voter(self.options.id) {
            self.confirm_read(token, index);
        } else if self.now < self.lease_until() {
            self.metrics.reads_leased = self.metrics.reads_leased.saturating_add(1);
            self.confirm_read(token, index);
        } else {
            self.reads.gathered.push_back((token, index));
        }
    }

    /// The time before which no other node can have been elected, in milliseconds on this node's clock; 0 if nothing is
    /// certain. Reads of what is committed may be answered until then without asking anybody.
    ///
    /// Whoever goes by it must look again for each read, and learn of every change before messages leave that were
    /// produced by the same event: a leader that steps down, or asks another to take over, takes it back.
    #[must_use]
    pub fn lease_until(&self) -> u64 {
        let released = self.reads.lease_forfeited || self.transfer.is_some();
        if self.state != State::Leader || !self.has_committed_in_term() || released {
            return 0;
        }
        match (self.options.lease_ms(), self.reads.confirmed_at) {
            (Some(lease_ms), Some(at)) => at.saturating_add(lease_ms),
            _ => 0,
        }
    }

    /// A moment, in milliseconds on this node's clock, at which this node certainly led: the start of the latest round that a
    /// quorum has answered. What was committed by then is not behind [`commit`](Raft::commit). `None` on a node that does not
    /// lead, and on one that has not committed in its term yet.
    #[must_use]
    pub fn confirmed_at(&self) -> Option<u64> {
        let knows_all = self.state == State::Leader && self.has_committed_in_term();
        self.reads.confirmed_at.filter(|_| knows_all)
    }

    fn confirm_read(&mut self, token: u64, index: Index) {
        self.metrics.reads_confirmed = self.metrics.reads_confirmed.saturating_add(1);
        self.actions.push(Action::ReadReady { token, index });
    }

    pub(crate) fn fail_read(&mut self, token: u64, error: ReadError) {
        self.metrics.reads_failed = self.metrics.reads_failed.saturating_add(1);
        self.actions.push(Action::ReadFailed { token, error });
    }

    /// The leader has ceased to lead.
    pub(crate) fn fail_reads(&mut self) {
        let reads = core::mem::take(&mut self.reads);
        let gathered = reads.gathered.into_iter().map(|(token, _)| token);
        let asked = reads.asked.into_iter().map(|(_, token, _)| token);
        for token in asked.chain(gathered).chain(reads.unready) {
            self.fail_read(token, ReadError::NotLeader);
        }
    }

    /// The commit index has moved: if it is the first time in this term, the reads that waited for it begin.
    pub(crate) fn release_reads_of_term(&mut self) {
        if self.state == State::Leader && self.has_committed_in_term() {
            for token in core::mem::take(&mut self.reads.unready) {
                self.begin_read(token);
            }
        }
    }

    /// Starts a round for the reads that have gathered, unless one is under way.
    pub(crate) fn flush_reads(&mut self) {
        if self.state == State::Leader
            && !self.reads.gathered.is_empty()
            && self.reads.asked.is_empty()
        {
            self.begin_round();
        }
    }

    /// Sends a heartbeat to every peer. All gathered reads go with it.
    pub(crate) fn begin_round(&mut self) {
        self.heartbeat_at = self.now.saturating_add(self.options.heartbeat_ms);
        self.metrics.heartbeat_rounds = self.metrics.heartbeat_rounds.saturating_add(1);
        self.reads.round = self.reads.round.saturating_add(1);
        let round = self.reads.round;
        if self.reads.started.len() >= MAX_STARTED_ROUNDS {
            self.reads.started.pop_front();
        }
        self.reads.started.push_back((round, self.now));
        while let Some((token, index)) = self.reads.gathered.pop_front() {
            self.reads.asked.push_back((round, token, index));
        }
        for at in 0..self.progress.len() {
            let commit = self.commit;
            let Some(progress) = self.progress.get_mut(at) else {
                continue;
            };
            if progress.mark.is_none() {
                progress.mark = Some((round, progress.next.saturating_sub(1)));
            }
            let (peer, commit) = (progress.id, commit.min(progress.matched));
            self.send(peer, Body::Heartbeat { round, commit });
        }
        self.confirm_reads();
    }

    /// Tells a peer at once how far is committed, which it would otherwise learn with the next message that it is sent. Says
    /// nothing on a node that does not lead, and nothing of what the peer is not known to hold.
    pub fn tell_commit(&mut self, peer: NodeId) {
        if self.state != State::Leader {
            return;
        }
        if let Some(progress) = self.progress_of(peer) {
            let commit = self.commit.min(progress.matched);
            // The answer says of the latest round no more than is true: the peer has heard this leader after it began.
            let round = self.reads.round;
            self.send(peer, Body::Heartbeat { round, commit });
        }
    }

    /// Confirms the reads of every round that a quorum has answered.
    pub(crate) fn confirm_reads(&mut self) {
        if self.state != State::Leader {
            return;
        }
        let round = self.reads.round;
        let confirmed = self.configurations.current().quorum_reached(|id| {
            if id == self.options.id {
                round
            } else {
                self.progress_of(id)
                    .map_or(0, |progress| progress.acked_round)
            }
        });
        let confirmed = confirmed.min(round);
        while let Some(&(_, at)) = self
            .reads
            .started
            .front()
            .filter(|(number, _)| *number <= confirmed)
        {
            self.reads.confirmed_at = Some(at);
            self.reads.started.pop_front();
        }
        while let Some(&(_, token, index)) = self
            .reads
            .asked
            .front()
            .filter(|(number, ..)| *number <= confirmed)
        {
            self.reads.asked.pop_front();
            self.confirm_read(token, index);
        }
    }
}
