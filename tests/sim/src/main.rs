//! The simulator's command line.

use std::process::ExitCode;

use clap::Parser;
use ferrolite_sim::{Extent, Load, Plan, note_panics, run};

/// Runs whole clusters in one thread, each from a seed, and judges what they have done.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of a single simulation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What clients do, instead of what the seed says.
    #[arg(long)]
    workload: Option<Load>,
    /// Print what happened.
    #[arg(long)]
    trace: bool,
    /// Have every statement and its answer in what is printed.
    #[arg(long)]
    statements: bool,
    /// Print what the nodes log, of this level or above.
    #[arg(long)]
    log: Option<tracing::Level>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    note_panics();
    if let Some(level) = arguments.log {
        tracing_subscriber::fmt()
            .with_max_level(level)
            .without_time()
            .with_ansi(false)
            .init();
    }
    let plan = Plan::draw(arguments.seed, arguments.workload);
    println!("{plan}");
    let begun = std::time::Instant::now();
    let extent = Extent {
        with_sqlite: true,
        statements: arguments.statements,
    };
    let report = run(&plan, extent);
    if arguments.trace || report.failure.is_some() {
        for line in &report.lines {
            println!("{line}");
        }
    }
    println!("{:?}", report.counts);
    println!(
        "{:?} simulated in {:?}, {} events, checksum {:08x}",
        report.time,
        begun.elapsed(),
        report.sum.0,
        report.sum.1
    );
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
