//! Keys are written once each, by clients that do not look at each other, and read in groups.
//!
//! A group is read in one statement or key by key in a transaction. Keys of two groups are written in turn, and a group is left alone
//! when all of its keys were tried and it was read often enough.

use std::cell::RefCell;

use super::Workload;
use crate::check::Violation;
use crate::check::long_fork::{Answer, Question, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Begin, Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS long_fork(key INTEGER PRIMARY KEY, value INTEGER NOT NULL)";
pub(crate) const WRITE: &str = "INSERT INTO long_fork(key, value) VALUES (?, 1)";
pub(crate) const READ: &str = "SELECT value FROM long_fork WHERE key = ?";
pub(crate) const READ_GROUP: &str =
    "SELECT key, value FROM long_fork WHERE key >= ? AND key < ? ORDER BY key";

/// How many keys there are in a group.
const KEYS: i64 = 6;
/// How many operations on a group are tried until another takes its place.
const OPERATIONS: i64 = 36;
/// How many groups are in use at a time.
const GROUPS: usize = 2;

/// A group of keys that is in use.
#[derive(Debug, Clone, Copy)]
struct Group {
    number: i64,
    /// How many of its keys were tried to write.
    written: i64,
    /// How many operations were tried.
    operations: i64,
}

/// Keys that are written once.
#[derive(Debug)]
pub struct LongFork {
    groups: RefCell<Vec<Group>>,
    history: History<Question, Answer>,
}

impl Group {
    fn new(number: i64) -> Self {
        Self {
            number,
            written: 0,
            operations: 0,
        }
    }
}

impl Default for LongFork {
    fn default() -> Self {
        let numbers = 0_i64..;
        Self {
            groups: RefCell::new(numbers.take(GROUPS).map(Group::new).collect()),
            history: History::default(),
        }
    }
}

impl LongFork {
    async fn read<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        group: i64,
    ) -> Result<Vec<i64>, Stop> {
        let (first, end) = (group * KEYS, (group + 1) * KEYS);
        let mut keys = Vec::new();
        if transaction.manner().begin == Begin::Autocommit {
            for row in transaction
                .query(READ_GROUP, &[first, end].map(Value::from))
                .await?
            {
                match row.as_slice() {
                    [Value::Integer(key), Value::Integer(1)] => keys.push(*key),
                    other => return Err(Stop::odd(format!("a row of keys is {other:?}"))),
                }
            }
            return Ok(keys);
        }
        for key in first..end {
            let rows = transaction.query(READ, &[key.into()]).await?;
            match rows.first().map(Vec::as_slice) {
                None => {}
                Some([Value::Integer(1)]) if rows.len() == 1 => keys.push(key),
                Some(_) => return Err(Stop::odd(format!("key {key} is {rows:?}"))),
            }
        }
        Ok(keys)
    }
}

impl Workload for LongFork {
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
        let manner = Manner::any(rng);
        let mut groups = self.groups.borrow_mut();
        let unused = groups
            .iter()
            .map(|group| group.number + 1)
            .max()
            .unwrap_or(0);
        let Some(group) = rng.choice(groups.iter_mut()) else {
            return (Question::Read { group: unused }, manner);
        };
        let number = group.number;
        group.operations += 1;
        // A write on the average after as many operations as leaves some for reads of all keys.
        let writes = group.written < KEYS && rng.i64(0..OPERATIONS) < KEYS * 2;
        let question = match writes {
            true => {
                let key = number * KEYS + group.written;
                group.written += 1;
                Question::Write { group: number, key }
            }
            false => Question::Read { group: number },
        };
        if group.operations >= OPERATIONS {
            *group = Group::new(unused);
        }
        (question, manner)
    }

    fn last(&self) -> Vec<Question> {
        let groups = self.groups.borrow();
        let last = groups.iter().map(|group| group.number).max().unwrap_or(0);
        (0..=last).map(|group| Question::Read { group }).collect()
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        let answer = match *question {
            Question::Write { key, .. } => match transaction.execute(WRITE, &[key.into()]).await? {
                1 => Answer::Written,
                changed => return Err(Stop::odd(format!("an insert changed {changed} rows"))),
            },
            Question::Read { group } => Answer::Keys(Self::read(&mut transaction, group).await?),
        };
        transaction.end().await?;
        Ok(answer)
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history.with(check)
    }
}
