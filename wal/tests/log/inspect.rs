//! Looking at a log: it tells of every place that is not as it was, says the same as opening the log would, and changes
//! nothing.

use std::io::ErrorKind;
use std::sync::Arc;

use ferrolite_wal::backend::{
    Backend, DirBackend, FaultBackend, FaultKind, Operation, ReadOnlyDir,
};
use ferrolite_wal::inspect::{self, CopyState, LogReport, SegmentState};
use ferrolite_wal::slot::{SlotFile, SlotKind};
use ferrolite_wal::{Log, TermRun};

use crate::damage::{bytes_of, small_log};
use crate::support::{options, record};

/// Looks at the log, and checks that this changed nothing and that opening the log tells the same.
fn look(disk: &FaultBackend) -> LogReport {
    let changes = disk.changes();
    let report = inspect::log(disk).unwrap();
    assert_eq!(disk.changes(), changes, "looking changed something");
    let (log, recovery) = Log::open(Arc::new(disk.fork()), options()).unwrap();
    assert_eq!(
        (report.first_index, report.last_index, report.torn_bytes),
        (
            recovery.first_index,
            recovery.last_index,
            recovery.torn_bytes
        )
    );
    assert_eq!(report.damaged, recovery.damaged);
    assert_eq!((report.base, &report.terms), (log.base(), &log.term_runs()));
    for range in &report.damaged {
        let named = report.damage.iter().any(|damage| damage.loses_entries);
        assert!(named, "{range:?} is not in {:?}", report.damage);
    }
    report
}

/// Every segment is told with what it holds, and a log without damage is called sound.
#[test]
fn a_sound_log() {
    let (disk, twin) = small_log();
    let report = look(&disk);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.first_index, report.last_index), (1, 14));
    let names: Vec<_> = report.segments.iter().map(|s| s.file.clone()).collect();
    let mut expected = disk.list().unwrap();
    expected.retain(|name| name.ends_with(".log"));
    expected.sort();
    assert_eq!(names, expected);
    let [first, second, ..] = report.segments.as_slice() else {
        panic!("{report:?}")
    };
    // Of its four records two were superseded; they are still there.
    assert_eq!(
        (first.state, first.base, first.first_index, first.last_index),
        (SegmentState::Start, Some((0, 0)), Some(1), Some(4))
    );
    assert_eq!((first.records, first.used_bytes), (4, 4096 + 4 * 104));
    assert_eq!(second.base, Some((2, 1)));
    assert_eq!(
        second.terms,
        [TermRun {
            first_index: 3,
            term: 2
        }]
    );
    let records: u64 = report.segments.iter().map(|s| s.records).sum();
    assert_eq!(records, twin.records.len() as u64 + 2);
    let all: u64 = report.segments.iter().map(|s| s.allocated_bytes).sum();
    assert_eq!(report.allocated_bytes, all);
    assert!(report.used_bytes < all);
    assert!(inspect::log(&FaultBackend::new()).unwrap().is_sound());
}

/// Every bit of a header, a record or a mark that is turned over is found, also where nothing is lost for it.
#[test]
fn every_flipped_bit_is_found() {
    let (disk, _) = small_log();
    let report = look(&disk);
    for segment in &report.segments {
        let bytes = bytes_of(&disk, &segment.file);
        let records = 4096..(segment.used_bytes as usize).min(4096 + 700);
        let places = (0..92).chain(2048..2140).chain(records);
        for at in places {
            // The zeros behind a payload are nobody's.
            if bytes[at] == 0 && at > 4096 {
                continue;
            }
            let fork = disk.fork();
            fork.flip_bit(&segment.file, at as u64 * 8 + at as u64 % 8);
            let report = look(&fork);
            let [damage] = report.damage.as_slice() else {
                panic!("{}, byte {at}: {report:?}", segment.file)
            };
            assert_eq!(damage.file, segment.file);
            assert!(damage.offset <= at as u64, "byte {at}: {damage:?}");
            assert_eq!(damage.loses_entries, !report.damaged.is_empty());
            assert_eq!(damage.index.is_some(), at >= 4096);
        }
    }
    for mark in &report.marks {
        let newest = mark
            .copies
            .iter()
            .position(|copy| copy.generation == mark.generation);
        let at = newest.unwrap() as u64 * 4096 + 30;
        let fork = disk.fork();
        fork.flip_bit(mark.file, at * 8);
        let report = look(&fork);
        let places: Vec<_> = report.damage.iter().map(|damage| damage.offset).collect();
        // The hint has one copy of its newest value: without it, it looks like a save that did not finish.
        let expected = if mark.file == "log.mark" {
            vec![at - 30]
        } else {
            Vec::new()
        };
        assert_eq!(places, expected, "{}", mark.file);
        assert!(report.damaged.is_empty());
    }
}

/// A write that did not finish is no damage; nor is what was never synced and lost.
#[test]
fn a_torn_end_is_no_damage() {
    let disk = FaultBackend::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    log.append(&[record(1, 1, 100)]).unwrap();
    log.sync().unwrap();
    log.append(&[record(2, 1, 3000), record(3, 1, 100)])
        .unwrap();
    drop(log);
    disk.crash(|part| part % 3 != 1);
    let report = look(&disk);
    assert!(report.is_sound(), "{report:?}");
    assert!(report.torn_bytes > 0);
    assert_eq!((report.last_index, report.segments[0].records), (1, 1));
}

/// What is missing, cannot be placed, cannot be read or does not count is called that.
#[test]
fn lost_unreadable_and_obsolete_files() {
    let (disk, _) = small_log();
    let names: Vec<_> = look(&disk).segments.into_iter().map(|s| s.file).collect();
    let fork = disk.fork();
    fork.remove(&names[1]).unwrap();
    let report = look(&fork);
    assert_eq!(report.damage[0].file, names[1]);
    assert!(report.damage[0].reason.contains("missing") && report.damage[0].loses_entries);

    let fork = disk.fork();
    let file = fork.open(&names[1], false).unwrap();
    file.write_at(0, &[0xa5; 4096]).unwrap();
    let report = look(&fork);
    assert!(report.damaged.is_empty());
    assert!(report.damage[0].reason.contains("both copies"));
    assert_eq!(report.segments[1].state, SegmentState::Entries);
    file.write_at(4096, &[0xa5; 64]).unwrap();
    let report = look(&fork);
    assert!(!report.damaged.is_empty());
    assert_eq!(report.segments[1].state, SegmentState::Unreadable);

    // The whole file is read at once, and then block by block.
    for bad in 0..40 {
        let fork = disk.fork();
        for after in [bad, bad + 1] {
            fork.inject(Operation::Read, after, FaultKind::Fails(ErrorKind::Other));
        }
        if let Ok(report) = inspect::log(&fork) {
            assert!(report.last_index <= 14);
        }
    }

    let (log, _) = Log::open(Arc::new(disk.clone()), options()).unwrap();
    log.reset(20, 4).unwrap();
    drop(log);
    let last = disk
        .list()
        .unwrap()
        .into_iter()
        .filter(|n| n.ends_with(".log"))
        .max()
        .unwrap();
    let fresh = disk.fork();
    // As a crash leaves it that came before the old files were given up.
    let (old, _) = small_log();
    let header = bytes_of(&disk, &last);
    old.open(&last, true).unwrap().write_at(0, &header).unwrap();
    let report = look(&old);
    assert!(report.is_sound(), "{report:?}");
    let obsolete = report
        .segments
        .iter()
        .filter(|s| s.state == SegmentState::Obsolete);
    assert_eq!(obsolete.count(), names.len());
    assert_eq!(report.base, (20, 4));
    let report = look(&fresh);
    assert_eq!(report.useless_files.len(), 1, "a spare file: {report:?}");
}

/// A slot file is told copy by copy, and what a crash left of a save is no damage.
#[test]
fn slots() {
    const KIND: SlotKind = SlotKind {
        name: "votes",
        magic: *b"TESTVOTE",
        version: 1,
    };
    let disk = FaultBackend::new();
    assert_eq!(inspect::slot(&disk, KIND).unwrap(), None);
    let slots = SlotFile::create(&disk, KIND, b"one").unwrap();
    let states = |disk: &FaultBackend| {
        let report = inspect::slot(disk, KIND).unwrap().unwrap();
        let states = report.copies.map(|copy| copy.state);
        let damage: Vec<_> = report.damage().map(|damage| damage.offset).collect();
        (report.value, states, damage)
    };
    use CopyState::{Damaged, Empty, Unreadable, Valid};
    let one = Some(b"one".to_vec());
    assert_eq!(
        states(&disk),
        (one.clone(), [Empty, Valid, Empty, Valid], vec![])
    );
    disk.open("votes", false)
        .unwrap()
        .write_at(0, &[1; 512])
        .unwrap();
    assert_eq!(states(&disk), (one, [Damaged, Valid, Empty, Valid], vec![]));
    slots.save(b"two").unwrap();
    let two = Some(b"two".to_vec());
    disk.flip_bit("votes", 8192 * 8 + 5);
    assert_eq!(
        states(&disk),
        (two.clone(), [Valid, Valid, Damaged, Valid], vec![8192])
    );
    disk.inject(Operation::Read, 2, FaultKind::Fails(ErrorKind::Other));
    assert_eq!(
        states(&disk),
        (two, [Valid, Valid, Unreadable, Valid], vec![8192])
    );
    disk.open("votes", false)
        .unwrap()
        .write_at(0, &[0; 16384])
        .unwrap();
    assert_eq!(
        states(&disk),
        (None, [Empty; 4], vec![0, 4096, 8192, 12288])
    );
}

/// A directory that a process has is refused; one that is looked at is kept from being taken; nothing in it changes.
#[test]
fn directories_are_held_while_they_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let data = DirBackend::open(dir.path()).unwrap();
    let (log, _) = Log::open(Arc::new(data.subdirectory("log").unwrap()), options()).unwrap();
    log.append(&[record(1, 1, 100)]).unwrap();
    log.sync().unwrap();
    let error = ReadOnlyDir::open(dir.path()).unwrap_err();
    assert!(error.is_in_use(), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()));
    drop((log, data));

    let lock = std::fs::read(dir.path().join("LOCK")).unwrap();
    let looking = ReadOnlyDir::open(dir.path()).unwrap();
    let also = ReadOnlyDir::open(dir.path()).unwrap();
    let files = also.subdirectory("log").unwrap();
    drop((looking, also));
    assert!(DirBackend::open(dir.path()).unwrap_err().is_in_use());
    assert!(inspect::log(&files).unwrap().is_sound());
    let name = &files.list().unwrap()[0];
    let refused = ErrorKind::ReadOnlyFilesystem;
    assert_eq!(files.rename(name, "b").unwrap_err().kind(), refused);
    assert_eq!(files.remove(name).unwrap_err().kind(), refused);
    assert_eq!(files.open("new", true).unwrap_err().kind(), refused);
    assert_eq!(Backend::sync(&files).unwrap_err().kind(), refused);
    let file = files.open(name, true).unwrap();
    assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), refused);
    assert_eq!(file.set_len(0).unwrap_err().kind(), refused);
    assert_eq!(file.sync().unwrap_err().kind(), refused);
    drop((file, files));
    assert_eq!(std::fs::read(dir.path().join("LOCK")).unwrap(), lock);
    DirBackend::open(dir.path()).unwrap();
    let nowhere = dir.path().join("nowhere");
    assert!(ReadOnlyDir::open(&nowhere).is_err() && !nowhere.exists());
}
