//! The commands of the `ferrolite` program that are clients of a cluster.
//!
//! Everything here speaks the client protocol over a socket and nothing else: no engine, no log, no
//! files of a node. So the same code drives a Ferrolite cluster and a dqlite cluster, and it can be
//! built, tested and embedded without the SQL engine.
//!
//! The commands, one module each:
//!
//! - [`shell`]: an interactive SQL shell, and the runner of SQL scripts. Another program opens it through
//!   [`shell::run`].
//! - [`cluster`]: the nodes, their roles, who leads.
//! - [`status`]: a health check.
//! - [`mod@bench`]: how fast a cluster is.
//! - [`transfer`]: whole databases in and out, as SQLite files.
//!
//! Below them: [`sql`] is the little that a shell has to know of SQL's grammar, [`render`] writes results,
//! [`error`] says what went wrong so that a person can act on it.
//!
//! ```
//! use ferrolite_cli::sql::Splitter;
//!
//! let mut splitter = Splitter::new();
//! splitter.push("INSERT INTO t VALUES ('one;two'); SELECT\n");
//! let first = splitter.next_statement().ok_or("a whole statement")?;
//! assert_eq!(first.text, "INSERT INTO t VALUES ('one;two');");
//! assert!(splitter.next_statement().is_none(), "the SELECT is not finished");
//! splitter.push("  1;\n");
//! assert_eq!(splitter.next_statement().map(|s| s.line), Some(1));
//! # Ok::<(), &'static str>(())
//! ```
#![forbid(unsafe_code)]

pub mod bench;
pub mod cluster;
pub mod error;
pub mod interrupt;
pub mod progress;
pub mod render;
pub mod report;
pub mod servers;
pub mod shell;
pub mod sql;
pub mod status;
pub mod transfer;

use std::process::ExitCode;

use clap::Subcommand;

pub use error::{Error, Result};
pub use servers::Servers;

/// The commands, for a program to embed among its own.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Open an SQL shell, or run SQL
    Shell(shell::ShellArgs),
    /// List and change the nodes of a cluster
    Cluster(cluster::ClusterArgs),
    /// Show whether the nodes answer and agree on a leader
    Status(status::StatusArgs),
    /// Load an SQLite file into a cluster
    #[command(visible_alias = "restore")]
    Import(transfer::import::ImportArgs),
    /// Write a database of a cluster to an SQLite file, while it is in use
    #[command(visible_alias = "backup")]
    Export(transfer::export::ExportArgs),
    /// Measure how fast a cluster is
    Bench(bench::BenchArgs),
}

/// Runs a command. From then on Ctrl-C does not end the program by itself.
///
/// # Errors
/// What the command reports.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Shell(args) => shell::run(args.into()).await,
        Command::Cluster(args) => cluster::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Import(args) => transfer::import::run(args).await,
        Command::Export(args) => transfer::export::run(args).await,
        Command::Bench(args) => bench::run(args).await,
    }
}

/// Reports a command's error on standard error, and the exit status that belongs to it.
pub fn exit_code(result: Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if !error.is_broken_pipe() {
        eprintln!("{}", error.report());
    }
    ExitCode::from(error.exit_status())
}
