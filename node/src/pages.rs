//! Pages in log entries: how a transaction becomes entries, and how a page is found in one again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrolite_pager::PageFile;
use ferrolite_wal::Log;
pub(crate) use ferrolite_wal::frames::Placed;
use ferrolite_wal::frames::{self, PartWriter, TransactionId};
use ferrolite_wal::view::{FramePlace, PageSource, StagedTransaction};

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
        // The frame's prefix holds the checksum of the page; the log itself checks only whole entries.
        let (prefix, len) = (
            frames::FRAME_PREFIX_BYTES,
            usize::try_from(place.len).map_err(io::Error::other)?,
        );
        let mut bytes = vec![0; prefix + len];
        let at = u64::from(place.offset).checked_sub(prefix as u64);
        let at = at
            .and_then(|at| u32::try_from(at).ok())
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.log
            .read_payload_at(place.index, at, &mut bytes)
            .map_err(io::Error::other)?;
        frames::decode_frame(&bytes, page).map_err(|error| {
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

/// A transaction, encoded: the payloads of its entries, and where each frame went.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) placed: Vec<(u64, Placed)>,
    pub(crate) last_frame: u64,
    pub(crate) db_size: u32,
}

/// Encodes what the engine staged.
pub(crate) fn encode(
    name: &str,
    id: TransactionId,
    transaction: &StagedTransaction,
) -> Result<Encoded, Error> {
    let mut writer = PartWriter::new(name, transaction.page_size, id)?;
    let mut payloads = Vec::new();
    let mut placed = Vec::with_capacity(transaction.pages.len());
    for page in &transaction.pages {
        let (place, full) = writer.push(page.page_no, &page.image)?;
        payloads.extend(full);
        placed.push((page.frame, place));
    }
    payloads.push(writer.finish(transaction.db_size));
    Ok(Encoded {
        payloads,
        placed,
        last_frame: transaction.last_frame,
        db_size: transaction.db_size,
    })
}
