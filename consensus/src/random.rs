//! A small deterministic generator, seeded by the caller.
//!
//! Raft needs randomness in one place: the election timeout (paper §5.2). SplitMix64 (Steele, Lea, Flood, "Fast
//! splittable pseudorandom number generators", 2014) is enough for that, and a cluster replays from its seeds.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A value in `0..=limit`. The slight bias of the remainder does not matter for a timeout.
    pub(crate) const fn up_to(&mut self, limit: u64) -> u64 {
        match limit.checked_add(1) {
            Some(bound) => self.next() % bound,
            None => self.next(),
        }
    }
}
