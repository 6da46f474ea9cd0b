//! The mark of checkpoints: what it may say after any history, and after a power cut at any point of one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use ferrolite_pager::CheckpointMark;
use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, MemBackend, Operation};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Begin(u64),
    Finish(u64),
    Install(u64, u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = 0..20_u64;
    prop::collection::vec(
        prop_oneof![
            4 => index.clone().prop_map(Step::Begin),
            4 => index.clone().prop_map(Step::Finish),
            1 => (index.clone(), index).prop_map(|(a, b)| Step::Install(a, b)),
            1 => Just(Step::Reopen),
        ],
        0..40,
    )
}

/// The twin: the rules of the module's text, in two integers.
fn expect(step: &Step, (done, target): (u64, u64)) -> (u64, u64) {
    match *step {
        Step::Begin(to) => (done, target.max(to)),
        Step::Finish(to) => (done.max(to), target.max(to)),
        Step::Install(a, b) if a <= b => (a, b),
        Step::Install(..) | Step::Reopen => (done, target),
    }
}

fn run(step: &Step, mark: &CheckpointMark) -> Result<(), ferrolite_pager::Error> {
    match *step {
        Step::Begin(to) => mark.begin(to),
        Step::Finish(to) => mark.finish(to),
        Step::Install(a, b) => mark.install(a, b),
        Step::Reopen => Ok(()),
    }
}

fn value(mark: &CheckpointMark) -> (u64, u64) {
    (mark.done(), mark.target())
}

proptest! {
    /// Any history says what the twin says, in memory and after a reopening.
    #[test]
    fn equals_its_twin(steps in steps()) {
        let backend = MemBackend::new();
        let mut mark = CheckpointMark::open(&backend).unwrap();
        let mut twin = (0, 0);
        for step in &steps {
            let result = run(step, &mark);
            prop_assert_eq!(result.is_err(), matches!(step, Step::Install(a, b) if a > b));
            twin = expect(step, twin);
            if matches!(step, Step::Reopen) {
                mark = CheckpointMark::open(&backend).unwrap();
            }
            prop_assert_eq!(value(&mark), twin);
        }
        prop_assert_eq!(value(&CheckpointMark::open(&backend).unwrap()), twin);
    }
}

/// A power cut after any number of operations, with any of the last unsynced sectors lost: the mark is the last one
/// that was promised, or the one that was being written.
#[test]
fn survives_a_power_cut_at_any_operation() {
    let history = [
        Step::Begin(5),
        Step::Finish(5),
        Step::Begin(9),
        Step::Begin(7),
        Step::Finish(8),
        Step::Install(2, 3),
        Step::Begin(4),
    ];
    let mut explored = 0;
    for stop in 0.. {
        let disk = FaultBackend::new();
        disk.stop_after(stop);
        let mut promised = None;
        let mut begun = (0, 0);
        let mut finished = true;
        match CheckpointMark::open(&disk) {
            Ok(mark) => {
                promised = Some((0, 0));
                for step in &history {
                    begun = expect(step, begun);
                    if run(step, &mark).is_err() {
                        finished = false;
                        break;
                    }
                    promised = Some(begun);
                }
            }
            Err(_) => finished = false,
        }
        let parts = disk.unsynced().min(10);
        for kept in 0..1_u32 << parts {
            let disk = disk.fork();
            disk.crash(|part| kept >> (part % 32) & 1 == 1);
            let found = value(&CheckpointMark::open(&disk).unwrap());
            let allowed = [promised.unwrap_or((0, 0)), begun];
            assert!(
                allowed.contains(&found),
                "stopped after {stop} operations, kept {kept:b}: {found:?}, not of {allowed:?}"
            );
            explored += 1;
        }
        if finished {
            break;
        }
    }
    assert!(explored > 100, "only {explored} states were explored");
}

/// A mark that could not be written is not said, and none is written after it.
#[test]
fn a_failed_save_changes_nothing() {
    for operation in [Operation::Write, Operation::Sync] {
        let disk = FaultBackend::new();
        let mark = CheckpointMark::open(&disk).unwrap();
        mark.begin(3).unwrap();
        disk.inject(operation, 0, FaultKind::Fails(std::io::ErrorKind::Other));
        assert!(mark.begin(8).unwrap_err().is_io());
        assert_eq!(value(&mark), (0, 3));
        assert!(
            mark.finish(3).unwrap_err().is_io(),
            "the failure was forgotten"
        );
        mark.begin(2).unwrap(); // what stands already needs no write
        assert_eq!(value(&mark), (0, 3));
    }
}

/// What a crash may have left in the middle stays suspect until the entries up to the old target were written again.
#[test]
fn interruption_ends_with_the_repetition() {
    let backend = MemBackend::new();
    let mark = CheckpointMark::open(&backend).unwrap();
    mark.begin(5).unwrap();
    assert!(!mark.is_interrupted(), "its own checkpoint is no secret");
    for end in [
        |mark: &CheckpointMark| mark.finish(5).unwrap(),
        |mark: &CheckpointMark| mark.install(9, 9).unwrap(),
        |mark: &CheckpointMark| mark.settle(),
    ] {
        let backend = MemBackend::new();
        CheckpointMark::open(&backend).unwrap().begin(5).unwrap();
        let mark = CheckpointMark::open(&backend).unwrap();
        assert!(mark.is_interrupted());
        mark.begin(7).unwrap();
        mark.finish(4).unwrap();
        assert!(mark.is_interrupted());
        end(&mark);
        assert!(!mark.is_interrupted());
        mark.install(9, 12).unwrap();
        assert!(mark.is_interrupted());
        mark.finish(12).unwrap();
        assert!(!mark.is_interrupted());
    }
}

/// Bytes that no mark ever had are damage, not indexes.
#[test]
fn nonsense_is_damage() {
    use ferrolite_wal::{SlotFile, SlotKind};
    let kind = SlotKind {
        name: "checkpoint",
        magic: *b"FERRCKPT",
        version: 1,
    };
    let mut crossed = [0; 16];
    crossed[0] = 9; // done 9, target 0
    for payload in [&crossed[..], &[0; 15], &[0; 17], &[]] {
        let backend = MemBackend::new();
        SlotFile::create(&backend, kind, payload).unwrap();
        assert!(CheckpointMark::open(&backend).unwrap_err().is_damaged());
    }
    // A mark of a program before sums is read; one of a later program is not.
    let backend = MemBackend::new();
    crossed[8] = 12;
    SlotFile::create(&backend, kind, &crossed).unwrap();
    let mark = CheckpointMark::open(&backend).unwrap();
    assert_eq!((value(&mark), mark.is_interrupted()), ((9, 12), true));
    assert_eq!(CheckpointMark::peek(&backend).unwrap(), Some((9, 12)));
    let backend = MemBackend::new();
    let later = SlotKind { version: 3, ..kind };
    SlotFile::create(&backend, later, &crossed).unwrap();
    assert!(
        CheckpointMark::open(&backend)
            .unwrap_err()
            .is_newer_format()
    );

    let backend = MemBackend::new();
    assert_eq!(CheckpointMark::peek(&backend).unwrap(), None);
    CheckpointMark::open(&backend).unwrap();
    let file = backend.open("checkpoint", false).unwrap();
    file.write_at(0, &[0xa5; 16384]).unwrap();
    assert!(CheckpointMark::open(&backend).unwrap_err().is_damaged());
}
