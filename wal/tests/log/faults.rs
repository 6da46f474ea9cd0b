//! A disk that fails while the log is in use.

use std::io::ErrorKind;
use std::sync::{Arc, Barrier};

use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};
use ferrolite_wal::{Error, Log};

use crate::support::{Content, Event, options, record};

fn open(disk: &FaultBackend) -> Log {
    Log::open(Arc::new(disk.clone()), options()).unwrap().0
}

fn push(log: &Log, twin: &mut Content, index: u64, len: usize) -> Result<(), Error> {
    let record = record(index, 1, len);
    log.append(std::slice::from_ref(&record))?;
    twin.apply(&Event::Push(record));
    Ok(())
}

/// After a failed write or sync every call answers the same error, and an fsync is never tried a second time.
#[test]
fn failures_latch() {
    for (operation, kind) in [
        (Operation::Write, FaultKind::Fails(ErrorKind::Other)),
        (Operation::Write, FaultKind::Half),
        (Operation::Sync, FaultKind::Fails(ErrorKind::Other)),
    ] {
        let disk = FaultBackend::new();
        let log = open(&disk);
        let mut twin = Content::default();
        push(&log, &mut twin, 1, 100).unwrap();
        log.sync().unwrap();
        disk.inject(operation, 0, kind);
        let first = push(&log, &mut twin, 2, 100)
            .and_then(|()| log.sync())
            .unwrap_err();
        assert!(!first.is_full());
        let changes = disk.changes();
        let answers = [
            log.sync().unwrap_err(),
            log.append(&[record(2, 1, 1)]).unwrap_err(),
            log.entry(1).unwrap_err(),
            log.drop_prefix(2).unwrap_err(),
            log.reset(9, 9).unwrap_err(),
            log.prepare().unwrap_err(),
        ];
        assert!(
            answers
                .iter()
                .all(|error| error.to_string() == first.to_string()),
            "{answers:?}"
        );
        assert_eq!(log.failure().unwrap().to_string(), first.to_string());
        assert_eq!(disk.changes(), changes, "nothing more is asked of the disk");
        drop(log);
        disk.crash(|_| true);
        let log = open(&disk);
        assert!((1..=2).contains(&log.last_index()));
        assert_eq!(log.entry(1).unwrap(), twin.records[&1]);
    }
}

/// A sync that failed leaves bytes in the system's cache that look written. The next opening writes them again.
#[test]
fn bytes_of_a_failed_sync_are_written_again() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Fails(ErrorKind::Other));
    log.sync().unwrap_err();
    drop(log);
    let log = open(&disk);
    assert_eq!(log.last_index(), 1);
    drop(log);
    disk.crash(|_| false);
    twin.matches(&open(&disk)).unwrap();
}

/// A full disk refuses what needs a new segment, keeps serving reads, loses nothing, and goes on once there is room.
#[test]
fn full_disk() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    log.sync().unwrap();
    disk.set_capacity(Some(disk.used() + 1000));
    let mut next = 2;
    let error = loop {
        match push(&log, &mut twin, next, 20_000) {
            Ok(()) => next += 1,
            Err(e) => break e,
        }
    };
    assert!(error.is_full() && next > 2, "{error}");
    assert!(log.reset(100, 1).unwrap_err().is_full());
    twin.matches(&log).unwrap();
    push(&log, &mut twin, next, 10).unwrap();
    log.sync().unwrap();
    assert!(
        log.append(
            &(next + 1..next + 6)
                .map(|i| record(i, 1, 30_000))
                .collect::<Vec<_>>()
        )
        .unwrap_err()
        .is_full()
    );
    twin.matches(&log).unwrap();
    assert!(
        disk.list()
            .unwrap()
            .iter()
            .all(|name| !name.ends_with(".filling"))
    );
    disk.set_capacity(None);
    push(&log, &mut twin, next + 1, 60_000).unwrap();
    log.sync().unwrap();
    twin.matches(&log).unwrap();
    drop(log);
    disk.crash(|_| false);
    twin.matches(&open(&disk)).unwrap();
}

/// No room in the middle of a write in place, or of beginning a segment: the append is refused, what was half written
/// does not turn up after any crash, reads go on, and so does the log once there is room. A second failure stops it.
#[test]
fn no_room_in_place() {
    let full = ErrorKind::StorageFull;
    for (kind, len, operation) in [
        (FaultKind::Fails(full), 100, Operation::Write),
        (FaultKind::HalfFails(full), 100, Operation::Write),
        (
            FaultKind::HalfFails(ErrorKind::QuotaExceeded),
            2000,
            Operation::Write,
        ),
        (FaultKind::HalfFails(full), 60_000, Operation::Write),
        (FaultKind::Fails(full), 60_000, Operation::Rename),
    ] {
        let disk = FaultBackend::new();
        let log = open(&disk);
        let mut twin = Content::default();
        push(&log, &mut twin, 1, 10_000).unwrap();
        log.sync().unwrap();
        push(&log, &mut twin, 2, 10).unwrap();
        log.prepare().unwrap();
        log.sync().unwrap();
        // In place the first two are whole after half of the write; large ones go into a new segment.
        let lens = if len > 50_000 {
            vec![len]
        } else {
            vec![10, 10, len, len]
        };
        let batch: Vec<_> = lens
            .iter()
            .zip(3..)
            .map(|(len, i)| record(i, 1, *len))
            .collect();
        disk.inject(operation, 0, kind);
        let error = log.append(&batch).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(log.failure().is_none());
        twin.matches(&log).unwrap();
        for keep in [true, false] {
            let fork = disk.fork();
            fork.crash(|_| keep);
            let (log, recovery) = Log::open(Arc::new(fork), options()).unwrap();
            assert_eq!(recovery.damaged, []);
            assert!(log.last_index() <= 2, "a refused entry is there");
        }
        // The first of them alone, then something else: nothing of the refused write follows it.
        push(&log, &mut twin, 3, batch[0].payload.len()).unwrap();
        log.sync().unwrap();
        let fork = disk.fork();
        fork.crash(|_| true);
        twin.matches(&open(&fork)).unwrap();
        push(&log, &mut twin, 4, 33).unwrap();
        push(&log, &mut twin, 5, 70_000).unwrap();
        log.sync().unwrap();
        twin.matches(&log).unwrap();
        drop(log);
        disk.crash(|_| false);
        twin.matches(&open(&disk)).unwrap();
    }

    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 10).unwrap();
    disk.inject(Operation::Write, 0, FaultKind::HalfFails(full));
    disk.inject(Operation::Write, 1, FaultKind::Fails(full));
    let error = push(&log, &mut twin, 2, 1000).unwrap_err();
    assert!(!error.is_full() && log.failure().is_some(), "{error}");

    // One of the batch is in place, and beginning the segment for the other finds no room: after the write in place and
    // the note of its sync. A file system that does so keeps nothing free for files that are filled.
    let disk = FaultBackend::new();
    let log = open(&disk);
    push(&log, &mut Content::default(), 1, 10).unwrap();
    log.prepare().unwrap();
    disk.inject(Operation::Write, 2, FaultKind::Fails(full));
    let error = log
        .append(&[record(2, 1, 10), record(3, 1, 61_392)])
        .unwrap_err();
    assert!(!error.is_full(), "{error}");
    assert_eq!(log.failure().unwrap().to_string(), error.to_string());
    drop(log);
    disk.crash(|_| false);
    assert!((1..=2).contains(&open(&disk).last_index()));
}

/// While a sync is on its way, entries are read and appended; what came after its beginning is not promised by it.
#[test]
fn a_late_sync_holds_up_nobody() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Late);
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| log.sync().unwrap());
        disk.wait_until_late(1);
        push(&log, &mut twin, 2, 100).unwrap();
        twin.matches(&log).unwrap();
        let fork = disk.fork();
        fork.crash(|_| false);
        assert_eq!(open(&fork).last_index(), 0);
        disk.release();
        assert_eq!(sync.join().unwrap(), 1);
    });
    log.sync().unwrap();
    drop(log);
    disk.crash(|_| false);
    twin.matches(&open(&disk)).unwrap();
}

/// A batch costs one write and one sync, however many entries it has; the note of how far the log is durable is a write
/// that nobody waits for.
#[test]
fn one_write_and_one_sync_a_batch() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut next = 1;
    for count in [1, 2, 50, 300] {
        let batch: Vec<_> = (next..next + count)
            .map(|index| record(index, 1, 100))
            .collect();
        next += count;
        let changes = disk.changes();
        log.append(&batch).unwrap();
        assert_eq!(disk.changes() - changes, 1, "{count} entries");
        assert_eq!(log.sync().unwrap(), next - 1);
        assert_eq!(disk.changes() - changes, 3, "{count} entries");
        // Nothing is left to sync.
        log.sync().unwrap();
        assert_eq!(disk.changes() - changes, 3);
    }
}

/// Whoever waits for a sync is served by the next one, all of them together, and not by one each.
#[test]
fn syncs_are_shared() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Late);
    let waiting = Barrier::new(9);
    let before = std::thread::scope(|scope| {
        let first = scope.spawn(|| log.sync().unwrap());
        disk.wait_until_late(1);
        push(&log, &mut twin, 2, 100).unwrap();
        let others: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    waiting.wait();
                    log.sync().unwrap()
                })
            })
            .collect();
        waiting.wait();
        let before = disk.changes();
        disk.release();
        assert_eq!(first.join().unwrap(), 1);
        assert!(others.into_iter().all(|sync| sync.join().unwrap() == 2));
        before
    });
    // The first one's hint; and one sync and one hint for the eight.
    assert_eq!(disk.changes() - before, 3);
    drop(log);
    disk.crash(|_| false);
    twin.matches(&open(&disk)).unwrap();
}

/// The power goes while a sync is on its way: its caller is told that it failed.
#[test]
fn a_crash_during_a_late_sync() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Late);
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| log.sync());
        disk.wait_until_late(1);
        disk.crash(|_| false);
        assert!(sync.join().unwrap().is_err());
    });
    assert_eq!(open(&disk).last_index(), 0);
}

/// A record that cannot be read, or was written to the wrong place, is an error of its own and stops nothing.
#[test]
fn bad_reads() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    for index in 1..=3 {
        push(&log, &mut twin, index, 600).unwrap();
    }
    disk.inject(Operation::Read, 0, FaultKind::Fails(ErrorKind::Other));
    assert!(matches!(log.entry(2), Err(Error::Io { .. })));
    disk.inject(Operation::Read, 0, FaultKind::Half);
    assert!(log.entry(2).is_err());
    disk.inject(Operation::Read, 0, FaultKind::Fails(ErrorKind::Other));
    assert_eq!(
        log.read(1, 4, usize::MAX).unwrap().len(),
        3,
        "one bad read of many entries is tried one by one"
    );
    // It rots while the log is open: the read finds out.
    let name = "0000000000000001.log";
    disk.flip_bit(name, 8 * (4096 + 48 + 7));
    let error = log.entry(1).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Damaged {
                index: Some(1),
                term: Some(1),
                offset: 4096,
                ..
            }
        ),
        "{error}"
    );
    assert!(log.read(1, 3, usize::MAX).unwrap_err().is_damaged());
    disk.flip_bit(name, 8 * (4096 + 48 + 7));
    log.entry(1).unwrap();
    disk.inject(Operation::Write, 0, FaultKind::Misdirected(8));
    push(&log, &mut twin, 4, 40).unwrap();
    let error = log.entry(4).unwrap_err();
    assert!(error.is_damaged() && !error.is_full(), "{error}");
    assert_eq!(log.entry(3).unwrap(), twin.records[&3]);
}

/// A disk that says it wrote what it did not is found out at the next opening.
#[test]
fn lying_disk_is_found_out() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    let mut twin = Content::default();
    push(&log, &mut twin, 1, 100).unwrap();
    log.sync().unwrap();
    disk.inject(Operation::Write, 0, FaultKind::Lost);
    push(&log, &mut twin, 2, 100).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Lost);
    log.sync().unwrap();
    // The hint in the file beside it did reach the disk, as the system writes it now and then.
    disk.open("log.durable", false).unwrap().sync().unwrap();
    drop(log);
    disk.crash(|_| false);
    let (log, recovery) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    assert_eq!(recovery.last_index, 1);
    let [range] = recovery.damaged.as_slice() else {
        panic!("{recovery:?}")
    };
    assert_eq!((range.first, range.last), (2, None));
    assert_eq!(log.entry(1).unwrap(), twin.records[&1]);
}

/// A reader that goes on while the log is written, dropped and its files reused never sees another entry's bytes.
#[test]
fn readers_beside_a_writer() {
    let disk = FaultBackend::new();
    let log = open(&disk);
    log.append(&[record(1, 1, 500)]).unwrap();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|seed| {
                let log = &log;
                scope.spawn(move || {
                    let mut rng = crate::support::Rng(seed);
                    let mut read = 0;
                    // On a busy machine the writer may be done before this has begun.
                    while log.last_index() < 3000 || read == 0 {
                        let (first, last) = (log.first_index(), log.last_index());
                        let index = first + rng.next() % (last + 1 - first).max(1);
                        match log.entry(index) {
                            Ok(found) => {
                                assert_eq!(found, record(index, 1, 500));
                                read += 1;
                            }
                            Err(e) => assert!(e.is_compacted(), "{e}"),
                        }
                        let mut piece = [0; 64];
                        match log.read_payload_at(index, 100, &mut piece) {
                            Ok(()) => assert_eq!(piece, record(index, 1, 500).payload[100..164]),
                            Err(e) => assert!(e.is_compacted(), "{e}"),
                        }
                    }
                    read
                })
            })
            .collect();
        for index in (2..=3000).step_by(5) {
            let batch: Vec<_> = (index..index + 5).map(|i| record(i, 1, 500)).collect();
            log.append(&batch).unwrap();
            log.sync().unwrap();
            log.drop_prefix(index.saturating_sub(50)).unwrap();
        }
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    assert!(log.disk_bytes() < 5 * (64 << 10), "files are reused");
    assert!(disk.list().unwrap().len() < 8);
}
