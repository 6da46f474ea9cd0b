//! What the whole cluster has done: the memory that no single node has.

use std::collections::HashMap;

use ferrolite_consensus::{Entry, EntryKind, Index, Position, Term};

/// What is known of an entry that some log has held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub kind: EntryKind,
    pub payload: bytes::Bytes,
    /// Term of the entry before it.
    pub prev_term: Term,
}

/// A committed entry.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub position: Position,
    /// Term of the leader that committed it.
    pub by_term: Term,
    /// Hash of the application's state after it.
    pub hash: u64,
}

#[derive(Default)]
pub struct History {
    pub known: HashMap<(Index, Term), Known>,
    /// By index; index 0 is the empty state.
    committed: Vec<Committed>,
}

impl History {
    pub fn new() -> Self {
        let zero = Committed {
            position: Position::ZERO,
            by_term: 0,
            hash: 0,
        };
        Self {
            known: HashMap::new(),
            committed: vec![zero],
        }
    }

    pub fn last_committed(&self) -> Index {
        self.committed.len() as u64 - 1
    }

    pub fn committed(&self, index: Index) -> Option<&Committed> {
        self.committed.get(index as usize)
    }

    pub fn all_committed(&self) -> &[Committed] {
        &self.committed
    }

    pub fn commit(&mut self, position: Position, by_term: Term) {
        assert_eq!(position.index, self.last_committed() + 1);
        let known = self.known.get(&(position.index, position.term));
        let before = self.committed.last().map_or(0, |committed| committed.hash);
        let hash = known.map_or(0, |known| {
            digest(
                before,
                &Entry {
                    index: position.index,
                    term: position.term,
                    kind: known.kind,
                    payload: known.payload.clone(),
                },
            )
        });
        self.committed.push(Committed {
            position,
            by_term,
            hash,
        });
    }
}

/// The hash of the state that follows `state` when `entry` is applied.
pub fn digest(state: u64, entry: &Entry) -> u64 {
    let mut hash = state ^ 0xCBF2_9CE4_8422_2325;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    entry.index.to_le_bytes().into_iter().for_each(&mut mix);
    entry.term.to_le_bytes().into_iter().for_each(&mut mix);
    mix(entry.kind.to_byte());
    entry.payload.iter().copied().for_each(&mut mix);
    hash
}
