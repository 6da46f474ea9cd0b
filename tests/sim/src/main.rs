//! The simulator's command line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use ferrolite_sim::plan::Fault;
use ferrolite_sim::{Counts, Extent, Load, Plan, Report, minimise, note_panics, print_log, run};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs whole clusters in one thread, each from a seed, and judges what they have done.
///
/// The same seed is the same simulation, as long as the program is the same. A simulation that fails is made smaller and
/// printed with what happened in it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of a single simulation.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// The simulations of all seeds from A up to, not including, B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// So many simulations at the same time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// What clients do, instead of what the seed says: bank, append, register, set, long-fork, monotonic, grammar or replay.
    #[arg(long, value_name = "NAME")]
    workload: Option<Load>,
    /// Faults that are to come besides those that the seed says, such as suspension,log-rot.
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',')]
    with: Vec<Fault>,
    /// Faults that are not to come, whatever the seed says.
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',')]
    without: Vec<Fault>,
    /// Have reads rest on leases, whatever the seed says.
    #[arg(long)]
    leases: bool,
    /// Stock SQLite (by python3) looks at the database of one in so many simulations; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    sqlite: u64,
    /// End after so many simulations have failed.
    #[arg(long, value_name = "N", default_value_t = 10)]
    failures: usize,
    /// Print what happened, also where nothing has failed.
    #[arg(long)]
    trace: bool,
    /// Have every statement and its answer in what is printed.
    #[arg(long)]
    statements: bool,
    /// Do not make a failure smaller.
    #[arg(long)]
    whole: bool,
    /// Print what the nodes log, of this level or above.
    #[arg(long, value_name = "LEVEL")]
    log: Option<log::LevelFilter>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("not of the form A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err("there is no seed in it".to_owned());
    }
    Ok(range)
}

/// What came of many simulations.
#[derive(Debug, Default)]
struct Sum {
    simulations: u64,
    simulated: Duration,
    counts: Counts,
    faults: BTreeMap<Fault, u64>,
    failed: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.simulations += 1;
        self.simulated += report.time;
        let counts = &report.counts;
        let sum = &mut self.counts;
        sum.messages += counts.messages;
        sum.lost += counts.lost;
        sum.statements += counts.statements;
        sum.successes += counts.successes;
        sum.checked += counts.checked;
        sum.entries += counts.entries;
        sum.elections += counts.elections;
        sum.compared += counts.compared;
        sum.engine_panics += counts.engine_panics;
        sum.corrupt += counts.corrupt;
        for (fault, count) in &counts.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if report.failure.is_some() {
            self.failed.push(report);
        }
    }

    fn print(&self, took: Duration) {
        let counts = &self.counts;
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let times = self.simulated.as_secs_f64() / took.as_secs_f64().max(0.001);
        println!("simulations       {:>12}", self.simulations);
        println!("simulated hours   {hours:>12.2}   {times:.0} times as fast as real time");
        println!(
            "statements        {:>12}   of which {} were answered with success",
            counts.statements, counts.successes
        );
        println!(
            "judged            {:>12}   operations of workloads, and replayed transactions",
            counts.checked
        );
        println!(
            "entries           {:>12}   in the logs at the end",
            counts.entries
        );
        println!(
            "files compared    {:>12}   with those of another node at the same entry, before the end",
            counts.compared
        );
        println!("elections won     {:>12}", counts.elections);
        println!(
            "engine panics     {:>12}   which the nodes survived",
            counts.engine_panics
        );
        println!(
            "messages          {:>12}   of which {} were lost",
            counts.messages, counts.lost
        );
        let all: u64 = self.faults.values().sum();
        println!("faults            {all:>12}");
        for (fault, count) in &self.faults {
            println!("  {:<16}{count:>12}", fault.to_string());
        }
        println!("failed            {:>12}", self.failed.len());
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    note_panics();
    if let Some(Err(error)) = arguments.log.map(print_log) {
        eprintln!("--log: {error}");
        return ExitCode::FAILURE;
    }
    let begun = Instant::now();
    let seeds = match &arguments.seeds {
        Some(seeds) => seeds.clone(),
        None => {
            let seed = arguments.seed.unwrap_or(1);
            seed..seed.saturating_add(1)
        }
    };
    let single = arguments.seeds.is_none();
    let mut sum = simulate(&arguments, seeds);
    if single && (arguments.trace || arguments.statements) {
        // It was not kept, because it did not fail: it is the same once more.
        let report = one(&arguments, arguments.seed.unwrap_or(1));
        report.lines.iter().for_each(|line| println!("{line}"));
        println!("{} events, checksum {:08x}", report.sum.0, report.sum.1);
    }
    sum.print(begun.elapsed());
    if sum.failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!();
    for report in &sum.failed {
        let failure = report.failure.as_deref().unwrap_or_default();
        println!("FAILED: seed {}: {failure}", report.plan.seed);
    }
    let first = sum.failed.swap_remove(0);
    println!();
    println!("{}", first.plan);
    let least = if arguments.whole {
        first
    } else {
        smaller(first)
    };
    println!("as small as it could be made:\n{}", least.plan);
    least.lines.iter().for_each(|line| println!("{line}"));
    ExitCode::FAILURE
}

fn one(arguments: &Arguments, seed: u64) -> Report {
    let mut plan = Plan::draw(seed, arguments.workload);
    plan.lease |= arguments.leases;
    plan.faults.extend(&arguments.with);
    plan.faults
        .retain(|fault| !arguments.without.contains(fault));
    let extent = Extent {
        with_sqlite: arguments.sqlite > 0 && seed.is_multiple_of(arguments.sqlite),
        statements: arguments.statements,
    };
    run(&plan, extent)
}

fn simulate(arguments: &Arguments, seeds: Range<u64>) -> Sum {
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    bar.set_message("none has failed");
    let (next, ends) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = one(arguments, seed);
                    bar.inc(1);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    if report.failure.is_some() {
                        let failure = report.failure.as_deref().unwrap_or_default();
                        bar.suspend(|| println!("seed {seed}: {failure}"));
                    }
                    sum.add(report);
                    if !sum.failed.is_empty() {
                        bar.set_message(format!("{} failed", sum.failed.len()));
                    }
                    if sum.failed.len() >= arguments.failures {
                        ends.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn smaller(report: Report) -> Report {
    let bar = ProgressBar::new_spinner();
    let least = minimise(report, |attempts, fails| {
        let word = if fails { "still fails" } else { "does not" };
        bar.set_message(format!("making it smaller: attempt {attempts} {word}"));
        bar.tick();
    });
    bar.finish_and_clear();
    least
}
