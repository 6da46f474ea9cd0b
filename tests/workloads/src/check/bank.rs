//! Accounts between which money is transferred.
//!
//! Whatever is transferred, the total stays what it was, in every read, for a read that shows something else has seen half a
//! transfer. That alone would pass a database that loses whole transfers, so each balance is bounded too, by what must
//! have been counted when it was read and what may have been:
//!
//! ```text
//! lowest  = at first + what certainly came in − what may have gone out
//! highest = at first + what may have come in  − what certainly went out
//! ```
//!
//! *Certainly* counts what was acknowledged before the read was invoked; *may* counts what was invoked before the read was
//! complete and has not failed. Both are prefix sums, over completions and invocations.

use std::collections::BTreeMap;
use std::fmt;

use super::{Anomaly, Violation};
use crate::history;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To take an amount from one account and put it into another.
    Transfer {
        /// Where it is taken from.
        from: i64,
        /// Where it goes to; not the same.
        to: i64,
        /// How much; more than nothing.
        amount: i64,
    },
    /// All balances.
    Read,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is transferred.
    Transferred,
    /// The accounts and their balances.
    Balances(Vec<(i64, i64)>),
}

/// An operation of this kind.
pub type Operation = history::Operation<Question, Answer>;

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer { from, to, amount } => {
                write!(f, "transfer {amount} from {from} to {to}")
            }
            Self::Read => f.write_str("read"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transferred => f.write_str("done"),
            Self::Balances(balances) => {
                let mut total = 0_i64;
                for (account, balance) in balances {
                    write!(f, "{account}:{balance} ")?;
                    total = total.saturating_add(*balance);
                }
                write!(f, "= {total}")
            }
        }
    }
}

/// How the accounts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounts {
    /// They are numbered from 0.
    pub count: i64,
    /// What each has at first.
    pub balance: i64,
    /// Whether one may be overdrawn.
    pub overdraft: bool,
}

/// What came in or went out, summed up over the positions at which it did.
#[derive(Debug, Default)]
struct Sums {
    /// Position, and the sum up to there.
    steps: Vec<(u64, i64)>,
}

impl Sums {
    fn of(mut amounts: Vec<(u64, i64)>) -> Self {
        amounts.sort_unstable();
        let mut sum = 0;
        for (_, amount) in &mut amounts {
            sum += *amount;
            *amount = sum;
        }
        Self { steps: amounts }
    }

    /// The sum of what was before a position.
    fn before(&self, position: u64) -> i64 {
        let count = self.steps.partition_point(|(at, _)| *at < position);
        let last = count.checked_sub(1).and_then(|last| self.steps.get(last));
        last.map_or(0, |(_, sum)| *sum)
    }
}

/// What moved through one account in one direction.
#[derive(Debug, Default)]
struct Flow {
    certain: Vec<(u64, i64)>,
    possible: Vec<(u64, i64)>,
}

impl Flow {
    fn add(&mut self, operation: &Operation, amount: i64) {
        if operation.is_failed() {
            return;
        }
        self.possible.push((operation.start(), amount));
        if operation.is_ok() {
            self.certain.push((operation.end(), amount));
        }
    }

    fn sums(self) -> (Sums, Sums) {
        (Sums::of(self.certain), Sums::of(self.possible))
    }
}

/// Judges a history of transfers and reads.
///
/// # Errors
/// What is wrong with it.
pub fn check(accounts: Accounts, operations: &[Operation]) -> Result<(), Violation> {
    let mut incoming: BTreeMap<i64, Flow> = BTreeMap::new();
    let mut outgoing: BTreeMap<i64, Flow> = BTreeMap::new();
    for operation in operations {
        if let Question::Transfer { from, to, amount } = operation.question {
            outgoing.entry(from).or_default().add(operation, amount);
            incoming.entry(to).or_default().add(operation, amount);
        }
    }
    let flows: BTreeMap<i64, _> = (0..accounts.count)
        .map(|account| {
            let [incoming, outgoing] = [&mut incoming, &mut outgoing]
                .map(|flows| flows.remove(&account).unwrap_or_default().sums());
            (account, (incoming, outgoing))
        })
        .collect();
    for operation in operations {
        let Some(Answer::Balances(balances)) = operation.answer() else {
            continue;
        };
        let violation =
            |anomaly, why: String| Err(Violation::new(anomaly, format!("{why}\n  {operation}")));
        if !balances.iter().map(|(account, _)| account).eq(flows.keys()) {
            return violation(
                Anomaly::Malformed,
                format!("these are not the {} accounts, each once", accounts.count),
            );
        }
        let total: i128 = balances
            .iter()
            .map(|(_, balance)| i128::from(*balance))
            .sum();
        let right = i128::from(accounts.count) * i128::from(accounts.balance);
        if total != right {
            return violation(
                Anomaly::WrongTotal,
                format!("all is {total}, and was {right}"),
            );
        }
        for (account, balance) in balances {
            if *balance < 0 && !accounts.overdraft {
                return violation(Anomaly::NegativeBalance, format!("account {account}"));
            }
            let Some(((certain_in, possible_in), (certain_out, possible_out))) = flows.get(account)
            else {
                continue;
            };
            let (start, end) = (operation.start(), operation.end());
            let lowest = accounts.balance + certain_in.before(start) - possible_out.before(end);
            let highest = accounts.balance + possible_in.before(end) - certain_out.before(start);
            if !(lowest..=highest).contains(balance) {
                return violation(
                    Anomaly::WrongBalance,
                    format!(
                        "account {account} has {balance}; what was transferred allows {lowest} to {highest}"
                    ),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
