//! What the core wants done, and what follows from it for the databases.

use ferrolite_consensus::{
    Action, Entry, EntryKind, Error as Refusal, Event as Input, HardState, Index, NodeId, State,
    Term, TransferOutcome,
};

use super::{Phase, Proposed, Replica, reply};
use crate::checkpoint::Job;
use crate::error::Error;
use crate::log_writer::Work;
use crate::membership;
use crate::peers::Outlet;
use crate::snapshot;

/// What an entry counts for, at least, where it is about when the files are written. Small entries cost something, too: as
/// frames of the engine's log, and when they are redone.
const LEAST_ENTRY_BYTES: u64 = 512;

impl Replica {
    /// Does what the core wants, until it wants nothing more, and publishes what has become of the node.
    pub(super) fn act(&mut self, now: u64, peers: &mut dyn Outlet) {
        self.pursue_changes(now);
        self.pursue_transfers(now);
        loop {
            let actions = self.raft.take_actions();
            // Before any message leaves that may end it.
            self.lease.set_until(self.raft.lease_until());
            self.note_freshness();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.perform(now, action, peers);
            }
            self.pursue_changes(now);
        }
        for (to, message) in std::mem::take(&mut self.page_messages) {
            peers.send_page(to, &message);
        }
        for (to, message) in std::mem::take(&mut self.freshness_messages) {
            peers.send_freshness(to, message);
        }
        self.continue_phase();
        self.make_files_sure();
        self.publish();
        self.answer_transfers();
    }

    fn perform(&mut self, now: u64, action: Action, peers: &mut dyn Outlet) {
        match action {
            Action::Send(message) => peers.send(&message),
            Action::Append { seq, entries } => self.send_work(Work::Append { seq, entries }),
            Action::SaveHardState { seq, state } => self.save(seq, state),
            Action::Commit { index } => self.commit(index),
            Action::Apply {
                first,
                last,
                entries,
            } => self.apply(now, first, last, entries),
            Action::ReadLog {
                token,
                lo,
                hi,
                max_bytes,
                ..
            } => self.read_log(now, token, lo, hi, max_bytes),
            Action::ReadReady { token, index } => {
                self.answer_question(token, Some(index));
                self.confirmed(token, Ok(()));
            }
            Action::ReadFailed { token, .. } => {
                self.answer_question(token, None);
                self.confirmed(token, Err(Refusal::NotLeader { leader: None }.into()));
            }
            Action::StateChanged {
                state,
                term,
                leader,
            } => self.state_changed(state, term, leader),
            Action::Serving { term } => {
                log::info!(term; "elected; writing what is committed into the database files");
                self.phase = Phase::Settling;
                self.following.close_all();
            }
            Action::ConfigurationChanged {
                index,
                configuration,
            } => {
                self.configurations.retain(|(known, _)| *known < index);
                self.configurations.push((index, configuration));
            }
            Action::ConfigurationCommitted { index } => self.configuration_committed(index),
            Action::ReadSnapshot {
                token,
                peer,
                id,
                offset,
                max_bytes,
                ..
            } => {
                self.send_job(Job::ReadSnapshot(snapshot::Read {
                    token,
                    peer,
                    id,
                    offset,
                    max_bytes,
                }));
            }
            Action::CloseSnapshot { id } => {
                self.sending.remove(&id);
                self.send_job(Job::CloseSnapshot(id));
            }
            Action::WriteSnapshot {
                token,
                meta,
                offset,
                data,
                done,
                ..
            } => {
                self.send_job(Job::WriteSnapshot(snapshot::Write {
                    token,
                    meta,
                    offset,
                    data,
                    done,
                }));
            }
            Action::TransferEnded { target, outcome } => {
                self.transfer_ended(target, outcome == TransferOutcome::Done);
            }
            Action::PeerRefused { peer, reason } => {
                log::warn!(peer, reason:?; "messages of a node are refused");
            }
            other => {
                // The core and the replica are built together; this cannot be an old replica.
                log::error!(other:?; "the consensus wants something that the replica cannot do");
            }
        }
    }

    pub(super) fn send_work(&mut self, work: Work) {
        if !self.writes.send(work) {
            log::debug!("the log writer has stopped");
        }
    }

    pub(super) fn send_job(&mut self, job: Job) {
        if !self.jobs.send(job) {
            log::debug!("the checkpointer has stopped");
        }
    }

    fn save(&mut self, seq: u64, state: HardState) {
        if *self.cluster.borrow() != state.cluster {
            log::info!(
                cluster:% = format_args!("{:032x}", state.cluster);
                "this node belongs to a cluster now"
            );
            self.cluster.send_replace(state.cluster);
        }
        self.send_work(Work::HardState { seq, state });
    }

    // ---- applying ----

    fn apply(&mut self, now: u64, first: Index, last: Index, entries: Vec<Entry>) {
        let followed = if entries.is_empty() {
            let store = std::sync::Arc::clone(&self.store);
            store.scan(first, last.saturating_add(1), |entry| self.follow(&entry))
        } else {
            entries.iter().try_for_each(|entry| self.follow(entry))
        };
        if let Err(error) = followed {
            self.halt(now, format!("a committed entry cannot be applied: {error}"));
            return;
        }
        self.applied = self.applied.max(last);
        self.following.applied(self.applied);
        self.step(now, Input::Applied { index: last });
        self.bind();
        while self
            .imported
            .front()
            .is_some_and(|(index, _, _)| *index <= self.applied)
        {
            if let Some((to, name, answer)) = self.imported.pop_front() {
                self.next_token += 1;
                self.imports.insert(self.next_token, answer);
                self.send_job(Job::RedoOne {
                    name,
                    to,
                    token: self.next_token,
                });
            }
        }
        if self.fresh_bytes >= self.checkpoint_bytes {
            self.checkpoint();
        }
    }

    fn follow(&mut self, entry: &Entry) -> Result<(), Error> {
        self.fresh_bytes += (entry.payload.len() as u64).max(LEAST_ENTRY_BYTES);
        match entry.kind {
            EntryKind::Noop => self.open.new_leader(),
            EntryKind::Normal => self.open.follow(entry.index, &entry.payload)?,
            EntryKind::Config => {}
        }
        Ok(())
    }

    /// What a snapshot has brought is looked at as soon as it can be, and a checkpoint that a crash has interrupted is finished:
    /// before that, rot cannot be told from what was half written.
    fn make_files_sure(&mut self) {
        let through = self.applied_in_log();
        let due = |newest| newest <= through;
        let mark = &self.store.mark;
        let is_due = self.store.unexamined().is_some_and(due)
            || (mark.is_interrupted() && due(mark.target()));
        if self.phase == Phase::Following
            && is_due
            && through > self.examined_at
            && !self.checkpointing
        {
            // Once for each state: a transaction that is not complete may keep the files behind.
            self.examined_at = through;
            self.checkpoint();
        }
    }

    /// The last entry that is applied, as far as the log reaches. After damage it may have begun anew before what was applied once,
    /// until that has come again.
    pub(super) fn applied_in_log(&self) -> Index {
        let end = self.log_anew_after;
        self.applied
            .min(end.unwrap_or_else(|| self.store.log.last_index()))
    }

    pub(super) fn checkpoint(&mut self) {
        if self.checkpointing || self.halted.is_some() {
            return;
        }
        let job = match self.phase {
            Phase::Following => Job::Redo {
                to: self.applied_in_log(),
            },
            Phase::Serving => Job::Checkpoint {
                databases: self.registry.all(),
                applied: self.applied,
                open_from: self.open.first(),
            },
            Phase::Settling | Phase::TakingOver => return,
        };
        self.fresh_bytes = 0;
        self.checkpointing = true;
        self.send_job(job);
    }

    /// The files hold everything up to `done`, and what comes after it reaches back to `keep`: the log may let go of what
    /// nobody else needs.
    pub(super) fn purge(&mut self, done: Index, keep: Index) {
        let kept_for_snapshots = self.sending.values().copied().min().unwrap_or(Index::MAX);
        let may_go = self.raft.purge_limit().max(self.excess_limit());
        let done = done.min(keep.saturating_sub(1));
        let limit = done.min(may_go).min(kept_for_snapshots);
        if limit < self.store.log.first_index() {
            return;
        }
        let known: Vec<_> = self
            .configurations
            .iter()
            .filter(|(index, _)| *index <= limit)
            .cloned()
            .collect();
        if let Err(error) = membership::save(self.store.directory(), &known) {
            log::error!(error:%; "the log is not shortened");
            return;
        }
        self.send_work(Work::Purge {
            first: limit.saturating_add(1),
        });
    }

    /// The last entry that is more than [`log_bytes`](crate::Options::log_bytes) away from the log's end.
    fn excess_limit(&self) -> Index {
        let log = &self.store.log;
        let (first, mut index) = (log.first_index(), log.last_index());
        // With the records' headers, so it is never less than what is counted below.
        if log.bytes_from(first) <= self.log_bytes {
            return 0;
        }
        let mut bytes = 0_u64;
        while index >= first {
            // An entry that cannot be looked at is damaged; what is before it is kept for its repair.
            let Ok(len) = log.payload_len(index) else {
                return 0;
            };
            bytes = bytes.saturating_add(len.into());
            if bytes > self.log_bytes {
                return index;
            }
            index -= 1;
        }
        0
    }

    /// The log begins with `first` now: of the configurations before it only the last is needed.
    pub(super) fn drop_configurations(&mut self, first: Index) {
        let before = self
            .configurations
            .partition_point(|(index, _)| *index < first);
        self.configurations.drain(..before.saturating_sub(1));
    }

    fn read_log(&mut self, now: u64, token: u64, lo: Index, hi: Index, max_bytes: u64) {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let entries = match self.store.log.read(lo, hi.saturating_add(1), max_bytes) {
            Ok(records) => records.into_iter().map_while(crate::store::entry).collect(),
            Err(error) if error.is_compacted() => Vec::new(),
            Err(error) => {
                log::error!(error:%; "entries for a peer cannot be read");
                if error.is_damaged() {
                    self.hand_over(now);
                }
                Vec::new()
            }
        };
        self.step(now, Input::LogRead { token, entries });
    }

    pub(super) fn begin_log_anew(&mut self, token: u64, install: Box<snapshot::Install>) {
        self.applied = self.applied.max(install.index());
        self.committed = self.committed.max(install.index());
        self.open.new_leader();
        self.configurations = vec![install.configuration()];
        self.fresh_bytes = 0;
        self.log_anew_after = Some(install.index());
        self.send_work(Work::Reset { token, install });
    }

    // ---- leadership ----

    fn state_changed(&mut self, state: State, term: Term, leader: Option<NodeId>) {
        let led = self.phase != Phase::Following;
        self.term = term;
        self.leader = leader;
        if state == State::Leader {
            log::info!(term; "this node leads");
        } else {
            if let Some(leader) = leader {
                log::info!(term, leader; "this node follows");
            }
            if led || !self.pending.is_empty() {
                self.lose_leadership();
            }
        }
    }

    /// Closes everything that only a leader has, and tells those who wait.
    pub(super) fn lose_leadership(&mut self) {
        self.phase = Phase::Following;
        for database in self.registry.close_all() {
            database.commits.lose_from(0);
        }
        self.store.images.clear();
        for pending in self.pending.drain(..) {
            match pending.what {
                Proposed::Transaction { database, .. } => database.commits.lose_from(0),
                Proposed::Import { answer, .. } => reply(answer, Err(Error::LeadershipLost)),
            }
        }
        self.unbound.clear();
        self.begun.clear();
        for (_, _, answer) in self.imported.drain(..) {
            // A quorum has it; only this node's own file is not complete yet.
            reply(answer, Ok(()));
        }
        for answer in std::mem::take(&mut self.imports).into_values() {
            reply(answer, Ok(()));
        }
        for answer in std::mem::take(&mut self.confirms).into_values() {
            reply(
                answer,
                Err(Refusal::NotLeader {
                    leader: self.leader,
                }
                .into()),
            );
        }
        self.questions.clear();
        self.fail_changes();
        self.admit_followers();
    }

    /// Closes the databases, but goes on leading: what was submitted may still be committed, and then the
    /// node takes over from itself.
    pub(super) fn stop_serving(&mut self) {
        drop(self.registry.close_all());
        self.store.images.clear();
        self.begun.clear();
        if matches!(self.phase, Phase::Serving | Phase::TakingOver) {
            self.phase = Phase::Settling;
        }
    }

    fn continue_phase(&mut self) {
        if self.phase == Phase::Settling
            && self.raft.is_serving()
            && self.pending.is_empty()
            && self.unbound.is_empty()
            && self.imported.is_empty()
            && self.transfers.is_empty()
        {
            self.phase = Phase::TakingOver;
            self.checkpointing = true;
            self.send_job(Job::TakeOver {
                to: self.applied,
                term: self.term,
            });
        }
    }

    pub(super) fn start_serving(&mut self, now: u64) {
        log::info!(term = self.term; "serving");
        self.phase = Phase::Serving;
        self.registry.serve();
        let (incarnation, address) = (self.store.incarnation(), self.address.clone());
        self.readdress(now, self.id, incarnation, address);
    }

    fn confirmed(&mut self, token: u64, result: Result<(), Error>) {
        if let Some(answer) = self.confirms.remove(&token) {
            reply(answer, result);
        }
    }

    pub(super) fn halt(&mut self, now: u64, reason: String) {
        if self.halted.is_none() {
            log::error!(reason:%; "this node takes no further part until it is started again");
            self.halted = Some(reason);
            self.lose_leadership();
            self.following.close_all();
            self.step(now, Input::StorageFailed);
        }
    }

    /// The replica has panicked: nobody can tell what state it is in. Tells everybody who waits for it.
    pub(super) fn fail(&mut self) {
        let reason = "the replica has failed; see the node's log".to_owned();
        log::error!(reason:%; "this node takes no further part until it is started again");
        self.halted = Some(reason);
        self.lease.set_until(0);
        self.lose_leadership();
        self.end_following();
        self.publish();
    }

    pub(super) fn publish(&self) {
        let leads = self.raft.is_leader();
        let serves = self.phase == Phase::Serving;
        let leader = self.leader.filter(|_| self.halted.is_none());
        let configuration = self.raft.configuration();
        let address = |id| {
            // By itself a node is found where it listens, even before the cluster has learned that.
            let own = (id == self.id).then(|| self.address.clone());
            own.or_else(|| configuration?.member(id).map(|m| m.address.clone()))
        };
        let (term, last) = (self.term, self.raft.last_index());
        let (committed, applied) = (self.committed, self.applied);
        let behind_bytes = self.raft.uncommitted_bytes();
        let halted = &self.halted;
        self.published.send_if_modified(|status| {
            status.committed = committed;
            status.applied = applied;
            status.last = last;
            status.behind_bytes = behind_bytes;
            let known = status.leader.as_ref().map(|(id, _)| *id);
            let members_changed = status.configuration.as_ref() != configuration;
            let changed = status.term != term
                || status.leads != leads
                || status.serves != serves
                || known != leader
                || members_changed
                || status.halted != *halted;
            if changed {
                status.term = term;
                status.leads = leads;
                status.serves = serves;
                if members_changed {
                    status.configuration = configuration.cloned();
                }
                status.leader = leader.map(|id| (id, address(id).unwrap_or_default()));
                status.halted.clone_from(halted);
            }
            changed
        });
    }
}
