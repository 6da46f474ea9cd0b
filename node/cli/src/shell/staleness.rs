//! How the user says that reads may be stale: `--stale`, and `.stale`.

use std::time::Duration;

use ferrolite_client::Staleness;

/// Reads what stands behind `--stale=` and `.stale`; nothing is "off".
///
/// # Errors
/// What can be said instead.
pub fn parse(text: &str) -> Result<Option<Staleness>, String> {
    match text {
        "off" => Ok(None),
        "unlimited" => Ok(Some(Staleness::Unlimited)),
        milliseconds => match milliseconds.parse::<u32>() {
            Ok(bound) => Ok(Some(Duration::from_millis(bound.into()).into())),
            Err(_) => Err(format!(
                "{text:?} is not a number of milliseconds, and not unlimited or off"
            )),
        },
    }
}

/// The same as text.
pub fn show(staleness: Option<Staleness>) -> String {
    match staleness {
        None => "off".to_owned(),
        Some(Staleness::Unlimited) => "unlimited".to_owned(),
        Some(Staleness::Within(bound)) => format!("{} ms", bound.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: what can be typed, and how it is shown again.
    #[test]
    fn bounds_are_read() {
        for (text, shown) in [
            ("off", "off"),
            ("unlimited", "unlimited"),
            ("500", "500 ms"),
            ("0", "0 ms"),
        ] {
            assert_eq!(parse(text).map(show), Ok(shown.to_owned()));
        }
        for wrong in ["", "on", "-1", "5s", "99999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
