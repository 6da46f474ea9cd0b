//! The core in a simulated cluster: a few thousand seeds, each a different cluster with different misfortunes.
//!
//! `cargo run --release -p ferrolite-consensus --example simulate -- --seeds N` runs more of them, and shows and shrinks
//! one that fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod simulator;

use simulator::{Report, Tape, run_caught, shrink::shrink};

const STEPS: u32 = 400;

/// How many seeds to run: an optimised build runs more.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 5000 };

/// Protects: every invariant of `simulator/invariants`, and liveness, on a range of seeds.
#[test]
fn no_seed_breaks_an_invariant() {
    let mut total = Report::default();
    let mut lively = 0;
    for seed in 1..=SEEDS {
        let outcome = run_caught(Tape::from_seed(seed), STEPS, false);
        total.add(&outcome.report);
        lively += u64::from(outcome.report.liveness_checked);
        if let Some(violation) = outcome.violation {
            let small = shrink(&outcome.tape, STEPS, violation.invariant, 2000);
            let replay = simulator::run(Tape::from_bytes(&small), STEPS, true);
            panic!(
                "seed {seed} breaks {}: {}\n{}",
                violation.invariant,
                violation.details,
                replay.script.join("\n")
            );
        }
    }
    // A simulation in which nothing happens proves nothing.
    assert!(
        lively > SEEDS / 2,
        "only {lively} of {SEEDS} seeds reached the second phase"
    );
    for (what, count) in [
        ("elections", total.elections),
        ("commits", total.committed),
        ("reads", total.reads),
        ("crashes", total.crashes),
        ("snapshots", total.snapshots),
        ("membership changes", total.membership_changes),
        ("transfers", total.transfers),
        ("damages", total.damages),
        ("wipes", total.wipes),
    ] {
        assert!(count > SEEDS / 50, "only {count} {what} in {SEEDS} seeds");
    }
}

/// Protects: the same tape gives the same run, without which no failure could be replayed.
#[test]
fn a_run_is_a_function_of_its_tape() {
    for seed in [3, 17, 99] {
        let first = simulator::run(Tape::from_seed(seed), STEPS, true);
        let again = simulator::run(Tape::from_bytes(&first.tape), STEPS, true);
        assert_eq!(first.script, again.script);
    }
}
