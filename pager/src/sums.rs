//! What every page of a database file has to be: its checksum, and the log entry that wrote it last.
//!
//! SQLite's own format has no checksums, so a byte that a disk changes is a byte that an application reads, months later.
//! Beside each database file `NAME.sqlite` therefore lies `NAME.sqlite-sums`, with twelve bytes for every page: a CRC-32 of
//! the page's number and bytes, and a log index.
//!
//! - **The checksum** tells a page from what it was when it was written: flipped bits, a write that never reached the disk,
//!   one that went to another place. 32 bits: a CRC finds every change of up to 32 bits in a row and every one of
//!   three bits anywhere in a page, and misses one other change in four thousand million. A second CRC with another
//!   starting value would find nothing more, because a CRC is linear: both differ by a constant that depends on the
//!   length alone. The number of the page is part of it, so that a page in another's place is found too.
//! - **The log index** is that of the last entry that wrote the page, or of a later one: an upper bound when an engine's
//!   checkpoint wrote it, which does not say which entry a page is of. That is all that is needed to tell the pages
//!   that have changed since an index from those that have not.
//!
//! **The file is not trusted either.** Its entries stand in blocks of one sector, each with a checksum over its place
//! and content. So rot in this file is told from rot in the database: a block that is not what was written says nothing,
//! and is reported as itself. A page without an entry (of a database that an older program wrote, or under a
//! damaged block) is *unverified*: it is read as it is, until the [scrubber](crate::Scrubber) adopts it, and its entry says
//! ever after that it was adopted.
//!
//! **Crashes.** Entries change in memory with the pages, and are written out when the database file is synced, after
//! it, with one more sync and no sync of their own on the way of a commit. A crash in the middle of a checkpoint leaves any
//! mixture of old and new pages and entries; the [mark](crate::CheckpointMark) says so, by a target above what is
//! done. Until the entries between the two have been written again, which sets pages and sums right, a page that
//! differs from its entry proves nothing, and is not called rotten. What no checkpoint was at work on agrees.
//!
//! **Memory** is bounded: at most [`MAX_BLOCKS`] blocks of a file are kept, which is four MiB and speaks of 1.25 GiB of
//! pages of 4 KiB; others are read when they are needed.

mod block;
mod cache;
mod reader;

use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

pub(crate) use block::{BLOCK_BYTES, BLOCK_PAGES, Block, Identity};
pub use cache::MAX_BLOCKS;
pub(crate) use cache::Sums;
pub(crate) use reader::SumsReader;

use crate::bytes::{self, Reader};
use crate::error::Error;
use crate::page_file::is_page_size;

/// First bytes of a sums file.
const MAGIC: [u8; 8] = *b"FERRSUMS";
/// Version of the sums files that this program writes, and the newest that it reads.
pub const SUMS_VERSION: u32 = 1;
/// What the name of a sums file ends in, behind the name of the database file.
pub const SUMS_SUFFIX: &str = "-sums";
/// The index of a page of which nothing is known but what it is: it counts as changed since any index.
pub(crate) const UNKNOWN_INDEX: u64 = u64::MAX;

/// What is known of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageSum {
    /// CRC-32 of the page's number, as four little-endian bytes, and of its bytes.
    pub sum: u32,
    /// The log index of the last entry that wrote the page, or a later one; [`u64::MAX`] when no bound is known, of a
    /// page that came in a snapshot without indexes.
    pub index: u64,
    /// Whether the sum was taken from a file as it was found, so that rot from before that is not seen.
    pub adopted: bool,
}

impl PageSum {
    /// The log index, if one is known.
    pub(crate) fn known_index(&self) -> Option<u64> {
        (self.index != UNKNOWN_INDEX).then_some(self.index)
    }
}

/// The checksum of a page.
#[must_use]
pub fn page_sum(page_no: u32, page: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&page_no.to_le_bytes());
    hasher.update(page);
    hasher.finalize()
}

/// The first block: prefix, page size, checksum of these, zeros.
fn header(page_size: u32) -> [u8; BLOCK_BYTES] {
    let mut fields = bytes::prefix(MAGIC, SUMS_VERSION);
    fields.extend_from_slice(&page_size.to_le_bytes());
    let checksum = crc32fast::hash(&fields);
    fields.extend_from_slice(&checksum.to_le_bytes());
    let mut header = [0; BLOCK_BYTES];
    if let Some(place) = header.get_mut(..fields.len()) {
        place.copy_from_slice(&fields);
    }
    header
}

/// What the first block of a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// Of sums of pages of this size.
    Good(u32),
    /// Never written: the file is new.
    Blank,
    /// Not what was written.
    Damaged,
}

/// Reads the first block.
///
/// # Errors
/// [`Error::NewerFormat`]; [`Error::Io`].
pub(crate) fn read_header(
    file: &Arc<dyn BackendFile>,
    path: &std::path::Path,
) -> Result<Header, Error> {
    let mut found = [0; BLOCK_BYTES];
    file.read_at(0, &mut found)
        .map_err(|e| Error::io("read", path, e))?;
    if found.iter().all(|byte| *byte == 0) {
        return Ok(Header::Blank);
    }
    let mut reader = Reader::new(&found);
    let Some(version) = bytes::version(&mut reader, MAGIC) else {
        return Ok(Header::Damaged);
    };
    if version > SUMS_VERSION {
        return Err(Error::NewerFormat {
            path: path.display().to_string(),
            found: version,
            supported: SUMS_VERSION,
        });
    }
    // The whole block is given by the page size, so what differs anywhere was not written.
    Ok(match reader.u32() {
        Some(page_size) if is_page_size(page_size) && found == header(page_size) => {
            Header::Good(page_size)
        }
        _ => Header::Damaged,
    })
}
