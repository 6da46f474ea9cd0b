//! Registers, each of which has to be linearizable: whether there is one order of all operations on it, each at one moment
//! between its invocation and its completion, in which every answer is what a single register would have said.
//!
//! # The search
//!
//! Registers are independent, so each is searched by itself (Herlihy and Wing call that locality). Within one it is the
//! search of Wing and Gong as Lowe improved it ("Testing for linearizability", 2017). It walks along the events, and
//! what it knows is the register's value and which of the open operations have taken effect. Nothing has to be decided until an
//! operation completes that has not taken effect yet: *just in time*, it is given effect then, directly or after others
//! that are open. A *memo* of all that was tried (event, value, operations in effect) keeps it from searching
//! anything twice.
//!
//! Four things make branches fewer, none of which loses an order:
//!
//! - What only observes, and observes just this value, takes effect at once: it changes nothing for the others.
//! - Of open operations that do the same, the one that completes first goes first: if another order exists, the two can trade
//!   places in it.
//! - What is unknown takes effect only if something that is open then has seen the value, or swaps it: else
//!   what is open overwrites it unseen, and it can as well be left out.
//! - What is unknown need never take effect. It stays open to the end and is tried like all others; that a
//!   compare-and-set is unknown and found another value is the same as that it never came.
//!
//! In the worst case that is exponential in what is open at once, so there is a bound on the steps, beyond which the history is
//! [undecided](Anomaly::Undecided).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Anomaly, Violation, lines};
use crate::history;

/// How many steps a search may take for one register.
pub const STEPS: u64 = 1_000_000;

/// How many operations are shown before the one that cannot be.
const SHOWN: usize = 24;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The value.
    Read {
        /// Of this register.
        key: i64,
    },
    /// To set the value.
    Write {
        /// Of this register.
        key: i64,
        /// To this.
        value: i64,
    },
    /// To set the value if it is another now.
    Swap {
        /// Of this register.
        key: i64,
        /// What it has to be now.
        old: i64,
        /// What it shall be.
        new: i64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A read's value; none if it was never written.
    Value(Option<i64>),
    /// It is written.
    Written,
    /// Whether the value was as it had to be, and is set.
    Swapped(bool),
}

/// An operation of this kind.
pub type Operation = history::Operation<Question, Answer>;

impl Question {
    /// The register.
    pub fn key(&self) -> i64 {
        match self {
            Self::Read { key } | Self::Write { key, .. } | Self::Swap { key, .. } => *key,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key } => write!(f, "read {key}"),
            Self::Write { key, value } => write!(f, "write {value} to {key}"),
            Self::Swap { key, old, new } => write!(f, "swap {old} for {new} in {key}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(None) => f.write_str("nothing"),
            Self::Value(Some(value)) => write!(f, "{value}"),
            Self::Written => f.write_str("done"),
            Self::Swapped(true) => f.write_str("swapped"),
            Self::Swapped(false) => f.write_str("it was another"),
        }
    }
}

/// A register's value.
type State = Option<i64>;

/// What an operation does, or has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// It saw this value.
    Saw(State),
    /// It saw another value than this.
    SawOther(i64),
    /// It sets the value.
    Sets(i64),
    /// It finds the one value and sets the other.
    Swaps(i64, i64),
}

impl Effect {
    /// None if the operation may be left out.
    fn of(operation: &Operation) -> Result<Option<Self>, Violation> {
        Ok(match (&operation.question, operation.answer()) {
            _ if operation.is_failed() => None,
            (Question::Read { .. }, None) => None,
            (Question::Read { .. }, Some(Answer::Value(value))) => Some(Self::Saw(*value)),
            (Question::Write { value, .. }, None | Some(Answer::Written)) => {
                Some(Self::Sets(*value))
            }
            (Question::Swap { old, .. }, Some(Answer::Swapped(false))) => {
                Some(Self::SawOther(*old))
            }
            (Question::Swap { old, new, .. }, None | Some(Answer::Swapped(true))) => {
                Some(Self::Swaps(*old, *new))
            }
            _ => return Err(Violation::new(Anomaly::Malformed, operation.to_string())),
        })
    }

    fn wants(self) -> Option<Want> {
        match self {
            Self::Saw(value) => Some(Want::This(value)),
            Self::SawOther(value) => Some(Want::Other(value)),
            Self::Sets(_) => None,
            Self::Swaps(old, _) => Some(Want::This(Some(old))),
        }
    }

    /// Whether it takes effect on this value without changing it.
    fn observes(self, state: State) -> bool {
        let observes = matches!(self, Self::Saw(_) | Self::SawOther(_));
        observes && self.wants().is_some_and(|want| want.is_met(state))
    }

    /// The value that it makes of this one, if it can and is not a mere observer.
    fn changes(self, state: State) -> Option<State> {
        match self {
            Self::Saw(_) | Self::SawOther(_) => None,
            Self::Sets(value) => Some(Some(value)),
            Self::Swaps(old, new) => (state == Some(old)).then_some(Some(new)),
        }
    }
}

/// What an operation needs the value to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    This(State),
    Other(i64),
}

impl Want {
    fn is_met(self, state: State) -> bool {
        match self {
            Self::This(value) => value == state,
            Self::Other(value) => state != Some(value),
        }
    }
}

/// An operation in a search.
#[derive(Debug)]
struct Candidate<'o> {
    operation: &'o Operation,
    effect: Effect,
}

/// An operation completes.
#[derive(Debug)]
struct Completion {
    /// Which.
    candidate: usize,
    /// Those that are open just before that, itself included, by their completions.
    open: Vec<usize>,
}

/// How far a search has come, and on which way: also what the memo keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The next completion.
    next: usize,
    state: State,
    /// Those in effect that are not complete.
    effective: BTreeSet<usize>,
}

/// Judges a history of reads, writes and swaps. Registers have no value at first.
///
/// # Errors
/// The register that is not linearizable, or for which `steps` steps did not suffice.
pub fn check(operations: &[Operation], steps: u64) -> Result<(), Violation> {
    let mut registers: BTreeMap<i64, Vec<Candidate>> = BTreeMap::new();
    for operation in operations {
        if let Some(effect) = Effect::of(operation)? {
            let register = registers.entry(operation.question.key()).or_default();
            register.push(Candidate { operation, effect });
        }
    }
    let mut registers = registers.values();
    registers.try_for_each(|candidates| check_register(candidates, steps))
}

/// The completions in their order.
fn completions(candidates: &[Candidate<'_>]) -> Vec<Completion> {
    let mut events = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        events.push((candidate.operation.start(), false, index));
        if candidate.operation.is_ok() {
            events.push((candidate.operation.end(), true, index));
        }
    }
    events.sort_unstable();
    // By completion, then by number.
    let mut open = BTreeSet::new();
    let mut completions = Vec::new();
    for (_, completes, candidate) in events {
        let end = candidates
            .get(candidate)
            .map(|candidate| candidate.operation.end());
        if completes {
            let open_now = open.iter().map(|(_, index)| *index).collect();
            completions.push(Completion {
                candidate,
                open: open_now,
            });
            open.remove(&(end, candidate));
        } else {
            open.insert((end, candidate));
        }
    }
    completions
}

fn check_register(candidates: &[Candidate<'_>], mut steps: u64) -> Result<(), Violation> {
    let completions = completions(candidates);
    let effect = |index: usize| candidates.get(index).map(|candidate| candidate.effect);
    let mut tried = BTreeSet::new();
    // The furthest completion that could not be passed, and the values that there could be before it.
    let mut furthest = (0, BTreeSet::new());
    let mut places = vec![Place {
        next: 0,
        state: None,
        effective: BTreeSet::new(),
    }];
    while let Some(mut place) = places.pop() {
        // Passes by all completions for which nothing is to be decided.
        let completion = loop {
            let Some(completion) = completions.get(place.next) else {
                return Ok(());
            };
            let observers = completion.open.iter().copied();
            let observers = observers
                .filter(|index| effect(*index).is_some_and(|effect| effect.observes(place.state)));
            place.effective.extend(observers);
            if !place.effective.remove(&completion.candidate) {
                break completion;
            }
            place.next += 1;
        };
        if place.next > furthest.0 {
            furthest = (place.next, BTreeSet::new());
        }
        if place.next == furthest.0 {
            furthest.1.insert(place.state);
        }
        if !tried.insert(place.clone()) {
            continue;
        }
        let Some(left) = steps.checked_sub(1) else {
            let key = candidates
                .first()
                .map_or(0, |candidate| candidate.operation.question.key());
            let why = format!(
                "register {key}, after {} of {} completions",
                furthest.0,
                completions.len()
            );
            return Err(Violation::new(Anomaly::Undecided, why));
        };
        steps = left;
        // The one that completes now is the first in this order, and is tried first.
        places.extend(ways(candidates, completion, &place).into_iter().rev());
    }
    Err(impossible(candidates, &completions, furthest))
}

/// The places that are reached by giving effect to one of the operations that are open.
fn ways(candidates: &[Candidate<'_>], completion: &Completion, place: &Place) -> Vec<Place> {
    let open: Vec<(usize, &Candidate<'_>)> = completion
        .open
        .iter()
        .filter(|index| !place.effective.contains(index))
        .filter_map(|index| Some((*index, candidates.get(*index)?)))
        .collect();
    let wanted: BTreeSet<Want> = open
        .iter()
        .filter_map(|(_, candidate)| candidate.effect.wants())
        .collect();
    let mut same = BTreeSet::new();
    let mut ways = Vec::new();
    for (index, candidate) in open {
        if !same.insert(candidate.effect) {
            continue;
        }
        let Some(state) = candidate.effect.changes(place.state) else {
            continue;
        };
        if !candidate.operation.is_ok() && !wanted.iter().any(|want| want.is_met(state)) {
            continue;
        }
        let mut way = place.clone();
        way.state = state;
        way.effective.insert(index);
        ways.push(way);
    }
    ways
}

fn impossible(
    candidates: &[Candidate<'_>],
    completions: &[Completion],
    (next, states): (usize, BTreeSet<State>),
) -> Violation {
    let at = completions
        .get(next)
        .and_then(|completion| candidates.get(completion.candidate));
    let Some(culprit) = at.map(|candidate| candidate.operation) else {
        return Violation::new(Anomaly::NotLinearizable, "an empty history");
    };
    let states: Vec<String> = states
        .into_iter()
        .map(|state| Answer::Value(state).to_string())
        .collect();
    let before = candidates.iter().map(|candidate| candidate.operation);
    let before: Vec<_> = before
        .filter(|operation| operation.start() < culprit.end())
        .collect();
    let shown = before.iter().rev().take(SHOWN).rev();
    let why = format!(
        "{culprit}\n  is in no order of what is open then; whatever order of all before, the register is {} until then. \
        The latest before that completion:{}",
        states.join(" or "),
        lines(shown)
    );
    Violation::new(Anomaly::NotLinearizable, why)
}

#[cfg(test)]
mod tests;
