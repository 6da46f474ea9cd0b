//! A set to which elements are added, and which is read whole.
//!
//! What must hold is in [`growing`](super::growing): what is acknowledged is there from then on and at the end, what failed
//! is not, and what is added together appears together.

use std::fmt;

use super::growing::{self, Read, Write};
use super::{Violation, list};
use crate::history;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To add elements that were never added before, together.
    Add(Vec<i64>),
    /// All elements.
    Read,
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
            Self::Add(elements) => write!(f, "add {}", list(elements)),
            Self::Read => f.write_str("read"),
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
    let mut writes = Vec::new();
    let mut reads = Vec::new();
    for operation in operations {
        if let Question::Add(elements) = &operation.question {
            writes.push(Write::new(operation, elements));
        }
        if let Some(Answer::Elements(elements)) = operation.answer() {
            reads.push(Read::new(operation, elements));
        }
    }
    growing::check(&writes, &reads)
}
