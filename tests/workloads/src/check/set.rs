//! Sets to which elements are added, and which are read whole.
//!
//! What must hold is in `growing.rs`: what is acknowledged is there from then on and at the end, what failed
//! is not, and what is added together appears together.

use std::collections::BTreeMap;
use std::fmt;

use super::growing::{self, Read, Write};
use super::{Violation, list};
use crate::history;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To add elements together.
    Add {
        /// To this set.
        set: i64,
        /// Which were never added before.
        elements: Vec<i64>,
    },
    /// All elements.
    Read {
        /// Of this set.
        set: i64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// They are added.
    Added,
    /// All elements.
    Elements(Vec<i64>),
}

/// An operation of this kind.
pub type Operation = history::Operation<Question, Answer>;

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { set, elements } => write!(f, "add {} to {set}", list(elements)),
            Self::Read { set } => write!(f, "read {set}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("done"),
            Self::Elements(elements) => {
                write!(f, "{} elements: {}", elements.len(), list(elements))
            }
        }
    }
}

/// Judges a history of adds and reads.
///
/// # Errors
/// What is wrong with it.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut sets: BTreeMap<i64, (Vec<Write<'_>>, Vec<Read<'_>>)> = BTreeMap::new();
    for operation in operations {
        match (&operation.question, operation.answer()) {
            (Question::Add { set, elements }, _) => {
                let write = Write::new(operation, elements);
                sets.entry(*set).or_default().0.push(write);
            }
            (Question::Read { set }, Some(Answer::Elements(elements))) => {
                let read = Read::new(operation, elements);
                sets.entry(*set).or_default().1.push(read);
            }
            _ => {}
        }
    }
    let mut sets = sets.values();
    sets.try_for_each(|(writes, reads)| growing::check(writes, reads))
}

#[cfg(test)]
mod tests;
