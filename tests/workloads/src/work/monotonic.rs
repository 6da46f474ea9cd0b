//! Counters are incremented and read.
//!
//! A counter is incremented in one statement, which does not say what it makes of it, or read and written anew in a transaction.

use super::Workload;
use crate::check::Violation;
use crate::check::monotonic::{Answer, Question, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Begin, Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS monotonic(key INTEGER PRIMARY KEY, value INTEGER NOT NULL)";
pub(crate) const OPEN: &str = "INSERT OR IGNORE INTO monotonic(key, value) VALUES (?, 0)";
pub(crate) const READ: &str = "SELECT value FROM monotonic WHERE key = ?";
pub(crate) const WRITE: &str = "UPDATE monotonic SET value = ? WHERE key = ?";
pub(crate) const INCREMENT: &str = "UPDATE monotonic SET value = value + 1 WHERE key = ?";

/// How many counters there are.
const COUNTERS: i64 = 3;

/// Counters that only increase.
#[derive(Debug, Default)]
pub struct Monotonic {
    history: History<Question, Answer>,
}

impl Monotonic {
    async fn read<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        key: i64,
    ) -> Result<i64, Stop> {
        let rows = transaction.query(READ, &[key.into()]).await?;
        match rows.first().map(Vec::as_slice) {
            Some([Value::Integer(value)]) if rows.len() == 1 => Ok(*value),
            _ => Err(Stop::odd(format!("counter {key} is {rows:?}"))),
        }
    }

    async fn increment<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        key: i64,
    ) -> Result<Answer, Stop> {
        let (changed, answer) = if transaction.manner().begin == Begin::Autocommit {
            let changed = transaction.execute(INCREMENT, &[key.into()]).await?;
            (changed, Answer::Incremented)
        } else {
            let value = Self::read(transaction, key).await? + 1;
            let params = [value, key].map(Value::from);
            (
                transaction.execute(WRITE, &params).await?,
                Answer::Value(value),
            )
        };
        match changed {
            1 => Ok(answer),
            _ => Err(Stop::odd(format!("an increment changed {changed} rows"))),
        }
    }
}

impl Workload for Monotonic {
    type Question = Question;
    type Answer = Answer;

    fn history(&self) -> &History<Question, Answer> {
        &self.history
    }

    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
        connection.execute(CREATE, &[]).await?;
        for key in 0..COUNTERS {
            connection.execute(OPEN, &[key.into()]).await?;
        }
        Ok(())
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Question, Manner) {
        let key = rng.i64(0..COUNTERS);
        let question = match rng.bool() {
            true => Question::Increment { key },
            false => Question::Read { key },
        };
        (question, Manner::any(rng))
    }

    fn last(&self) -> Vec<Question> {
        (0..COUNTERS).map(|key| Question::Read { key }).collect()
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        let answer = match *question {
            Question::Increment { key } => Self::increment(&mut transaction, key).await?,
            Question::Read { key } => Answer::Value(Self::read(&mut transaction, key).await?),
        };
        transaction.end().await?;
        Ok(answer)
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history.with(check)
    }
}
