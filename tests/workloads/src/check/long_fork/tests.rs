//! Groups of keys, in histories written down by hand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Answer, Operation, Question, check};
use crate::check::Anomaly;
use crate::check::made::{anomaly, at_last, failed, ok, unknown};

fn writes(group: i64, key: i64) -> Question {
    Question::Write { group, key }
}

fn write(start: u64, end: u64, key: i64) -> Operation {
    ok(start, end, writes(0, key), Answer::Written)
}

fn read(start: u64, end: u64, keys: &[i64]) -> Operation {
    let question = Question::Read { group: 0 };
    ok(start, end, question, Answer::Keys(keys.to_vec()))
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[write(0, 1, 1), write(2, 3, 2), read(4, 5, &[1, 2])],
        &[
            write(0, 9, 1),
            write(1, 8, 2),
            read(2, 3, &[2]),
            read(4, 5, &[1, 2]),
        ],
        &[
            write(0, 9, 1),
            write(1, 8, 2),
            read(2, 7, &[]),
            read(3, 6, &[1]),
        ],
        // Another group's keys say nothing of this one's.
        &[ok(0, 1, writes(1, 7), Answer::Written), read(2, 3, &[])],
    ];
    for operations in good {
        assert_eq!(check(operations), Ok(()), "{operations:?}");
    }
}

#[test]
fn what_cannot_be_is_found() {
    let bad: &[(Anomaly, &[Operation])] = &[
        (
            Anomaly::LongFork,
            &[
                write(0, 9, 1),
                write(1, 8, 2),
                read(2, 7, &[1]),
                read(3, 6, &[2]),
            ],
        ),
        (
            Anomaly::LongFork,
            &[
                unknown(0, writes(0, 1)),
                unknown(1, writes(0, 2)),
                write(2, 9, 3),
                read(3, 8, &[1, 3]),
                read(4, 7, &[2, 3]),
            ],
        ),
        // One after the other, which is against time as well.
        (
            Anomaly::StaleRead,
            &[
                write(0, 9, 1),
                write(1, 8, 2),
                read(2, 3, &[1]),
                read(4, 5, &[2]),
            ],
        ),
        (Anomaly::StaleRead, &[write(0, 1, 1), read(2, 3, &[])]),
        (Anomaly::Lost, &[write(0, 1, 1), at_last(read(2, 3, &[]))]),
        (
            Anomaly::AbortedRead,
            &[failed(0, 1, writes(0, 1)), read(2, 3, &[1])],
        ),
        (Anomaly::Phantom, &[read(0, 1, &[5])]),
        (Anomaly::RealTime, &[read(0, 1, &[1]), write(2, 3, 1)]),
    ];
    for (expected, operations) in bad {
        assert_eq!(
            anomaly(check(operations)),
            Some(*expected),
            "{operations:?}"
        );
    }
}
