//! The validator: sound databases pass, every kind of damage is named, and no bytes are fatal.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "common/database.rs"]
mod database;

use std::sync::Arc;

use database::{PAGE, at, build, number, record, row, separator, tree_page};
use ferrolite_pager::{Error, PageFile, validate};
use proptest::prelude::*;

/// Made by the sqlite3 program, see `fixtures/make`.
const FIXTURES: [&[u8]; 2] = [
    include_bytes!("fixtures/plain.sqlite"),
    include_bytes!("fixtures/auto-vacuum.sqlite"),
];

/// What SQLite itself wrote is sound, whichever way it is given.
#[test]
fn sound_databases_pass() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, auto_vacuum) in FIXTURES.into_iter().zip([false, true]) {
        let path = dir.path().join("a.sqlite");
        std::fs::write(&path, bytes).unwrap();
        let report = validate::file(path.as_path()).unwrap();
        let file = Arc::new(PageFile::open(&path).unwrap());
        assert_eq!(validate::file(file.as_ref()).unwrap(), report);
        assert_eq!(validate::file(&file).unwrap(), report);
        assert_eq!(validate::examine(bytes).unwrap(), report);
        assert_eq!(validate::header(&path).unwrap(), report.header);
        assert!(report.is_sound());
        assert_eq!(report.header.is_auto_vacuum(), auto_vacuum);
        assert_eq!(
            (report.header.page_size, report.header.text_encoding),
            (512, 1)
        );
        let pages = 1 + u32::from(auto_vacuum) + 22;
        assert_eq!(report.pages, pages);
        // The kinds of page that the fixtures are there for.
        assert_eq!((report.trees, report.tree_pages), (5, 11));
        assert_eq!((report.overflow_pages, report.free_pages), (9, 3));
    }
    let report = validate::file(build().as_slice()).unwrap();
    assert_eq!((report.trees, report.tree_pages), (3, 5));
    assert_eq!((report.overflow_pages, report.free_pages), (2, 2));
}

/// Files that no replica may take, each with the reason.
#[test]
fn unusable_headers_are_refused() {
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(Spoil, &str); 19] = [
        (|b| b.clear(), "empty"),
        (|b| b.truncate(99), "shorter than a header"),
        (|b| b[3] = b'x', "does not begin as one"),
        (
            |b| b[16..18].copy_from_slice(&[3, 0]),
            "no page size of 768",
        ),
        (
            |b| b[16..18].copy_from_slice(&[1, 0]),
            "no page size of 256",
        ),
        (|b| b[16..18].copy_from_slice(&[0, 0]), "no page size of 0"),
        (
            |b| b[16..18].copy_from_slice(&[0, 1]),
            "no multiple of the page size, 65536",
        ),
        (|b| b[18] = 3, "format version is 3"),
        (|b| b[19] = 0, "format version is 0"),
        (|b| b[20] = 33, "33 reserved bytes"),
        (|b| b[22] = 31, "payload fractions"),
        (|b| b[47] = 5, "schema format is 5"),
        (|b| b[59] = 0, "no text encoding 0"),
        (|b| b[59] = 2, "UTF-16"),
        (|b| b[59] = 3, "UTF-16"),
        (|b| b[59] = 4, "no text encoding 4"),
        (|b| b.push(0), "no multiple of the page size, 512"),
        (
            |b| b.truncate(8 * PAGE),
            "speaks of 9 pages, the file has 8",
        ),
        (|b| b[31] = 10, "speaks of 10 pages, the file has 9"),
    ];
    for (spoil, reason) in cases {
        let mut bytes = build();
        spoil(&mut bytes);
        let error = validate::file(bytes.as_slice()).unwrap_err();
        assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
        assert!(error.is_not_a_database());
        assert!(error.to_string().contains(reason), "{error}, not {reason}");
    }
    assert!(
        validate::file(std::path::Path::new("/nowhere/a.sqlite"))
            .unwrap_err()
            .is_io()
    );
}

/// Every rule of the format that the validator knows, broken once.
#[test]
fn damage_is_named() {
    type Spoil = fn(&mut Vec<u8>);
    let cases: &[(Spoil, &str)] = &[
        // The schema, and what it names.
        (|b| b[100] = 5, "page 1: "),
        (
            |b| tree_page(&mut b[..PAGE], 100, 10, &[vec![2, 2, 9]], 0),
            "page 1: a page of kind Index is in a tree of kind Table",
        ),
        (|b| b[100] = 7, "page 1: there is no b-tree page of type 7"),
        (
            |b| schema(b, record(&[text("table")])),
            "does not have five columns",
        ),
        (
            |b| schema(b, root(text("x"))),
            "a root page that is no number",
        ),
        (
            |b| schema(b, root(database::Value::Number(100))),
            "page 100, said to be the root",
        ),
        (
            |b| schema(b, root(database::Value::Number(255))),
            "page 0, said to be the root",
        ),
        (
            |b| schema(b, root(database::Value::Number(3))),
            "page 2: it is never used",
        ),
        (
            |b| schema(b, root(database::Value::Number(1))),
            "page 1, said to be the root of a b-tree, has another use",
        ),
        // Trees.
        (|b| b[at(5)] = 13, "page 5: "),
        (
            |b| number(b, at(2) + 8, 3),
            "page 3, said to be of a b-tree, has another use",
        ),
        (
            |b| number(b, at(2) + 8, 2),
            "page 2, said to be of a b-tree, has another use",
        ),
        (
            |b| number(b, at(2) + 8, 10),
            "page 10, said to be of a b-tree, is not in the database",
        ),
        (
            |b| number(b, at(2) + 8, 0),
            "page 0, said to be of a b-tree, is not in the database",
        ),
        (
            |b| page(b, 2, 5, &[separator(3, 9)], 4),
            "page 3: row id 10 is out of order",
        ),
        (
            |b| page(b, 2, 5, &[separator(3, 20)], 4),
            "page 4: row id 20 is out of order",
        ),
        (
            |b| page(b, 3, 13, &[empty(2), empty(2)], 0),
            "page 3: row id 2 is out of order",
        ),
        (
            |b| page(b, 3, 13, &[], 0),
            "page 3: a page within a tree has no cells",
        ),
        (
            |b| page(b, 2, 5, &[], 4),
            "page 2: a page within a tree has no cells",
        ),
        (|b| deeper(b), "this leaf is not as deep as the others"),
        (
            |b| page(b, 3, 10, &[vec![2, 2, 9]], 0),
            "a page of kind Index is in a tree of kind Table",
        ),
        // Cells and the room between them.
        (|b| b[at(3) + 3] = 200, "cells cannot lie behind byte"),
        (
            |b| b[at(3) + 5..at(3) + 7].copy_from_slice(&[0, 1]),
            "page 3: 10 cells cannot lie behind byte",
        ),
        (
            |b| b[at(3) + 8] = 0,
            "page 3: cell 0 begins before the page's content",
        ),
        (
            |b| b[at(3) + 9] = 255,
            "page 3: cell 0 goes past the end of the page",
        ),
        (
            |b| b.copy_within(at(3) + 8..at(3) + 10, at(3) + 10),
            "has two uses",
        ),
        (
            |b| b[at(3) + 7] = 1,
            "page 3: 0 bytes between cells are used by nothing, said to be 1",
        ),
        (
            |b| b[at(3) + 1] = 1,
            "page 3: the free block at byte 256 is not in order",
        ),
        (
            |b| page(b, 3, 13, &[row(1, &[2, 1, 1, 1])], 0),
            "page 3: the values do not fill the record",
        ),
        (
            |b| page(b, 3, 13, &[row(1, &[9, 1, 1])], 0),
            "page 3: the record is shorter than its header",
        ),
        (
            |b| page(b, 3, 13, &[row(1, &[])], 0),
            "page 3: the record is shorter than its header",
        ),
        (
            |b| page(b, 3, 13, &[row(1, &[2, 10])], 0),
            "page 3: a value has a type that does not exist",
        ),
        (
            |b| page(b, 3, 13, &[row(1, &[2, 0x81])], 0),
            "page 3: a type goes past the record's header",
        ),
        (
            |b| {
                page(
                    b,
                    3,
                    13,
                    &[[&[0x88, 0x80, 0x80, 0x80, 0][..], &[1; 60]].concat()],
                    0,
                )
            },
            "larger than any row",
        ),
        // Overflow chains.
        (
            |b| number(b, at(6), 0),
            "page 6: an overflow chain ends 1 pages early",
        ),
        (
            |b| number(b, at(6), 6),
            "page 6, said to be an overflow page, has another use",
        ),
        (
            |b| number(b, at(6), 3),
            "page 3, said to be an overflow page, has another use",
        ),
        (
            |b| number(b, at(6), 77),
            "page 77, said to be an overflow page, is not in the database",
        ),
        (
            |b| number(b, at(7), 9),
            "page 7: an overflow chain goes on behind its content",
        ),
        // A record's header that goes on in the chain, where it says other values; and one too long for any.
        (
            |b| {
                let begin = at(5) - 46;
                b[begin + 3] = 60;
            },
            "page 4: the values do not fill the record",
        ),
        (
            |b| {
                let begin = at(5) - 46;
                b[begin + 3..begin + 5].copy_from_slice(&[0x88, 0]);
            },
            "page 4: the record is shorter than its header",
        ),
        // The free list.
        (
            |b| number(b, 36, 3),
            "the free list has 2 pages, the header says 3",
        ),
        (
            |b| number(b, 32, 0),
            "the free list has 0 pages, the header says 2",
        ),
        (|b| number(b, 32, 3), "free-list page cannot list"),
        (
            |b| number(b, at(8), 8),
            "page 8, said to be of the free list, has another use",
        ),
        (
            |b| number(b, at(8) + 4, 127),
            "a free-list page cannot list 127 pages",
        ),
        (
            |b| number(b, at(8) + 8, 8),
            "page 8, said to be free, has another use",
        ),
        // All in all.
        (
            |b| {
                b.resize(10 * PAGE, 0);
                number(b, 28, 10);
            },
            "page 10: it is never used",
        ),
        (
            |b| number(b, 64, 1),
            "incremental vacuum without auto-vacuum",
        ),
        (|b| number(b, 52, 5), "the pointer map"),
    ];
    let mut failed = Vec::new();
    for (number, (spoil, reason)) in cases.iter().enumerate() {
        let mut bytes = build();
        spoil(&mut bytes);
        let report = validate::examine(bytes.as_slice()).unwrap();
        if !report
            .problems
            .iter()
            .any(|problem| problem.to_string().contains(reason))
        {
            failed.push((number, reason, report.problems));
            continue;
        }
        let error = validate::file(bytes.as_slice()).unwrap_err();
        assert!(
            matches!(error, Error::Unsound { .. }),
            "case {number}: {error}"
        );
        assert!(error.is_not_a_database());
    }
    assert!(failed.is_empty(), "not found: {failed:#?}");
}

fn text(text: &str) -> database::Value<'_> {
    database::Value::Text(text)
}

/// A schema row with this root page.
fn root(root: database::Value<'_>) -> Vec<u8> {
    record(&[
        text("table"),
        text("t"),
        text("t"),
        root,
        text("CREATE TABLE t(a)"),
    ])
}

/// Puts one row into the schema.
fn schema(bytes: &mut [u8], record: Vec<u8>) {
    tree_page(&mut bytes[..PAGE], 100, 13, &[row(1, &record)], 0);
}

/// Replaces a page of a tree.
fn page(bytes: &mut [u8], page: usize, kind: u8, cells: &[Vec<u8>], last_child: u32) {
    bytes[at(page)..at(page + 1)].fill(0);
    tree_page(
        &mut bytes[at(page)..at(page + 1)],
        0,
        kind,
        cells,
        last_child,
    );
}

/// A row without columns.
fn empty(row_id: u64) -> Vec<u8> {
    row(row_id, &[1])
}

/// Puts the page 9 between the root and the leaf 3, and the page 8 beside it, but nothing over the leaf 4.
fn deeper(bytes: &mut [u8]) {
    number(bytes, 32, 0);
    number(bytes, 36, 0);
    page(bytes, 2, 5, &[separator(9, 15)], 4);
    page(bytes, 9, 5, &[separator(3, 10)], 8);
    page(bytes, 8, 13, &[empty(12)], 0);
}

/// The header of a record with more columns than a page has bytes goes on in overflow pages, and is read there.
#[test]
fn wide_records_are_checked() {
    let wide = |last_type: u8| {
        // 600 columns that are NULL, and the last one.
        let mut record = vec![0x84, 0x5b];
        record.resize(602, 0);
        record.push(last_type);
        record.push(7);
        let mut bytes = build();
        // 96 bytes stay in the page, the 508 others fill one of the chain.
        let cell = [&[0x84, 0x5c, 20][..], &record[..96], &[0, 0, 0, 6]].concat();
        page(&mut bytes, 4, 13, &[cell], 0);
        bytes[at(6)..at(7)].fill(0);
        bytes[at(6) + 4..at(7)].copy_from_slice(&record[96..]);
        // The page 7 is now free.
        number(&mut bytes, at(8) + 4, 2);
        number(&mut bytes, at(8) + 12, 7);
        number(&mut bytes, 36, 3);
        validate::examine(bytes.as_slice()).unwrap().problems
    };
    assert_eq!(wide(1), []);
    let problems = wide(2);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "page 4: the values do not fill the record"
    );
}

/// What an auto-vacuum database says twice has to agree.
#[test]
fn the_pointer_map_is_checked() {
    let sound = validate::file(FIXTURES[1]).unwrap();
    let problem = |place: usize, value: u32| {
        let mut bytes = FIXTURES[1].to_vec();
        number(&mut bytes, place, value);
        let report = validate::examine(bytes.as_slice()).unwrap();
        report
            .problems
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let largest = sound.header.largest_root_page;
    let expected = format!(
        "the largest root page is {largest}, the header says {}",
        largest + 1
    );
    assert!(problem(52, largest + 1).contains(&expected));
    // The first entry is of page 3, and says that it is a root, below nothing.
    let expected = "page 2: the pointer map says type 1 below 9 of page 3, which is Root";
    assert_eq!(problem(at(2) + 1, 9), expected);
}

/// The page that SQLite keeps for its locks is nobody's, also in a file that has it.
#[test]
fn the_lock_page_is_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let lock_byte_page = 0x4000_0000 / PAGE as u32 + 1;
    let mut bytes = build();
    number(&mut bytes, 28, lock_byte_page);
    number(&mut bytes, at(8) + 8, lock_byte_page);
    let path = dir.path().join("sparse");
    std::fs::write(&path, bytes).unwrap();
    let file = PageFile::open(&path).unwrap();
    file.truncate(u64::from(lock_byte_page) * PAGE as u64)
        .unwrap();
    let report = validate::examine(&file).unwrap();
    let problem = report.problems.first().unwrap().to_string();
    assert!(
        problem.contains("is the one that is kept for locks"),
        "{problem}"
    );
}

/// So many problems, and no more, are kept of a database that is nothing but problems.
#[test]
fn reports_are_bounded() {
    let mut bytes = build();
    bytes.resize(1000 * PAGE, 0);
    number(&mut bytes, 28, 1000);
    let report = validate::examine(bytes.as_slice()).unwrap();
    assert_eq!(report.problems.len(), validate::MAX_PROBLEMS);
    let error = validate::file(bytes.as_slice()).unwrap_err();
    assert!(error.to_string().contains("100 problems"), "{error}");
}

/// A schema cannot make the validator remember more trees than the database has pages.
#[test]
fn trees_are_bounded_by_pages() {
    let mut bytes = build();
    let many = |id| {
        let values = [
            text(""),
            text(""),
            text(""),
            database::Value::Number(2),
            text(""),
        ];
        row(id, &record(&values))
    };
    let rows: Vec<_> = (1..=25).map(many).collect();
    bytes[100..PAGE].fill(0);
    tree_page(&mut bytes[..PAGE], 100, 13, &rows, 0);
    let report = validate::examine(bytes.as_slice()).unwrap();
    let refused = report.problems.iter().filter(|problem| {
        problem
            .description
            .contains("more trees than there are pages")
    });
    assert_eq!(refused.count(), 25 - 9, "{:?}", report.problems);
}

/// Any one bit: the change is found, or it is in the content, and the structure is what it was.
#[test]
fn every_flipped_bit_is_found_or_harmless() {
    // All bits of one, and of the other one bit in seven, which are some of every byte.
    for (fixture, step) in FIXTURES.into_iter().zip([1, 7]) {
        let sound = validate::file(fixture).unwrap();
        let shape = |report: &validate::Report| {
            (
                report.pages,
                report.trees,
                report.tree_pages,
                report.overflow_pages,
                report.free_pages,
            )
        };
        let mut bytes = fixture.to_vec();
        let mut found = 0;
        for bit in (0..bytes.len() * 8).step_by(step) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match validate::examine(bytes.as_slice()) {
                Ok(report) if report.is_sound() => {
                    assert_eq!(shape(&report), shape(&sound), "bit {bit}")
                }
                Ok(_) | Err(Error::NotADatabase { .. }) => found += 1,
                Err(error) => panic!("bit {bit}: {error}"),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        // Most bytes are content, or lie idle.
        assert!(
            found > bytes.len() / 2 / step,
            "only {found} of {} bits were found",
            bytes.len() * 8 / step
        );
    }
}

/// A copy that ends anywhere is not taken for the whole.
#[test]
fn every_cut_is_found() {
    for fixture in FIXTURES {
        for len in 0..fixture.len() {
            let error = validate::file(&fixture[..len]).unwrap_err();
            assert!(error.is_not_a_database(), "{len}: {error}");
        }
    }
}

proptest! {
    /// Pages put in each other's place, and bytes of any kind anywhere: a verdict, and no panic.
    #[test]
    fn no_bytes_panic(
        fixture in 0..2_usize,
        swaps in prop::collection::vec((0..23_usize, 0..23_usize), 0..4),
        splices in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..20)), 0..20),
    ) {
        let mut bytes = FIXTURES[fixture].to_vec();
        for (from, to) in swaps {
            let page = bytes[from * PAGE..(from + 1) * PAGE].to_vec();
            bytes[to * PAGE..(to + 1) * PAGE].copy_from_slice(&page);
        }
        for (place, splice) in splices {
            let begin = place.index(bytes.len());
            for (to, from) in bytes[begin..].iter_mut().zip(splice) {
                *to = from;
            }
        }
        if let Ok(report) = validate::examine(bytes.as_slice()) {
            prop_assert!(report.problems.len() <= validate::MAX_PROBLEMS);
            let used = report.tree_pages + report.overflow_pages + report.free_pages;
            prop_assert!(used <= report.pages);
        }
    }

    /// A good header before bytes of any kind.
    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 4 * PAGE..5 * PAGE)) {
        let mut bytes = build();
        number(&mut bytes, 28, 5);
        bytes.truncate(5 * PAGE);
        let len = noise.len().min(5 * PAGE - 100);
        bytes[100..100 + len].copy_from_slice(&noise[..len]);
        prop_assert!(validate::file(bytes.as_slice()).unwrap_err().is_not_a_database());
    }
}
