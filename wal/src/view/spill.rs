//! A file beside the log that takes the pages for which there is no room in memory.
//!
//! Nothing in it is ever needed after the process: a page in it belongs to a transaction that is not in the log yet. So it
//! is never synced, and what an earlier process left in it is written over. Places are of one page each, and are used
//! again; when the last one becomes free, the file is cut to nothing.

use std::io;
use std::sync::Arc;

use crate::backend::BackendFile;

/// Where a page is in the file, and which write put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpillPlace {
    place: u64,
    /// Never the same for two writes: who reads without a lock finds out by it whether the page is still the same.
    write: u64,
}

#[derive(Debug)]
pub(super) struct Spill {
    file: Arc<dyn BackendFile>,
    page_size: u64,
    /// Places below this one have been used.
    end: u64,
    free: Vec<u64>,
    writes: u64,
    /// The file could not be cut; it is not used any more.
    failed: Option<io::ErrorKind>,
}

impl Spill {
    pub fn new(file: Arc<dyn BackendFile>, page_size: usize) -> Spill {
        Spill {
            file,
            page_size: page_size as u64,
            end: 0,
            free: Vec::new(),
            writes: 0,
            failed: None,
        }
    }

    pub fn file(&self) -> Arc<dyn BackendFile> {
        Arc::clone(&self.file)
    }

    /// Bytes of the pages in the file.
    pub fn bytes(&self) -> u64 {
        (self.end - self.free.len() as u64) * self.page_size
    }

    /// Bytes of memory that the list of free places takes.
    pub fn memory_bytes(&self) -> u64 {
        (self.free.capacity() * size_of::<u64>()) as u64
    }

    pub fn offset(&self, place: SpillPlace) -> u64 {
        place.place * self.page_size
    }

    /// Puts a page into the file.
    pub fn write(&mut self, page: &[u8]) -> io::Result<SpillPlace> {
        if let Some(failed) = self.failed {
            return Err(failed.into());
        }
        let place = self.free.pop().unwrap_or(self.end);
        self.end = self.end.max(place + 1);
        self.writes += 1;
        let written = SpillPlace {
            place,
            write: self.writes,
        };
        match self.file.write_at(self.offset(written), page) {
            Ok(()) => Ok(written),
            Err(e) => {
                self.free(written);
                Err(e)
            }
        }
    }

    /// Gives a place up.
    pub fn free(&mut self, place: SpillPlace) {
        self.free.push(place.place);
        if self.free.len() as u64 == self.end {
            self.clear();
        }
    }

    /// Gives all places up.
    pub fn clear(&mut self) {
        if self.end > 0 {
            self.failed = self.file.set_len(0).err().map(|e| e.kind());
        }
        self.end = 0;
        self.free = Vec::new();
    }
}
