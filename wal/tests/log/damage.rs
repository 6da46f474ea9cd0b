//! Damage to what was durable: reported, with the right entries, and never handed out.

use std::sync::Arc;

use ferrolite_wal::backend::{Backend, FaultBackend};
use ferrolite_wal::{Error, Log, Recovery};

use crate::support::{Content, Event, options, record};

/// A log of several segments, the first of them superseded in part, all durable.
pub fn small_log() -> (FaultBackend, Content) {
    let disk = FaultBackend::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    let mut twin = Content::default();
    for (first, last, term, len) in [
        (1, 4, 1, 50),
        (3, 6, 2, 200),
        (7, 7, 2, 70_000),
        (8, 9, 3, 0),
        (10, 14, 3, 90),
    ] {
        let records: Vec<_> = (first..=last)
            .map(|index| record(index, term, len))
            .collect();
        log.append(&records).unwrap();
        log.sync().unwrap();
        records
            .into_iter()
            .for_each(|r| twin.apply(&Event::Push(r)));
    }
    (disk, twin)
}

fn open(disk: &FaultBackend) -> Result<(Log, Recovery), Error> {
    Log::open(Arc::new(disk.clone()), options())
}

/// What is readable is right, and what is not readable is reported, all of it.
fn check(log: &Log, recovery: &Recovery, twin: &Content) -> Result<(), String> {
    let reported = |index| {
        recovery
            .damaged
            .iter()
            .any(|range| range.first <= index && range.last.is_none_or(|last| index <= last))
    };
    for (index, expected) in &twin.records {
        match log.entry(*index) {
            Ok(found) if found == *expected => {}
            Ok(found) => return Err(format!("entry {index} is wrong: term {}", found.term)),
            Err(_) if reported(*index) => {}
            Err(e) => return Err(format!("entry {index} is missing and not reported: {e}")),
        }
        if let Ok(term) = log.term(*index)
            && term != expected.term
        {
            return Err(format!("entry {index} has term {term}"));
        }
    }
    let last = twin.last().0;
    if log.last_index() > last {
        return Err(format!("the log ends at {}", log.last_index()));
    }
    Ok(())
}

pub fn bytes_of(disk: &FaultBackend, name: &str) -> Vec<u8> {
    let file = disk.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Every bit that carries meaning, turned over alone: either nothing is lost, or what is lost is reported.
#[test]
fn every_flipped_bit_is_reported_or_harmless() {
    let (disk, twin) = small_log();
    let mut flips = 0;
    for name in disk.list().unwrap() {
        let bytes = bytes_of(&disk, &name);
        // All bits of headers, one bit a byte of short payloads, and a sample of the rest.
        let header =
            |at: usize| at < 96 || (2048..2144).contains(&at) || (4096..4160).contains(&at);
        let wanted =
            |at: usize| header(at) || (bytes[at] != 0 && at < 5000) || at.is_multiple_of(997);
        for at in (0..bytes.len()).filter(|at| wanted(*at)) {
            let one = at as u64 % 8;
            for bit in if header(at) { 0..8 } else { one..one + 1 } {
                let fork = disk.fork();
                fork.flip_bit(&name, at as u64 * 8 + bit);
                flips += 1;
                let (log, recovery) = open(&fork).unwrap();
                if let Err(reason) = check(&log, &recovery, &twin) {
                    panic!("{name}: bit {bit} of byte {at}: {reason}; {recovery:?}");
                }
                assert_eq!(
                    log.last_index(),
                    14,
                    "{name}: bit {bit} of byte {at}: {recovery:?}"
                );
            }
        }
    }
    println!("{flips} bits flipped");
}

/// A log of one segment: every single bit that was ever written, and every 61st of those that never were. What comes out
/// is right or reported, nothing else is there, and the log can be used on without losing what was shown.
#[test]
fn every_bit_of_a_small_log() {
    let disk = FaultBackend::new();
    let (log, _) = open(&disk).unwrap();
    let mut twin = Content::default();
    for (index, len) in [(1, 0), (2, 40), (3, 75)] {
        let record = record(index, 1 + index / 3, len);
        log.append(std::slice::from_ref(&record)).unwrap();
        log.sync().unwrap();
        twin.apply(&Event::Push(record));
    }
    drop(log);
    let mut flips = 0_u32;
    for name in disk.list().unwrap() {
        let bytes = bytes_of(&disk, &name);
        let block = |at: usize| at / 4096 * 4096;
        // Up to the last byte that is not zero in each block.
        let written: Vec<_> = (0..bytes.len())
            .map(|at| {
                bytes[at..bytes.len().min(block(at) + 4096)]
                    .iter()
                    .any(|byte| *byte != 0)
            })
            .collect();
        for bit in 0..bytes.len() * 8 {
            if !written[bit / 8] && !bit.is_multiple_of(61) {
                continue;
            }
            let fork = disk.fork();
            fork.flip_bit(&name, bit as u64);
            flips += 1;
            let (log, recovery) = open(&fork).unwrap();
            let what = || format!("{name}: bit {bit}: {recovery:?}");
            check(&log, &recovery, &twin).unwrap_or_else(|reason| panic!("{reason}; {}", what()));
            if !flips.is_multiple_of(16) {
                continue;
            }
            let shown: Vec<_> = (1..=log.last_index())
                .filter_map(|i| log.entry(i).ok())
                .collect();
            let next = record(log.last_index() + 1, 3, 10);
            log.append(std::slice::from_ref(&next)).unwrap();
            log.sync().unwrap();
            drop(log);
            let (log, _) = open(&fork).unwrap();
            for record in shown.iter().chain([&next]) {
                assert_eq!(log.entry(record.index).unwrap(), *record, "{}", what());
            }
        }
    }
    println!("{flips} bits of a small log flipped");
}

/// A damaged record in the middle is reported with file, offset, index and term; those around it stay, and once it was
/// fetched again the log is whole.
#[test]
fn damage_in_the_middle() {
    let (disk, twin) = small_log();
    let name = disk
        .list()
        .unwrap()
        .into_iter()
        .rfind(|name| name.ends_with(".log"))
        .unwrap();
    let bytes = bytes_of(&disk, &name);
    let payload = &twin.records[&11].payload;
    let at = bytes
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    // The payload alone, then with the header: without the header, its neighbours say what was there.
    for (from, to) in [(at + 3, at + 4), (at - 48, at + 90)] {
        let fork = disk.fork();
        for byte in from..to {
            fork.flip_bit(&name, byte as u64 * 8);
        }
        let (log, recovery) = open(&fork).unwrap();
        let [range] = recovery.damaged.as_slice() else {
            panic!("{recovery:?}")
        };
        assert_eq!(
            (range.file.as_str(), range.offset),
            (name.as_str(), at as u64 - 48)
        );
        assert_eq!(
            (range.first, range.last, range.term),
            (11, Some(11), Some(3))
        );
        assert_eq!(recovery.last_index, 14);
        check(&log, &recovery, &twin).unwrap();
        let error = log.entry(11).unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Damaged {
                    index: Some(11),
                    term: Some(3),
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(
            log.read(9, 15, usize::MAX).unwrap().len(),
            2,
            "what comes before it is read"
        );

        // A second opening tells the same.
        drop(log);
        let (log, again) = open(&fork).unwrap();
        assert_eq!(again, recovery);
        let suffix: Vec<_> = twin
            .records
            .range(11..)
            .map(|(_, record)| record.clone())
            .collect();
        log.append(&suffix).unwrap();
        log.sync().unwrap();
        assert_eq!(log.damaged(), []);
        twin.matches(&log).unwrap();
        drop(log);
        let (log, recovery) = open(&fork).unwrap();
        assert_eq!(recovery.damaged, []);
        twin.matches(&log).unwrap();
    }
}

/// A damaged end is damage when it was known to be durable, and not cut off; when the entries came again, all is well.
#[test]
fn damage_at_the_end() {
    let (disk, twin) = small_log();
    let name = disk
        .list()
        .unwrap()
        .into_iter()
        .rfind(|name| name.ends_with(".log"))
        .unwrap();
    let bytes = bytes_of(&disk, &name);
    let payload = &twin.records[&13].payload;
    let at = bytes
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    for bit in (at - 48) * 8..(at + 300) * 8 {
        disk.flip_bit(&name, bit as u64);
    }
    let (log, recovery) = open(&disk).unwrap();
    let [range] = recovery.damaged.as_slice() else {
        panic!("{recovery:?}")
    };
    assert_eq!(
        (range.first, range.last, range.offset),
        (13, None, at as u64 - 48)
    );
    assert_eq!((recovery.last_index, recovery.torn_bytes), (12, 0));
    let rest: Vec<_> = twin
        .records
        .range(13..)
        .map(|(_, record)| record.clone())
        .collect();
    log.append(&rest).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.damaged, []);
    twin.matches(&log).unwrap();
}

/// Without the hint, the later records still say what was durable before them; only the end of the log is then a torn
/// write for all that anyone knows.
#[test]
fn records_tell_what_was_durable() {
    let (disk, twin) = small_log();
    let name = disk
        .list()
        .unwrap()
        .into_iter()
        .rfind(|name| name.ends_with(".log"))
        .unwrap();
    let bytes = bytes_of(&disk, &name);
    let flip = |index: u64| {
        let fork = disk.fork();
        fork.remove("log.durable").unwrap();
        let payload = &twin.records[&index].payload;
        let at = bytes
            .windows(payload.len())
            .position(|window| window == payload)
            .unwrap();
        fork.flip_bit(&name, at as u64 * 8);
        let (log, recovery) = open(&fork).unwrap();
        check_readable(&log, &twin);
        recovery
    };
    // 10 to 14 were one batch; a record of a later batch stands behind 8 and 9 only.
    let log = Log::open(Arc::new(disk.clone()), options()).unwrap().0;
    assert_eq!(log.payload_len(9).unwrap(), 0);
    drop(log);
    let recovery = flip(12);
    assert_eq!((recovery.last_index, recovery.damaged.len()), (11, 0));
    assert!(recovery.torn_bytes > 0);

    let log = Log::open(Arc::new(disk.clone()), options()).unwrap().0;
    log.append(&[record(15, 3, 10)]).unwrap();
    log.sync().unwrap();
    drop(log);
    let recovery = flip(12);
    assert_eq!((recovery.last_index, recovery.torn_bytes), (15, 0));
    assert_eq!(
        (recovery.damaged[0].first, recovery.damaged[0].last),
        (12, Some(12))
    );
}

/// The first record of a segment was durable before the segment had its name: damaged, it is damage, even when nothing
/// else speaks for it.
#[test]
fn first_records_speak_for_themselves() {
    let disk = FaultBackend::new();
    let (log, _) = open(&disk).unwrap();
    log.append(&[record(1, 1, 10), record(2, 1, 60_000)])
        .unwrap();
    log.append(&[record(3, 1, 10_000)]).unwrap();
    drop(log);
    disk.remove("log.durable").unwrap();
    disk.flip_bit("0000000000000002.log", 8 * (4096 + 48 + 100));
    let (log, recovery) = open(&disk).unwrap();
    assert_eq!((recovery.last_index, recovery.torn_bytes), (3, 0));
    assert_eq!(
        (recovery.damaged[0].first, recovery.damaged[0].last),
        (3, Some(3))
    );
    assert_eq!(log.entry(2).unwrap(), record(2, 1, 60_000));
}

fn check_readable(log: &Log, twin: &Content) {
    for (index, expected) in &twin.records {
        if let Ok(found) = log.entry(*index) {
            assert_eq!(found, *expected);
        }
    }
}

/// A record that is whole, and in its place, but of another life of that place: the link to the record before it does
/// not hold, and it is not taken for an entry.
#[test]
fn records_of_another_life() {
    let lives: Vec<_> = [1, 2]
        .map(|term| {
            let disk = FaultBackend::new();
            let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
            log.append(&[record(1, term, 100), record(2, 2, 100), record(3, 2, 100)])
                .unwrap();
            log.sync().unwrap();
            disk
        })
        .into();
    let name = "0000000000000001.log";
    let second = 4096 + 152;
    let strange = bytes_of(&lives[1], name)[second..second + 152].to_vec();
    lives[0]
        .open(name, false)
        .unwrap()
        .write_at(second as u64, &strange)
        .unwrap();
    let (log, recovery) = open(&lives[0]).unwrap();
    assert_eq!(
        (recovery.damaged[0].first, recovery.damaged[0].last),
        (2, Some(2))
    );
    assert_eq!(log.entry(3).unwrap(), record(3, 2, 100));
}

/// A segment that is gone, or whose header and first record are, takes its own entries with it and no others.
#[test]
fn lost_segments() {
    let (disk, twin) = small_log();
    let names: Vec<_> = disk
        .list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".log"))
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        for removed in [true, false] {
            let fork = disk.fork();
            if removed {
                fork.remove(name).unwrap();
            } else {
                fork.open(name, false)
                    .unwrap()
                    .write_at(0, &[0xa5; 4096 + 64])
                    .unwrap();
            }
            let (log, recovery) = open(&fork).unwrap();
            assert!(!recovery.damaged.is_empty(), "{name}");
            check(&log, &recovery, &twin)
                .unwrap_or_else(|reason| panic!("{name}: {reason}; {recovery:?}"));
        }
        // The header alone is made up from what is around it.
        let fork = disk.fork();
        fork.open(name, false)
            .unwrap()
            .write_at(0, &[0xa5; 4096])
            .unwrap();
        let (log, recovery) = open(&fork).unwrap();
        check(&log, &recovery, &twin)
            .unwrap_or_else(|reason| panic!("{name}: {reason}; {recovery:?}"));
        assert_eq!(recovery.damaged, [], "{name}");
    }
    let fork = disk.fork();
    names.iter().for_each(|name| fork.remove(name).unwrap());
    assert!(
        open(&fork).unwrap_err().is_damaged(),
        "an empty log in place of a full one would be forgetting"
    );
}

/// Whatever the files hold, opening the log does not panic, and hands out nothing that was not written.
#[test]
fn garbage_is_never_an_entry() {
    let (disk, twin) = small_log();
    let mut rng = crate::support::Rng(3);
    for round in 0..400 {
        let fork = disk.fork();
        let names = fork.list().unwrap();
        for _ in 0..=rng.next() % 3 {
            let name = &names[(rng.next() % names.len() as u64) as usize];
            let file = fork.open(name, false).unwrap();
            let len = file.len().unwrap();
            let at = rng.next() % len;
            match rng.next() % 4 {
                0 => file.set_len(at).unwrap(),
                1 => file.write_at(at, &rng.next().to_le_bytes()).unwrap(),
                2 => {
                    // A piece of one file in another.
                    let other = fork
                        .open(&names[(rng.next() % names.len() as u64) as usize], false)
                        .unwrap();
                    let mut piece = vec![0; 1 + (rng.next() % 3000) as usize];
                    let got = other
                        .read_at(rng.next() % other.len().unwrap(), &mut piece)
                        .unwrap();
                    file.write_at(at, &piece[..got]).unwrap();
                }
                _ => file.write_at(at / 4096 * 4096, &[0; 4096]).unwrap(),
            }
        }
        match open(&fork) {
            Ok((log, _)) => {
                for index in log.first_index()..=log.last_index() {
                    if let Ok(found) = log.entry(index) {
                        // Old entries may show where those that superseded them are lost, and say so by their term.
                        let expected = &twin.records[&index];
                        let superseded = (3..=4).contains(&index) && found == record(index, 1, 50);
                        assert!(
                            found == *expected || superseded,
                            "round {round}, entry {index}"
                        );
                    }
                }
            }
            Err(e) => assert!(e.is_damaged(), "round {round}: {e}"),
        }
    }
}
