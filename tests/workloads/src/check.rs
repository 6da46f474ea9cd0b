//! The checkers: whether what clients saw can be.
//!
//! Each takes the operations of a [`History`](crate::History) and knows nothing of how they were done. None passes what it could
//! not decide.

pub mod bank;
pub mod serializable;

use std::error::Error;
use std::fmt;

/// What is wrong with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Anomaly {
    /// It was not found out whether anything is.
    Undecided,
    /// An answer does not have the shape that its statement asks for.
    Malformed,
    /// The total of all accounts is not what it was.
    WrongTotal,
    /// An account is overdrawn.
    NegativeBalance,
    /// A balance that no choice among the transfers under way explains.
    WrongBalance,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undecided => "undecided",
            Self::Malformed => "malformed answer",
            Self::WrongTotal => "wrong total",
            Self::NegativeBalance => "negative balance",
            Self::WrongBalance => "wrong balance",
        })
    }
}

/// Something that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is called.
    pub anomaly: Anomaly,
    /// Which operations show it, and how; several lines.
    pub explanation: String,
}

impl Violation {
    pub(crate) fn new(anomaly: Anomaly, explanation: impl Into<String>) -> Self {
        let explanation = explanation.into();
        Self {
            anomaly,
            explanation,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.anomaly, self.explanation)
    }
}

impl Error for Violation {}
