#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{Committed, Micro, Operation, Transaction, check};
use crate::check::Anomaly;
use crate::check::made::{
    Shape, Twin, anomaly, at_last, failed, history, is_explained, ok, unknown,
};

fn a(key: i64, element: i64) -> Micro {
    Micro::Append { key, element }
}

fn r(key: i64, list: &[i64]) -> Micro {
    let list = Some(list.to_vec());
    Micro::Read { key, list }
}

fn t(start: u64, end: u64, micros: &[Micro]) -> Operation {
    ok(start, end, of(micros), Committed)
}

fn of(micros: &[Micro]) -> Transaction {
    let micros = micros.to_vec();
    Transaction { micros }
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[],
        &[
            t(
                0,
                1,
                &[r(1, &[]), a(1, 1), r(1, &[1]), a(1, 2), r(1, &[1, 2])],
            ),
            t(2, 3, &[r(1, &[1, 2])]),
        ],
        // At once, in either order.
        &[
            t(0, 3, &[a(1, 1)]),
            t(1, 2, &[a(1, 2)]),
            t(4, 5, &[r(1, &[2, 1])]),
        ],
        &[
            t(0, 3, &[a(1, 1), r(2, &[])]),
            t(1, 2, &[a(2, 1), r(1, &[1])]),
        ],
        // What is unknown happened or not, or only later.
        &[
            unknown(0, of(&[a(1, 1)])),
            t(1, 2, &[r(1, &[])]),
            t(3, 4, &[r(1, &[1])]),
        ],
        &[unknown(0, of(&[a(1, 1)])), at_last(t(1, 2, &[r(1, &[])]))],
        // What failed is not there, and has read what was.
        &[
            t(0, 1, &[a(1, 1)]),
            failed(2, 3, of(&[r(1, &[1]), a(1, 2), r(1, &[1, 2])])),
            t(4, 5, &[r(1, &[1])]),
        ],
        // Two that nobody has read are in any order.
        &[t(0, 1, &[a(1, 1), a(2, 1)]), t(2, 3, &[a(1, 2), a(2, 2)])],
        &[t(0, 3, &[r(1, &[]), a(1, 1)]), t(4, 5, &[a(1, 2)])],
    ];
    for operations in good {
        assert_eq!(check(operations), Ok(()), "{operations:?}");
    }
}

#[test]
fn lists_that_cannot_be_are_found() {
    let bad: &[(Anomaly, &[Operation])] = &[
        (Anomaly::Phantom, &[t(0, 1, &[r(1, &[7])])]),
        (
            Anomaly::Phantom,
            &[t(0, 1, &[a(2, 7)]), t(2, 3, &[r(1, &[7])])],
        ),
        (
            Anomaly::Duplicate,
            &[t(0, 1, &[a(1, 1)]), t(2, 3, &[r(1, &[1, 1])])],
        ),
        (
            Anomaly::Duplicate,
            &[
                t(0, 1, &[a(1, 1)]),
                t(2, 3, &[a(1, 2)]),
                t(4, 5, &[r(1, &[1, 2, 1])]),
            ],
        ),
        (
            Anomaly::Malformed,
            &[t(0, 1, &[a(1, 1)]), t(2, 3, &[a(1, 1)])],
        ),
        // G1a
        (
            Anomaly::AbortedRead,
            &[failed(0, 1, of(&[a(1, 1)])), t(2, 3, &[r(1, &[1])])],
        ),
        (
            Anomaly::AbortedRead,
            &[t(0, 3, &[r(1, &[1])]), failed(1, 2, of(&[a(1, 1)]))],
        ),
        (
            Anomaly::AbortedRead,
            &[
                failed(0, 1, of(&[a(1, 1)])),
                failed(2, 3, of(&[r(1, &[1])])),
            ],
        ),
        // G1b
        (
            Anomaly::IntermediateRead,
            &[t(0, 3, &[a(1, 1), a(1, 2)]), t(1, 2, &[r(1, &[1])])],
        ),
        (
            Anomaly::IntermediateRead,
            &[
                unknown(0, of(&[a(1, 1), a(1, 2)])),
                t(1, 2, &[a(1, 3), r(1, &[1, 3])]),
            ],
        ),
        // Within one transaction.
        (Anomaly::Internal, &[t(0, 1, &[a(1, 1), r(1, &[])])]),
        (
            Anomaly::Internal,
            &[t(0, 1, &[a(1, 1)]), t(2, 5, &[r(1, &[]), r(1, &[1])])],
        ),
        (Anomaly::Internal, &[t(0, 1, &[r(1, &[1]), a(1, 1)])]),
        (
            Anomaly::Internal,
            &[
                t(0, 1, &[a(1, 1)]),
                failed(2, 3, of(&[r(1, &[1]), a(1, 2), r(1, &[1])])),
            ],
        ),
        (
            Anomaly::Internal,
            &[t(0, 3, &[a(1, 1)]), t(1, 2, &[a(1, 2), r(1, &[2, 1])])],
        ),
        // Orders.
        (
            Anomaly::IncompatibleOrders,
            &[
                t(0, 9, &[a(1, 1)]),
                t(1, 8, &[a(1, 2)]),
                t(2, 7, &[r(1, &[1])]),
                t(3, 6, &[r(1, &[2])]),
            ],
        ),
        (
            Anomaly::IncompatibleOrders,
            &[
                t(0, 9, &[a(1, 1)]),
                t(1, 8, &[a(1, 2)]),
                t(2, 7, &[r(1, &[1, 2])]),
                t(3, 6, &[r(1, &[2, 1])]),
            ],
        ),
        (
            Anomaly::IncompatibleOrders,
            &[
                t(0, 3, &[a(1, 1), r(1, &[1])]),
                t(1, 2, &[a(1, 2), r(1, &[2])]),
            ],
        ),
        // The order within a transaction.
        (
            Anomaly::IncompatibleOrders,
            &[
                t(0, 1, &[a(1, 1), a(1, 2)]),
                t(2, 3, &[a(1, 3)]),
                t(4, 5, &[r(1, &[2, 1, 3])]),
            ],
        ),
        // Lost.
        (
            Anomaly::Lost,
            &[t(0, 1, &[a(1, 1)]), at_last(t(2, 3, &[r(1, &[])]))],
        ),
        (
            Anomaly::Lost,
            &[
                t(0, 1, &[a(1, 1)]),
                t(2, 3, &[r(1, &[1])]),
                at_last(t(4, 5, &[r(1, &[])])),
            ],
        ),
    ];
    for (expected, operations) in bad {
        assert_eq!(
            anomaly(check(operations)),
            Some(*expected),
            "{operations:?}"
        );
    }
}

#[test]
fn cycles_are_found_and_named() {
    let bad: &[(Anomaly, &[Operation])] = &[
        // G0
        (
            Anomaly::WriteCycle,
            &[
                t(0, 3, &[a(1, 1), a(2, 1)]),
                t(1, 2, &[a(1, 2), a(2, 2)]),
                t(4, 5, &[r(1, &[1, 2]), r(2, &[2, 1])]),
            ],
        ),
        (
            Anomaly::WriteCycle,
            &[
                t(0, 3, &[a(1, 1), a(1, 2)]),
                t(1, 2, &[a(1, 3)]),
                t(4, 5, &[r(1, &[1, 3, 2])]),
            ],
        ),
        // G1c
        (
            Anomaly::CircularFlow,
            &[
                t(0, 3, &[a(1, 1), r(2, &[1])]),
                t(1, 2, &[a(2, 1), r(1, &[1])]),
            ],
        ),
        (
            Anomaly::CircularFlow,
            &[
                t(0, 9, &[a(1, 1), a(2, 1)]),
                t(1, 8, &[r(1, &[1]), a(3, 1)]),
                t(2, 7, &[r(3, &[1]), a(2, 2)]),
                t(3, 6, &[r(2, &[2, 1])]),
            ],
        ),
        // G-single: read skew, and a lost update.
        (
            Anomaly::SingleAntidependency,
            &[
                t(0, 3, &[a(1, 1), a(2, 1)]),
                t(1, 2, &[r(1, &[]), r(2, &[1])]),
            ],
        ),
        (
            Anomaly::SingleAntidependency,
            &[
                t(0, 3, &[r(1, &[]), a(1, 1)]),
                t(1, 2, &[r(1, &[]), a(1, 2)]),
                t(4, 5, &[r(1, &[1, 2])]),
            ],
        ),
        // The same of a transaction that failed, which may not be shown such things either, and of one that is unknown.
        (
            Anomaly::SingleAntidependency,
            &[
                t(0, 3, &[a(1, 1), a(2, 1)]),
                failed(1, 2, of(&[r(1, &[]), r(2, &[1])])),
            ],
        ),
        (
            Anomaly::SingleAntidependency,
            &[
                t(0, 3, &[a(1, 1), a(2, 1)]),
                unknown(1, of(&[r(1, &[]), r(2, &[1])])),
            ],
        ),
        // What is unknown has happened, all of it.
        (
            Anomaly::SingleAntidependency,
            &[
                unknown(0, of(&[a(1, 1), a(2, 1)])),
                t(1, 2, &[r(1, &[1]), r(2, &[])]),
            ],
        ),
        // G2
        (
            Anomaly::Antidependency,
            &[
                t(0, 3, &[r(1, &[]), a(2, 1)]),
                t(1, 2, &[r(2, &[]), a(1, 1)]),
                t(4, 5, &[r(1, &[1]), r(2, &[1])]),
            ],
        ),
        // Nobody reads what they wrote, but neither can come first.
        (
            Anomaly::Antidependency,
            &[
                t(0, 3, &[r(1, &[]), a(2, 1)]),
                t(1, 2, &[r(2, &[]), a(1, 1)]),
            ],
        ),
        (
            Anomaly::Antidependency,
            &[
                t(0, 9, &[a(1, 1)]),
                t(1, 8, &[a(2, 1)]),
                t(2, 7, &[r(1, &[1]), r(2, &[])]),
                t(3, 6, &[r(1, &[]), r(2, &[1])]),
            ],
        ),
        // Against time.
        (
            Anomaly::RealTime,
            &[t(0, 1, &[a(1, 1)]), t(2, 3, &[r(1, &[])])],
        ),
        (
            Anomaly::RealTime,
            &[t(0, 1, &[r(1, &[1])]), t(2, 3, &[a(1, 1)])],
        ),
        (
            Anomaly::RealTime,
            &[
                t(0, 1, &[a(1, 1)]),
                t(2, 3, &[a(1, 2)]),
                t(4, 5, &[r(1, &[2, 1])]),
            ],
        ),
        (
            Anomaly::RealTime,
            &[
                t(0, 9, &[a(1, 1)]),
                t(1, 2, &[r(1, &[1])]),
                t(3, 4, &[r(1, &[])]),
            ],
        ),
        (
            Anomaly::RealTime,
            &[t(0, 1, &[a(1, 1)]), failed(2, 3, of(&[r(1, &[])]))],
        ),
        (
            Anomaly::RealTime,
            &[t(0, 1, &[a(1, 1)]), unknown(2, of(&[r(1, &[]), a(1, 2)]))],
        ),
        // Each by itself could be, but one was complete before the other was invoked.
        (
            Anomaly::RealTime,
            &[
                t(0, 1, &[a(1, 1)]),
                t(2, 3, &[a(2, 1)]),
                t(4, 5, &[r(3, &[])]),
                t(6, 7, &[r(1, &[1]), r(2, &[])]),
            ],
        ),
    ];
    for (expected, operations) in bad {
        assert_eq!(
            anomaly(check(operations)),
            Some(*expected),
            "{operations:?}"
        );
    }
}

/// A cycle reads as what each transaction has to do with the next.
#[test]
fn a_cycle_is_explained() {
    let operations = [
        t(0, 1, &[a(1, 1)]),
        t(2, 3, &[r(9, &[])]),
        t(4, 5, &[r(1, &[])]),
    ];
    let violation = check(&operations).unwrap_err().to_string();
    for part in [
        "a cycle of 2 transactions",
        "append 1 to 1 -> committed",
        "(rw): T1 read 1 without T2's 1",
        "(time): T2 was complete when T1 was invoked",
    ] {
        assert!(violation.contains(part), "{part:?} is not in: {violation}");
    }
    assert!(!violation.contains("T3"), "{violation}");
}

/// A long history is judged in reasonable time, and without a stack that grows with it.
#[test]
fn long_histories_are_judged() {
    let mut operations = Vec::new();
    let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for nth in 0..20_000_i64 {
        let key = nth / 40;
        let list = lists.entry(key).or_default();
        let before = r(key, list);
        list.push(nth);
        let start = 2 * u64::try_from(nth).unwrap();
        operations.push(t(start, start + 1, &[before, a(key, nth)]));
    }
    assert_eq!(check(&operations), Ok(()));
    operations[19_990].question = of(&[r(1, &[])]);
    assert!(check(&operations).is_err());
}

/// All lists.
type State = BTreeMap<i64, Vec<i64>>;

/// Runs a transaction; reads are filled in.
fn run(state: &mut State, transaction: &mut Transaction) {
    for micro in &mut transaction.micros {
        match micro {
            Micro::Append { key, element } => state.entry(*key).or_default().push(*element),
            Micro::Read { key, list } => *list = Some(state.get(key).cloned().unwrap_or_default()),
        }
    }
}

fn made(shape: Shape, count: usize, keys: i64) -> Vec<Operation> {
    let mut rng = fastrand::Rng::with_seed(!shape.seed);
    let mut next = 0;
    let mut questions = Vec::new();
    for _ in 0..count {
        let steps = (0..rng.u8(1..4)).map(|_| {
            let key = rng.i64(0..keys);
            next += 1;
            match rng.bool() {
                true => a(key, next),
                false => Micro::Read { key, list: None },
            }
        });
        questions.push(of(&steps.collect::<Vec<_>>()));
    }
    let mut state = State::new();
    let mut operations = history(shape, questions, |question, done| {
        let mut after = state.clone();
        run(&mut after, question);
        if done {
            state = after;
        }
        Committed
    });
    let end = operations
        .iter()
        .filter_map(|operation| operation.completed)
        .map(|end| end.position)
        .max();
    let end = end.unwrap_or(0) + u64::try_from(2 * count).unwrap();
    let all: Vec<Micro> = (0..keys)
        .map(|key| Micro::Read { key, list: None })
        .collect();
    let mut last = of(&all);
    run(&mut state.clone(), &mut last);
    operations.push(at_last(ok(end, end + 1, last, Committed)));
    operations
}

/// What a transaction may make of a state; nothing if its reads do not fit.
fn step(state: &State, operation: &&Operation) -> Vec<State> {
    let mut after = state.clone();
    let mut again = operation.question.clone();
    run(&mut after, &mut again);
    let mut fits = operation.question.micros.iter().zip(&again.micros);
    let fits = fits.all(|(seen, is)| seen == is || matches!(seen, Micro::Read { list: None, .. }));
    match (fits, &operation.outcome) {
        (false, _) => Vec::new(),
        (true, crate::Outcome::Ok(_)) => vec![after],
        (true, crate::Outcome::Failed(_)) => vec![state.clone()],
        (true, crate::Outcome::Unknown(_)) => vec![after, state.clone()],
    }
}

/// Whether any order explains a history.
fn twin(operations: &[Operation]) -> bool {
    let twins: Vec<Twin<&Operation>> = operations
        .iter()
        .map(|operation| Twin {
            start: operation.start(),
            end: operation.end(),
            must: true,
            what: operation,
        })
        .collect();
    is_explained(&twins.iter().collect::<Vec<_>>(), &State::new(), &step)
}

/// Makes a read say something else.
fn change(operations: &mut [Operation], rng: &mut fastrand::Rng) {
    let changed = rng.usize(0..operations.len());
    let mut reads: Vec<&mut Vec<i64>> = operations[changed]
        .question
        .micros
        .iter_mut()
        .filter_map(|micro| match micro {
            Micro::Read { list, .. } => list.as_mut(),
            Micro::Append { .. } => None,
        })
        .collect();
    let Some(list) = rng.choice(reads.iter_mut()) else {
        return;
    };
    match rng.u8(0..4) {
        0 | 1 => drop(list.pop()),
        2 if list.len() > 1 => {
            let place = rng.usize(1..list.len());
            list.swap(place - 1, place);
        }
        _ => list.clear(),
    }
}

/// What is known of a history at some point.
fn until(operations: &[Operation], position: u64) -> Vec<Operation> {
    let begun = operations
        .iter()
        .filter(|operation| operation.start() < position);
    let known = begun.map(|operation| {
        if operation.end() < position {
            return operation.clone();
        }
        let mut question = operation.question.clone();
        for micro in &mut question.micros {
            if let Micro::Read { list, .. } = micro {
                *list = None;
            }
        }
        unknown(operation.start(), question)
    });
    known.collect()
}

proptest! {
    /// Transactions that were done one after another are never found wrong.
    #[test]
    fn serial_histories_pass(seed: u64, spread in 1..9_u64, trouble in 0..30_u64, count in 0..120_usize, keys in 1..5_i64) {
        let operations = made(Shape { seed, spread, trouble }, count, keys);
        prop_assert_eq!(check(&operations), Ok(()));
        // Nor is what was known of them at some point.
        for cut in [count, 2 * count - count / 2] {
            let known = until(&operations, u64::try_from(cut).unwrap());
            prop_assert_eq!(check(&known), Ok(()));
        }
    }

    /// With reads that may be wrong, it finds just what the twin does that tries every order.
    #[test]
    fn it_is_right_about_short_histories(seed: u64, spread in 1..6_u64, trouble in 0..30_u64, count in 1..7_usize, keys in 1..4_i64) {
        let mut operations = made(Shape { seed, spread, trouble }, count, keys);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.u8(1..3) {
            change(&mut operations, &mut rng);
        }
        prop_assert_eq!(check(&operations).is_ok(), twin(&operations), "{:?}", operations);
    }

    /// An acknowledged append that is nowhere is found.
    #[test]
    fn losses_are_found(seed: u64, spread in 1..6_u64, trouble in 0..20_u64, count in 10..60_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count, 3);
        let lost = operations.iter().find_map(|operation| {
            let micros = operation.question.micros.iter().filter(|_| operation.is_ok());
            micros.rev().find_map(|micro| match micro {
                Micro::Append { key, element } => Some((*key, *element)),
                Micro::Read { .. } => None,
            })
        });
        let Some((lost_key, lost)) = lost else { return Ok(()) };
        for operation in &mut operations {
            for micro in &mut operation.question.micros {
                if let Micro::Read { key, list: Some(list) } = micro && *key == lost_key {
                    list.retain(|element| *element != lost);
                }
            }
        }
        prop_assert!(check(&operations).is_err());
    }
}
