//! Elements are added to a set, a few at a time, and all are read. After so many a set is left alone and another begun, so
//! that reads stay short however long it goes on.
//!
//! Elements are added by one statement each, so that several of them need a transaction. Each comes with a text of a
//! length that its number decides, so that pages fill and split at different times.

use std::cell::Cell;

use super::Workload;
use crate::check::Violation;
use crate::check::set::{Answer, Question, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS set_element\
    (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, element INTEGER NOT NULL, filling TEXT NOT NULL)";
pub(crate) const CREATE_INDEX: &str =
    "CREATE INDEX IF NOT EXISTS set_element_by_number ON set_element(number, element)";
pub(crate) const ADD: &str = "INSERT INTO set_element(number, element, filling) VALUES (?, ?, ?)";
pub(crate) const READ: &str = "SELECT element FROM set_element WHERE number = ? ORDER BY element";

/// The most elements that are added together.
const TOGETHER: i64 = 4;
/// How many elements are tried until another set takes its place.
const ELEMENTS: i64 = 400;
/// The longest filling, in characters.
const FILLING: usize = 300;

/// Sets that grow.
#[derive(Debug, Default)]
pub struct Set {
    /// The next element.
    next: Cell<i64>,
    history: History<Question, Answer>,
}

/// What is beside an element.
fn filling(element: i64) -> String {
    let length = usize::try_from(element.wrapping_mul(7919)).unwrap_or(0) % FILLING;
    let letters = "abcdefghijklmnopqrstuvwxyz".chars().cycle();
    letters.take(length).collect()
}

impl Workload for Set {
    type Question = Question;
    type Answer = Answer;

    fn history(&self) -> &History<Question, Answer> {
        &self.history
    }

    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
        for sql in [CREATE, CREATE_INDEX] {
            connection.execute(sql, &[]).await?;
        }
        Ok(())
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Question, Manner) {
        // Reads are long, so there are fewer of them.
        let first = self.next.get();
        let set = first / ELEMENTS;
        if rng.u8(..6) == 0 {
            return (Question::Read { set }, Manner::any(rng));
        }
        let next = first + rng.i64(1..=TOGETHER);
        self.next.set(next);
        let manner = match next - first {
            1 => Manner::any(rng),
            _ => Manner::together(rng),
        };
        let elements = (first..next).collect();
        (Question::Add { set, elements }, manner)
    }

    fn last(&self) -> Vec<Question> {
        let sets = 0..=self.next.get() / ELEMENTS;
        sets.map(|set| Question::Read { set }).collect()
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        let answer = match question {
            Question::Add { set, elements } => {
                for element in elements {
                    let params = [
                        Value::from(*set),
                        Value::from(*element),
                        filling(*element).into(),
                    ];
                    match transaction.execute(ADD, &params).await? {
                        1 => {}
                        changed => {
                            return Err(Stop::odd(format!("an insert changed {changed} rows")));
                        }
                    }
                }
                Answer::Added
            }
            Question::Read { set } => {
                let mut elements = Vec::new();
                for row in transaction.query(READ, &[Value::from(*set)]).await? {
                    match row.as_slice() {
                        [Value::Integer(element)] => elements.push(*element),
                        other => return Err(Stop::odd(format!("a row of elements is {other:?}"))),
                    }
                }
                Answer::Elements(elements)
            }
        };
        transaction.end().await?;
        Ok(answer)
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history.with(check)
    }
}
