//! The commands that run nodes; those that only talk to them are in `ferrolite-cli`.

#[cfg(feature = "shell")]
pub(crate) mod inspect;
#[cfg(feature = "shell")]
pub(crate) mod playground;
pub(crate) mod recover;
pub(crate) mod serve;
mod temporary;

/// Sends the node's log to standard error: from a level on, or as directives (`info,ferrolite_node::peers=debug`) say.
///
/// What the engine says of itself is not in it: what of that concerns a client is in the answer to it, and some
/// of what it calls an error (a checkpoint that it was kept from) is none here.
pub(crate) fn log_to_stderr(directives: &str) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--log-level {directives}: {error}");
    if !directives.contains(['=', ',', ':']) {
        // A word that is no level would be a module of which everything is logged, and nothing of the others.
        directives
            .parse::<log::LevelFilter>()
            .map_err(|_| wrong(&"expected error, warn, info, debug or trace"))?;
    }
    env_filter::Builder::new()
        .try_parse(directives)
        .map_err(|error| wrong(&error))?;
    env_logger::Builder::new()
        .parse_filters(directives)
        .filter_module("rustyline", log::LevelFilter::Off)
        .format_timestamp_micros()
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
