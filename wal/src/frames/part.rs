//! Reading parts.

use bytes::{Buf, Bytes};

use super::difference::Difference;
use super::{
    ENCODING_DIFFERENCE, ENCODING_LZ4, ENCODING_WHOLE, FLAG_ABANDONED, FLAG_LAST,
    FRAME_PREFIX_BYTES, KIND_TRANSACTION, PART_HEADER_BYTES, TransactionId, VERSION, decode_page,
};
use crate::error::Error;
use crate::view::FramePlace;

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

/// The encodings that this program knows.
const ENCODINGS: [u8; 3] = [ENCODING_WHOLE, ENCODING_LZ4, ENCODING_DIFFERENCE];

/// A page in a [`Part`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    page_no: u32,
    crc: u32,
    encoding: u8,
    /// Where the bytes begin in the part.
    offset: u32,
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
                .filter(|encoding| ENCODINGS.contains(encoding))
                .ok_or_else(|| wrong("a page in an encoding that this program does not know"))?;
            let offset = u32::try_from(bytes.len() - rest.len())
                .map_err(|_| wrong("longer than any entry"))?;
            let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
            let bytes = rest.split_to(len.ok_or_else(|| wrong("a page is cut off"))?);
            if page_no == 0 {
                return Err(wrong("a page without a number"));
            }
            pages.push(Frame {
                page_no,
                crc,
                encoding,
                offset,
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

    /// How the page is encoded.
    #[must_use]
    pub fn encoding(&self) -> u8 {
        self.encoding
    }

    /// Where the frame is, if its part is entry `index`.
    #[must_use]
    pub fn place(&self, index: u64) -> FramePlace {
        FramePlace {
            index,
            offset: self.offset,
            // Of a part whose offsets fit.
            len: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            encoding: self.encoding,
        }
    }

    /// The page as a difference, if it is one. Its image is that of the base, changed.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are no difference of a page of that size.
    pub fn difference(&self, page_size: u32) -> Result<Option<Difference<'_>>, Error> {
        if self.encoding != ENCODING_DIFFERENCE {
            return Ok(None);
        }
        let page_size = usize::try_from(page_size).unwrap_or(0);
        Difference::decode(&self.bytes, page_size).map(Some)
    }

    /// The page's image, out of the base's, which is in `page` before. The bytes are changed as the difference says.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no difference, or does not make the page that was meant.
    pub fn change(&self, page: &mut [u8]) -> Result<(), Error> {
        if self.encoding != ENCODING_DIFFERENCE {
            return Err(Error::malformed("page in the log", "it is no difference"));
        }
        Difference::decode(&self.bytes, page.len())?.apply(page);
        if crc32fast::hash(page) == self.crc {
            Ok(())
        } else {
            Err(Error::malformed("page in the log", "its checksum is wrong"))
        }
    }

    /// The page's image, if the frame has it whole.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes do not make a page of that size, or not the one that was meant, and for a
    /// [difference](Frame::difference), which needs its base: [`resolve`](super::resolve) reads that, too.
    pub fn page(&self, page_size: u32) -> Result<Vec<u8>, Error> {
        let mut page = vec![0; usize::try_from(page_size).unwrap_or(0)];
        decode_page(self.encoding, &self.bytes, &mut page)?;
        if crc32fast::hash(&page) != self.crc {
            return Err(Error::malformed("page in the log", "its checksum is wrong"));
        }
        Ok(page)
    }
}
