//! A committed transaction, carried into the file.

use std::io;

use super::{PageFile, is_page_size};

/// Carries a committed transaction into the file: page images to their places, and the length that the database has
/// after it, `db_size` in pages. It does not sync. Repeating it, or a run of transactions in order, is harmless.
///
/// Of a page that comes more than once the last image counts. Images past `db_size` are left out: a transaction that
/// shrinks the database may have written them before. In a checked file the pages count as of the mark's target;
/// [`write_transaction_at`] says better.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a page size that SQLite or this file does not have, an image of another size,
/// page 0, or `db_size` 0, which marks a transaction that is not committed; otherwise the file's error.
pub fn write_transaction<'a>(
    file: &PageFile,
    page_size: u32,
    pages: impl Iterator<Item = (u32, &'a [u8])>,
    db_size: u32,
) -> io::Result<()> {
    let index = file.checked.as_ref().map_or(0, |checked| checked.target());
    write_transaction_at(file, page_size, pages, db_size, index)
}

/// [`write_transaction`] of the log entry `index`: the one that commits the transaction.
///
/// # Errors
/// As there.
pub fn write_transaction_at<'a>(
    file: &PageFile,
    page_size: u32,
    pages: impl Iterator<Item = (u32, &'a [u8])>,
    db_size: u32,
    index: u64,
) -> io::Result<()> {
    let pages = pages.map(|(page_no, image)| (page_no, image, index));
    write_outcome(file, page_size, pages, db_size, db_size)
}

/// What a run of transactions comes to, written at once: the last image of each page, with the log index of the entry that
/// committed it. In between the database had `least_size` pages at one time, and what was behind that is gone; at the end it
/// has `db_size`. Otherwise as [`write_transaction`].
///
/// # Errors
/// As there.
pub fn write_outcome<'a>(
    file: &PageFile,
    page_size: u32,
    pages: impl Iterator<Item = (u32, &'a [u8], u64)>,
    least_size: u32,
    db_size: u32,
) -> io::Result<()> {
    let refuse = |reason: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: {reason}", file.path.display()),
        )
    };
    if !is_page_size(page_size) {
        return Err(refuse("no page size of SQLite"));
    }
    if file.page_size().is_some_and(|own| own != page_size) {
        return Err(refuse("not the page size of this file"));
    }
    if db_size == 0 {
        return Err(refuse(
            "the transaction is not committed: its database size is 0",
        ));
    }
    if least_size < db_size {
        cut(file, page_size, least_size)?;
    }
    for (page_no, image, index) in pages {
        if image.len() != page_size as usize {
            return Err(refuse("a page image is not as long as a page"));
        }
        let before = page_no
            .checked_sub(1)
            .ok_or_else(|| refuse("there is no page 0"))?;
        if page_no <= db_size {
            let pos = u64::from(before) * u64::from(page_size);
            match &file.checked {
                None => file.write_at(pos, image)?,
                Some(checked) => checked.write_at(file, pos, image, index)?,
            }
        }
    }
    let len = u64::from(db_size) * u64::from(page_size);
    // SQLite believes the size in the header and calls a shorter file damaged, although the last pages may be free
    // ones that were never written.
    if file.len()? < len {
        file.truncate(len)
    } else {
        cut(file, page_size, db_size)
    }
}

/// Takes away what the file, and the sums, have behind the first `pages`.
fn cut(file: &PageFile, page_size: u32, pages: u32) -> io::Result<()> {
    let len = u64::from(pages) * u64::from(page_size);
    if file.len()? > len {
        file.truncate(len)
    } else if let Some(checked) = &file.checked {
        // A crash may have kept the length and lost what follows from it for the sums.
        checked.cut(file, pages)
    } else {
        Ok(())
    }
}
