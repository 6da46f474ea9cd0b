//! Transactions that append to lists and read them: whether all of them are as if one after another, each between its invocation
//! and its completion (strict serializability).
//!
//! Deciding that for arbitrary reads and writes is hard, but lists make it easy, as Kingsbury and Alvaro found ("Elle", 2020). If
//! every element is appended once, then a list *is* the order of the transactions that wrote it, and whoever read it
//! tells how far that order had come. So for most pairs of transactions that touch the same list it is known which
//! came first:
//!
//! | edge | from | to |
//! |---|---|---|
//! | ww | who appended an element | who appended the next one |
//! | wr | who appended the last element of a list that was read | who read it |
//! | rw | who read a list | who appended the element that comes next |
//! | time | who was complete | who was invoked after that |
//!
//! If these edges form a cycle there is no order. What kinds of edges a cycle needs says which [anomaly](Anomaly) it
//! is, after Adya; the mildest kind that explains a history is searched for last. An order of time between all pairs would be
//! quadratic, so completions form a chain of their own (`graph.rs`), which operations enter and leave.
//!
//! Before that, what can be said without a graph (`own.rs`, `lists.rs`): reads that contradict their own transaction, elements that
//! nobody appended, that are there twice, that come from a transaction that failed, or that their own transaction appended more
//! to; lists of which none is the beginning of the other; and what was acknowledged and is not there at the end.
//!
//! # Who takes part
//!
//! What was acknowledged, and what has an unknown outcome but was seen by others, which proves that it happened. Of the others,
//! only their reads do: this database promises also to those whose transaction fails in the end that nothing they were shown
//! will be undone, and shows each transaction one state. (Some call that opacity.) What such a transaction appended itself
//! is taken away from what it read.

mod anomalies;
mod graph;
mod lists;
mod own;
#[cfg(test)]
mod tests;

use std::fmt;

use self::graph::Graph;
use self::lists::Lists;
use super::{Violation, list};
use crate::history;

#[cfg(doc)]
use super::Anomaly;

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Micro {
    /// An element goes to the end of a list.
    Append {
        /// The list.
        key: i64,
        /// The element; no other append has the same for this list.
        element: i64,
    },
    /// A list is read whole.
    Read {
        /// The list.
        key: i64,
        /// What it was, if that was answered.
        list: Option<Vec<i64>>,
    },
}

/// Steps that are done together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// In their order. What reads were answered counts also if the transaction failed.
    pub micros: Vec<Micro>,
}

/// What an acknowledged transaction is answered: what it read is in the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed;

/// An operation of this kind.
pub type Operation = history::Operation<Transaction, Committed>;

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { key, element } => write!(f, "append {element} to {key}"),
            Self::Read { key, list: None } => write!(f, "read {key}"),
            Self::Read {
                key,
                list: Some(elements),
            } => write!(f, "read {key} as {}", list(elements)),
        }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, micro) in self.micros.iter().enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            micro.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("committed")
    }
}

/// Judges a history of transactions. Lists are empty at first.
///
/// # Errors
/// What is wrong with it; of several things, the one that says most.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let lists = Lists::of(operations)?;
    let graph = Graph::of(operations, &lists);
    anomalies::check(operations, &graph)
}
