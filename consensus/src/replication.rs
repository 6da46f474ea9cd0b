//! Log replication (paper §5.3, §5.4.2), both sides of it.
//!
//! **Leader.** Each peer is sent what it lacks, as its [`Progress`](crate::progress) allows. Entries that have left
//! memory are asked for from the log and sent when they come. An index is committed once a quorum holds it on disk
//! *and* its entry is of the leader's own term; what is below it is committed with it.
//!
//! **Follower.** An append fits if the log holds the position before its entries. Then entries that are there already
//! are passed over, and the first that differs replaces everything from it on; nothing is cut because a message is
//! merely short or late. The follower notes up to where its log is now *shared* with this leader; commit never passes
//! that, nor does an acknowledgement, and an acknowledgement waits for the disk besides.
//!
//! **Conflicts.** A rejection carries the last position of the follower's log whose index and term are at most those
//! that were asked for; the leader goes to the last position of its own log that is at most that. Each exchange skips a
//! whole term on one side, so the search takes as many round trips as there are terms that differ.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::action::{Action, State};
use crate::entry::{Entry, EntryKind, Index, NodeId, Position, Term};
use crate::error::Error;
use crate::message::{AppendOutcome, Body};
use crate::progress::{Mode, Progress};
use crate::raft::Raft;

/// The entries that one call of [`Raft::propose`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The term of all of them.
    pub term: Term,
    /// Index of the first payload's entry.
    pub first: Index,
    /// Index of the last payload's entry.
    pub last: Index,
}

/// The contents of a heartbeat's answer.
pub(crate) struct HeartbeatAnswer {
    pub(crate) round: u64,
    pub(crate) seq: u64,
    pub(crate) received: Index,
    pub(crate) matched: Index,
    pub(crate) applied: Index,
    pub(crate) weight: u32,
}

impl Raft {
    /// Appends payloads to the log of this leader, one entry each, all or none. They are committed when the commit index
    /// reaches theirs while the entry there still has the returned term.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Full`], [`Error::TooLarge`], [`Error::Transferring`], [`Error::Halted`].
    pub fn propose(
        &mut self,
        now: u64,
        payloads: impl IntoIterator<Item = Bytes>,
    ) -> Result<Proposed, Error> {
        self.now = self.now.max(now);
        self.require_leader()?;
        if self.transfer.is_some() {
            return Err(Error::Transferring);
        }
        let before = self.log.last().index;
        let (mut index, term) = (before, self.hard.term);
        let mut bytes = 0_u64;
        let limit_bytes = self.options.max_entry_bytes;
        let mut oversized = false;
        let entries: Vec<Entry> = payloads
            .into_iter()
            .map(|payload| {
                index = index.saturating_add(1);
                oversized |= payload.len() as u64 > limit_bytes;
                let entry = Entry {
                    index,
                    term,
                    kind: EntryKind::Normal,
                    payload,
                };
                bytes = bytes.saturating_add(entry.cost_bytes());
                entry
            })
            .collect();
        if oversized {
            return Err(Error::TooLarge { limit_bytes });
        }
        let total = self.uncommitted_bytes.saturating_add(bytes);
        if self.uncommitted_bytes > 0 && total > self.options.max_uncommitted_bytes {
            self.metrics.proposals_refused_full =
                self.metrics.proposals_refused_full.saturating_add(1);
            return Err(Error::Full);
        }
        self.metrics.entries_proposed = self
            .metrics
            .entries_proposed
            .saturating_add(entries.len() as u64);
        if bytes > 0 {
            self.uncommitted_bytes = total;
            self.uncommitted.push_back((index, bytes));
        }
        self.append_to_log(entries);
        Ok(Proposed {
            term,
            first: before.saturating_add(1),
            last: index,
        })
    }

    // ---- Leader ----

    /// Whether the peer has answered lately.
    pub(crate) const fn is_in_touch(&self, progress: &Progress) -> bool {
        self.now
            <= progress
                .contact_at
                .saturating_add(self.options.election_timeout_max_ms)
    }

    /// Sends every peer what it lacks and may be sent.
    pub(crate) fn flush_replication(&mut self) {
        if self.state != State::Leader {
            return;
        }
        for at in 0..self.progress.len() {
            while self.send_next_append(at) {}
        }
    }

    /// Sends one append to the peer at `at` in the list, if there is something to send. Returns whether another may
    /// follow.
    fn send_next_append(&mut self, at: usize) -> bool {
        let last = self.log.last().index;
        let max_bytes = self.options.max_message_bytes;
        let token = self.next_token;
        let Some(progress) = self.progress.get_mut(at) else {
            return false;
        };
        if progress.is_paused(&self.options) {
            return false;
        }
        let Some(prev) = self.log.position(progress.next.saturating_sub(1)) else {
            self.begin_snapshot(at);
            return false;
        };
        let replicating = progress.mode == Mode::Replicate;
        let entries = if progress.next > last {
            if replicating && !(self.options.eager_commit && progress.commit_sent < self.commit) {
                return false;
            }
            Vec::new()
        } else {
            match self.log.cached(progress.next, last, max_bytes) {
                Some(entries) => entries,
                None if replicating => {
                    progress.reading = Some(token);
                    self.next_token = token.wrapping_add(1);
                    let (peer, lo) = (progress.id, progress.next);
                    self.metrics.log_reads = self.metrics.log_reads.saturating_add(1);
                    self.actions.push(Action::ReadLog {
                        token,
                        peer,
                        lo,
                        hi: last,
                        max_bytes,
                    });
                    return false;
                }
                // A probe asks only whether the logs agree; it need not carry what must be read first.
                None => Vec::new(),
            }
        };
        self.send_append(at, prev, entries);
        replicating
    }

    fn send_append(&mut self, at: usize, prev: Position, entries: Vec<Entry>) {
        let (commit, seq) = (self.commit, self.next_seq);
        let Some(progress) = self.progress.get_mut(at) else {
            return;
        };
        let bytes = entries.iter().map(Entry::cost_bytes).sum();
        progress.sent(entries.last().map(|entry| entry.index), bytes);
        progress.commit_sent = commit;
        let peer = progress.id;
        self.next_seq = seq.saturating_add(1);
        self.send(
            peer,
            Body::Append {
                seq,
                prev,
                commit,
                entries,
            },
        );
    }

    pub(crate) fn on_log_read(&mut self, token: u64, entries: Vec<Entry>) {
        let next_seq = self.next_seq;
        let Some(at) = self
            .progress
            .iter()
            .position(|progress| progress.reading == Some(token))
        else {
            return;
        };
        let Some(progress) = self.progress.get_mut(at) else {
            return;
        };
        progress.reading = None;
        let next = progress.next;
        if entries.is_empty() || !self.log.confirms(next, &entries) {
            // The log no longer holds them, or cannot read them: wait for the next heartbeat's answer, and see then
            // whether the peer needs a snapshot.
            progress.probe(next, next_seq);
            progress.mode = Mode::Probe {
                since: next_seq,
                waiting: true,
            };
            return;
        }
        if let Some(prev) = self.log.position(next.saturating_sub(1)) {
            self.send_append(at, prev, entries);
        }
    }

    pub(crate) fn on_append_response(&mut self, from: NodeId, seq: u64, outcome: AppendOutcome) {
        let (last, now, next_seq) = (self.log.last().index, self.now, self.next_seq);
        let Some(progress) = self.progress_mut(from) else {
            return;
        };
        progress.contact_at = now;
        if seq < progress.least_seq || seq >= next_seq {
            return;
        }
        match outcome {
            AppendOutcome::StaleTerm => {}
            AppendOutcome::Accepted { matched } if matched > last => self.violation(),
            AppendOutcome::Accepted { matched } => self.on_accepted(from, matched),
            AppendOutcome::Rejected { hint } => self.on_rejected(from, seq, hint),
        }
    }

    /// The peer holds the log up to `matched` on disk.
    fn on_accepted(&mut self, from: NodeId, matched: Index) {
        let boundary = self.log.boundary().index;
        let Some(progress) = self.progress_mut(from) else {
            return;
        };
        progress.accepted(matched);
        match &progress.mode {
            Mode::Probe { .. } => progress.replicate(),
            Mode::Snapshot(_) if progress.matched >= boundary => {
                // It found the entries elsewhere, or acknowledged them late.
                let stream = progress.open_stream();
                progress.replicate();
                self.close_stream(stream);
            }
            Mode::Snapshot(_) | Mode::Replicate => {}
        }
        self.advance_commit();
        self.push_transfer();
    }

    fn on_rejected(&mut self, from: NodeId, seq: u64, hint: Position) {
        self.metrics.rejections_received = self.metrics.rejections_received.saturating_add(1);
        let agreeable = self.log.last_agreeable(hint);
        let (boundary, next_seq) = (self.log.boundary().index, self.next_seq);
        let Ok(at) = self
            .progress
            .binary_search_by_key(&from, |progress| progress.id)
        else {
            return;
        };
        let Some(progress) = self.progress.get_mut(at) else {
            return;
        };
        match &progress.mode {
            Mode::Probe { since, .. } if seq < *since => return,
            Mode::Snapshot(_) => return,
            Mode::Probe { .. } | Mode::Replicate => {}
        }
        if hint.index < boundary {
            if hint.index < progress.matched {
                progress.regress(hint.index, next_seq);
            }
            self.begin_snapshot(at);
            return;
        }
        // Each rejection must lead further back, whatever the peer says.
        let next = agreeable
            .index
            .saturating_add(1)
            .min(progress.next.saturating_sub(1))
            .max(1);
        if next <= progress.matched {
            progress.regress(next.saturating_sub(1), next_seq);
        } else {
            progress.probe(next, next_seq);
        }
    }

    pub(crate) fn on_heartbeat_response(&mut self, from: NodeId, answer: HeartbeatAnswer) {
        let (last, now, next_seq) = (self.log.last().index, self.now, self.next_seq);
        if self.state == State::Leader && answer.round > self.reads.round() {
            // An answer to what was not asked would confirm every read to come.
            self.violation();
            return;
        }
        let Some(progress) = self.progress_mut(from) else {
            return;
        };
        progress.contact_at = now;
        progress.acked_round = progress.acked_round.max(answer.round);
        progress.applied = answer.applied.min(last);
        progress.weight = answer.weight;
        let counts = answer.seq >= progress.least_seq && answer.seq < next_seq;
        if counts && answer.matched <= last && answer.matched > progress.matched {
            progress.accepted(answer.matched);
        }
        let answered = progress.mark.take_if(|(round, _)| *round <= answer.round);
        let sent = answered.map_or(0, |(_, sent)| sent);
        let received = if counts { answer.received.min(last) } else { 0 };
        match &mut progress.mode {
            // What was sent before this heartbeat has not arrived: it was lost.
            Mode::Replicate if received < sent => {
                progress.probe(received.saturating_add(1), next_seq);
                self.metrics.probes_restarted = self.metrics.probes_restarted.saturating_add(1);
            }
            Mode::Replicate => {}
            Mode::Probe { waiting, .. } => *waiting = false,
            Mode::Snapshot(_) => self.retry_snapshot(from),
        }
        self.advance_commit();
        self.push_transfer();
        self.confirm_reads();
    }

    /// Commits what a quorum holds (paper §5.4.2: by counting only for an entry of the leader's own term).
    pub(crate) fn advance_commit(&mut self) {
        if self.state != State::Leader {
            return;
        }
        let durable = self.log.durable();
        let reached = self.configurations.current().quorum_reached(|id| {
            if id == self.options.id {
                durable
            } else {
                self.progress_of(id).map_or(0, |progress| progress.matched)
            }
        });
        if reached > self.commit && self.log.term(reached) == Some(self.hard.term) {
            self.commit_to(reached);
        }
    }

    /// Moves the commit index, and does what follows from it.
    pub(crate) fn commit_to(&mut self, index: Index) {
        if index <= self.commit {
            return;
        }
        self.commit = index;
        while let Some(&(_, bytes)) = self.uncommitted.front().filter(|(last, _)| *last <= index) {
            self.uncommitted.pop_front();
            self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
        }
        self.release_reads_of_term();
        self.settle_configuration();
    }

    pub(crate) fn on_peer_unreachable(&mut self, peer: NodeId) {
        let next_seq = self.next_seq;
        let Some(progress) = self.progress_mut(peer) else {
            return;
        };
        match &mut progress.mode {
            Mode::Snapshot(send) => send.doubt(),
            Mode::Probe { waiting, .. } => *waiting = false,
            Mode::Replicate => progress.probe(progress.matched.saturating_add(1), next_seq),
        }
    }

    /// What a leader does as time passes.
    pub(crate) fn tick_leader(&mut self) {
        if self.now < self.heartbeat_at {
            return;
        }
        self.check_quorum();
        if self.state == State::Leader {
            self.begin_round();
            self.push_transfer();
        }
    }

    // ---- Follower ----

    /// A message of the current term came from its leader. Returns `false` if that cannot be.
    pub(crate) fn hear_leader(&mut self, from: NodeId) -> bool {
        if self.state == State::Leader || self.leader.is_some_and(|leader| leader != from) {
            self.violation();
            return false;
        }
        self.become_follower(self.hard.term, Some(from));
        self.heard_at = Some(self.now);
        self.reset_election_timer();
        true
    }

    /// Whether the log may be written now. Not while a snapshot is about to replace it; and after damage not before the
    /// claim to what was lost is on disk.
    pub(crate) fn may_write_log(&self) -> bool {
        !self.is_installing() && (self.hard.claim.is_none() || self.saves.is_clean())
    }

    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        seq: u64,
        prev: Position,
        commit: Index,
        mut entries: Vec<Entry>,
    ) {
        if !self.is_sound(prev, &entries) {
            self.violation();
            return;
        }
        if !self.hear_leader(from) || !self.may_write_log() {
            return;
        }
        self.seen_seq = self.seen_seq.max(seq);
        // What is committed here is in every leader's log: it needs no comparing (it may be purged), and no writing.
        let settled = self.commit.min(self.log.last().index);
        let mut prev = prev;
        if prev.index < settled {
            let skipped = entries
                .iter()
                .take_while(|entry| entry.index <= settled)
                .count();
            entries.drain(..skipped);
            prev = match self.log.position(settled) {
                Some(position) => position,
                None => return,
            };
        }
        if self.log.term(prev.index) != Some(prev.term) {
            let hint = self.log.last_agreeable(prev);
            self.metrics.appends_rejected = self.metrics.appends_rejected.saturating_add(1);
            self.send(
                from,
                Body::AppendResponse {
                    seq,
                    outcome: AppendOutcome::Rejected { hint },
                },
            );
            return;
        }
        let end = entries.last().map_or(prev.index, |entry| entry.index);
        let known = entries
            .iter()
            .take_while(|entry| self.log.term(entry.index) == Some(entry.term))
            .count();
        entries.drain(..known);
        self.metrics.entries_received = self
            .metrics
            .entries_received
            .saturating_add(entries.len() as u64);
        if !self.append_to_log(entries) {
            self.violation();
            return;
        }
        self.shared = self.shared.max(end);
        self.commit_to(commit.min(self.shared));
        if end <= self.log.durable() {
            // Said even if it was said before: the leader may be asking again because the answer was lost.
            self.accept();
        }
    }

    /// Whether an append is one that a correct leader of this term can have sent.
    fn is_sound(&self, prev: Position, entries: &[Entry]) -> bool {
        let mut before = prev;
        entries.iter().all(|entry| {
            let follows = Some(entry.index) == before.index.checked_add(1)
                && entry.term >= before.term
                && entry.term <= self.hard.term
                && entry.index < Index::MAX;
            before = entry.position();
            follows
        })
    }

    /// The disk has caught up: acknowledges what is shared with the leader, unless that was said before.
    pub(crate) fn acknowledge(&mut self) {
        if self.seen_seq > 0 && self.shared.min(self.log.durable()) > self.acked {
            self.accept();
        }
    }

    fn accept(&mut self) {
        let Some(leader) = self.leader else { return };
        let matched = self.shared.min(self.log.durable());
        self.acked = matched;
        let outcome = AppendOutcome::Accepted { matched };
        self.send(
            leader,
            Body::AppendResponse {
                seq: self.seen_seq,
                outcome,
            },
        );
    }

    pub(crate) fn on_heartbeat(&mut self, from: NodeId, round: u64, commit: Index) {
        if !self.hear_leader(from) {
            return;
        }
        self.commit_to(commit.min(self.shared));
        let body = Body::HeartbeatResponse {
            round,
            seq: self.seen_seq,
            received: self.shared,
            matched: self.shared.min(self.log.durable()),
            applied: self.applied,
            weight: self.options.weight,
        };
        self.send(from, body);
    }
}
