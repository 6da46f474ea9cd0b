//! The bench's tables: made, filled, and dropped however the run ends.
//!
//! Their names carry a number that no other run is likely to have, so that two runs at a time, or what a run that
//! was killed left behind, are in nobody's way. A table is noted before it is made, so that none is forgotten when
//! Ctrl-C comes in between. Making and dropping are written so that doing them twice does no harm; so they are
//! tried again after any failure that passes.

use std::time::Duration;

use ferrolite_client::{Client, Session};
use tokio::time::{Instant, sleep};

use super::phase::{Phase, SCAN_ROWS, STATEMENT_ROWS};
use super::worker::{self, Values};
use super::{Setting, live};
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;

/// What the names of all tables of all runs begin with.
const PREFIX: &str = "ferrolite_bench_";
/// How long making or dropping a table is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The tables of a run.
#[derive(Debug)]
pub struct Tables {
    client: Client,
    prefix: String,
    /// Those that may be there.
    made: Vec<String>,
    /// How many rows the table to read from has.
    filled_rows: u64,
}

/// What the clients of a phase need to know of the tables.
#[derive(Debug, Clone)]
pub struct Target {
    /// The client to get connections from.
    pub client: Client,
    /// How many rows the table has that rows are read from, and changed in. They are numbered from 1.
    pub filled_rows: u64,
    /// The table that rows are inserted into.
    pub inserts: String,
    /// Inserts a row.
    pub insert: String,
    /// Changes a row.
    pub update: String,
    /// Reads a row by its key.
    pub read: String,
    /// Reads [`SCAN_ROWS`] rows from a key on.
    pub scan: String,
}

impl Tables {
    /// Makes no table yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            prefix: format!("{PREFIX}{:08x}", fastrand::u32(..)),
            made: Vec::new(),
            filled_rows: 0,
        }
    }

    /// What the clients of a phase need.
    pub fn target(&self) -> Target {
        let (rows, inserts) = (self.name("rows"), self.name("inserts"));
        Target {
            client: self.client.clone(),
            filled_rows: self.filled_rows,
            insert: format!("INSERT INTO {inserts} (value) VALUES (?)"),
            update: format!("UPDATE {rows} SET value = ? WHERE id = ?"),
            read: format!("SELECT value FROM {rows} WHERE id = ?"),
            scan: format!(
                "SELECT id, value FROM {rows} WHERE id >= ? ORDER BY id LIMIT {SCAN_ROWS}"
            ),
            inserts,
        }
    }

    fn name(&self, of: &str) -> String {
        format!("{}_{of}", self.prefix)
    }

    /// Says on standard error if there are tables of another run. That they cannot be listed will show soon enough.
    pub async fn warn_of_others(&self) {
        let sql = format!(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB '{PREFIX}*'"
        );
        let others: Vec<String> = self.client.query(&sql, ()).await.unwrap_or_default();
        if !others.is_empty() {
            eprintln!(
                "note: another run works in this database, or was killed and left its tables: {}",
                others.join(", ")
            );
        }
    }

    /// Makes the table that rows are read from and fills it, as one client.
    ///
    /// # Errors
    /// When that fails for good.
    pub async fn fill_rows(&mut self, setting: &Setting) -> Result<()> {
        let line = live::Line::new();
        line.show("making the table to read from");
        let table = self.make("rows").await?;
        let mut values = Values::new(setting.seed, 0, setting.value_bytes);
        let mut session: Option<Session> = None;
        let deadline_of_batch = || Instant::now() + PATIENCE;
        let mut deadline = deadline_of_batch();
        while self.filled_rows < setting.rows {
            let first = self.filled_rows.saturating_add(1);
            let count = worker::load_rows(first, setting.rows);
            let loaded = match &mut session {
                Some(session) => worker::load(session, &table, first, count, &mut values).await,
                None => self.client.session().await.map(|opened| {
                    session = Some(opened);
                    0
                }),
            };
            match loaded {
                Ok(0) => {}
                Ok(loaded) => {
                    self.filled_rows = self.filled_rows.saturating_add(loaded);
                    line.show(&format!(
                        "filling the table to read from: {} of {} rows",
                        self.filled_rows, setting.rows
                    ));
                    deadline = deadline_of_batch();
                }
                Err(error) if passes(&error) && Instant::now() < deadline => {
                    session = None;
                    // A batch whose outcome is unknown is deleted before it is made again.
                    let clear = format!("DELETE FROM {table} WHERE id >= {first}");
                    patiently(&self.client, &clear)
                        .await
                        .map_err(Error::client("cannot fill the table to read from"))?;
                }
                Err(error) => {
                    return Err(Error::client("cannot fill the table to read from")(error));
                }
            }
        }
        Ok(())
    }

    /// Makes what a phase writes to, empty.
    ///
    /// # Errors
    /// When that fails for good.
    pub async fn prepare(&mut self, phase: Phase) -> Result<()> {
        if phase.reads_rows() {
            return Ok(());
        }
        let drop = format!("DROP TABLE IF EXISTS {}", self.name("inserts"));
        patiently(&self.client, &drop)
            .await
            .map_err(Error::client("cannot drop the table of the phase before"))?;
        self.make("inserts").await.map(|_| ())
    }

    async fn make(&mut self, of: &str) -> Result<String> {
        let name = self.name(of);
        if !self.made.contains(&name) {
            self.made.push(name.clone());
        }
        let sql = format!("CREATE TABLE IF NOT EXISTS {name} (id INTEGER PRIMARY KEY, value TEXT)");
        patiently(&self.client, &sql)
            .await
            .map_err(Error::client("cannot make a table"))?;
        Ok(name)
    }

    /// Drops all tables.
    ///
    /// # Errors
    /// When one cannot be dropped, or Ctrl-C comes: the message names those that are left.
    pub async fn drop_all(&mut self, interrupts: &mut Interrupts) -> Result<()> {
        while let Some(table) = self.made.last() {
            let sql = format!("DROP TABLE IF EXISTS {table}");
            let left = || {
                format!(
                    "{} in the database {}",
                    self.made.join(", "),
                    self.client.database()
                )
            };
            tokio::select! {
                dropped = patiently(&self.client, &sql) => {
                    dropped.map_err(Error::client(format!(
                        "cannot drop the bench's tables, drop them when the cluster serves again: {}",
                        left()
                    )))?;
                }
                () = interrupts.next() => return Err(Error::Input {
                    message: format!("interrupted before the bench's tables were dropped: {} is left", left()),
                    advice: Some("drop them with `ferrolite shell`".to_owned()),
                }),
            }
            self.made.pop();
        }
        Ok(())
    }
}

/// Runs a statement that may be run twice, until it succeeds or fails for good.
async fn patiently(client: &Client, sql: &str) -> ferrolite_client::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.execute(sql, ()).await {
            Ok(_) => return Ok(()),
            Err(error) if passes(&error) && Instant::now() < deadline => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

fn passes(error: &ferrolite_client::Error) -> bool {
    error.is_retryable() || error.is_outcome_unknown()
}

/// The INSERT of so many rows.
pub fn insert_rows_sql(table: &str, rows: u64) -> String {
    let rows: Vec<&str> = (0..rows.min(STATEMENT_ROWS)).map(|_| "(?, ?)").collect();
    format!("INSERT INTO {table} (id, value) VALUES {}", rows.join(", "))
}
