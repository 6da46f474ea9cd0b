//! A node among liars, and under a driver that makes no sense.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod storm;

/// SplitMix64, so that a storm is known by its number.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes
}

/// Protects: no message and no event makes a node panic, outgrow its bounds, or take back what it has promised.
#[test]
fn a_storm_does_no_harm() {
    for seed in 0..3000 {
        let tape = bytes(seed << 8, 1500);
        if std::panic::catch_unwind(|| storm::run(&tape)).is_err() {
            panic!("storm {seed} does harm");
        }
    }
}
