//! The bytes in `tests/golden/pages`, which every machine has to read, and to write again just as they are.
//!
//! Files of databases are carried from one machine to another, and nodes of different kinds send snapshots to each other, so
//! no byte may depend on the order of a machine's bytes or on how wide its words are. `UPDATE_GOLDENFILES=1` writes the
//! files anew, for when a format has changed on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "common/database.rs"]
mod database;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_pager::snapshot::pending_install_in;
use ferrolite_pager::{
    CheckpointMark, Directory, PageFile, SnapshotSink, SnapshotSource, write_transaction_at,
};
use ferrolite_wal::backend::{Backend, MemBackend, read_exact_at};

use database::PAGE;

/// What is in the folder: the database, its sums, the mark, a snapshot of all pages and one of those that changed, and the
/// note that decides that a snapshot is installed.
const NAMES: [&str; 6] = [
    "app.sqlite",
    "app.sqlite-sums",
    "checkpoint",
    "stream",
    "stream-since-7",
    "complete",
];

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/golden/pages").join(name)
}

fn content(backend: &dyn Backend, name: &str) -> Vec<u8> {
    let file = backend.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(file.as_ref(), 0, &mut bytes).unwrap();
    bytes
}

fn open(disk: &Arc<MemBackend>) -> (Arc<CheckpointMark>, Arc<PageFile>) {
    let mark = Arc::new(CheckpointMark::open(disk.as_ref()).unwrap());
    let directory = Directory::on(disk.clone(), Path::new("databases"));
    let file = PageFile::open_checked_in(&directory, "app.sqlite", PAGE as u32, mark.clone());
    (mark, Arc::new(file.unwrap()))
}

/// Writes the database as entry 7, and its pages 3 and 4 again as entry 9.
fn written() -> Arc<MemBackend> {
    let disk = Arc::new(MemBackend::new());
    let (mark, file) = open(&disk);
    let bytes = database::build();
    let pages = bytes.len() / PAGE;
    for (index, pages_of) in [(7, 1..=pages), (9, 3..=4)] {
        mark.begin(index).unwrap();
        let images = pages_of.map(|no| (no as u32, &bytes[database::at(no)..database::at(no + 1)]));
        write_transaction_at(&file, PAGE as u32, images, pages as u32, index).unwrap();
        file.sync().unwrap();
        mark.finish(index).unwrap();
    }
    mark.begin(0x0102_0304_0506).unwrap();
    disk
}

fn stream(file: &Arc<PageFile>, base: u64) -> Vec<u8> {
    let databases = vec![("app".to_owned(), Arc::clone(file))];
    let source = SnapshotSource::since(databases, PAGE as u32, base).unwrap();
    let (bytes, done) = source.read(0, usize::MAX).unwrap();
    assert!(done);
    bytes
}

/// Takes a stream in on a disk of its own, up to the decision to install it.
fn take_in(stream: &[u8], own_base: u64) -> (Arc<MemBackend>, Directory) {
    let disk = Arc::new(MemBackend::new());
    let incoming = Directory::on(disk.clone(), Path::new("incoming"));
    let mut sink = SnapshotSink::begin_in(&incoming, 0x1112_1314_1516_1718, own_base).unwrap();
    sink.write(0, stream).unwrap();
    sink.finish(b"index and term").unwrap();
    (disk, incoming)
}

/// Protects: what is written here is what was written there.
#[test]
fn the_same_is_written() {
    let disk = written();
    let (_, file) = open(&disk);
    let (whole, since) = (stream(&file, 0), stream(&file, 7));
    assert!(since.len() < whole.len());
    let (aside, _) = take_in(&whole, 0);
    let files = [
        content(disk.as_ref(), "app.sqlite"),
        content(disk.as_ref(), "app.sqlite-sums"),
        content(disk.as_ref(), "checkpoint"),
        whole,
        since,
        content(aside.as_ref(), "complete"),
    ];
    for (name, bytes) in NAMES.iter().zip(files) {
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::create_dir_all(golden("")).unwrap();
            std::fs::write(golden(name), &bytes).unwrap();
        }
        let expected = std::fs::read(golden(name)).unwrap();
        let differ = expected.iter().zip(&bytes).position(|(a, b)| a != b);
        assert_eq!(differ, None, "{name}: the first byte that differs");
        assert_eq!(expected.len(), bytes.len(), "{name}");
    }
}

/// Protects: what was written there is read here, every page compared with its sum.
#[test]
fn it_is_read() {
    let disk = Arc::new(MemBackend::new());
    for name in &NAMES[..3] {
        let bytes = std::fs::read(golden(name)).unwrap();
        disk.open(name, true).unwrap().write_at(0, &bytes).unwrap();
    }
    let (mark, file) = open(&disk);
    assert_eq!((mark.done(), mark.target()), (9, 0x0102_0304_0506));
    let bytes = database::build();
    assert_eq!(file.pages().unwrap() as usize, bytes.len() / PAGE);
    for no in 1..=bytes.len() / PAGE {
        let page = file.read_page(no as u32).unwrap();
        assert_eq!(page.bytes, bytes[database::at(no)..database::at(no + 1)]);
        let index = if no == 3 || no == 4 { 9 } else { 7 };
        assert_eq!(
            page.sum.map(|sum| (sum.index, sum.adopted)),
            Some((index, false))
        );
    }
    for (name, own_base) in [("stream", 0), ("stream-since-7", 7)] {
        let (_, incoming) = take_in(&std::fs::read(golden(name)).unwrap(), own_base);
        let install = pending_install_in(&incoming).unwrap().unwrap();
        let listed: Vec<_> = install.databases().collect();
        assert_eq!(listed, [("app", 9)]);
        assert_eq!(
            (install.base(), install.meta()),
            (own_base, &b"index and term"[..])
        );
    }
}
