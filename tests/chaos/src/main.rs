//! Clusters of real processes, each in a network namespace and on a file system of its own, with faults of all kinds, under
//! load whose answers are judged.
//!
//! It is started by the script `run` beside it, which gives it namespaces of networks, mounts and processes: everything that
//! is made here is gone with them, however it ends. A run is a row of *rounds* ([`round`]). In each, a cluster of three to five
//! nodes is founded; clients of all workloads of `ferrolite-workloads` and clients that send whatever `ferrolite-grammar` draws
//! ([`load`]) work on it while nodes, links and disks fail ([`faults`]). Then everything is healed, and what must hold is
//! looked at:
//!
//! - *Progress.* Within a minute, all clients are done and each workload has been read to the end.
//! - *The answers.* Each workload's checker finds that a database that keeps its promises can have answered so.
//! - *The same files.* Once stopped, all nodes have the same files, page for page; `ferrolite verify` finds nothing wrong
//!   with any directory, nor stock SQLite, if it is there, with any database. No node has logged that the engine failed,
//!   but for faults that it has without a cluster as well, which are shown.
//!
//! The exit status is 0 if all held, 1 if not, and then what nodes and clients had is kept; 2 if it could not be run. A round is
//! drawn from its seed, which is that of the run plus its number, so `--seed` with what a round has printed draws
//! it again, as the first; what nodes and the system make of it is not drawn.

mod cluster;
mod disk;
mod faults;
mod load;
mod network;
mod progress;
mod round;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ferrolite_grammar::Production;
use ferrolite_processes::{Result, judged};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::round::Plan;
use crate::table::Table;

#[derive(Debug, Parser)]
#[command(
    about = "Clusters of real processes with faults of all kinds, under load whose answers are judged"
)]
struct Options {
    /// For how long there is load, in all rounds together
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// How long the load of a round lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    round: u64,
    /// What decides everything that can be decided; without this, another one each time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes; without this, 3 to 5, as the seed decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=network::MOST_NODES))]
    nodes: Option<u64>,
    /// Clients of each workload
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    clients: u64,
    /// Room on each node's disk, in MiB
    #[arg(long, value_name = "N", default_value_t = 192, value_parser = clap::value_parser!(u32).range(64..=4096))]
    disk: u32,
    /// Parts of the grammar that are left out, by the names that `ferrolite_grammar::Production` has for them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    without: Vec<Production>,
    /// The program of the nodes
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// A directory for what is kept of rounds that went wrong
    #[arg(long, value_name = "DIR")]
    keep: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let sensible = (0.1..=1440.0).contains(&minutes);
    sensible
        .then_some(minutes)
        .ok_or_else(|| "0.1 to 1440".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let local = LocalSet::new();
    judged("chaos", async |interrupted| {
        local.run_until(run(&options, interrupted)).await
    })
    .await
}

/// Says whether all held.
async fn run(options: &Options, interrupted: watch::Receiver<u32>) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let lasts = Duration::from_secs_f64(options.minutes * 60.0);
    let (begun, mut loaded) = (Instant::now(), Duration::ZERO);
    let mut table = Table::default();
    println!(
        "{} minutes of load in rounds of {} s, seed {seed}",
        options.minutes, options.round
    );
    for number in 0.. {
        let rest = lasts.saturating_sub(loaded);
        // What would be left for a last round joins the one before it.
        let round = match rest.as_secs() < options.round + options.round / 2 {
            true => rest,
            false => Duration::from_secs(options.round),
        };
        if round < Duration::from_secs(1) || *interrupted.borrow() > 0 {
            break;
        }
        loaded += round;
        let seed = seed + number;
        let root = options.keep.join(format!("seed-{seed}"));
        std::fs::create_dir_all(&root)?;
        let plan = Plan {
            seed,
            program: options.program.clone(),
            root: root.clone(),
            nodes: options.nodes,
            lasts: round,
            clients: options.clients,
            disk_mib: options.disk,
            without: options.without.clone(),
        };
        let outcome = round::run(&plan, interrupted.clone()).await?;
        progress::clear();
        table::describe(&outcome, seed);
        if outcome.is_good() {
            std::fs::remove_dir_all(&root)?;
        } else {
            println!("what nodes and clients had is kept in {}", root.display());
        }
        table.add(outcome);
    }
    Ok(table.print(begun.elapsed()))
}
