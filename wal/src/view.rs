//! The write-ahead log *file* that an SQL engine believes in, as a view of the one durable log.
//!
//! An engine in SQLite's WAL mode commits by writing frames (a 24-byte header and one page) to a
//! `-wal` file. Here that file does not exist. The engine's reads and writes come to a [`WalView`],
//! which keeps for every frame only its header and *where its page is*:
//!
//! | state | where the page is | until |
//! |---|---|---|
//! | staged | in memory or spilled, as the engine wrote it | the transaction is handed to the log |
//! | taken | in memory or spilled, too | the entry is committed |
//! | bound | in the log, at a place inside an entry | the frame is checkpointed |
//! | backfilled | in the database file | the view starts over |
//! | dead | nowhere: a later frame of the same transaction replaced it | the view starts over |
//!
//! So a committed page is on disk once, in the log, and a view of a long log costs some sixty bytes of
//! memory a frame.
//!
//! # Memory
//!
//! Pages that the log does not have yet are in memory up to a bound; what is more is *spilled*, into a file beside the
//! log that is never synced and means nothing to a later process ([`WalView::with_spill`]). So a transaction of any size
//! takes at most the bound, and the sixty bytes a frame: 1 GB in pages of 4 KiB takes 15 MB of slots.
//! [`WalView::take`] hands such a transaction out without its pages, which are then read one after the other on the way
//! into the log. [`WalView::memory_bytes`] says what is taken at any time.
//!
//! A reader that stays open pins frames, not pages: those it reads are in the log, or in the database file. It keeps the
//! engine from starting the file over, so each frame that is written meanwhile costs its sixty bytes, and the log's
//! entries cannot be dropped ([`WalView::oldest_needed_index`]).
//!
//! # What the engine does, and what the view makes of it
//!
//! - A write of 32 bytes at position 0 is a new header: the engine starts the file over. The view
//!   allows it only when every frame was backfilled, because nothing else holds those pages.
//! - Frames with a database size of 0 belong to a transaction that has not committed. A spilled
//!   transaction writes such frames early, and a rollback leaves them behind: the next writer simply
//!   writes over them. So a write at a staged position drops everything staged from there on.
//! - A frame with a database size ends a transaction. [`WalView::take`] then hands out what
//!   it changed, one image a page.
//! - Frames that were taken are never written over. Undoing them means to give the view up: a replica
//!   that loses its leadership [closes](WalView::close) the view, and opens its databases anew from the
//!   committed state. Nothing reads from a closed view, not even a statement that still runs.
//!
//! The view knows nothing of SQL and nothing of elections; it is told by numbers: this frame range was
//! committed by those entries, frames up to here are in the database file.
//!
//! Frame layout: <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::backend::{BackendFile, read_exact_at};

mod frames;
mod spill;
#[cfg(test)]
mod tests;
mod transaction;
mod write;

use frames::{Body, Frames, Slot};
use spill::Spill;
pub use transaction::{StagedPage, StagedTransaction, TakenTransaction};

/// Bytes of the WAL file's header.
pub const WAL_HEADER_BYTES: usize = 32;
/// Bytes of a frame's header, which its page follows.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Where in the log the image of one page is: the entry, and the frame's place in the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Index of the log entry.
    pub index: u64,
    /// Offset of the encoded page from the start of the entry's payload, in bytes.
    pub offset: u32,
    /// Length of the encoded page, in bytes.
    pub len: u32,
    /// How the page is encoded, in the numbering of the frame codec.
    pub encoding: u8,
}

/// What a view reads pages back from once it no longer holds them.
pub trait PageSource: Send + Sync {
    /// Reads page `page_no` (from 1), whose image is at `place` of the log, into `page`.
    ///
    /// # Errors
    /// When the entry cannot be read or its page cannot be decoded.
    fn read_from_log(
        &self,
        page_no: u32,
        place: FramePlace,
        page: &mut [u8],
    ) -> std::io::Result<()>;

    /// Reads page `page_no` (from 1) of the checkpointed database file into `page`.
    ///
    /// # Errors
    /// When the file cannot be read or is shorter.
    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()>;
}

/// Why the view refused something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The view was given up; whatever stands on it must be opened anew.
    #[error("the database was closed under this connection")]
    Closed,
    /// A write that no engine in WAL mode makes.
    #[error("write to the log view refused: {0}")]
    Refused(&'static str),
    /// The staged transaction would pass the limit.
    #[error("the transaction is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit that the view was made with, in bytes.
        limit_bytes: u64,
    },
    /// A page could not be read back.
    #[error("reading a page of the log view failed: {0}")]
    Read(#[from] std::io::Error),
    /// A page could not be put into the file for what does not fit into memory.
    #[error("no room in memory, and spilling a page failed: {0}")]
    Spill(#[source] std::io::Error),
}

/// An engine's `-wal` file over the log; see the [module](self).
pub struct WalView {
    page_size: usize,
    limit_bytes: u64,
    /// Pages in memory take at most so many bytes.
    memory_limit_bytes: u64,
    frames: Mutex<Frames>,
    /// Commits that the engine has written; see [`commits`](Self::commits).
    commits: AtomicU64,
    /// Readers hold it shared while a page is copied out, so that [`close`](Self::close) returns only
    /// when no read is under way any more.
    closed: RwLock<bool>,
    source: Box<dyn PageSource>,
}

impl fmt::Debug for WalView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = self.frames();
        f.debug_struct("WalView")
            .field("frames", &frames.len())
            .field("taken", &frames.taken)
            .field("backfilled", &frames.backfilled)
            .finish_non_exhaustive()
    }
}

impl WalView {
    /// An empty view for pages of `page_size` bytes, whose uncommitted frames may take up to
    /// `limit_bytes`, all of them in memory.
    #[must_use]
    pub fn new(page_size: u32, limit_bytes: u64, source: Box<dyn PageSource>) -> Self {
        Self {
            page_size: usize::try_from(page_size).unwrap_or(usize::MAX),
            limit_bytes,
            memory_limit_bytes: u64::MAX,
            frames: Mutex::new(Frames::default()),
            commits: AtomicU64::new(0),
            closed: RwLock::new(false),
            source,
        }
    }

    /// The same with pages in memory up to `memory_limit_bytes`; what is more goes into `file`, which the view has for
    /// itself. What the file holds is worth nothing, before and after.
    ///
    /// Transactions must be handed out by [`take`](Self::take) then.
    #[must_use]
    pub fn with_spill(mut self, file: Arc<dyn BackendFile>, memory_limit_bytes: u64) -> Self {
        self.memory_limit_bytes = memory_limit_bytes;
        self.frames().spill = Some(Spill::new(file, self.page_size));
        self
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        // Every change below is complete before the guard is dropped, so a panic elsewhere leaves
        // nothing half done.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.page_size
    }

    /// Which frame lies at `at` behind the file's header, and how far `at` is inside of it; none where there can be none.
    /// A position may be beyond what a `usize` holds, on a machine of 32 bits.
    fn frame_at(&self, at: u64) -> Option<(usize, usize)> {
        let bytes = self.frame_bytes() as u64;
        let nth = usize::try_from(at / bytes).ok()?;
        Some((nth, usize::try_from(at % bytes).ok()?))
    }

    /// How many transactions the engine has committed into the view, handed out or not.
    ///
    /// A commit is counted when its last frame is written, *before* the engine shows it to anyone. So what a
    /// reader has seen was counted before it saw it, and whoever asks afterwards gets a number that covers it.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Length of the file that the engine sees, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let frames = self.frames();
        if frames.header.is_none() {
            return 0;
        }
        WAL_HEADER_BYTES as u64 + frames.len() as u64 * self.frame_bytes() as u64
    }

    /// Whether the engine sees an empty file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of a page, in bytes.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        u32::try_from(self.page_size).unwrap_or(u32::MAX)
    }

    /// How large a transaction may be, in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes of memory that the view takes: its pages, and what it knows of each frame.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.frames().memory_bytes()
    }

    /// Bytes of pages in the file that takes what does not fit into memory.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.frames().spill.as_ref().map_or(0, Spill::bytes)
    }

    /// Number of frames in the view.
    #[must_use]
    pub fn frame_count(&self) -> u64 {
        self.frames().len() as u64
    }

    /// Number of frames that were not [handed out](Self::take): those of a transaction under way, or just committed.
    #[must_use]
    pub fn staged_frames(&self) -> u64 {
        let frames = self.frames();
        (frames.len() - frames.taken) as u64
    }

    /// Number of frames that are in the database file already.
    #[must_use]
    pub fn backfilled(&self) -> u64 {
        self.frames().backfilled as u64
    }

    /// The lowest log index that a frame still has its only image in, if there is one. The log may drop
    /// what comes before it.
    #[must_use]
    pub fn oldest_needed_index(&self) -> Option<u64> {
        let frames = self.frames();
        frames
            .from(frames.backfilled)
            .find_map(|slot| match slot.body {
                Body::Log(place) => Some(place.index),
                _ => None,
            })
    }

    /// Reads from the file at `pos` into `buf`, and returns how many bytes there were.
    ///
    /// # Errors
    /// [`ViewError::Closed`], or [`ViewError::Read`] when a page could not be read back.
    pub fn read_at(&self, pos: u64, buf: &mut [u8]) -> Result<usize, ViewError> {
        self.while_open(|| self.read_open(pos, buf))?
    }

    fn read_open(&self, mut pos: u64, buf: &mut [u8]) -> Result<usize, ViewError> {
        let mut done = 0;
        while done < buf.len() {
            let Some(rest) = buf.get_mut(done..) else {
                break;
            };
            let n = self.read_piece(pos, rest)?;
            if n == 0 {
                break;
            }
            done += n;
            pos += n as u64;
        }
        Ok(done)
    }

    /// Reads what lies at `pos` up to the end of the header or page that it falls into.
    fn read_piece(&self, pos: u64, buf: &mut [u8]) -> Result<usize, ViewError> {
        let (nth, within, slot) = {
            let frames = self.frames();
            let Some(header) = frames.header else {
                return Ok(0);
            };
            let Some(at) = pos.checked_sub(WAL_HEADER_BYTES as u64) else {
                let part = usize::try_from(pos).ok().and_then(|pos| header.get(pos..));
                return Ok(copy_prefix(part.unwrap_or_default(), buf));
            };
            let Some((nth, within)) = self.frame_at(at) else {
                return Ok(0);
            };
            match frames.get(nth) {
                Some(slot) => (nth, within, slot.clone()),
                None => return Ok(0),
            }
        };
        if let Some(part) = slot.header.get(within..).filter(|part| !part.is_empty()) {
            return Ok(copy_prefix(part, buf));
        }
        let within = within - FRAME_HEADER_BYTES;
        if let Body::Memory(image) = &slot.body {
            return Ok(copy_prefix(image.get(within..).unwrap_or_default(), buf));
        }
        // The engine reads whole pages: read straight into its buffer, and take the detour only for
        // the odd partial read.
        if within == 0
            && let Some(page) = buf.get_mut(..self.page_size)
        {
            self.read_page(nth, slot, page)?;
            return Ok(self.page_size);
        }
        let mut page = vec![0; self.page_size];
        self.read_page(nth, slot, &mut page)?;
        Ok(copy_prefix(page.get(within..).unwrap_or_default(), buf))
    }

    /// Reads the page of slot `nth`, which was `slot` a moment ago.
    fn read_page(&self, nth: usize, mut slot: Slot, page: &mut [u8]) -> Result<(), ViewError> {
        loop {
            let place = match slot.body {
                Body::Memory(ref image) => {
                    copy_prefix(image, page);
                    return Ok(());
                }
                Body::Log(place) => {
                    return Ok(self.source.read_from_log(slot.page_no(), place, page)?);
                }
                Body::File => return Ok(self.source.read_from_file(slot.page_no(), page)?),
                Body::Dead => return Err(ViewError::Refused("a replaced frame was read")),
                Body::Spilled(place) => place,
            };
            let spill = self
                .frames()
                .spill
                .as_ref()
                .map(|spill| (spill.file(), spill.offset(place)));
            let Some((file, offset)) = spill else {
                return Err(ViewError::Refused("a frame was spilled to nowhere"));
            };
            let read = read_exact_at(&*file, offset, page);
            // The place may have been given up and used again meanwhile. If the frame is still there, it was not.
            slot = match self.frames().get(nth) {
                Some(Slot {
                    body: Body::Spilled(now),
                    ..
                }) if *now == place => return Ok(read?),
                Some(slot) => slot.clone(),
                None => return Err(ViewError::Refused("a dropped frame was read")),
            };
        }
    }

    /// Runs `read` unless the view was given up, and keeps it from being given up meanwhile: for what a
    /// reader of the view reads elsewhere, from the database file.
    ///
    /// # Errors
    /// [`ViewError::Closed`].
    pub fn while_open<T>(&self, read: impl FnOnce() -> T) -> Result<T, ViewError> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            Err(ViewError::Closed)
        } else {
            Ok(read())
        }
    }

    /// Gives the view up: from here on every read and write fails with [`ViewError::Closed`]. Returns
    /// once no read is under way any more.
    pub fn close(&self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut frames = self.frames();
        frames.clear();
        frames.header = None;
    }
}

fn copy_prefix(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
        to.copy_from_slice(from);
    }
    n
}
