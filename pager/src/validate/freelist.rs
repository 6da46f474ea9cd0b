//! The free list (section 1.5): a chain of trunk pages, each with the numbers of leaf pages that hold nothing.

use super::pointer_map::Pointer;
use super::survey::{Survey, u32_at};
use crate::error::Error;

pub(super) fn walk(survey: &mut Survey<'_>) -> Result<(), Error> {
    let mut trunk = survey.header.first_freelist_trunk;
    let mut from = 1;
    let mut bytes = Vec::new();
    while trunk != 0 && !survey.is_full() {
        // A chain that comes back to itself ends here, since no page has two uses.
        if !survey.claim(trunk, from, "of the free list") {
            return Ok(());
        }
        survey.free_pages += 1;
        survey.expect_pointer(trunk, Pointer::Free)?;
        survey.read(trunk, &mut bytes)?;
        let next = u32_at(&bytes, 0).unwrap_or_default();
        let leaves = u32_at(&bytes, 4).unwrap_or_default() as usize;
        if leaves > survey.usable() / 4 - 2 {
            survey.problem(
                trunk,
                format!("a free-list page cannot list {leaves} pages"),
            );
            return Ok(());
        }
        for leaf in 0..leaves {
            let leaf = u32_at(&bytes, 8 + leaf * 4).unwrap_or_default();
            if survey.claim(leaf, trunk, "free") {
                survey.free_pages += 1;
                survey.expect_pointer(leaf, Pointer::Free)?;
            }
        }
        (from, trunk) = (trunk, next);
    }
    if survey.free_pages != survey.header.freelist_pages {
        let (found, said) = (survey.free_pages, survey.header.freelist_pages);
        survey.problem(
            1,
            format!("the free list has {found} pages, the header says {said}"),
        );
    }
    Ok(())
}
