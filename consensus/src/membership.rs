//! Membership: which configuration is in effect, and how it changes (paper §6).
//!
//! The latest configuration *in the log* is in effect, committed or not; when its entry is superseded, the one before
//! it is in effect again. A change of voters goes through a joint configuration, in which both sets of voters must
//! agree; once that is committed the leader appends the settled one by itself, and so does its successor. A change that
//! leaves the voters alone is one plain entry, for which old and new quorums are the same.
//!
//! A change is refused until the leader has committed an entry of its own term (without that, two leaders could each
//! complete a change of a configuration that the other has replaced; Ongaro's note to raft-dev of July 2015), and while
//! another change is unfinished. A member becomes a voter by way of standby, when it has caught up and its incarnation
//! is known; from then on the configuration names that incarnation.
//!
//! A leader that is no voter any more hands over once that is committed (dissertation §4.2.2).

use alloc::vec::Vec;
use bytes::Bytes;

use crate::action::{Action, State};
use crate::configuration::{Change, Configuration, Member, Role};
use crate::entry::{Entry, EntryKind, Index, NodeId, Position};
use crate::error::Error;
use crate::message::Body;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::recovery::Recovered;

/// The configurations from the log's boundary on.
#[derive(Debug)]
pub(crate) struct Configurations {
    /// By index, ascending. The first is the one in effect at the boundary, if there is one.
    list: Vec<(Index, Configuration)>,
    /// What is in effect when the list is empty.
    none: Configuration,
    /// The latest configuration that was reported as committed.
    committed: Index,
}

impl Configurations {
    /// The recovered ones, as far as the log reaches to `last`.
    pub(crate) fn new(recovered: &Recovered, last: Index) -> Self {
        let base = recovered.configuration.iter();
        let list = base
            .chain(
                recovered
                    .configurations
                    .iter()
                    .filter(|(index, _)| *index <= last),
            )
            .cloned()
            .collect();
        Self {
            list,
            none: Configuration::none(),
            committed: 0,
        }
    }

    /// The configuration in effect and the index of its entry.
    pub(crate) fn latest(&self) -> Option<(Index, &Configuration)> {
        self.list
            .last()
            .map(|(index, configuration)| (*index, configuration))
    }

    /// The configuration in effect; one without members if there is none.
    pub(crate) fn current(&self) -> &Configuration {
        self.latest()
            .map_or(&self.none, |(_, configuration)| configuration)
    }

    /// How many are held.
    pub(crate) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Index of the entry of the configuration in effect; zero if there is none.
    pub(crate) fn index(&self) -> Index {
        self.latest().map_or(0, |(index, _)| index)
    }

    /// The configuration in effect at `index`.
    pub(crate) fn at(&self, index: Index) -> Option<(Index, &Configuration)> {
        self.list
            .iter()
            .rev()
            .find(|(from, _)| *from <= index)
            .map(|(from, configuration)| (*from, configuration))
    }

    /// The configurations that may still decide something: the last committed one, and all after it.
    pub(crate) fn undecided(&self, commit: Index) -> impl Iterator<Item = &Configuration> {
        let decided = self
            .list
            .partition_point(|(index, _)| *index <= commit)
            .saturating_sub(1);
        self.list
            .iter()
            .skip(decided)
            .map(|(_, configuration)| configuration)
    }

    fn push(&mut self, index: Index, configuration: Configuration) {
        self.list.push((index, configuration));
    }

    /// Undoes the configurations from `first` on. Returns whether there were any.
    fn truncate(&mut self, first: Index) -> bool {
        let before = self.list.len();
        self.list.retain(|(index, _)| *index < first);
        self.list.len() != before
    }

    /// Forgets those that were replaced at or before `boundary`.
    pub(crate) fn purge(&mut self, boundary: Index) {
        let replaced = self
            .list
            .partition_point(|(index, _)| *index <= boundary)
            .saturating_sub(1);
        self.list.drain(..replaced);
    }

    /// Starts over with a snapshot's.
    pub(crate) fn reset(&mut self, index: Index, configuration: Configuration) {
        self.list.clear();
        self.list.push((index, configuration));
        self.committed = self.committed.max(index);
    }
}

impl Raft {
    /// Appends entries to the log, replacing a conflicting suffix, with the configurations among them taking effect.
    /// Returns `false`, having done nothing, if one of those cannot be read.
    pub(crate) fn append_to_log(&mut self, entries: Vec<Entry>) -> bool {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return true;
        };
        let mut configurations = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Config)
        {
            let Ok(configuration) = Configuration::decode(&entry.payload) else {
                return false;
            };
            configurations.push((entry.index, configuration));
        }
        let superseded = (self.log.last().index.saturating_add(1)).saturating_sub(first);
        self.metrics.entries_superseded =
            self.metrics.entries_superseded.saturating_add(superseded);
        let mut changed = self.configurations.truncate(first);
        for (index, configuration) in configurations {
            self.configurations.push(index, configuration);
            changed = true;
        }
        self.log.append(entries);
        if changed {
            self.configuration_changed();
        }
        true
    }

    /// Appends one entry of this leader's own.
    pub(crate) fn append_own(&mut self, kind: EntryKind, payload: Bytes) -> Position {
        let entry = Entry {
            index: self.log.last().index.saturating_add(1),
            term: self.hard.term,
            kind,
            payload,
        };
        let position = entry.position();
        self.append_to_log(alloc::vec![entry]);
        position
    }

    /// Another configuration is in effect.
    pub(crate) fn configuration_changed(&mut self) {
        self.metrics.configurations = self.metrics.configurations.saturating_add(1);
        if let Some((index, configuration)) = self.configurations.latest() {
            let configuration = configuration.clone();
            self.actions.push(Action::ConfigurationChanged {
                index,
                configuration,
            });
        }
        if self.state == State::Leader {
            self.refresh_progress();
        }
    }

    /// Makes the leader's list of peers the one that the configuration asks for.
    pub(crate) fn refresh_progress(&mut self) {
        let (id, last, now) = (self.options.id, self.log.last().index, self.now);
        let next_seq = self.next_seq;
        let mut before = core::mem::take(&mut self.progress);
        for member in self
            .configurations
            .current()
            .replicating()
            .filter(|member| member.id != id)
        {
            let known = before.iter().position(|progress| {
                progress.id == member.id
                    && (progress.incarnation == 0 || member.accepts(progress.incarnation))
            });
            self.progress.push(match known {
                Some(at) => before.swap_remove(at),
                None => Progress::new(member.id, member.incarnation, last, next_seq, now),
            });
        }
        self.progress.sort_by_key(|progress| progress.id);
        for gone in before {
            let stream = gone.open_stream();
            self.close_stream(stream);
        }
    }

    /// Asks for a change of the membership, all of it or nothing. Returns the position of the entry that makes it; the
    /// change is complete when a later or equal plain configuration is committed
    /// ([`Action::ConfigurationCommitted`]).
    ///
    /// Asking for what is already so succeeds, with the position of the configuration in effect.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; [`Error::NotReady`], [`Error::Transferring`], [`Error::ChangeInProgress`] and
    /// [`Error::NotCaughtUp`], after which it can be tried again; [`Error::UnknownMember`], [`Error::InvalidChange`]
    /// and [`Error::InvalidConfiguration`] if it makes no sense.
    pub fn change_membership(&mut self, now: u64, changes: &[Change]) -> Result<Position, Error> {
        self.now = self.now.max(now);
        self.require_leader()?;
        if self.transfer.is_some() {
            return Err(Error::Transferring);
        }
        if !self.has_committed_in_term() {
            return Err(Error::NotReady);
        }
        let (index, current) = (self.configurations.index(), self.configurations.current());
        if index > self.commit || current.is_joint() {
            return Err(Error::ChangeInProgress);
        }
        let mut members = current.members().to_vec();
        for change in changes {
            self.make_change(&mut members, change)?;
        }
        let next = current.towards(members)?;
        if &next == current {
            return Ok(self.log.position(index).unwrap_or(Position::new(index, 0)));
        }
        Ok(self.append_own(EntryKind::Config, next.encode()))
    }

    fn make_change(&self, members: &mut Vec<Member>, change: &Change) -> Result<(), Error> {
        let place =
            |members: &Vec<Member>, id: NodeId| members.iter().position(|member| member.id == id);
        match change {
            Change::Add(member) => {
                if place(members, member.id).is_some() {
                    return Err(Error::InvalidChange("the member exists already"));
                }
                if self.configurations.current().member(member.id).is_some() {
                    // As an outgoing voter it would be known under two incarnations at once.
                    return Err(Error::InvalidChange(
                        "a member is removed by one change and added by another",
                    ));
                }
                if member.role == Role::Voter {
                    return Err(Error::InvalidChange("a voter is added as a standby first"));
                }
                members.push(member.clone());
            }
            Change::Remove { id } => {
                let at = place(members, *id).ok_or(Error::UnknownMember(*id))?;
                members.remove(at);
            }
            Change::SetAddress { id, address } => {
                let at = place(members, *id).ok_or(Error::UnknownMember(*id))?;
                if let Some(member) = members.get_mut(at) {
                    member.address.clone_from(address);
                }
            }
            Change::SetRole { id, role } => {
                let at = place(members, *id).ok_or(Error::UnknownMember(*id))?;
                let Some(member) = members.get_mut(at) else {
                    return Err(Error::UnknownMember(*id));
                };
                match (member.role, *role) {
                    (Role::Spare, Role::Voter) => {
                        return Err(Error::InvalidChange("a spare becomes a standby first"));
                    }
                    (Role::Standby, Role::Voter) => member.incarnation = self.promotable(*id)?,
                    _ => {}
                }
                member.role = *role;
            }
        }
        Ok(())
    }

    /// The incarnation of a standby that may become a voter: it answers, and lacks little.
    fn promotable(&self, id: NodeId) -> Result<u64, Error> {
        let needed = self
            .commit
            .saturating_sub(self.options.promotion_lag_entries);
        match self.progress_of(id) {
            Some(progress)
                if progress.matched >= needed
                    && progress.matched > 0
                    && progress.incarnation != 0
                    && self.is_in_touch(progress) =>
            {
                Ok(progress.incarnation)
            }
            other => Err(Error::NotCaughtUp {
                id,
                matched: other.map_or(0, |progress| progress.matched),
                needed,
            }),
        }
    }

    /// After the commit index has moved: reports a committed configuration, and on a leader does what follows from it.
    pub(crate) fn settle_configuration(&mut self) {
        let index = self.configurations.index();
        if index == 0 || index > self.commit {
            return;
        }
        if index > self.configurations.committed {
            self.configurations.committed = index;
            self.actions.push(Action::ConfigurationCommitted { index });
        }
        if self.state != State::Leader || !self.has_committed_in_term() {
            return;
        }
        let current = self.configurations.current();
        if current.is_joint() {
            let settled = current.settled().encode();
            self.append_own(EntryKind::Config, settled);
        } else if !current.is_voter(self.options.id) {
            if let Some(successor) = self.best_successor(self.commit) {
                self.send(successor, Body::TimeoutNow);
            }
            self.become_follower(self.hard.term, None);
        }
    }

    pub(crate) const fn require_leader(&self) -> Result<(), Error> {
        if self.halted {
            return Err(Error::Halted);
        }
        match self.state {
            State::Leader => Ok(()),
            _ => Err(Error::NotLeader {
                leader: self.leader,
            }),
        }
    }
}
