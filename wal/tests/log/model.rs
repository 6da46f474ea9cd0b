//! The log against its twin: random operations, and a new opening after any of them.

use std::sync::Arc;

use crate::support::{Content, Event, History, options, record};
use std::io::ErrorKind;

use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, MemBackend, Operation};
use ferrolite_wal::{Error, Log};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// So many records of this many bytes, beginning so far before the end, in a term that much higher.
    Append {
        count: u64,
        len: usize,
        back: u64,
        newer: u64,
    },
    Sync,
    Drop(u64),
    Reset(u64),
    Prepare,
    Reopen,
    /// The power goes, and everything that was not synced with it.
    PowerCut,
    /// The disk has room for so many bytes more.
    Fill(u64),
    /// The disk has all the room that it wants.
    Free,
    /// The next write finds no room, when half of it is written.
    NoRoom,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![6 => 0usize..300, 3 => 300usize..9000, 1 => 60_000usize..150_000];
    prop_oneof![
        8 => (1u64..12, len, prop_oneof![4 => Just(0u64), 1 => 1u64..30], 0u64..2)
            .prop_map(|(count, len, back, newer)| Step::Append { count, len, back, newer }),
        4 => Just(Step::Sync),
        2 => (0u64..60).prop_map(Step::Drop),
        1 => (0u64..20).prop_map(Step::Reset),
        1 => Just(Step::Prepare),
        2 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
        1 => (0u64..200_000).prop_map(Step::Fill),
        1 => Just(Step::Free),
        1 => Just(Step::NoRoom),
    ]
}

fn open(disk: &Arc<dyn Backend>) -> Log {
    let (log, recovery) = Log::open(Arc::clone(disk), options()).unwrap();
    assert_eq!(recovery.damaged, []);
    log
}

/// Whether it was done; only a full disk may refuse it.
fn taken(result: Result<(), Error>, full: bool) -> Result<bool, TestCaseError> {
    match result {
        Err(e) if full && e.is_full() => Ok(false),
        result => result
            .map(|()| true)
            .map_err(|e| TestCaseError::fail(e.to_string())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a log, it holds what its twin holds, also after it was opened again, and what was synced
    /// also after a power cut.
    #[test]
    fn log_is_its_twin(steps in prop::collection::vec(step(), 1..50)) {
        let simulated = FaultBackend::new();
        let disk: Arc<dyn Backend> = Arc::new(simulated.clone());
        let mut log = open(&disk);
        let mut history = History::default();
        let mut twin = Content::default();
        let mut full = false;
        for step in steps {
            match step {
                Step::Append { count, len, back, newer } => {
                    let (last, _) = twin.last();
                    let first = (last + 1).saturating_sub(back).max(log.first_index());
                    let before = twin.records.get(&(first - 1)).map_or(log.base().1, |r| r.term);
                    let term = (before + newer).max(1);
                    let records: Vec<_> = (first..first + count).map(|i| record(i, term, len)).collect();
                    if taken(history.append(&log, &records), full)? {
                        records.into_iter().for_each(|r| twin.apply(&Event::Push(r)));
                    }
                }
                Step::Sync => {
                    prop_assert_eq!(log.sync().unwrap(), twin.last().0);
                    history.promise();
                }
                Step::Drop(ahead) => {
                    let first = log.first_index() + ahead;
                    history.drop_prefix(&log, first).unwrap();
                    prop_assert!(log.first_index() <= first);
                }
                Step::Reset(ahead) => {
                    let (index, term) = (twin.last().0 + ahead, twin.last().1.max(1));
                    if taken(history.reset(&log, index, term), full)? {
                        twin.apply(&Event::Reset(index, term));
                    }
                }
                Step::Prepare => {
                    taken(log.prepare(), full)?;
                }
                Step::Fill(room) => {
                    simulated.set_capacity(Some(simulated.used() + room));
                    full = true;
                }
                Step::Free => {
                    simulated.set_capacity(None);
                    full = false;
                }
                Step::NoRoom => {
                    let half = FaultKind::HalfFails(ErrorKind::StorageFull);
                    simulated.inject(Operation::Write, 0, half);
                    let index = log.last_index() + 1;
                    let term = twin.last().1.max(1);
                    let records = [record(index, term, 50), record(index + 1, term, 50)];
                    // It may also hit the hint of a sync on the way: that is not missed.
                    if taken(history.append(&log, &records), true)? {
                        records.into_iter().for_each(|r| twin.apply(&Event::Push(r)));
                    }
                }
                Step::Reopen => {
                    drop(log);
                    log = open(&disk);
                    history.promise();
                }
                Step::PowerCut => {
                    drop(log);
                    simulated.crash(|_| false);
                    log = open(&disk);
                    twin = history.find(&log).map_err(TestCaseError::fail)?;
                    history = History::from(&twin);
                }
            }
            prop_assert_eq!(twin.matches(&log), Ok(()));
        }
    }

    /// A piece of a payload is the same bytes wherever it is cut out.
    #[test]
    fn pieces_of_payloads(len in 0usize..5000, from in 0usize..5000, size in 0usize..600) {
        let (log, _) = Log::open(Arc::new(MemBackend::new()), options()).unwrap();
        let entry = record(1, 1, len);
        log.append(std::slice::from_ref(&entry)).unwrap();
        let mut piece = vec![0; size];
        let result = log.read_payload_at(1, from as u32, &mut piece);
        match entry.payload.get(from..from + size) {
            Some(expected) => prop_assert_eq!(&piece[..], expected),
            None => {
                let refused = matches!(result, Err(Error::TooLarge { .. }));
                prop_assert!(refused);
            }
        }
        prop_assert_eq!(log.payload_len(1).unwrap() as usize, len);
    }
}
