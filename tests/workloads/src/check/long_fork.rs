//! Keys that are written once each, in groups that are read whole.
//!
//! A database that gives each client a consistent snapshot can still show two clients two independent writes in opposite orders:
//! a long fork, which parallel snapshot isolation allows and serializability does not. Within a group, the keys
//! that have been written are a set that only grows, and `growing.rs` says what must hold.

use std::collections::BTreeMap;
use std::fmt;

use super::growing::{self, Read, Write};
use super::{Violation, list};
use crate::history;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To write a key that was never written before.
    Write {
        /// The group that it belongs to.
        group: i64,
        /// The key.
        key: i64,
    },
    /// Which keys of a group have been written.
    Read {
        /// The group.
        group: i64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is written.
    Written,
    /// The keys of the group that have been written.
    Keys(Vec<i64>),
}

/// An operation of this kind.
pub type Operation = history::Operation<Question, Answer>;

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { group, key } => write!(f, "write {key} in group {group}"),
            Self::Read { group } => write!(f, "read group {group}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("done"),
            Self::Keys(keys) => f.write_str(&list(keys)),
        }
    }
}

/// Judges a history of writes and reads.
///
/// # Errors
/// What is wrong with it.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut groups: BTreeMap<i64, (Vec<Write<'_>>, Vec<Read<'_>>)> = BTreeMap::new();
    for operation in operations {
        match (&operation.question, operation.answer()) {
            (Question::Write { group, key }, _) => {
                let write = Write::new(operation, std::slice::from_ref(key));
                groups.entry(*group).or_default().0.push(write);
            }
            (Question::Read { group }, Some(Answer::Keys(keys))) => {
                let read = Read::new(operation, keys);
                groups.entry(*group).or_default().1.push(read);
            }
            _ => {}
        }
    }
    let mut groups = groups.values();
    groups.try_for_each(|(writes, reads)| growing::check(writes, reads))
}

#[cfg(test)]
mod tests;
