//! From the name of a database to the name of its file, and back.
//!
//! Clients choose the names of databases, so a name may hold anything: slashes, spaces, any Unicode, two dots.
//! A file name may not. Every byte outside `A–Z a–z 0–9 . _ -` is written as `%` and two hexadecimal digits,
//! and so is a dot at the beginning; then `.sqlite` is appended, always. Hence distinct databases have distinct
//! files, no name leaves the directory, and a listing of the directory gives the names back:
//!
//! ```
//! use ferrolite_pager::{database_name, file_name};
//!
//! # fn main() -> Result<(), ferrolite_pager::Error> {
//! assert_eq!(file_name("app")?, "app.sqlite");
//! assert_eq!(file_name("app.db")?, "app.db.sqlite");
//! assert_eq!(file_name("../etc")?, "%2E.%2Fetc.sqlite");
//! assert_eq!(database_name("%2E.%2Fetc.sqlite").as_deref(), Some("../etc"));
//! # Ok(())
//! # }
//! ```
//!
//! Case is kept. On a file system that ignores case, `App` and `app` would meet in one file.

use crate::error::Error;

/// What every database file ends in.
const SUFFIX: &str = ".sqlite";

/// Longest escaped name in bytes. With the suffix and the `-journal` that SQLite may append, it stays
/// within the 255 bytes that file systems give to a name.
pub const MAX_ESCAPED_BYTES: usize = 240;

/// The name of the file that holds `database`.
///
/// # Errors
/// [`Error::Name`] when the name is empty, holds a NUL, or takes more than [`MAX_ESCAPED_BYTES`] once escaped.
pub fn file_name(database: &str) -> Result<String, Error> {
    let refuse = |reason| {
        Err(Error::Name {
            name: database.chars().take(64).collect(),
            reason,
        })
    };
    if database.is_empty() {
        return refuse("it is empty");
    }
    if database.contains('\0') {
        return refuse("it holds a NUL");
    }
    let mut file = String::with_capacity(database.len() + SUFFIX.len());
    for (position, byte) in database.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-')
            || (byte == b'.' && position > 0);
        if plain {
            file.push(char::from(byte));
        } else {
            file.push('%');
            file.push(hex_digit(byte >> 4));
            file.push(hex_digit(byte & 15));
        }
        if file.len() > MAX_ESCAPED_BYTES {
            return refuse("it is too long");
        }
    }
    file.push_str(SUFFIX);
    Ok(file)
}

/// The database that the file `file` holds; `None` when [`file_name`] never gives such a name.
#[must_use]
pub fn database_name(file: &str) -> Option<String> {
    let escaped = file.strip_suffix(SUFFIX)?;
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (hex_value(rest.next()?)? << 4) | hex_value(rest.next()?)?,
            plain => plain,
        });
    }
    let database = String::from_utf8(bytes).ok()?;
    // Only one spelling is ours: `%61` or a lower-case digit would make two files of one database.
    (file_name(&database).ok()? == file).then_some(database)
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 {
        b'0' + nibble
    } else {
        b'A' + nibble - 10
    })
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The names that a directory listing must never get wrong.
    #[test]
    fn fixed_names() {
        for (database, file) in [
            ("app", "app.sqlite"),
            ("app.db", "app.db.sqlite"),
            ("a.sqlite", "a.sqlite.sqlite"),
            (".", "%2E.sqlite"),
            ("..", "%2E..sqlite"),
            ("a/b", "a%2Fb.sqlite"),
            ("100%", "100%25.sqlite"),
            ("Größe 1", "Gr%C3%B6%C3%9Fe%201.sqlite"),
            ("-x_Y", "-x_Y.sqlite"),
        ] {
            assert_eq!(file_name(database).unwrap(), file);
            assert_eq!(database_name(file).as_deref(), Some(database));
        }
        for refused in ["", "a\0b", &"x".repeat(241), &"é".repeat(41)] {
            assert!(file_name(refused).unwrap_err().is_refused(), "{refused:?}");
        }
        assert_eq!(file_name(&"x".repeat(240)).unwrap().len(), 247);
        for foreign in [
            "",
            ".sqlite",
            "app",
            "app.db",
            ".app.sqlite",
            "a b.sqlite",
            "%61.sqlite",
            "%2f.sqlite",
            "%2.sqlite",
            "%.sqlite",
            "%FF.sqlite",
            "%00.sqlite",
            "app.sqlite-wal",
            "ä.sqlite",
        ] {
            assert_eq!(database_name(foreign), None, "{foreign:?}");
        }
    }

    proptest! {
        /// Two databases never share a file, and no file lies outside its directory.
        #[test]
        fn every_name_comes_back(database in ".{0,80}") {
            match file_name(&database) {
                Ok(file) => {
                    prop_assert!(file.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
                    prop_assert!(!file.starts_with('.') && file.len() <= 247);
                    prop_assert_eq!(database_name(&file), Some(database));
                }
                Err(error) => prop_assert!(error.is_refused()),
            }
        }

        /// Any file name that is taken for a database is the one that this database has.
        #[test]
        fn every_file_is_canonical(file in "[%0-9A-Fa-f.é/]{0,12}\\.sqlite") {
            if let Some(database) = database_name(&file) {
                prop_assert_eq!(file_name(&database).unwrap(), file);
            }
        }
    }
}
