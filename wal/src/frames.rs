//! What a transaction looks like inside log entries.
//!
//! A transaction is a list of page images. It goes into the log as one entry, or, when it is large, as
//! several *parts*, each an entry of its own; entries of other transactions, of other databases, may lie
//! between them. Only the last part commits. A transaction whose last part never comes did not happen: it
//! ends with a part that says *abandoned*, with the next transaction of the same database, which has another
//! id, or with the next term, whose leader knows nothing of it.
//!
//! ```text
//! part    u8 version = 1 · u8 kind = 1 · u8 flags (bit 0: last part, bit 1: abandoned) · u8 length of the name
//!         u32 page size · u32 pages of the database afterwards (0 unless last) · u32 number of the part, from 0
//!         u64 u64 transaction id · u32 frames · the database's name, UTF-8
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
//!
//! A reader refuses a version, kind or encoding that it does not know. It checks every length before it
//! believes it, and the checksum of every page that it hands out.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Error;

const VERSION: u8 = 1;
const KIND_TRANSACTION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_ABANDONED: u8 = 2;
const PART_HEADER_BYTES: usize = 36;
/// Bytes of a frame before the page's.
pub const FRAME_PREFIX_BYTES: usize = 16;
/// The page as it is.
pub const ENCODING_WHOLE: u8 = 0;
/// The page as an LZ4 block.
pub const ENCODING_LZ4: u8 = 1;
/// A database's name has at most this many bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// A new part is begun once the present one has this many bytes.
pub const PART_BYTES: usize = 1 << 20;

/// Tells transactions apart: unique among all that a database ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub u64, pub u64);

/// Where a page went: into which part, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Number of the part, from 0.
    pub part: u32,
    /// Offset of the page's bytes from the start of the part.
    pub offset: u32,
    /// Their length.
    pub len: u32,
    /// Their encoding.
    pub encoding: u8,
}

/// Cuts a transaction into parts.
///
/// ```
/// use ferrolite_wal::frames::{Part, PartWriter, TransactionId};
///
/// # fn main() -> Result<(), ferrolite_wal::Error> {
/// let mut writer = PartWriter::new("app", 4096, TransactionId(7, 1))?;
/// let (placed, full) = writer.push(3, &[1; 4096])?;
/// assert!(full.is_none() && placed.part == 0);
/// let part = Part::decode(writer.finish(10))?;
/// assert!(part.is_last() && part.database() == "app" && part.db_size() == 10);
/// assert_eq!(part.frames().next().unwrap().page(4096)?, vec![1; 4096]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PartWriter {
    name: String,
    page_size: u32,
    id: TransactionId,
    part: u32,
    frames: u32,
    buffer: BytesMut,
    squeezed: Vec<u8>,
}

impl PartWriter {
    /// A writer for a transaction of the database `name`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the name is longer than [`MAX_NAME_BYTES`].
    pub fn new(name: &str, page_size: u32, id: TransactionId) -> Result<Self, Error> {
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::TooLarge {
                what: "name of a database",
                len: name.len() as u64,
                max: MAX_NAME_BYTES as u64,
            });
        }
        let mut writer = Self {
            name: name.to_owned(),
            page_size,
            id,
            part: 0,
            frames: 0,
            buffer: BytesMut::new(),
            squeezed: Vec::new(),
        };
        writer.begin();
        Ok(writer)
    }

    /// A writer for a transaction whose first `parts` parts are in the log already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn continued(
        name: &str,
        page_size: u32,
        id: TransactionId,
        parts: u32,
    ) -> Result<Self, Error> {
        let mut writer = Self::new(name, page_size, id)?;
        writer.part = parts;
        writer.buffer.clear();
        writer.begin();
        Ok(writer)
    }

    /// Ends the present part early: what was pushed so far goes out, and the transaction goes on in the next.
    #[must_use]
    pub fn cut(&mut self) -> Bytes {
        let part = self.close(0, 0);
        self.part += 1;
        self.begin();
        part
    }

    fn begin(&mut self) {
        self.frames = 0;
        self.buffer.put_u8(VERSION);
        self.buffer.put_u8(KIND_TRANSACTION);
        self.buffer.put_u8(0);
        self.buffer
            .put_u8(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        self.buffer.put_u32_le(self.page_size);
        self.buffer.put_u32_le(0);
        self.buffer.put_u32_le(self.part);
        self.buffer.put_u64_le(self.id.0);
        self.buffer.put_u64_le(self.id.1);
        self.buffer.put_u32_le(0);
        self.buffer.put_slice(self.name.as_bytes());
    }

    /// Adds the image of page `page_no`. Says where it went, and hands out the part that it filled, if so.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the image is not of the page size.
    pub fn push(&mut self, page_no: u32, image: &[u8]) -> Result<(Placed, Option<Bytes>), Error> {
        let page_size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        if image.len() != page_size || page_no == 0 {
            return Err(Error::malformed(
                "page",
                "it has another size than the database's pages, or no number",
            ));
        }
        self.squeezed
            .resize(lz4_flex::block::get_maximum_output_size(page_size), 0);
        let squeezed = lz4_flex::block::compress_into(image, &mut self.squeezed).ok();
        let squeezed = squeezed
            .filter(|len| len.saturating_mul(4) <= page_size.saturating_mul(3))
            .and_then(|len| self.squeezed.get(..len));
        let (encoding, bytes) =
            squeezed.map_or((ENCODING_WHOLE, image), |bytes| (ENCODING_LZ4, bytes));
        self.buffer.put_u32_le(page_no);
        self.buffer.put_u32_le(crc32fast::hash(image));
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.buffer.put_u32_le(len);
        self.buffer.put_u32_le(u32::from(encoding));
        let offset = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer.put_slice(bytes);
        self.frames += 1;
        let placed = Placed {
            part: self.part,
            offset,
            len,
            encoding,
        };
        let full = (self.buffer.len() >= PART_BYTES).then(|| self.cut());
        Ok((placed, full))
    }

    /// The last part, which commits the transaction: the database has `db_size` pages then.
    #[must_use]
    pub fn finish(mut self, db_size: u32) -> Bytes {
        self.close(db_size, FLAG_LAST)
    }

    /// A part that says that the transaction will not be finished; what was not handed out yet is dropped.
    #[must_use]
    pub fn abandon(mut self) -> Bytes {
        self.buffer.clear();
        self.begin();
        self.close(0, FLAG_ABANDONED)
    }

    fn close(&mut self, db_size: u32, flags: u8) -> Bytes {
        let mut part = std::mem::take(&mut self.buffer);
        if let Some(header) = part.first_chunk_mut::<PART_HEADER_BYTES>() {
            header[2] = flags;
            header[8..12].copy_from_slice(&db_size.to_le_bytes());
            header[32..36].copy_from_slice(&self.frames.to_le_bytes());
        }
        part.freeze()
    }
}

/// One part of a transaction, decoded and checked as far as lengths go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    name: String,
    page_size: u32,
    db_size: u32,
    number: u32,
    id: TransactionId,
    last: bool,
    abandoned: bool,
    frames: Vec<Frame>,
}

/// A page in a [`Part`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    page_no: u32,
    crc: u32,
    encoding: u8,
    bytes: Bytes,
}

/// What a part says of itself before its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHeader {
    /// The database's name.
    pub database: String,
    /// The transaction.
    pub id: TransactionId,
    /// Number of the part, from 0.
    pub number: u32,
    /// Whether the part commits the transaction.
    pub last: bool,
    /// Whether the part ends the transaction without a commit.
    pub abandoned: bool,
    /// Size of a page, in bytes.
    pub page_size: u32,
    /// Pages of the database after the transaction; 0 unless last.
    pub db_size: u32,
    frames: u32,
}

impl PartHeader {
    /// Reads what stands before the pages.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no part of a transaction, or one of a later version.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |reason| Err(Error::malformed("transaction in the log", reason));
        if bytes.len() < PART_HEADER_BYTES {
            return wrong("too short");
        }
        if bytes.get_u8() != VERSION {
            return wrong("written in a version that this program does not know");
        }
        if bytes.get_u8() != KIND_TRANSACTION {
            return wrong("of a kind that this program does not know");
        }
        let flags = bytes.get_u8();
        let (last, abandoned) = (flags & FLAG_LAST != 0, flags & FLAG_ABANDONED != 0);
        let name_len = usize::from(bytes.get_u8());
        let (page_size, db_size, number) =
            (bytes.get_u32_le(), bytes.get_u32_le(), bytes.get_u32_le());
        let id = TransactionId(bytes.get_u64_le(), bytes.get_u64_le());
        let frames = bytes.get_u32_le();
        let Some(name) = bytes
            .get(..name_len)
            .and_then(|name| std::str::from_utf8(name).ok())
        else {
            return wrong("the database's name makes no sense");
        };
        if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return wrong("no database has pages of that size");
        }
        if last && db_size == 0 {
            return wrong("it would leave the database without a page");
        }
        if flags & !(FLAG_LAST | FLAG_ABANDONED) != 0 || (last && abandoned) {
            return wrong("its flags make no sense to this program");
        }
        Ok(Self {
            database: name.to_owned(),
            id,
            number,
            last,
            abandoned,
            page_size,
            db_size,
            frames,
        })
    }
}

impl Part {
    /// Reads a part. The pages' bytes stay where they are.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are not a part; its pages are checked when they are taken out.
    pub fn decode(bytes: Bytes) -> Result<Self, Error> {
        let wrong = |reason| Error::malformed("transaction in the log", reason);
        let PartHeader {
            database,
            id,
            number,
            last,
            abandoned,
            page_size,
            db_size,
            frames,
        } = PartHeader::decode(&bytes)?;
        let mut rest = bytes.slice(PART_HEADER_BYTES + database.len()..);
        // Each frame has a prefix, so a count cannot promise more than the bytes hold.
        let most = rest.len() / FRAME_PREFIX_BYTES;
        let count = usize::try_from(frames).ok().filter(|count| *count <= most);
        let count = count.ok_or_else(|| wrong("fewer pages than announced"))?;
        let mut pages = Vec::with_capacity(count);
        for _ in 0..count {
            if rest.len() < FRAME_PREFIX_BYTES {
                return Err(wrong("fewer pages than announced"));
            }
            let (page_no, crc) = (rest.get_u32_le(), rest.get_u32_le());
            let (len, encoding) = (rest.get_u32_le(), rest.get_u32_le());
            let encoding = u8::try_from(encoding)
                .ok()
                .filter(|encoding| [ENCODING_WHOLE, ENCODING_LZ4].contains(encoding))
                .ok_or_else(|| wrong("a page in an encoding that this program does not know"))?;
            let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
            let bytes = rest.split_to(len.ok_or_else(|| wrong("a page is cut off"))?);
            if page_no == 0 {
                return Err(wrong("a page without a number"));
            }
            pages.push(Frame {
                page_no,
                crc,
                encoding,
                bytes,
            });
        }
        if !rest.is_empty() {
            return Err(wrong("more bytes than announced"));
        }
        Ok(Self {
            name: database,
            page_size,
            db_size,
            number,
            id,
            last,
            abandoned,
            frames: pages,
        })
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.name
    }

    /// Size of a page, in bytes.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Pages of the database after the transaction; 0 unless this is the last part.
    #[must_use]
    pub fn db_size(&self) -> u32 {
        self.db_size
    }

    /// Number of the part, from 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The transaction.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Whether this part commits the transaction.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Whether this part ends the transaction without a commit.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The pages.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter()
    }
}

impl Frame {
    /// Number of the page, from 1.
    #[must_use]
    pub fn page_no(&self) -> u32 {
        self.page_no
    }

    /// The page's image.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes do not make a page of that size, or not the one that was meant.
    pub fn page(&self, page_size: u32) -> Result<Vec<u8>, Error> {
        let mut page = vec![0; usize::try_from(page_size).unwrap_or(0)];
        decode_page(self.encoding, &self.bytes, &mut page)?;
        if crc32fast::hash(&page) != self.crc {
            return Err(Error::malformed("page in the log", "its checksum is wrong"));
        }
        Ok(page)
    }
}

/// Turns a frame, prefix and all, into the page that it holds, checked.
///
/// # Errors
/// [`Error::Malformed`] when the bytes are no such frame, or the page is not the one that was meant.
pub fn decode_frame(bytes: &[u8], page: &mut [u8]) -> Result<(), Error> {
    let wrong = |reason| Error::malformed("page in the log", reason);
    let (mut prefix, bytes) = bytes
        .split_at_checked(FRAME_PREFIX_BYTES)
        .ok_or_else(|| wrong("too short"))?;
    let (_, crc) = (prefix.get_u32_le(), prefix.get_u32_le());
    let (len, encoding) = (prefix.get_u32_le(), prefix.get_u32_le());
    if usize::try_from(len) != Ok(bytes.len()) {
        return Err(wrong("its length is not the announced one"));
    }
    decode_page(u8::try_from(encoding).unwrap_or(u8::MAX), bytes, page)?;
    if crc32fast::hash(page) == crc {
        Ok(())
    } else {
        Err(wrong("its checksum is wrong"))
    }
}

/// Turns the bytes of a frame into the page; the caller checks that it is the right one.
///
/// # Errors
/// [`Error::Malformed`] when they do not make a page of that size.
pub fn decode_page(encoding: u8, bytes: &[u8], page: &mut [u8]) -> Result<(), Error> {
    let wrong = |reason| Error::malformed("page in the log", reason);
    match encoding {
        ENCODING_WHOLE if bytes.len() == page.len() => {
            page.copy_from_slice(bytes);
            Ok(())
        }
        ENCODING_WHOLE => Err(wrong("it has another size than the database's pages")),
        ENCODING_LZ4 => match lz4_flex::block::decompress_into(bytes, page) {
            Ok(len) if len == page.len() => Ok(()),
            Ok(_) => Err(wrong(
                "it unpacks to another size than the database's pages",
            )),
            Err(_) => Err(wrong("it cannot be unpacked")),
        },
        _ => Err(wrong("its encoding is unknown to this program")),
    }
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
    use proptest::prelude::*;

    const PAGE: usize = 512;

    fn image(seed: u64, dull: bool) -> Vec<u8> {
        let mut state = seed | 1;
        (0..PAGE)
            .map(|at| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                if dull && at > 40 {
                    0
                } else {
                    (state >> 33) as u8
                }
            })
            .collect()
    }

    fn encode(pages: &[(u32, Vec<u8>)], db_size: u32) -> (Vec<Bytes>, Vec<Placed>) {
        let mut writer = PartWriter::new("a database", PAGE as u32, TransactionId(1, 2)).unwrap();
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for (page_no, image) in pages {
            let (placed, full) = writer.push(*page_no, image).unwrap();
            places.push(placed);
            parts.extend(full);
        }
        parts.push(writer.finish(db_size));
        (parts, places)
    }

    /// A transaction of any size comes back as it was, in parts of which only the last commits, and each
    /// page can also be had from its place alone.
    #[test]
    fn large_transactions_come_in_parts() {
        let pages: Vec<_> = (1..6000)
            .map(|n| (n, image(u64::from(n), n % 3 == 0)))
            .collect();
        let (parts, places) = encode(&pages, 6000);
        assert!(parts.len() > 1);
        let decoded: Vec<_> = parts
            .iter()
            .map(|part| Part::decode(part.clone()).unwrap())
            .collect();
        for (number, part) in decoded.iter().enumerate() {
            let last = number + 1 == parts.len();
            assert_eq!((part.number() as usize, part.is_last()), (number, last));
            assert_eq!(part.db_size(), if last { 6000 } else { 0 });
            assert!(parts[number].len() < PART_BYTES + PAGE + FRAME_PREFIX_BYTES);
        }
        let back: Vec<_> = decoded
            .iter()
            .flat_map(Part::frames)
            .map(|frame| (frame.page_no(), frame.page(PAGE as u32).unwrap()))
            .collect();
        assert_eq!(back, pages);
        for (placed, (_, image)) in places.iter().zip(&pages) {
            let from = placed.offset as usize;
            let bytes = &parts[placed.part as usize][from..from + placed.len as usize];
            let mut page = vec![0; PAGE];
            decode_page(placed.encoding, bytes, &mut page).unwrap();
            assert_eq!(&page, image);
            let frame =
                &parts[placed.part as usize][from - FRAME_PREFIX_BYTES..from + placed.len as usize];
            decode_frame(frame, &mut page).unwrap();
            assert_eq!(&page, image);
            let mut bad = frame.to_vec();
            let last = bad.len() - 1;
            bad[last] ^= 1;
            assert!(decode_frame(&bad, &mut page).is_err());
        }
        assert!(places.iter().any(|placed| placed.encoding == ENCODING_LZ4));
        assert!(
            places
                .iter()
                .any(|placed| placed.encoding == ENCODING_WHOLE)
        );
    }

    /// A transaction that will not be finished says so, and changes nothing.
    #[test]
    fn abandoned() {
        let mut writer = PartWriter::new("x", PAGE as u32, TransactionId(1, 2)).unwrap();
        assert!(writer.push(1, &image(1, false)).unwrap().1.is_none());
        let part = Part::decode(writer.abandon()).unwrap();
        assert!(part.is_abandoned() && !part.is_last() && part.frames().len() == 0);
    }

    /// A flipped bit is noticed, or hits a field that is part of no page (and then another check, the
    /// record's, is there for it); it never makes a page wrong and never panics.
    #[test]
    fn every_flipped_bit_is_harmless() {
        let pages = vec![(1, image(1, true)), (2, image(2, false))];
        let part = encode(&pages, 2).0.remove(0);
        for bit in 0..part.len() * 8 {
            let mut bytes = part.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(part) = Part::decode(Bytes::from(bytes)) {
                for (frame, (_, image)) in part.frames().zip(&pages) {
                    if let Ok(page) = frame.page(PAGE as u32) {
                        assert_eq!(&page, image);
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever the bytes are, the decoder answers.
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), real in any::<bool>()) {
            if real && bytes.len() > 2 {
                bytes[0] = VERSION;
                bytes[1] = KIND_TRANSACTION;
            }
            if let Ok(part) = Part::decode(Bytes::from(bytes)) {
                for frame in part.frames() {
                    let _ = frame.page(part.page_size());
                }
            }
        }
    }
}
