//! A simulated disk: what is durable, what is only written, and what a crash leaves of it.
//!
//! Writes are reported done in any order, but become durable as a chain does: a log write counts only behind the writes
//! before it. A crash keeps any prefix of the writes under way, the last of them perhaps in part; of the saves of the
//! hard state it keeps any one. Entries can be damaged later, and recovery then reports the first of them.

use std::collections::{BTreeSet, VecDeque};

use ferrolite_consensus::{
    Configuration, Entry, EntryKind, HardState, Index, Position, Recovered, Term,
};

use super::tape::Tape;

/// A log image: the entries behind a boundary.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub boundary: Position,
    pub entries: Vec<Entry>,
}

impl Image {
    pub fn last(&self) -> Position {
        self.entries.last().map_or(self.boundary, Entry::position)
    }

    fn place(&self, index: Index) -> Option<usize> {
        usize::try_from(index.checked_sub(self.boundary.index + 1)?).ok()
    }

    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.place(index)?)
    }

    /// Whether the image holds this position, be it behind the boundary.
    pub fn holds(&self, position: Position) -> bool {
        position.index <= self.boundary.index
            || self
                .get(position.index)
                .is_some_and(|entry| entry.position() == position)
    }

    /// Writes entries; whatever stood at or after the first is superseded.
    fn write(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let Some(place) = self.place(first.index) else {
            return;
        };
        assert!(
            place <= self.entries.len(),
            "a write leaves a gap in the log"
        );
        self.entries.truncate(place);
        self.entries.extend_from_slice(entries);
    }

    fn purge(&mut self, boundary: Position) {
        if let Some(place) = self.place(boundary.index + 1) {
            self.entries.drain(..place.min(self.entries.len()));
            self.boundary = boundary;
        }
    }
}

struct Write {
    seq: u64,
    entries: Vec<Entry>,
    done: bool,
}

/// The application's state, as far as it matters: how far it is, and a hash of all it has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppState {
    pub index: Index,
    pub hash: u64,
}

#[derive(Default)]
pub struct Disk {
    /// What a crash leaves for certain.
    pub durable: Image,
    /// What the running node reads: with the writes under way.
    pub current: Image,
    pub hard: HardState,
    /// The application's durable state.
    pub checkpoint: AppState,
    /// The configuration in effect at the boundary.
    pub base: Option<(Index, Configuration)>,
    writes: VecDeque<Write>,
    saves: VecDeque<(u64, HardState)>,
    /// The save that `hard` came from.
    saved: u64,
    damaged: BTreeSet<Index>,
}

impl Disk {
    pub fn founded(hard: HardState, first: Entry) -> Self {
        let image = Image {
            boundary: Position::ZERO,
            entries: vec![first],
        };
        Self {
            durable: image.clone(),
            current: image,
            hard,
            ..Self::default()
        }
    }

    pub fn append(&mut self, seq: u64, entries: Vec<Entry>) {
        self.current.write(&entries);
        self.writes.push_back(Write {
            seq,
            entries,
            done: false,
        });
    }

    pub fn save(&mut self, seq: u64, state: HardState) {
        self.saves.push_back((seq, state));
    }

    /// The hints of the commit index that a crash could leave: the saved one, and those being saved.
    pub fn hints(&self) -> impl Iterator<Item = Index> {
        let under_way = (self.saves.iter()).filter(|(seq, _)| *seq > self.saved);
        let hints = under_way.map(|(_, state)| state.commit);
        std::iter::once(self.hard.commit).chain(hints)
    }

    /// Whether the log is being written.
    pub fn is_writing(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether an older write than this one is still under way.
    pub fn is_overtaking(&self, seq: u64) -> bool {
        self.writes
            .iter()
            .any(|write| write.seq < seq && !write.done)
    }

    /// The write is done. Returns the position of its last entry.
    pub fn complete_append(&mut self, seq: u64) -> Option<Position> {
        let write = self.writes.iter_mut().find(|write| write.seq == seq)?;
        write.done = true;
        let end = write.entries.last().map(Entry::position);
        while self.writes.front().is_some_and(|write| write.done) {
            if let Some(write) = self.writes.pop_front() {
                self.write_durably(&write.entries);
            }
        }
        end
    }

    fn write_durably(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            self.damaged.retain(|&index| index < first.index);
        }
        self.durable.write(entries);
    }

    /// The save is done. One that is older than what is on disk changes nothing there.
    pub fn complete_save(&mut self, seq: u64) -> bool {
        let Some(at) = self.saves.iter().position(|(number, _)| *number == seq) else {
            return false;
        };
        if let Some((_, state)) = self.saves.remove(at) {
            self.keep(seq, state);
        }
        true
    }

    fn keep(&mut self, seq: u64, state: HardState) {
        if seq > self.saved {
            self.saved = seq;
            self.hard = state;
        }
    }

    /// Replaces state and log by a snapshot.
    pub fn install(&mut self, boundary: Position, state: AppState, base: (Index, Configuration)) {
        let image = Image {
            boundary,
            entries: Vec::new(),
        };
        self.durable = image.clone();
        self.current = image;
        self.checkpoint = state;
        self.base = Some(base);
        self.writes.clear();
        self.damaged.clear();
    }

    pub fn purge(&mut self, boundary: Position, base: (Index, Configuration)) {
        self.durable.purge(boundary);
        self.current.purge(boundary);
        for write in &mut self.writes {
            write.entries.retain(|entry| entry.index > boundary.index);
        }
        self.base = Some(base);
        self.damaged = self.damaged.split_off(&(boundary.index + 1));
    }

    /// The power fails: chance decides what of the writes under way is there afterwards. Returns whether some is not.
    pub fn crash(&mut self, tape: &mut Tape) -> bool {
        let written = self.current.last();
        let survivors = tape.below(self.writes.len() as u64 + 1);
        for _ in 0..survivors {
            if let Some(write) = self.writes.pop_front() {
                self.write_durably(&write.entries);
            }
        }
        if let Some(torn) = self.writes.pop_front() {
            let kept = tape.below(torn.entries.len() as u64) as usize;
            self.write_durably(&torn.entries[..kept]);
        }
        self.writes.clear();
        let saved = tape.below(self.saves.len() as u64 + 1) as usize;
        if let Some((seq, state)) = saved
            .checked_sub(1)
            .and_then(|at| self.saves.get(at))
            .copied()
        {
            self.keep(seq, state);
        }
        self.saves.clear();
        self.saved = 0;
        self.current = self.durable.clone();
        self.durable.last() != written
    }

    /// Makes some durable entries unreadable. Returns whether there were any to damage.
    pub fn damage(&mut self, tape: &mut Tape) -> bool {
        let count = self.durable.entries.len() as u64;
        if count == 0 {
            return false;
        }
        let first = self.durable.boundary.index + 1 + tape.below(count);
        let last = first + tape.below(3);
        self.damaged
            .extend(first..=last.min(self.durable.last().index));
        true
    }

    /// The configurations on this disk, written or being written, with index and term of their entries; without a term
    /// the one at the boundary, which is committed.
    pub fn configurations(&self) -> Vec<(Index, Option<Term>, Configuration)> {
        let base = (self.base.iter()).map(|(index, base)| (*index, None, base.clone()));
        let logged = (self.current.entries.iter().chain(&self.durable.entries))
            .filter(|entry| entry.kind == EntryKind::Config)
            .filter_map(|entry| {
                let configuration = Configuration::decode(&entry.payload).ok()?;
                Some((entry.index, Some(entry.term), configuration))
            });
        base.chain(logged).collect()
    }

    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Whether the node may count as holding a position: it does, or it is bound to vote as though it did.
    pub fn vouches_for(&self, position: Position) -> bool {
        self.durable.holds(position) || self.hard.claim.is_some_and(|claim| claim >= position)
    }

    /// What a starting node is told.
    pub fn recovered(&self) -> Recovered {
        let mut recovered = Recovered::empty();
        recovered.hard_state = self.hard;
        recovered.boundary = self.durable.boundary;
        recovered.last_index = self.durable.boundary.index;
        recovered.configuration = self.base.clone();
        recovered.damaged_from = self.damaged.first().copied();
        recovered.applied = self.checkpoint.index;
        for entry in &self.durable.entries {
            recovered
                .push(entry)
                .expect("a configuration on disk can be read");
        }
        if let Some(first) = recovered.damaged_from {
            // Configurations behind the damage could be read, but the log there counts as lost.
            recovered.configurations.retain(|(index, _)| *index < first);
        }
        recovered
    }
}
