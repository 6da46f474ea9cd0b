//! Votes through crashes: a vote that was acknowledged is never forgotten, whatever a power cut leaves of the next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use ferrolite_wal::Error;
use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};
use ferrolite_wal::hard_state::{HardState, Identity, VoteStore};

const IDENTITY: Identity = Identity {
    node: 3,
    cluster: 0xc1,
    incarnation: 2,
};

fn state(term: u64) -> HardState {
    HardState {
        identity: IDENTITY,
        term,
        vote: (!term.is_multiple_of(3)).then_some(term % 3),
        commit: term * 10,
    }
}

/// Votes in terms 1 to 6; `acknowledged` is the last that was durable.
fn elections(disk: &FaultBackend, acknowledged: &mut Option<u64>) -> Result<(), Error> {
    let votes = VoteStore::create(disk, &state(0))?;
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
            match (VoteStore::open(&fork).unwrap(), acknowledged) {
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
                    assert_eq!(VoteStore::open(&fork).unwrap().unwrap().1, found);
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
    let votes = VoteStore::create(&disk, &state(1)).unwrap();
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

/// A directory says whose it is, in words that a person can act on.
#[test]
fn wrong_directories_are_named() {
    let error = IDENTITY.check(4, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data directory of another node: it belongs to node 3, you said 4"
    );
    assert!(error.is_wrong_directory());
    assert!(
        IDENTITY
            .check(3, Some(0xc2))
            .unwrap_err()
            .is_wrong_directory()
    );
    IDENTITY.check(3, Some(0xc1)).unwrap();
    IDENTITY.check(3, None).unwrap();
    let homeless = Identity {
        cluster: 0,
        ..IDENTITY
    };
    homeless.check(3, Some(0xc1)).unwrap();

    let disk = FaultBackend::new();
    VoteStore::create(&disk, &state(1)).unwrap();
    disk.open("state", false)
        .unwrap()
        .write_at(0, &[0x11; 16384])
        .unwrap();
    assert!(VoteStore::open(&disk).unwrap_err().is_damaged());
}
