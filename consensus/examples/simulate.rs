//! Runs simulated clusters, and shows one that fails.
//!
//! ```text
//! cargo run --release -p ferrolite-consensus --example simulate -- --seeds 100000 --jobs 2
//! cargo run --release -p ferrolite-consensus --example simulate -- --seed 4711
//! ```
//!
//! `--seeds N` runs the seeds from `--from` (default 1) on, on `--jobs` threads, and stops at the first that breaks an
//! invariant; that one is shrunk and its script printed. `--seed N` prints the script of one seed, whole or, if it
//! fails, shrunk; with `--tape FILE` it writes the bytes that the run has read. `--replay FILE` runs such a file, or an
//! input of the fuzz target `consensus_simulation`. `--steps N` sets how many events the rough phase has (default 400). `--quiet` prints no progress;
//! `--no-shrink` only names the failing seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use simulator::{Outcome, Report, Tape, run_caught, shrink::shrink};

struct Arguments {
    seed: Option<u64>,
    replay: Option<String>,
    tape: Option<String>,
    from: u64,
    seeds: u64,
    jobs: u64,
    steps: u32,
    quiet: bool,
    shrink: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seed: None,
        replay: None,
        tape: None,
        from: 1,
        seeds: 1000,
        jobs: 1,
        steps: 400,
        quiet: false,
        shrink: true,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value
                .parse()
                .map_err(|_| format!("{word}: {value} is no number"))
        };
        match word.as_str() {
            "--replay" => parsed.replay = Some(words.next().ok_or("--replay needs a file")?),
            "--tape" => parsed.tape = Some(words.next().ok_or("--tape needs a file")?),
            "--seed" => parsed.seed = Some(number()?),
            "--from" => parsed.from = number()?,
            "--seeds" => parsed.seeds = number()?,
            "--jobs" => parsed.jobs = number()?.max(1),
            "--steps" => {
                parsed.steps = u32::try_from(number()?).map_err(|_| "--steps is too large")?
            }
            "--quiet" => parsed.quiet = true,
            "--no-shrink" => parsed.shrink = false,
            _ => {
                return Err(format!(
                    "unknown argument {word}; see the head of examples/simulate.rs"
                ));
            }
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match arguments() {
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
        Ok(arguments) => match (&arguments.replay, arguments.seed) {
            (Some(file), _) => match std::fs::read(file) {
                Ok(bytes) => show(file, &Tape::from_bytes(&bytes), &arguments),
                Err(error) => {
                    eprintln!("{file}: {error}");
                    ExitCode::from(2)
                }
            },
            (None, Some(seed)) => show(&format!("seed {seed}"), &Tape::from_seed(seed), &arguments),
            (None, None) => search(&arguments),
        },
    }
}

/// Prints the script of one tape.
fn show(name: &str, tape: &Tape, arguments: &Arguments) -> ExitCode {
    let outcome = run_caught(tape.clone(), arguments.steps, true);
    if let Some(file) = &arguments.tape
        && let Err(error) = std::fs::write(file, &outcome.tape)
    {
        eprintln!("{file}: {error}");
        return ExitCode::from(2);
    }
    if outcome.violation.is_none() {
        println!("{}", outcome.script.join("\n"));
        println!("{name}: {:#?}", outcome.report);
        return ExitCode::SUCCESS;
    }
    explain(name, &outcome, arguments.steps);
    ExitCode::FAILURE
}

/// Shrinks a failure and prints its script.
fn explain(name: &str, outcome: &Outcome, steps: u32) {
    let Some(violation) = &outcome.violation else {
        return;
    };
    println!(
        "{name} breaks \"{}\": {}",
        violation.invariant, violation.details
    );
    let small = shrink(&outcome.tape, steps, violation.invariant, 20_000);
    let replay = run_caught(Tape::from_bytes(&small), steps, true);
    println!(
        "shrunk from {} to {} bytes of choices:",
        outcome.tape.len(),
        small.len()
    );
    println!("{}", replay.script.join("\n"));
    if let Some(violation) = replay.violation {
        println!("{}: {}", violation.invariant, violation.details);
    }
}

/// Runs many seeds until one fails.
fn search(arguments: &Arguments) -> ExitCode {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let failure: Mutex<Option<(u64, Outcome)>> = Mutex::new(None);
    let total = Mutex::new(Report::default());
    let lively = AtomicU64::new(0);
    let bar = if arguments.quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(arguments.seeds)
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                let mut mine = Report::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failure.lock().unwrap().is_some() {
                        break;
                    }
                    let outcome = run_caught(Tape::from_seed(seed), arguments.steps, false);
                    mine.add(&outcome.report);
                    lively.fetch_add(
                        u64::from(outcome.report.liveness_checked),
                        Ordering::Relaxed,
                    );
                    if outcome.violation.is_some() {
                        failure.lock().unwrap().get_or_insert((seed, outcome));
                    }
                    bar.inc(1);
                }
                total.lock().unwrap().add(&mine);
            });
        }
    });
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    let report = *total.lock().unwrap();
    if let Some((seed, outcome)) = failure.into_inner().unwrap() {
        if arguments.shrink {
            explain(&format!("seed {seed}"), &outcome, arguments.steps);
        } else if let Some(violation) = &outcome.violation {
            println!(
                "seed {seed} breaks \"{}\": {}",
                violation.invariant, violation.details
            );
        }
        return ExitCode::FAILURE;
    }
    println!(
        "{} seeds, {} events ({:.0} a second), {} of them checked for liveness; no violation",
        arguments.seeds,
        report.events,
        report.events as f64 / seconds,
        lively.into_inner(),
    );
    println!(
        "{} elections, {} commits, {} reads, {} crashes, {} snapshots, {} membership changes, {} transfers, {} damaged and {} wiped disks",
        report.elections,
        report.committed,
        report.reads,
        report.crashes,
        report.snapshots,
        report.membership_changes,
        report.transfers,
        report.damages,
        report.wipes,
    );
    ExitCode::SUCCESS
}
