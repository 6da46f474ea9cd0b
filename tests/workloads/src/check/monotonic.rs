//! Counters that only increase.
//!
//! An operation on a counter that was answered with its value lies at one moment, so the value must be
//!
//! - no less than any that was answered before it was invoked, and more than that if it is an increment itself;
//! - no less than the number of increments acknowledged before it was invoked, and no more than the number of
//!   those invoked before it was complete that did not fail;
//! - for increments, one that no other increment was answered with.

use std::collections::BTreeMap;
use std::fmt;

use super::{Anomaly, Violation};
use crate::history;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To add one.
    Increment {
        /// To this counter.
        key: i64,
    },
    /// The value.
    Read {
        /// Of this counter.
        key: i64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One is added; to what was not asked.
    Incremented,
    /// The value that was read, or that there is after the increment.
    Value(i64),
}

/// An operation of this kind.
pub type Operation = history::Operation<Question, Answer>;

impl Question {
    /// The counter.
    pub fn key(&self) -> i64 {
        match self {
            Self::Increment { key } | Self::Read { key } => *key,
        }
    }

    fn is_increment(&self) -> bool {
        matches!(self, Self::Increment { .. })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Increment { key } => write!(f, "increment {key}"),
            Self::Read { key } => write!(f, "read {key}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incremented => f.write_str("done"),
            Self::Value(value) => write!(f, "{value}"),
        }
    }
}

/// Judges a history of increments and reads. Counters begin with 0.
///
/// # Errors
/// What is wrong with it.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut counters: BTreeMap<i64, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        let counter = counters.entry(operation.question.key()).or_default();
        counter.push(operation);
    }
    let mut counters = counters.values();
    counters.try_for_each(|operations| check_counter(operations))
}

/// How many of some positions, in their order, are before one.
fn before(positions: &[u64], position: u64) -> i64 {
    let count = positions.partition_point(|at| *at < position);
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn check_counter(operations: &[&Operation]) -> Result<(), Violation> {
    let increments = || {
        operations
            .iter()
            .filter(|operation| operation.question.is_increment())
    };
    let mut invoked: Vec<u64> = increments()
        .filter(|operation| !operation.is_failed())
        .map(|operation| operation.start())
        .collect();
    let mut acknowledged: Vec<u64> = increments()
        .filter(|operation| operation.is_ok())
        .map(|operation| operation.end())
        .collect();
    invoked.sort_unstable();
    acknowledged.sort_unstable();

    let mut answered: Vec<(i64, &Operation)> = Vec::new();
    let mut made: BTreeMap<i64, &Operation> = BTreeMap::new();
    for operation in operations {
        let Some(Answer::Value(value)) = operation.answer() else {
            continue;
        };
        answered.push((*value, operation));
        let increments = i64::from(operation.question.is_increment());
        let least = before(&acknowledged, operation.start()) + increments;
        let most = before(&invoked, operation.end());
        let violation =
            |anomaly, why: String| Err(Violation::new(anomaly, format!("{why}\n  {operation}")));
        if *value < least {
            let anomaly = match operation.is_final() {
                true => Anomaly::Lost,
                false => Anomaly::StaleRead,
            };
            return violation(anomaly, format!("{least} increments were acknowledged"));
        }
        if *value > most {
            return violation(
                Anomaly::Phantom,
                format!("there were only {most} increments until then"),
            );
        }
        if increments == 1
            && let Some(other) = made.insert(*value, operation)
        {
            return violation(
                Anomaly::Duplicate,
                format!("two increments made it {value}\n  {other}"),
            );
        }
    }
    check_order(&answered)
}

/// What is answered later must not be less.
fn check_order(answered: &[(i64, &Operation)]) -> Result<(), Violation> {
    let mut by_start: Vec<_> = answered.iter().collect();
    let mut by_end = by_start.clone();
    by_start.sort_by_key(|(_, operation)| operation.start());
    by_end.sort_by_key(|(_, operation)| operation.end());
    let mut complete = by_end.into_iter().peekable();
    let mut greatest: Option<&(i64, &Operation)> = None;
    for (value, operation) in by_start {
        while let Some(earlier) = complete.next_if(|(_, earlier)| earlier.end() < operation.start())
        {
            if greatest.is_none_or(|known| known.0 < earlier.0) {
                greatest = Some(earlier);
            }
        }
        let Some((known, earlier)) = greatest else {
            continue;
        };
        if value < known || (value == known && operation.question.is_increment()) {
            let why = format!("{known}, then {value}\n  {earlier}\n  {operation}");
            return Err(Violation::new(Anomaly::Backwards, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
