//! TODO

use std::fmt;

use super::Violation;
use crate::history;

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

/// An operation of this kind; an acknowledged one is answered with anything.
pub type Operation<A> = history::Operation<Transaction, A>;

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { key, element } => write!(f, "append {element} to {key}"),
            Self::Read { key, list: None } => write!(f, "read {key}"),
            Self::Read {
                key,
                list: Some(list),
            } => {
                write!(f, "read {key} as {list:?}")
            }
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

/// TODO
///
/// # Errors
/// What is wrong with it.
pub fn check<A>(operations: &[Operation<A>]) -> Result<(), Violation> {
    let _ = operations;
    Ok(())
}
