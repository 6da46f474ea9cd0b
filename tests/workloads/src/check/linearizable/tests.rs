//! Registers, in histories written down by hand and made at random.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Answer, Operation, Question, STEPS, check};
use crate::check::Anomaly;
use crate::check::made::{Shape, Twin, anomaly, failed, history, is_explained, ok, unknown};
use crate::history::Outcome;

const KEY: i64 = 3;

fn read(start: u64, end: u64, value: impl Into<Option<i64>>) -> Operation {
    ok(
        start,
        end,
        Question::Read { key: KEY },
        Answer::Value(value.into()),
    )
}

fn writes(value: i64) -> Question {
    Question::Write { key: KEY, value }
}

fn write(start: u64, end: u64, value: i64) -> Operation {
    ok(start, end, writes(value), Answer::Written)
}

fn swaps(old: i64, new: i64) -> Question {
    Question::Swap { key: KEY, old, new }
}

fn swap(start: u64, end: u64, old: i64, new: i64, swapped: bool) -> Operation {
    ok(start, end, swaps(old, new), Answer::Swapped(swapped))
}

fn verdict(operations: &[Operation]) -> Option<Anomaly> {
    anomaly(check(operations, STEPS))
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[],
        &[read(0, 1, None), write(2, 3, 1), read(4, 5, 1)],
        // A read during a write sees it or does not.
        &[write(0, 1, 1), write(2, 7, 2), read(3, 4, 1), read(5, 6, 2)],
        // Two writes at once, in either order.
        &[write(0, 3, 1), write(1, 2, 2), read(4, 5, 1)],
        &[write(0, 3, 1), write(1, 2, 2), read(4, 5, 2)],
        // A swap that fails has seen another value, or nothing.
        &[
            swap(0, 1, 1, 2, false),
            write(2, 3, 1),
            swap(4, 5, 1, 2, true),
            read(6, 7, 2),
        ],
        &[
            write(0, 1, 1),
            swap(2, 5, 1, 2, true),
            swap(3, 4, 1, 2, false),
            read(6, 7, 2),
        ],
        // What is unknown may take effect late, or never.
        &[
            write(0, 1, 1),
            unknown(2, writes(2)),
            read(3, 4, 1),
            read(5, 6, 2),
        ],
        &[
            write(0, 1, 1),
            unknown(2, writes(2)),
            read(3, 4, 1),
            read(5, 6, 1),
        ],
        &[
            write(0, 1, 1),
            unknown(2, swaps(1, 2)),
            read(3, 4, 1),
            read(5, 6, 2),
        ],
        &[write(0, 1, 1), unknown(2, swaps(5, 2)), read(3, 4, 1)],
        &[unknown(0, Question::Read { key: KEY }), write(1, 2, 1)],
        // What failed is not seen.
        &[write(0, 1, 1), failed(2, 3, writes(2)), read(4, 5, 1)],
        // Observers that see a value between two others.
        &[
            write(0, 9, 1),
            write(1, 8, 2),
            read(2, 7, 1),
            read(3, 6, 2),
            read(4, 5, 1),
        ],
    ];
    for operations in good {
        assert_eq!(verdict(operations), None, "{operations:?}");
    }
}

#[test]
fn what_cannot_be_is_found() {
    let bad: &[&[Operation]] = &[
        // Read from nowhere.
        &[read(0, 1, 7)],
        &[write(0, 1, 1), read(2, 3, None)],
        // Stale.
        &[write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)],
        // Lost.
        &[write(0, 1, 1), read(2, 3, 1), write(4, 5, 2), read(6, 7, 1)],
        // Back again.
        &[write(0, 1, 1), write(2, 9, 2), read(3, 4, 2), read(5, 6, 1)],
        // From the future.
        &[read(0, 1, 1), write(2, 3, 1)],
        // A failure that was none.
        &[write(0, 1, 1), failed(2, 3, writes(2)), read(4, 5, 2)],
        // Swaps that saw what is not there, or did not see what is.
        &[write(0, 1, 1), swap(2, 3, 2, 3, true)],
        &[write(0, 1, 1), swap(2, 3, 1, 3, false)],
        // Only one of them can succeed.
        &[
            write(0, 1, 1),
            swap(2, 5, 1, 2, true),
            swap(3, 4, 1, 3, true),
        ],
        // What is unknown takes effect once.
        &[
            write(0, 1, 1),
            unknown(2, writes(2)),
            read(3, 4, 2),
            write(5, 6, 1),
            read(7, 8, 2),
        ],
        // It does not take effect before it is invoked.
        &[write(0, 1, 1), read(2, 3, 2), unknown(4, writes(2))],
        &[write(0, 1, 1), unknown(2, swaps(5, 2)), read(3, 4, 2)],
    ];
    for operations in bad {
        assert_eq!(
            verdict(operations),
            Some(Anomaly::NotLinearizable),
            "{operations:?}"
        );
    }
}

#[test]
fn registers_are_independent() {
    let other = |start, end, value| {
        let question = Question::Read { key: KEY + 1 };
        ok(start, end, question, Answer::Value(value))
    };
    assert_eq!(verdict(&[write(0, 1, 1), other(2, 3, None)]), None);
    assert!(verdict(&[write(0, 1, 1), other(2, 3, Some(1))]).is_some());
}

#[test]
fn an_explanation_names_the_culprit() {
    let violation = check(&[write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)], STEPS).unwrap_err();
    for part in ["read 3 -> 1", "the register is 2 until then"] {
        assert!(
            violation.explanation.contains(part),
            "{part:?} is not in: {violation}"
        );
    }
}

/// What takes too long is not passed.
#[test]
fn a_search_that_is_given_up_decides_nothing() {
    let operations = [
        write(0, 9, 1),
        write(1, 8, 2),
        write(2, 7, 3),
        read(3, 6, 2),
    ];
    assert_eq!(verdict(&operations), None);
    assert_eq!(anomaly(check(&operations, 1)), Some(Anomaly::Undecided));
}

/// Many that are unknown do not make the search long.
#[test]
fn doubts_that_are_alike_are_cheap() {
    let mut operations = vec![write(0, 1, 0)];
    operations
        .extend((2..202).map(|start| unknown(start, writes(i64::try_from(start % 5).unwrap()))));
    operations.extend((0..200).map(|nth| {
        let start = 300 + 2 * nth;
        read(start, start + 1, i64::try_from(nth / 40).unwrap())
    }));
    assert_eq!(anomaly(check(&operations, 10_000)), None);
}

fn questions(rng: &mut fastrand::Rng, count: usize, values: i64) -> Vec<Question> {
    let question = |rng: &mut fastrand::Rng| match rng.u8(0..4) {
        0 | 1 => Question::Read { key: KEY },
        2 => writes(rng.i64(0..values)),
        _ => swaps(rng.i64(0..values), rng.i64(0..values)),
    };
    (0..count).map(|_| question(rng)).collect()
}

/// What a register does.
fn apply(state: &mut Option<i64>, question: &Question, done: bool) -> Answer {
    let before = *state;
    let (after, answer) = match question {
        Question::Read { .. } => (before, Answer::Value(before)),
        Question::Write { value, .. } => (Some(*value), Answer::Written),
        Question::Swap { old, new, .. } => match before == Some(*old) {
            true => (Some(*new), Answer::Swapped(true)),
            false => (before, Answer::Swapped(false)),
        },
    };
    if done {
        *state = after;
    }
    answer
}

fn made(shape: Shape, count: usize, values: i64) -> Vec<Operation> {
    let mut rng = fastrand::Rng::with_seed(!shape.seed);
    let mut state = None;
    let questions = questions(&mut rng, count, values);
    history(shape, questions, |question, done| {
        apply(&mut state, question, done)
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
    is_explained(
        &twins.iter().collect::<Vec<_>>(),
        &None,
        &|state, operation| {
            let mut after = *state;
            let answer = apply(&mut after, &operation.question, true);
            let fits = operation.answer().is_none_or(|seen| *seen == answer);
            fits.then_some(after).into_iter().collect()
        },
    )
}

proptest! {
    /// What a register did is never found wrong.
    #[test]
    fn histories_of_a_register_pass(seed: u64, spread in 1..9_u64, trouble in 0..30_u64, count in 0..200_usize, values in 1..7_i64) {
        let operations = made(Shape { seed, spread, trouble }, count, values);
        prop_assert_eq!(check(&operations, STEPS), Ok(()));
    }

    /// With an answer that may be wrong, it finds just what the twin does that tries every order.
    #[test]
    fn it_is_right_about_short_histories(seed: u64, spread in 1..6_u64, trouble in 0..30_u64, count in 1..8_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count, 3);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.u8(1..3) {
            let changed = rng.usize(0..operations.len());
            match &mut operations[changed].outcome {
                Outcome::Ok(Answer::Value(value)) => *value = Some(rng.i64(0..3)),
                Outcome::Ok(Answer::Swapped(swapped)) => *swapped = !*swapped,
                _ => {}
            }
        }
        prop_assert_eq!(check(&operations, STEPS).is_ok(), twin(&operations), "{:?}", operations);
    }

    /// A read of a value that was overwritten before is found in any history.
    #[test]
    fn stale_reads_are_found(seed: u64, spread in 1..6_u64, trouble in 0..20_u64, count in 30..120_usize) {
        let shape = Shape { seed, spread, trouble };
        let mut value = 0;
        let mut rng = fastrand::Rng::with_seed(!seed);
        // Every value is written once.
        let questions = (0..count).map(|_| {
            value += 1;
            if rng.bool() { Question::Read { key: KEY } } else { writes(value) }
        });
        let mut state = None;
        let mut operations = history(shape, questions.collect(), |question, done| apply(&mut state, question, done));
        prop_assert_eq!(check(&operations, STEPS), Ok(()));
        let written = |operation: &Operation| match operation.question {
            Question::Write { value, .. } if operation.is_ok() => Some(value),
            _ => None,
        };
        let stale = operations.iter().find_map(|first| {
            let value = written(first)?;
            let second = operations.iter().find(|second| written(second).is_some() && first.end() < second.start())?;
            let read = operations.iter().position(|read| {
                matches!(read.answer(), Some(Answer::Value(_))) && second.end() < read.start()
            })?;
            Some((read, value))
        });
        if let Some((read, value)) = stale {
            operations[read].outcome = Outcome::Ok(Answer::Value(Some(value)));
            prop_assert_eq!(verdict(&operations), Some(Anomaly::NotLinearizable));
        }
    }
}
