//! The bytes in `tests/golden`, which every machine has to read, and to write again just as they are.
//!
//! A data directory may be carried to a machine of another kind, and nodes of different kinds are one cluster. So no byte
//! may depend on the order of a machine's bytes or on how wide its words are. These files were written on one machine, and
//! this test runs on many. `UPDATE_GOLDENFILES=1` writes them anew, for when a format has changed on purpose.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ferrolite_wal::backend::{Backend, MemBackend, read_exact_at};
use ferrolite_wal::frames::{Base, Part, PartWriter, Placed, Previous, TransactionId, resolve};
use ferrolite_wal::view::FramePlace;
use ferrolite_wal::{Log, LogOptions, Record, SlotFile, SlotKind};

const PAGE: u32 = 512;
const LZ4: u8 = 1;

fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/golden").join(name)
}

/// All files of a backend, by name.
fn files(backend: &dyn Backend) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in backend.list().unwrap() {
        let file = backend.open(&name, false).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        read_exact_at(file.as_ref(), 0, &mut bytes).unwrap();
        files.insert(name, bytes);
    }
    files
}

/// Says where files differ from those of the folder, or writes them there.
fn compare(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let mut expected: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    assert_eq!(expected, files.keys().cloned().collect::<Vec<_>>());
    for (name, bytes) in files {
        let golden = std::fs::read(folder.join(name)).unwrap();
        let differ = golden.iter().zip(bytes).position(|(a, b)| a != b);
        assert_eq!(differ, None, "{name}: the first byte that differs");
        assert_eq!(golden.len(), bytes.len(), "{name}");
    }
}

/// The folder's files, in memory.
fn load(folder: &Path) -> MemBackend {
    let backend = MemBackend::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let file = backend.open(&name, true).unwrap();
        file.write_at(0, &bytes).unwrap();
    }
    backend
}

/// A page that no compression makes smaller.
fn noise(seed: u32) -> Vec<u8> {
    (0..PAGE)
        .map(|n| {
            let mixed = (n + seed * PAGE).wrapping_mul(2_654_435_761);
            (mixed ^ mixed >> 15)
                .wrapping_mul(0x2c1b_3c6d)
                .to_le_bytes()[3]
        })
        .collect()
}

/// The image of a page, and another that is nearly the same.
fn images() -> (Vec<u8>, Vec<u8>) {
    let before = noise(1);
    let mut after = before.clone();
    after[100..108].copy_from_slice(b"changed!");
    (before, after)
}

fn place(index: u64, placed: Placed) -> FramePlace {
    FramePlace {
        index,
        offset: placed.offset,
        len: placed.len,
        encoding: placed.encoding,
    }
}

/// What the log holds: nothing, a transaction of whole pages, its page as a difference, and a transaction given up.
fn records() -> Vec<Record> {
    let (before, after) = images();
    let mut whole = PartWriter::new("app", PAGE, TransactionId(2, 7)).unwrap();
    let (placed, _) = whole.push(3, &before).unwrap();
    whole.push(9, &noise(2)).unwrap();
    let change = PartWriter::new("app", PAGE, TransactionId(2, 8)).unwrap();
    let mut change = change.leaning(3);
    let base = Base {
        place: place(2, placed),
        depth: 0,
        root: 2,
        image: &before,
    };
    change.push_image(3, &after, Previous::Image(base)).unwrap();
    let given_up = PartWriter::new("caf\u{e9}", PAGE, TransactionId(3, 1)).unwrap();
    let payloads = [
        Bytes::new(),
        whole.finish(9),
        change.finish(9),
        given_up.abandon(),
    ];
    (1..)
        .zip(payloads)
        .map(|(index, payload)| Record {
            index,
            term: 1 + index / 2,
            kind: u8::from(index == 1),
            payload,
        })
        .collect()
}

fn options() -> LogOptions {
    let mut options = LogOptions::default();
    options.segment_bytes = 64 << 10;
    options.spares = 0;
    options.salt = Some(0x0123_4567_89ab_cdef);
    options
}

/// A log's segment and its slots, and in them all that [`records`] holds.
#[test]
fn a_log() {
    let disk = MemBackend::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    let records = records();
    log.append(&records[..2]).unwrap();
    log.sync().unwrap();
    log.append(&records[2..]).unwrap();
    log.sync().unwrap();
    compare(&folder("log"), &files(&disk));

    let (log, recovery) = Log::open(Arc::new(load(&folder("log"))), options()).unwrap();
    assert_eq!((recovery.first_index, recovery.last_index), (1, 4));
    assert_eq!((recovery.torn_bytes, recovery.damaged.len()), (0, 0));
    assert_eq!(log.read(1, 5, usize::MAX).unwrap(), records);
    let part = Part::decode(log.entry(3).unwrap().payload).unwrap();
    let frame = part.frames().next().unwrap();
    assert!(frame.difference(PAGE).unwrap().is_some());
    assert_eq!(resolve(&log, 3, frame, PAGE).unwrap(), images().1);
}

/// A vote, as a node keeps it: the slots are here, what they hold is `consensus`' own.
#[test]
fn a_vote() {
    const HARD_STATE: SlotKind = SlotKind {
        name: "hard-state",
        magic: *b"FRLT-hs\0",
        version: 1,
    };
    let value = |term: u64| [&term.to_le_bytes()[..], b"and a vote"].concat();
    let disk = MemBackend::new();
    let slots = SlotFile::create(&disk, HARD_STATE, &value(1)).unwrap();
    for term in 2..=5 {
        slots.save(&value(term)).unwrap();
    }
    compare(&folder("slots"), &files(&disk));

    let disk = load(&folder("slots"));
    let (_, found) = SlotFile::open(&disk, HARD_STATE).unwrap().unwrap();
    assert_eq!(found, value(5));
}

/// Compressed pages. What is written may differ from one machine to another: the compressor looks for repetitions in its
/// words. What was written is read on each.
#[test]
fn compressed_pages() {
    let page = |nth: u32| -> Vec<u8> {
        (0..PAGE)
            .map(|n| (n / 3 % (nth + 5)).to_le_bytes()[0])
            .collect()
    };
    let mut writer = PartWriter::new("app", PAGE, TransactionId(1, 1)).unwrap();
    for nth in 1..=4 {
        let (placed, _) = writer.push(nth, &page(nth)).unwrap();
        assert_eq!(placed.encoding, LZ4);
    }
    let written = writer.finish(4);
    let path = folder("compressed-part");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    for bytes in [written, std::fs::read(&path).unwrap().into()] {
        let part = Part::decode(bytes).unwrap();
        assert_eq!(part.frames().len(), 4);
        for (nth, frame) in (1..).zip(part.frames()) {
            assert_eq!(frame.page(PAGE).unwrap(), page(nth));
        }
    }
}
