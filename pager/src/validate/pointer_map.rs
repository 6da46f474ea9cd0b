//! The pointer map of an auto-vacuum database (section 1.8): for every page, what it is and who points to it.

use super::survey::{Survey, u32_at};
use crate::error::Error;

/// Bytes of an entry: a type, and a page.
const ENTRY_BYTES: u32 = 5;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pointer {
    /// The root of a b-tree.
    Root,
    /// A page of the free list.
    Free,
    /// The first page of an overflow chain, of a cell in this page.
    FirstOverflow(u32),
    /// A further page of an overflow chain, after this one.
    Overflow(u32),
    /// A page of a b-tree, below this one.
    Tree(u32),
}

impl Pointer {
    fn fields(self) -> (u8, u32) {
        match self {
            Pointer::Root => (1, 0),
            Pointer::Free => (2, 0),
            Pointer::FirstOverflow(parent) => (3, parent),
            Pointer::Overflow(parent) => (4, parent),
            Pointer::Tree(parent) => (5, parent),
        }
    }
}

/// Notes the pages of the map, if there is one.
pub(super) fn claim(survey: &mut Survey<'_>) {
    if !survey.header.is_auto_vacuum() {
        if survey.header.incremental_vacuum {
            survey.problem(1, "incremental vacuum without auto-vacuum");
        }
        return;
    }
    let lock_byte_page = survey.lock_byte_page();
    let mut page = 2_u64;
    while page <= u64::from(survey.pages) {
        let moved = if page == lock_byte_page {
            page + 1
        } else {
            page
        };
        if let Ok(moved) = u32::try_from(moved)
            && moved <= survey.pages
        {
            survey.claim(moved, 1, "of the pointer map");
        }
        page += stride(survey);
    }
}

/// Checks the entry of `page`, which is in the database.
pub(super) fn expect(survey: &mut Survey<'_>, page: u32, pointer: Pointer) -> Result<(), Error> {
    // Page 1 has no entry.
    let Some(after) = page
        .checked_sub(2)
        .filter(|_| survey.header.is_auto_vacuum())
    else {
        return Ok(());
    };
    let mut map = after - after % u32::try_from(stride(survey)).unwrap_or(u32::MAX) + 2;
    if u64::from(map) == survey.lock_byte_page() {
        map += 1;
    }
    let Some(position) = page.checked_sub(map + 1) else {
        survey.problem(page, "it is where the pointer map ought to be");
        return Ok(());
    };
    let mut entry = [0; ENTRY_BYTES as usize];
    survey.read_at(map, u64::from(position * ENTRY_BYTES), &mut entry)?;
    let found = (
        entry.first().copied().unwrap_or_default(),
        u32_at(&entry, 1).unwrap_or_default(),
    );
    if found != pointer.fields() {
        let (kind, parent) = found;
        survey.problem(
            map,
            format!("the pointer map says type {kind} below {parent} of page {page}, which is {pointer:?}"),
        );
    }
    Ok(())
}

/// Pages from one page of the map to the next.
fn stride(survey: &Survey<'_>) -> u64 {
    u64::from(survey.header.usable_bytes() / ENTRY_BYTES) + 1
}
