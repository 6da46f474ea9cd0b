//! Transactions that append to lists and read them whole.
//!
//! Every element is unique, so a list says in which order the transactions came that wrote it, and a read says exactly how much of
//! that order it saw. That is what makes the histories of this workload so telling (`check::serializable`).
//!
//! A list is kept in one of two ways, by its key: as text in a single row, which an append makes longer, or as rows in the
//! order of their row ids, which are given out in the order of transactions. After so many appends a list is left alone
//! and another begun, so that reads stay short however long it goes on.

use std::cell::RefCell;

use super::Workload;
use crate::check::Violation;
use crate::check::serializable::{Committed, Micro, Transaction as Question, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE_TEXT: &str =
    "CREATE TABLE IF NOT EXISTS append_text(key INTEGER PRIMARY KEY, list TEXT NOT NULL)";
pub(crate) const CREATE_ROWS: &str = "CREATE TABLE IF NOT EXISTS append_row(id INTEGER PRIMARY KEY, key INTEGER NOT NULL, element INTEGER NOT NULL)";
pub(crate) const CREATE_INDEX: &str =
    "CREATE INDEX IF NOT EXISTS append_row_by_key ON append_row(key, id)";
pub(crate) const APPEND_TEXT: &str = "INSERT INTO append_text(key, list) VALUES (?, ?) \
    ON CONFLICT(key) DO UPDATE SET list = list || ' ' || excluded.list";
pub(crate) const APPEND_ROW: &str = "INSERT INTO append_row(key, element) VALUES (?, ?)";
pub(crate) const READ_TEXT: &str = "SELECT list FROM append_text WHERE key = ?";
pub(crate) const READ_ROWS: &str = "SELECT element FROM append_row WHERE key = ? ORDER BY id";

/// How many lists are in use at a time.
const LISTS: usize = 6;
/// How many appends are tried to a list until another takes its place.
const APPENDS: i64 = 48;
/// The most appends and reads in a transaction.
const MICROS: usize = 4;
/// How many lists are read in one transaction at the end.
const LAST: usize = 64;

/// Lists that are appended to.
#[derive(Debug)]
pub struct Append {
    /// Keys of the lists in use, and how many appends to each were tried.
    lists: RefCell<Vec<(i64, i64)>>,
    history: History<Question, Committed>,
}

impl Default for Append {
    fn default() -> Self {
        let keys = 0_i64..;
        Self {
            lists: RefCell::new(keys.take(LISTS).map(|key| (key, 0)).collect()),
            history: History::default(),
        }
    }
}

impl Append {
    /// A step on a list that is in use. The elements of a list count upwards from 1.
    fn step(&self, rng: &mut fastrand::Rng) -> Option<Micro> {
        let mut lists = self.lists.borrow_mut();
        let unused = lists.iter().map(|(key, _)| key + 1).max()?;
        let list = rng.choice(lists.iter_mut())?;
        let key = list.0;
        if rng.bool() {
            return Some(Micro::Read { key, list: None });
        }
        list.1 += 1;
        let element = list.1;
        if element >= APPENDS {
            *list = (unused, 0);
        }
        Some(Micro::Append { key, element })
    }

    async fn append<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        key: i64,
        element: i64,
    ) -> Result<(), Stop> {
        let changed = if is_text(key) {
            let params = [key.into(), element.to_string().into()];
            transaction.execute(APPEND_TEXT, &params).await?
        } else {
            let params = [key, element].map(Value::from);
            transaction.execute(APPEND_ROW, &params).await?
        };
        match changed {
            1 => Ok(()),
            other => Err(Stop::odd(format!("an append changed {other} rows"))),
        }
    }

    async fn read<C: Connection>(
        transaction: &mut Transaction<'_, C>,
        key: i64,
    ) -> Result<Vec<i64>, Stop> {
        let sql = if is_text(key) { READ_TEXT } else { READ_ROWS };
        let rows = transaction.query(sql, &[key.into()]).await?;
        let odd = || Stop::odd(format!("list {key} is {rows:?}"));
        let mut list = Vec::new();
        for row in &rows {
            match row.as_slice() {
                [Value::Integer(element)] if !is_text(key) => list.push(*element),
                [Value::Text(text)] if is_text(key) && rows.len() == 1 => {
                    for element in text.split(' ') {
                        list.push(element.parse().map_err(|_| odd())?);
                    }
                }
                _ => return Err(odd()),
            }
        }
        Ok(list)
    }
}

/// Whether a list is kept as text.
fn is_text(key: i64) -> bool {
    key % 2 == 0
}

impl Workload for Append {
    type Question = Question;
    type Answer = Committed;

    fn history(&self) -> &History<Question, Committed> {
        &self.history
    }

    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
        for sql in [CREATE_TEXT, CREATE_ROWS, CREATE_INDEX] {
            connection.execute(sql, &[]).await?;
        }
        Ok(())
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Question, Manner) {
        let steps = 0..rng.usize(1..=MICROS);
        let micros: Vec<Micro> = steps.filter_map(|_| self.step(rng)).collect();
        let manner = match micros.len() {
            1 => Manner::any(rng),
            _ => Manner::together(rng),
        };
        (Question { micros }, manner)
    }

    fn last(&self) -> Vec<Question> {
        let lists = self.lists.borrow();
        let last = lists.iter().map(|(key, _)| *key).max().unwrap_or(0);
        let keys: Vec<i64> = (0..=last).collect();
        let reads = keys.chunks(LAST).map(|keys| Question {
            micros: keys
                .iter()
                .map(|key| Micro::Read {
                    key: *key,
                    list: None,
                })
                .collect(),
        });
        reads.collect()
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Committed, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        for micro in &mut question.micros {
            match micro {
                Micro::Append { key, element } => {
                    Self::append(&mut transaction, *key, *element).await?;
                }
                Micro::Read { key, list } => {
                    *list = Some(Self::read(&mut transaction, *key).await?);
                }
            }
        }
        transaction.end().await?;
        Ok(Committed)
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history.with(check)
    }
}
