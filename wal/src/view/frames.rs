//! The frames of a view: for each its header, and where its page is.

use bytes::Bytes;

use super::spill::{Spill, SpillPlace};
use super::{FRAME_HEADER_BYTES, FramePlace, ViewError, WAL_HEADER_BYTES};

/// Slots are kept in pieces of so many, so that a long list never has to be copied to become longer.
const CHUNK: usize = 1024;

#[derive(Debug, Clone)]
pub(super) enum Body {
    Memory(Bytes),
    Spilled(SpillPlace),
    Log(FramePlace),
    File,
    Dead,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub header: [u8; FRAME_HEADER_BYTES],
    pub body: Body,
}

impl Slot {
    pub fn page_no(&self) -> u32 {
        let [a, b, c, d, ..] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    pub fn db_size(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }
}

#[derive(Debug, Default)]
pub(super) struct Frames {
    pub header: Option<[u8; WAL_HEADER_BYTES]>,
    /// All full but the last.
    chunks: Vec<Vec<Slot>>,
    /// Frames 1..=taken belong to transactions that were handed out.
    pub taken: usize,
    /// Frames 1..=backfilled are in the database file. Never above `taken`.
    pub backfilled: usize,
    /// Bytes of the pages that are in memory.
    image_bytes: u64,
    /// Takes the pages for which there is no room in memory.
    pub spill: Option<Spill>,
}

impl Frames {
    pub fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    pub fn get(&self, nth: usize) -> Option<&Slot> {
        self.chunks.get(nth / CHUNK)?.get(nth % CHUNK)
    }

    /// The slots from `nth` on.
    pub fn from(&self, nth: usize) -> impl DoubleEndedIterator<Item = &Slot> {
        let (chunk, within) = (nth / CHUNK, nth % CHUNK);
        let first = self.chunks.get(chunk).and_then(|chunk| chunk.get(within..));
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default();
        first
            .unwrap_or_default()
            .iter()
            .chain(rest.iter().flatten())
    }

    /// Bytes of memory that all of this takes.
    pub fn memory_bytes(&self) -> u64 {
        let slots = self.chunks.len() * CHUNK * size_of::<Slot>();
        let spill = self.spill.as_ref().map_or(0, Spill::memory_bytes);
        slots as u64 + self.image_bytes + spill
    }

    /// Bytes of pages in memory that belong to frames from `nth` on.
    pub fn image_bytes_from(&self, nth: usize) -> u64 {
        self.from(nth).map(image_bytes).sum()
    }

    pub fn image_bytes(&self) -> u64 {
        self.image_bytes
    }

    pub fn push(&mut self, slot: Slot) {
        self.image_bytes += image_bytes(&slot);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(slot),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
    }

    /// Puts another body in the place of that of slot `nth`, and lets go of the old one.
    pub fn set(&mut self, nth: usize, body: Body) {
        let slot = self
            .chunks
            .get_mut(nth / CHUNK)
            .and_then(|chunk| chunk.get_mut(nth % CHUNK));
        if let Some(slot) = slot {
            self.image_bytes -= image_bytes(slot);
            if let (Body::Spilled(place), Some(spill)) = (&slot.body, &mut self.spill) {
                spill.free(*place);
            }
            slot.body = body;
            self.image_bytes += image_bytes(slot);
        }
    }

    /// Drops the slots from `nth` on, and returns how many of them ended a transaction.
    pub fn truncate(&mut self, nth: usize) -> u64 {
        let mut commits = 0;
        while self.len() > nth {
            let Some(chunk) = self.chunks.last_mut() else {
                break;
            };
            if let Some(slot) = chunk.pop() {
                commits += u64::from(slot.db_size() != 0);
                self.image_bytes -= image_bytes(&slot);
                if let (Body::Spilled(place), Some(spill)) = (&slot.body, &mut self.spill) {
                    spill.free(*place);
                }
            }
            if chunk.is_empty() {
                self.chunks.pop();
            }
        }
        commits
    }

    /// Forgets all frames, if they are in the database file.
    pub fn start_over(&mut self) -> Result<(), ViewError> {
        if self.backfilled < self.taken {
            return Err(ViewError::Refused(
                "starting over with frames that are not in the database file",
            ));
        }
        self.clear();
        Ok(())
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.chunks = Vec::new();
        self.taken = 0;
        self.backfilled = 0;
        self.image_bytes = 0;
        if let Some(spill) = &mut self.spill {
            spill.clear();
        }
    }
}

fn image_bytes(slot: &Slot) -> u64 {
    match &slot.body {
        Body::Memory(image) => image.len() as u64,
        _ => 0,
    }
}
