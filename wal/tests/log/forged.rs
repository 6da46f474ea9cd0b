//! Segment headers with right checksums and impossible numbers, as somebody might write who knows the log's salt.

use std::sync::Arc;

use ferrolite_wal::backend::{Backend, FaultBackend};
use ferrolite_wal::{Error, Log, Recovery};

use crate::support::{options, record};

const SECOND: &str = "0000000000000002.log";

/// Two segments: 1 to 3, and 4 to 6.
fn two_segments() -> FaultBackend {
    let disk = FaultBackend::new();
    let (log, _) = open(&disk).unwrap();
    for first in [1, 4] {
        let records: Vec<_> = (first..first + 3).map(|i| record(i, 1, 20_000)).collect();
        log.append(&records).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    disk
}

fn open(disk: &FaultBackend) -> Result<(Log, Recovery), Error> {
    Log::open(Arc::new(disk.clone()), options())
}

/// Puts `value` in the field at `offset` of both copies of a header, and makes the checksums right.
fn forge(disk: &FaultBackend, name: &str, offset: usize, value: u64) {
    let file = disk.open(name, false).unwrap();
    let mut copy = [0; 92];
    file.read_at(0, &mut copy).unwrap();
    copy[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    let checksum = crc32fast::hash(&copy[..88]);
    copy[88..].copy_from_slice(&checksum.to_le_bytes());
    for at in [0, 2048] {
        file.write_at(at, &copy).unwrap();
    }
    file.sync().unwrap();
}

/// The log opens, or is refused as damaged; and what it hands out was written.
fn check(disk: &FaultBackend, what: &str) {
    match open(disk) {
        Ok((log, _)) => {
            for index in 1..=3 {
                if let Ok(found) = log.entry(index) {
                    assert_eq!(found, record(index, 1, 20_000), "{what}");
                }
            }
            let next = log.last_index() + 1;
            if log.append(&[record(next, 1 << 40, 10)]).is_ok() {
                log.sync().unwrap();
            }
        }
        Err(e) => assert!(e.is_damaged(), "{what}: {e}"),
    }
}

/// No number in a header overflows a sum, or makes the log take memory for entries that there cannot be.
#[test]
fn headers_with_impossible_numbers() {
    let disk = two_segments();
    for name in ["0000000000000001.log", SECOND] {
        for field in [16, 24, 32, 48, 56, 64, 72] {
            for value in [
                0,
                4095,
                4096,
                4097,
                60_000,
                1 << 32,
                1 << 48,
                1 << 60,
                (1 << 60) + 1,
                u64::MAX - 4096,
                u64::MAX,
            ] {
                let fork = disk.fork();
                forge(&fork, name, field, value);
                check(&fork, &format!("{name}: {value} at {field}"));
            }
        }
    }
}

/// More entries missing than the log keeps places for are no log: it is refused before memory is taken for them.
#[test]
fn a_gap_of_any_length_is_refused() {
    let disk = two_segments();
    forge(&disk, SECOND, 48, 1 << 40);
    assert!(open(&disk).unwrap_err().is_damaged());
}

/// A header that claims a long file does not make the log read, or make room for, more than there is.
#[test]
fn a_file_shorter_than_its_header_says() {
    let disk = two_segments();
    forge(&disk, SECOND, 32, 1 << 30);
    let (log, _) = open(&disk).unwrap();
    for index in 1..=6 {
        assert_eq!(log.entry(index).unwrap(), record(index, 1, 20_000));
    }
}

/// A file whose name has a number that no log gets to is not taken for one of the log's.
#[test]
fn names_with_impossible_numbers() {
    for name in ["ffffffffffffffff.log", "ffffffffffffffff.spare"] {
        let disk = two_segments();
        let file = disk.open(name, true).unwrap();
        file.write_at(0, &[1; 5000]).unwrap();
        file.sync().unwrap();
        check(&disk, name);
    }
}
