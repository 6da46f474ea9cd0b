//! Repair: fetched entries take the place of damaged ones, all of them or none, and nothing else changes.

use std::sync::Arc;

use ferrolite_wal::backend::{Backend, FaultBackend};
use ferrolite_wal::{Error, Log, Record, Recovery};

use crate::support::{Content, Event, Rng, options, record};

/// A log of 30 entries in terms 1 to 3 over several segments, of which 8 to 12 are unreadable: the last of one term and
/// the first of the next, with their headers.
fn damaged_log() -> (FaultBackend, Content) {
    let disk = FaultBackend::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    let mut twin = Content::default();
    for index in 1..=30 {
        let record = record(index, 1 + index / 11, 3000);
        log.append(std::slice::from_ref(&record)).unwrap();
        twin.apply(&Event::Push(record));
    }
    log.sync().unwrap();
    let name = "0000000000000001.log";
    let file = disk.open(name, false).unwrap();
    let record_bytes = 48 + 3000;
    file.write_at(
        4096 + 7 * record_bytes,
        &vec![0xee; 5 * record_bytes as usize],
    )
    .unwrap();
    file.sync().unwrap();
    (disk, twin)
}

fn open(disk: &FaultBackend) -> (Log, Recovery) {
    Log::open(Arc::new(disk.clone()), options()).unwrap()
}

fn fetched(twin: &Content) -> Vec<Record> {
    twin.records
        .range(8..=12)
        .map(|(_, record)| record.clone())
        .collect()
}

/// Repaired entries are read like all others, also after the log was opened again, went on, and gave up its front.
#[test]
fn repaired_entries_are_entries() {
    let (disk, mut twin) = damaged_log();
    let (log, recovery) = open(&disk);
    let [range] = recovery.damaged.as_slice() else {
        panic!("{recovery:?}")
    };
    assert_eq!(
        (range.first, range.last, range.term),
        (8, Some(12), Some(2))
    );
    assert!(
        log.term(9).unwrap_err().is_damaged(),
        "nobody knows where the term changed"
    );
    assert_eq!(log.term(12).unwrap(), 2);
    let records = fetched(&twin);

    // In two steps, to see the rest stay damaged.
    log.repair(&records[1..3]).unwrap();
    let left: Vec<_> = log
        .damaged()
        .iter()
        .map(|range| (range.first, range.last))
        .collect();
    assert_eq!(left, [(8, Some(8)), (11, Some(12))]);
    assert_eq!(log.entry(9).unwrap(), records[1]);
    assert!(log.entry(11).unwrap_err().is_damaged());
    log.repair(&records[..1]).unwrap();
    log.repair(&records[3..]).unwrap();
    assert_eq!(log.damaged(), []);
    twin.matches(&log).unwrap();
    assert_eq!(log.read(7, 14, 3000 * 3).unwrap().len(), 3);

    for index in 31..=60 {
        let record = record(index, 3, 3000);
        log.append(std::slice::from_ref(&record)).unwrap();
        twin.apply(&Event::Push(record));
    }
    log.sync().unwrap();
    twin.matches(&log).unwrap();
    drop(log);
    disk.crash(|_| false);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
    log.drop_prefix(40).unwrap();
    assert!(log.first_index() > 12);
    twin.matches(&log).unwrap();
    drop(log);
    twin.matches(&open(&disk).0).unwrap();
}

/// What is not damaged, or had another term, is refused; superseding takes repaired entries away like all others.
#[test]
fn repair_refuses_what_it_should() {
    let (disk, mut twin) = damaged_log();
    let (log, _) = open(&disk);
    let records = fetched(&twin);
    let refused = |records: &[Record]| matches!(log.repair(records), Err(Error::OutOfOrder { .. }));
    assert!(refused(&[twin.records[&7].clone()]));
    assert!(refused(&[record(31, 3, 10)]));
    assert!(
        refused(&[Record {
            term: 1,
            ..records[4].clone()
        }]),
        "the term of entry 12 is known"
    );
    assert!(refused(&[records[0].clone(), records[2].clone()]));
    log.repair(&records).unwrap();
    assert!(refused(&records), "nothing is damaged any more");
    let newer = record(10, 4, 100);
    log.append(std::slice::from_ref(&newer)).unwrap();
    log.sync().unwrap();
    twin.apply(&Event::Push(newer));
    twin.matches(&log).unwrap();
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
}

/// A crash at any operation of a repair leaves the damage as it was or the log whole; and damage to the repair itself,
/// anywhere, shows the old damage again and nothing worse.
#[test]
fn repair_is_atomic() {
    let (damaged, twin) = damaged_log();
    let records = fetched(&twin);
    let (log, _) = open(&damaged);
    drop(log);
    let mut rng = Rng(5);
    let (mut whole, mut unchanged) = (0, 0);
    for stop in 0.. {
        let disk = damaged.fork();
        let (log, _) = open(&disk);
        disk.stop_after(disk.changes() + stop);
        let done = log.repair(&records).is_ok();
        for round in 0..12 {
            let fork = disk.fork();
            fork.crash(|_| match round {
                0 => false,
                1 => true,
                _ => rng.next().is_multiple_of(2),
            });
            let (log, recovery) = open(&fork);
            if recovery.damaged.is_empty() {
                twin.matches(&log).unwrap();
                whole += 1;
            } else {
                assert!(!done, "a repair that was acknowledged is gone");
                assert_eq!(
                    (recovery.damaged[0].first, recovery.damaged[0].last),
                    (8, Some(12))
                );
                assert_eq!(log.read(13, 31, usize::MAX).unwrap().len(), 18);
                unchanged += 1;
            }
        }
        if done {
            break;
        }
    }
    assert!(whole > 10 && unchanged > 10);

    let (log, _) = open(&damaged);
    log.repair(&records).unwrap();
    drop(log);
    let name = damaged
        .list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".log"))
        .max()
        .unwrap();
    let len = damaged.open(&name, false).unwrap().len().unwrap();
    for bit in (0..len * 8).step_by(611).chain(0..96 * 8) {
        let disk = damaged.fork();
        disk.flip_bit(&name, bit);
        let (log, recovery) = open(&disk);
        for (index, expected) in &twin.records {
            match log.entry(*index) {
                Ok(found) => assert_eq!(found, *expected),
                Err(e) => assert!(
                    e.is_damaged() && (8..=12).contains(index),
                    "bit {bit}: {e}: {recovery:?}"
                ),
            }
        }
    }
    // Both copies of its header, and then all of it.
    damaged
        .open(&name, false)
        .unwrap()
        .write_at(0, &[0; 4096])
        .unwrap();
    for removed in [false, true] {
        if removed {
            damaged.remove(&name).unwrap();
        }
        let (log, recovery) = open(&damaged);
        assert_eq!(
            (recovery.damaged[0].first, recovery.damaged[0].last),
            (8, Some(12)),
            "{recovery:?}"
        );
        assert_eq!(log.read(13, 31, usize::MAX).unwrap().len(), 18);
    }
}
