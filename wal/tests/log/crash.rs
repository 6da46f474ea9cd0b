//! Crash exploration: stop at every operation on the disk, keep every choice of what was not synced, open again.
//!
//! Whatever the crash, the log must hold a state that it went through after the last one it promised to keep: no
//! promised entry is missing, and nothing is there that was never appended. A crash must never look like damage. And
//! what an opening showed once must be there after the next crash too.

use std::sync::Arc;

use crate::support::{Content, Event, History, Rng, options, record};
use std::io::ErrorKind;

use ferrolite_wal::backend::{FaultBackend, FaultKind, Operation};
use ferrolite_wal::{Error, Log, Record};

/// Up to this many unsynced parts, every choice is tried; beyond, choices are drawn.
const EXHAUSTIVE_PARTS: usize = 4;
const DRAWN: u64 = 118;

fn batch(from: u64, to: u64, term: u64, len: usize) -> Vec<Record> {
    (from..to)
        .map(|index| record(index, term, len + (index as usize * 7) % 30))
        .collect()
}

/// Appends of all sizes, superseding inside a segment, across segments and of everything unsynced; dropping the front
/// while files are reused; starting over.
fn workload(log: &Log, history: &mut History) -> Result<(), Error> {
    let h = history;
    h.append(log, &batch(1, 4, 1, 40))?;
    h.sync(log)?;
    h.append(log, &batch(4, 6, 1, 700))?;
    h.append(log, &batch(6, 8, 1, 10))?;
    h.sync(log)?;
    // Supersede what is promised, twice, before the sync.
    h.append(log, &batch(5, 9, 2, 300))?;
    h.append(log, &batch(6, 8, 3, 200))?;
    h.sync(log)?;
    // Over the end of a segment, in one batch.
    h.append(log, &batch(8, 14, 3, 30_000))?;
    h.sync(log)?;
    log.prepare()?;
    h.append(log, &batch(14, 16, 3, 100))?;
    // Larger than a segment.
    h.append(log, &batch(16, 17, 4, 100_000))?;
    h.append(log, &batch(17, 19, 4, 50))?;
    h.sync(log)?;
    h.drop_prefix(log, 12)?;
    h.append(log, &batch(19, 24, 4, 25_000))?;
    h.drop_prefix(log, 17)?;
    h.sync(log)?;
    // The same entries again, as a leader may send them.
    h.append(log, &batch(22, 24, 4, 25_000))?;
    h.append(log, &batch(24, 25, 5, 5))?;
    h.reset(log, 40, 6)?;
    h.append(log, &batch(41, 44, 6, 60))?;
    h.sync(log)?;
    h.append(log, &batch(44, 46, 6, 40_000))?;
    h.drop_prefix(log, 44)?;
    h.append(log, &batch(44, 46, 7, 64))?;
    no_room(log, h)?;
    // The promised entry 44 is superseded by one that is not durable yet.
    h.drop_prefix(log, 44)?;
    h.append(log, &batch(45, 46, 7, 40_000))?;
    h.sync(log)?;
    h.reset(log, 44, 7)?;
    h.append(log, &batch(45, 46, 8, 64))?;
    h.sync(log)
}

/// An append that finds no room in the middle of its write, and is refused.
fn no_room(log: &Log, history: &mut History) -> Result<(), Error> {
    history.disk.inject(
        Operation::Write,
        0,
        FaultKind::HalfFails(ErrorKind::StorageFull),
    );
    match history.append(log, &batch(45, 48, 7, 600)) {
        Err(e) if e.is_full() => Ok(()),
        result => result,
    }
}

/// Runs the workload until the machine stops.
fn run(disk: &FaultBackend, history: &mut History) -> Result<(), Error> {
    history.disk = disk.clone();
    let (log, _) = Log::open(Arc::new(disk.clone()), options())?;
    workload(&log, history)
}

/// Opens after a crash, and checks what is there.
fn reopen(disk: &FaultBackend, history: &History) -> Result<Content, String> {
    let (log, recovery) =
        Log::open(Arc::new(disk.clone()), options()).map_err(|e| e.to_string())?;
    if !recovery.damaged.is_empty() {
        return Err(format!("a crash looks like damage: {:?}", recovery.damaged));
    }
    history.find(&log)
}

/// One crash: the log is in a state that it promised; after another crash still in that one; and it goes on.
fn check(
    disk: &FaultBackend,
    history: &History,
    mut keep: impl FnMut(usize) -> bool,
) -> Result<(), String> {
    disk.crash(&mut keep);
    let found = reopen(disk, history)?;
    disk.crash(|_| false);
    let (log, recovery) =
        Log::open(Arc::new(disk.clone()), options()).map_err(|e| e.to_string())?;
    if !recovery.damaged.is_empty() || recovery.torn_bytes != 0 {
        return Err(format!("the second opening still finds {recovery:?}"));
    }
    found
        .matches(&log)
        .map_err(|reason| format!("what was recovered is gone after another crash: {reason}"))?;
    let mut after = found;
    let (last, term) = after.last();
    // The entries that were lost come again, word for word, and others behind them.
    let again = history.events.iter().rev().find_map(|event| match event {
        Event::Push(record) if record.index == last + 1 && record.term >= term => {
            Some(record.clone())
        }
        _ => None,
    });
    let next = again.unwrap_or_else(|| record(last + 1, term.max(1), 33));
    log.append(std::slice::from_ref(&next))
        .map_err(|e| e.to_string())?;
    log.sync().map_err(|e| e.to_string())?;
    after.apply(&Event::Push(next));
    drop(log);
    disk.crash(|_| false);
    let (log, _) = Log::open(Arc::new(disk.clone()), options()).map_err(|e| e.to_string())?;
    after
        .matches(&log)
        .map_err(|reason| format!("after going on: {reason}"))
}

/// All crashes at the operation `stop` of `operations`; returns how many there were.
fn explore(stop: u64, operations: u64) -> u64 {
    let disk = FaultBackend::new();
    disk.stop_after(stop);
    let mut history = History::default();
    let result = run(&disk, &mut history);
    assert_eq!(result.is_ok(), stop == operations, "stop {stop}");
    let parts = disk.unsynced();
    let mut states = 0;
    let mut one = |keep: &mut dyn FnMut(usize) -> bool, what: String| {
        states += 1;
        let fork = disk.fork();
        if let Err(reason) = check(&fork, &history, keep) {
            panic!(
                "stopped at operation {stop} of {operations}, {what} of {parts} parts kept: {reason}"
            );
        }
    };
    if parts <= EXHAUSTIVE_PARTS {
        for mask in 0..1u32 << parts {
            one(&mut |part| mask >> part & 1 == 1, format!("mask {mask:b}"));
        }
        return states;
    }
    one(&mut |_| false, "none".into());
    one(&mut |_| true, "all".into());
    let mut rng = Rng(stop);
    for draw in 0..DRAWN {
        // Mostly lost, mostly kept, or one hole, or one survivor.
        let (seed, odd) = (rng.next(), (rng.next() % parts as u64) as usize);
        let mut coin = Rng(seed);
        let mut keep = |part: usize| match draw % 4 {
            0 => part != odd,
            1 => part == odd,
            2 => coin.next().is_multiple_of(2),
            _ => !coin.next().is_multiple_of(8),
        };
        one(&mut keep, format!("draw {draw} of seed {seed}"));
    }
    states
}

/// At every operation of the workload, and with every choice of what reached the disk, nothing promised is lost and
/// nothing comes back that was not there.
#[test]
fn every_crash_keeps_every_promise() {
    let whole = FaultBackend::new();
    run(&whole, &mut History::default()).unwrap();
    let operations = whole.changes();
    let states: u64 = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let stops = (half..=operations).step_by(2);
            scope.spawn(move || stops.map(|stop| explore(stop, operations)).sum::<u64>())
        });
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("crash exploration of the log: {states} states after {operations} operations");
    assert!(states >= 20_000, "only {states} states");
}
