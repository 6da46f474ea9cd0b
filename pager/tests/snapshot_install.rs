//! The installation: stopped at any step and begun again, it ends the same.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_pager::{
    CheckpointMark, Error, PageFile, SnapshotSink, SnapshotSource, discard, pending_install,
};
use ferrolite_wal::backend::MemBackend;

const META: &[u8] = b"index 12, term 3, members 1 2 3";

/// A node with databases that the snapshot replaces, leaves out and adds, and a complete snapshot.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let node = Node {
            dir: common::directory(),
        };
        for dir in ["sender", "databases"] {
            fs::create_dir(node.dir.path().join(dir)).unwrap();
        }
        for (file, content) in [
            ("kept.sqlite", "old"),
            ("kept.sqlite-wal", "of the old"),
            ("kept.sqlite-shm", "of the old"),
            ("kept.sqlite-sums", "of the old"),
            ("gone.sqlite", "old"),
            ("gone.sqlite-sums", "of the old"),
            ("gone.sqlite-journal", "of the old"),
            ("too%2Fgone.sqlite", "old"),
            ("README", "not a database"),
            ("Not ours.sqlite", "not a name of ours"),
        ] {
            fs::write(node.databases().join(file), content).unwrap();
        }
        node.receive();
        node
    }

    fn databases(&self) -> PathBuf {
        self.dir.path().join("databases")
    }

    fn incoming(&self) -> PathBuf {
        self.dir.path().join("incoming")
    }

    /// Receives a snapshot of three databases, the last one empty.
    fn receive(&self) {
        let mut list = Vec::new();
        for (name, pages) in [("kept", 2), ("new/one", 1), ("void", 0)] {
            let path = self.dir.path().join("sender").join(name.replace('/', "_"));
            let file = PageFile::open(&path).unwrap();
            file.write_at(0, &vec![b'n'; pages as usize * 512]).unwrap();
            list.push((name.to_owned(), Arc::new(file), pages));
        }
        let (stream, _) = SnapshotSource::new(list, 512)
            .unwrap()
            .read(0, usize::MAX)
            .unwrap();
        let mut sink = SnapshotSink::begin(&self.incoming(), 77).unwrap();
        sink.write(0, &stream).unwrap();
        sink.finish(META).unwrap();
    }

    /// What has to be there in the end.
    fn check_installed(&self) {
        let expected: BTreeMap<String, String> = [
            ("kept.sqlite", "n".repeat(1024)),
            ("new%2Fone.sqlite", "n".repeat(512)),
            ("void.sqlite", String::new()),
            ("README", "not a database".to_owned()),
            ("Not ours.sqlite", "not a name of ours".to_owned()),
        ]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
        let mut found = files(&self.databases());
        for name in ["kept", "new%2Fone", "void"] {
            assert!(found.remove(&format!("{name}.sqlite-sums")).is_some());
            let backend = MemBackend::new();
            let mark = Arc::new(CheckpointMark::open(&backend).unwrap());
            let path = self.databases().join(format!("{name}.sqlite"));
            let file = PageFile::open_checked(&path, 512, mark).unwrap();
            for page_no in 1..=file.pages().unwrap() {
                assert!(file.read_page(page_no).unwrap().sum.is_some(), "{name}");
            }
        }
        assert_eq!(found, expected);
    }

    /// What a start does.
    fn start(&self) {
        match pending_install(&self.incoming()).unwrap() {
            Some(install) => {
                install.apply(&self.databases()).unwrap();
                install.clear().unwrap();
            }
            None => discard(&self.incoming()).unwrap(),
        }
        assert!(!self.incoming().exists());
    }
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (
            entry.file_name().into_string().unwrap(),
            String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned(),
        )
    };
    fs::read_dir(dir).unwrap().map(read).collect()
}

/// The straight way, and that the caller gets its own back.
#[test]
fn installs() {
    let node = Node::new();
    let install = pending_install(&node.incoming()).unwrap().unwrap();
    assert_eq!(
        (install.meta(), install.id(), install.page_size()),
        (META, 77, 512)
    );
    let list: Vec<_> = install.databases().collect();
    assert_eq!(list, [("kept", 2), ("new/one", 1), ("void", 0)]);
    install.apply(&node.databases()).unwrap();
    node.check_installed();
    install.apply(&node.databases()).unwrap();
    install.clear().unwrap();
    node.check_installed();
    assert!(pending_install(&node.incoming()).unwrap().is_none());
    discard(&node.incoming()).unwrap();
}

/// Every state that a crash in `apply` or `clear` can leave, ends, after a start, as if nothing had happened.
#[test]
fn any_step_may_be_the_last() {
    const BESIDE: [&str; 6] = [
        "gone.sqlite-sums",
        "kept.sqlite-wal",
        "kept.sqlite-shm",
        "gone.sqlite",
        "gone.sqlite-journal",
        "too%2Fgone.sqlite",
    ];
    const MOVES: [&str; 4] = [
        "kept.sqlite-sums",
        "kept.sqlite",
        "new%2Fone.sqlite",
        "void.sqlite",
    ];
    // The system may keep renames and removals in any combination.
    for moved in 0..1_u32 << MOVES.len() {
        for removed in 0..1_u32 << BESIDE.len() {
            let node = Node::new();
            for (n, file) in MOVES
                .iter()
                .enumerate()
                .filter(|(n, _)| moved >> n & 1 == 1)
            {
                fs::rename(node.incoming().join(file), node.databases().join(file))
                    .unwrap_or_else(|e| panic!("{n}: {e}"));
            }
            for (_, file) in BESIDE
                .iter()
                .enumerate()
                .filter(|(n, _)| removed >> n & 1 == 1)
            {
                fs::remove_file(node.databases().join(file)).unwrap();
            }
            node.start();
            node.check_installed();
        }
    }
    // In `clear`: the decision is gone, the directory is not.
    let node = Node::new();
    pending_install(&node.incoming())
        .unwrap()
        .unwrap()
        .apply(&node.databases())
        .unwrap();
    fs::remove_file(node.incoming().join("complete")).unwrap();
    node.start();
    node.check_installed();
}

/// Before the decision a crash leaves the old databases, whatever came already.
#[test]
fn without_the_decision_nothing_changes() {
    let node = Node::new();
    let before = files(&node.databases());
    // As written, but not yet renamed.
    fs::rename(
        node.incoming().join("complete"),
        node.incoming().join("complete.new"),
    )
    .unwrap();
    node.start();
    assert_eq!(files(&node.databases()), before);
    // A sink that was begun, and dropped.
    drop(SnapshotSink::begin(&node.incoming(), 78).unwrap());
    fs::write(node.incoming().join("half.sqlite"), "half").unwrap();
    node.start();
    assert_eq!(files(&node.databases()), before);
    node.receive();
    node.start();
    node.check_installed();
}

/// A decision cannot be lost by accident: not by another snapshot, not by throwing away, not by clearing too early.
#[test]
fn a_decision_stands() {
    let node = Node::new();
    assert!(
        SnapshotSink::begin(&node.incoming(), 78)
            .unwrap_err()
            .is_install_pending()
    );
    assert!(discard(&node.incoming()).unwrap_err().is_install_pending());
    let install = pending_install(&node.incoming()).unwrap().unwrap();
    assert!(install.clear().unwrap_err().is_install_pending());
    node.start();
    node.check_installed();
}

/// One bit or one byte of the decision, and it is reported, not guessed at; the databases stay as they are.
#[test]
fn a_damaged_decision_is_reported() {
    let node = Node::new();
    let path = node.incoming().join("complete");
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        pending_install(&node.incoming()).unwrap_err()
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = refused(&bad);
        assert!(error.is_damaged(), "bit {bit}: {error}");
    }
    for len in 0..good.len() {
        assert!(refused(&good[..len]).is_damaged(), "{len}");
    }
    assert!(refused(&[good.as_slice(), b"x"].concat()).is_damaged());
    let mut newer = b"FERRINST\x03\0\0\0".to_vec();
    let checksum = crc32fast::hash(&newer);
    newer.extend_from_slice(&checksum.to_le_bytes());
    newer.extend_from_slice(b"whatever comes then");
    assert!(refused(&newer).is_newer_format());
    fs::write(&path, good).unwrap();
    node.start();
    node.check_installed();
}

/// Files that are not what was written are seen before anything is moved.
#[test]
fn missing_and_short_files_are_reported() {
    for spoil in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::write(path, [0; 100]).unwrap(),
    ] {
        let node = Node::new();
        let before = files(&node.databases());
        spoil(&node.incoming().join("new%2Fone.sqlite"));
        let install = pending_install(&node.incoming()).unwrap().unwrap();
        let error = install.apply(&node.databases()).unwrap_err();
        assert!(error.is_damaged(), "{error}");
        assert_eq!(files(&node.databases()), before);
    }
}

/// The caller's own bytes have a bound, and so has what is read back.
#[test]
fn meta_data_are_bounded() {
    let dir = common::directory();
    let incoming = dir.path().join("incoming");
    let (stream, _) = SnapshotSource::new(Vec::new(), 4096)
        .unwrap()
        .read(0, 100)
        .unwrap();
    let finish = |meta: &[u8]| {
        let mut sink = SnapshotSink::begin(&incoming, 1).unwrap();
        sink.write(0, &stream).unwrap();
        sink.finish(meta)
    };
    let max = ferrolite_pager::snapshot::MAX_META_BYTES;
    let error = finish(&vec![0; max + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    finish(&vec![7; max]).unwrap();
    let install = pending_install(&incoming).unwrap().unwrap();
    assert_eq!(install.meta(), vec![7; max]);
    fs::write(incoming.join("complete"), vec![0; (64 << 20) + 1]).unwrap();
    assert!(pending_install(&incoming).unwrap_err().is_damaged());
}
