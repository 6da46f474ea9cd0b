//! How a node starts: for the first time, after a crash, or after its cluster was lost.
//!
//! There is one way in, [`Raft::new`](crate::Raft::new) with a [`Recovered`], and three ways to come by it:
//!
//! - [`Recovered::empty`]: the node knows nothing and waits until a leader adopts it.
//! - [`bootstrap`]: the first node (or nodes) of a new cluster write one entry, the configuration, at index 1 and
//!   term 1, save a hard state, and then start like everyone else, from what is on their disks.
//! - [`force_configuration`]: the disaster procedure. One survivor of a cluster whose majority is gone for good gets a
//!   configuration of which it is the only voter, *and a new cluster id*. Nodes of the old cluster and of the new one
//!   refuse each other's messages from then on; survivors join again with empty data directories.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::configuration::{Configuration, Member, Role};
use crate::entry::{ClusterId, Entry, EntryKind, HardState, Index, Position, Term, TermRun};
use crate::error::Error;

/// What is known about a node's past when it starts. The driver reads it from its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Recovered {
    /// The saved hard state.
    pub hard_state: HardState,
    /// The position just before the first retained entry: where the log was purged, or the last snapshot's position.
    pub boundary: Position,
    /// Index of the last entry in the log; `boundary.index` if there is none.
    pub last_index: Index,
    /// The terms of the retained entries, as runs in ascending order that cover all of them. For a damaged entry
    /// whose term cannot be read give the highest it can have (the next readable term, or the hard state's).
    pub terms: Vec<TermRun>,
    /// The configuration in effect at `boundary`, and the index of its entry.
    pub configuration: Option<(Index, Configuration)>,
    /// The configurations in the retained entries, by index, ascending.
    pub configurations: Vec<(Index, Configuration)>,
    /// The first retained entry that was durable once and cannot be read any more. The log from there on is fetched
    /// again; until that is done the node does not campaign and votes as though it held it. A damaged stretch that
    /// is wholly applied can instead be purged by the driver before it starts the node.
    pub damaged_from: Option<Index>,
    /// Index of the last entry that the application's durable state holds.
    pub applied: Index,
}

impl Recovered {
    /// A node that has never run: it waits for a leader to adopt it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            hard_state: HardState::default(),
            boundary: Position::ZERO,
            last_index: 0,
            terms: Vec::new(),
            configuration: None,
            configurations: Vec::new(),
            damaged_from: None,
            applied: 0,
        }
    }

    /// What a node knows whose whole log, from its first entry, is `entries`.
    ///
    /// # Errors
    /// [`Error::InvalidRecovery`] if a configuration among them cannot be read.
    pub fn from_entries(
        hard_state: HardState,
        entries: &[Entry],
        applied: Index,
    ) -> Result<Self, Error> {
        let mut recovered = Self::empty();
        recovered.hard_state = hard_state;
        recovered.applied = applied;
        for entry in entries {
            recovered.push(entry)?;
        }
        Ok(recovered)
    }

    /// Notes one more entry at the end of the log: its term, and its configuration if it holds one. A driver that
    /// scans its log on start calls this for each entry (payloads of other kinds are not looked at).
    ///
    /// # Errors
    /// [`Error::InvalidRecovery`] if the entry is a configuration that cannot be read.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind == EntryKind::Config {
            let configuration = Configuration::decode(&entry.payload)
                .map_err(|_| Error::InvalidRecovery("a configuration in the log cannot be read"))?;
            self.configurations.push((entry.index, configuration));
        }
        if self.terms.last().is_none_or(|run| run.term != entry.term) {
            self.terms.push(TermRun {
                first: entry.index,
                term: entry.term,
            });
        }
        self.last_index = entry.index;
        Ok(())
    }

    /// The position of the last entry, damaged or not.
    #[must_use]
    pub fn last_position(&self) -> Position {
        match self.terms.last() {
            Some(run) if self.last_index >= run.first => Position::new(self.last_index, run.term),
            _ => self.boundary,
        }
    }

    /// The term that the node starts in: the saved one, or the last entry's if that is later.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard_state.term.max(self.last_position().term)
    }

    /// Checks that the parts fit together, so that a damaged store is reported and not built upon.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let runs_ascend = self.terms.windows(2).all(|pair| match pair {
            [a, b] => a.first < b.first && a.term < b.term,
            _ => true,
        });
        let first = self.boundary.index.checked_add(1);
        let configs_ascend = self.configurations.windows(2).all(|pair| match pair {
            [a, b] => a.0 < b.0,
            _ => true,
        });
        let in_log = |index: Index| index > self.boundary.index && index <= self.last_index;
        let rules = [
            (
                first.is_some(),
                "the log's boundary is the greatest index there is",
            ),
            (
                self.last_index >= self.boundary.index,
                "the last index lies before the log's boundary",
            ),
            (
                self.terms.is_empty() == (self.last_index == self.boundary.index),
                "the terms do not cover the retained entries",
            ),
            (
                self.terms
                    .first()
                    .is_none_or(|run| Some(run.first) == first),
                "the first term run starts elsewhere",
            ),
            (runs_ascend, "the terms of the log do not ascend"),
            (
                self.terms
                    .first()
                    .is_none_or(|run| run.term >= self.boundary.term),
                "the terms of the log do not ascend",
            ),
            (
                self.terms
                    .last()
                    .is_none_or(|run| run.first <= self.last_index),
                "a term run starts after the log ends",
            ),
            (configs_ascend, "the configurations are not in order"),
            (
                self.configurations.iter().all(|(index, _)| in_log(*index)),
                "a configuration lies outside the log",
            ),
            (
                self.configuration
                    .as_ref()
                    .is_none_or(|(index, _)| *index <= self.boundary.index),
                "the base configuration lies after the boundary",
            ),
            (
                self.damaged_from.is_none_or(in_log),
                "the damage lies outside the log",
            ),
            (
                self.applied >= self.boundary.index,
                "the log starts after what is applied",
            ),
            (
                self.applied <= self.last_index || self.hard_state.claim.is_some(),
                "more is applied than the log holds",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, text)) => Err(Error::InvalidRecovery(text)),
            None => Ok(()),
        }
    }
}

/// Founds a cluster: the hard state to save and the entry to append, durably, before [`Raft::new`](crate::Raft::new).
///
/// `cluster` must be random and not zero. Where several nodes found the cluster together, each must be given the same
/// cluster id and the same configuration. Name every founder's incarnation in it: one whose incarnation is not known
/// cannot be told from its wiped self.
#[must_use]
pub fn bootstrap(cluster: ClusterId, configuration: &Configuration) -> (HardState, Entry) {
    let hard_state = HardState {
        term: 1,
        cluster,
        ..HardState::default()
    };
    let entry = Entry {
        index: 1,
        term: 1,
        kind: EntryKind::Config,
        payload: configuration.encode(),
    };
    (hard_state, entry)
}

/// Forces a configuration of one voter upon the survivor of a lost cluster: the hard state to save and the entry to
/// append, durably and in this order, before the node is started again.
///
/// Everything in the survivor's log becomes committed, also what the old cluster never acknowledged; what only the lost
/// nodes held is gone. `survivor` is this node, as voter, with its own incarnation; `cluster` is a new random id.
///
/// # Errors
/// [`Error::InvalidRecovery`] if the log is damaged, if `cluster` is the old id or zero, or if the survivor is no voter.
pub fn force_configuration(
    recovered: &Recovered,
    cluster: ClusterId,
    survivor: Member,
) -> Result<(HardState, Entry), Error> {
    recovered.validate()?;
    let rules = [
        (
            recovered.damaged_from.is_none() && recovered.hard_state.claim.is_none(),
            "the log is damaged",
        ),
        (
            cluster != 0 && cluster != recovered.hard_state.cluster,
            "a forced configuration needs a new cluster id",
        ),
        (survivor.role == Role::Voter, "the survivor must be a voter"),
    ];
    if let Some((_, text)) = rules.iter().find(|(holds, _)| !holds) {
        return Err(Error::InvalidRecovery(text));
    }
    let payload: Bytes = Configuration::new(alloc::vec![survivor])?.encode();
    let term = recovered.term().saturating_add(1);
    let index = recovered.last_index.saturating_add(1);
    let hard_state = HardState {
        term,
        vote: None,
        commit: recovered.hard_state.commit,
        cluster,
        claim: None,
    };
    Ok((
        hard_state,
        Entry {
            index,
            term,
            kind: EntryKind::Config,
            payload,
        },
    ))
}
