//! A b-tree from its root (section 1.6), with what its cells leave to overflow pages.

use super::header::HEADER_BYTES;
use super::page::{Payload, TreeKind, TreePage, parse};
use super::pointer_map::Pointer;
use super::record;
use super::survey::{Survey, u32_at};
use crate::error::Error;

/// SQLite goes no deeper, and needs not: the smallest pages hold the largest database within that.
const MAX_DEPTH: u32 = 20;

/// What is done with each sound row of a table: its page, the bytes of it that lie there, and its payload.
pub(super) type OnRow<'f> =
    dyn FnMut(&mut Survey<'_>, u32, &[u8], &Payload) -> Result<(), Error> + 'f;

/// A page that has to be looked at, and what is known of it.
struct Due {
    page: u32,
    depth: u32,
    /// All row ids in it are greater than this …
    above: Option<i64>,
    /// … and at most this.
    at_most: Option<i64>,
}

/// Walks the tree whose root the page `from` names.
pub(super) fn walk(
    survey: &mut Survey<'_>,
    root: u32,
    from: u32,
    expected: Option<TreeKind>,
    row: &mut OnRow<'_>,
) -> Result<(), Error> {
    if !survey.claim(root, from, "the root of a b-tree") {
        return Ok(());
    }
    survey.trees += 1;
    survey.expect_pointer(root, Pointer::Root)?;
    let mut kind = expected;
    let mut leaf_depth = None;
    let mut bytes = Vec::new();
    let mut due = vec![Due {
        page: root,
        depth: 1,
        above: None,
        at_most: None,
    }];
    while let Some(visit) = due.pop() {
        if survey.is_full() {
            return Ok(());
        }
        survey.tree_pages += 1;
        survey.read(visit.page, &mut bytes)?;
        let header = if visit.page == 1 { HEADER_BYTES } else { 0 };
        let page = match parse(&bytes, header) {
            Ok(page) => page,
            Err(description) => {
                survey.problem(visit.page, description);
                continue;
            }
        };
        if let Some(description) = misplaced(&page, &visit, *kind.get_or_insert(page.kind)) {
            survey.problem(visit.page, description);
            continue;
        }
        if page.is_leaf && *leaf_depth.get_or_insert(visit.depth) != visit.depth {
            survey.problem(visit.page, "this leaf is not as deep as the others");
        }
        let mut above = visit.above;
        for cell in &page.cells {
            let out_of_order = |key: &i64| {
                above.is_some_and(|above| *key <= above)
                    || visit.at_most.is_some_and(|at_most| *key > at_most)
            };
            if let Some(key) = cell.key.filter(out_of_order) {
                survey.problem(visit.page, format!("row id {key} is out of order"));
            }
            if let Some(child) = cell.child {
                descend(survey, &mut due, &visit, child, above, cell.key)?;
            }
            above = cell.key.or(above);
            if let Some(payload) = &cell.payload {
                let local = bytes.get(payload.local.clone()).unwrap_or_default();
                let mut sound = overflow(survey, visit.page, payload)?;
                if sound && let Err(description) = check_record(survey, local, payload)? {
                    survey.problem(visit.page, description);
                    sound = false;
                }
                // Only now, so that no chain is read for two rows.
                if sound && page.kind == TreeKind::Table {
                    row(survey, visit.page, local, payload)?;
                }
            }
        }
        if let Some(child) = page.last_child {
            descend(survey, &mut due, &visit, child, above, visit.at_most)?;
        }
    }
    Ok(())
}

/// Why a page cannot be where it is.
fn misplaced(page: &TreePage, visit: &Due, kind: TreeKind) -> Option<String> {
    if page.kind != kind {
        return Some(format!(
            "a page of kind {:?} is in a tree of kind {kind:?}",
            page.kind
        ));
    }
    // Only a root may be empty, and only the schema's may have nothing but a last child, for lack of room in page 1.
    if page.cells.is_empty() && (visit.depth > 1 || (!page.is_leaf && visit.page != 1)) {
        return Some("a page within a tree has no cells".to_owned());
    }
    (visit.depth > MAX_DEPTH).then(|| "the tree is deeper than any".to_owned())
}

/// Puts a child on the list of what is due.
fn descend(
    survey: &mut Survey<'_>,
    due: &mut Vec<Due>,
    visit: &Due,
    child: u32,
    above: Option<i64>,
    at_most: Option<i64>,
) -> Result<(), Error> {
    if survey.claim(child, visit.page, "of a b-tree") {
        survey.expect_pointer(child, Pointer::Tree(visit.page))?;
        due.push(Due {
            page: child,
            depth: visit.depth + 1,
            above,
            at_most,
        });
    }
    Ok(())
}

/// Follows the chain of overflow pages of a cell in `page`, and says whether it is sound.
fn overflow(survey: &mut Survey<'_>, page: u32, payload: &Payload) -> Result<bool, Error> {
    let Some(first) = payload.overflow else {
        return Ok(true);
    };
    let (mut from, mut next) = (page, first);
    let mut pointer = Pointer::FirstOverflow(page);
    for left in (0..overflow_pages(survey, payload)).rev() {
        if !survey.claim(next, from, "an overflow page") {
            return Ok(false);
        }
        survey.overflow_pages += 1;
        survey.expect_pointer(next, pointer)?;
        let mut link = [0; 4];
        survey.read_at(next, 0, &mut link)?;
        (from, next) = (next, u32::from_be_bytes(link));
        pointer = Pointer::Overflow(from);
        if next == 0 && left > 0 {
            survey.problem(from, format!("an overflow chain ends {left} pages early"));
            return Ok(false);
        }
    }
    if next != 0 {
        survey.problem(from, "an overflow chain goes on behind its content");
    }
    Ok(next == 0)
}

/// Whether a record is what its header says; the header alone may go on in overflow pages, which were found sound.
fn check_record(
    survey: &Survey<'_>,
    local: &[u8],
    payload: &Payload,
) -> Result<Result<(), &'static str>, Error> {
    let needed = match record::header_bytes(local, payload.total) {
        Ok(needed) => needed,
        Err(description) => return Ok(Err(description)),
    };
    if needed <= local.len() {
        return Ok(record::columns(local, payload.total, |_, _, _| {}));
    }
    let header = gather(survey, local, payload, needed)?;
    Ok(record::columns(&header, payload.total, |_, _, _| {}))
}

/// Pages that the part of a payload takes that is not in its cell.
fn overflow_pages(survey: &Survey<'_>, payload: &Payload) -> u64 {
    let outside = payload.total.saturating_sub(payload.local.len() as u64);
    outside.div_ceil((survey.usable() as u64).saturating_sub(4).max(1))
}

/// The whole payload, up to `max` bytes, of which `local` lies in the page. Its chain was found sound.
pub(super) fn gather(
    survey: &Survey<'_>,
    local: &[u8],
    payload: &Payload,
    max: usize,
) -> Result<Vec<u8>, Error> {
    let wanted = usize::try_from(payload.total)
        .unwrap_or(usize::MAX)
        .min(max);
    let mut whole = local.to_vec();
    let mut next = payload.overflow.unwrap_or_default();
    let mut bytes = Vec::new();
    while whole.len() < wanted && next != 0 {
        survey.read(next, &mut bytes)?;
        next = u32_at(&bytes, 0).unwrap_or_default();
        whole.extend_from_slice(bytes.get(4..).unwrap_or_default());
    }
    whole.truncate(wanted);
    Ok(whole)
}
