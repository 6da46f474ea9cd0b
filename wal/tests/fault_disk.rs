//! The simulated disk itself: it must fail exactly as it says, or the tests that stand on it prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::io;

use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};

fn content(disk: &FaultBackend, name: &str) -> Vec<u8> {
    let file = disk.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Each sector of an unsynced write is lost or kept by itself, and what was synced stays.
#[test]
fn crash_tears_writes_at_sectors() {
    let disk = FaultBackend::new();
    let file = disk.open("a", true).unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    file.sync().unwrap();
    disk.sync().unwrap();
    file.write_at(500, &[2; 24]).unwrap();
    assert_eq!(disk.unsynced(), 2);
    let fork = disk.fork();
    disk.crash(|part| part == 1);
    let bytes = content(&disk, "a");
    assert_eq!(
        (bytes[500..512].to_vec(), bytes[512..524].to_vec()),
        (vec![1; 12], vec![2; 12])
    );
    assert!(
        file.write_at(0, &[3]).is_err(),
        "a handle from before the crash is dead"
    );
    fork.crash(|_| false);
    assert_eq!(content(&fork, "a"), [1; 1024]);
}

/// Names need the directory's sync; a rename whose file never came to be is lost with it.
#[test]
fn names_need_their_own_sync() {
    let disk = FaultBackend::new();
    let file = disk.open("a", true).unwrap();
    file.write_at(0, &[1]).unwrap();
    file.sync().unwrap();
    disk.rename("a", "b").unwrap();
    let fork = disk.fork();
    disk.crash(|part| part == 1);
    assert!(disk.list().unwrap().is_empty());
    fork.crash(|part| part == 0);
    assert_eq!(fork.list().unwrap(), ["a"]);
    let elsewhere = fork.directory("elsewhere");
    assert!(elsewhere.list().unwrap().is_empty());
}

/// The machine stops at exactly the operation asked for, and a write that it stops in may be there.
#[test]
fn stops_in_the_middle() {
    let disk = FaultBackend::new();
    let file = disk.open("a", true).unwrap();
    file.sync().unwrap();
    disk.sync().unwrap();
    disk.stop_after(disk.changes());
    assert!(file.write_at(0, &[1]).is_err());
    assert!(file.sync().is_err());
    assert!(disk.open("a", false).is_err());
    disk.crash(|_| true);
    assert_eq!(content(&disk, "a"), [1]);
}

/// Injected faults hit the operation that they were meant for, once.
#[test]
fn faults_hit_once() {
    let disk = FaultBackend::new();
    let file = disk.open("a", true).unwrap();
    disk.inject(
        Operation::Write,
        1,
        FaultKind::Fails(io::ErrorKind::StorageFull),
    );
    file.write_at(0, &[1; 4]).unwrap();
    assert_eq!(
        file.write_at(0, &[2; 4]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    disk.inject(Operation::Write, 0, FaultKind::Half);
    assert!(file.write_at(0, &[3; 4]).is_err());
    assert_eq!(content(&disk, "a"), [3, 3, 1, 1]);
    disk.set_capacity(Some(4));
    assert_eq!(
        file.write_at(4, &[1]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    disk.inject(Operation::Sync, 0, FaultKind::Fails(io::ErrorKind::Other));
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok(), "a second sync says yes");
    disk.sync().unwrap();
    disk.inject(Operation::Read, 0, FaultKind::Half);
    assert_eq!(file.read_at(0, &mut [0; 4]).unwrap(), 2);
    disk.flip_bit("a", 1);
    assert_eq!(content(&disk, "a"), [1, 3, 1, 1]);
}

/// What a failed sync gave up on stays lost: a later sync that succeeds does not bring it back.
#[test]
fn failed_syncs_lose_for_good() {
    let disk = FaultBackend::new();
    let file = disk.open("a", true).unwrap();
    disk.sync().unwrap();
    file.write_at(0, &[1; 4]).unwrap();
    disk.inject(Operation::Sync, 0, FaultKind::Fails(io::ErrorKind::Other));
    assert!(file.sync().is_err());
    file.write_at(2, &[2; 4]).unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, "a"), [1, 1, 2, 2, 2, 2]);
    disk.crash(|_| true);
    assert_eq!(content(&disk, "a"), [0, 0, 2, 2, 2, 2]);
}
