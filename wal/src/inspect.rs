//! Looking at what is on disk, without changing it and without going on with it.
//!
//! [`log`] reads a log's directory to the last byte: every segment, every record, both marks. It judges by the same
//! code that opens a log, so what it calls torn or damaged is what [`Log::open`](crate::Log::open) would, but it cuts
//! nothing off, wipes nothing and writes nothing. [`slot`] does the same for a [slot file](crate::slot), copy by copy.
//!
//! Two lists tell of damage. [`LogReport::damaged`] has the *entries* that the log has lost, as `Log::open` reports
//! them. [`LogReport::damage`] has every *place on disk* that is not as it was written, also where nothing is lost:
//! one copy of a header that has another, a record that was superseded or repaired. An empty list of places means that
//! everything which was once durable is there, byte for byte.
//!
//! With [`ReadOnlyDir`](crate::backend::ReadOnlyDir) the directory is kept from being taken by a process meanwhile, and
//! one that a live process has is refused.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use ferrolite_wal::backend::{DirBackend, ReadOnlyDir};
//! use ferrolite_wal::{Log, LogOptions, Record, inspect};
//!
//! # fn main() -> Result<(), ferrolite_wal::Error> {
//! # let dir = tempfile::tempdir().map_err(|e| ferrolite_wal::Error::at("make", "a directory", e))?;
//! let (log, _) = Log::open(Arc::new(DirBackend::open(dir.path())?), LogOptions::default())?;
//! log.append(&[Record { index: 1, term: 1, kind: 0, payload: Bytes::from_static(b"pages") }])?;
//! log.sync()?;
//! assert!(ReadOnlyDir::open(dir.path()).unwrap_err().is_in_use());
//! drop(log);
//!
//! let report = inspect::log(&ReadOnlyDir::open(dir.path())?)?;
//! assert_eq!((report.first_index, report.last_index), (1, 1));
//! assert_eq!(report.segments[0].records, 1);
//! assert!(report.is_sound());
//! # Ok(())
//! # }
//! ```

use crate::backend::Backend;
use crate::error::Error;
use crate::log::{DamagedRange, TermRun};
use crate::slot::SlotKind;

/// What is in a log's directory; see [`log`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReport {
    /// Index of the first entry; one more than `last_index` when the log is empty.
    pub first_index: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Index and term of the entry before the first.
    pub base: (u64, u64),
    /// Terms of all entries that count, in ascending order.
    pub terms: Vec<TermRun>,
    /// Every segment file, by number.
    pub segments: Vec<SegmentReport>,
    /// Files that opening the log would remove: spare files, and segments before the first that counts.
    pub useless_files: Vec<String>,
    /// Bytes that records and headers take, in segments that count.
    pub used_bytes: u64,
    /// Bytes of all files of the log, those included that would be removed.
    pub allocated_bytes: u64,
    /// Bytes of a write that did not finish; opening the log would cut them off.
    pub torn_bytes: u64,
    /// Entries that were once durable and cannot be read, as opening the log would report them.
    pub damaged: Vec<DamagedRange>,
    /// Every place that is not as it was written.
    pub damage: Vec<Damage>,
    /// The files `log.mark` and `log.durable`, as far as they are there.
    pub marks: Vec<SlotReport>,
}

impl LogReport {
    /// Whether everything that was once durable is there as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.damaged.is_empty()
    }
}

/// One segment file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The file's name.
    pub file: String,
    /// The segment's number.
    pub number: u64,
    /// What it is to the log.
    pub state: SegmentState,
    /// Index and term of the entry before its first, if its header is known.
    pub base: Option<(u64, u64)>,
    /// Index of the first record that is whole, superseded or not.
    pub first_index: Option<u64>,
    /// Index of the last record that is whole.
    pub last_index: Option<u64>,
    /// Terms of the records that are whole.
    pub terms: Vec<TermRun>,
    /// How many records are whole.
    pub records: u64,
    /// Bytes up to the end of the last record that is whole.
    pub used_bytes: u64,
    /// Length of the file in bytes.
    pub allocated_bytes: u64,
}

/// What a segment file is to its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentState {
    /// It holds entries.
    Entries,
    /// The log starts over with it: whatever is older does not count.
    Start,
    /// Its records stand for damaged ones in others.
    Repairs,
    /// A newer one starts the log over; opening the log would remove it.
    Obsolete,
    /// Its header is lost, and what it holds cannot be placed.
    Unreadable,
}

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where it begins, in bytes from the file's start.
    pub offset: u64,
    /// The first entry that was there, if it is known.
    pub index: Option<u64>,
    /// The last entry that was there, if it is known.
    pub last_index: Option<u64>,
    /// Term of that last entry, if it is known.
    pub term: Option<u64>,
    /// Whether the log misses an entry for it; otherwise something else holds what was there, or it was superseded.
    pub loses_entries: bool,
    /// What is wrong.
    pub reason: &'static str,
}

/// What a slot file holds; see [`slot`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotReport {
    /// The file's name.
    pub file: &'static str,
    /// How many times the value was saved; `None` when no copy is valid.
    pub generation: Option<u64>,
    /// The newest value; `None` when no copy is valid.
    pub value: Option<Vec<u8>>,
    /// The four copies, in the order of the file.
    pub copies: [CopyReport; 4],
}

impl SlotReport {
    /// Places of the file that are damaged. A copy that a crash left half written is not: it is one of the slot that
    /// does not hold the newest value.
    pub fn damage(&self) -> impl Iterator<Item = Damage> + '_ {
        let newest = self.generation.map(|generation| generation % 2);
        let copies = self.copies.iter().zip([0_u64, 1, 0, 1]);
        copies
            .zip((0_u64..).step_by(4096))
            .filter(move |((copy, slot), _)| {
                let bad = matches!(copy.state, CopyState::Damaged | CopyState::Unreadable);
                newest.is_none_or(|newest| bad && newest == *slot)
            })
            .map(|((copy, _), offset)| Damage {
                file: self.file.to_owned(),
                offset,
                index: None,
                last_index: None,
                term: None,
                loses_entries: false,
                reason: match copy.state {
                    CopyState::Unreadable => "the system cannot read this copy of the value",
                    CopyState::Empty => "no copy of the value is there",
                    _ => "this copy of the value is damaged",
                },
            })
    }
}

/// One of the four copies in a slot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Whether it can be used.
    pub state: CopyState,
    /// Its generation, if it is valid.
    pub generation: Option<u64>,
}

/// Whether a copy in a slot file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyState {
    /// It is whole.
    Valid,
    /// It was never written.
    Empty,
    /// Its checksum is wrong: it rotted, or a crash left it half written.
    Damaged,
    /// The system failed to read it.
    Unreadable,
}

/// Reads all of a log, and says what is there and what is wrong with it. Nothing is changed.
///
/// An empty directory is an empty log. Memory: eight bytes an entry, and one segment at a time.
///
/// # Errors
/// [`Error::NewerFormat`]; [`Error::Damaged`] when so much is missing that the log could not be opened; what the backend
/// answered, if it cannot list or open the files. What cannot be *read* is damage, and no error.
pub fn log(backend: &dyn Backend) -> Result<LogReport, Error> {
    crate::log::inspect(backend)
}

/// Reads all copies in a slot file; `None` when there is no such file. Nothing is changed.
///
/// # Errors
/// [`Error::NewerFormat`] when a newer program wrote it, or what the backend answered when it cannot open it.
pub fn slot(backend: &dyn Backend, kind: SlotKind) -> Result<Option<SlotReport>, Error> {
    crate::slot::inspect(backend, kind)
}
