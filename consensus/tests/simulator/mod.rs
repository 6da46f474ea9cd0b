//! A whole cluster, simulated from one tape of bytes.
//!
//! Everything that a real cluster leaves to chance (which message is lost, when a disk answers, who crashes, what an
//! operator does) is read from a [`Tape`]. A seed makes an endless tape, libFuzzer's input is a short one, and a failing
//! tape can be shrunk byte by byte, because any tape is a valid run.
//!
//! A run has two phases. In the first everything may go wrong at any time; after every event the
//! [`invariants`](invariants) are checked. In the second a part of the cluster that holds a quorum is healed, the rest
//! stays broken, and within a bounded time the healed part must elect a leader, commit, and converge.
//!
//! The files: `tape` (choices), `profile` (what kind of run), `disk`, `node` and `driver` (one machine around a
//! [`Raft`](ferrolite_consensus::Raft)), `snapshots` (what it sends and receives of them), `world` (time, network, all machines), `chaos` (what goes wrong), `ambush` (what goes wrong at once), `liveness`
//! (the second phase), `history` and `invariants` (what must hold), `report` (what has happened), `script` (words for
//! it), `shrink` (making a failure small).

#![allow(
    dead_code,
    reason = "the test, the example and the fuzz target each use a part of it"
)]

pub mod ambush;
pub mod chaos;
pub mod disk;
pub mod driver;
pub mod history;
pub mod invariants;
pub mod liveness;
pub mod node;
pub mod profile;
pub mod report;
pub mod script;
pub mod shrink;
pub mod snapshots;
pub mod tape;
pub mod world;

pub use report::Report;
pub use tape::Tape;
use world::World;

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The invariant's name, as in the papers.
    pub invariant: &'static str,
    /// What was seen.
    pub details: String,
}

/// The outcome of one run: what it did, what it consumed, and its script if that was asked for.
pub struct Outcome {
    pub report: Report,
    pub violation: Option<Violation>,
    pub tape: Vec<u8>,
    pub script: Vec<String>,
}

/// Runs one tape through both phases.
pub fn run(tape: Tape, steps: u32, trace: bool) -> Outcome {
    let mut world = World::new(tape, trace);
    let mut result = world.chaos(steps);
    if result.is_ok() {
        result = world.liveness();
    }
    let violation = result.err();
    world.count_metrics();
    if let (true, Some(violation)) = (trace, &violation) {
        world.note(|| format!("VIOLATED {}: {}", violation.invariant, violation.details));
    }
    Outcome {
        report: world.report,
        violation,
        tape: world.tape.consumed(),
        script: world.script,
    }
}

/// Runs a tape and takes a panic inside the core for a violation.
pub fn run_caught(tape: Tape, steps: u32, trace: bool) -> Outcome {
    let copy = tape.clone();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(tape, steps, trace))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Outcome {
                report: Report::default(),
                violation: Some(Violation {
                    invariant: "no panic",
                    details: text,
                }),
                tape: copy.whole(),
                script: Vec::new(),
            }
        }
    }
}
