//! Pages in log entries: how a transaction becomes entries, and how a page is found in one again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrolite_pager::PageFile;
use ferrolite_wal::Log;
pub(crate) use ferrolite_wal::frames::Placed;
use ferrolite_wal::frames::{self, PartWriter, TransactionId};
use ferrolite_wal::view::{FramePlace, PageSource, StagedPage};

use crate::error::Error;

/// Where the engine's view of the log reads pages back from: the log, and the database file.
#[derive(Debug)]
pub(crate) struct LogPages {
    log: Arc<Log>,
    file: Arc<PageFile>,
    page_size: u32,
}

impl LogPages {
    pub(crate) fn new(log: Arc<Log>, file: Arc<PageFile>, page_size: u32) -> Self {
        Self {
            log,
            file,
            page_size,
        }
    }
}

impl PageSource for LogPages {
    fn read_from_log(&self, place: FramePlace, page: &mut [u8]) -> io::Result<()> {
        frames::page_at(&self.log, place, page).map_err(|error| {
            tracing::error!(index = place.index, offset = place.offset, %error, "a page in the log is damaged");
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> io::Result<()> {
        let pos = u64::from(page_no.saturating_sub(1)) * u64::from(self.page_size);
        if self.file.read_at(pos, page)? == page.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Gives every transaction that this process makes an id that no other has.
#[derive(Debug)]
pub(crate) struct TransactionIds {
    process: u64,
    next: AtomicU64,
}

impl TransactionIds {
    /// Ids of this process, told apart from every other by a random number.
    pub(crate) fn new(process: u64) -> Self {
        Self {
            process,
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> TransactionId {
        TransactionId(self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// A transaction, or some of a large one, encoded: the payloads of its entries, and where each frame went.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Number of the first of these parts.
    pub(crate) first_part: u32,
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) placed: Vec<(u64, Placed)>,
}

/// Turns the pages of a transaction into entries, some of them at a time.
pub(crate) struct Encoder {
    writer: PartWriter,
    /// What was not handed out yet.
    ready: Encoded,
}

impl Encoder {
    pub(crate) fn new(name: &str, page_size: u32, id: TransactionId) -> Result<Self, Error> {
        Ok(Self {
            writer: PartWriter::new(name, page_size, id)?,
            ready: Encoded::default(),
        })
    }

    /// Adds a page. Once there are `parts_at_once` whole parts, they are handed out.
    pub(crate) fn push(
        &mut self,
        page: &StagedPage,
        parts_at_once: usize,
    ) -> Result<Option<Encoded>, Error> {
        let (place, full) = self.writer.push(page.page_no, &page.image)?;
        self.ready.placed.push((page.frame, place));
        self.ready.payloads.extend(full);
        if self.ready.payloads.len() < parts_at_once {
            return Ok(None);
        }
        let count = u32::try_from(self.ready.payloads.len()).unwrap_or(u32::MAX);
        let next_part = self.ready.first_part.saturating_add(count);
        let mut handed_out = std::mem::take(&mut self.ready);
        // The last page may be in the part that has just been begun.
        let is_out = |(_, place): &(u64, Placed)| place.part < next_part;
        let (out, kept) = handed_out.placed.into_iter().partition(is_out);
        handed_out.placed = out;
        self.ready.placed = kept;
        self.ready.first_part = next_part;
        Ok(Some(handed_out))
    }

    /// The rest, which commits.
    pub(crate) fn finish(mut self, db_size: u32) -> Encoded {
        self.ready.payloads.push(self.writer.finish(db_size));
        self.ready
    }
}
