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

use simulator::{
    Report, Tape, run_caught,
    shrink::{essential, shrink, shrink_while},
};

const STEPS: u32 = 400;

/// How many seeds to run; `FERROLITE_CONSENSUS_SEEDS` says otherwise.
const SEEDS: u64 = 5000;

/// Protects: every invariant of `simulator/invariants`, and liveness, on a range of seeds.
#[test]
fn no_seed_breaks_an_invariant() {
    let seeds = match std::env::var("FERROLITE_CONSENSUS_SEEDS") {
        Ok(text) => text.parse().expect("a number of seeds"),
        Err(_) => SEEDS,
    };
    // Two halves at a time; each seed is a run of its own, so that this changes nothing but the time it takes.
    let (first, second) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| run_seeds((1..=seeds).step_by(2)));
        let even = run_seeds((2..=seeds).step_by(2));
        (odd.join().unwrap(), even)
    });
    let mut total = first.0;
    total.add(&second.0);
    let lively = first.1 + second.1;
    // A simulation in which nothing happens proves nothing.
    assert!(
        lively > seeds / 2,
        "only {lively} of {seeds} seeds reached the second phase"
    );
    if seeds >= SEEDS {
        assert_eq!(total.missing(), [""; 0], "never met in {seeds} seeds");
    }
}

/// Runs seeds; returns what happened, and how many got to the second phase.
fn run_seeds(seeds: impl Iterator<Item = u64>) -> (Report, u64) {
    let mut total = Report::default();
    let mut lively = 0;
    for seed in seeds {
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
                essential(&replay.script).join("\n")
            );
        }
    }
    (total, lively)
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

/// Protects: what fails is made small before it is shown, and still fails in the same way.
#[test]
fn a_tape_shrinks_to_what_matters() {
    // In place of a failure: a leader is elected, and a node crashes.
    let matters = |bytes: &[u8]| {
        let report = simulator::run(Tape::from_bytes(bytes), STEPS, false).report;
        report.elections > 0 && report.crashes > 0
    };
    let seed = (1..).find(|&seed| {
        let report = simulator::run(Tape::from_seed(seed), STEPS, false).report;
        report.elections > 0 && report.crashes > 0
    });
    let whole = simulator::run(Tape::from_seed(seed.unwrap()), STEPS, false).tape;
    let small = shrink_while(&whole, 2000, matters);
    assert!(matters(&small));
    assert!(
        small.len() * 3 < whole.len(),
        "{} of {} bytes remain",
        small.len(),
        whole.len()
    );
}

/// Protects: of a script that goes round in circles at its end only the beginning and the end of that are shown.
#[test]
fn a_script_is_cut_short_where_it_repeats_itself() {
    let mut script: Vec<String> = (0..100).map(|n| format!("rough {n}")).collect();
    assert_eq!(essential(&script), script);
    script.push("---- healed, but for {} ----".to_owned());
    script.extend((0..1000).map(|n| format!("again {n}")));
    let short = essential(&script);
    assert!(short.len() < 200 && short.starts_with(&script[..100]));
    assert_eq!(short.last(), script.last());
}
