//! A log whose end was lost, and that went on: what it showed then stays as it was, however often it is opened.

use std::sync::Arc;

use ferrolite_wal::backend::{Backend, FaultBackend};
use ferrolite_wal::{Log, Recovery};

use crate::support::{Content, Event, Rng, options, record};

fn open(disk: &FaultBackend) -> (Log, Recovery) {
    Log::open(Arc::new(disk.clone()), options()).unwrap()
}

fn append(log: &Log, twin: &mut Content, first: u64, last: u64, term: u64, len: usize) {
    let records: Vec<_> = (first..=last)
        .map(|index| record(index, term, len))
        .collect();
    log.append(&records).unwrap();
    log.sync().unwrap();
    for record in records {
        twin.apply(&Event::Push(record));
    }
}

/// Four segments: 1 to 6, 7 to 12, 13 to 18, 19 and 20.
fn four_segments() -> (FaultBackend, Content) {
    let disk = FaultBackend::new();
    let (log, _) = open(&disk);
    let mut twin = Content::default();
    for (first, last) in [(1, 6), (7, 12), (13, 18), (19, 20)] {
        append(&log, &mut twin, first, last, 1, 10_000);
    }
    assert_eq!(segments(&disk).len(), 4);
    (disk, twin)
}

fn segments(disk: &FaultBackend) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn overwrite(disk: &FaultBackend, name: &str, len: usize) {
    let file = disk.open(name, false).unwrap();
    file.write_at(0, &vec![0; len]).unwrap();
    file.sync().unwrap();
}

fn names_and_last(recovery: &Recovery) -> (u64, usize) {
    (recovery.last_index, recovery.damaged.len())
}

/// One, two or three lost segments at the end: the entries before them are as good after the log went on as before.
#[test]
fn going_on_after_a_lost_end_keeps_what_was_good() {
    for (lost, last) in [(1, 18), (2, 12), (3, 6)] {
        let (disk, mut twin) = four_segments();
        for name in segments(&disk).iter().rev().take(lost) {
            overwrite(&disk, name, 64 << 10);
        }
        let (log, recovery) = open(&disk);
        assert_eq!(names_and_last(&recovery), (last, 1));
        twin.records.split_off(&(last + 1));
        twin.matches(&log).unwrap();
        append(&log, &mut twin, last + 1, last + 3, 2, 100);
        drop(log);
        for _ in 0..2 {
            let (log, recovery) = open(&disk);
            assert_eq!(recovery.damaged, [], "{lost} lost");
            twin.matches(&log).unwrap();
        }
        // And once more: the segment that came after the loss is lost too.
        let newest = segments(&disk).pop().unwrap();
        overwrite(&disk, &newest, 64 << 10);
        let (log, recovery) = open(&disk);
        assert_eq!(names_and_last(&recovery), (last, 1));
        append(&log, &mut twin, last, last + 4, 3, 100);
        drop(log);
        let (log, recovery) = open(&disk);
        assert_eq!(recovery.damaged, [], "{lost} lost, and one more");
        twin.matches(&log).unwrap();
    }
}

/// A log that lost all its segments and went on from its beginning reports no damage that there is not.
#[test]
fn going_on_after_all_was_lost() {
    let (disk, mut twin) = four_segments();
    for name in segments(&disk) {
        overwrite(&disk, &name, 64 << 10);
    }
    let (log, recovery) = open(&disk);
    assert_eq!(names_and_last(&recovery), (0, 1));
    twin.records.clear();
    append(&log, &mut twin, 1, 5, 2, 100);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
}

/// A segment that nobody could place when the log went on does not come back once there is one behind it to place it by.
#[test]
fn what_the_log_went_on_without_stays_away() {
    let (disk, mut twin) = four_segments();
    let names = segments(&disk);
    overwrite(&disk, &names[2], 64 << 10);
    // Its header alone; the first record is whole.
    overwrite(&disk, &names[3], 4096);
    let (log, recovery) = open(&disk);
    assert_eq!(names_and_last(&recovery), (12, 1));
    twin.records.split_off(&13);
    append(&log, &mut twin, 13, 14, 2, 100);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
}

/// The same when nothing at all could be placed, and the log began anew.
#[test]
fn what_an_empty_log_went_on_without_stays_away() {
    let (disk, mut twin) = four_segments();
    let names = segments(&disk);
    names[..3]
        .iter()
        .for_each(|name| disk.remove(name).unwrap());
    disk.remove("log.mark").unwrap();
    overwrite(&disk, &names[3], 4096);
    let (log, recovery) = open(&disk);
    assert_eq!(names_and_last(&recovery), (0, 1));
    twin.records.clear();
    append(&log, &mut twin, 1, 2, 2, 100);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
}

/// Repairs between: a segment that was lost before a repair is told from one that was lost after it.
#[test]
fn losses_around_a_repair() {
    for lost_before in [true, false] {
        let (disk, mut twin) = four_segments();
        let names = segments(&disk);
        let (log, _) = open(&disk);
        // Entries 13 and 14 are superseded, by the segment that is to be lost.
        append(&log, &mut twin, 13, 14, 2, 100);
        drop(log);
        let superseding = segments(&disk).pop().unwrap();
        disk.flip_bit(&names[0], (4096 + 48 + 10) * 8);
        if lost_before {
            overwrite(&disk, &superseding, 64 << 10);
        }
        let (log, recovery) = open(&disk);
        assert_eq!(recovery.damaged[0].first, 1);
        if lost_before {
            // Nobody knows what the lost one superseded; the log goes on from what it shows.
            twin.records = (1..=20)
                .map(|index| (index, record(index, 1, 10_000)))
                .collect();
        }
        log.repair(&[record(1, 1, 10_000)]).unwrap();
        let last = log.last_index();
        append(&log, &mut twin, last + 1, last + 2, 3, 100);
        drop(log);
        if lost_before {
            let (log, recovery) = open(&disk);
            assert_eq!(recovery.damaged, []);
            twin.matches(&log).unwrap();
        } else {
            overwrite(&disk, &superseding, 64 << 10);
            let (log, _) = open(&disk);
            for index in [13, 14] {
                assert!(log.entry(index).unwrap_err().is_damaged());
            }
        }
    }
}

/// Random logs that supersede, lose their end, and go on: opening one again shows what it showed; and when a segment
/// before the newest is lost after that, nothing that was superseded comes back.
#[test]
fn random_losses() {
    for seed in 0..150 {
        let mut rng = Rng(seed);
        let disk = FaultBackend::new();
        let mut twin = Content::default();
        for term in 1..=10 {
            let (log, recovery) = open(&disk);
            if recovery.damaged.is_empty() {
                twin.matches(&log).unwrap_or_else(|reason| {
                    panic!("seed {seed}, term {term}: {reason}; {recovery:?}")
                });
            } else {
                assert_eq!(recovery.damaged.len(), 1, "seed {seed}: {recovery:?}");
                assert_eq!(recovery.damaged[0].last, None, "seed {seed}: {recovery:?}");
                twin = Content::default();
                for record in log.read(1, u64::MAX, usize::MAX).unwrap() {
                    twin.apply(&Event::Push(record));
                }
                assert_eq!(twin.last().0, log.last_index());
            }
            let last = log.last_index();
            let first = last + 1 - (rng.next() % 4).min(last);
            let count = rng.next() % 6;
            append(&log, &mut twin, first, first + count, term, 9000);
            drop(log);

            let names = segments(&disk);
            let fork = disk.fork();
            if names.len() > 1 {
                let at = (rng.next() % (names.len() as u64 - 1)) as usize;
                overwrite(&fork, &names[at], 64 << 10);
                let (log, recovery) = open(&fork);
                for index in log.first_index()..=log.last_index() {
                    match log.entry(index) {
                        Ok(found) => assert_eq!(
                            Some(&found),
                            twin.records.get(&index),
                            "seed {seed}, term {term}: {recovery:?}"
                        ),
                        Err(e) => assert!(e.is_damaged(), "{e}"),
                    }
                }
            }
            if rng.next().is_multiple_of(3) {
                for name in names.iter().skip(1).rev().take(rng.next() as usize % 3) {
                    overwrite(&disk, name, 64 << 10);
                }
            }
        }
    }
}
