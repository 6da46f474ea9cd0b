//! A cluster of real processes under load for minutes, and a failover every half of one.
//!
//! ```sh
//! cargo build --release -p ferrolite -p ferrolite-endurance && target/release/ferrolite-endurance
//! ```
//!
//! starts three nodes on loopback, on a real disk below the target directory. Sixty-four clients write and sixteen read
//! ([`writers`], [`readers`]), while the leader is killed, suspended, or hands over, in turn ([`failovers`]), and the nodes'
//! memory is watched ([`memory`]). What must hold, holds throughout or is looked at in the end:
//!
//! - *No wrong read.* No reader is told less than was known before it asked, or what was not written ([`ledger`]).
//! - *No lost row, and none too many.* Every acknowledged row is there, once, where its writer was told that it is; nothing
//!   that was refused is there; what is of unknown outcome is there at most once, and two rows of one transaction both or
//!   neither ([`verdict`]).
//! - *The same files.* Once stopped, all nodes have the same file, page for page; stock SQLite finds nothing wrong with it,
//!   and `ferrolite verify` finds nothing wrong with any directory. No node has ended by itself, or logged an error.
//! - *Writes go on.* Never was no row acknowledged for longer than [`failovers`] allows.
//! - *Memory is flat*, by the bound that [`memory`] states.
//!
//! A wrong read ends the run at once. Ctrl-C ends it early: what was done until then is checked all the same, unless there is
//! a second Ctrl-C. The exit status is 0 if all held, 1 if not, and then the nodes' directories are kept, and 2 if it could
//! not be run.

mod cluster;
mod failovers;
mod ledger;
mod memory;
mod readers;
mod verdict;
mod writers;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use ferrolite_processes::{Result, files, judged};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::failovers::{Failover, Failovers, KINDS};
use crate::ledger::Ledger;
use crate::memory::{Samples, mib};
use crate::verdict::Tally;
use crate::writers::{Outcome, Told};

/// How often the progress is shown where nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(
    about = "Three nodes under load for minutes, with failovers; then everything is checked",
    after_help = "Example:\n  ferrolite-endurance --minutes 2 --period 10 --seed 7"
)]
struct Options {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Clients that write
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clients)]
    writers: usize,
    /// Clients that read
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clients)]
    readers: usize,
    /// Seconds from one failover to the next
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3600))]
    period: u64,
    /// The program; without this, `ferrolite` in the directory of this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// What decides which rows are read, for how long a leader sleeps, and who follows it; without this, another one each time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let sensible = (0.1..=1440.0).contains(&minutes);
    sensible
        .then_some(minutes)
        .ok_or_else(|| "0.1 to 1440".to_owned())
}

fn clients(text: &str) -> Result<usize, String> {
    let clients: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    let sensible = (1..=256).contains(&clients);
    sensible
        .then_some(clients)
        .ok_or_else(|| "1 to 256".to_owned())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    judged("ferrolite-endurance", async |interrupted| {
        run(&options, interrupted).await
    })
    .await
}

/// Says whether all held.
async fn run(options: &Options, interrupted: watch::Receiver<u32>) -> Result<bool> {
    let own = std::env::current_exe()?;
    let beside = own.parent().ok_or("this program is nowhere")?;
    let program = options
        .program
        .clone()
        .unwrap_or_else(|| beside.join("ferrolite"));
    if !program.is_file() {
        return Err(format!(
            "there is no program {}: build it, or name it with --program",
            program.display()
        )
        .into());
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let root = tempfile::Builder::new()
        .prefix("endurance-")
        .tempdir_in(beside.parent().unwrap_or(beside))?;
    println!(
        "{} writers and {} readers for {} minutes, a failover every {} s, seed {seed}, in {}",
        options.writers,
        options.readers,
        options.minutes,
        options.period,
        root.path().display()
    );
    let mut cluster = Cluster::start(&program, root.path()).await?;
    let load = Load::run(&mut cluster, options, seed, interrupted).await?;
    let (tally, mut wrong) = check(&mut cluster, &program, &load).await;
    let (memory, not_flat) = load.samples.judge(load.ran);
    wrong.extend(not_flat);
    load.describe(tally, &memory);
    for wrong in &wrong {
        println!("WRONG      {wrong}");
    }
    if wrong.is_empty() {
        println!("all held");
        return Ok(true);
    }
    drop(cluster);
    println!("what the nodes had is kept in {}", root.keep().display());
    Ok(false)
}

/// What came of the load.
struct Load {
    ran: Duration,
    ledger: Arc<Ledger>,
    told: Vec<Told>,
    failovers: Vec<Failover>,
    samples: Samples,
}

impl Load {
    async fn run(
        cluster: &mut Cluster,
        options: &Options,
        seed: u64,
        mut interrupted: watch::Receiver<u32>,
    ) -> Result<Self> {
        let builder = cluster.builder();
        let client = builder.clone().max_connections(64).connect().await?;
        writers::make_tables(&client).await?;
        let ledger = Arc::new(Ledger::new(options.writers));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut writing = Vec::new();
        for writer in 0..options.writers {
            writing.push(writers::start(&builder, &ledger, writer).await?);
        }
        let mut reading = Vec::new();
        for reader in 0..options.readers {
            let seed = random.u64(..);
            let started = readers::start(&builder, &ledger, reader, options.writers, seed);
            reading.push(started.await?);
        }
        let begun = Instant::now();
        let samples = Samples::default();
        let sampling = tokio::spawn(samples.clone().take(cluster.watcher(), begun));
        let mut done = Vec::new();
        let mut failovers = Failovers {
            cluster: &mut *cluster,
            ledger: &ledger,
            client: &client,
            period: Duration::from_secs(options.period),
            random,
            begun,
            done: &mut done,
        };
        let lasts = Duration::from_secs_f64(options.minutes * 60.0);
        tokio::select! {
            () = tokio::time::sleep(lasts) => {}
            _ = interrupted.wait_for(|count| *count > 0) => eprintln!("\nending early"),
            () = ledger.found() => {}
            () = show_progress(&ledger, &samples, begun, lasts) => {}
            ended = failovers.run() => if let Err(error) = ended {
                ledger.report(error.to_string());
            }
        }
        failovers.note_pause();
        let ran = begun.elapsed();
        sampling.abort();
        ledger.end();
        if let Err(error) = cluster.revive().await {
            ledger.report(error.to_string());
        }
        let mut told = Vec::new();
        for writer in writing {
            told.push(writer.await?);
        }
        for reader in reading {
            reader.await?;
        }
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        Ok(Self {
            ran,
            ledger,
            told,
            failovers: done,
            samples,
        })
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        let outcomes = self.told.iter().flat_map(|told| &told.outcomes);
        outcomes.filter(|outcome| wanted(outcome)).count()
    }

    fn describe(&self, tally: Option<Tally>, memory: &str) {
        let seconds = self.ran.as_secs_f64().max(0.001);
        let acknowledged = self.count(|outcome| matches!(outcome, Outcome::Acknowledged(_)));
        let there = tally.map_or("?".to_owned(), |tally| tally.unknown_and_there.to_string());
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        println!(
            "rows       {acknowledged} acknowledged ({:.0} a second), {} of unknown outcome, of which {there} are there, {} refused",
            acknowledged as f64 / seconds,
            self.count(|outcome| *outcome == Outcome::Unknown),
            self.count(|outcome| *outcome == Outcome::Refused),
        );
        for (reason, times) in self.told.iter().flat_map(|told| &told.refusals) {
            println!("           refused {times} times: {reason}");
        }
        println!(
            "registers  {} updates acknowledged",
            count(&self.ledger.updates)
        );
        println!(
            "reads      {} checked ({:.0} a second), {} not answered",
            count(&self.ledger.reads),
            count(&self.ledger.reads) as f64 / seconds,
            count(&self.ledger.failed_reads),
        );
        println!(
            "failovers  {} in {:.0} s, {} terms; the longest time without an acknowledged row after each:",
            self.failovers.len(),
            self.ran.as_secs_f64(),
            self.samples.terms(),
        );
        for kind in KINDS {
            let of_kind = self.failovers.iter().filter(|one| one.kind == kind);
            let mut pauses: Vec<f64> = of_kind.map(|one| one.pause.as_secs_f64()).collect();
            pauses.sort_by(f64::total_cmp);
            if let (Some(median), Some(longest)) = (pauses.get(pauses.len() / 2), pauses.last()) {
                println!(
                    "  {kind:<12} {:>3} times, median {median:.2} s, longest {longest:.2} s",
                    pauses.len()
                );
            }
        }
        for one in &self.failovers {
            println!(
                "  at {:>4.0} s    node {} {kind:<12} {:.2} s",
                one.at.as_secs_f64(),
                one.leader,
                one.pause.as_secs_f64(),
                kind = one.kind,
            );
        }
        print!("memory\n{memory}");
    }
}

/// Shows how far it is, for as long as it is waited for.
async fn show_progress(ledger: &Ledger, samples: &Samples, begun: Instant, lasts: Duration) {
    let terminal = std::io::stderr().is_terminal();
    let (mut rows_before, mut shown) = (0, begun);
    loop {
        let pause = if terminal {
            Duration::from_secs(1)
        } else {
            LINE_EVERY
        };
        tokio::time::sleep(pause).await;
        let rows = ledger.acknowledged_rows();
        let rate = (rows - rows_before) as f64 / shown.elapsed().as_secs_f64();
        (rows_before, shown) = (rows, Instant::now());
        let nodes: Vec<String> = (samples.latest().iter())
            .map(|sample| {
                let leads = if sample.leads { "*" } else { "" };
                format!("{}{leads} {}", sample.node, mib(Some(sample.kib)))
            })
            .collect();
        let text = format!(
            "{:>4.0} of {:.0} s   {rows} rows, {rate:.0} a second   {} reads   MiB: {}",
            begun.elapsed().as_secs_f64(),
            lasts.as_secs_f64(),
            ledger.reads.load(Ordering::Relaxed),
            nodes.join(", "),
        );
        let mut err = std::io::stderr().lock();
        // Where nobody can be told, nobody is.
        let _ = match terminal {
            true => write!(err, "\r{text}\x1b[K"),
            false => writeln!(err, "{text}"),
        };
        let _ = err.flush();
    }
}

/// Checks all that is left to check, and returns all that was found wrong.
async fn check(cluster: &mut Cluster, program: &Path, load: &Load) -> (Option<Tally>, Vec<String>) {
    let mut wrong = load.ledger.findings();
    if load.count(|outcome| matches!(outcome, Outcome::Acknowledged(_))) == 0 {
        wrong.push("no row was acknowledged".to_owned());
    }
    let mut tally = None;
    match rows(cluster, &load.told).await {
        Ok(Ok(counted)) => tally = Some(counted),
        Ok(Err(found)) => wrong.extend(found),
        Err(error) => wrong.push(format!("reading the rows: {error}")),
    }
    if let Err(error) = cluster.stop().await {
        wrong.push(error.to_string());
    }
    wrong.extend(cluster.ended_by_themselves().unwrap_or_default());
    let mut files = cluster
        .nodes
        .iter()
        .map(|node| files::database(node, "main"));
    if let Some(first) = files.next() {
        for other in files {
            if let Err(error) = files::same_pages(&first, &other) {
                wrong.push(error.to_string());
            }
        }
        match verdict::stock_sqlite(&first, &load.told).await {
            Ok(Some(version)) => println!("checked    with SQLite {version}"),
            Ok(None) => println!("checked    without SQLite, which is not installed"),
            Err(error) => wrong.push(format!("SQLite finds in {}: {error}", first.display())),
        }
    }
    for node in &cluster.nodes {
        if let Err(error) = files::verify(program, node).await {
            wrong.push(format!("node {}: {error}", node.id));
        }
        wrong.extend((node.errors().iter()).map(|line| format!("node {} logged: {line}", node.id)));
    }
    (tally, wrong)
}

async fn rows(cluster: &Cluster, told: &[Told]) -> Result<Result<Tally, Vec<String>>> {
    let patient = cluster.builder().answer_timeout(Duration::from_secs(60));
    verdict::rows_of_cluster(&patient.connect().await?, told).await
}
