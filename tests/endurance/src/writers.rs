//! Clients that write without a pause, and remember what they were told about each row.
//!
//! Each row holds a number that nobody else uses, and the table has no key: a row that was written twice is there twice.
//! The first writers also count up a register each, after every row. The last of every sixteen writes its rows two at a
//! time, in explicit transactions. Half of the others send their statement as text, half prepare it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferrolite_client::{Builder, Client, Error, Statement, params};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ledger::{Ledger, REGISTERS};
use ferrolite_processes::Result;

/// Numbers of rows that each writer may use.
const ROWS_PER_WRITER: usize = 10_000_000;
/// One in so many writes in explicit transactions.
const ONE_IN: usize = 16;
/// Whoever was refused waits so long before the next row.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(20);
/// So many different reasons of refusals are told apart.
const MOST_REASONS: usize = 20;

const INSERT: &str = "INSERT INTO rows VALUES (?, randomblob(40))";
/// A write that was given up for lost may still come later, and then must not undo what came after it.
const UPDATE: &str = "UPDATE registers SET number = ?1 WHERE id = ?2 AND number < ?1";

/// What a writer was told about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, as the row of this rowid.
    Acknowledged(i64),
    /// It may be there or not.
    Unknown,
    /// It is not there.
    Refused,
}

/// What a writer was told about its rows, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether rows were written two at a time, the first of which has an even place.
    pub(crate) pairs: bool,
    /// Why rows were refused, and how often.
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// The number of a writer's row.
pub(crate) fn number(writer: usize, place: usize) -> i64 {
    i64::try_from(writer * ROWS_PER_WRITER + place).unwrap_or(i64::MAX)
}

/// Whose row it is that has this number, and which of its rows.
pub(crate) fn writer_and_place(number: i64) -> Option<(usize, usize)> {
    let number = usize::try_from(number).ok()?;
    Some((number / ROWS_PER_WRITER, number % ROWS_PER_WRITER))
}

/// Makes the tables.
///
/// # Errors
/// What the cluster says.
pub(crate) async fn make_tables(client: &Client) -> Result<()> {
    client
        .execute("CREATE TABLE rows(number INTEGER, noise BLOB)", ())
        .await?;
    client
        .execute(
            "CREATE TABLE registers(id INTEGER PRIMARY KEY, number INTEGER)",
            (),
        )
        .await?;
    for register in 0..REGISTERS {
        let id = i64::try_from(register)?;
        client
            .execute("INSERT INTO registers VALUES (?, 0)", (id,))
            .await?;
    }
    Ok(())
}

/// A writer at work, until all are told to end.
///
/// # Errors
/// When it cannot connect.
pub(crate) async fn start(
    builder: &Builder,
    ledger: &Arc<Ledger>,
    writer: usize,
) -> Result<JoinHandle<Told>> {
    let client = builder.clone().max_connections(2).connect().await?;
    let insert = match writer % 2 {
        0 => Some(client.prepare(INSERT).await?),
        _ => None,
    };
    let writer = Writer {
        client,
        insert,
        ledger: Arc::clone(ledger),
        number: writer,
        told: Told {
            pairs: writer % ONE_IN == ONE_IN - 1,
            ..Told::default()
        },
    };
    Ok(tokio::spawn(writer.run()))
}

struct Writer {
    client: Client,
    insert: Option<Statement>,
    ledger: Arc<Ledger>,
    number: usize,
    told: Told,
}

impl Writer {
    async fn run(mut self) -> Told {
        let rows = if self.told.pairs { 2 } else { 1 };
        while self.ledger.goes_on() && self.told.outcomes.len() + rows <= ROWS_PER_WRITER {
            self.ledger.rows.send(if self.told.pairs { 2 } else { 1 });
            let first = number(self.number, self.told.outcomes.len());
            let written = match self.told.pairs {
                true => self.insert_two(first).await,
                false => self.insert(first).await,
            };
            self.note(first, rows, written).await;
            if let Some(register) = self.ledger.registers.get(self.number) {
                let number = register.send(1);
                let id = i64::try_from(self.number).unwrap_or(i64::MAX);
                let updated = self.client.execute(UPDATE, params![number, id]).await;
                if updated.is_ok() {
                    register.learn(number);
                    self.ledger.updates.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.told
    }

    /// Writes a row, and returns its rowid.
    async fn insert(&self, number: i64) -> Result<Vec<i64>, Error> {
        let done = match &self.insert {
            Some(insert) => insert.execute((number,)).await?,
            None => self.client.execute(INSERT, (number,)).await?,
        };
        if done.rows_affected != 1 {
            let rows = done.rows_affected;
            self.ledger
                .report(format!("the insert of row {number} changed {rows} rows"));
        }
        Ok(vec![done.last_insert_id])
    }

    /// Writes two rows in a transaction, and returns their rowids.
    async fn insert_two(&self, first: i64) -> Result<Vec<i64>, Error> {
        let mut transaction = self.client.transaction().await?;
        let mut rowids = Vec::new();
        for number in [first, first + 1] {
            let done = transaction.execute(INSERT, (number,)).await?;
            rowids.push(done.last_insert_id);
        }
        transaction.commit().await?;
        Ok(rowids)
    }

    /// Remembers what became of rows.
    async fn note(&mut self, first: i64, rows: usize, written: Result<Vec<i64>, Error>) {
        let outcomes = &mut self.told.outcomes;
        match written {
            Ok(rowids) => {
                let known: Vec<(i64, i64)> = rowids.iter().copied().zip(first..).collect();
                outcomes.extend(rowids.into_iter().map(Outcome::Acknowledged));
                self.ledger.acknowledged(self.number, &known);
            }
            Err(error) if error.is_outcome_unknown() => {
                outcomes.extend((0..rows).map(|_| Outcome::Unknown));
            }
            Err(error) => {
                outcomes.extend((0..rows).map(|_| Outcome::Refused));
                let refusals = &mut self.told.refusals;
                let reason = error.to_string();
                if refusals.len() < MOST_REASONS || refusals.contains_key(&reason) {
                    *refusals.entry(reason).or_default() += 1;
                }
                sleep(AFTER_A_REFUSAL).await;
            }
        }
    }
}
