//! Histories for the checkers' tests: written down by hand, made at random by something that is correct, and judged by
//! a twin that tries every order.

#![allow(clippy::indexing_slicing)]

use std::time::Duration;

use super::{Anomaly, Violation};
use crate::history::{FINISH, Moment, Operation, Outcome};

fn moment(position: u64) -> Moment {
    let time = Duration::from_millis(position);
    Moment { position, time }
}

fn operation<Q, A>(
    start: u64,
    end: Option<u64>,
    question: Q,
    outcome: Outcome<A>,
) -> Operation<Q, A> {
    Operation {
        client: start,
        question,
        outcome,
        invoked: moment(start),
        completed: end.map(moment),
    }
}

/// An operation that was acknowledged.
pub(super) fn ok<Q, A>(start: u64, end: u64, question: Q, answer: A) -> Operation<Q, A> {
    operation(start, Some(end), question, Outcome::Ok(answer))
}

/// An operation that failed for certain.
pub(super) fn failed<Q, A>(start: u64, end: u64, question: Q) -> Operation<Q, A> {
    operation(
        start,
        Some(end),
        question,
        Outcome::Failed("refused".to_owned()),
    )
}

/// An operation of which nothing is known.
pub(super) fn unknown<Q, A>(start: u64, question: Q) -> Operation<Q, A> {
    operation(start, None, question, Outcome::Unknown("gone".to_owned()))
}

/// The same as one of the last reads.
pub(super) fn at_last<Q, A>(mut operation: Operation<Q, A>) -> Operation<Q, A> {
    operation.client = FINISH;
    operation
}

/// What was found.
pub(super) fn anomaly<T>(verdict: Result<T, Violation>) -> Option<Anomaly> {
    verdict.err().map(|violation| violation.anomaly)
}

/// How much happens at once in a history, and how little of it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) seed: u64,
    /// How many operations long an operation is at most.
    pub(super) spread: u64,
    /// How many percent of the operations fail, and as many are unknown.
    pub(super) trouble: u64,
}

/// A history of what was done one after another, each at a moment of its own, around which it was invoked and completed. `apply`
/// does an operation, or if it is told so only says what it would have been answered.
pub(super) fn history<Q, A>(
    shape: Shape,
    questions: Vec<Q>,
    mut apply: impl FnMut(&mut Q, bool) -> A,
) -> Vec<Operation<Q, A>> {
    const UNIT: u64 = 1000;
    let mut rng = fastrand::Rng::with_seed(shape.seed);
    let mut operations = Vec::new();
    for (nth, mut question) in (0..).zip(questions) {
        let at = (nth + shape.spread) * UNIT;
        let start = at - rng.u64(0..shape.spread * UNIT);
        let end = at + 1 + rng.u64(0..shape.spread * UNIT);
        let fate = rng.u64(0..100);
        let is_failed = fate < shape.trouble;
        let is_unknown = !is_failed && fate < 2 * shape.trouble;
        let answer = apply(&mut question, !is_failed && (!is_unknown || rng.bool()));
        operations.push(if is_failed {
            failed(start, end, question)
        } else if is_unknown {
            unknown(start, question)
        } else {
            ok(start, end, question, answer)
        });
    }
    in_order(operations)
}

/// The same with positions that are all different, in the order of invocations.
fn in_order<Q, A>(mut operations: Vec<Operation<Q, A>>) -> Vec<Operation<Q, A>> {
    let mut places = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        places.push((operation.start(), false, index));
        places.extend(
            operation
                .completed
                .map(|moment| (moment.position, true, index)),
        );
    }
    places.sort_unstable();
    for (position, (_, completes, index)) in (0..).zip(places) {
        match completes {
            true => operations[index].completed = Some(moment(position)),
            false => operations[index].invoked = moment(position),
        }
    }
    operations.sort_by_key(Operation::start);
    operations
}

/// What the twin knows of an operation.
pub(super) struct Twin<O> {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Whether it has certainly been.
    pub(super) must: bool,
    pub(super) what: O,
}

/// Whether there is an order of operations that explains them: tries all. `step` says what an operation may make
/// of a state.
pub(super) fn is_explained<S, O>(
    left: &[&Twin<O>],
    state: &S,
    step: &impl Fn(&S, &O) -> Vec<S>,
) -> bool {
    let must = || left.iter().filter(|twin| twin.must);
    let Some(first) = must().map(|twin| twin.end).min() else {
        return true;
    };
    left.iter().enumerate().any(|(nth, twin)| {
        let mut others = left.to_vec();
        others.remove(nth);
        let states = step(state, &twin.what);
        twin.start < first
            && states
                .iter()
                .any(|state| is_explained(&others, state, step))
    })
}
