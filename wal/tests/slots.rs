//! Votes, kept in a slot file, through crashes: a vote that was acknowledged is never forgotten, whatever a power cut leaves of the next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use ferrolite_wal::Error;
use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};
use ferrolite_wal::slot::{SlotFile, SlotKind};

const VOTES: SlotKind = SlotKind {
    name: "votes",
    magic: *b"FLVOTES\0",
    version: 1,
};

fn state(term: u64) -> Vec<u8> {
    [term.to_le_bytes(), (term % 3).to_le_bytes()].concat()
}

/// Votes in terms 1 to 6; `acknowledged` is the last that was durable.
fn elections(disk: &FaultBackend, acknowledged: &mut Option<u64>) -> Result<(), Error> {
    let votes = SlotFile::create(disk, VOTES, &state(0))?;
    *acknowledged = Some(0);
    for term in 1..=6 {
        votes.save(&state(term))?;
        *acknowledged = Some(term);
    }
    Ok(())
}

/// At every operation, and for every choice of sectors that reached the disk: the last acknowledged vote is there, or the
/// one that was being saved; and what was read once is there after the next crash.
#[test]
fn no_crash_forgets_a_vote() {
    let mut states = 0;
    for stop in 0.. {
        let disk = FaultBackend::new();
        disk.stop_after(stop);
        let mut acknowledged = None;
        let done = elections(&disk, &mut acknowledged).is_ok();
        let parts = disk.unsynced();
        assert!(parts < 12, "few enough to try all");
        for mask in 0..1u32 << parts {
            states += 1;
            let fork = disk.fork();
            fork.crash(|part| mask >> part & 1 == 1);
            match (SlotFile::open(&fork, VOTES).unwrap(), acknowledged) {
                (None, None) => {}
                (None, Some(term)) => {
                    panic!("stop {stop}, mask {mask:b}: term {term} is forgotten")
                }
                (Some((_, found)), last) => {
                    let next = last.map_or(0, |term| term + 1);
                    assert!(
                        found == state(next) || last.is_some_and(|term| found == state(term)),
                        "{found:?}"
                    );
                    fork.crash(|_| false);
                    assert_eq!(SlotFile::open(&fork, VOTES).unwrap().unwrap().1, found);
                }
            }
        }
        if done {
            break;
        }
    }
    println!("crash exploration of votes: {states} states");
}

/// After a failed sync the store answers that failure for ever: the vote may not be given.
#[test]
fn a_failed_save_latches() {
    let disk = FaultBackend::new();
    let votes = SlotFile::create(&disk, VOTES, &state(1)).unwrap();
    disk.inject(
        Operation::Sync,
        0,
        FaultKind::Fails(std::io::ErrorKind::Other),
    );
    let first = votes.save(&state(2)).unwrap_err().to_string();
    let changes = disk.changes();
    assert_eq!(votes.save(&state(3)).unwrap_err().to_string(), first);
    assert_eq!(disk.changes(), changes);
}

/// A file of which no copy is valid is damage, not an empty beginning.
#[test]
fn damage_is_named() {
    let disk = FaultBackend::new();
    SlotFile::create(&disk, VOTES, &state(1)).unwrap();
    disk.open("votes", false)
        .unwrap()
        .write_at(0, &[0x11; 16384])
        .unwrap();
    assert!(SlotFile::open(&disk, VOTES).unwrap_err().is_damaged());
}
