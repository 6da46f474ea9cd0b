//! What is said of files that nobody has open: all of it, nothing else, and without a change.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;
#[path = "common/database.rs"]
mod database;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_pager::verify::{Damage, DamageKind, Incoming, Place, Verified, inspect, verify};
use ferrolite_pager::{
    CheckpointMark, PageFile, SnapshotSink, SnapshotSource, write_transaction_at,
};
use ferrolite_wal::backend::DirBackend;

const PAGE: u32 = database::PAGE as u32;

/// A data directory with a sound database of nine pages, `app`, and one without a page, `void`.
fn node() -> tempfile::TempDir {
    let dir = common::directory();
    let backend = DirBackend::open(dir.path()).unwrap();
    let mark = Arc::new(CheckpointMark::open(&backend).unwrap());
    fs::create_dir(dir.path().join("databases")).unwrap();
    let open = |name: &str| {
        let path = dir.path().join("databases").join(name);
        PageFile::open_checked(&path, PAGE, Arc::clone(&mark)).unwrap()
    };
    mark.begin(7).unwrap();
    let file = open("app.sqlite");
    let bytes = database::build();
    let pages: Vec<_> = (1..).zip(bytes.chunks(database::PAGE)).collect();
    write_transaction_at(&file, PAGE, pages.iter().copied(), 9, 4).unwrap();
    write_transaction_at(&file, PAGE, pages[3..4].iter().copied(), 9, 7).unwrap();
    file.sync().unwrap();
    mark.finish(7).unwrap();
    open("void.sqlite").sync().unwrap();
    dir
}

/// All files below a directory.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Verifies, and checks that the directory stays as it is.
fn look(dir: &Path) -> (Verified, Vec<Damage>) {
    let before = content(dir);
    let mut damage = Vec::new();
    let verified = verify(dir, |item| damage.push(item)).unwrap();
    assert_eq!(verified.damaged, damage.len() as u64);
    assert!(content(dir) == before, "something was changed");
    (verified, damage)
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

/// Of a sound directory nothing is said but what it holds.
#[test]
fn a_sound_directory() {
    let node = node();
    let (verified, damage) = look(node.path());
    assert_eq!(damage, []);
    assert_eq!(
        (
            verified.databases,
            verified.pages,
            verified.unverified_pages
        ),
        (2, 9, 0)
    );
    let found = inspect(node.path()).unwrap();
    assert_eq!(
        (found.mark, &found.incoming),
        (Some((7, 7)), &Incoming::Nothing)
    );
    let app = &found.databases[0];
    assert_eq!(
        (app.name.as_str(), app.file.as_str(), app.bytes),
        ("app", "app.sqlite", 9 * 512)
    );
    assert_eq!(
        (app.page_size, app.pages, app.known_pages),
        (Some(512), Some(9), 9)
    );
    assert_eq!((app.adopted_pages, app.newest_index), (0, Some(7)));
    let void = &found.databases[1];
    assert_eq!(
        (void.name.as_str(), void.bytes, void.newest_index),
        ("void", 0, None)
    );
    // A directory with nothing in it is not damaged.
    let empty = common::directory();
    assert_eq!(look(empty.path()).0, Verified::default());
    assert_eq!(inspect(empty.path()).unwrap().mark, None);
}

/// One bit in a page, in the sums, or in the mark: said with the place where it is, or made good by the mark's copies.
#[test]
fn every_flipped_bit_is_named() {
    let node = node();
    let databases = node.path().join("databases");
    let file = databases.join("app.sqlite");
    for bit in (0..9 * 512 * 8).step_by(13) {
        flip(&file, bit);
        let (_, damage) = look(node.path());
        let page_no = (bit / 8 / 512 + 1) as u32;
        assert_eq!(damage[0].file, file.display().to_string());
        assert_eq!(
            damage[0].place,
            Place::Page(page_no),
            "{bit}: {}",
            damage[0]
        );
        let DamageKind::Rot {
            expected,
            found: Some(found),
            index,
        } = damage[0].kind
        else {
            panic!("{}", damage[0]);
        };
        assert_ne!(expected, found);
        assert_eq!(index, if page_no == 4 { 7 } else { 4 });
        flip(&file, bit);
    }
    let sums = databases.join("app.sqlite-sums");
    for bit in (0..2 * 512 * 8).step_by(7) {
        flip(&sums, bit);
        let (verified, damage) = look(node.path());
        let [damage] = &damage[..] else {
            panic!("{bit}: {damage:?}")
        };
        assert_eq!(damage.place, Place::Offset((bit / 8 / 512 * 512) as u64));
        assert_eq!(damage.kind, DamageKind::Sums);
        let in_header = bit < 512 * 8;
        assert_eq!(verified.unverified_pages, if in_header { 0 } else { 9 });
        flip(&sums, bit);
    }
    let mark = node.path().join("checkpoint");
    for bit in (0..fs::metadata(&mark).unwrap().len() as usize * 8).step_by(101) {
        flip(&mark, bit);
        assert_eq!(look(node.path()).1, [], "{bit}");
        flip(&mark, bit);
    }
    fs::write(&mark, vec![1; 16384]).unwrap();
    let (_, damage) = look(node.path());
    assert!(
        matches!(
            &damage[..],
            [Damage {
                kind: DamageKind::Unreadable(_),
                ..
            }]
        ),
        "{damage:?}"
    );
}

/// A file that lost its end, one that is no database, and one whose structure is wrong though its sums are right.
#[test]
fn files_that_are_wrong_as_a_whole() {
    let node = node();
    let file = node.path().join("databases/app.sqlite");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..7 * 512]).unwrap();
    let (_, damage) = look(node.path());
    let ends: Vec<_> = damage
        .iter()
        .filter(|damage| matches!(damage.kind, DamageKind::Rot { found: None, .. }))
        .map(|damage| damage.place)
        .collect();
    assert_eq!(ends, [Place::Page(8), Place::Page(9)]);
    assert!(
        damage
            .iter()
            .any(|damage| matches!(damage.kind, DamageKind::Structure(_)))
    );
    // Without sums, as an older program left it: only the structure is seen.
    fs::write(&file, &whole).unwrap();
    fs::remove_file(node.path().join("databases/app.sqlite-sums")).unwrap();
    let (verified, damage) = look(node.path());
    assert_eq!((verified.unverified_pages, damage.len()), (9, 0));
    fs::write(&file, b"SQLite format 3 and nothing else").unwrap();
    let (_, damage) = look(node.path());
    assert!(matches!(
        &damage[..],
        [Damage {
            place: Place::File,
            kind: DamageKind::Structure(_),
            ..
        }]
    ));
}

/// After an interrupted checkpoint what differs is counted, not called damage: the next start writes it again.
#[test]
fn an_interrupted_checkpoint_is_no_damage() {
    let node = node();
    let backend = DirBackend::open(node.path()).unwrap();
    CheckpointMark::open(&backend).unwrap().begin(9).unwrap();
    drop(backend);
    flip(&node.path().join("databases/app.sqlite"), 5 * 512 * 8);
    let (verified, damage) = look(node.path());
    assert_eq!((verified.unsettled_pages, damage.len()), (1, 0));
    assert_eq!(inspect(node.path()).unwrap().mark, Some((7, 9)));
}

/// A snapshot on its way is told from one that is decided on, and a decision that cannot be read is damage.
#[test]
fn snapshots_on_their_way() {
    let node = node();
    let incoming = node.path().join("incoming");
    let file = Arc::new(PageFile::open(&node.path().join("databases/app.sqlite")).unwrap());
    let source = SnapshotSource::new(vec![("app".to_owned(), file, 9)], PAGE).unwrap();
    let mut sink = SnapshotSink::begin(&incoming, 77).unwrap();
    let (bytes, _) = source.read(0, 3000).unwrap();
    sink.write(0, &bytes).unwrap();
    let found = inspect(node.path()).unwrap().incoming;
    assert!(
        matches!(found, Incoming::Partial { bytes } if bytes >= 2048),
        "{found:?}"
    );
    let (bytes, _) = source.read(sink.offset(), usize::MAX).unwrap();
    sink.write(sink.offset(), &bytes).unwrap();
    sink.finish(b"meta").unwrap();
    let Incoming::Complete {
        id,
        page_size,
        databases,
        ..
    } = inspect(node.path()).unwrap().incoming
    else {
        panic!("it is complete");
    };
    assert_eq!(
        (id, page_size, &databases[..]),
        (77, 512, &[("app".to_owned(), 9)][..])
    );
    assert_eq!(look(node.path()).1, []);
    flip(&incoming.join("complete"), 300);
    let (_, damage) = look(node.path());
    assert!(damage[0].to_string().contains("complete"), "{}", damage[0]);
    assert!(inspect(node.path()).unwrap_err().is_damaged());
}
