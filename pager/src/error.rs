//! What can go wrong with database files, said so that the caller knows what it may do next.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::rot::Rot;
use crate::validate::Problem;

/// Why something was refused.
///
/// The predicates sort the variants by what the caller does about them; match on a variant only to
/// show its details.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system failed an operation on a file or directory.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The store below the checkpoint mark failed.
    #[error(transparent)]
    Wal(#[from] ferrolite_wal::Error),
    /// A page is not what was written.
    #[error(transparent)]
    Rot(#[from] Rot),
    /// A page was to be put back, and is not the one that was lost.
    #[error(
        "page {page_no} of {path}, which entry {known} or one before it wrote, is not the one of entry {given} that was given"
    )]
    OtherPage {
        /// The database file.
        path: String,
        /// The page, counted from 1.
        page_no: u32,
        /// The log index that is known of the page that was lost.
        known: u64,
        /// The log index of the one that was given.
        given: u64,
    },
    /// No file can be named after such a database.
    #[error("{name:?} cannot name a database: {reason}")]
    Name {
        /// The name of the database.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An argument that can never work.
    #[error("refused: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is larger than its limit.
    #[error("{what} of {len} is larger than the limit of {max}")]
    TooLarge {
        /// What it is, with its unit.
        what: &'static str,
        /// Its size.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// Bytes of a snapshot do not follow the format or fail their checksum. Nothing of the chunk counts: the
    /// same bytes may be asked for again.
    #[error("snapshot stream is malformed at byte {offset}: {reason}")]
    Stream {
        /// Where in the stream, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A chunk is not the next one.
    #[error("snapshot chunk at byte {offset} is not the next one, which begins at {expected}")]
    OutOfOrder {
        /// Where the chunk begins, in bytes.
        offset: u64,
        /// Where the next one has to begin.
        expected: u64,
    },
    /// A snapshot was to be finished before all of it came.
    #[error("snapshot is incomplete: {received} bytes came{}", total.map(|t| format!(" of {t}")).unwrap_or_default())]
    Incomplete {
        /// Bytes that came.
        received: u64,
        /// Bytes that there are, once its header said so.
        total: Option<u64>,
    },
    /// A complete snapshot waits in the directory and has to be installed before anything else.
    #[error("{path}: a complete snapshot waits there and has to be installed first")]
    InstallPending {
        /// The directory.
        path: String,
    },
    /// A complete snapshot was to be cleared away before it was applied.
    #[error("{path}: the snapshot there was not applied yet")]
    NotApplied {
        /// The directory.
        path: String,
    },
    /// The file was written by a newer program.
    #[error(
        "{path}: format version {found} is newer than this program's {supported}; use the program that wrote it"
    )]
    NewerFormat {
        /// The file, or the stream.
        path: String,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// Bytes that were once durable are not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is no SQLite database, or one that cannot be replicated.
    #[error("{path} is not a usable SQLite database: {reason}")]
    NotADatabase {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is an SQLite database whose structure is damaged.
    #[error("{path} is damaged ({problems} problems), at first in {problem}")]
    Unsound {
        /// The file.
        path: String,
        /// What was found first.
        problem: Box<Problem>,
        /// How many problems were found.
        problems: usize,
    },
}

impl Error {
    /// Names the operation and the file of an I/O error.
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io {
            operation,
            path: path.display().to_string(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn damaged(path: &Path, reason: &'static str) -> Error {
        Error::Damaged {
            path: path.display().to_string(),
            reason,
        }
    }

    /// The system, or the disk, failed: the caller cannot know what the file holds now.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(
            self,
            Error::Io { .. } | Error::Wal(ferrolite_wal::Error::Io { .. })
        )
    }

    /// There is no room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Error::Wal(error) => error.is_full(),
            _ => false,
        }
    }

    /// Something that was durable is damaged; it has to come from a peer or a backup.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        match self {
            Error::Damaged { .. } | Error::Rot(_) => true,
            Error::Wal(error) => error.is_damaged(),
            _ => false,
        }
    }

    /// A page is not what was written: it can be fetched from another node, and put back.
    #[must_use]
    pub fn is_rot(&self) -> bool {
        match self {
            Error::Rot(_) => true,
            Error::Io { source, .. } => Rot::of(source).is_some(),
            _ => false,
        }
    }

    /// The bytes of a snapshot are at fault, not this node: ask for them again from the sink's offset on, or begin
    /// anew.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            Error::Stream { .. } | Error::OutOfOrder { .. } | Error::Incomplete { .. }
        )
    }

    /// A complete snapshot has to be applied and cleared before this can be done.
    #[must_use]
    pub fn is_install_pending(&self) -> bool {
        matches!(
            self,
            Error::InstallPending { .. } | Error::NotApplied { .. }
        )
    }

    /// A newer program wrote it.
    #[must_use]
    pub fn is_newer_format(&self) -> bool {
        matches!(
            self,
            Error::NewerFormat { .. } | Error::Wal(ferrolite_wal::Error::NewerFormat { .. })
        )
    }

    /// The file is no SQLite database that can be replicated, or a damaged one.
    #[must_use]
    pub fn is_not_a_database(&self) -> bool {
        matches!(self, Error::NotADatabase { .. } | Error::Unsound { .. })
    }

    /// The caller gave something that can never work.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Error::Name { .. }
            | Error::Refused { .. }
            | Error::TooLarge { .. }
            | Error::OtherPage { .. } => true,
            Error::Wal(error) => error.is_refused(),
            _ => false,
        }
    }
}
