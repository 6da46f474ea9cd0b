//! Histories written down by hand, and at random.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod random;

use std::collections::BTreeMap;

use super::{Committed, Micro, Operation, Transaction, check};
use crate::check::Anomaly;
use crate::check::made::{anomaly, at_last, failed, ok, unknown};

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
    // One that sees the beginning at the end makes one component of nearly all.
    operations[19_990].question.micros.push(r(1, &[]));
    assert_eq!(anomaly(check(&operations)), Some(Anomaly::RealTime));
}
