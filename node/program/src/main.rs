//! The program `ferrolite`: a node on the command line, a playground, and the tools for a running cluster.
//!
//! Without the feature `shell` it only runs nodes, which is enough for a device that others look after.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const START_HERE: &str = if cfg!(feature = "shell") {
    "Start here:\n  ferrolite playground                 three nodes on this machine, and an SQL shell\n  ferrolite serve --help               how to run a node\n  ferrolite shell --servers HOST:PORT  SQL on a running cluster"
} else {
    "Start here:\n  ferrolite serve --help               how to run a node"
};

/// A replicated SQLite: several nodes hold the same SQL databases, and go on when some of them die.
#[derive(Debug, Parser)]
#[command(
    name = "ferrolite",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = START_HERE
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run some nodes on this machine, and open an SQL shell on them
    #[cfg(feature = "shell")]
    Playground(commands::playground::PlaygroundArgs),
    /// Run a node
    Serve(commands::serve::ServeArgs),
    /// Show what is in the data directory of a node that does not run
    #[cfg(feature = "shell")]
    Inspect(commands::inspect::InspectArgs),
    /// Check every record and every page in the data directory of a node that does not run
    #[cfg(feature = "shell")]
    Verify(commands::inspect::VerifyArgs),
    /// Found a new cluster on what one node has, when a majority is gone for good
    Recover(commands::recover::RecoverArgs),
    #[cfg(feature = "shell")]
    #[command(flatten)]
    Client(ferrolite_cli::Command),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ferrolite: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        match program.command {
            #[cfg(feature = "shell")]
            Command::Playground(args) => commands::playground::run(args).await,
            Command::Serve(args) => commands::serve::run(args).await,
            #[cfg(feature = "shell")]
            Command::Inspect(args) => commands::inspect::inspect(&args),
            #[cfg(feature = "shell")]
            Command::Verify(args) => commands::inspect::verify(&args),
            Command::Recover(args) => commands::recover::run(&args),
            #[cfg(feature = "shell")]
            Command::Client(command) => ferrolite_cli::exit_code(ferrolite_cli::run(command).await),
        }
    });
    // A thread that reads a terminal cannot be woken; it must not keep the program.
    runtime.shutdown_background();
    status
}
