//! The checkers: whether what clients saw can be.
//!
//! Each takes the operations of a [`History`](crate::History) and knows nothing of how they were done. None passes what it could
//! not decide.
//!
//! | checker | what it judges |
//! |---|---|
//! | [`linearizable`] | single values that are read, written, and compared and set |
//! | [`serializable`] | transactions that append to lists and read them |
//! | [`bank`] | transfers between accounts |
//! | [`set`] | elements that are added to a set that is read whole |
//! | [`long_fork`] | keys that are written once, and read in groups |
//! | [`monotonic`] | counters |

pub mod bank;
mod growing;
pub mod linearizable;
pub mod long_fork;
#[cfg(test)]
mod made;
pub mod monotonic;
pub mod serializable;
pub mod set;

use std::error::Error;
use std::fmt;

/// Makes the anomalies and their names.
macro_rules! anomalies {
    ($($(#[$doc:meta])* $anomaly:ident $name:literal)*) => {
        /// What is wrong with a history. The names that begin with G are those of Adya's thesis ("Weak consistency", 1999).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Anomaly {
            $($(#[$doc])* $anomaly,)*
        }

        impl fmt::Display for Anomaly {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$anomaly => $name,)*
                })
            }
        }
    };
}

anomalies! {
    /// It was not found out whether anything is.
    Undecided "undecided"
    /// An answer does not have the shape that its statement asks for, or a history not that of its workload.
    Malformed "malformed"
    /// What was acknowledged was gone in the end.
    Lost "lost write"
    /// Something was seen that nobody wrote.
    Phantom "phantom"
    /// Something is there twice that was written once.
    Duplicate "duplicate"
    /// G1a: something was seen that was undone.
    AbortedRead "aborted read (G1a)"
    /// G1b: something was seen that its own transaction had not finished.
    IntermediateRead "intermediate read (G1b)"
    /// Of what was written together, a part was seen.
    PartialWrite "partial write"
    /// A transaction's reads contradict each other, or what it wrote itself.
    Internal "internal inconsistency"
    /// Two reads show writes in different orders.
    IncompatibleOrders "incompatible orders"
    /// G0: transactions overwrote each other in a circle.
    WriteCycle "write cycle (G0)"
    /// G1c: information flowed in a circle.
    CircularFlow "circular information flow (G1c)"
    /// G-single: a transaction saw some effects of another but not all, or overwrote what it had not seen.
    SingleAntidependency "read skew or lost update (G-single)"
    /// G2: transactions did not see each other's writes, in a circle.
    Antidependency "write skew (G2)"
    /// The order of transactions is not that in which they happened.
    RealTime "real-time violation"
    /// A read does not show what was established before it.
    StaleRead "stale read"
    /// Two reads show two writes in opposite orders.
    LongFork "long fork"
    /// What can only increase was seen to decrease.
    Backwards "backwards"
    /// No order of the operations explains their answers.
    NotLinearizable "not linearizable"
    /// The total of all accounts is not what it was.
    WrongTotal "wrong total"
    /// An account is overdrawn.
    NegativeBalance "negative balance"
    /// A balance that no choice among the transfers under way explains.
    WrongBalance "wrong balance"
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

/// Things one below the other, each on a new line.
fn lines<T: fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    let lines = things.into_iter().map(|thing| format!("\n  {thing}"));
    lines.collect()
}

/// Numbers as `[1 2 3]`.
fn list(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(" "))
}
