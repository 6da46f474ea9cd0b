//! The stream: what goes in comes out, at any offset, while files change; and nothing else is taken for it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::{
    Error, PageFile, SnapshotSink, SnapshotSource, database_name, pending_install,
};
use proptest::prelude::*;

const PAGE: usize = 512;

/// Databases with these numbers of pages; every page says which it is.
fn databases(dir: &Path, pages: &[u32]) -> Vec<(String, Arc<PageFile>, u32)> {
    std::fs::create_dir_all(dir).unwrap();
    let make = |(number, count): (usize, &u32)| {
        let file = PageFile::open(&dir.join(format!("{number}"))).unwrap();
        for page in 0..*count {
            let image = [(number as u8) << 5 | page as u8; PAGE];
            file.write_at(u64::from(page) * PAGE as u64, &image)
                .unwrap();
        }
        (format!("db/{number}"), Arc::new(file), *count)
    };
    pages.iter().enumerate().map(make).collect()
}

fn source(dir: &Path, pages: &[u32]) -> SnapshotSource {
    SnapshotSource::new(databases(dir, pages), PAGE as u32).unwrap()
}

/// The whole stream.
fn stream(source: &SnapshotSource) -> Vec<u8> {
    let (bytes, done) = source.read(0, usize::MAX).unwrap();
    assert!(done);
    assert_eq!(bytes.len() as u64, source.len());
    bytes
}

/// Name and bytes of every database in `incoming`, of a snapshot that is complete there.
fn received(incoming: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(incoming).unwrap() {
        let entry = entry.unwrap();
        if let Some(name) = database_name(entry.file_name().to_str().unwrap()) {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    let install = pending_install(incoming).unwrap().unwrap();
    let listed: BTreeMap<_, _> = install.databases().collect();
    assert_eq!(listed.len(), found.len());
    for (name, pages) in listed {
        assert_eq!(found[name].len(), pages as usize * PAGE);
    }
    found
}

/// Offsets at which a record begins, and the end.
fn boundaries(source: &SnapshotSource) -> BTreeSet<u64> {
    let mut offsets = BTreeSet::from([0]);
    let mut at = 0;
    loop {
        let (record, done) = source.read(at, 1).unwrap();
        at += record.len() as u64;
        offsets.insert(at);
        if done {
            return offsets;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// While checkpoints write, and cut, the files, every page that comes is one that was there meanwhile, or zeros if
    /// the file lost it.
    #[test]
    fn pages_are_of_some_time_during_the_transfer(
        pages in prop::collection::vec(0..9_u32, 0..5),
        chunks in prop::collection::vec(1..4000_usize, 1..30),
        writes in prop::collection::vec((0..5_usize, 0..12_u32, any::<u8>(), any::<bool>()), 0..60),
    ) {
        let dir = common::directory();
        let databases = databases(&dir.path().join("live"), &pages);
        let files: Vec<_> = databases.iter().map(|(_, file, _)| Arc::clone(file)).collect();
        let source = SnapshotSource::new(databases, PAGE as u32).unwrap();
        let content = |number: usize, page: u32| {
            let mut image = [0; PAGE];
            files[number].read_at(u64::from(page) * PAGE as u64, &mut image).unwrap();
            image
        };
        let mut seen: BTreeMap<(usize, u32), BTreeSet<[u8; PAGE]>> = BTreeMap::new();
        let mut note = || {
            for (number, count) in pages.iter().enumerate() {
                for page in 0..*count {
                    seen.entry((number, page)).or_default().insert(content(number, page));
                }
            }
        };
        note();
        let incoming = dir.path().join("incoming");
        let mut sink = SnapshotSink::begin(&incoming, 1).unwrap();
        let (mut chunks, mut writes) = (chunks.iter().cycle(), writes.iter());
        loop {
            let (chunk, done) = source.read(sink.offset(), *chunks.next().unwrap()).unwrap();
            sink.write(sink.offset(), &chunk).unwrap();
            prop_assert_eq!(done, sink.is_complete());
            if done {
                break;
            }
            for (number, page, byte, cut) in writes.by_ref().take(2) {
                let Some(file) = files.get(*number) else { continue };
                if *cut {
                    file.truncate(u64::from(*page) * PAGE as u64).unwrap();
                } else {
                    file.write_at(u64::from(*page) * PAGE as u64, &[*byte; PAGE]).unwrap();
                }
                note();
            }
        }
        prop_assert_eq!(sink.total(), Some(source.len()));
        sink.finish(b"").unwrap();
        let received = received(&incoming);
        prop_assert_eq!(received.len(), pages.len());
        for ((number, page), versions) in &seen {
            let at = *page as usize * PAGE;
            let image: [u8; PAGE] = received[&format!("db/{number}")][at..at + PAGE].try_into().unwrap();
            prop_assert!(versions.contains(&image), "database {number}, page {page}");
        }
    }

    /// Bytes of any kind at any time are refused or taken, never fatal.
    #[test]
    fn no_bytes_panic(
        prefix in 0..6000_usize,
        garbage in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = common::directory();
        let stream = stream(&source(&dir.path().join("live"), &[3, 0, 2]));
        let mut bytes = stream[..prefix.min(stream.len())].to_vec();
        bytes.extend_from_slice(&garbage);
        let mut sink = SnapshotSink::begin(&dir.path().join("incoming"), 1).unwrap();
        if let Err(error) = sink.write(0, &bytes) {
            prop_assert!(error.is_corrupt(), "{error}");
        }
        // What was good counts, and the rest can come after it.
        sink.write(sink.offset(), &stream[sink.offset() as usize..]).unwrap();
        sink.finish(b"").unwrap();
    }
}

/// Every record can be asked for alone, and bytes between records cannot.
#[test]
fn every_record_has_its_offset() {
    let dir = common::directory();
    for pages in [&[3, 0, 0, 2, 0][..], &[0], &[], &[4]] {
        let source = source(&dir.path().join(format!("{pages:?}")), pages);
        let whole = stream(&source);
        let boundaries = boundaries(&source);
        let records = 1 + pages.len() + pages.iter().sum::<u32>() as usize;
        assert_eq!(boundaries.len(), records + 1);
        for offset in 0..=source.len() + 2 {
            match source.read(offset, 1) {
                Ok((record, done)) => {
                    assert!(boundaries.contains(&offset), "{offset}");
                    let end = offset as usize + record.len();
                    assert_eq!(record, whole[offset as usize..end]);
                    assert_eq!(done, end == whole.len());
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                    assert!(!boundaries.contains(&offset), "{offset}");
                }
            }
        }
        // No chunk is longer than asked for, unless one record is.
        for max in [50, 600, 1100, 3000] {
            let (chunk, _) = source.read(0, max).unwrap();
            assert!(chunk.len() <= max && boundaries.contains(&(chunk.len() as u64)));
        }
    }
}

/// One bit, anywhere: nothing of the record is believed, and the right bytes are taken after it.
#[test]
fn every_flipped_bit_is_found() {
    let dir = common::directory();
    let source = source(&dir.path().join("live"), &[2, 1]);
    let whole = stream(&source);
    let boundaries = boundaries(&source);
    let incoming = dir.path().join("incoming");
    let mut sink = SnapshotSink::begin(&incoming, 1).unwrap();
    for bit in 0..whole.len() * 8 {
        let record = *boundaries.range(..=bit as u64 / 8).next_back().unwrap();
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = sink
            .write(sink.offset(), &bad[sink.offset() as usize..])
            .unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert_eq!(sink.offset(), record, "bit {bit}");
    }
    sink.write(sink.offset(), &whole[sink.offset() as usize..])
        .unwrap();
    sink.finish(b"").unwrap();
    let received = received(&incoming);
    assert_eq!(received["db/0"], [[0; PAGE], [1; PAGE]].concat());
    assert_eq!(received["db/1"], [32; PAGE]);
}

/// A stream that ends anywhere is not a snapshot; one that goes on after its end is not either.
#[test]
fn cut_off_and_overlong_streams_are_refused() {
    let dir = common::directory();
    let source = source(&dir.path().join("live"), &[1, 0, 1]);
    let whole = stream(&source);
    let boundaries = boundaries(&source);
    let incoming = dir.path().join("incoming");
    for len in 0..whole.len() {
        let mut sink = SnapshotSink::begin(&incoming, 1).unwrap();
        let result = sink.write(0, &whole[..len]);
        assert_eq!(result.is_ok(), boundaries.contains(&(len as u64)), "{len}");
        let error = sink.finish(b"").unwrap_err();
        assert!(matches!(error, Error::Incomplete { .. }), "{error}");
        assert!(pending_install(&incoming).unwrap().is_none());
    }
    let mut sink = SnapshotSink::begin(&incoming, 1).unwrap();
    sink.write(0, &whole).unwrap();
    assert!(sink.write(source.len(), b"x").unwrap_err().is_corrupt());
    for offset in [0, 1, source.len() + 1] {
        let error = sink.write(offset, &whole).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    }
    sink.finish(b"").unwrap();
}

/// Records with a good checksum that say what cannot be.
#[test]
fn lies_with_a_good_checksum_are_refused() {
    fn head(version: u32, page_size: u32, databases: u32, total: u64) -> Vec<u8> {
        let mut head = b"FERRSNAP".to_vec();
        head.extend_from_slice(&version.to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        head.extend_from_slice(&page_size.to_le_bytes());
        head.extend_from_slice(&databases.to_le_bytes());
        head.extend_from_slice(&total.to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        head
    }
    fn database(ordinal: u32, name: &[u8], pages: u32) -> Vec<u8> {
        let mut covered = ordinal.to_le_bytes().to_vec();
        covered.extend_from_slice(&(name.len() as u16).to_le_bytes());
        covered.extend_from_slice(name);
        covered.extend_from_slice(&pages.to_le_bytes());
        let checksum = crc32fast::hash(&covered);
        covered.extend_from_slice(&checksum.to_le_bytes());
        covered.split_off(4)
    }
    let dir = common::directory();
    let write = |records: &[Vec<u8>]| {
        let mut sink = SnapshotSink::begin(&dir.path().join("incoming"), 1).unwrap();
        sink.write(0, &records.concat())
    };
    write(&[head(1, 512, 0, 36)]).unwrap();
    write(&[head(1, 512, 1, 47), database(0, b"a", 0)]).unwrap();
    for lie in [
        vec![head(0, 512, 0, 36)],
        vec![head(0, 512, 0, 36)],
        vec![head(1, 513, 0, 36)],
        vec![head(1, 1 << 17, 0, 36)],
        vec![head(1, 512, 0, 37)],
        vec![head(1, 512, 65_537, 1 << 30)],
        vec![head(1, 512, 1, 48), database(0, b"a", 0)],
        vec![head(1, 65536, 1, 47), database(0, b"a", u32::MAX)],
        vec![head(1, 512, 1, 47), database(1, b"a", 0)],
        vec![
            head(1, 512, 2, 58),
            database(0, b"a", 0),
            database(1, b"a", 0),
        ],
        vec![head(1, 512, 1, 46), database(0, b"", 0)],
        vec![head(1, 512, 1, 47), database(0, b"\0", 0)],
        vec![head(1, 512, 1, 47), database(0, b"\xff", 0)],
        vec![head(1, 512, 1, 287), database(0, &[b'a'; 241], 0)],
        vec![head(1, 512, 1, 146), database(0, &[b'/'; 100], 0)],
    ] {
        let error = write(&lie).unwrap_err();
        assert!(matches!(error, Error::Stream { .. }), "{error}");
    }
    let newer = write(&[head(3, 512, 0, 36)]).unwrap_err();
    assert!(newer.is_newer_format(), "{newer}");
    // A page of one place is not taken at another.
    let source = source(&dir.path().join("live"), &[2]);
    let whole = stream(&source);
    let page = PAGE + 4;
    let first = whole.len() - 2 * page;
    let mut sink = SnapshotSink::begin(&dir.path().join("incoming"), 1).unwrap();
    sink.write(0, &whole[..first]).unwrap();
    assert!(
        sink.write(first as u64, &whole[first + page..])
            .unwrap_err()
            .is_corrupt()
    );
}

/// A list that could not be received is not sent.
#[test]
fn impossible_lists_are_refused() {
    let dir = common::directory();
    let file = Arc::new(PageFile::open(&dir.path().join("a")).unwrap());
    let list = |names: &[&str]| {
        let one = |name: &&str| ((*name).to_owned(), Arc::clone(&file), 1);
        names.iter().map(one).collect::<Vec<_>>()
    };
    assert!(SnapshotSource::new(list(&["a", "b"]), 4096).is_ok());
    for (names, page_size) in [(&["a", "a"], 4096), (&["a", ""], 4096), (&["a", "b"], 4095)] {
        assert!(
            SnapshotSource::new(list(names), page_size)
                .unwrap_err()
                .is_refused()
        );
    }
    let many = vec![(String::from("x"), Arc::clone(&file), 1); 65_537];
    assert!(SnapshotSource::new(many, 4096).unwrap_err().is_refused());
}
