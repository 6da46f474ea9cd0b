//! Snapshots of the pages that have changed since an index: what comes out is what the sender has, whatever the receiver had.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "common/node.rs"]
mod node;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::{Directory, Error, SnapshotSink, SnapshotSource};
use ferrolite_wal::backend::{Backend, FaultBackend, MemBackend};
use node::{Content, Entry, Node, PAGE, disk, meta, truth};
use proptest::prelude::*;

fn entry(database: &str, pages: &[(u32, u8)], size: u32) -> Entry {
    Entry {
        database: database.to_owned(),
        pages: pages.to_vec(),
        size,
    }
}

fn many(database: &str, pages: RangeInclusive<u32>, byte: u8, size: u32) -> Entry {
    let pages: Vec<_> = pages.map(|page_no| (page_no, byte)).collect();
    entry(database, &pages, size)
}

/// Databases that grow, shrink, stay and begin.
fn log() -> Vec<Entry> {
    vec![
        many("a", 1..=50, 1, 50),
        many("b", 1..=5, 2, 5),
        many("c", 1..=30, 3, 30),
        many("d", 1..=3, 4, 3),
        // From here on the receiver does not have them.
        entry("a", &[(7, 5), (41, 5)], 50),
        entry("b", &[(1, 6)], 2),
        entry("c", &[(1, 7), (35, 7)], 36),
        entry("new", &[(1, 8), (2, 8)], 4),
        entry("a", &[(7, 9)], 50),
    ]
}

fn node(log: &[Entry], to: u64) -> (FaultBackend, Node) {
    let disk = disk();
    let mut node = Node::start(&disk, log).unwrap();
    node.checkpoint(log, to).unwrap();
    (disk, node)
}

/// The stream, in chunks of one record.
fn stream(source: &SnapshotSource) -> Vec<Vec<u8>> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    loop {
        let (chunk, done) = source.read(at, 1).unwrap();
        at += chunk.len() as u64;
        chunks.push(chunk);
        if done {
            assert_eq!(at, source.len());
            return chunks;
        }
    }
}

fn receive(node: &Node, chunks: &[Vec<u8>], index: u64, newest: u64) -> Result<(), Error> {
    let mut sink = SnapshotSink::begin_in(&node.incoming, 1, node.mark.done())?;
    for chunk in chunks {
        sink.write(sink.offset(), chunk)?;
    }
    sink.finish(&meta(index, newest))
}

/// Sums and log indexes of all pages.
fn sums(node: &mut Node) -> Vec<(String, u32, u64)> {
    let mut found = Vec::new();
    for (name, file) in node.files().unwrap() {
        for page_no in 1..=file.pages().unwrap() {
            if let Some(sum) = file.page_sum(page_no).unwrap() {
                found.push((name.clone(), sum.sum, sum.index));
            }
        }
    }
    found
}

/// Only what changed is sent; databases that came, went, grew and shrank are right; every page is known as the sender knows it.
#[test]
fn changes_make_what_the_sender_has() {
    let log = log();
    let (_, mut sender) = node(&log, 9);
    let (disk, mut receiver) = node(&log, 4);
    // One that the sender does not have any more, and what was beside it.
    let gone = entry("gone", &[(1, 1)], 1);
    let file = receiver.file("gone").unwrap();
    let images = [(1, &[1; PAGE][..])];
    ferrolite_pager::write_transaction_at(&file, PAGE as u32, images.into_iter(), gone.size, 1)
        .unwrap();
    file.sync().unwrap();

    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 4).unwrap();
    assert_eq!(source.base(), 4);
    let chunks = stream(&source);
    // a: 7, 41; b: 1; c: 1, 31 to 36 (30 to 34 were never written); new: 1 to 4; d: none.
    assert_eq!(chunks.len(), 1 + 5 + 2 + 1 + 7 + 4);
    receive(&receiver, &chunks, 9, 9).unwrap();
    assert!(receiver.install().unwrap());
    assert_eq!(receiver.content().unwrap(), truth(&log, 9));
    assert_eq!((receiver.mark.done(), receiver.mark.target()), (9, 9));
    let known = |found: Vec<(String, u32, u64)>| -> Vec<_> {
        // Pages that no entry wrote are known to the receiver only.
        let written =
            |(name, _, index): &(String, u32, u64)| (name != "c" && name != "new") || *index < 9;
        found.into_iter().filter(written).collect()
    };
    assert_eq!(known(sums(&mut receiver)), known(sums(&mut sender)));
    assert!(
        !receiver
            .listing()
            .iter()
            .any(|name| name.starts_with("gone") || name.contains("incoming"))
    );
    disk.crash(|_| false);
    let mut receiver = Node::start(&disk, &log).unwrap();
    assert_eq!(receiver.content().unwrap(), truth(&log, 9));
}

/// All pages with their indexes: a node that starts with nothing can send changes to the next one.
#[test]
fn indexes_travel_with_whole_snapshots() {
    let log = log();
    let (_, mut sender) = node(&log, 8);
    let (_, mut second) = node(&log, 0);
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 0).unwrap();
    receive(&second, &stream(&source), 8, 8).unwrap();
    assert!(second.install().unwrap());
    assert_eq!(second.content().unwrap(), truth(&log, 8));
    second.checkpoint(&log, 9).unwrap();
    let (_, mut third) = node(&log, 4);
    let source = SnapshotSource::since(second.files().unwrap(), PAGE as u32, 4).unwrap();
    assert!(source.len() < 30 * PAGE as u64);
    receive(&third, &stream(&source), 9, 9).unwrap();
    assert!(third.install().unwrap());
    assert_eq!(third.content().unwrap(), truth(&log, 9));
}

/// What somebody knew of the pages before, and writes out only after the installation, does not spoil what is known now.
#[test]
fn a_file_that_was_open_before_does_no_harm() {
    let log = log();
    let (_, mut sender) = node(&log, 9);
    let (disk, mut receiver) = node(&log, 4);
    receiver.write(&log, 5, 5).unwrap();
    let before = receiver.file("a").unwrap();
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 4).unwrap();
    receive(&receiver, &stream(&source), 9, 9).unwrap();
    assert!(receiver.install().unwrap());
    before.sync().unwrap();
    drop((receiver, before));
    disk.crash(|_| true);
    let mut receiver = Node::start(&disk, &log).unwrap();
    assert_eq!(receiver.content().unwrap(), truth(&log, 9));
}

/// Changes since an index that the receiver does not have are refused, and so is a source without sums.
#[test]
fn the_base_has_to_fit() {
    let log = log();
    let (_, mut sender) = node(&log, 9);
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 5).unwrap();
    let (_, receiver) = node(&log, 4);
    assert!(
        receive(&receiver, &stream(&source), 9, 9)
            .unwrap_err()
            .is_corrupt()
    );
    let mut sink = SnapshotSink::begin_in(&receiver.incoming, 1, 0).unwrap();
    assert!(sink.write(0, &stream(&source)[0]).unwrap_err().is_corrupt());
    assert!(
        SnapshotSource::since(sender.files().unwrap(), 1024, 5)
            .unwrap_err()
            .is_refused()
    );
    // An older base than the receiver's own brings more than is needed, and no harm.
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 2).unwrap();
    let (_, mut receiver) = node(&log, 6);
    receive(&receiver, &stream(&source), 9, 9).unwrap();
    assert!(receiver.install().unwrap());
    assert_eq!(receiver.content().unwrap(), truth(&log, 9));
}

/// Any one bit of the stream: refused, and taken once it comes as it was sent.
#[test]
fn every_flipped_bit_of_the_stream_is_found() {
    let log = log();
    let (_, mut sender) = node(&log, 9);
    for base in [0, 8] {
        let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, base).unwrap();
        let chunks: Vec<_> = stream(&source).into_iter().take(8).collect();
        let directory = Directory::on(Arc::new(MemBackend::new()), Path::new("incoming"));
        let mut sink = SnapshotSink::begin_in(&directory, 1, 8).unwrap();
        for chunk in &chunks {
            for bit in (0..chunk.len() * 8).step_by(if chunk.len() > 100 { 5 } else { 1 }) {
                let mut bad = chunk.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let offset = sink.offset();
                let error = sink.write(offset, &bad).unwrap_err();
                assert!(
                    error.is_corrupt() || error.is_newer_format(),
                    "bit {bit}: {error}"
                );
                assert_eq!(sink.offset(), offset);
            }
            sink.write(sink.offset(), chunk).unwrap();
        }
    }
}

/// Pages that are to wait in `incoming` are checked before the first live page is touched.
#[test]
fn damaged_changes_are_not_begun_with() {
    let log = log();
    let (_, mut sender) = node(&log, 9);
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, 4).unwrap();
    let chunks = stream(&source);
    let (disk, receiver) = node(&log, 4);
    receive(&receiver, &chunks, 9, 9).unwrap();
    let databases = disk.directory("databases");
    let changed = "incoming/c.sqlite-pages";
    let bits = databases.open(changed, false).unwrap().len().unwrap() * 8;
    for bit in (0..bits).step_by(97) {
        databases.flip_bit(changed, bit);
        let disk = disk.fork();
        databases.flip_bit(changed, bit);
        let error = Node::start(&disk, &log).map(|_| ()).unwrap_err();
        assert!(error.is_damaged(), "bit {bit}: {error}");
        // Without the decision, the databases are seen to be what they were.
        disk.directory("databases")
            .remove("incoming/complete")
            .unwrap();
        let mut node = Node::start(&disk, &log).unwrap();
        assert_eq!(node.content().unwrap(), truth(&log, 4));
    }
    // Of a database that has lost its end, the changes do not make the pages: what is missing is found rotten.
    let lost = disk.fork();
    let file = lost.directory("databases").open("c.sqlite", false).unwrap();
    file.set_len(10 * PAGE as u64).unwrap();
    let error = Node::start(&lost, &log).unwrap().content().unwrap_err();
    assert!(error.is_rot(), "{error}");
    assert_eq!(
        Node::start(&disk, &log).unwrap().content().unwrap(),
        truth(&log, 9)
    );
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (
        0..4_usize,
        prop::collection::vec((1..90_u32, any::<u8>()), 0..6),
        1..90_u32,
    );
    let entry = one
        .prop_map(|(database, pages, size)| entry(["a", "b", "c/d", "é"][database], &pages, size));
    prop::collection::vec(entry, 8..40)
}

fn check(log: &[Entry], at: [u64; 5], chunks: &[usize]) -> Result<(), TestCaseError> {
    let last = log.len() as u64;
    // The receiver's mark; the index that the snapshot claims; up to where its pages are newer.
    let [done, begun, index, newest, base] = at;
    let done = done % last;
    let begun = done + begun % (last - done + 1);
    let index = done + index % (last - done + 1);
    let newest = index + newest % (last - index + 1);
    let base = base % (done + 1);
    let (_, mut sender) = node(log, index);
    let (disk, mut receiver) = node(log, done);
    receiver.write(log, done + 1, begun).unwrap();
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, base).unwrap();
    let mut sink = SnapshotSink::begin_in(&receiver.incoming, 1, done).unwrap();
    let mut chunks = chunks.iter().cycle();
    let mut written = index;
    loop {
        let (chunk, is_last) = source.read(sink.offset(), *chunks.next().unwrap()).unwrap();
        sink.write(sink.offset(), &chunk).unwrap();
        if written < newest {
            written += 1;
            sender.write(log, written, written).unwrap();
        }
        if is_last {
            break;
        }
    }
    sink.finish(&meta(index, sender.mark.target())).unwrap();
    // Installed by this process or by the next one, which has lost what was not synced.
    if newest.is_multiple_of(2) {
        receiver.install().unwrap();
        drop(receiver);
    } else {
        drop(receiver);
        disk.crash(|part| part % 3 == 0);
    }
    let mut receiver = Node::start(&disk, log).unwrap();
    let done = receiver.mark.done();
    let reached = if base > 0 {
        written.max(begun)
    } else {
        written
    };
    prop_assert_eq!(done, reached.max(index));
    let mut found: Content = receiver.content().unwrap();
    let expected = truth(log, done);
    found.retain(|_, bytes| !bytes.is_empty());
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// From any base, into a node whose own checkpoint was cut short anywhere, while the sender goes on: after the log was
    /// redone as far as the pages may be newer, the databases are what the log makes, and every page has its sum.
    #[test]
    fn any_changes_end_in_one_state(
        log in entries(),
        at in prop::array::uniform5(0..1000_u64),
        chunks in prop::collection::vec(1..6000_usize, 1..6),
    ) {
        check(&log, at, &chunks)?;
    }
}
