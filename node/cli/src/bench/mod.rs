//! `ferrolite bench`: how fast a cluster is, as a program that uses it sees it.
//!
//! The bench is a client like any other. It speaks the client protocol and nothing beyond it, so that the same run
//! drives a Ferrolite and a dqlite cluster and the two can be compared. It knows six phases ([`Phase`]), each run
//! with each number of clients for a fixed time:
//!
//! ```text
//! phase × clients ──► clients: connection, closed loop ──► Recorder ──► Outcome ──► table, JSON, HTML
//! (tables, setup)     (worker)                             (measure)               (report, html, plot)
//! ```
//!
//! # What is measured
//! Each client has a connection of its own and runs a *closed loop*: it begins an operation when the one before it has
//! ended. The latency of an operation is the time from its first attempt to its success, with everything that a
//! program would have to wait for in between: what the server refused as busy, the pauses before it was tried again, a
//! search for a new leader. An operation that still waits when the phase ends is counted as unfinished, and enters
//! the latencies with the time it has waited, which is a lower bound.
//!
//! A closed loop sends less while the server is slow. So it cannot show how long requests would queue that arrive
//! at their own pace whatever the server does: such latencies, under a load that the server only just bears, are worse
//! (the *coordinated omission* of closed loops). The latencies here are those of so many clients that wait for
//! their answers.
//!
//! # What is promised
//! The bench writes to tables of its own, under names that no other run has, and drops them however the run ends:
//! also after Ctrl-C, which ends the measuring and reports what there is. The same seed makes the same keys and values in
//! the same order for each client.

mod html;
mod live;
mod measure;
mod phase;
mod plot;
mod report;
mod tables;
mod worker;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use ferrolite_client::{Builder, Client};

pub use phase::Phase;

use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::servers::Servers;
use measure::Outcome;
use tables::Tables;

/// The most clients of one phase: each is a connection, and a task.
const MOST_CLIENTS: u64 = 1024;

/// The arguments of `ferrolite bench`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite bench --servers db1:9001,db2:9001,db3:9001
  ferrolite bench --phases insert,read --clients 16 --duration 30 --html report.html
  ferrolite bench --format json | jq '.phases[] | {phase, clients, operations}'

The phases:
  insert       one row, committed by itself
  transaction  BEGIN IMMEDIATE, 1,000 inserts of a row each, COMMIT
  mixed        four reads of a row by its key to each update of one
  read         a row by its primary key
  scan         100 rows in the order of the primary key, from a random one on
  load         --rows rows, in transactions of 1,000 rows and INSERTs of 100;
               ends when all are there

Every client has its own connection, and begins an operation when it has the
answer to the one before it (a closed loop). A latency is the time from the
first attempt to success, all retries and pauses included. Clients that wait
send less: requests that come at a pace of their own would queue, and wait
longer than shown here.

An operation that the server refuses in passing (\"database is locked\", not the
leader), or whose connection breaks before anything can have taken effect, is
tried again after a pause, and counted under retries. The pauses are those of
dqlite's Go driver: 200 ms, doubled each time, 1 s at most (the driver makes
them between attempts to connect, and leaves \"database is locked\" to its
program), each up to a fifth shorter by chance. Change them with --backoff-ms
and --backoff-max-ms. Any other failure, a wrong answer, and a write whose
outcome is unknown are errors. What had no answer when the phase ended is
unfinished: not in the throughput, but in the latencies, with the time it had
waited.

The protocol is dqlite's and nothing beyond it, so dqlite clusters can be
measured too. Tables named ferrolite_bench_… are made and, in the end, dropped.
Ctrl-C ends the run, drops them, and reports what was measured (exit status
130).")]
pub struct BenchArgs {
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
    /// The database to work in; it is created if need be, and stays
    #[arg(long, short = 'd', value_name = "NAME", default_value = "bench")]
    pub database: String,
    /// How long each phase lasts with each number of clients
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub duration: Duration,
    /// With how many clients at once to run each phase, 1024 at most
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64",
          value_parser = clap::value_parser!(u64).range(1..=MOST_CLIENTS))]
    pub clients: Vec<u64>,
    /// What to measure, in this order
    #[arg(
        long,
        value_enum,
        value_name = "PHASE,…",
        value_delimiter = ',',
        default_value = "insert,transaction,mixed,read,query,scan,load"
    )]
    pub phases: Vec<Phase>,
    /// How many rows to read from, and to load
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rows: u64,
    /// How long the text in each row is, in bytes
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub value_bytes: u64,
    /// Decides all keys and values: the same seed makes the same run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The pause before an operation is tried again; it doubles. 0 tries again at once
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub backoff_ms: u64,
    /// The longest such pause
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub backoff_max_ms: u64,
    /// How to write the results
    #[arg(long, value_enum, default_value_t)]
    pub format: BenchFormat,
    /// Also write a report with plots, as one HTML file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How the results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BenchFormat {
    /// A table, for people
    #[default]
    #[value(alias = "table")]
    Text,
    /// JSON, for programs
    Json,
}

/// What a report says of the run as a whole.
#[derive(Debug, Clone)]
struct Setting {
    /// When it began, in seconds since 1970.
    begun_unix_s: u64,
    servers: Vec<String>,
    leader: String,
    database: String,
    duration: Duration,
    rows: u64,
    value_bytes: u64,
    seed: u64,
    backoff: worker::Backoff,
}

/// Runs `ferrolite bench`.
///
/// # Errors
/// When the cluster cannot be reached, a table cannot be made or dropped, no operation of a phase succeeds, or the
/// report cannot be written; [`Error::Interrupted`] after Ctrl-C. Whatever was measured is reported before.
pub async fn run(args: BenchArgs) -> Result<()> {
    let mut interrupts = Interrupts::listen();
    check_html(&args)?;
    let client = interrupts.or_interrupt(connect(&args)).await?;
    let setting = interrupts.or_interrupt(setting(&args, &client)).await?;
    let mut tables = Tables::new(client.clone());
    tables.warn_of_others().await;
    let mut outcomes = Vec::new();
    let measured = measure_all(&args, &setting, &mut tables, &mut interrupts, &mut outcomes).await;
    // A Ctrl-C from now on means that even dropping the tables takes too long.
    interrupts.forget();
    let dropped = tables.drop_all(&mut interrupts).await;
    let interrupted = measured.as_ref().is_err_and(Error::is_interrupted);
    if !outcomes.is_empty() {
        report::print(args.format, &setting, &outcomes, interrupted)?;
        if let Some(path) = &args.html {
            let page = html::page(&setting, &outcomes, interrupted);
            std::fs::write(path, page).map_err(Error::file("cannot write", path))?;
        }
    }
    dropped?;
    measured?;
    outcomes.iter_mut().try_for_each(Outcome::judge)
}

/// Runs each phase with each number of clients.
async fn measure_all(
    args: &BenchArgs,
    setting: &Setting,
    tables: &mut Tables,
    interrupts: &mut Interrupts,
    outcomes: &mut Vec<Outcome>,
) -> Result<()> {
    if args.phases.iter().any(|phase| phase.reads_rows()) {
        interrupts.or_interrupt(tables.fill_rows(setting)).await?;
    }
    for &phase in &args.phases {
        for &clients in &args.clients {
            interrupts.or_interrupt(tables.prepare(phase)).await?;
            let outcome = worker::run_phase(phase, clients, setting, tables, interrupts).await?;
            let interrupted = outcome.interrupted;
            outcomes.push(outcome);
            if interrupted {
                return Err(Error::Interrupted);
            }
        }
    }
    Ok(())
}

async fn connect(args: &BenchArgs) -> Result<Client> {
    let most_clients = args.clients.iter().copied().max().unwrap_or(1);
    Builder::default()
        .servers(args.servers.addresses.iter().cloned())
        .database(&args.database)
        .max_connections(usize::try_from(most_clients).unwrap_or(1).saturating_add(1))
        .connect()
        .await
        .map_err(Error::client("cannot connect"))
}

async fn setting(args: &BenchArgs, client: &Client) -> Result<Setting> {
    let leader = crate::cluster::leader(client).await?;
    Ok(Setting {
        begun_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        servers: args.servers.addresses.clone(),
        leader: leader.address,
        database: args.database.clone(),
        duration: args.duration,
        rows: args.rows,
        value_bytes: args.value_bytes,
        seed: args.seed,
        backoff: worker::Backoff::new(args.backoff_ms, args.backoff_max_ms),
    })
}

/// Notices before the run that its report could not be written after it.
fn check_html(args: &BenchArgs) -> Result<()> {
    let Some(path) = &args.html else {
        return Ok(());
    };
    // A report that is there stays whole until there is another.
    let existed = path.exists();
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    opened
        .and_then(|_| match existed {
            true => Ok(()),
            false => std::fs::remove_file(path),
        })
        .map_err(Error::file("cannot write", path))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<f64>().ok();
    match seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
        None => Err("write a number of seconds from 0.1 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// Protects: the command line, and the refusal of what would measure nothing.
    #[test]
    fn the_command_line_is_checked() {
        let parse = |words: &[&str]| Line::try_parse_from([&["bench"], words].concat());
        let Ok(Line { bench }) = parse(&[]) else {
            panic!("the defaults do not parse");
        };
        assert_eq!(bench.clients, [1, 16, 64]);
        assert_eq!(bench.phases, Phase::value_variants());
        assert_eq!(bench.duration, Duration::from_secs(10));
        assert!(
            parse(&[
                "--duration",
                "0.5",
                "--phases",
                "read,scan",
                "--format",
                "table"
            ])
            .is_ok()
        );
        for wrong in [
            ["--duration", "0"],
            ["--duration", "NaN"],
            ["--duration", "soon"],
            ["--clients", "0"],
            ["--clients", "4,5000"],
            ["--phases", "write"],
            ["--rows", "0"],
            ["--value-bytes", "0"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
