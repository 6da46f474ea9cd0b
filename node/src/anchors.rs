//! Where a log may begin: the [anchors](ferrolite_wal::frames#anchors), made by the leader and found by everyone.
//!
//! No difference reaches behind an anchor. So what a node keeps of its log begins with one, at or before the first entry
//! that is not in its database files yet; and so does the log of a node that is sent a snapshot. Who asks does so about
//! entries that are committed, so that no answer is ever undone.

use std::sync::PoisonError;

use ferrolite_consensus::{EntryKind, Index, Term};
use ferrolite_wal::frames::PartHeader;

use crate::error::Error;
use crate::store::Store;

/// A leader makes an anchor at the latest after so many entries, and so many bytes of them. That is how much more log is
/// kept than redo itself needs. For this price the hottest pages are written whole once in so many entries.
const MAX_ENTRIES: u64 = 2048;
const MAX_BYTES: u64 = 2 << 20;
/// A log that is to stay small has them closer together: so many in what it keeps, at least.
const IN_THE_LOG: u64 = 8;
const LEAST_BYTES: u64 = 64 << 10;

/// How far back the differences may reach that a leader writes.
///
/// Nothing that it has not proposed itself, one entry after the other, comes between two that are known here: an entry of
/// another kind, or of another term, is an anchor, and then the next one is, too.
#[derive(Debug)]
pub(crate) struct Reach {
    term: Term,
    /// The entry that would continue those since the anchor.
    next: Index,
    anchor: Index,
    /// Bytes of the entries from the anchor on.
    bytes: u64,
    max_bytes: u64,
    max_entries: u64,
}

impl Reach {
    /// For a log of which about `log_bytes` are kept.
    pub(crate) fn new(log_bytes: u64) -> Self {
        let max_bytes = (log_bytes / IN_THE_LOG).clamp(LEAST_BYTES, MAX_BYTES);
        Self::within(MAX_ENTRIES, max_bytes)
    }

    /// With at most so many entries, and about so many bytes of them, from one anchor to the next.
    pub(crate) fn within(max_entries: u64, max_bytes: u64) -> Self {
        Self {
            term: 0,
            next: 0,
            anchor: 0,
            bytes: 0,
            max_bytes,
            max_entries,
        }
    }

    /// The entry that the differences of `index`, the next entry of the log, may reach back to; `None` if it is to be an
    /// anchor.
    pub(crate) fn back_to(&self, term: Term, index: Index) -> Option<Index> {
        let continues = self.term == term && self.next == index;
        let is_full =
            index.saturating_sub(self.anchor) >= self.max_entries || self.bytes >= self.max_bytes;
        (continues && !is_full).then_some(self.anchor)
    }

    /// Entry `index` was proposed, with what [`back_to`](Self::back_to) said about it.
    pub(crate) fn proposed(&mut self, term: Term, index: Index, bytes: usize) {
        if self.back_to(term, index).is_none() {
            (self.anchor, self.bytes) = (index, 0);
        }
        (self.term, self.next) = (term, index.saturating_add(1));
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// What was found out about the log of a node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// The last anchor up to `through`.
    anchor: Index,
    through: Index,
}

impl Store {
    /// The entry that the log may begin with if the database files hold everything up to `done`: the last anchor that is
    /// not behind it, or the entry after `done` if that is where the log begins. `None` if it cannot be told now.
    pub(crate) fn anchor(&self, done: Index) -> Result<Option<Index>, Error> {
        let (base, _) = self.log.base();
        if done <= base {
            return Ok((done == base).then_some(base.saturating_add(1)));
        }
        if done > self.log.last_index() {
            // A snapshot is in place, and the log is about to begin anew.
            return Ok(None);
        }
        let mut known = self
            .known_anchor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for index in (base.saturating_add(1)..=done).rev() {
            if index == known.through && known.anchor > base {
                known.through = done;
                return Ok(Some(known.anchor));
            }
            let record = match self.log.entry(index) {
                Ok(record) => record,
                // One further back is as good.
                Err(error) if error.is_damaged() => continue,
                Err(error) => return Err(error.into()),
            };
            let is_normal = record.kind == EntryKind::Normal.to_byte();
            if !is_normal || !PartHeader::decode(&record.payload)?.leans {
                *known = Known {
                    anchor: index,
                    through: done,
                };
                return Ok(Some(index));
            }
        }
        Ok((base == 0).then_some(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::options::Options;
    use ferrolite_wal::Record;
    use ferrolite_wal::frames::{PartWriter, TransactionId};

    /// A leader's entries lean on each other up to a bound in entries and in bytes; nothing leans past an entry of another
    /// kind or term.
    #[test]
    fn how_far_back() {
        let mut reach = Reach::new(1 << 30);
        assert_eq!(reach.back_to(1, 5), None);
        reach.proposed(1, 5, 100);
        assert_eq!(reach.back_to(1, 6), Some(5));
        // A gap, another term, even where the number fits.
        assert_eq!(reach.back_to(1, 7), None);
        assert_eq!(reach.back_to(2, 6), None);
        reach.proposed(2, 6, 100);
        for index in 7..6 + MAX_ENTRIES {
            assert_eq!(reach.back_to(2, index), Some(6));
            reach.proposed(2, index, 100);
        }
        let next = 6 + MAX_ENTRIES;
        assert_eq!(reach.back_to(2, next), None);
        reach.proposed(2, next, usize::try_from(MAX_BYTES - 1).unwrap());
        assert_eq!(reach.back_to(2, next + 1), Some(next));
        reach.proposed(2, next + 1, 1);
        assert_eq!(reach.back_to(2, next + 2), None);
        // A small log.
        let mut reach = Reach::new(1);
        reach.proposed(1, 1, usize::try_from(LEAST_BYTES).unwrap());
        assert_eq!(reach.back_to(1, 2), None);
    }

    /// The last anchor is found, in a log from the beginning, behind a snapshot, and again later when more is done.
    #[test]
    fn anchors_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), 1, &Options::default()).unwrap();
        let append = |kind: EntryKind, leans: bool| {
            let index = store.log.last_index() + 1;
            let writer = PartWriter::new("a", 4096, TransactionId(1, index)).unwrap();
            let writer = if leans { writer.leaning(index) } else { writer };
            let payload = match kind {
                EntryKind::Normal => writer.finish(1),
                _ => bytes::Bytes::new(),
            };
            let kind = kind.to_byte();
            let record = Record {
                index,
                term: 1,
                kind,
                payload,
            };
            store.log.append(&[record]).unwrap();
        };
        assert_eq!(store.anchor(0).unwrap(), Some(1));
        assert_eq!(store.anchor(1).unwrap(), None);
        append(EntryKind::Normal, true);
        assert_eq!(store.anchor(1).unwrap(), Some(1));
        for (kind, leans) in [
            (EntryKind::Noop, false),
            (EntryKind::Normal, true),
            (EntryKind::Normal, false),
            (EntryKind::Normal, true),
            (EntryKind::Config, false),
            (EntryKind::Normal, true),
        ] {
            append(kind, leans);
        }
        let mut anchors = [(2, 2), (3, 2), (4, 4), (5, 4), (6, 6), (7, 6)];
        for _ in 0..2 {
            for (done, anchor) in anchors {
                assert_eq!(store.anchor(done).unwrap(), Some(anchor), "{done}");
            }
            // And asked for in another order.
            anchors.reverse();
        }

        store.log.reset(100, 1).unwrap();
        append(EntryKind::Normal, false);
        append(EntryKind::Normal, true);
        assert_eq!(store.anchor(99).unwrap(), None);
        assert_eq!(store.anchor(100).unwrap(), Some(101));
        assert_eq!(store.anchor(102).unwrap(), Some(101));
    }
}
