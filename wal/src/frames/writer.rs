//! Writing parts.

use bytes::{BufMut, Bytes, BytesMut};

use super::difference::{MAX_DEPTH, encode_into};
use super::{
    ENCODING_DIFFERENCE, ENCODING_LZ4, ENCODING_WHOLE, FLAG_ABANDONED, FLAG_LAST, FLAG_LEANS,
    KIND_TRANSACTION, MAX_NAME_BYTES, PART_BYTES, PART_HEADER_BYTES, TransactionId, VERSION,
};
use crate::error::Error;
use crate::view::FramePlace;

/// Room for a part of one or two small differences, which most are.
const SMALL_PART_BYTES: usize = 512;
/// A difference of less than this part of a page is taken without a look at how small the page could be made by itself.
const SMALL_DIFFERENCE: usize = 8;

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
    /// How many differences there are from here to a whole image: 0 when this is one.
    pub depth: u8,
}

/// What a page may be written as a difference of.
#[derive(Debug, Clone, Copy)]
pub enum Previous<'a> {
    /// Nothing: the page goes in whole, or compressed.
    FullImage,
    /// Its image in an earlier entry, if that makes it small enough.
    Image(Base<'a>),
}

/// An image of a page that is in the log already.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Where it is.
    pub place: FramePlace,
    /// [`Placed::depth`] of that frame.
    pub depth: u8,
    /// Index of the entry with the whole image at the root of its chain; its own, if that is whole.
    pub root: u64,
    /// The page as it was then.
    pub image: &'a [u8],
}

impl Base<'_> {
    /// Whether a reader would follow a difference in entry `index` to it.
    fn can_be_one(&self, index: u64) -> bool {
        let place = &self.place;
        let chain = match place.encoding {
            ENCODING_DIFFERENCE => self.depth > 0 && self.root < place.index,
            _ => self.depth == 0 && self.root == place.index,
        };
        chain && self.root > 0 && place.index < index && self.depth < MAX_DEPTH
    }
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
    /// The entry that the present part will be, if it may lean on earlier ones.
    leans_at: Option<u64>,
    frames: u32,
    buffer: BytesMut,
    squeezed: Vec<u8>,
    changed: Vec<u8>,
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
            leans_at: None,
            frames: 0,
            buffer: BytesMut::with_capacity(SMALL_PART_BYTES),
            squeezed: Vec::new(),
            changed: Vec::new(),
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

    /// Says that the present part will be entry `index` of the log, and is no [anchor](super#anchors): its pages may be
    /// differences, and so may those of later entries be, against images from before it.
    #[must_use]
    pub fn leaning(mut self, index: u64) -> Self {
        self.leans_at = Some(index);
        self
    }

    /// Ends the present part early: what was pushed so far goes out, and the transaction goes on in the next.
    #[must_use]
    pub fn cut(&mut self) -> Bytes {
        let part = self.close(0, 0);
        self.part += 1;
        self.leans_at = None;
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

    /// Adds the image of page `page_no`, whole or compressed. Says where it went, and hands out the part that it
    /// filled, if so.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the image is not of the page size.
    pub fn push(&mut self, page_no: u32, image: &[u8]) -> Result<(Placed, Option<Bytes>), Error> {
        self.push_image(page_no, image, Previous::FullImage)
    }

    /// Adds the image of page `page_no` in the smallest of its encodings. Of two that are nearly as small, the one that
    /// is quicker to read is taken: the whole page, then LZ4, then a difference.
    ///
    /// A base that cannot be one, above all because its chain has [`MAX_DEPTH`] differences already, is as good as none, and
    /// so is any in a part that does not [lean](Self::leaning). That no anchor lies between its root and this part is the
    /// caller's to see to.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the image, or the one before, is not of the page size.
    pub fn push_image(
        &mut self,
        page_no: u32,
        image: &[u8],
        previous: Previous<'_>,
    ) -> Result<(Placed, Option<Bytes>), Error> {
        let page_size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        let size_of_base = match previous {
            Previous::FullImage => page_size,
            Previous::Image(base) => base.image.len(),
        };
        if image.len() != page_size || size_of_base != page_size || page_no == 0 {
            return Err(Error::malformed(
                "page",
                "it has another size than the database's pages, or no number",
            ));
        }
        let base = match (previous, self.leans_at) {
            (Previous::Image(base), Some(index)) if base.can_be_one(index) => Some((base, index)),
            _ => None,
        };
        let changed =
            base.is_some_and(|(base, index)| encode_into(&base, index, image, &mut self.changed));
        let changed_len = if changed {
            self.changed.len()
        } else {
            usize::MAX
        };
        // Where so little changed, compressing is not even tried.
        let mut best = (ENCODING_WHOLE, page_size);
        if changed_len > page_size / SMALL_DIFFERENCE {
            let most = lz4_flex::block::get_maximum_output_size(page_size);
            self.squeezed.resize(most, 0);
            let squeezed = lz4_flex::block::compress_into(image, &mut self.squeezed);
            best = match squeezed {
                Ok(len) if saves_a_quarter(len, page_size) => (ENCODING_LZ4, len),
                _ => best,
            };
        }
        if saves_a_quarter(changed_len, best.1) {
            best = (ENCODING_DIFFERENCE, changed_len);
        }
        let (encoding, bytes) = match best {
            (ENCODING_LZ4, len) => (ENCODING_LZ4, self.squeezed.get(..len).unwrap_or_default()),
            (ENCODING_DIFFERENCE, _) => (ENCODING_DIFFERENCE, self.changed.as_slice()),
            _ => (ENCODING_WHOLE, image),
        };
        self.buffer.put_u32_le(page_no);
        self.buffer.put_u32_le(crc32fast::hash(image));
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.buffer.put_u32_le(len);
        self.buffer.put_u32_le(u32::from(encoding));
        let offset = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer.put_slice(bytes);
        self.frames += 1;
        let base = base.filter(|_| encoding == ENCODING_DIFFERENCE);
        let placed = Placed {
            part: self.part,
            offset,
            len,
            encoding,
            depth: base.map_or(0, |(base, _)| base.depth + 1),
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
        self.leans_at = None;
        self.begin();
        self.close(0, FLAG_ABANDONED)
    }

    fn close(&mut self, db_size: u32, flags: u8) -> Bytes {
        let mut part = std::mem::take(&mut self.buffer);
        if let Some(header) = part.first_chunk_mut::<PART_HEADER_BYTES>() {
            let leans = if self.leans_at.is_some() {
                FLAG_LEANS
            } else {
                0
            };
            header[2] = flags | leans;
            header[8..12].copy_from_slice(&db_size.to_le_bytes());
            header[32..36].copy_from_slice(&self.frames.to_le_bytes());
        }
        part.freeze()
    }
}

fn saves_a_quarter(len: usize, of: usize) -> bool {
    len.saturating_mul(4) <= of.saturating_mul(3)
}
