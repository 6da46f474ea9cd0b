//! Counters, in histories written down by hand and made at random.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Answer, Operation, Question, check};
use crate::check::Anomaly;
use crate::check::made::{
    Shape, Twin, anomaly, at_last, failed, history, is_explained, ok, unknown,
};
use crate::history::Outcome;

const KEY: i64 = 2;
const INCREMENT: Question = Question::Increment { key: KEY };

fn increment(start: u64, end: u64) -> Operation {
    ok(start, end, INCREMENT, Answer::Incremented)
}

fn made_it(start: u64, end: u64, value: i64) -> Operation {
    ok(start, end, INCREMENT, Answer::Value(value))
}

fn read(start: u64, end: u64, value: i64) -> Operation {
    ok(
        start,
        end,
        Question::Read { key: KEY },
        Answer::Value(value),
    )
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[
            read(0, 1, 0),
            increment(2, 3),
            read(4, 5, 1),
            made_it(6, 7, 2),
        ],
        &[increment(0, 5), read(1, 2, 0), read(3, 4, 1)],
        &[unknown(0, INCREMENT), read(1, 2, 0), read(3, 4, 1)],
        &[failed(0, 1, INCREMENT), read(2, 3, 0)],
        &[made_it(0, 3, 2), made_it(1, 2, 1), read(4, 5, 2)],
    ];
    for operations in good {
        assert_eq!(check(operations), Ok(()), "{operations:?}");
    }
}

#[test]
fn what_cannot_be_is_found() {
    let bad: &[(Anomaly, &[Operation])] = &[
        (Anomaly::StaleRead, &[increment(0, 1), read(2, 3, 0)]),
        (Anomaly::Lost, &[increment(0, 1), at_last(read(2, 3, 0))]),
        (Anomaly::Phantom, &[increment(0, 1), read(2, 3, 2)]),
        (Anomaly::Phantom, &[failed(0, 1, INCREMENT), read(2, 3, 1)]),
        (Anomaly::Phantom, &[read(0, 1, 1), increment(2, 3)]),
        (
            Anomaly::Backwards,
            &[increment(0, 9), read(1, 2, 1), read(3, 4, 0)],
        ),
        (
            Anomaly::Backwards,
            &[
                unknown(0, INCREMENT),
                unknown(1, INCREMENT),
                read(2, 3, 2),
                read(4, 5, 1),
            ],
        ),
        // An increment makes it more than was seen before.
        (
            Anomaly::Backwards,
            &[unknown(0, INCREMENT), read(1, 2, 1), made_it(3, 4, 1)],
        ),
        (Anomaly::Duplicate, &[made_it(0, 3, 1), made_it(1, 2, 1)]),
    ];
    for (expected, operations) in bad {
        assert_eq!(
            anomaly(check(operations)),
            Some(*expected),
            "{operations:?}"
        );
    }
}

fn made(shape: Shape, count: usize) -> Vec<Operation> {
    let mut rng = fastrand::Rng::with_seed(!shape.seed);
    let mut questions = Vec::new();
    for _ in 0..count {
        questions.push(match rng.bool() {
            true => INCREMENT,
            false => Question::Read { key: KEY },
        });
    }
    let mut value = 0;
    history(shape, questions, |question, done| {
        let increments = i64::from(*question == INCREMENT);
        let answer = value + increments;
        if done {
            value = answer;
        }
        match increments == 1 && rng.bool() {
            true => Answer::Incremented,
            false => Answer::Value(answer),
        }
    })
}

/// Whether any order explains a history.
fn twin(operations: &[Operation]) -> bool {
    let considered = operations.iter().filter(|operation| !operation.is_failed());
    let twins: Vec<Twin<&Operation>> = considered
        .map(|operation| Twin {
            start: operation.start(),
            end: operation.end(),
            must: operation.is_ok(),
            what: operation,
        })
        .collect();
    let step = |state: &i64, operation: &&Operation| {
        let after = state + i64::from(operation.question == INCREMENT);
        let fits = match operation.answer() {
            Some(Answer::Value(seen)) => *seen == after,
            _ => true,
        };
        fits.then_some(after).into_iter().collect()
    };
    is_explained(&twins.iter().collect::<Vec<_>>(), &0, &step)
}

proptest! {
    /// What a counter did is never found wrong.
    #[test]
    fn histories_of_a_counter_pass(seed: u64, spread in 1..9_u64, trouble in 0..30_u64, count in 0..200_usize) {
        let operations = made(Shape { seed, spread, trouble }, count);
        prop_assert_eq!(check(&operations), Ok(()));
    }

    /// What it finds wrong is in no order.
    #[test]
    fn what_it_finds_is_wrong(seed: u64, spread in 1..6_u64, trouble in 0..30_u64, count in 1..8_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count);
        let mut rng = fastrand::Rng::with_seed(seed);
        let changed = rng.usize(0..operations.len());
        if let Outcome::Ok(Answer::Value(value)) = &mut operations[changed].outcome {
            *value += rng.i64(-1..2);
        }
        if check(&operations).is_err() {
            prop_assert!(!twin(&operations), "{:?}", operations);
        }
    }

    /// A value less than one that was seen before is found.
    #[test]
    fn going_back_is_found(seed: u64, spread in 1..6_u64, trouble in 0..20_u64, count in 20..100_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count);
        let seen = |operation: &Operation| match operation.answer() {
            Some(Answer::Value(value)) => Some(*value),
            _ => None,
        };
        let back = operations.iter().find_map(|first| {
            let value = seen(first)?;
            let later = operations.iter().position(|later| seen(later).is_some() && first.end() < later.start())?;
            Some((later, value - 1))
        });
        if let Some((later, value)) = back {
            operations[later].outcome = Outcome::Ok(Answer::Value(value));
            prop_assert!(check(&operations).is_err());
        }
    }
}
