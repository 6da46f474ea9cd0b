//! One block of a sums file: what is known of forty pages, in a sector, with a checksum of its own.

use super::PageSum;

/// Bytes of a block: a disk writes a sector or does not, so a block is never half written.
pub(crate) const BLOCK_BYTES: usize = 512;
/// Pages that a block speaks of.
pub(crate) const BLOCK_PAGES: u32 = 40;
/// Bytes for one page: sum (4), log index (8).
const ENTRY_BYTES: usize = 12;
/// Where the two bit maps, the block's number and its checksum stand.
const KNOWN_AT: usize = 480;
const ADOPTED_AT: usize = 488;
const NUMBER_AT: usize = 496;
const CHECKSUM_AT: usize = 508;

/// What a block belongs to; part of its checksum, so that one from elsewhere is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub version: u32,
    pub page_size: u32,
    /// Counted from 0.
    pub number: u32,
}

/// A block, taken apart. Slot `n` is of the page `40 · number + n + 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    sums: [u32; BLOCK_PAGES as usize],
    indexes: [u64; BLOCK_PAGES as usize],
    /// Bit `n`: slot `n` says something.
    known: u64,
    /// Bit `n`: what slot `n` says was taken from the file as it was found.
    adopted: u64,
}

impl Block {
    /// A block that knows nothing.
    pub(crate) const EMPTY: Block = Block {
        sums: [0; BLOCK_PAGES as usize],
        indexes: [0; BLOCK_PAGES as usize],
        known: 0,
        adopted: 0,
    };

    pub(crate) fn get(&self, slot: u32) -> Option<PageSum> {
        if self.known >> slot & 1 == 0 {
            return None;
        }
        Some(PageSum {
            sum: *self.sums.get(slot as usize)?,
            index: *self.indexes.get(slot as usize)?,
            adopted: self.adopted >> slot & 1 == 1,
        })
    }

    pub(crate) fn set(&mut self, slot: u32, entry: Option<PageSum>) {
        let (sum, index) = entry.map_or((0, 0), |entry| (entry.sum, entry.index));
        if let (Some(sums), Some(indexes)) = (
            self.sums.get_mut(slot as usize),
            self.indexes.get_mut(slot as usize),
        ) {
            (*sums, *indexes) = (sum, index);
            let bit = 1 << slot;
            self.known = self.known & !bit | if entry.is_some() { bit } else { 0 };
            let adopted = entry.is_some_and(|entry| entry.adopted);
            self.adopted = self.adopted & !bit | if adopted { bit } else { 0 };
        }
    }

    /// The last slot that says something.
    pub(crate) fn last(&self) -> Option<u32> {
        self.known.checked_ilog2()
    }

    /// Forgets all slots from `slot` on, and says whether that changed anything.
    pub(crate) fn cut(&mut self, slot: u32) -> bool {
        let changed = self.known.checked_shr(slot).unwrap_or(0) != 0;
        for slot in slot..BLOCK_PAGES {
            self.set(slot, None);
        }
        changed
    }

    pub(crate) fn encode(&self, identity: Identity) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        let mut put = |at: usize, field: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        };
        for (slot, (sum, index)) in self.sums.iter().zip(&self.indexes).enumerate() {
            put(slot * ENTRY_BYTES, &sum.to_le_bytes());
            put(slot * ENTRY_BYTES + 4, &index.to_le_bytes());
        }
        put(KNOWN_AT, &self.known.to_le_bytes());
        put(ADOPTED_AT, &self.adopted.to_le_bytes());
        put(NUMBER_AT, &identity.number.to_le_bytes());
        let checksum = checksum(identity, &bytes).to_le_bytes();
        if let Some(place) = bytes.get_mut(CHECKSUM_AT..) {
            place.copy_from_slice(&checksum);
        }
        bytes
    }

    /// Reads a block; `None` when it is not what was written there. One of zeros was never written.
    pub(crate) fn decode(identity: Identity, bytes: &[u8; BLOCK_BYTES]) -> Option<Block> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Block::EMPTY);
        }
        if u32_at(bytes, CHECKSUM_AT)? != checksum(identity, bytes) {
            return None;
        }
        let mut block = Block::EMPTY;
        for (slot, (sum, index)) in block.sums.iter_mut().zip(&mut block.indexes).enumerate() {
            *sum = u32_at(bytes, slot * ENTRY_BYTES)?;
            *index = u64_at(bytes, slot * ENTRY_BYTES + 4)?;
        }
        let slots = (1 << BLOCK_PAGES) - 1;
        block.known = u64_at(bytes, KNOWN_AT)? & slots;
        block.adopted = u64_at(bytes, ADOPTED_AT)? & block.known;
        Some(block)
    }
}

/// Of what the block belongs to, and all its bytes before the checksum.
fn checksum(identity: Identity, bytes: &[u8; BLOCK_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity.version.to_le_bytes());
    hasher.update(&identity.page_size.to_le_bytes());
    hasher.update(&identity.number.to_le_bytes());
    hasher.update(bytes.get(..CHECKSUM_AT).unwrap_or_default());
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    const HERE: Identity = Identity {
        version: 1,
        page_size: 4096,
        number: 3,
    };

    fn filled() -> Block {
        let mut block = Block::EMPTY;
        for slot in [0, 1, 17, 38, 39] {
            let entry = PageSum {
                sum: 0xdead_0000 + slot,
                index: u64::MAX - u64::from(slot),
                adopted: slot == 17,
            };
            block.set(slot, Some(entry));
        }
        block
    }

    /// What was put in is read back; what was not says nothing.
    #[test]
    fn comes_back() {
        let mut block = filled();
        let bytes = block.encode(HERE);
        assert_eq!(Block::decode(HERE, &bytes), Some(block.clone()));
        assert_eq!(block.get(2), None);
        assert!(block.get(17).unwrap().adopted && !block.get(39).unwrap().adopted);
        assert!(block.cut(38));
        assert!(!block.cut(38));
        assert_eq!((block.get(38), block.get(39)), (None, None));
        assert!(block.get(17).is_some());
        block.cut(0);
        assert_eq!(block, Block::EMPTY);
        assert!(!block.cut(BLOCK_PAGES));
    }

    /// One bit anywhere, or the bytes of another block, another file's pages or another version: not believed.
    #[test]
    fn every_flipped_bit_is_found() {
        let good = filled().encode(HERE);
        for bit in 0..BLOCK_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Block::decode(HERE, &bad), None, "bit {bit}");
        }
        for elsewhere in [
            Identity { number: 4, ..HERE },
            Identity {
                page_size: 512,
                ..HERE
            },
            Identity { version: 2, ..HERE },
        ] {
            assert_eq!(Block::decode(elsewhere, &good), None);
        }
        assert_eq!(
            Block::decode(HERE, &[0; BLOCK_BYTES]),
            Some(Block::EMPTY),
            "a hole is not damage"
        );
    }

    proptest! {
        /// No bytes panic, and what is believed is written the same way.
        #[test]
        fn any_bytes(noise in prop::collection::vec(any::<u8>(), BLOCK_BYTES - 16)) {
            let mut bytes = [0; BLOCK_BYTES];
            bytes[..noise.len()].copy_from_slice(&noise);
            let sealed = checksum(HERE, &bytes).to_le_bytes();
            bytes[CHECKSUM_AT..].copy_from_slice(&sealed);
            let block = Block::decode(HERE, &bytes).unwrap();
            let again = block.encode(HERE);
            prop_assert_eq!(Block::decode(HERE, &again), Some(block));
        }
    }
}
