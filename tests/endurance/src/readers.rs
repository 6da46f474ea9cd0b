//! Clients that read without a pause, and hold every answer against what was known before they asked.
//!
//! Most reads are small: a register, or a row that was just acknowledged, found by the rowid that its writer was told. Some
//! count the last few hundred rows, some read twice in one transaction, and the first reader now and then counts all rows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferrolite_client::{Builder, Client, Error, Session, TransactionMode};
use tokio::task::JoinHandle;

use crate::ledger::{Counter, Ledger};
use ferrolite_processes::Result;

/// How often all rows are counted.
const WHOLE_COUNTS_EVERY: Duration = Duration::from_secs(10);
/// So many of the last rows are counted otherwise.
const COUNTED_ROWS: i64 = 500;

const REGISTER: &str = "SELECT number FROM registers WHERE id = ?";
const ROW: &str = "SELECT number FROM rows WHERE rowid = ?";
/// Rows are never deleted, so their rowids have no gaps.
const LAST_ROWS: &str = "SELECT count(*), max(rowid) FROM rows WHERE rowid > ?";
const ALL_ROWS: &str = "SELECT count(*), max(rowid) FROM rows";

/// What came of a read: the error of one that was not answered, or what is wrong with the answer.
type Read = Result<Result<(), String>, Error>;

/// A reader at work, until all are told to end.
///
/// # Errors
/// When it cannot connect.
pub(crate) async fn start(
    builder: &Builder,
    ledger: &Arc<Ledger>,
    reader: usize,
    writers: usize,
    seed: u64,
) -> Result<JoinHandle<()>> {
    let reader = Reader {
        // To count all rows may take longer than anything else here.
        patient: match reader {
            0 => Some(patient(builder).await?),
            _ => None,
        },
        client: builder.clone().max_connections(2).connect().await?,
        ledger: Arc::clone(ledger),
        writers,
        random: fastrand::Rng::with_seed(seed),
    };
    Ok(tokio::spawn(reader.run()))
}

async fn patient(builder: &Builder) -> Result<Client, Error> {
    let builder = builder.clone().answer_timeout(Duration::from_secs(30));
    builder.connect().await
}

struct Reader {
    client: Client,
    /// Of the reader that counts all rows.
    patient: Option<Client>,
    ledger: Arc<Ledger>,
    writers: usize,
    random: fastrand::Rng,
}

impl Reader {
    async fn run(mut self) {
        let mut whole_count_at = Instant::now() + WHOLE_COUNTS_EVERY;
        while self.ledger.goes_on() {
            let read = match (&self.patient, self.random.u32(0..100)) {
                (Some(patient), _) if Instant::now() >= whole_count_at => {
                    whole_count_at = Instant::now() + WHOLE_COUNTS_EVERY;
                    all_rows(patient, &self.ledger).await
                }
                (_, 0..55) => self.register().await,
                (_, 55..85) => self.row().await,
                (_, 85..95) => self.last_rows().await,
                _ => self.register_twice().await,
            };
            note(&self.ledger, read);
        }
    }

    fn a_register(&mut self) -> usize {
        self.random.usize(0..self.ledger.registers.len())
    }

    async fn register(&mut self) -> Read {
        let register = self.a_register();
        let Some(counter) = self.ledger.registers.get(register) else {
            return Ok(Ok(()));
        };
        let before = counter.known();
        let id = i64::try_from(register).unwrap_or(i64::MAX);
        let read: i64 = self.client.query_one(REGISTER, (id,)).await?;
        Ok(of_register(register, counter, before, read))
    }

    /// Two looks in one transaction see the same, whatever is written in between.
    async fn register_twice(&mut self) -> Read {
        let register = self.a_register();
        let Some(counter) = self.ledger.registers.get(register) else {
            return Ok(Ok(()));
        };
        let (before, rows_before) = (counter.known(), self.ledger.rows.known());
        let from = (rows_before - COUNTED_ROWS).max(0);
        let id = i64::try_from(register).unwrap_or(i64::MAX);
        let mode = TransactionMode::Deferred;
        let mut transaction = self.client.transaction_with(mode).await?;
        let first: i64 = transaction.query_one(REGISTER, (id,)).await?;
        let (count, last): (i64, Option<i64>) = transaction.query_one(LAST_ROWS, (from,)).await?;
        let second: i64 = transaction.query_one(REGISTER, (id,)).await?;
        transaction.commit().await?;
        if first != second {
            return Ok(Err(format!(
                "a transaction read {first} from register {register}, and then {second}"
            )));
        }
        let checked = of_register(register, counter, before, first);
        Ok(checked.and_then(|()| of_rows(&self.ledger, rows_before, from + count, last)))
    }

    async fn row(&mut self) -> Read {
        let writer = self.random.usize(0..self.writers);
        let Some((rowid, number)) = self.ledger.latest_of(writer) else {
            return Ok(Ok(()));
        };
        let read: Option<i64> = self.client.query_optional(ROW, (rowid,)).await?;
        Ok(match read {
            Some(read) if read == number => Ok(()),
            other => Err(format!(
                "row {number} was acknowledged as rowid {rowid}, where {other:?} was read"
            )),
        })
    }

    async fn last_rows(&mut self) -> Read {
        let before = self.ledger.rows.known();
        let from = (before - COUNTED_ROWS).max(0);
        let (count, last): (i64, Option<i64>) = self.client.query_one(LAST_ROWS, (from,)).await?;
        Ok(of_rows(&self.ledger, before, from + count, last))
    }
}

async fn all_rows(client: &Client, ledger: &Ledger) -> Read {
    let before = ledger.rows.known();
    let (count, last): (i64, Option<i64>) = client.query_one(ALL_ROWS, ()).await?;
    Ok(of_rows(ledger, before, count, last))
}

fn of_register(register: usize, counter: &Counter, before: i64, read: i64) -> Result<(), String> {
    let checked = counter.check(before, read);
    checked.map_err(|wrong| format!("register {register}: {wrong}"))
}

fn of_rows(ledger: &Ledger, before: i64, count: i64, last: Option<i64>) -> Result<(), String> {
    if count != last.unwrap_or(0) {
        return Err(format!(
            "{count} rows were counted, the last of them with the rowid {last:?}"
        ));
    }
    let checked = ledger.rows.check(before, count);
    checked.map_err(|wrong| format!("the number of rows: {wrong}"))
}

fn note(ledger: &Ledger, read: Read) {
    match read {
        Ok(Ok(())) => {
            ledger.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Err(wrong)) => ledger.report(wrong),
        Err(_) => {
            ledger.failed_reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads a register over a connection that may be to a node which does not lead any more.
pub(crate) async fn probe(session: &mut Session, ledger: &Ledger, register: usize) {
    let Some(counter) = ledger.registers.get(register) else {
        return;
    };
    let before = counter.known();
    let id = i64::try_from(register).unwrap_or(i64::MAX);
    let read = session.query_one::<i64>(REGISTER, (id,)).await;
    let read = read.map(|read| {
        let checked = of_register(register, counter, before, read);
        checked.map_err(|wrong| format!("of a leader that woke up, {wrong}"))
    });
    note(ledger, read);
}
