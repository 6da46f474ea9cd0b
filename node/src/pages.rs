//! Pages in log entries: how a transaction becomes entries, and how a page is found in one again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrolite_consensus::Index;
use ferrolite_pager::PageFile;
use ferrolite_wal::Log;
pub(crate) use ferrolite_wal::frames::Placed;
use ferrolite_wal::frames::{self, PART_BYTES, PartWriter, Previous, TransactionId};
use ferrolite_wal::view::{FramePlace, PageSource, StagedPage, TakenTransaction};

use crate::error::Error;
use crate::images::{Images, Logged};

/// Where the engine's view of the log reads pages back from: the log, and the database file.
#[derive(Debug)]
pub(crate) struct LogPages {
    pub(crate) database: String,
    pub(crate) log: Arc<Log>,
    pub(crate) images: Arc<Images>,
    pub(crate) file: Arc<PageFile>,
    pub(crate) page_size: u32,
}

impl PageSource for LogPages {
    fn read_from_log(&self, page_no: u32, place: FramePlace, page: &mut [u8]) -> io::Result<()> {
        if let Some(image) = self.images.at(&self.database, page_no, place)
            && image.len() == page.len()
        {
            page.copy_from_slice(&image);
            return Ok(());
        }
        frames::page_at(&self.log, page_no, place, page).map_err(|error| {
            log::error!(
                index = place.index,
                offset = place.offset,
                error:%;
                "a page in the log is damaged"
            );
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

/// A small transaction on its way to the thread that knows which entry it will be, and so which earlier ones its pages may
/// be said against.
#[derive(Debug)]
pub(crate) struct SmallTransaction {
    pub(crate) id: TransactionId,
    pub(crate) page_size: u32,
    pub(crate) pages: Vec<StagedPage>,
}

/// No more pages than this: that thread has other things to do.
const MOST_SMALL_PAGES: u64 = 32;

/// What a [`SmallTransaction`] came to: its entry, and the images that later ones can be said against.
pub(crate) struct EncodedSmall {
    pub(crate) encoded: Encoded,
    pub(crate) images: Vec<(u32, Logged)>,
}

impl SmallTransaction {
    /// Whether this transaction is one: it fits into one part, and is soon encoded.
    pub(crate) fn is_one(transaction: &TakenTransaction) -> bool {
        let most_bytes = transaction.pages * u64::from(transaction.page_size);
        transaction.pages <= MOST_SMALL_PAGES && most_bytes < PART_BYTES as u64 / 2
    }

    /// The transaction as entry `index` of the log, whose differences may reach back to entry `reach`; without that it is
    /// an anchor.
    pub(crate) fn encode(
        self,
        database: &str,
        db_size: u32,
        index: Index,
        reach: Option<Index>,
        images: &Images,
    ) -> Result<EncodedSmall, Error> {
        let mut writer = PartWriter::new(database, self.page_size, self.id)?;
        if reach.is_some() {
            writer = writer.leaning(index);
        }
        let mut placed = Vec::with_capacity(self.pages.len());
        let mut logged = Vec::with_capacity(self.pages.len());
        for page in self.pages {
            let last = images.last(database, page.page_no);
            let base = last.filter(|last| reach.is_some_and(|reach| last.root >= reach));
            let previous = base
                .as_ref()
                .map_or(Previous::FullImage, |base| Previous::Image(base.base()));
            let (place, _) = writer.push_image(page.page_no, &page.image, previous)?;
            placed.push((page.frame, place));
            let root = base.filter(|_| place.depth > 0).map(|base| base.root);
            let image = Logged {
                place: FramePlace {
                    index,
                    offset: place.offset,
                    len: place.len,
                    encoding: place.encoding,
                },
                depth: place.depth,
                root: root.unwrap_or(index),
                image: page.image,
            };
            logged.push((page.page_no, image));
        }
        let encoded = Encoded {
            first_part: 0,
            payloads: vec![writer.finish(db_size)],
            placed,
        };
        Ok(EncodedSmall {
            encoded,
            images: logged,
        })
    }
}

/// Turns the pages of a large transaction into entries, some of them at a time.
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
