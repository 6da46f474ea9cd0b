//! The program `ferrolite-cli`: the commands of `ferrolite` that talk to a cluster, for machines that run no node.

use std::process::ExitCode;

use clap::Parser;

/// The client of a replicated SQLite: an SQL shell, and what looks after a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "ferrolite-cli",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Program {
    #[command(subcommand)]
    command: ferrolite_cli::Command,
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
            eprintln!("ferrolite-cli: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(ferrolite_cli::run(program.command));
    // A thread that reads a terminal cannot be woken; it must not keep the program.
    runtime.shutdown_background();
    ferrolite_cli::exit_code(result)
}
