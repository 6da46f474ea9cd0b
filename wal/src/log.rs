//! The log: entries by index, on disk, readable while they are written.
//!
//! # Writing
//!
//! [`Log::append`] puts any number of entries behind each other in one write; [`Log::sync`] makes all that was
//! appended durable with one `fdatasync`. The two are apart so that the caller decides how many entries share a
//! sync, and so that the next batch can be appended while a sync runs. An entry whose index the log already has
//! *supersedes* that entry and all after it, at the moment when the new entry is on disk: a crash shows either
//! the old suffix or the new one.
//!
//! # Reading
//!
//! An appended entry is readable at once, synced or not. Readers take a short lock to find the place and read
//! without it. A whole entry is checked against its checksums; [`Log::read_payload_at`] reads a piece out of one
//! and leaves the check of the piece to the caller.
//!
//! # Keeping
//!
//! [`Log::drop_prefix`] gives up whole segments at the front once what they hold is elsewhere;
//! [`Log::reset`] gives up everything, because a snapshot took its place.
//!
//! # Failing
//!
//! After a failed write or sync nobody knows what the disk holds, so the log stops: that call and every later one
//! answers the same error. Two failures are no reason to stop. One is a full disk ([`Error::Full`]): it is nearly always
//! found before anything is written, because segments are filled before they are used; where a file system finds no
//! room even for bytes that are there, what it may have written lies behind the log's end and is wiped. The append is
//! refused, everything else goes on, and the same append works once there is room. The other is a record that cannot
//! be read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
    RwLockWriteGuard,
};

use crate::backend::Backend;
use crate::error::Error;
use crate::record::Record;
use crate::segment::Spare;
use crate::slot::SlotFile;

mod append;
mod assemble;
mod begin;
mod encode;
mod headers;
mod inspect;
mod map;
mod marks;
mod read;
mod recovery;
mod repair;
mod retention;
mod scan;

use append::Writer;
pub(crate) use inspect::inspect;
use map::Map;

/// How a log is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogOptions {
    /// Length of a segment file in bytes: 64 KiB to 1 GiB, a multiple of 4 KiB. 4 MiB by default. A log that
    /// exists may be opened with another length; it holds for new segments.
    pub segment_bytes: u32,
    /// Largest payload of one entry in bytes, at most 1 GiB. 64 MiB by default.
    pub max_payload_bytes: u32,
    /// How many files that are done with are kept for reuse, while the log is open. Four by default.
    pub spares: usize,
    /// Where a new log's salt comes from; `None` draws one at random. Simulations give a number.
    pub salt: Option<u64>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 4 << 20,
            max_payload_bytes: 64 << 20,
            spares: 4,
            salt: None,
        }
    }
}

impl LogOptions {
    fn check(&self) -> Result<(), Error> {
        let (min, max) = (64 << 10, 1 << 30);
        if !(min..=max).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(Error::malformed(
                "log options",
                "segments are 64 KiB to 1 GiB, in multiples of 4 KiB",
            ));
        }
        if self.max_payload_bytes > max {
            return Err(Error::malformed(
                "log options",
                "a payload is at most 1 GiB",
            ));
        }
        Ok(())
    }
}

/// What [`Log::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Index of the first entry; one more than `last_index` when the log is empty.
    pub first_index: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Term of the last entry, or of the entry before the log's first when it is empty; 0 if that is not known.
    pub last_term: u64,
    /// Bytes of a write that did not finish before the crash and that nobody was promised; they were cut off.
    pub torn_bytes: u64,
    /// Entries that were once durable and are not readable, in ascending order.
    pub damaged: Vec<DamagedRange>,
}

/// Entries that were once durable and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRange {
    /// The file that they were in.
    pub file: String,
    /// Where in the file the damage begins, in bytes.
    pub offset: u64,
    /// First of the entries.
    pub first: u64,
    /// Last of the entries. `None` when the log's end is damaged, so that nobody knows how many there were; then
    /// [`Log::last_index`] is `first - 1`.
    pub last: Option<u64>,
    /// Term of the last of them, if known.
    pub term: Option<u64>,
}

/// From `first_index` on, up to the next run, entries are of `term`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermRun {
    /// First entry of the run.
    pub first_index: u64,
    /// The term; 0 for damaged entries whose term is not known.
    pub term: u64,
}

/// One durable log. See the [module](self); all methods may be called from any thread.
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use ferrolite_wal::{Log, LogOptions, Record, backend::MemBackend};
///
/// # fn main() -> Result<(), ferrolite_wal::Error> {
/// let disk = Arc::new(MemBackend::new());
/// let entry = |index, text: &'static str| Record { index, term: 1, kind: 0, payload: Bytes::from(text) };
/// let (log, _) = Log::open(disk.clone(), LogOptions::default())?;
/// log.append(&[entry(1, "one"), entry(2, "two")])?;
/// assert_eq!(log.sync()?, 2);
/// log.append(&[entry(2, "another two")])?; // supersedes
/// log.sync()?;
/// drop(log);
///
/// let (log, recovery) = Log::open(disk, LogOptions::default())?;
/// assert_eq!(recovery.last_index, 2);
/// assert_eq!(log.entry(2)?.payload, "another two");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Log {
    backend: Arc<dyn Backend>,
    options: LogOptions,
    salt: u64,
    /// Where every entry is. Held for moments only, never over I/O.
    map: RwLock<Map>,
    /// The end of the log. Held by an append from start to end, by a sync only to look.
    writer: Mutex<Writer>,
    /// Whether a sync is under way: at most one is.
    syncing: Mutex<bool>,
    /// Wakes those that waited for the sync that was under way; they all look whether it served them.
    synced: Condvar,
    /// Held by whoever removes segments.
    retention_turn: Mutex<()>,
    /// Everything before this position is durable. Only rises.
    durable: AtomicU64,
    spares: Mutex<Vec<Spare>>,
    /// Number in the name of the spare file that was made last.
    spare_number: AtomicU64,
    /// First segment that counts; durable before an older one is removed.
    mark: SlotFile,
    /// How far the log was durable, as a hint for recovery.
    hint: SlotFile,
    /// The failure that stopped the log.
    failed: OnceLock<Error>,
}

impl Log {
    /// Opens the log in `backend`'s directory, or makes an empty one whose first entry will be 1.
    ///
    /// What a crash left unfinished is cut off. What is damaged is reported, and stays.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::NoPermission`], [`Error::Full`], [`Error::Malformed`] for options out of
    /// bounds, otherwise [`Error::Io`].
    pub fn open(backend: Arc<dyn Backend>, options: LogOptions) -> Result<(Log, Recovery), Error> {
        options.check()?;
        recovery::open(backend, options)
    }

    /// Appends `records`, whose indexes follow each other; readable on return, durable after the next
    /// [`sync`](Log::sync).
    ///
    /// If the log already has the first one's index, that entry and all after it are superseded.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room, [`Error::OutOfOrder`] and [`Error::TooLarge`] for records that cannot
    /// be part of this log: then nothing was written. [`Error::Io`] stops the log.
    pub fn append(&self, records: &[Record]) -> Result<(), Error> {
        self.check()?;
        self.append_records(records)
    }

    /// Makes everything appended before this call durable, and returns the index of the log's last entry at that
    /// moment.
    ///
    /// # Errors
    /// [`Error::Io`], which stops the log: an `fdatasync` that failed is never tried again.
    pub fn sync(&self) -> Result<u64, Error> {
        self.check()?;
        self.sync_appended()
    }

    /// Makes a file ready for the next segment if there is none, so that a later append need not.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room; other errors stop the log.
    pub fn prepare(&self) -> Result<(), Error> {
        self.check()?;
        self.prepare_spare()
    }

    /// The entry at `index`, checked.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::PastEnd`], [`Error::Damaged`], or [`Error::Io`].
    pub fn entry(&self, index: u64) -> Result<Record, Error> {
        self.check()?;
        self.read_entry(index)
    }

    /// The entries from `lo` up to, not including, `hi`, checked; fewer when their payloads would pass
    /// `max_bytes`, or the log ends. At least one if there is one, none when the log ends before `lo`.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Damaged`] or [`Error::Io`] for the first one. A later entry that cannot be read only ends the answer.
    pub fn read(&self, lo: u64, hi: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        self.check()?;
        self.read_range(lo, hi, max_bytes)
    }

    /// Fills `buf` from byte `offset` of the payload of entry `index`, reading only that. The bytes are *not*
    /// checked against the record's checksum.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the payload ends before that; otherwise as [`entry`](Log::entry).
    pub fn read_payload_at(&self, index: u64, offset: u32, buf: &mut [u8]) -> Result<(), Error> {
        self.check()?;
        self.read_piece(index, offset, buf)
    }

    /// Length in bytes of the payload of entry `index`.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::PastEnd`], or [`Error::Damaged`].
    pub fn payload_len(&self, index: u64) -> Result<u32, Error> {
        self.check()?;
        Ok(self.map().locate(index)?.len)
    }

    /// Term of entry `index`, or of the entry just before the log's first.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::PastEnd`], or [`Error::Damaged`] when it is not known.
    pub fn term(&self, index: u64) -> Result<u64, Error> {
        self.check()?;
        self.map().term(index)
    }

    /// The terms of all entries, in ascending order, beginning with the log's first entry.
    #[must_use]
    pub fn term_runs(&self) -> Vec<TermRun> {
        self.map().term_runs()
    }

    /// Index of the first entry; one more than [`last_index`](Log::last_index) when the log is empty.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.map().first_index()
    }

    /// Index of the last entry; one less than [`first_index`](Log::first_index) when the log is empty.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.map().last_index()
    }

    /// Index and term of the entry just before the log's first: (0, 0) for a log from its beginning.
    #[must_use]
    pub fn base(&self) -> (u64, u64) {
        self.map().base()
    }

    /// Entries that were once durable and cannot be read, as far as no later append has superseded them.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedRange> {
        self.map().damaged().to_vec()
    }

    /// Bytes of the segment files that the log stands in: what bounds it on disk. It falls when segments are
    /// [dropped](Log::drop_prefix), and not before.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.map().disk_bytes()
    }

    /// Bytes that the records of the entries from `index` on take, headers included: what a restart has to go through,
    /// or what would be left if the entries before `index` were gone. Damaged entries count as nothing. Costs a look at
    /// each segment, and at each entry only of those with damage.
    #[must_use]
    pub fn bytes_from(&self, index: u64) -> u64 {
        self.map().bytes_from(index)
    }

    /// Bytes that the log takes on disk, with its spare files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let spares: u64 = self.spares().iter().map(|spare| u64::from(spare.len)).sum();
        self.map().disk_bytes() + spares
    }

    /// Gives up entries before `first`, as far as whole segments hold nothing else, and returns the index of the
    /// first entry that is left. Their files are kept for reuse or removed.
    ///
    /// # Errors
    /// [`Error::Io`] stops the log.
    pub fn drop_prefix(&self, first: u64) -> Result<u64, Error> {
        self.check()?;
        self.drop_segments_below(first)
    }

    /// Gives up every entry: the log is empty and goes on after entry `index` of `term`, which a snapshot holds.
    /// Durable on return; a crash shows the old log or the empty one.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room for the new segment, [`Error::OutOfOrder`] for numbers above 2⁶⁰; then
    /// nothing changed. [`Error::Io`] stops the log.
    pub fn reset(&self, index: u64, term: u64) -> Result<(), Error> {
        self.check()?;
        self.start_over(index, term)
    }

    /// Puts entries in the place of damaged ones, as they were fetched from elsewhere; no other entry is touched.
    /// Durable on return; a crash shows all of them or none. `records` follow each other; for damage at the log's end
    /// ([`DamagedRange::last`] is `None`) use [`append`](Log::append).
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] when one of them is not damaged, or is known to have had another term, and
    /// [`Error::TooLarge`] when they would not fit one segment of 1 GiB. [`Error::Full`] as with
    /// [`append`](Log::append); [`Error::Io`] stops the log.
    pub fn repair(&self, records: &[Record]) -> Result<(), Error> {
        self.check()?;
        self.replace_damaged(records)
    }

    /// The failure that stopped the log, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failed.get()
    }

    fn check(&self) -> Result<(), Error> {
        match self.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Stops the log with `error`, and returns the error that it stopped with first.
    fn stop(&self, error: Error) -> Error {
        self.failed.get_or_init(|| error).clone()
    }

    fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_mut(&self) -> RwLockWriteGuard<'_, Map> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable_position(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }
}
