//! The write-ahead log *file* that an SQL engine believes in, as a view of the one durable log.
//!
//! An engine in SQLite's WAL mode commits by writing frames (a 24-byte header and one page) to a
//! `-wal` file. Here that file does not exist. The engine's reads and writes come to a [`WalView`],
//! which keeps for every frame only its header and *where its page is*:
//!
//! | state | where the page is | until |
//! |---|---|---|
//! | staged | in memory, as the engine wrote it | the transaction is handed to the log |
//! | taken | in memory, shared with the entry in flight | the entry is committed |
//! | bound | in the log, at a place inside an entry | the frame is checkpointed |
//! | backfilled | in the database file | the view starts over |
//! | dead | nowhere: a later frame of the same transaction replaced it | the view starts over |
//!
//! So a committed page is on disk once, in the log, and a view of a long log costs some sixty bytes of
//! memory a frame.
//!
//! # What the engine does, and what the view makes of it
//!
//! - A write of 32 bytes at position 0 is a new header: the engine starts the file over. The view
//!   allows it only when every frame was backfilled, because nothing else holds those pages.
//! - Frames with a database size of 0 belong to a transaction that has not committed. A spilled
//!   transaction writes such frames early, and a rollback leaves them behind: the next writer simply
//!   writes over them. So a write at a staged position drops everything staged from there on.
//! - A frame with a database size ends a transaction. [`WalView::take_transaction`] then hands out what
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
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

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
    /// Reads the page at `place` of the log into `page`.
    ///
    /// # Errors
    /// When the entry cannot be read or its page cannot be decoded.
    fn read_from_log(&self, place: FramePlace, page: &mut [u8]) -> std::io::Result<()>;

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
}

/// A committed transaction as the engine staged it: what has to be replicated.
#[derive(Clone, PartialEq, Eq)]
pub struct StagedTransaction {
    /// How many transactions the engine had committed with this one; see [`WalView::commits`].
    pub number: u64,
    /// Number of the transaction's first frame, from 1.
    pub first_frame: u64,
    /// Number of its last frame, the one that commits.
    pub last_frame: u64,
    /// Pages of the database after the transaction.
    pub db_size: u32,
    /// Size of each page, in bytes.
    pub page_size: u32,
    /// The last image of every page that it changed, in the order of their frames.
    pub pages: Vec<StagedPage>,
}

/// One page of a [`StagedTransaction`].
#[derive(Clone, PartialEq, Eq)]
pub struct StagedPage {
    /// Number of the frame that holds this image.
    pub frame: u64,
    /// Number of the page, from 1.
    pub page_no: u32,
    /// The page's content.
    pub image: Bytes,
}

impl fmt::Debug for StagedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedTransaction")
            .field("frames", &(self.first_frame..=self.last_frame))
            .field("db_size", &self.db_size)
            .field("pages", &self.pages.len())
            .finish()
    }
}

#[derive(Debug, Clone)]
enum Body {
    Memory(Bytes),
    Log(FramePlace),
    File,
    Dead,
}

#[derive(Debug, Clone)]
struct Slot {
    header: [u8; FRAME_HEADER_BYTES],
    body: Body,
}

impl Slot {
    fn page_no(&self) -> u32 {
        let [a, b, c, d, ..] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    fn db_size(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }
}

#[derive(Debug, Default)]
struct Frames {
    header: Option<[u8; WAL_HEADER_BYTES]>,
    slots: Vec<Slot>,
    /// Frames 1..=taken belong to transactions that were handed out.
    taken: usize,
    /// Frames 1..=backfilled are in the database file. Never above `taken`.
    backfilled: usize,
}

/// An engine's `-wal` file over the log; see the [module](self).
pub struct WalView {
    page_size: usize,
    limit_bytes: u64,
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
            .field("frames", &frames.slots.len())
            .field("taken", &frames.taken)
            .field("backfilled", &frames.backfilled)
            .finish_non_exhaustive()
    }
}

impl WalView {
    /// An empty view for pages of `page_size` bytes, whose uncommitted frames may take up to
    /// `limit_bytes` of memory.
    #[must_use]
    pub fn new(page_size: u32, limit_bytes: u64, source: Box<dyn PageSource>) -> Self {
        Self {
            page_size: usize::try_from(page_size).unwrap_or(usize::MAX),
            limit_bytes,
            frames: Mutex::new(Frames::default()),
            commits: AtomicU64::new(0),
            closed: RwLock::new(false),
            source,
        }
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        // Every change below is complete before the guard is dropped, so a panic elsewhere leaves
        // nothing half done.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.page_size
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
        let bytes = WAL_HEADER_BYTES + frames.slots.len() * self.frame_bytes();
        u64::try_from(bytes).unwrap_or(u64::MAX)
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

    /// How much memory uncommitted frames may take, in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Number of frames in the view.
    #[must_use]
    pub fn frame_count(&self) -> u64 {
        self.frames().slots.len() as u64
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
            .slots
            .iter()
            .skip(frames.backfilled)
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

    fn read_open(&self, pos: u64, buf: &mut [u8]) -> Result<usize, ViewError> {
        let Ok(mut pos) = usize::try_from(pos) else {
            return Ok(0);
        };
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
            pos += n;
        }
        Ok(done)
    }

    /// Reads what lies at `pos` up to the end of the header or page that it falls into.
    fn read_piece(&self, pos: usize, buf: &mut [u8]) -> Result<usize, ViewError> {
        let slot = {
            let frames = self.frames();
            let Some(header) = frames.header else {
                return Ok(0);
            };
            if let Some(part) = header.get(pos..).filter(|part| !part.is_empty()) {
                return Ok(copy_prefix(part, buf));
            }
            let at = pos - WAL_HEADER_BYTES;
            match frames.slots.get(at / self.frame_bytes()) {
                Some(slot) => slot.clone(),
                None => return Ok(0),
            }
        };
        let within = (pos - WAL_HEADER_BYTES) % self.frame_bytes();
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
            self.read_page(&slot, page)?;
            return Ok(self.page_size);
        }
        let mut page = vec![0; self.page_size];
        self.read_page(&slot, &mut page)?;
        Ok(copy_prefix(page.get(within..).unwrap_or_default(), buf))
    }

    fn read_page(&self, slot: &Slot, page: &mut [u8]) -> Result<(), ViewError> {
        match slot.body {
            Body::Memory(ref image) => {
                copy_prefix(image, page);
                Ok(())
            }
            Body::Log(place) => Ok(self.source.read_from_log(place, page)?),
            Body::File => Ok(self.source.read_from_file(slot.page_no(), page)?),
            Body::Dead => Err(ViewError::Refused("a replaced frame was read")),
        }
    }

    /// Writes what the engine writes: the file's header, or whole frames at a frame's position.
    ///
    /// # Errors
    /// [`ViewError::Closed`], [`ViewError::TooLarge`], and [`ViewError::Refused`] for a write over frames
    /// that were taken, over frames that are not yet in the database file, with a gap, or not of whole
    /// frames. A refused write changes nothing.
    pub fn write_at(&self, pos: u64, data: &[u8]) -> Result<(), ViewError> {
        self.while_open(|| self.write_open(pos, data))?
    }

    fn write_open(&self, pos: u64, data: &[u8]) -> Result<(), ViewError> {
        let Ok(pos) = usize::try_from(pos) else {
            return Err(ViewError::Refused("position out of range"));
        };
        let mut frames = self.frames();
        if pos == 0 {
            let Ok(header) = <[u8; WAL_HEADER_BYTES]>::try_from(data) else {
                return Err(ViewError::Refused("a header of another length"));
            };
            Self::start_over(&mut frames)?;
            frames.header = Some(header);
            return Ok(());
        }
        if frames.header.is_none() {
            return Err(ViewError::Refused("a frame before the header"));
        }
        let at = pos
            .checked_sub(WAL_HEADER_BYTES)
            .filter(|at| at % self.frame_bytes() == 0);
        let Some(first) = at.map(|at| at / self.frame_bytes()) else {
            return Err(ViewError::Refused("not at a frame's position"));
        };
        let mut chunks = data.chunks_exact(self.frame_bytes());
        if !chunks.remainder().is_empty() {
            return Err(ViewError::Refused("not of whole frames"));
        }
        if first < frames.taken {
            return Err(ViewError::Refused("over frames of a committed transaction"));
        }
        if first > frames.slots.len() {
            return Err(ViewError::Refused("a gap between frames"));
        }
        let staged = (first - frames.taken) * self.frame_bytes() + data.len();
        if u64::try_from(staged).unwrap_or(u64::MAX) > self.limit_bytes {
            return Err(ViewError::TooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        // A commit that was staged and is written over was none.
        let mut commits = self.commits();
        for slot in frames.slots.drain(first..) {
            commits -= u64::from(slot.db_size() != 0);
        }
        for chunk in &mut chunks {
            let (header, page) = chunk.split_at(FRAME_HEADER_BYTES);
            let mut slot = Slot {
                header: [0; FRAME_HEADER_BYTES],
                body: Body::Memory(Bytes::copy_from_slice(page)),
            };
            slot.header.copy_from_slice(header);
            commits += u64::from(slot.db_size() != 0);
            frames.slots.push(slot);
        }
        self.commits.store(commits, Ordering::SeqCst);
        Ok(())
    }

    /// Shortens the file to `len` bytes, as the engine does when it starts it over.
    ///
    /// # Errors
    /// [`ViewError::Closed`], and [`ViewError::Refused`] when that would lose frames which are not in the
    /// database file.
    pub fn truncate(&self, len: u64) -> Result<(), ViewError> {
        self.while_open(|| self.truncate_open(len))?
    }

    fn truncate_open(&self, len: u64) -> Result<(), ViewError> {
        let mut frames = self.frames();
        if len > WAL_HEADER_BYTES as u64 {
            return Err(ViewError::Refused("truncation to some frames"));
        }
        Self::start_over(&mut frames)?;
        if len < WAL_HEADER_BYTES as u64 {
            frames.header = None;
        }
        Ok(())
    }

    fn start_over(frames: &mut Frames) -> Result<(), ViewError> {
        if frames.backfilled < frames.taken {
            return Err(ViewError::Refused(
                "starting over with frames that are not in the database file",
            ));
        }
        frames.slots.clear();
        frames.slots.shrink_to(1024);
        frames.taken = 0;
        frames.backfilled = 0;
        Ok(())
    }

    /// Hands out the transaction that the engine has just committed, if there is one.
    ///
    /// The caller owns the writer's turn: between the engine's commit and this call no other
    /// transaction writes.
    #[must_use]
    pub fn take_transaction(&self) -> Option<StagedTransaction> {
        let mut frames = self.frames();
        let frames = &mut *frames;
        let first = frames.taken;
        let staged = frames.slots.get_mut(first..)?;
        // What lies behind the last commit frame is an abandoned spill.
        let len = staged.iter().rposition(|slot| slot.db_size() != 0)? + 1;
        let staged = staged.get_mut(..len)?;
        let db_size = staged.last()?.db_size();
        let mut seen = std::collections::HashSet::with_capacity(len);
        let mut pages = Vec::with_capacity(len);
        for (nth, slot) in staged.iter_mut().enumerate().rev() {
            let page_no = slot.page_no();
            if !seen.insert(page_no) {
                slot.body = Body::Dead;
            } else if let Body::Memory(image) = &slot.body {
                let frame = (first + nth + 1) as u64;
                pages.push(StagedPage {
                    frame,
                    page_no,
                    image: image.clone(),
                });
            }
        }
        pages.reverse();
        frames.taken = first + len;
        Some(StagedTransaction {
            number: self.commits(),
            first_frame: first as u64 + 1,
            last_frame: frames.taken as u64,
            db_size,
            page_size: self.page_size(),
            pages,
        })
    }

    /// Says where the log holds the pages of taken frames, so that the view can let go of its copies.
    /// Frames that are in the database file already stay as they are.
    pub fn bind(&self, places: impl IntoIterator<Item = (u64, FramePlace)>) {
        let mut frames = self.frames();
        let (backfilled, taken) = (frames.backfilled, frames.taken);
        for (frame, place) in places {
            let nth = usize::try_from(frame)
                .ok()
                .and_then(|frame| frame.checked_sub(1));
            if let Some(nth) = nth.filter(|nth| (backfilled..taken).contains(nth))
                && let Some(slot) = frames.slots.get_mut(nth)
                && !matches!(slot.body, Body::Dead)
            {
                slot.body = Body::Log(place);
            }
        }
    }

    /// Says that frames 1 to `frame` are in the database file, and synced there.
    pub fn set_backfilled(&self, frame: u64) {
        let mut frames = self.frames();
        let to = usize::try_from(frame)
            .unwrap_or(usize::MAX)
            .min(frames.taken);
        let from = frames.backfilled;
        if let Some(slots) = frames.slots.get_mut(from..to) {
            for slot in slots {
                slot.body = Body::File;
            }
        }
        frames.backfilled = to.max(from);
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
        *frames = Frames::default();
    }
}

fn copy_prefix(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
        to.copy_from_slice(from);
    }
    n
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )]
    use super::*;

    const PAGE: usize = 512;
    const FRAME: usize = PAGE + FRAME_HEADER_BYTES;

    /// A source whose answers name where they were read from.
    struct Named;
    impl PageSource for Named {
        fn read_from_log(&self, place: FramePlace, page: &mut [u8]) -> std::io::Result<()> {
            page.fill(place.index as u8);
            Ok(())
        }
        fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()> {
            page.fill(0xf0 | page_no as u8);
            Ok(())
        }
    }

    fn view() -> WalView {
        let view = WalView::new(PAGE as u32, 1 << 20, Box::new(Named));
        view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
        view
    }

    fn frame(page_no: u32, db_size: u32, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; FRAME];
        bytes[..4].copy_from_slice(&page_no.to_be_bytes());
        bytes[4..8].copy_from_slice(&db_size.to_be_bytes());
        bytes
    }

    fn at(frame: u64) -> u64 {
        WAL_HEADER_BYTES as u64 + (frame - 1) * FRAME as u64
    }

    fn page_of(view: &WalView, frame: u64) -> u8 {
        let mut page = [0; PAGE];
        assert_eq!(
            view.read_at(at(frame) + FRAME_HEADER_BYTES as u64, &mut page)
                .unwrap(),
            PAGE
        );
        assert!(page.iter().all(|byte| *byte == page[0]));
        page[0]
    }

    /// The engine must read back exactly what it wrote, over the borders of headers and pages.
    #[test]
    fn reads_back_across_borders() {
        let view = view();
        let bytes = [frame(2, 0, 1), frame(3, 3, 2)].concat();
        view.write_at(at(1), &bytes).unwrap();
        let mut all = vec![0; WAL_HEADER_BYTES + bytes.len() + 9];
        let n = view.read_at(0, &mut all).unwrap();
        assert_eq!(n as u64, view.len());
        assert_eq!(all[..WAL_HEADER_BYTES], [7; WAL_HEADER_BYTES]);
        assert_eq!(all[WAL_HEADER_BYTES..n], bytes);
    }

    /// A transaction is handed out whole, once, with one image a page.
    #[test]
    fn takes_each_transaction_once() {
        let view = view();
        view.write_at(
            at(1),
            &[frame(2, 0, 1), frame(5, 0, 2), frame(2, 9, 3)].concat(),
        )
        .unwrap();
        let tx = view.take_transaction().unwrap();
        assert_eq!((tx.first_frame, tx.last_frame, tx.db_size), (1, 3, 9));
        let pages: Vec<_> = tx
            .pages
            .iter()
            .map(|p| (p.frame, p.page_no, p.image[0]))
            .collect();
        assert_eq!(pages, [(2, 5, 2), (3, 2, 3)]);
        assert!(view.take_transaction().is_none());
    }

    /// Commits are counted when they are written, not when they are taken, and a commit that is written
    /// over was none.
    #[test]
    fn counts_commits_as_they_are_written() {
        let view = view();
        view.write_at(at(1), &frame(2, 0, 1)).unwrap();
        assert_eq!(view.commits(), 0);
        view.write_at(at(2), &frame(3, 3, 1)).unwrap();
        assert_eq!(view.commits(), 1);
        view.write_at(at(2), &frame(3, 0, 1)).unwrap();
        assert_eq!(view.commits(), 0);
        view.write_at(at(3), &frame(4, 4, 1)).unwrap();
        assert_eq!(view.take_transaction().unwrap().number, 1);
        view.write_at(at(4), &frame(5, 5, 1)).unwrap();
        assert_eq!(
            (view.commits(), view.take_transaction().unwrap().number),
            (2, 2)
        );
        view.set_backfilled(4);
        view.truncate(0).unwrap();
        view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
        assert_eq!(
            view.commits(),
            2,
            "starting over forgets frames, not the count"
        );
    }

    /// A rolled-back spill leaves frames without a commit; the next transaction writes over them.
    #[test]
    fn rewritten_positions_drop_what_was_staged() {
        let view = view();
        view.write_at(at(1), &[frame(2, 0, 1), frame(3, 0, 1)].concat())
            .unwrap();
        assert!(view.take_transaction().is_none());
        view.write_at(at(1), &frame(4, 4, 9)).unwrap();
        let tx = view.take_transaction().unwrap();
        assert_eq!(
            (tx.last_frame, tx.pages.len(), tx.pages[0].page_no),
            (1, 1, 4)
        );
        assert_eq!(view.frame_count(), 1);
    }

    /// What was handed out is history: writing over it, or starting over before it is in the database
    /// file, would lose a committed page.
    #[test]
    fn taken_frames_are_kept_until_backfilled() {
        let view = view();
        view.write_at(at(1), &frame(2, 2, 1)).unwrap();
        view.take_transaction().unwrap();
        assert!(matches!(
            view.write_at(at(1), &frame(2, 2, 8)),
            Err(ViewError::Refused(_))
        ));
        assert!(matches!(
            view.write_at(0, &[0; 32]),
            Err(ViewError::Refused(_))
        ));
        assert!(matches!(view.truncate(0), Err(ViewError::Refused(_))));
        assert_eq!(page_of(&view, 1), 1);
        view.bind([(
            1,
            FramePlace {
                index: 42,
                offset: 0,
                len: 512,
                encoding: 0,
            },
        )]);
        assert_eq!(
            (page_of(&view, 1), view.oldest_needed_index()),
            (42, Some(42))
        );
        view.set_backfilled(1);
        assert_eq!(
            (page_of(&view, 1), view.oldest_needed_index()),
            (0xf2, None)
        );
        view.truncate(0).unwrap();
        assert!(view.is_empty());
    }

    /// Odd writes are refused without a change.
    #[test]
    fn refuses_what_no_engine_writes() {
        let view = view();
        for (pos, len) in [
            (at(2), FRAME),
            (at(1) + 1, FRAME),
            (at(1), FRAME - 1),
            (0, 31),
        ] {
            assert!(matches!(
                view.write_at(pos, &vec![0; len]),
                Err(ViewError::Refused(_))
            ));
        }
        assert_eq!(view.len(), WAL_HEADER_BYTES as u64);
        let small = WalView::new(PAGE as u32, 2 * FRAME as u64, Box::new(Named));
        assert!(matches!(
            small.write_at(at(1), &frame(1, 1, 1)),
            Err(ViewError::Refused(_))
        ));
        small.write_at(0, &[0; 32]).unwrap();
        let three = [frame(1, 0, 1), frame(2, 0, 1), frame(3, 3, 1)].concat();
        assert!(matches!(
            small.write_at(at(1), &three),
            Err(ViewError::TooLarge { .. })
        ));
        assert_eq!(small.frame_count(), 0);
    }

    /// After a close nothing is read, so no statement sees pages that change beneath it.
    #[test]
    fn closed_means_closed() {
        let view = view();
        view.write_at(at(1), &frame(1, 1, 1)).unwrap();
        view.close();
        assert!(matches!(
            view.read_at(0, &mut [0; 8]),
            Err(ViewError::Closed)
        ));
        assert!(matches!(
            view.write_at(at(1), &frame(1, 1, 1)),
            Err(ViewError::Closed)
        ));
        assert!(view.take_transaction().is_none());
    }
}
