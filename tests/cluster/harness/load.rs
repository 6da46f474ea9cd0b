//! Clients that write without a pause, and remember what they were told about each row.
//!
//! Each row has a number that nobody else uses, and the table has no key: a row that was written twice is there
//! twice. After the load has ended, [`Tally::check`] holds what the table has against what the writers were told:
//! what was acknowledged is there once, what was refused is not there, and what was neither may be there once.
//! Every other row is written in a transaction together with a second one, of the same number in another table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ferrolite_client::{Builder, Client, Error, params};
use tokio::task::JoinHandle;

use super::eventually;

const ROWS_PER_WRITER: i64 = 1_000_000;

/// What the writers were told.
#[derive(Debug, Default)]
pub struct Tally {
    acknowledged: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    refused: BTreeMap<i64, String>,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    ends: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Makes the tables, where they are not there yet, and sets `writers` to work on clients from `builder`. Loads
    /// on the same tables are told apart by their `number`.
    pub async fn start(builder: &Builder, number: i64, writers: i64) -> Self {
        // Where an answer does not come by then, it is not waited for: its outcome is unknown.
        let builder = builder.clone().answer_timeout(Duration::from_secs(2));
        let client = builder.clone().connect().await.unwrap();
        for table in ["single", "paired"] {
            let sql = format!("CREATE TABLE IF NOT EXISTS {table}(id INTEGER, noise BLOB)");
            client.execute(&sql, params![]).await.unwrap();
        }
        let ends = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let (ends, count) = (Arc::clone(&ends), Arc::clone(&acknowledged));
            let client = builder.clone().connect().await.unwrap();
            let first = (number * 100 + writer) * ROWS_PER_WRITER;
            tasks.push(tokio::spawn(async move {
                let mut tally = Tally::default();
                let mut id = first;
                while !ends.load(Ordering::Relaxed) {
                    match write(&client, id).await {
                        Ok(()) => {
                            tally.acknowledged.insert(id);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if error.is_outcome_unknown() => {
                            tally.unknown.insert(id);
                        }
                        Err(error) => {
                            tally.refused.insert(id, error.to_string());
                        }
                    }
                    id += 1;
                }
                tally
            }));
        }
        Self {
            ends,
            acknowledged,
            writers: tasks,
        }
    }

    /// Waits until so many more rows were acknowledged: the cluster is seen to work.
    pub async fn proceed(&self, rows: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + rows;
        let what = format!("{rows} more rows are acknowledged");
        eventually(&what, async || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Ends the writers, and returns what they were told.
    pub async fn end(self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for writer in self.writers {
            all.add(writer.await.unwrap());
        }
        all
    }
}

async fn write(client: &Client, id: i64) -> Result<(), Error> {
    if id % 2 == 0 {
        client
            .execute("INSERT INTO single VALUES (?, randomblob(40))", params![id])
            .await?;
        return Ok(());
    }
    let mut transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO single VALUES (?, randomblob(40))", params![id])
        .await?;
    transaction
        .execute("INSERT INTO paired VALUES (?, randomblob(40))", params![id])
        .await?;
    transaction.commit().await
}

impl Tally {
    /// Takes in what another load was told.
    pub fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
    }

    /// How many rows were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Checks what the cluster has.
    pub async fn check(&self, client: &Client) {
        let count = "SELECT id, count(*) FROM single GROUP BY id";
        let single: Vec<(i64, i64)> = client.query(count, params![]).await.unwrap();
        let count = "SELECT id, count(*) FROM paired GROUP BY id";
        let paired: Vec<(i64, i64)> = client.query(count, params![]).await.unwrap();
        self.compare(single, paired);
    }

    /// Checks what a database file of a node that has stopped holds.
    pub fn check_file(&self, path: &std::path::Path) {
        let count = |table: &str| -> Vec<(i64, i64)> {
            let sql = format!("SELECT id, count(*) FROM {table} GROUP BY id");
            let rows = super::files::query(path, &sql);
            rows.iter()
                .map(|row| (integer(&row[0]), integer(&row[1])))
                .collect()
        };
        self.compare(count("single"), count("paired"));
    }

    fn compare(&self, single: Vec<(i64, i64)>, paired: Vec<(i64, i64)>) {
        let twice: Vec<_> = single
            .iter()
            .chain(&paired)
            .filter(|(_, count)| *count != 1)
            .collect();
        assert!(twice.is_empty(), "written more than once: {twice:?}");
        let single: BTreeSet<i64> = single.into_iter().map(|(id, _)| id).collect();
        let paired: BTreeSet<i64> = paired.into_iter().map(|(id, _)| id).collect();
        let lost: Vec<_> = self.acknowledged.difference(&single).collect();
        assert!(
            lost.is_empty(),
            "{} acknowledged rows are lost: {lost:?}",
            lost.len()
        );
        let strange: Vec<_> = single
            .iter()
            .filter(|id| !self.acknowledged.contains(id) && !self.unknown.contains(id))
            .map(|id| (id, self.refused.get(id)))
            .collect();
        assert!(strange.is_empty(), "there, but refused: {strange:?}");
        let odd: BTreeSet<i64> = single.into_iter().filter(|id| id % 2 != 0).collect();
        let halves: Vec<_> = odd.symmetric_difference(&paired).collect();
        assert!(halves.is_empty(), "halves of transactions: {halves:?}");
    }
}

fn integer(value: &ferrolite_client::Value) -> i64 {
    match value {
        ferrolite_client::Value::Integer(integer) => *integer,
        other => panic!("{other:?} is no integer"),
    }
}
