//! The client-side commands as a program of their own, without the node: the `ferrolite` program embeds
//! them in the same way.
//!
//! ```text
//! cargo run -p ferrolite-cli --example commands -- shell --servers 127.0.0.1:9001
//! ```

use std::process::ExitCode;

use clap::Parser;

/// Clients of a Ferrolite or dqlite cluster
#[derive(Parser)]
#[command(name = "commands")]
struct Arguments {
    #[command(subcommand)]
    command: ferrolite_cli::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    ferrolite_cli::exit_code(ferrolite_cli::run(Arguments::parse().command).await)
}
