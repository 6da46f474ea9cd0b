//! Runs simulated clusters, and shows one that fails.
//!
//!
//! ```text
//! cargo run --release -p ferrolite-consensus --example simulate -- --help
//! ```

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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use simulator::{
    Outcome, Report, Tape, run_caught,
    shrink::{essential, shrink},
};

const HELP: &str = "\
Runs simulated clusters of ferrolite-consensus, each from a seed, and shows one that breaks a promise.

usage: simulate [options]            (cargo run --release -p ferrolite-consensus --example simulate -- [options])

  --seeds N      run N seeds and stop at the first failure, which is shrunk and printed as a script [1000]
  --from N       the first of them [1]
  --jobs N       threads [1]
  --seed N       print the script of one seed: whole, or if it fails, shrunk
  --replay FILE  the same for a tape of choices from a file, such as an input of the fuzz target consensus_simulation
  --tape FILE    with --seed or --replay: write the choices that the run read, shrunk if it failed
  --steps N      events in the rough phase of a run [400]
  --coverage     after --seeds: how often each feature and each fault was met
  --quiet        no progress bar
  --no-shrink    only name what fails
  --help         this text

Ctrl-C ends a search early, with the summary of what was run.
The status is 0 if nothing failed, 1 if a promise was broken, 2 if the arguments make no sense.";

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
    coverage: bool,
    help: bool,
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
        coverage: false,
        help: false,
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
            "--coverage" => parsed.coverage = true,
            "--help" | "-h" => parsed.help = true,
            _ => {
                return Err(format!(
                    "unknown argument {word}; --help tells which there are"
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
        Ok(arguments) if arguments.help => {
            println!("{HELP}");
            ExitCode::SUCCESS
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
    let (choices, status) = if outcome.violation.is_none() {
        println!("{}", outcome.script.join("\n"));
        println!("{name}: {}", summary(&outcome.report));
        (outcome.tape, ExitCode::SUCCESS)
    } else {
        (explain(name, &outcome, arguments), ExitCode::FAILURE)
    };
    match &arguments.tape {
        Some(file) => match std::fs::write(file, choices) {
            Ok(()) => status,
            Err(error) => {
                eprintln!("{file}: {error}");
                ExitCode::from(2)
            }
        },
        None => status,
    }
}

fn summary(report: &Report) -> String {
    format!(
        "{} elections, {} commits, {} reads, {} crashes, {} snapshots, {} membership changes, {} transfers, {} damaged \
         and {} wiped disks",
        report.elections,
        report.committed,
        report.reads,
        report.crashes,
        report.snapshots,
        report.membership_changes,
        report.transfers,
        report.damages,
        report.wipes,
    )
}

/// Says what fails, shrinks it, and prints its script. Returns the choices that remain.
fn explain(name: &str, outcome: &Outcome, arguments: &Arguments) -> Vec<u8> {
    let Some(violation) = &outcome.violation else {
        return outcome.tape.clone();
    };
    println!(
        "{name} breaks \"{}\": {}",
        violation.invariant, violation.details
    );
    if !arguments.shrink {
        return outcome.tape.clone();
    }
    let small = shrink(&outcome.tape, arguments.steps, violation.invariant, 20_000);
    let replay = run_caught(Tape::from_bytes(&small), arguments.steps, true);
    println!(
        "shrunk from {} to {} bytes of choices, {} events:",
        outcome.tape.len(),
        small.len(),
        replay.report.events,
    );
    println!("{}", essential(&replay.script).join("\n"));
    small
}

/// Runs many seeds until one fails.
fn search(arguments: &Arguments) -> ExitCode {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let failure: Mutex<Option<(u64, Outcome)>> = Mutex::new(None);
    let total = Mutex::new(Report::default());
    let lively = AtomicU64::new(0);
    let run = AtomicU64::new(0);
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) =
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted))
    {
        eprintln!("Ctrl-C will give no summary: {error}");
    }
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
                    let stops =
                        interrupted.load(Ordering::Relaxed) || failure.lock().unwrap().is_some();
                    if seed >= end || stops {
                        break;
                    }
                    let outcome = run_caught(Tape::from_seed(seed), arguments.steps, false);
                    mine.add(&outcome.report);
                    run.fetch_add(1, Ordering::Relaxed);
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
    let report = total.into_inner().unwrap();
    let run = run.into_inner();
    let failure = failure.into_inner().unwrap();
    if let Some((seed, outcome)) = &failure {
        explain(&format!("seed {seed}"), outcome, arguments);
    }
    println!(
        "{run} of {} seeds, {} events ({:.0} a second), {} of them checked for liveness; {}",
        arguments.seeds,
        report.events,
        report.events as f64 / seconds,
        lively.into_inner(),
        match (&failure, run == arguments.seeds) {
            (Some(_), _) => "a violation",
            (None, true) => "no violation",
            (None, false) => "interrupted, no violation so far",
        },
    );
    println!("{}", summary(&report));
    if arguments.coverage {
        for (name, count) in &report.hits {
            println!("{count:>14}  {name}");
        }
        for name in report.missing() {
            println!("         never  {name}");
        }
    }
    match failure {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}
