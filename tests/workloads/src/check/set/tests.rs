//! Sets, in histories written down by hand and made at random.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Answer, Operation, Question, check};
use crate::check::Anomaly;
use crate::check::made::{
    Shape, Twin, anomaly, at_last, failed, history, is_explained, ok, unknown,
};
use crate::history::Outcome;

const SET: i64 = 1;

fn adds(elements: &[i64]) -> Question {
    Question::Add {
        set: SET,
        elements: elements.to_vec(),
    }
}

fn add(start: u64, end: u64, elements: &[i64]) -> Operation {
    ok(start, end, adds(elements), Answer::Added)
}

fn read(start: u64, end: u64, elements: &[i64]) -> Operation {
    ok(
        start,
        end,
        Question::Read { set: SET },
        Answer::Elements(elements.to_vec()),
    )
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[],
        &[read(0, 1, &[]), add(2, 3, &[1, 2]), read(4, 5, &[1, 2])],
        &[add(0, 5, &[1]), read(1, 2, &[]), read(3, 4, &[1])],
        &[unknown(0, adds(&[1])), read(1, 2, &[]), read(3, 4, &[1])],
        &[unknown(0, adds(&[1])), read(1, 2, &[])],
        &[failed(0, 1, adds(&[1])), read(2, 3, &[])],
        &[
            add(0, 9, &[1]),
            add(1, 8, &[2]),
            read(2, 7, &[2]),
            read(3, 6, &[]),
        ],
    ];
    for operations in good {
        assert_eq!(check(operations), Ok(()), "{operations:?}");
    }
}

#[test]
fn what_cannot_be_is_found() {
    let bad: &[(Anomaly, &[Operation])] = &[
        (Anomaly::Lost, &[add(0, 1, &[1]), at_last(read(2, 3, &[]))]),
        (
            Anomaly::Lost,
            &[
                add(0, 1, &[1]),
                read(2, 3, &[1]),
                add(4, 5, &[2]),
                at_last(read(6, 7, &[1])),
            ],
        ),
        (Anomaly::StaleRead, &[add(0, 1, &[1]), read(2, 3, &[])]),
        // It was seen, and is gone.
        (
            Anomaly::StaleRead,
            &[unknown(0, adds(&[1])), read(1, 2, &[1]), read(3, 4, &[])],
        ),
        (
            Anomaly::StaleRead,
            &[add(0, 9, &[1]), read(1, 2, &[1]), read(3, 4, &[])],
        ),
        // It shows the later write and not the earlier.
        (
            Anomaly::StaleRead,
            &[read(0, 9, &[2]), add(1, 2, &[1]), add(3, 4, &[2])],
        ),
        (Anomaly::Phantom, &[read(0, 1, &[7])]),
        (Anomaly::Duplicate, &[add(0, 1, &[1]), read(2, 3, &[1, 1])]),
        (
            Anomaly::AbortedRead,
            &[failed(0, 1, adds(&[1])), read(2, 3, &[1])],
        ),
        (
            Anomaly::AbortedRead,
            &[read(0, 3, &[1]), failed(1, 2, adds(&[1]))],
        ),
        (Anomaly::RealTime, &[read(0, 1, &[1]), add(2, 3, &[1])]),
        (
            Anomaly::PartialWrite,
            &[add(0, 3, &[1, 2]), read(1, 2, &[1])],
        ),
        (
            Anomaly::PartialWrite,
            &[unknown(0, adds(&[1, 2])), read(1, 2, &[2])],
        ),
        (
            Anomaly::LongFork,
            &[
                add(0, 9, &[1]),
                add(1, 8, &[2]),
                read(2, 7, &[1]),
                read(3, 6, &[2]),
            ],
        ),
        (Anomaly::Malformed, &[add(0, 1, &[1]), add(2, 3, &[1])]),
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
fn sets_are_independent() {
    let other = ok(
        2,
        3,
        Question::Read { set: SET + 1 },
        Answer::Elements(Vec::new()),
    );
    assert_eq!(check(&[add(0, 1, &[1]), other]), Ok(()));
}

fn made(shape: Shape, count: usize) -> Vec<Operation> {
    let mut rng = fastrand::Rng::with_seed(!shape.seed);
    let mut next = 0;
    let questions = (0..count).map(|_| {
        if rng.bool() {
            return Question::Read { set: SET };
        }
        let first = next;
        next += rng.i64(1..3);
        adds(&(first..next).collect::<Vec<_>>())
    });
    let mut state = Vec::new();
    history(
        shape,
        questions.collect(),
        |question, done| match question {
            Question::Read { .. } => Answer::Elements(state.clone()),
            Question::Add { elements, .. } => {
                if done {
                    state.extend(elements.iter());
                }
                Answer::Added
            }
        },
    )
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
    let step = |state: &Vec<i64>, operation: &&Operation| {
        let mut after = state.clone();
        if let Question::Add { elements, .. } = &operation.question {
            after.extend(elements);
            after.sort_unstable();
        }
        let fits = match operation.answer() {
            Some(Answer::Elements(seen)) => {
                let mut seen = seen.clone();
                seen.sort_unstable();
                seen == *state
            }
            _ => true,
        };
        fits.then_some(after).into_iter().collect()
    };
    is_explained(&twins.iter().collect::<Vec<_>>(), &Vec::new(), &step)
}

proptest! {
    /// What a set did is never found wrong.
    #[test]
    fn histories_of_a_set_pass(seed: u64, spread in 1..9_u64, trouble in 0..30_u64, count in 0..120_usize) {
        let operations = made(Shape { seed, spread, trouble }, count);
        prop_assert_eq!(check(&operations), Ok(()));
    }

    /// With reads that may be wrong, it finds just what the twin does that tries every order.
    #[test]
    fn it_is_right_about_short_histories(seed: u64, spread in 1..6_u64, trouble in 0..30_u64, count in 1..8_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count);
        let mut rng = fastrand::Rng::with_seed(seed);
        let adds: Vec<Vec<i64>> = operations
            .iter()
            .filter_map(|operation| match &operation.question {
                Question::Add { elements, .. } => Some(elements.clone()),
                Question::Read { .. } => None,
            })
            .collect();
        for operation in &mut operations {
            let Outcome::Ok(Answer::Elements(seen)) = &mut operation.outcome else {
                continue;
            };
            // All of an add is there or not, most often.
            let Some(changed) = rng.choice(&adds) else { continue };
            match rng.u8(0..6) {
                0 => seen.retain(|element| !changed.contains(element)),
                1 if !seen.contains(&changed[0]) => seen.extend(changed),
                2 if rng.bool() => drop(seen.pop()),
                _ => {}
            }
        }
        prop_assert_eq!(check(&operations).is_ok(), twin(&operations), "{:?}", operations);
    }

    /// An element that was acknowledged and is left out of a later read is found.
    #[test]
    fn losses_are_found(seed: u64, spread in 1..6_u64, trouble in 0..20_u64, count in 20..80_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count);
        let added = operations.iter().find(|add| matches!(add.answer(), Some(Answer::Added)));
        let Some((after, Question::Add { elements, .. })) = added.map(|add| (add.end(), add.question.clone())) else {
            return Ok(());
        };
        for operation in &mut operations {
            if let Outcome::Ok(Answer::Elements(seen)) = &mut operation.outcome
                && operation.invoked.position > after
            {
                seen.retain(|element| !elements.contains(element));
                prop_assert_eq!(anomaly(check(&operations)), Some(Anomaly::StaleRead));
                return Ok(());
            }
        }
    }
}
