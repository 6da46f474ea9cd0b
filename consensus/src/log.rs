//! The log as the core sees it: every term, a few payloads, and what is on disk.
//!
//! The core needs the term of any retained entry (to compare logs), but the payload only of recent ones (to send and
//! apply them). So it holds
//!
//! - the **terms** of the whole retained log as runs, a few dozen bytes however long the log is;
//! - a **tail** of entries, bounded in bytes; what is not durable yet stays in it, because nobody else has it for sure;
//! - the **writes** under way, in order, to know which prefix is durable.
//!
//! ```text
//!    purged      |  retained: terms known                         |
//!  ..............b..............................................last
//!                ^boundary       |   tail: entries in memory      |
//!                                            durable^     |unflushed
//! ```
//!
//! **Durability.** A write is known by its sequence number alone: two writes of one index (the second superseding the
//! first) are two numbers, so a late completion of the first can never vouch for the second. Completions may come in any
//! order; the durable prefix grows over completed writes at the *front* of the queue only. Superseding a suffix
//! cuts the durable index, and the claims of older writes, back to before it.

mod terms;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::entry::{Entry, Index, Position, Term};
use crate::recovery::Recovered;
pub(crate) use terms::Terms;

/// A write of entries that was handed out and has not completed, or waits for an older one to complete.
#[derive(Clone, Copy, Debug)]
struct Write {
    seq: u64,
    /// What the completion must repeat.
    end: Position,
    /// Up to where this write makes the log durable; cut back when part of it is superseded.
    covers: Index,
    done: bool,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    terms: Terms,
    /// The newest entries, consecutive, ending at the last index.
    tail: VecDeque<Entry>,
    /// Total cost of `tail`.
    tail_bytes: u64,
    /// What `tail_bytes` should not exceed, as far as durability allows.
    tail_limit_bytes: u64,
    /// The lowest index that was appended or replaced since the last flush.
    unflushed: Option<Index>,
    /// Writes under way, oldest first.
    writes: VecDeque<Write>,
    /// Everything up to here is on disk.
    durable: Index,
    /// Sequence number of the next write.
    next_seq: u64,
}

impl Log {
    /// The recovered log; from `damaged_from` on it counts as lost.
    pub(crate) fn new(recovered: &Recovered, tail_limit_bytes: u64) -> Self {
        let mut terms = Terms::new(recovered.boundary, &recovered.terms, recovered.last_index);
        if let Some(first) = recovered.damaged_from {
            terms.truncate(first);
        }
        Self {
            durable: terms.last().index,
            terms,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit_bytes,
            unflushed: None,
            writes: VecDeque::new(),
            next_seq: 1,
        }
    }

    /// Position of the last entry.
    pub(crate) fn last(&self) -> Position {
        self.terms.last()
    }

    /// The position before the first retained entry.
    pub(crate) const fn boundary(&self) -> Position {
        self.terms.boundary()
    }

    /// Term of the entry at `index`, if it is retained or the boundary.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        self.terms.get(index)
    }

    /// The position of the entry at `index`, if its term is known.
    pub(crate) fn position(&self, index: Index) -> Option<Position> {
        self.term(index).map(|term| Position::new(index, term))
    }

    /// The last index up to which everything is on disk.
    pub(crate) const fn durable(&self) -> Index {
        self.durable
    }

    /// The greatest position at or below `limit.index` whose term is at most `limit.term`: the last place where this log
    /// can agree with one that holds `limit` (both sides of a conflict skip whole terms with it, so that a divergence
    /// is found in as many round trips as it has terms, not entries).
    pub(crate) fn last_agreeable(&self, limit: Position) -> Position {
        self.terms.last_agreeable(limit)
    }

    /// Appends entries; the first may replace a suffix, the rest follow it. The caller has checked that they are
    /// consecutive and start inside the log or right after it.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            if entry.index <= self.last().index {
                self.truncate(entry.index);
            }
            self.unflushed = Some(
                self.unflushed
                    .map_or(entry.index, |low| low.min(entry.index)),
            );
            self.terms.push(entry.term);
            self.tail_bytes = self.tail_bytes.saturating_add(entry.cost_bytes());
            self.tail.push_back(entry);
        }
        self.shrink_tail();
    }

    /// Drops everything from `first` on, in memory; the next flush supersedes it on disk.
    fn truncate(&mut self, first: Index) {
        self.terms.truncate(first);
        while self.tail.back().is_some_and(|entry| entry.index >= first) {
            self.pop_back();
        }
        let kept = first.saturating_sub(1);
        self.durable = self.durable.min(kept);
        for write in &mut self.writes {
            write.covers = write.covers.min(kept);
        }
    }

    fn pop_back(&mut self) {
        if let Some(entry) = self.tail.pop_back() {
            self.tail_bytes = self.tail_bytes.saturating_sub(entry.cost_bytes());
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes = self.tail_bytes.saturating_sub(entry.cost_bytes());
        }
    }

    fn shrink_tail(&mut self) {
        while self.tail_bytes > self.tail_limit_bytes
            && self
                .tail
                .front()
                .is_some_and(|entry| entry.index <= self.durable)
        {
            self.pop_front();
        }
    }

    /// The write to hand out now, if anything changed since the last one: its number and its entries.
    pub(crate) fn flush(&mut self) -> Option<(u64, Vec<Entry>)> {
        let first = self.unflushed.take()?;
        let entries = self.cached(first, self.last().index, u64::MAX)?;
        let end = entries.last()?.position();
        let seq = self.next_seq;
        self.next_seq = self.next_seq.saturating_add(1);
        self.writes.push_back(Write {
            seq,
            end,
            covers: end.index,
            done: false,
        });
        Some((seq, entries))
    }

    /// A write has completed. Returns whether that is news; an unknown or mismatched completion is not.
    pub(crate) fn persisted(&mut self, seq: u64, end: Position) -> bool {
        let Some(write) = self
            .writes
            .iter_mut()
            .find(|write| write.seq == seq && write.end == end)
        else {
            return false;
        };
        write.done = true;
        while let Some(front) = self.writes.front().filter(|write| write.done) {
            self.durable = self.durable.max(front.covers);
            self.writes.pop_front();
        }
        self.shrink_tail();
        true
    }

    /// How many writes are under way.
    pub(crate) fn outstanding(&self) -> usize {
        self.writes.len()
    }

    /// Whether everything appended is on disk and nothing is being written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.writes.is_empty() && self.unflushed.is_none()
    }

    /// The entries from `lo` to `hi` as far as they fit into `max_bytes` (at least one), if the first of them is still in
    /// memory.
    pub(crate) fn cached(&self, lo: Index, hi: Index, max_bytes: u64) -> Option<Vec<Entry>> {
        let start = usize::try_from(lo.checked_sub(self.tail.front()?.index)?).ok()?;
        let length = usize::try_from(hi.saturating_add(1).saturating_sub(lo)).unwrap_or(usize::MAX);
        let mut bytes = 0_u64;
        let mut count = 0;
        for entry in self.tail.iter().skip(start).take(length) {
            bytes = bytes.saturating_add(entry.cost_bytes());
            if bytes > max_bytes && count > 0 {
                break;
            }
            count += 1;
        }
        (count > 0).then(|| {
            self.tail
                .range(start..start.saturating_add(count))
                .cloned()
                .collect()
        })
    }

    /// Whether `entries` are what this log holds from `lo` on.
    pub(crate) fn confirms(&self, lo: Index, entries: &[Entry]) -> bool {
        let mut expected = lo;
        entries.iter().all(|entry| {
            let fits = entry.index == expected && self.term(entry.index) == Some(entry.term);
            expected = expected.saturating_add(1);
            fits
        })
    }

    /// Forgets everything before `first`, which must be retained or one past the last.
    pub(crate) fn purge(&mut self, first: Index) {
        self.terms.purge(first);
        while self.tail.front().is_some_and(|entry| entry.index < first) {
            self.pop_front();
        }
    }

    /// Starts over after a snapshot.
    pub(crate) fn reset(&mut self, boundary: Position) {
        self.terms = Terms::new(boundary, &[], boundary.index);
        self.tail.clear();
        self.tail_bytes = 0;
        self.unflushed = None;
        self.writes.clear();
        self.durable = boundary.index;
    }

    pub(crate) const fn tail_bytes(&self) -> u64 {
        self.tail_bytes
    }

    pub(crate) fn tail_entries(&self) -> usize {
        self.tail.len()
    }

    pub(crate) fn term_runs(&self) -> usize {
        self.terms.runs()
    }
}
