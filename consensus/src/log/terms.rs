//! The term of every retained entry, as runs.
//!
//! Terms never descend along a log, and a term lasts as long as a leader does, so a log of millions of entries is a
//! handful of runs `(first index, term)`. All look-ups are binary searches.

use alloc::collections::VecDeque;

use crate::entry::{Index, Position, Term, TermRun};

/// Terms by index.
///
/// Invariants: runs ascend in both fields; the first run starts right after the boundary; there are runs exactly if
/// `last > boundary.index`; the last run starts at or before `last`.
#[derive(Debug)]
pub(crate) struct Terms {
    boundary: Position,
    runs: VecDeque<TermRun>,
    last: Index,
}

impl Terms {
    pub(crate) fn new(boundary: Position, runs: &[TermRun], last: Index) -> Self {
        Self {
            boundary,
            runs: runs.iter().copied().collect(),
            last: last.max(boundary.index),
        }
    }

    pub(crate) const fn boundary(&self) -> Position {
        self.boundary
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn last(&self) -> Position {
        self.runs
            .back()
            .map_or(self.boundary, |run| Position::new(self.last, run.term))
    }

    /// Term of the entry at `index`; `None` below the boundary and after the last.
    pub(crate) fn get(&self, index: Index) -> Option<Term> {
        if index == self.boundary.index {
            return Some(self.boundary.term);
        }
        if index < self.boundary.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        after
            .checked_sub(1)
            .and_then(|at| self.runs.get(at))
            .map(|run| run.term)
    }

    pub(crate) fn push(&mut self, term: Term) {
        self.last = self.last.saturating_add(1);
        if self.runs.back().is_none_or(|run| run.term != term) {
            self.runs.push_back(TermRun {
                first: self.last,
                term,
            });
        }
    }

    /// Forgets the entries from `first` on.
    pub(crate) fn truncate(&mut self, first: Index) {
        self.last = self
            .last
            .min(first.saturating_sub(1))
            .max(self.boundary.index);
        while self.runs.back().is_some_and(|run| run.first > self.last) {
            self.runs.pop_back();
        }
    }

    /// Forgets the entries before `first`; the one before it becomes the boundary.
    pub(crate) fn purge(&mut self, first: Index) {
        let boundary = first.saturating_sub(1).min(self.last);
        let Some(term) = self.get(boundary) else {
            return;
        };
        self.boundary = Position::new(boundary, term);
        // Drop the runs that end at or before the boundary: those whose successor starts no later than the new first.
        while self
            .runs
            .get(1)
            .is_some_and(|next| next.first <= boundary.saturating_add(1))
        {
            self.runs.pop_front();
        }
        if self.last == boundary {
            self.runs.clear();
        } else if let Some(front) = self.runs.front_mut() {
            front.first = boundary.saturating_add(1);
        }
    }

    /// The greatest known position with index ≤ `limit.index` and term ≤ `limit.term`; the boundary if there is none.
    pub(crate) fn last_agreeable(&self, limit: Position) -> Position {
        let within = self
            .runs
            .partition_point(|run| run.first <= limit.index && run.term <= limit.term);
        let Some(run) = within.checked_sub(1).and_then(|at| self.runs.get(at)) else {
            return self.boundary;
        };
        let end = self
            .runs
            .get(within)
            .map_or(self.last, |next| next.first.saturating_sub(1));
        Position::new(end.min(limit.index), run.term)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use alloc::vec::Vec;

    /// Protects: runs answer like the plain list of terms they stand for, through any pushes, truncations and purges.
    #[test]
    fn runs_agree_with_a_plain_list() {
        let mut random = crate::random::Random::new(7);
        for _ in 0..200 {
            let mut terms = Terms::new(Position::ZERO, &[], 0);
            let mut plain: Vec<Term> = alloc::vec![0]; // index 0 is the boundary
            let mut base = 0;
            for _ in 0..60 {
                let last = plain.len() as u64 - 1;
                match random.up_to(9) {
                    0 => {
                        let first = base + 1 + random.up_to(last - base);
                        terms.truncate(first);
                        plain.truncate(usize::try_from(first).unwrap());
                    }
                    1 => {
                        let first = base + 1 + random.up_to(last - base);
                        terms.purge(first);
                        base = first - 1;
                    }
                    _ => {
                        let term = plain.last().unwrap() + random.up_to(1);
                        terms.push(term.max(1));
                        plain.push(term.max(1));
                    }
                }
                let last = plain.len() as u64 - 1;
                for (index, &term) in plain.iter().enumerate() {
                    let index = index as u64;
                    assert_eq!(terms.get(index), (index >= base).then_some(term));
                    let limit = Position::new(index, random.up_to(8));
                    let naive = (base..=index)
                        .rev()
                        .find(|&i| plain[usize::try_from(i).unwrap()] <= limit.term)
                        .unwrap_or(base);
                    assert_eq!(
                        terms.last_agreeable(limit).index,
                        naive.max(base),
                        "{limit:?} in {plain:?} from {base}"
                    );
                }
                assert_eq!(terms.get(last + 1), None);
                assert_eq!(terms.last(), Position::new(last, *plain.last().unwrap()));
            }
        }
    }
}
