//! Crash exploration: stop at every operation on the disk, keep every choice of what was not synced, start again.
//!
//! Whatever the crash, a start brings the databases to what the log makes up to the mark, and that is not before anything
//! that was promised. Every page has the sum of what it is, and a log index that is not below that of the entry that
//! wrote it: so nothing is called rotten that a crash left, and nothing that changed is missed by a snapshot of changes.
//! A crash while the start repairs another crash is no different.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "common/node.rs"]
mod node;

use std::collections::BTreeMap;

use ferrolite_pager::{Error, Scrubber, SnapshotSink, SnapshotSource};
use ferrolite_wal::backend::FaultBackend;
use node::{Content, Entry, Node, PAGE, disk, meta, truth};

/// Up to this many unsynced parts, every choice is tried; beyond, choices are drawn.
const EXHAUSTIVE_PARTS: usize = 4;
const DRAWN: u64 = 12;

/// A small deterministic generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Transactions of two databases from the beginning and of one that comes later; they grow, shrink and overwrite.
fn log() -> Vec<Entry> {
    let mut rng = Rng(4);
    let mut log = Vec::new();
    for (index, size) in [5, 3, 9, 44, 6, 2, 7, 50, 4, 8, 47, 3, 9, 6, 45, 5]
        .into_iter()
        .enumerate()
    {
        let database = match index % 3 {
            0 => "a",
            1 => "b",
            _ if index < 8 => "a",
            _ => "late",
        };
        let pages = (0..3).map(|_| {
            (
                rng.next() as u32 % size + 1,
                index as u8 * 16 + rng.next() as u8 % 16,
            )
        });
        log.push(Entry {
            database: database.to_owned(),
            pages: pages.collect(),
            size,
        });
    }
    log
}

/// A snapshot on its way, in chunks.
struct Stream {
    chunks: Vec<Vec<u8>>,
    index: u64,
    newest: u64,
}

/// What a node at entry `index` sends of changes since `base`, while it writes two entries more.
fn stream(log: &[Entry], base: u64, index: u64) -> Stream {
    let mut sender = Node::start(&disk(), log).unwrap();
    sender.checkpoint(log, index).unwrap();
    let source = SnapshotSource::since(sender.files().unwrap(), PAGE as u32, base).unwrap();
    let (mut chunks, mut at) = (Vec::new(), 0);
    loop {
        let (chunk, is_last) = source.read(at, source.len() as usize / 3).unwrap();
        at += chunk.len() as u64;
        chunks.push(chunk);
        if is_last {
            break;
        }
        let next = sender.mark.target() + 1;
        if next <= index + 2 {
            sender.write(log, next, next).unwrap();
        }
    }
    Stream {
        chunks,
        index,
        newest: sender.mark.target(),
    }
}

/// What was promised: everything up to this entry is there.
#[derive(Debug, Default, Clone, Copy)]
struct Promised(u64);

fn receive(node: &mut Node, stream: &Stream, promised: &mut Promised) -> Result<(), Error> {
    let mut sink = SnapshotSink::begin_in(&node.incoming, 7, node.mark.done())?;
    for chunk in &stream.chunks {
        sink.write(sink.offset(), chunk)?;
    }
    sink.finish(&meta(stream.index, stream.newest))?;
    promised.0 = promised.0.max(stream.index);
    assert!(node.install()?);
    Ok(())
}

fn checkpoint(
    node: &mut Node,
    log: &[Entry],
    to: u64,
    promised: &mut Promised,
) -> Result<(), Error> {
    node.checkpoint(log, to)?;
    promised.0 = promised.0.max(to);
    Ok(())
}

/// Checkpoints, one of them in two steps; a snapshot of changes while a checkpoint is half done; one of all pages; the
/// scrubber, and a repair.
fn workload(
    disk: &FaultBackend,
    log: &[Entry],
    streams: &[Stream; 2],
    promised: &mut Promised,
) -> Result<(), Error> {
    let mut node = Node::start(disk, log)?;
    let promised = &mut *promised;
    checkpoint(&mut node, log, 2, promised)?;
    checkpoint(&mut node, log, 4, promised)?;
    node.write(log, 5, 6)?;
    checkpoint(&mut node, log, 7, promised)?;
    node.write(log, 8, 8)?;
    receive(&mut node, &streams[0], promised)?;
    let target = node.mark.target();
    checkpoint(&mut node, log, target, promised)?;
    receive(&mut node, &streams[1], promised)?;
    checkpoint(&mut node, log, 15, promised)?;
    let files = node.files()?;
    Scrubber::new().next(&files, 1000)?;
    for (_, file) in &files {
        file.sync().map_err(|e| Error::io("sync", file.path(), e))?;
        let page = file.read_page(1)?;
        file.repair(1, &page.bytes, 0)?;
    }
    checkpoint(&mut node, log, 16, promised)
}

/// The last entry that wrote each page, of those up to `index`.
fn writers(log: &[Entry], index: u64) -> BTreeMap<(&str, u32), u64> {
    let mut writers = BTreeMap::new();
    for (index, entry) in (1..).zip(&log[..index as usize]) {
        writers
            .retain(|(database, page_no), _| *database != entry.database || *page_no <= entry.size);
        for (page_no, _) in entry.pages.iter().filter(|(no, _)| *no <= entry.size) {
            writers.insert((entry.database.as_str(), *page_no), index);
        }
    }
    writers
}

/// Starts after a crash, and checks what is there.
fn restart(disk: &FaultBackend, log: &[Entry], promised: Promised) -> Result<Content, String> {
    let mut node = Node::start(disk, log).map_err(|e| format!("the start fails: {e}"))?;
    let done = node.mark.done();
    if done != node.mark.target() || done < promised.0 {
        return Err(format!("the mark is at {done} of {}", node.mark.target()));
    }
    let content = node
        .content()
        .map_err(|e| format!("a crash looks like rot: {e}"))?;
    if content != truth(log, done) {
        return Err(format!("the databases are not what {done} entries make"));
    }
    let writers = writers(log, done);
    for (name, file) in node.files().unwrap() {
        for page_no in 1..=file.pages().unwrap() {
            let known = file.page_sum(page_no).unwrap();
            let writer = writers.get(&(name.as_str(), page_no)).copied();
            if writer.is_some_and(|writer| known.is_none_or(|known| known.index < writer)) {
                return Err(format!(
                    "page {page_no} of {name} is of {writer:?}, and known as {known:?}"
                ));
            }
        }
    }
    let left: Vec<_> = node
        .listing()
        .into_iter()
        .filter(|name| name.contains("incoming"))
        .collect();
    if !left.is_empty() {
        return Err(format!("{left:?} were left"));
    }
    Ok(content)
}

/// One crash: a start makes it good, and the next start has no more to do; and the workload's last step can be done.
fn check(
    disk: &FaultBackend,
    log: &[Entry],
    promised: Promised,
    keep: impl FnMut(usize) -> bool,
) -> Result<(), String> {
    disk.crash(keep);
    let found = restart(disk, log, promised)?;
    disk.crash(|_| false);
    if restart(disk, log, promised)? != found {
        return Err("what was there is gone after another crash".to_owned());
    }
    let mut node = Node::start(disk, log).map_err(|e| e.to_string())?;
    node.checkpoint(log, 16).map_err(|e| e.to_string())?;
    let content = node.content().map_err(|e| e.to_string())?;
    (content == truth(log, 16))
        .then_some(())
        .ok_or_else(|| "it does not go on".to_owned())
}

/// What of the unsynced parts is kept, by the number of the draw: mostly lost, mostly kept, one hole, or one survivor.
fn drawn(draw: u64, seed: u64, parts: usize) -> impl FnMut(usize) -> bool {
    let mut rng = Rng(seed.wrapping_mul(1000) + draw);
    let odd = (rng.next() % parts.max(1) as u64) as usize;
    move |part| match draw % 4 {
        0 => part != odd,
        1 => part == odd,
        2 => rng.next().is_multiple_of(2),
        _ => !rng.next().is_multiple_of(8),
    }
}

/// All crashes at the operation `stop` of the workload, and crashes in the start after one; returns how many there were.
fn explore(stop: u64, log: &[Entry], streams: &[Stream; 2]) -> u64 {
    let disk = disk();
    disk.stop_after(disk.changes() + stop);
    let mut promised = Promised::default();
    // Stopped or not, what was promised holds.
    let outcome = workload(&disk, log, streams, &mut promised).map_err(|e| e.to_string());
    let parts = disk.unsynced();
    let mut states = 0;
    let mut one = |what: String, keep: &mut dyn FnMut(usize) -> bool| {
        states += 1;
        if let Err(reason) = check(&disk.fork(), log, promised, keep) {
            panic!(
                "stopped at operation {stop} ({outcome:?}), {what} of {parts} parts kept: {reason}"
            );
        }
    };
    if parts <= EXHAUSTIVE_PARTS {
        for mask in 0..1_u32 << parts {
            one(format!("mask {mask:b}"), &mut |part| mask >> part & 1 == 1);
        }
    } else {
        one("none".to_owned(), &mut |_| false);
        one("all".to_owned(), &mut |_| true);
        for draw in 0..DRAWN {
            one(format!("draw {draw}"), &mut drawn(draw, stop, parts));
        }
    }
    // Every third one: the starts after neighbouring stops have nearly the same to do.
    if stop.is_multiple_of(3) {
        states += explore_the_start(stop, &disk, log, promised);
    }
    states
}

/// A crash, and another one at every operation of the start after it.
fn explore_the_start(stop: u64, crashed: &FaultBackend, log: &[Entry], promised: Promised) -> u64 {
    let first = crashed.fork();
    first.crash(drawn(2, stop, crashed.unsynced()));
    let mut states = 0;
    for second in 0.. {
        let disk = first.fork();
        disk.stop_after(disk.changes() + second);
        let is_done = Node::start(&disk, log).is_ok();
        states += 1;
        let parts = disk.unsynced();
        let keep = drawn(second, stop * 100 + second, parts);
        if let Err(reason) = check(&disk.fork(), log, promised, keep) {
            panic!("stopped at {stop}, then at {second} of the start: {reason}");
        }
        if is_done {
            return states;
        }
    }
    states
}

/// At every operation of the workload, and with every choice of what reached the disk, the databases are what was promised.
#[test]
fn every_crash_keeps_every_promise() {
    let log = log();
    let streams = [stream(&log, 5, 10), stream(&log, 0, 13)];
    assert!(
        streams
            .iter()
            .all(|stream| stream.newest == stream.index + 2)
    );
    let whole = disk();
    let before = whole.changes();
    workload(&whole, &log, &streams, &mut Promised::default()).unwrap();
    let operations = whole.changes() - before;
    let states: u64 = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (log, streams) = (&log, &streams);
            let stops = (half..=operations).step_by(2);
            scope.spawn(move || stops.map(|stop| explore(stop, log, streams)).sum::<u64>())
        });
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("crash exploration of the page store: {states} states after {operations} operations");
    assert!(states >= 5_000, "only {states} states");
}
