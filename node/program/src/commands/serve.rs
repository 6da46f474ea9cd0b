//! `ferrolite serve`: a node until it is told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ferrolite_node::{Error, Node, Options};
use tokio::signal::unix::{SignalKind, signal};

use super::temporary::Temporary;

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  the first node of a new cluster\n    ferrolite serve --id 1 --address 10.0.0.1:9001 --data-dir /var/lib/ferrolite --bootstrap\n  another one\n    ferrolite serve --id 2 --address 10.0.0.2:9001 --data-dir /var/lib/ferrolite --join 10.0.0.1:9001\n  one that waits until a client adds it\n    ferrolite serve --id 3 --address 10.0.0.3:9001 --data-dir /var/lib/ferrolite\n\nStarted again on the same directory a node needs neither --bootstrap nor --join, and ignores them.\nSIGTERM and Ctrl-C hand leadership over, write everything into the database files, and end with status 0."
)]
pub(crate) struct ServeArgs {
    /// The node's number: not 0, and no other node's
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// The address by which clients and other nodes reach this one; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT", value_parser = super::address)]
    address: String,
    /// Where the node keeps its data; made if it is not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Found a new cluster
    #[arg(long, conflicts_with = "join")]
    bootstrap: bool,
    /// Join the cluster that any of these servers belongs to
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = super::address)]
    join: Vec<String>,
    /// One-way latency between the nodes, in milliseconds. Heartbeats come every 10 latencies, an election
    /// begins after 40 to 80 without one
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    latency_ms: u64,
    /// A number that nodes share which may fail together
    #[arg(long, value_name = "N", default_value_t = 0)]
    failure_domain: u64,
    /// The wish not to lead: the lightest node does
    #[arg(long, value_name = "N", default_value_t = 0)]
    weight: u32,
    /// How long a writer waits for its turn before it gets SQLITE_BUSY, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 5000)]
    busy_timeout_ms: u64,
    /// How long a client may leave a transaction open without sending anything, in milliseconds; then its connection is
    /// closed and the transaction rolled back. 0: for ever
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    idle_transaction_ms: u64,
    /// Ask a quorum of the nodes for every round of reads, instead of relying on their clocks for a fraction of an election
    /// timeout
    #[arg(long)]
    no_read_lease: bool,
    /// A database that is open for stale reads on a node that follows is closed when nobody has read it for so long, in
    /// milliseconds
    #[arg(long, value_name = "N", default_value_t = 30_000)]
    stale_idle_ms: u64,
    /// The most pages that one transaction may change, in MiB
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    max_transaction_mib: u64,
    /// So much log to keep on disk for nodes that were away, in MiB; an eighth of it may gather before it is written into
    /// the database files
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    log_mib: u64,
    /// So much log may be kept only because a reader has its snapshot open for long, in MiB; then the reader has to begin
    /// again
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    reader_log_mib: u64,
    /// So much of the disk stays free, in MiB: with less, writes are refused until there is room. Never more than an
    /// eighth of the file system
    #[arg(long, value_name = "N", default_value_t = 32)]
    min_free_mib: u64,
    /// What to say on standard error: error, warn, info, debug or trace; by module, for example
    /// info,ferrolite_node::peers=debug
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "FERROLITE_LOG"
    )]
    log_level: String,
}

impl ServeArgs {
    fn options(&self) -> Options {
        let mut options = Options::default();
        options.latency = Duration::from_millis(self.latency_ms);
        options.failure_domain = self.failure_domain;
        options.weight = self.weight;
        options.busy_timeout = Duration::from_millis(self.busy_timeout_ms);
        options.idle_transaction = Duration::from_millis(self.idle_transaction_ms);
        options.read_lease = !self.no_read_lease;
        options.stale_idle = Duration::from_millis(self.stale_idle_ms);
        options.max_transaction_bytes = self.max_transaction_mib << 20;
        options.log_bytes = self.log_mib << 20;
        options.reader_log_bytes = self.reader_log_mib << 20;
        options.checkpoint_bytes = options.log_bytes / 8;
        options.reserve_bytes = self.min_free_mib.saturating_mul(1 << 20);
        options
    }
}

pub(crate) async fn run(args: ServeArgs) -> ExitCode {
    if let Err(error) = super::log_to_stderr(&args.log_level) {
        eprintln!("ferrolite serve: {error}");
        return ExitCode::FAILURE;
    }
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrolite serve: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: ServeArgs) -> Result<(), Error> {
    let signals = |source| Error::Io {
        what: "waiting for signals".to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let no_temporary = |source| Error::Io {
        what: "making a place for temporary files".to_owned(),
        source,
    };
    let temporary = Temporary::replace_missing(&args.data_dir).map_err(no_temporary)?;
    let mut builder = Node::builder(args.id, args.address.clone(), args.data_dir.clone());
    builder = builder.options(args.options()).join(args.join.clone());
    if args.bootstrap {
        builder = builder.bootstrap();
    }
    let node = tokio::select! {
        started = builder.start() => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if let Some(temporary) = &temporary
        && let Err(error) = temporary.remove_leftovers()
    {
        log::warn!(error:%; "temporary files of an earlier run stay");
    }
    say_ready(&node).map_err(|source| Error::Io {
        what: "writing to standard output".to_owned(),
        source,
    })?;
    tokio::select! {
        _ = terminate.recv() => log::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => log::info!("interrupted: stopping"),
        reason = node.failed() => log::error!(reason:%; "stopping after a failure"),
    }
    // A second signal does not wait for an orderly end: the next start recovers.
    tokio::select! {
        stopped = node.shutdown() => stopped,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn say_ready(node: &Node) -> std::io::Result<()> {
    let state = match node.leader() {
        Some((id, _)) if id == node.id() => "leads".to_owned(),
        Some((id, address)) if node.is_member() => format!("follows node {id} at {address}"),
        None if node.is_member() => "waits for a leader".to_owned(),
        _ => "waits to be added to a cluster".to_owned(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "ready: node {} on {} {state}",
        node.id(),
        node.address()
    )?;
    out.flush()
}
