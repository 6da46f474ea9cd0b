//! The first hundred bytes (section 1.3).

use super::source::Opened;
use crate::error::Error;
use crate::page_file::is_page_size;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 100;
/// The first bytes of every SQLite database (section 1.3.1).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// SQLite needs that much of every page besides what is reserved (section 1.3.4).
const MIN_USABLE_BYTES: u32 = 480;

/// What the first page says about the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Bytes of a page.
    pub page_size: u32,
    /// 1 for a rollback journal, 2 for a write-ahead log: how SQLite is to write it.
    pub write_version: u8,
    /// 1 or 2: how SQLite is to read it.
    pub read_version: u8,
    /// Bytes at the end of every page that are not SQLite's.
    pub reserved_bytes: u8,
    /// Incremented by writes with a rollback journal.
    pub change_counter: u32,
    /// Pages of the database; may be stale when [`version_valid_for`](Self::version_valid_for) is not the change
    /// counter.
    pub database_pages: u32,
    /// First page of the free list, or 0.
    pub first_freelist_trunk: u32,
    /// Pages in the free list.
    pub freelist_pages: u32,
    /// Changes with the schema.
    pub schema_cookie: u32,
    /// 0 (no schema yet) to 4.
    pub schema_format: u32,
    /// Largest root page when the database is of an auto-vacuum kind, otherwise 0.
    pub largest_root_page: u32,
    /// Whether vacuuming is incremental, for a database of an auto-vacuum kind.
    pub incremental_vacuum: bool,
    /// 1, which is UTF-8, or 0 for a database without a schema.
    pub text_encoding: u32,
    /// The application's, `PRAGMA user_version`.
    pub user_version: u32,
    /// The application's, `PRAGMA application_id`.
    pub application_id: u32,
    /// The change counter when the number of pages was written.
    pub version_valid_for: u32,
}

impl Header {
    /// Bytes of a page that are SQLite's.
    #[must_use]
    pub fn usable_bytes(&self) -> u32 {
        self.page_size
            .saturating_sub(u32::from(self.reserved_bytes))
    }

    /// Whether there is a pointer map, so that the file can be made shorter in place.
    #[must_use]
    pub fn is_auto_vacuum(&self) -> bool {
        self.largest_root_page != 0
    }
}

/// Reads and checks the header; also says how many pages the database has.
pub(super) fn read(source: &Opened<'_>) -> Result<(Header, u32), Error> {
    let len = source.len()?;
    if len == 0 {
        return Err(source.refuse("it is empty"));
    }
    let mut bytes = [0; HEADER_BYTES];
    if source.read_at(0, &mut bytes)? < HEADER_BYTES {
        return Err(source.refuse("it is shorter than a header"));
    }
    let header = parse(&bytes).map_err(|reason| source.refuse(reason))?;
    if len % u64::from(header.page_size) != 0 {
        return Err(source.refuse(format!(
            "its {len} bytes are no multiple of the page size, {}",
            header.page_size
        )));
    }
    let in_file = u32::try_from(len / u64::from(header.page_size))
        .map_err(|_| source.refuse("it has more pages than SQLite can count"))?;
    // Old writers leave the number of pages alone, and do not keep these two the same (section 1.3.7).
    if header.database_pages == 0 || header.version_valid_for != header.change_counter {
        return Ok((header, in_file));
    }
    if header.database_pages > in_file {
        return Err(source.refuse(format!(
            "its header speaks of {} pages, the file has {in_file}",
            header.database_pages
        )));
    }
    Ok((header, header.database_pages))
}

fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, String> {
    let u8_at = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let u16_at = |at: usize| u16::from_be_bytes([u8_at(at), u8_at(at + 1)]);
    let u32_at = |at: usize| (u32::from(u16_at(at)) << 16) | u32::from(u16_at(at + 2));
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as one".to_owned());
    }
    // 65536 does not fit into two bytes (section 1.3.2).
    let page_size = match u16_at(16) {
        1 => 65536,
        bytes => u32::from(bytes),
    };
    if !is_page_size(page_size) {
        return Err(format!("there is no page size of {page_size}"));
    }
    for version in [u8_at(18), u8_at(19)] {
        if !(1..=2).contains(&version) {
            return Err(format!("its format version is {version}, not 1 or 2"));
        }
    }
    if page_size - u32::from(u8_at(20)) < MIN_USABLE_BYTES {
        return Err(format!(
            "{} reserved bytes leave too little of a page",
            u8_at(20)
        ));
    }
    if [u8_at(21), u8_at(22), u8_at(23)] != [64, 32, 32] {
        return Err("its payload fractions are not 64, 32 and 32".to_owned());
    }
    let header = Header {
        page_size,
        write_version: u8_at(18),
        read_version: u8_at(19),
        reserved_bytes: u8_at(20),
        change_counter: u32_at(24),
        database_pages: u32_at(28),
        first_freelist_trunk: u32_at(32),
        freelist_pages: u32_at(36),
        schema_cookie: u32_at(40),
        schema_format: u32_at(44),
        largest_root_page: u32_at(52),
        incremental_vacuum: u32_at(64) != 0,
        text_encoding: u32_at(56),
        user_version: u32_at(60),
        application_id: u32_at(68),
        version_valid_for: u32_at(92),
    };
    if header.schema_format > 4 {
        return Err(format!(
            "its schema format is {}, and the newest is 4",
            header.schema_format
        ));
    }
    match header.text_encoding {
        // 0 is a database to which nothing was ever written.
        0 if header.schema_format == 0 => Ok(header),
        1 => Ok(header),
        2 | 3 => Err("its text is UTF-16; only UTF-8 can be replicated".to_owned()),
        other => Err(format!("there is no text encoding {other}")),
    }
}
