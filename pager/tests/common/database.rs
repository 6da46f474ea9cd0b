//! A database built byte by byte, small enough to know what every page is.
//!
//! | page | what it is |
//! |---|---|
//! | 1 | the schema: table `t` at page 2, index `i` at page 5, and a view |
//! | 2 | the root of `t`, with the leaves 3 (row ids to 10) and 4 (row id 20, whose blob goes on) |
//! | 5 | the index, a leaf with one record |
//! | 6, 7 | the overflow chain |
//! | 8, 9 | the free list: a trunk, and its leaf |

pub const PAGE: usize = 512;
/// Where this page, counted from 1, begins in the file.
pub fn at(page: usize) -> usize {
    (page - 1) * PAGE
}

pub fn varint(value: u64) -> Vec<u8> {
    let mut bytes = vec![(value & 0x7f) as u8];
    let mut rest = value >> 7;
    while rest > 0 {
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}

/// A value of a record: a text, an integer of one byte, or a blob of that many bytes.
pub enum Value<'a> {
    Text(&'a str),
    Number(u8),
    Blob(usize),
}

/// The record of these values, of which there are few enough for one byte of header length.
pub fn record(values: &[Value<'_>]) -> Vec<u8> {
    let (mut types, mut content) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Value::Text(text) => {
                types.extend(varint(text.len() as u64 * 2 + 13));
                content.extend_from_slice(text.as_bytes());
            }
            Value::Number(number) => {
                types.push(1);
                content.push(*number);
            }
            Value::Blob(len) => {
                types.extend(varint(*len as u64 * 2 + 12));
                content.resize(content.len() + len, 0xbb);
            }
        }
    }
    let mut record = vec![types.len() as u8 + 1];
    record.extend(types);
    record.extend(content);
    record
}

/// Writes a b-tree page: its header at `header` of the page, the cells from its end.
pub fn tree_page(page: &mut [u8], header: usize, kind: u8, cells: &[Vec<u8>], last_child: u32) {
    let mut pointer = header + 8;
    if kind < 8 {
        page[header + 8..header + 12].copy_from_slice(&last_child.to_be_bytes());
        pointer += 4;
    }
    let mut content = PAGE;
    for cell in cells {
        content -= cell.len().max(4);
        page[content..content + cell.len()].copy_from_slice(cell);
        page[pointer..pointer + 2].copy_from_slice(&(content as u16).to_be_bytes());
        pointer += 2;
    }
    page[header] = kind;
    page[header + 3..header + 5].copy_from_slice(&(cells.len() as u16).to_be_bytes());
    page[header + 5..header + 7].copy_from_slice(&(content as u16).to_be_bytes());
}

/// A cell of a table's leaf whose record lies in the page.
pub fn row(row_id: u64, record: &[u8]) -> Vec<u8> {
    [varint(record.len() as u64), varint(row_id), record.to_vec()].concat()
}

/// A cell of a table's interior page.
pub fn separator(child: u32, row_id: u64) -> Vec<u8> {
    [child.to_be_bytes().to_vec(), varint(row_id)].concat()
}

pub fn number(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub fn build() -> Vec<u8> {
    use Value::{Blob, Number, Text};
    let mut bytes = vec![0; 9 * PAGE];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
    for (field, value) in [
        (24, 7),
        (28, 9),
        (32, 8),
        (36, 2),
        (40, 3),
        (44, 4),
        (56, 1),
        (92, 7),
    ] {
        number(&mut bytes, field, value);
    }
    let schema = [
        [
            Text("table"),
            Text("t"),
            Text("t"),
            Number(2),
            Text("CREATE TABLE t(a)"),
        ],
        [
            Text("index"),
            Text("i"),
            Text("t"),
            Number(5),
            Text("CREATE INDEX i ON t(a)"),
        ],
        [
            Text("view"),
            Text("v"),
            Text("v"),
            Number(0),
            Text("CREATE VIEW v AS SELECT 1"),
        ],
    ];
    let schema: Vec<_> = (1..)
        .zip(&schema)
        .map(|(id, values)| row(id, &record(values)))
        .collect();
    tree_page(&mut bytes[..PAGE], 100, 13, &schema, 0);
    tree_page(&mut bytes[at(2)..at(3)], 0, 5, &[separator(3, 10)], 4);
    let rows: Vec<_> = (1..=10)
        .map(|id| row(id, &record(&[Number(id as u8)])))
        .collect();
    tree_page(&mut bytes[at(3)..at(4)], 0, 13, &rows, 0);
    // Of a payload that does not fit, 39 bytes stay, or as many more as fill up the last overflow page, if these fit:
    // the 452 that it would be do not (section 1.6).
    let long = record(&[Blob(996)]);
    let stays = 39;
    let mut cell = row(20, &long);
    cell.truncate(cell.len() - (long.len() - stays));
    cell.extend_from_slice(&6_u32.to_be_bytes());
    tree_page(&mut bytes[at(4)..at(5)], 0, 13, &[cell], 0);
    let entry = record(&[Number(1), Number(1)]);
    tree_page(
        &mut bytes[at(5)..at(6)],
        0,
        10,
        &[[varint(5), entry].concat()],
        0,
    );
    number(&mut bytes, at(6), 7);
    number(&mut bytes, at(8) + 4, 1);
    number(&mut bytes, at(8) + 8, 9);
    bytes
}
