//! The first page of a database without tables.
//!
//! The engine would write this page straight into a new database file, before its first transaction and
//! outside of the log. A new file therefore gets it from here instead. The page needs no replication:
//! whatever transaction comes first changes page 1, and carries all of it.
//!
//! A crash may take the page again, or a part of it, and leave the file's length: nothing waits for a sync here. So a
//! file that has no more than what a crash leaves of this page gets it once more.

use ferrolite_pager::PageFile;

/// Makes `file` an empty database if it does not hold a page yet.
pub(crate) fn ensure_first_page(file: &PageFile, page_size: u32) -> std::io::Result<()> {
    let len = file.len()?;
    if len > u64::from(page_size) {
        return Ok(());
    }
    let whole = first_page(page_size);
    if len == u64::from(page_size) {
        let mut page = vec![0; whole.len()];
        file.read_at(0, &mut page)?;
        let is_left = |(is, was): (&u8, &u8)| is == was || *is == 0;
        if page == whole || !page.iter().zip(&whole).all(is_left) {
            return Ok(());
        }
    }
    file.truncate(0)?;
    file.write_at(0, &whole)
}

/// Page 1 of an empty database in WAL mode, in UTF-8, without reserved bytes.
///
/// Source: <https://www.sqlite.org/fileformat2.html#the_database_header> and "B-tree Pages".
fn first_page(page_size: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(usize::try_from(page_size).unwrap_or(0));
    page.extend_from_slice(b"SQLite format 3\0");
    // A page size of 65536 does not fit its field and is written as 1.
    page.extend_from_slice(&u16::try_from(page_size).unwrap_or(1).to_be_bytes());
    page.extend_from_slice(&[2, 2, 0, 64, 32, 32]);
    for field in [
        1, // file change counter
        1, // pages in the file
        0,
        0, // free list
        0, // schema cookie
        4, // schema format
        0, // suggested cache size
        0, // largest root page, for auto-vacuum
        1, // text encoding: UTF-8
        0, // user version
        0, // incremental vacuum
        0, // application id
        0,
        0,
        0,
        0,
        0,             // reserved
        1,             // the change counter for which the next field is valid
        3_045_000_u32, // version of SQLite whose format this is
    ] {
        page.extend_from_slice(&field.to_be_bytes());
    }
    // The schema table: an empty leaf, whose cells would start at the end of the page.
    page.extend_from_slice(&[13, 0, 0, 0, 0]);
    page.extend_from_slice(&u16::try_from(page_size).unwrap_or(0).to_be_bytes());
    page.push(0);
    page.resize(usize::try_from(page_size).unwrap_or(page.len()), 0);
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// The fields stand where the file format wants them.
    #[test]
    fn layout() {
        for (size, field) in [(4096, 4096_u16), (512, 512), (65536, 1)] {
            let page = first_page(size);
            assert_eq!(page.len(), size as usize);
            assert_eq!(page[16..18], field.to_be_bytes());
            assert_eq!(page[56..60], [0, 0, 0, 1]);
            assert_eq!(page[96..100], 3_045_000_u32.to_be_bytes());
            assert_eq!(page[100], 13);
        }
    }

    /// What a crash leaves of the page is made whole; a page that a transaction has written, and a longer file, stay as
    /// they are.
    #[test]
    fn after_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let whole = first_page(4096);
        let after = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            ensure_first_page(&PageFile::open(&path).unwrap(), 4096).unwrap();
            std::fs::read(&path).unwrap()
        };
        let mut torn = whole.clone();
        torn[..64].fill(0);
        for left in [&[][..], &whole[..512], &torn, &[0; 4096], &whole] {
            assert!(after(left) == whole);
        }
        let mut written = whole.clone();
        written[200] = 1;
        assert!(after(&written) == written);
        let longer = [0; 8192];
        assert!(after(&longer) == longer);
    }
}
