//! What can go wrong, said so that the caller knows what it may do next.

use std::io;
use std::sync::Arc;

/// Why the log refused something.
///
/// The predicates sort the variants by what the caller does about them; match on a variant only to show its
/// details.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system failed an operation.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        file: String,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// There is no room for another segment. Nothing was written; the same call works once there is room.
    #[error(
        "the disk is full: no room for {needed_bytes} more bytes in the log ({file}); free some space"
    )]
    Full {
        /// The file that could not be made.
        file: String,
        /// Its size in bytes.
        needed_bytes: u64,
    },
    /// Another live process has the directory.
    #[error("{directory} is in use by a live process{}", process.map(|p| format!(" (process id {p})")).unwrap_or_default())]
    InUse {
        /// The directory.
        directory: String,
        /// The process id that it left, if it can be read.
        process: Option<u32>,
    },
    /// The directory or file may not be written by this process.
    #[error("no write permission for {file}")]
    NoPermission {
        /// The file or directory.
        file: String,
    },
    /// The directory belongs to another node.
    #[error("data directory of another node: it belongs to node {found}, you said {expected}")]
    WrongNode {
        /// The id in the directory.
        found: u64,
        /// The id that the caller gave.
        expected: u64,
    },
    /// The directory belongs to another cluster.
    #[error(
        "data directory of another cluster: it belongs to cluster {found:032x}, you said {expected:032x}"
    )]
    WrongCluster {
        /// The id in the directory.
        found: u128,
        /// The id that the caller gave.
        expected: u128,
    },
    /// The file was written by a newer program.
    #[error(
        "{file}: format version {found} is newer than this program's {supported}; use the program that wrote it"
    )]
    NewerFormat {
        /// The file.
        file: String,
        /// The version in the file.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// Bytes that were once durable are not what was written.
    #[error("{file} is damaged at offset {offset}{}{}",
        index.map(|i| format!(", entry {i}")).unwrap_or_default(),
        term.map(|t| format!(" of term {t}")).unwrap_or_default())]
    Damaged {
        /// The file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// The log entry that was there, if known.
        index: Option<u64>,
        /// Its term, if known.
        term: Option<u64>,
    },
    /// The entry was dropped from the log's front: it is part of the checkpointed state.
    #[error("entry {index} is no longer in the log, which begins at {first}")]
    Compacted {
        /// The entry that was asked for.
        index: u64,
        /// The first entry that the log has.
        first: u64,
    },
    /// The log does not reach that far yet.
    #[error("entry {index} is not in the log, which ends at {last}")]
    PastEnd {
        /// The entry that was asked for.
        index: u64,
        /// The last entry that the log has.
        last: u64,
    },
    /// The records do not continue the log.
    #[error("record {index} of term {term} does not continue the log: {reason}")]
    OutOfOrder {
        /// Index of the record.
        index: u64,
        /// Term of the record.
        term: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is larger than its limit.
    #[error("{what} of {len} bytes is larger than the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Bytes that do not follow the format.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Error {
    /// Names the operation and file of an I/O error.
    pub fn at(operation: &'static str, file: &str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::NoPermission {
                    file: file.to_owned(),
                }
            }
            _ => Error::Io {
                operation,
                file: file.to_owned(),
                source: Arc::new(source),
            },
        }
    }

    pub(crate) fn malformed(what: &'static str, reason: &'static str) -> Error {
        Error::Malformed { what, reason }
    }

    /// No room on the disk. Nothing was written, reads go on, and the same call may be tried again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Full { .. })
    }

    /// A live process holds the directory.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Error::InUse { .. })
    }

    /// The directory is not the one the caller meant, or not one that this program can use.
    #[must_use]
    pub fn is_wrong_directory(&self) -> bool {
        matches!(
            self,
            Error::WrongNode { .. }
                | Error::WrongCluster { .. }
                | Error::NewerFormat { .. }
                | Error::NoPermission { .. }
        )
    }

    /// Something that was durable is damaged; it has to come from a peer or a backup.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }

    /// The entry asked for lies before the log's first: a snapshot has it.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        matches!(self, Error::Compacted { .. })
    }

    /// The caller gave something that can never work.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(
            self,
            Error::OutOfOrder { .. }
                | Error::TooLarge { .. }
                | Error::Malformed { .. }
                | Error::PastEnd { .. }
        )
    }
}
