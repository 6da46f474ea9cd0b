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
/// The newest version of the stream that this program reads and writes: pages with their log indexes.
pub const STREAM_VERSION: u32 = 2;
/// The version of a stream of bare pages, all of them.
pub(super) const BARE_VERSION: u32 = 1;
/// Most databases in one snapshot.
pub const MAX_DATABASES: u32 = 65_536;

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;
/// Bytes of a page's number and log index, before the page.
const PAGE_FIELDS_BYTES: usize = 12;

/// What the first record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub version: u32,
    /// Bytes of a page, the same for all databases.
    pub page_size: u32,
    /// How many databases follow.
    pub databases: u32,
    /// Bytes of the whole stream with this record.
    pub total: u64,
    /// The log index since which pages have changed; 0 for all pages.
    pub base: u64,
}

impl Head {
    /// Bytes of the record.
    pub(super) fn bytes(version: u32) -> usize {
        PREFIX_BYTES + 20 + if version == BARE_VERSION { 0 } else { 8 }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = bytes::prefix(MAGIC, self.version);
        record.extend_from_slice(&self.page_size.to_le_bytes());
        record.extend_from_slice(&self.databases.to_le_bytes());
        record.extend_from_slice(&self.total.to_le_bytes());
        if self.version != BARE_VERSION {
            record.extend_from_slice(&self.base.to_le_bytes());
        }
        let checksum = crc32fast::hash(&record);
        record.extend_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Reads a head, and advances `reader` behind it if it is good.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Head, Error> {
        let refuse = |reason| Error::Stream { offset: 0, reason };
        let cut_off = || refuse("the head is cut off");
        let mut fields = *reader;
        if fields.len() < PREFIX_BYTES {
            return Err(cut_off());
        }
        let version =
            bytes::version(&mut fields, MAGIC).ok_or_else(|| refuse("this is no snapshot"))?;
        if version > STREAM_VERSION {
            return Err(Error::NewerFormat {
                path: "snapshot stream".to_owned(),
                found: version,
                supported: STREAM_VERSION,
            });
        }
        if version < BARE_VERSION {
            return Err(refuse("there is no such version"));
        }
        let record = reader.take(Head::bytes(version)).ok_or_else(cut_off)?;
        let head = Head {
            version,
            page_size: fields.u32().ok_or_else(cut_off)?,
            databases: fields.u32().ok_or_else(cut_off)?,
            total: fields.u64().ok_or_else(cut_off)?,
            base: match version {
                BARE_VERSION => 0,
                _ => fields.u64().ok_or_else(cut_off)?,
            },
        };
        let checksum = fields.u32().ok_or_else(cut_off)?;
        let covered = record.split_at_checked(record.len().saturating_sub(CHECKSUM_BYTES));
        if covered.is_none_or(|(covered, _)| crc32fast::hash(covered) != checksum) {
            return Err(refuse("the checksum of the head is wrong"));
        }
        if !is_page_size(head.page_size) {
            return Err(refuse("SQLite has no such page size"));
        }
        if head.databases > MAX_DATABASES {
            return Err(refuse("there are too many databases"));
        }
        Ok(head)
    }

    /// Bytes of a page's record.
    pub(super) fn page_record_bytes(&self) -> u64 {
        page_record_bytes(self.version, self.page_size)
    }
}

/// A database in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    /// Name of the database, not of its file.
    pub name: String,
    /// How many pages it has.
    pub pages: u32,
    /// How many of them the snapshot holds.
    pub records: u32,
}

impl Database {
    /// Bytes of its record.
    pub(super) fn record_bytes(&self, version: u32) -> u64 {
        let counts = if version == BARE_VERSION { 4 } else { 8 };
        (2 + self.name.len() + counts + CHECKSUM_BYTES) as u64
    }

    /// Length and bytes of the name, the pages, and how many of them come: its fields, as records of the stream and
    /// of `complete` have them. The last one is left out where all come.
    pub(super) fn encode_fields(&self, version: u32, record: &mut Vec<u8>) {
        // Names that were checked have at most MAX_ESCAPED_BYTES.
        let name_len = u16::try_from(self.name.len()).unwrap_or(u16::MAX);
        record.extend_from_slice(&name_len.to_le_bytes());
        record.extend_from_slice(self.name.as_bytes());
        record.extend_from_slice(&self.pages.to_le_bytes());
        if version != BARE_VERSION {
            record.extend_from_slice(&self.records.to_le_bytes());
        }
    }

    /// The reverse of [`encode_fields`](Self::encode_fields), for names that a database can have, and with all pages
    /// unless `base` says that some may be left out.
    pub(super) fn decode_fields(
        reader: &mut Reader<'_>,
        version: u32,
        base: u64,
    ) -> Result<Database, &'static str> {
        let cut_off = "the record of a database is cut off";
        let name_len = usize::from(reader.u16().ok_or(cut_off)?);
        if name_len > naming::MAX_ESCAPED_BYTES {
            return Err("the name of a database is too long");
        }
        let name = reader.take(name_len).ok_or(cut_off)?;
        let pages = reader.u32().ok_or(cut_off)?;
        let records = match version {
            BARE_VERSION => pages,
            _ => reader.u32().ok_or(cut_off)?,
        };
        if records > pages || (base == 0 && records != pages) {
            return Err("not as many pages come as the database has");
        }
        let name = std::str::from_utf8(name).map_err(|_| "the name of a database is no UTF-8")?;
        naming::file_name(name).map_err(|_| "a database has a name that none can have")?;
        Ok(Database {
            name: name.to_owned(),
            pages,
            records,
        })
    }

    pub(super) fn encode(&self, version: u32, ordinal: u32) -> Vec<u8> {
        let mut record = Vec::new();
        self.encode_fields(version, &mut record);
        let checksum = checksum(&[&ordinal.to_le_bytes(), &record]);
        record.extend_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Reads the record of database number `ordinal`, counted from 0, which begins at `offset` of the stream.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        head: &Head,
        ordinal: u32,
        offset: u64,
    ) -> Result<Database, Error> {
        let refuse = |reason| Error::Stream { offset, reason };
        let mut fields = *reader;
        let database =
            Database::decode_fields(&mut fields, head.version, head.base).map_err(refuse)?;
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

/// A page in a stream, or among the pages that wait to be written into a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRecord<'a> {
    pub page_no: u32,
    /// The log index of the last entry that wrote it, or a later one; `None` in a stream of bare pages.
    pub index: Option<u64>,
    pub page: &'a [u8],
}

impl<'a> PageRecord<'a> {
    /// Appends the record of a page of database number `ordinal`.
    pub(super) fn encode(&self, ordinal: u32, to: &mut Vec<u8>) {
        let checksum = match self.index {
            None => bare_checksum(ordinal, self.page_no, self.page),
            Some(index) => {
                let (page_no, index) = (self.page_no.to_le_bytes(), index.to_le_bytes());
                to.extend_from_slice(&page_no);
                to.extend_from_slice(&index);
                checksum(&[&ordinal.to_le_bytes(), &page_no, &index, self.page])
            }
        };
        to.extend_from_slice(self.page);
        to.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the record of a page, and advances `reader` behind it. Bare pages do not say their number: it is `next`.
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        version: u32,
        page_size: u32,
        ordinal: u32,
        next: u32,
    ) -> Result<PageRecord<'a>, &'static str> {
        let cut_off = "the record of a page is cut off";
        let mut page_no = next;
        let mut index = None;
        if version != BARE_VERSION {
            page_no = reader.u32().ok_or(cut_off)?;
            index = Some(reader.u64().ok_or(cut_off)?);
        }
        let page = reader.take(page_size as usize).ok_or(cut_off)?;
        let found = reader.u32().ok_or(cut_off)?;
        let expected = match index {
            None => bare_checksum(ordinal, page_no, page),
            Some(index) => checksum(&[
                &ordinal.to_le_bytes(),
                &page_no.to_le_bytes(),
                &index.to_le_bytes(),
                page,
            ]),
        };
        if found != expected {
            return Err("the checksum of a page is wrong");
        }
        Ok(PageRecord {
            page_no,
            index,
            page,
        })
    }
}

/// Of a page's place, and its bytes.
fn bare_checksum(ordinal: u32, page_no: u32, page: &[u8]) -> u32 {
    checksum(&[&ordinal.to_le_bytes(), &page_no.to_le_bytes(), page])
}

/// Bytes of a page's record.
pub(super) fn page_record_bytes(version: u32, page_size: u32) -> u64 {
    let fields = match version {
        BARE_VERSION => 0,
        _ => PAGE_FIELDS_BYTES,
    };
    u64::from(page_size) + (fields + CHECKSUM_BYTES) as u64
}

/// Bytes of a stream; `None` when no one can count them.
pub(super) fn total_bytes(databases: &[Database], version: u32, page_size: u32) -> Option<u64> {
    let mut total = Head::bytes(version) as u64;
    for database in databases {
        let record = page_record_bytes(version, page_size);
        let pages = u64::from(database.records).checked_mul(record)?;
        total = total
            .checked_add(database.record_bytes(version))?
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
