//! Transactions that the engine has committed, on their way into the log.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use super::frames::Body;
use super::{FramePlace, ViewError, WalView};

/// A transaction that was handed out, without its pages: those are asked for one after the other, with
/// [`WalView::pages_of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenTransaction {
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
    /// How many pages it changed.
    pub pages: u64,
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

impl fmt::Debug for StagedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedPage")
            .field("frame", &self.frame)
            .field("page_no", &self.page_no)
            .finish_non_exhaustive()
    }
}

impl WalView {
    /// Hands out the transaction that the engine has just committed, if there is one. Its pages stay where they are,
    /// in memory or spilled, until they are [bound](Self::bind) to their places in the log.
    ///
    /// The caller owns the writer's turn: between the engine's commit and this call no other
    /// transaction writes.
    #[must_use]
    pub fn take(&self) -> Option<TakenTransaction> {
        let mut frames = self.frames();
        let first = frames.taken;
        // What lies behind the last commit frame is an abandoned spill.
        let behind = frames
            .from(first)
            .rev()
            .position(|slot| slot.db_size() != 0)?;
        let last = frames.len() - behind;
        let db_size = frames.get(last.checked_sub(1)?)?.db_size();
        let mut seen = HashSet::with_capacity(last - first);
        for nth in (first..last).rev() {
            let page_no = frames.get(nth)?.page_no();
            if !seen.insert(page_no) {
                frames.set(nth, Body::Dead);
            }
        }
        frames.taken = last;
        Some(TakenTransaction {
            number: self.commits(),
            first_frame: first as u64 + 1,
            last_frame: last as u64,
            db_size,
            page_size: self.page_size(),
            pages: seen.len() as u64,
        })
    }

    /// The pages of a transaction that was handed out: the last image of every page that it changed, in the order of
    /// their frames, each read when its turn comes.
    ///
    /// # Errors
    /// Each with [`ViewError::Closed`], or [`ViewError::Read`] when it could not be read back.
    pub fn pages_of(
        &self,
        transaction: &TakenTransaction,
    ) -> impl Iterator<Item = Result<StagedPage, ViewError>> + '_ {
        (transaction.first_frame..=transaction.last_frame).filter_map(|frame| {
            self.while_open(|| self.page_of(frame))
                .flatten()
                .transpose()
        })
    }

    /// The page of a frame; none if it was replaced.
    fn page_of(&self, frame: u64) -> Result<Option<StagedPage>, ViewError> {
        let nth = usize::try_from(frame - 1).unwrap_or(usize::MAX);
        let Some(slot) = self.frames().get(nth).cloned() else {
            return Ok(None);
        };
        let page_no = slot.page_no();
        let image = match &slot.body {
            Body::Dead => return Ok(None),
            Body::Memory(image) => image.clone(),
            _ => {
                let mut page = vec![0; self.page_size];
                self.read_page(nth, slot, &mut page)?;
                Bytes::from(page)
            }
        };
        Ok(Some(StagedPage {
            frame,
            page_no,
            image,
        }))
    }

    /// [Hands out](Self::take) the transaction that the engine has just committed with all its pages at once.
    ///
    /// # Panics
    /// When a page of it was spilled: a view [with a spill file](Self::with_spill) may hold more than fits into memory,
    /// and is asked with [`take`](Self::take).
    #[must_use]
    pub fn take_transaction(&self) -> Option<StagedTransaction> {
        let taken = self.take()?;
        let frames = self.frames();
        let nth = usize::try_from(taken.first_frame - 1).unwrap_or(usize::MAX);
        let mut pages = Vec::with_capacity(usize::try_from(taken.pages).unwrap_or(0));
        for (slot, frame) in frames.from(nth).zip(taken.first_frame..=taken.last_frame) {
            match &slot.body {
                Body::Memory(image) => pages.push(StagedPage {
                    frame,
                    page_no: slot.page_no(),
                    image: image.clone(),
                }),
                body => assert!(
                    matches!(body, Body::Dead),
                    "the page of frame {frame} was spilled"
                ),
            }
        }
        Some(StagedTransaction {
            number: taken.number,
            first_frame: taken.first_frame,
            last_frame: taken.last_frame,
            db_size: taken.db_size,
            page_size: taken.page_size,
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
                && let Some(slot) = frames.get(nth)
                && !matches!(slot.body, Body::Dead)
            {
                frames.set(nth, Body::Log(place));
            }
        }
    }

    /// Says that frames 1 to `frame` are in the database file, and synced there.
    pub fn set_backfilled(&self, frame: u64) {
        let mut frames = self.frames();
        let to = usize::try_from(frame)
            .unwrap_or(usize::MAX)
            .min(frames.taken);
        for nth in frames.backfilled..to {
            frames.set(nth, Body::File);
        }
        frames.backfilled = frames.backfilled.max(to);
    }
}
