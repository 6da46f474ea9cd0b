//! What the first 100 bytes of an SQLite file say, checked before anything is sent.
//!
//! The layout is the database header of <https://www.sqlite.org/fileformat2.html>. The check is there to
//! turn the mistakes people make (a file that is no database, one whose newest data still lies in its
//! `-wal` file, one that was cut short by a copy) into a message at once. The server checks the pages
//! themselves.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The length of the database header in bytes.
pub const HEADER_BYTES: usize = 100;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What an SQLite file's header says about its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseHeader {
    /// Bytes per page: a power of two from 512 to 65,536.
    pub page_size: u32,
    /// Pages of the database. The file may be longer.
    pub pages: u32,
    /// Counted up by every transaction that was written to the file.
    pub change_counter: u32,
}

impl DatabaseHeader {
    /// The length of the database in bytes.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.page_size).saturating_mul(u64::from(self.pages))
    }

    /// Reads a header of a file of the given length.
    ///
    /// # Errors
    /// What is wrong, and what to do, for the user.
    pub fn parse(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Self, Flaw> {
        let number = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
            field.map_or(0, |field| u32::from_be_bytes(*field))
        };
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        if bytes.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(Flaw::NotADatabase);
        }
        // The field is 16 bits wide, so that the largest size, 65,536, is written as 1.
        let page_size = match u32::from(byte(16)) << 8 | u32::from(byte(17)) {
            1 => 65_536,
            size => size,
        };
        if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
            return Err(Flaw::PageSize(page_size));
        }
        if byte(18) > 2 || byte(19) > 2 {
            return Err(Flaw::NewerFormat);
        }
        if (byte(21), byte(22), byte(23)) != (64, 32, 32) {
            return Err(Flaw::NotADatabase);
        }
        let change_counter = number(24);
        let file_pages = file_bytes / u64::from(page_size);
        // The size in the header counts only if it was written together with the change counter; very
        // old versions of SQLite did not.
        let pages = match number(28) {
            pages if pages != 0 && change_counter == number(92) => pages,
            _ => u32::try_from(file_pages).map_err(|_| Flaw::TooLarge)?,
        };
        if u64::from(pages) > file_pages {
            return Err(Flaw::Truncated { pages, file_pages });
        }
        if pages == 0 {
            return Err(Flaw::NotADatabase);
        }
        Ok(Self {
            page_size,
            pages,
            change_counter,
        })
    }
}

/// What is wrong with a file that should be a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// It does not begin as SQLite files do.
    NotADatabase,
    /// Its page size is none.
    PageSize(u32),
    /// It was written by a later version of the format.
    NewerFormat,
    /// It has fewer pages than its header counts.
    Truncated {
        /// Pages by the header.
        pages: u32,
        /// Whole pages in the file.
        file_pages: u64,
    },
    /// It has more pages than the format can count.
    TooLarge,
}

impl Flaw {
    fn into_error(self, path: &Path) -> Error {
        let file = path.display();
        let (message, advice) = match self {
            Self::NotADatabase => (
                format!("{file} is not an SQLite database"),
                "if it is an encrypted one, decrypt it first, for instance with SQLCipher's sqlcipher_export",
            ),
            Self::PageSize(size) => (
                format!(
                    "{file} is damaged: its page size {size} is not a power of two from 512 to 65536"
                ),
                "restore it from a copy",
            ),
            Self::NewerFormat => (
                format!("{file} is in a newer format than this program knows"),
                "update this program, or write the file again with an older SQLite: VACUUM INTO 'copy.sqlite'",
            ),
            Self::Truncated { pages, file_pages } => (
                format!("{file} is cut short: it should have {pages} pages and has {file_pages}"),
                "copy it again, while no program has it open",
            ),
            Self::TooLarge => (
                format!("{file} has more pages than an SQLite database can have"),
                "restore it from a copy",
            ),
        };
        Error::Input {
            message,
            advice: Some(advice.to_owned()),
        }
    }
}

/// Opens an SQLite file and checks its header and the files beside it.
///
/// # Errors
/// When it cannot be read, is no database, or is not complete without its `-wal` or `-journal` file.
pub fn open(path: &Path) -> Result<(File, DatabaseHeader)> {
    let mut file = File::open(path).map_err(Error::file("cannot read", path))?;
    let metadata = file.metadata().map_err(Error::file("cannot read", path))?;
    if !metadata.is_file() {
        return Err(Error::input(format!(
            "{} is not a regular file",
            path.display()
        )));
    }
    refuse_leftover(path, "-wal", "PRAGMA wal_checkpoint(TRUNCATE)")?;
    refuse_leftover(path, "-journal", "SELECT count(*) FROM sqlite_schema")?;
    let header = read_header(&mut file, metadata.len(), path)?;
    Ok((file, header))
}

/// Reads the header from where the file stands.
///
/// # Errors
/// When it cannot be read or is no database's.
pub fn read_header(file: &mut File, file_bytes: u64, path: &Path) -> Result<DatabaseHeader> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact(&mut bytes) {
        Ok(()) => DatabaseHeader::parse(&bytes, file_bytes).map_err(|flaw| flaw.into_error(path)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(Flaw::NotADatabase.into_error(path))
        }
        Err(error) => Err(Error::file("cannot read", path)(error)),
    }
}

/// The newest data of a database can lie in a file beside it, which SQLite merges on the next opening.
fn refuse_leftover(path: &Path, suffix: &str, statement: &str) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    let beside = PathBuf::from(name);
    match std::fs::metadata(&beside) {
        Ok(metadata) if metadata.len() > 0 => Err(Error::Input {
            message: format!(
                "{} holds changes that are not in the database file yet",
                beside.display()
            ),
            advice: Some(format!(
                "close the programs that use the database, then run: sqlite3 '{}' '{statement}'",
                path.display()
            )),
        }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("cannot look at", beside)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn valid() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32]);
        bytes[24..28].copy_from_slice(&7u32.to_be_bytes());
        bytes[28..32].copy_from_slice(&3u32.to_be_bytes());
        bytes[92..96].copy_from_slice(&7u32.to_be_bytes());
        bytes
    }

    /// Protects: which files are taken, and the reason given for those that are not.
    #[test]
    fn headers_are_told_apart() {
        let header = DatabaseHeader::parse(&valid(), 3 * 4096).unwrap();
        assert_eq!(
            header,
            DatabaseHeader {
                page_size: 4096,
                pages: 3,
                change_counter: 7
            }
        );
        assert_eq!(header.total_bytes(), 12_288);
        let with = |at: usize, byte: u8| {
            let mut bytes = valid();
            bytes[at] = byte;
            DatabaseHeader::parse(&bytes, 3 * 4096)
        };
        assert_eq!(with(0, b'X'), Err(Flaw::NotADatabase));
        assert_eq!(with(21, 0), Err(Flaw::NotADatabase));
        assert_eq!(with(17, 1), Err(Flaw::PageSize(4097)));
        assert_eq!(with(19, 3), Err(Flaw::NewerFormat));
        assert_eq!(
            with(31, 9),
            Err(Flaw::Truncated {
                pages: 9,
                file_pages: 3
            })
        );
        // The size in the header is not valid, so the file's length counts.
        assert_eq!(with(95, 1).unwrap().pages, 3);
    }

    /// Protects: changes that are still beside the database from being lost without a word.
    #[test]
    fn a_wal_file_is_not_overlooked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let mut content = valid().to_vec();
        content.resize(3 * 4096, 0);
        std::fs::write(&path, &content).unwrap();
        assert_eq!(open(&path).unwrap().1.pages, 3);
        let wal = directory.path().join("a.db-wal");
        std::fs::write(&wal, b"").unwrap();
        open(&path).unwrap();
        std::fs::write(&wal, b"frames").unwrap();
        let error = open(&path).unwrap_err();
        assert!(
            error.advice().unwrap().contains("wal_checkpoint(TRUNCATE)"),
            "{error}"
        );
    }

    proptest! {
        /// Protects: the program, from any file.
        #[test]
        fn any_bytes_are_judged(bytes in proptest::array::uniform32(any::<u8>()), at in 0usize..69, len in any::<u64>()) {
            let mut header = valid();
            header[at..at + 32].copy_from_slice(&bytes);
            if let Ok(parsed) = DatabaseHeader::parse(&header, len) {
                prop_assert!(parsed.total_bytes() <= len);
            }
        }
    }
}
