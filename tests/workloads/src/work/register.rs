//! Single values that are read, written, and compared and set.
//!
//! There are few different values, so that comparing succeeds often enough. A register is left alone after so many operations and
//! another is begun: what is unknown stays open to the end, and the more is open the longer takes the search for an
//! order.

use std::cell::RefCell;

use super::Workload;
use crate::check::Violation;
use crate::check::linearizable::{Answer, Question, STEPS, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Begin, Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS register(key INTEGER PRIMARY KEY, value INTEGER NOT NULL)";
pub(crate) const READ: &str = "SELECT value FROM register WHERE key = ?";
pub(crate) const WRITE: &str = "INSERT INTO register(key, value) VALUES (?, ?) \
    ON CONFLICT(key) DO UPDATE SET value = excluded.value";
pub(crate) const SWAP: &str = "UPDATE register SET value = ? WHERE key = ? AND value = ?";

/// How many registers are in use at a time.
const REGISTERS: usize = 5;
/// How many operations on a register are tried until another takes its place.
const OPERATIONS: u32 = 160;
/// Values are below this.
const VALUES: i64 = 5;

/// Single values.
#[derive(Debug)]
pub struct Register {
    /// Keys of the registers in use, and how many operations on each were tried.
    registers: RefCell<Vec<(i64, u32)>>,
    history: History<Question, Answer>,
}

impl Default for Register {
    fn default() -> Self {
        let keys = 0_i64..;
        Self {
            registers: RefCell::new(keys.take(REGISTERS).map(|key| (key, 0)).collect()),
            history: History::default(),
        }
    }
}

impl Register {
    /// A register that is in use.
    fn pick(&self, rng: &mut fastrand::Rng) -> i64 {
        let mut registers = self.registers.borrow_mut();
        let unused = registers.iter().map(|(key, _)| key + 1).max().unwrap_or(0);
        let Some(register) = rng.choice(registers.iter_mut()) else {
            return unused;
        };
        let key = register.0;
        register.1 += 1;
        if register.1 >= OPERATIONS {
            *register = (unused, 0);
        }
        key
    }

    async fn read<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        key: i64,
    ) -> Result<Option<i64>, Stop> {
        let rows = transaction.query(READ, &[key.into()]).await?;
        match rows.first().map(Vec::as_slice) {
            None => Ok(None),
            Some([Value::Integer(value)]) if rows.len() == 1 => Ok(Some(*value)),
            Some(_) => Err(Stop::odd(format!("register {key} is {rows:?}"))),
        }
    }

    async fn swap<C: Connection>(
        mut transaction: Transaction<'_, C>,
        (key, old, new): (i64, i64, i64),
    ) -> Result<Answer, Stop> {
        let together = transaction.manner().begin != Begin::Autocommit;
        if together && Self::read(&mut transaction, key).await? != Some(old) {
            // That is the answer, unless the connection is gone, which must be said instead.
            let stop = transaction.rollback("another value").await;
            return match stop.usable {
                true => Ok(Answer::Swapped(false)),
                false => Err(stop),
            };
        }
        let params = [new, key, old].map(Value::from);
        let changed = transaction.execute(SWAP, &params).await?;
        let swapped = match changed {
            0 => false,
            1 => true,
            _ => return Err(Stop::odd(format!("a swap changed {changed} rows"))),
        };
        if together && !swapped {
            return Err(Stop::odd(
                "the value that the transaction read is another at its next statement",
            ));
        }
        transaction.end().await?;
        Ok(Answer::Swapped(swapped))
    }
}

impl Workload for Register {
    type Question = Question;
    type Answer = Answer;

    fn history(&self) -> &History<Question, Answer> {
        &self.history
    }

    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
        connection.execute(CREATE, &[]).await?;
        Ok(())
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Question, Manner) {
        let key = self.pick(rng);
        let value = rng.i64(0..VALUES);
        let question = match rng.u8(..3) {
            0 => Question::Read { key },
            1 => Question::Write { key, value },
            _ => Question::Swap {
                key,
                old: rng.i64(0..VALUES),
                new: value,
            },
        };
        (question, Manner::any(rng))
    }

    fn last(&self) -> Vec<Question> {
        let registers = self.registers.borrow();
        let last = registers.iter().map(|(key, _)| *key).max().unwrap_or(0);
        (0..=last).map(|key| Question::Read { key }).collect()
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        let answer = match *question {
            Question::Read { key } => Answer::Value(Self::read(&mut transaction, key).await?),
            Question::Write { key, value } => {
                let params = [key, value].map(Value::from);
                match transaction.execute(WRITE, &params).await? {
                    1 => Answer::Written,
                    changed => return Err(Stop::odd(format!("a write changed {changed} rows"))),
                }
            }
            Question::Swap { key, old, new } => {
                return Self::swap(transaction, (key, old, new)).await;
            }
        };
        transaction.end().await?;
        Ok(answer)
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history.with(|operations| check(operations, STEPS))
    }
}
