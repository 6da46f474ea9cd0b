//! Histories that were made at random by transactions one after another.

use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{a, of};
use crate::check::made::{Shape, Twin, at_last, history, is_explained, ok, unknown};
use crate::check::serializable::{Committed, Micro, Operation, Transaction, check};
use crate::history::Outcome;

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
        (true, Outcome::Ok(_)) => vec![after],
        (true, Outcome::Failed(_)) => vec![state.clone()],
        (true, Outcome::Unknown(_)) => vec![after, state.clone()],
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
