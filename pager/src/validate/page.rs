//! One page of a b-tree (section 1.6): its header, its cells, and that these lie in it and nowhere twice.

use std::ops::Range;

use super::record::varint;
use super::survey::{u16_at, u32_at};

/// Most bytes of a payload: SQLite's limit for a row.
const MAX_PAYLOAD_BYTES: u64 = 0x7fff_ffff;
/// A cell takes that much at least, so that a freed one has room for a free block.
const MIN_CELL_BYTES: usize = 4;

/// What the trees are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeKind {
    /// Rows by row id.
    Table,
    /// Records in their own order: an index, or a table without row ids.
    Index,
}

#[derive(Debug)]
pub(super) struct TreePage {
    pub kind: TreeKind,
    pub is_leaf: bool,
    pub cells: Vec<Cell>,
    /// The child after the last cell, of an interior page.
    pub last_child: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Cell {
    /// The child before this cell, of an interior page.
    pub child: Option<u32>,
    /// The row id, of a table.
    pub key: Option<i64>,
    /// The record, of all but an interior page of a table.
    pub payload: Option<Payload>,
    /// Where the cell lies in the page.
    place: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Payload {
    /// Bytes in all.
    pub total: u64,
    /// The part that lies in the page.
    pub local: Range<usize>,
    /// The page in which the other part begins.
    pub overflow: Option<u32>,
}

/// Takes a page apart. `bytes` are those that are SQLite's, and the page's header is at `header`: 100 in page 1,
/// otherwise 0.
pub(super) fn parse(bytes: &[u8], header: usize) -> Result<TreePage, String> {
    let cut_off = || "the page is too short".to_owned();
    let (kind, is_leaf) = match bytes.get(header) {
        Some(2) => (TreeKind::Index, false),
        Some(5) => (TreeKind::Table, false),
        Some(10) => (TreeKind::Index, true),
        Some(13) => (TreeKind::Table, true),
        Some(other) => return Err(format!("there is no b-tree page of type {other}")),
        None => return Err(cut_off()),
    };
    let field = |at: usize| {
        u16_at(bytes, header + at)
            .map(usize::from)
            .ok_or_else(cut_off)
    };
    let first_free_block = field(1)?;
    let count = field(3)?;
    let content = match field(5)? {
        0 => 65536,
        content => content,
    };
    let last_child = if is_leaf {
        None
    } else {
        Some(u32_at(bytes, header + 8).ok_or_else(cut_off)?)
    };
    let pointers = header + if is_leaf { 8 } else { 12 };
    if content < pointers + 2 * count || content > bytes.len() {
        return Err(format!("{count} cells cannot lie behind byte {content}"));
    }
    let mut cells = Vec::with_capacity(count);
    for number in 0..count {
        let at = usize::from(u16_at(bytes, pointers + 2 * number).ok_or_else(cut_off)?);
        if at < content {
            return Err(format!("cell {number} begins before the page's content"));
        }
        let cell = parse_cell(bytes, at, kind, is_leaf)
            .ok_or_else(|| format!("cell {number} goes past the end of the page"))?;
        if cell
            .payload
            .as_ref()
            .is_some_and(|payload| payload.total > MAX_PAYLOAD_BYTES)
        {
            return Err(format!("cell {number} is larger than any row"));
        }
        cells.push(cell);
    }
    let mut places: Vec<_> = cells.iter().map(|cell| cell.place.clone()).collect();
    free_blocks(bytes, first_free_block, content, &mut places)?;
    let fragments = bytes.get(header + 7).copied().ok_or_else(cut_off)?;
    check_places(places, content, bytes.len(), fragments)?;
    Ok(TreePage {
        kind,
        is_leaf,
        cells,
        last_child,
    })
}

/// The cell at `at`; `None` when it does not lie in the page.
fn parse_cell(bytes: &[u8], at: usize, kind: TreeKind, is_leaf: bool) -> Option<Cell> {
    let mut end = at;
    let mut child = None;
    if !is_leaf {
        child = Some(u32_at(bytes, at)?);
        end += 4;
    }
    let mut total = None;
    if is_leaf || kind == TreeKind::Index {
        let (len, after) = varint(bytes, end)?;
        (total, end) = (Some(len), after);
    }
    let mut key = None;
    if kind == TreeKind::Table {
        let (row_id, after) = varint(bytes, end)?;
        (key, end) = (Some(row_id.cast_signed()), after);
    }
    let payload = match total {
        None => None,
        Some(total) => {
            let local = local_bytes(total, bytes.len(), kind)?;
            let begin = end;
            end += local;
            let local = begin..end;
            let overflow = if local.len() as u64 == total {
                None
            } else {
                end += 4;
                Some(u32_at(bytes, local.end)?)
            };
            Some(Payload {
                total,
                local,
                overflow,
            })
        }
    };
    let end = end.max(at + MIN_CELL_BYTES);
    (end <= bytes.len()).then_some(Cell {
        child,
        key,
        payload,
        place: at..end,
    })
}

/// How much of a payload of `total` bytes lies in its page, of which `usable` bytes are SQLite's. The names and the
/// rule are those of section 1.6.
fn local_bytes(total: u64, usable: usize, kind: TreeKind) -> Option<usize> {
    let u = usable as u64;
    let x = match kind {
        TreeKind::Table => u.checked_sub(35)?,
        TreeKind::Index => ((u.checked_sub(12)?) * 64 / 255).checked_sub(23)?,
    };
    if total <= x {
        return usize::try_from(total).ok();
    }
    let m = ((u.checked_sub(12)?) * 32 / 255).checked_sub(23)?;
    let k = m + total.checked_sub(m)? % u.checked_sub(4)?;
    usize::try_from(if k <= x { k } else { m }).ok()
}

/// Adds the places of the free blocks, which form a chain in ascending order.
fn free_blocks(
    bytes: &[u8],
    first: usize,
    content: usize,
    places: &mut Vec<Range<usize>>,
) -> Result<(), String> {
    let mut at = first;
    let mut least = content;
    while at != 0 {
        let wrong = || format!("the free block at byte {at} is not in order");
        if at < least {
            return Err(wrong());
        }
        let next = u16_at(bytes, at).map(usize::from).ok_or_else(wrong)?;
        let len = u16_at(bytes, at + 2).map(usize::from).ok_or_else(wrong)?;
        let end = at + len;
        if len < MIN_CELL_BYTES || end > bytes.len() {
            return Err(wrong());
        }
        places.push(at..end);
        // Free blocks that touch would be one, and a smaller gap is no cell.
        least = end + MIN_CELL_BYTES;
        at = next;
    }
    Ok(())
}

/// Cells and free blocks must not overlap, and what lies between them is what the header says.
fn check_places(
    mut places: Vec<Range<usize>>,
    content: usize,
    usable: usize,
    fragments: u8,
) -> Result<(), String> {
    places.sort_unstable_by_key(|place| place.start);
    let mut end = content;
    let mut between = 0;
    for place in places {
        if place.start < end {
            return Err(format!("byte {} has two uses", place.start));
        }
        between += place.start - end;
        end = place.end;
    }
    between += usable - end;
    if between != usize::from(fragments) {
        return Err(format!(
            "{between} bytes between cells are used by nothing, said to be {fragments}"
        ));
    }
    Ok(())
}
