//! How a client says that its reads may be stale, and by how much.
//!
//! There are three ways, because clients differ in what they can say:
//!
//! | where | stale, however old | with a bound of 500 ms |
//! |---|---|---|
//! | the VFS of OPEN | `stale` | `stale:500` |
//! | the name in OPEN | `app?stale` | `app?stale=500` |
//! | a statement | `PRAGMA ferrolite_staleness = unlimited` | `PRAGMA ferrolite_staleness = 500` |
//!
//! `PRAGMA ferrolite_staleness = off` goes back to what reads are by default, linearizable; without a value it says what
//! they are. Any other VFS is ignored, as clients send all kinds of them.

use std::time::Duration;

use ferrolite_wire::{ErrorCode, RowsEncoder, RowsPreamble};

use super::failure::Failure;

/// The setting's name.
const PRAGMA: &str = "ferrolite_staleness";
const STALE: &str = "stale";
const UNLIMITED: &str = "unlimited";
const OFF: &str = "off";

/// How old what a reader is shown may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staleness {
    /// As old as what this node has applied.
    Unlimited,
    /// Not without what was committed so long before the statement came.
    Within(Duration),
}

impl Staleness {
    /// What the VFS of OPEN asks for.
    pub(super) fn of_vfs(vfs: &str) -> Result<Option<Self>, Failure> {
        match vfs.split_once(':') {
            None if vfs == STALE => Ok(Some(Self::Unlimited)),
            Some((STALE, bound)) => Self::within(bound).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes what the name in OPEN asks for off the name.
    pub(super) fn of_name(name: &str) -> Result<(&str, Option<Self>), Failure> {
        let Some((name, option)) = name.split_once('?') else {
            return Ok((name, None));
        };
        let staleness = match option.split_once('=') {
            None if option == STALE => Self::Unlimited,
            Some((STALE, bound)) => Self::within(bound)?,
            _ => {
                return Err(misuse(&format!(
                    "behind the '?' of a database's name stands ?{STALE} or ?{STALE}=MILLISECONDS, not ?{option}"
                )));
            }
        };
        Ok((name, Some(staleness)))
    }

    fn within(bound: &str) -> Result<Self, Failure> {
        let milliseconds = bound.parse::<u32>();
        let milliseconds = milliseconds.map_err(|_| {
            misuse(&format!(
                "a bound of staleness is a number of milliseconds, not {bound:?}"
            ))
        })?;
        Ok(Self::Within(Duration::from_millis(milliseconds.into())))
    }
}

/// A statement about staleness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Says what is set.
    Ask,
    /// Sets it; nothing is "off".
    Set(Option<Staleness>),
}

impl Setting {
    /// Reads the first statement of a text, if it is one of these; and where it ends.
    pub(super) fn read(sql: &str) -> Result<Option<(Self, usize)>, Failure> {
        let pragma = ferrolite_sql::pragma(sql);
        let Some(pragma) = pragma.filter(|pragma| pragma.name.eq_ignore_ascii_case(PRAGMA)) else {
            return Ok(None);
        };
        let is = |word: &str| {
            pragma
                .value
                .is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        let setting = match pragma.value {
            None => Self::Ask,
            Some(_) if is(OFF) => Self::Set(None),
            Some(_) if is(UNLIMITED) => Self::Set(Some(Staleness::Unlimited)),
            Some(bound) => Self::Set(Some(Staleness::within(bound).map_err(|_| {
                misuse(&format!(
                    "PRAGMA {PRAGMA} takes a number of milliseconds, '{UNLIMITED}' or '{OFF}'"
                ))
            })?)),
        };
        Ok(Some((setting, pragma.tail)))
    }
}

/// The answer to the question what is set, as rows.
pub(super) fn rows(staleness: Option<Staleness>) -> Result<bytes::Bytes, Failure> {
    use ferrolite_wire::ValueRef;
    let value = match staleness {
        None => ValueRef::Text(OFF),
        Some(Staleness::Unlimited) => ValueRef::Text(UNLIMITED),
        Some(Staleness::Within(bound)) => {
            ValueRef::Integer(i64::try_from(bound.as_millis()).unwrap_or(i64::MAX))
        }
    };
    let preamble = RowsPreamble::new(&[PRAGMA.to_owned()]);
    let mut encoder = RowsEncoder::with_preamble(&preamble);
    encoder.push_values(std::iter::once(value))?;
    Ok(encoder.finish()?)
}

fn misuse(message: &str) -> Failure {
    Failure::new(ErrorCode::MISUSE, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HALF_A_SECOND: Staleness = Staleness::Within(Duration::from_millis(500));

    /// What clients send in OPEN, those that know nothing of this among them.
    #[test]
    fn opened_so() {
        for vfs in ["", "volatile", "unix", "stales", "x:500"] {
            assert_eq!(Staleness::of_vfs(vfs).unwrap(), None, "{vfs}");
        }
        let unlimited = Staleness::of_vfs("stale").unwrap();
        assert_eq!(unlimited, Some(Staleness::Unlimited));
        assert_eq!(Staleness::of_vfs("stale:500").unwrap(), Some(HALF_A_SECOND));

        assert_eq!(Staleness::of_name("app").unwrap(), ("app", None));
        let unlimited = Staleness::of_name("a=b?stale").unwrap();
        assert_eq!(unlimited, ("a=b", Some(Staleness::Unlimited)));
        let bound = Staleness::of_name("app?stale=500").unwrap();
        assert_eq!(bound, ("app", Some(HALF_A_SECOND)));
        for wrong in [
            "app?",
            "app?x",
            "app?stale=",
            "app?stale=-1",
            "app?stale=5s",
            "a?b?stale",
        ] {
            let failure = Staleness::of_name(wrong).unwrap_err();
            assert_eq!(failure.code, ErrorCode::MISUSE, "{wrong}");
        }
        assert!(Staleness::of_vfs("stale:").is_err());
    }

    /// The setting in its forms; every other statement is somebody else's.
    #[test]
    fn set_so() {
        let read = |sql| Setting::read(sql).unwrap();
        let ask = "PRAGMA ferrolite_staleness; SELECT 1";
        assert_eq!(read(ask), Some((Setting::Ask, 27)));
        let set = "pragma main.Ferrolite_Staleness('UNLIMITED')";
        let unlimited = Setting::Set(Some(Staleness::Unlimited));
        assert_eq!(read(set), Some((unlimited, set.len())));
        let set = "PRAGMA ferrolite_staleness = 500";
        let bound = Setting::Set(Some(HALF_A_SECOND));
        assert_eq!(read(set), Some((bound, set.len())));
        let set = "PRAGMA ferrolite_staleness=off;";
        assert_eq!(read(set), Some((Setting::Set(None), set.len())));
        assert_eq!(read("PRAGMA user_version = 500"), None);
        assert_eq!(read("SELECT 'PRAGMA ferrolite_staleness'"), None);
        for wrong in ["= -1", "= soon", "(1.5)", "= ''"] {
            let failure = Setting::read(&format!("PRAGMA ferrolite_staleness {wrong}"));
            assert_eq!(failure.unwrap_err().code, ErrorCode::MISUSE, "{wrong}");
        }
    }
}
