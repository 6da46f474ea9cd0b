//! The commands that run nodes; those that only talk to them are in `ferrolite-cli`.

#[cfg(feature = "shell")]
pub(crate) mod inspect;
#[cfg(feature = "shell")]
pub(crate) mod playground;
pub(crate) mod recover;
pub(crate) mod serve;
mod temporary;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the node's log to standard error, from `level` on.
///
/// The engine's own messages are left out: what of them concerns a client is in the answer to it, and some
/// of what it calls an error (a checkpoint that it was kept from) is none here.
pub(crate) fn log_to_stderr(level: &str) -> Result<(), String> {
    let filter: Targets = format!("{level},turso_core=off")
        .parse()
        .map_err(|error| format!("--log-level {level}: {error}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init()
        .map_err(|error| error.to_string())
}

/// Checks an argument that is an address.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected HOST:PORT, for example 127.0.0.1:9001".to_owned()),
    }
}
