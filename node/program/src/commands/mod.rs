//! The commands that run nodes; those that only talk to them are in `ferrolite-cli`.

#[cfg(feature = "shell")]
pub(crate) mod inspect;
mod logging;
#[cfg(feature = "shell")]
pub(crate) mod playground;
pub(crate) mod recover;
pub(crate) mod serve;
mod temporary;

pub(crate) use logging::log_to_stderr;

/// Checks an argument that is an address.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected HOST:PORT, for example 127.0.0.1:9001".to_owned()),
    }
}
