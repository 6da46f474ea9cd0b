//! What the log knows in memory: for every entry eight bytes, for every segment its file, for every term its
//! first entry.
//!
//! Segments stand in the order in which they were written. In that order `first` never falls and the entries of
//! two segments never overlap: superseding an entry takes it, and what follows it, out of the older segments. A
//! segment that lost all its entries that way stays in its place until the front of the log is dropped past it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::encode::Placed;
use super::{DamagedRange, TermRun};
use crate::backend::BackendFile;
use crate::error::Error;
use crate::record::{Place, stored_bytes};
use crate::segment::SegmentHeader;

/// Payload length of an entry that is known to be damaged.
const DAMAGED: u32 = u32::MAX;

/// Where one record is in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Offset of the record's header.
    offset: u32,
    /// Length of its payload, or [`DAMAGED`].
    len: u32,
}

impl Slot {
    pub fn good(offset: u32, len: u32) -> Slot {
        Slot { offset, len }
    }

    pub fn damaged(offset: u32) -> Slot {
        Slot {
            offset,
            len: DAMAGED,
        }
    }
}

/// Bytes that a record with `len` payload bytes takes.
fn stored(len: u32) -> u64 {
    stored_bytes(len).map_or(0, u64::from)
}

#[derive(Debug)]
pub(super) struct Segment {
    pub header: SegmentHeader,
    pub name: String,
    pub file: Arc<dyn BackendFile>,
    /// Index of the entry of `slots[0]`; without slots, the index that the next older entry would have.
    first: u64,
    slots: Vec<Slot>,
    /// Whether any of its entries is, or was, damaged.
    damaged: bool,
}

impl Segment {
    /// One past the last live entry.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Bytes that the records of its entries from `index` on take, without damaged ones.
    fn bytes_from(&self, index: u64) -> u64 {
        let skip = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let slots = self.slots.get(skip..).unwrap_or_default();
        if self.damaged {
            let good = slots.iter().filter(|slot| slot.len != DAMAGED);
            return good.map(|slot| stored(slot.len)).sum();
        }
        match (slots.first(), slots.last()) {
            (Some(first), Some(last)) => u64::from(last.offset - first.offset) + stored(last.len),
            _ => 0,
        }
    }

    fn location(&self, offset: u32, len: u32) -> Location {
        Location {
            file: Arc::clone(&self.file),
            name: self.name.clone(),
            place: Place {
                salt: self.header.salt,
                segment: self.header.number,
                offset,
            },
            len,
        }
    }
}

/// Where an entry is, good for reading without the lock.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub file: Arc<dyn BackendFile>,
    pub name: String,
    pub place: Place,
    /// Length of the payload in bytes.
    pub len: u32,
}

impl Location {
    pub fn damaged(&self, index: u64, term: Option<u64>) -> Error {
        Error::Damaged {
            file: self.name.clone(),
            offset: u64::from(self.place.offset),
            index: Some(index),
            term,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Map {
    segments: VecDeque<Segment>,
    /// Index and term of the entry before the log's first.
    base: (u64, u64),
    last: u64,
    /// Ascending by index; covers (base, last].
    runs: Vec<TermRun>,
    /// Ascending by index.
    damaged: Vec<DamagedRange>,
    /// Damaged entries that were written again elsewhere.
    repaired: BTreeMap<u64, Location>,
}

impl Map {
    pub fn base(&self) -> (u64, u64) {
        self.base
    }

    pub fn first_index(&self) -> u64 {
        self.base.0 + 1
    }

    pub fn last_index(&self) -> u64 {
        self.last
    }

    pub fn damaged(&self) -> &[DamagedRange] {
        &self.damaged
    }

    pub fn disk_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|s| u64::from(s.header.file_len))
            .sum()
    }

    /// Bytes that the records of entries from `index` on take in their segments.
    pub fn bytes_from(&self, index: u64) -> u64 {
        let segments = self.segments.iter();
        let in_place: u64 = segments.map(|segment| segment.bytes_from(index)).sum();
        let repaired = self
            .repaired
            .range(index..)
            .map(|(_, location)| location.len);
        in_place + repaired.map(stored).sum::<u64>()
    }

    pub fn oldest(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub fn newest(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// Takes in a segment that has no entries yet.
    pub fn push_segment(
        &mut self,
        header: SegmentHeader,
        name: String,
        file: Arc<dyn BackendFile>,
    ) {
        self.segments.push_back(Segment {
            header,
            name,
            file,
            first: self.last + 1,
            slots: Vec::new(),
            damaged: false,
        });
    }

    /// Empties the log but for its newest segment, which holds no entry yet; it goes on after `base`. Returns the
    /// other segments.
    pub fn start_over(&mut self, base: (u64, u64)) -> Vec<Segment> {
        self.runs.clear();
        self.damaged.clear();
        self.repaired.clear();
        self.set_base(base);
        let mut dropped: Vec<Segment> = std::mem::take(&mut self.segments).into();
        if let Some(mut newest) = dropped.pop() {
            newest.first = base.0 + 1;
            newest.slots.clear();
            self.segments.push_back(newest);
        }
        dropped
    }

    /// Takes away entry `index` and all after it.
    pub fn supersede(&mut self, index: u64) {
        if index > self.last {
            return self.damaged.retain(|d| d.first < index);
        }
        for segment in self.segments.iter_mut().rev() {
            if segment.end() <= index && segment.first <= index {
                break;
            }
            let keep = index.saturating_sub(segment.first);
            segment
                .slots
                .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            segment.first = segment.first.min(index);
        }
        self.runs.retain(|run| run.first_index < index);
        self.repaired.split_off(&index);
        self.damaged.retain(|d| d.first < index);
        for range in &mut self.damaged {
            if range.last.is_some_and(|last| last >= index) {
                range.last = Some(index - 1);
                range.term = None;
            }
        }
        self.last = index - 1;
    }

    /// Adds the entry after the last one, in the newest segment. Every entry since the segment's first must have
    /// come the same way.
    pub fn push_entry(&mut self, term: u64, slot: Slot) {
        let index = self.last + 1;
        if let Some(segment) = self.segments.back_mut() {
            segment.slots.push(slot);
            segment.damaged |= slot.len == DAMAGED;
        }
        if self.runs.last().is_none_or(|run| run.term != term) {
            self.runs.push(TermRun {
                first_index: index,
                term,
            });
        }
        self.last = index;
    }

    /// Adds entries in the newest segment, which supersede all that the log had from the first one on.
    pub fn push_entries(&mut self, entries: &[Placed]) {
        if let Some(first) = entries.first() {
            self.supersede(first.index);
        }
        for entry in entries {
            self.push_entry(entry.term, Slot::good(entry.offset, entry.len));
        }
    }

    /// Adds damaged entries after the last one, up to `range.last`; terms that are not known are 0.
    pub fn push_damaged(&mut self, file: String, offset: u32, last: u64, term: Option<u64>) {
        let first = self.last + 1;
        let before = self.term(self.last).ok();
        while self.last < last {
            // Terms never fall, so between two entries of one term there is only that term.
            let known = if self.last + 1 == last || term == before {
                term
            } else {
                None
            };
            self.push_entry(known.unwrap_or(0), Slot::damaged(offset));
        }
        self.damaged.push(DamagedRange {
            file,
            offset: u64::from(offset),
            first,
            last: Some(last),
            term,
        });
    }

    /// Says after which entry an empty log goes on.
    pub fn set_base(&mut self, base: (u64, u64)) {
        self.base = base;
        self.last = base.0;
    }

    /// Notes damage that took no entry of the log's out of reach: before its first, or after its last.
    pub fn note_damage(&mut self, range: DamagedRange) {
        self.damaged.push(range);
    }

    fn bounds(&self, index: u64) -> Result<(), Error> {
        if index <= self.base.0 {
            return Err(Error::Compacted {
                index,
                first: self.first_index(),
            });
        }
        if index > self.last {
            return Err(Error::PastEnd {
                index,
                last: self.last,
            });
        }
        Ok(())
    }

    pub fn term(&self, index: u64) -> Result<u64, Error> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        self.bounds(index)?;
        let run = self.runs.partition_point(|run| run.first_index <= index);
        match run.checked_sub(1).and_then(|run| self.runs.get(run)) {
            Some(run) if run.term != 0 => Ok(run.term),
            _ => Err(self.damage_at(index)),
        }
    }

    pub fn term_runs(&self) -> Vec<TermRun> {
        self.runs.clone()
    }

    /// The error for an entry that is known to be damaged.
    fn damage_at(&self, index: u64) -> Error {
        let range = self
            .damaged
            .iter()
            .find(|d| d.first <= index && d.last.is_none_or(|last| index <= last));
        Error::Damaged {
            file: range.map(|d| d.file.clone()).unwrap_or_default(),
            offset: range.map(|d| d.offset).unwrap_or_default(),
            index: Some(index),
            term: range.and_then(|d| d.term.filter(|_| d.last == Some(index))),
        }
    }

    fn segment_of(&self, index: u64) -> Option<&Segment> {
        let after = self
            .segments
            .partition_point(|segment| segment.first <= index);
        self.segments.get(after.checked_sub(1)?)
    }

    pub fn locate(&self, index: u64) -> Result<Location, Error> {
        self.bounds(index)?;
        let found = self.segment_of(index).and_then(|segment| {
            let slot = segment
                .slots
                .get(usize::try_from(index - segment.first).ok()?)?;
            (slot.len != DAMAGED).then(|| segment.location(slot.offset, slot.len))
        });
        match found.or_else(|| self.repaired.get(&index).cloned()) {
            Some(location) => Ok(location),
            None => Err(self.damage_at(index)),
        }
    }

    /// Whether `index` is in the log but cannot be read.
    pub fn is_damaged(&self, index: u64) -> bool {
        self.bounds(index).is_ok() && self.locate(index).is_err()
    }

    /// Puts an entry in the newest segment in the place of a damaged one.
    pub fn repair(&mut self, entry: &Placed) {
        let Placed {
            index,
            term,
            offset,
            len,
        } = *entry;
        let Some(location) = self
            .segments
            .back()
            .map(|segment| segment.location(offset, len))
        else {
            return;
        };
        self.repaired.insert(index, location);
        let ranges = std::mem::take(&mut self.damaged);
        for range in ranges {
            if range.first > index || range.last.is_none_or(|last| index > last) {
                self.damaged.push(range);
                continue;
            }
            if range.first < index {
                self.damaged.push(DamagedRange {
                    last: Some(index - 1),
                    term: None,
                    ..range.clone()
                });
            }
            if range.last.is_some_and(|last| index < last) {
                self.damaged.push(DamagedRange {
                    first: index + 1,
                    ..range
                });
            }
        }
        self.set_term(index, term);
    }

    /// Fills in a term that was not known.
    fn set_term(&mut self, index: u64, term: u64) {
        let next = index + 1;
        let at = self.runs.partition_point(|run| run.first_index <= index);
        let Some(old) = at
            .checked_sub(1)
            .and_then(|at| self.runs.get(at))
            .map(|run| run.term)
        else {
            return;
        };
        if old == term {
            return;
        }
        let ends_here =
            next > self.last || self.runs.get(at).is_some_and(|run| run.first_index == next);
        self.runs.retain(|run| run.first_index != index);
        self.runs.push(TermRun {
            first_index: index,
            term,
        });
        if !ends_here {
            self.runs.push(TermRun {
                first_index: next,
                term: old,
            });
        }
        self.runs.sort_unstable_by_key(|run| run.first_index);
        self.runs.dedup_by_key(|run| run.term);
    }

    /// Whether `index` still is where `location` says. Bytes read before a yes were that entry's.
    pub fn still_at(&self, index: u64, location: &Location) -> bool {
        self.locate(index)
            .is_ok_and(|now| now.place == location.place)
    }

    /// Places of the undamaged entries from `lo` on that lie in the segment of `lo`: offsets and payload lengths.
    pub fn neighbours(&self, lo: u64, hi: u64) -> impl Iterator<Item = (u32, u32)> + '_ {
        let segment = self.segment_of(lo);
        let skip = segment.map_or(0, |s| usize::try_from(lo - s.first).unwrap_or(usize::MAX));
        let count = usize::try_from(hi.saturating_sub(lo)).unwrap_or(usize::MAX);
        let slots = segment.map(|s| s.slots.as_slice()).unwrap_or_default();
        slots
            .iter()
            .skip(skip)
            .take(count)
            .take_while(|s| s.len != DAMAGED)
            .map(|s| (s.offset, s.len))
    }

    /// Whether [`take_front`](Map::take_front) would take any.
    pub fn can_take_front(&self, first: u64) -> bool {
        self.segments.len() > 1 && self.oldest().is_some_and(|oldest| oldest.end() <= first)
    }

    /// Takes off the oldest segments that hold no entry at or after `first`; the newest always stays.
    pub fn take_front(&mut self, first: u64) -> Vec<Segment> {
        let mut taken = Vec::new();
        while self.segments.len() > 1
            && let Some(segment) = self.segments.pop_front_if(|oldest| oldest.end() <= first)
        {
            taken.push(segment);
        }
        if !taken.is_empty()
            && let Some(oldest) = self.segments.front()
        {
            let index = oldest.first - 1;
            // Only an entry whose term was lost has none, and 0 says so.
            self.base = (index, self.term(index).unwrap_or(0));
            self.runs.retain_mut(|run| run.first_index > index);
            let rest = self
                .runs
                .first()
                .map_or(self.last, |run| run.first_index - 1);
            if rest > index {
                self.runs.insert(
                    0,
                    TermRun {
                        first_index: index + 1,
                        term: self.base.1,
                    },
                );
            }
            self.repaired = self.repaired.split_off(&(index + 1));
            self.damaged
                .retain(|d| d.last.is_none_or(|last| last > index));
            for range in &mut self.damaged {
                range.first = range.first.max(index + 1);
            }
        }
        taken
    }
}
