//! The records of the stream: how they are written, and how they are believed.
//!
//! Every checksum covers the record's place besides its bytes: the number of the database, and of the page. All
//! integers are little-endian.

use crate::bytes::{self, PREFIX_BYTES, Reader};
use crate::error::Error;
use crate::naming;
use crate::page_file::is_page_size;

/// First bytes of a stream.
const MAGIC: [u8; 8] = *b"FERRSNAP";
/// Version of the stream that this program writes, and the newest that it reads.
pub const STREAM_VERSION: u32 = 1;
/// Most databases in one snapshot.
pub const MAX_DATABASES: u32 = 65_536;

/// Prefix (16), page size (4), databases (4), bytes of the stream (8), checksum (4).
pub(super) const HEAD_BYTES: usize = PREFIX_BYTES + 20;
/// Bytes of a record besides the page or the name: length of the name (2), pages (4), checksum (4).
const DATABASE_OVERHEAD_BYTES: usize = 10;
/// Bytes of a page's record besides the page.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// What the first record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of a page, the same for all databases.
    pub page_size: u32,
    /// How many databases follow.
    pub databases: u32,
    /// Bytes of the whole stream with this record.
    pub total: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = bytes::prefix(MAGIC, STREAM_VERSION);
        record.extend_from_slice(&self.page_size.to_le_bytes());
        record.extend_from_slice(&self.databases.to_le_bytes());
        record.extend_from_slice(&self.total.to_le_bytes());
        let checksum = crc32fast::hash(&record);
        record.extend_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Reads a head, and advances `reader` behind it if it is good.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Head, Error> {
        let refuse = |reason| Err(Error::Stream { offset: 0, reason });
        let Some(record) = reader.take(HEAD_BYTES) else {
            return refuse("the head is cut off");
        };
        let mut fields = Reader::new(record);
        let Some(version) = bytes::version(&mut fields, MAGIC) else {
            return refuse("this is no snapshot");
        };
        if version > STREAM_VERSION {
            return Err(Error::NewerFormat {
                path: "snapshot stream".to_owned(),
                found: version,
                supported: STREAM_VERSION,
            });
        }
        let (Some(page_size), Some(databases), Some(total), Some(checksum)) =
            (fields.u32(), fields.u32(), fields.u64(), fields.u32())
        else {
            return refuse("the head is cut off");
        };
        let covered = record.split_at_checked(HEAD_BYTES - CHECKSUM_BYTES);
        if covered.is_none_or(|(covered, _)| crc32fast::hash(covered) != checksum) {
            return refuse("the checksum of the head is wrong");
        }
        if version != STREAM_VERSION {
            return refuse("there is no such version");
        }
        if !is_page_size(page_size) {
            return refuse("SQLite has no such page size");
        }
        if databases > MAX_DATABASES {
            return refuse("there are too many databases");
        }
        Ok(Head {
            page_size,
            databases,
            total,
        })
    }
}

/// A database in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    /// Name of the database, not of its file.
    pub name: String,
    /// How many pages of it the snapshot holds.
    pub pages: u32,
}

impl Database {
    /// Bytes of its record.
    pub(super) fn record_bytes(&self) -> u64 {
        (DATABASE_OVERHEAD_BYTES + self.name.len()) as u64
    }

    /// Length and bytes of the name, and the pages: its fields, as records of the stream and of `complete` have them.
    pub(super) fn encode_fields(&self, record: &mut Vec<u8>) {
        // Names that were checked have at most MAX_ESCAPED_BYTES.
        let name_len = u16::try_from(self.name.len()).unwrap_or(u16::MAX);
        record.extend_from_slice(&name_len.to_le_bytes());
        record.extend_from_slice(self.name.as_bytes());
        record.extend_from_slice(&self.pages.to_le_bytes());
    }

    /// The reverse of [`encode_fields`](Self::encode_fields), for names that a database can have.
    pub(super) fn decode_fields(reader: &mut Reader<'_>) -> Result<Database, &'static str> {
        let cut_off = "the record of a database is cut off";
        let name_len = usize::from(reader.u16().ok_or(cut_off)?);
        if name_len > naming::MAX_ESCAPED_BYTES {
            return Err("the name of a database is too long");
        }
        let name = reader.take(name_len).ok_or(cut_off)?;
        let pages = reader.u32().ok_or(cut_off)?;
        let name = std::str::from_utf8(name).map_err(|_| "the name of a database is no UTF-8")?;
        naming::file_name(name).map_err(|_| "a database has a name that none can have")?;
        Ok(Database {
            name: name.to_owned(),
            pages,
        })
    }

    pub(super) fn encode(&self, ordinal: u32) -> Vec<u8> {
        let mut record = Vec::new();
        self.encode_fields(&mut record);
        let checksum = checksum(&[&ordinal.to_le_bytes(), &record]);
        record.extend_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Reads the record of database number `ordinal`, counted from 0, which begins at `offset` of the stream.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        ordinal: u32,
        offset: u64,
    ) -> Result<Database, Error> {
        let refuse = |reason| Error::Stream { offset, reason };
        let mut fields = *reader;
        let database = Database::decode_fields(&mut fields).map_err(refuse)?;
        let covered = reader
            .take(reader.len() - fields.len())
            .ok_or_else(|| refuse("the record of a database is cut off"))?;
        let found = reader
            .u32()
            .ok_or_else(|| refuse("the record of a database is cut off"))?;
        if found != checksum(&[&ordinal.to_le_bytes(), covered]) {
            return Err(refuse("the checksum of a database's record is wrong"));
        }
        Ok(database)
    }
}

/// The checksum of a page's record: of its place, and its bytes.
pub(super) fn page_checksum(ordinal: u32, page_no: u32, page: &[u8]) -> u32 {
    checksum(&[&ordinal.to_le_bytes(), &page_no.to_le_bytes(), page])
}

/// Bytes of a page's record.
pub(super) fn page_record_bytes(page_size: u32) -> u64 {
    u64::from(page_size) + CHECKSUM_BYTES as u64
}

/// Bytes of a stream; `None` when no one can count them.
pub(super) fn total_bytes(databases: &[Database], page_size: u32) -> Option<u64> {
    let mut total = HEAD_BYTES as u64;
    for database in databases {
        let pages = u64::from(database.pages).checked_mul(page_record_bytes(page_size))?;
        total = total
            .checked_add(database.record_bytes())?
            .checked_add(pages)?;
    }
    Some(total)
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}
