//! What a transaction looks like inside log entries.
//!
//! A transaction is a list of page images. It goes into the log as one entry, or, when it is large, as
//! several *parts*, each an entry of its own; entries of other transactions, of other databases, may lie
//! between them. Only the last part commits. A transaction whose last part never comes did not happen: it
//! ends with a part that says *abandoned*, with the next transaction of the same database, which has another
//! id, or with the next term, whose leader knows nothing of it.
//!
//! ```text
//! part    u8 version = 1 · u8 kind = 1 · u8 flags (bit 0: last part, bit 1: abandoned, bit 2: leans)
//!         u8 length of the name · u32 page size · u32 pages of the database afterwards (0 unless last)
//!         u32 number of the part, from 0 · u64 u64 transaction id · u32 frames · the database's name, UTF-8
//! frame   u32 page number, from 1 · u32 CRC-32 of the whole page · u32 length of the bytes · u32 encoding
//!         the bytes
//! ```
//!
//! Everything is little-endian. Encodings:
//!
//! | | the bytes are |
//! |---|---|
//! | 0 | the page |
//! | 1 | the page as an LZ4 block, where that saves a quarter or more |
//! | 2 | the [difference](Difference) against an earlier image of the page, where that saves a quarter or more of the rest |
//!
//! A reader refuses a version, kind or encoding that it does not know. It checks every length before it
//! believes it, and the checksum of every page that it hands out, however that was encoded.
//!
//! # Differences
//!
//! A row more changes some dozen bytes of a page of 4096. What changed is a few *runs* of new bytes, and a base to put
//! them into:
//!
//! ```text
//! u8      encoding of the base
//! u8      depth: how many differences there are from here to the root, this one counted; 1 to 64
//! varint  how many entries before this one the base is
//! varint  how many entries before this one the root of the chain is: the whole image that all its differences stand on
//! varint  offset of the base's bytes in the payload of its entry
//! varint  length of the base's bytes
//! runs, in order, up to the end: varint bytes that stay as they are, since the run before · varint length, not 0
//!         the new bytes
//! ```
//!
//! A varint has seven bits a byte, the lowest first; the highest bit of a byte says that another follows.
//!
//! The base is a frame *in the log*, named by its place, and never what a database file happens to hold. That is what
//! keeps redo idempotent. After a crash in the middle of a checkpoint a file has old pages, new ones, and some that are
//! newer than the entry that is redone; a difference put onto such a page would make a page that never was. From the log
//! alone every frame gives the same image, whenever and however often it is asked for. All nodes resolve it alike, too:
//! where two logs have the same entry they have the same entries before it.
//!
//! The base is in an earlier entry, and the chain is at most [`MAX_DEPTH`] long. After that, or whenever the writer
//! likes, comes a [full image](Previous::FullImage). A reader follows the chain to its root, checks that each step goes to
//! an earlier entry, to the same page, and one less deep, and checks the image after each step against the checksum in its
//! frame.
//!
//! # Anchors
//!
//! A difference is worth nothing without the entries below it, so a log may begin only where no difference that is still to
//! be read reaches behind its beginning. Such places must be known in advance: who drops the front of a log, or gives
//! another node a snapshot with a log that begins behind it, does not know the entries to come. So there are *anchors*.
//!
//! > No difference in an anchor, or in an entry after it, has a base before it.
//!
//! Every entry is an anchor but for the parts of transactions that say they *lean*. A writer that makes an anchor forgets
//! all bases; it makes one every so many entries and bytes, and so bounds what has to be kept. A log that begins with an
//! anchor is complete in itself.
//!
//! ```text
//!   A  ◄─ l ◄─ l ◄───── l     A ◄── l    l ◄─ l         A anchor   l leaning entry   ◄─ difference and base
//!   └─────────────────────────┴─────────────────► …
//!   may be dropped once all of these are done
//! ```

mod difference;
mod page;
mod part;
mod read;
#[cfg(test)]
mod tests;
mod writer;

pub use difference::{Difference, MAX_DEPTH};
use page::decode_page;
pub use part::{Frame, Part, PartHeader};
pub use read::{page_at, resolve};
pub use writer::{Base, PartWriter, Placed, Previous};

const VERSION: u8 = 1;
const KIND_TRANSACTION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_ABANDONED: u8 = 2;
const FLAG_LEANS: u8 = 4;
const PART_HEADER_BYTES: usize = 36;
/// Bytes of a frame before the page's.
pub const FRAME_PREFIX_BYTES: usize = 16;
/// The page as it is.
pub const ENCODING_WHOLE: u8 = 0;
/// The page as an LZ4 block.
pub const ENCODING_LZ4: u8 = 1;
/// The page as a difference against an earlier image of it.
pub const ENCODING_DIFFERENCE: u8 = 2;
/// A database's name has at most this many bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// A new part is begun once the present one has this many bytes.
pub const PART_BYTES: usize = 1 << 20;

/// Tells transactions apart: unique among all that a database ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub u64, pub u64);
