//! The clients: each a closed loop over one connection.
//!
//! An operation is tried until it succeeds, fails for good, or the phase ends:
//!
//! | an attempt | then |
//! |---|---|
//! | succeeds | the operation counts as completed |
//! | is refused in passing, or its connection breaks before anything can have taken effect | counted as a retry; a pause; again, on a new connection if need be |
//! | fails otherwise, or its outcome is unknown | counted as an error; a pause; the next operation |
//! | or its pause lasts beyond the phase's end | the operation counts as unfinished |
//!
//! An attempt that is under way when the phase ends may finish, for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrolite_client::{Error as ClientError, RowStream, Session, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::measure::{Failure, Outcome, Recorder};
use super::phase::{MIXED_PERIOD, Operation, Phase, SCAN_ROWS, STATEMENT_ROWS, TRANSACTION_ROWS};
use super::tables::{Tables, Target, insert_rows_sql};
use super::{Setting, live};
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;

/// How long an attempt may go on after the end of its phase.
const GRACE: Duration = Duration::from_secs(10);
/// How often the progress line is renewed.
const REFRESH: Duration = Duration::from_millis(200);
/// The characters of values: enough of them that a value does not compress well.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

type ClientResult<T> = std::result::Result<T, ClientError>;

/// The pauses between the attempts of an operation: each twice as long as the one before it, up to a limit.
///
/// The defaults are those of dqlite's Go driver: it waits 100 ms × 2ⁿ before the n-th new attempt, 1 s at most. Each
/// pause is shortened by up to a fifth, by chance: clients that were refused together, as those of a bench are that
/// began together, would come back together for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest one.
    pub longest: Duration,
}

impl Backoff {
    /// Pauses in milliseconds.
    pub fn new(first_ms: u64, longest_ms: u64) -> Self {
        Self {
            first: Duration::from_millis(first_ms),
            longest: Duration::from_millis(longest_ms),
        }
    }

    /// The pause before an attempt is made again for the `nth` time, from 0.
    fn pause(self, nth: u32, chance: &mut fastrand::Rng) -> Duration {
        let factor = 1u32.checked_shl(nth).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.longest);
        whole.mul_f64(1.0 - 0.2 * chance.f64())
    }
}

/// Keys and values out of a seed.
#[derive(Debug)]
pub struct Values {
    random: fastrand::Rng,
    bytes: u64,
}

impl Values {
    /// Those of the client of this number; the same seed and number make the same.
    pub fn new(seed: u64, client: u64, bytes: u64) -> Self {
        // Any two streams differ from their first word on: the generator spreads its seed over all its bits.
        let own = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(client);
        Self {
            random: fastrand::Rng::with_seed(own),
            bytes,
        }
    }

    fn text(&mut self) -> Value {
        let letter = |_| char::from(*self.random.choice(ALPHABET).unwrap_or(&b'A'));
        Value::Text((0..self.bytes).map(letter).collect())
    }

    /// A number from 1 to `last`.
    fn key(&mut self, last: u64) -> i64 {
        i64::try_from(self.random.u64(1..=last.max(1))).unwrap_or(i64::MAX)
    }
}

/// What the clients of a phase share.
struct Shared {
    phase: Phase,
    setting: Setting,
    target: Target,
    recorder: Mutex<Recorder>,
    /// How many transactions of the bulk load have been begun.
    loads: AtomicU64,
    begun: Instant,
    /// No operation begins afterwards.
    end: Instant,
}

impl Shared {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        // Counters that a panic left half-way are still numbers.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a phase with so many clients, until its time is over, its work done, or Ctrl-C.
///
/// # Errors
/// When the clients cannot connect. Ctrl-C is noted in the outcome.
pub async fn run_phase(
    phase: Phase,
    clients: u64,
    setting: &Setting,
    tables: &Tables,
    interrupts: &mut Interrupts,
) -> Result<Outcome> {
    let line = live::Line::new();
    let name = format!("{}, {}", phase.name(), super::report::clients(clients));
    line.show(&format!("{name}: connecting"));
    let target = tables.target();
    let sessions = interrupts.or_interrupt(connect(&target, clients)).await?;

    let begun = Instant::now();
    let shared = Arc::new(Shared {
        phase,
        setting: setting.clone(),
        target,
        recorder: Mutex::new(Recorder::new(phase, setting.duration)?),
        loads: AtomicU64::new(0),
        begun,
        end: begun + setting.duration,
    });
    let mut working = JoinSet::new();
    for (number, session) in (1..).zip(sessions) {
        let values = Values::new(setting.seed, number, setting.value_bytes);
        let worker = Worker {
            shared: Arc::clone(&shared),
            session: Some(session),
            values,
            chance: fastrand::Rng::with_seed(setting.seed ^ number),
            waiting: None,
        };
        working.spawn(worker.run_until_given_up());
    }
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let interrupted = loop {
        tokio::select! {
            joined = working.join_next() => match joined {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(Error::input(format!("a client of the bench failed: {error}"))),
                None => break false,
            },
            _ = refresh.tick() => {
                let glance = shared.recorder().glance();
                line.show(&live::describe(&name, begun.elapsed(), Some(setting.duration), glance));
            }
            () = interrupts.next() => break true,
        }
    };
    let elapsed = begun.elapsed();
    // Connections are closed with their workers; the servers roll back what they had begun.
    working.shutdown().await;
    let glance = shared.recorder().glance();
    line.keep(&live::describe(&name, elapsed, None, glance));
    let mut outcome = shared.recorder().finish(phase, clients, elapsed);
    outcome.interrupted = interrupted;
    Ok(outcome)
}

/// A connection for each client, with the database open.
async fn connect(target: &Target, clients: u64) -> Result<Vec<Session>> {
    let mut connecting = JoinSet::new();
    for _ in 0..clients {
        let client = target.client.clone();
        connecting.spawn(async move {
            let mut session = client.session().await?;
            session.query::<i64>("SELECT 1", ()).await?;
            Ok::<_, ClientError>(session)
        });
    }
    let mut sessions = Vec::new();
    while let Some(joined) = connecting.join_next().await {
        let session = joined
            .map_err(|error| Error::input(format!("a client of the bench failed: {error}")))?;
        sessions.push(session.map_err(Error::client(format!("cannot connect {clients} clients")))?);
    }
    Ok(sessions)
}

/// One client.
struct Worker {
    shared: Arc<Shared>,
    /// None after the connection, or its server's leadership, was lost.
    session: Option<Session>,
    values: Values,
    /// For the pauses: the keys and values do not depend on how many there were.
    chance: fastrand::Rng,
    /// What it waits for, and since when.
    waiting: Option<(Operation, Instant)>,
}

/// Whatever ends a client, the phase's end or Ctrl-C: what it was waiting for is counted.
impl Drop for Worker {
    fn drop(&mut self) {
        if let Some((operation, since)) = self.waiting {
            let mut recorder = self.shared.recorder();
            recorder.unfinished(operation, since.elapsed());
        }
    }
}

impl Worker {
    /// Works until the phase ends, or what is under way then is given up.
    async fn run_until_given_up(self) {
        let give_up = self.shared.end + GRACE;
        // A worker that is dropped counts what it was waiting for.
        let _ = timeout_at(give_up, self.run()).await;
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while Instant::now() < shared.end {
            let Some((operation, key)) = self.next() else {
                return;
            };
            if !self.operate(&shared, operation, key).await {
                return;
            }
        }
    }

    /// What to do next, and with which row; nothing once all is loaded.
    fn next(&mut self) -> Option<(Operation, u64)> {
        let rows = self.shared.target.filled_rows;
        let operation = match self.shared.phase {
            Phase::Insert => Operation::Insert,
            Phase::Transaction => Operation::Transaction,
            Phase::Read => Operation::Read,
            Phase::Query => Operation::Query,
            Phase::Scan => Operation::Scan,
            Phase::Mixed if self.values.random.u64(..MIXED_PERIOD) == 0 => Operation::Update,
            Phase::Mixed => Operation::Read,
            Phase::Load => {
                let nth = self.shared.loads.fetch_add(1, Ordering::Relaxed);
                let first = nth.saturating_mul(TRANSACTION_ROWS).saturating_add(1);
                return (first <= self.shared.setting.rows).then_some((Operation::Load, first));
            }
        };
        Some((operation, self.values.key(rows).unsigned_abs()))
    }

    /// Brings one operation to its end; false if the phase's came first.
    async fn operate(&mut self, shared: &Shared, operation: Operation, key: u64) -> bool {
        let begun = Instant::now();
        self.waiting = Some((operation, begun));
        for nth in 0u32.. {
            let failure = match self.attempt(operation, key).await {
                Ok(rows) => {
                    self.waiting = None;
                    let now = Instant::now();
                    let mut recorder = shared.recorder();
                    recorder.completed(operation, now - begun, rows, now - shared.begun);
                    return true;
                }
                Err(failure) => failure,
            };
            self.reconnect_after(&failure);
            let pause = shared.setting.backoff.pause(nth, &mut self.chance);
            let next_attempt = Instant::now() + pause;
            if failure.is_retryable() {
                shared.recorder().retried(operation, failure);
                if next_attempt >= shared.end {
                    sleep_until(shared.end).await;
                    return false;
                }
                sleep_until(next_attempt).await;
            } else {
                self.waiting = None;
                shared.recorder().failed(operation, failure);
                // The next operation does not begin at once: where each fails at once, that would keep the machine
                // busy.
                sleep_until(next_attempt.min(shared.end)).await;
                return true;
            }
        }
        false
    }

    fn reconnect_after(&mut self, failure: &Failure) {
        let closed = self.session.as_ref().is_none_or(Session::is_closed);
        let elsewhere = |error: &ClientError| error.is_not_leader() || error.is_outcome_unknown();
        if closed || matches!(failure, Failure::Client(error) if elsewhere(error)) {
            self.session = None;
        }
    }

    /// One attempt. Returns how many rows were read or written.
    async fn attempt(&mut self, operation: Operation, key: u64) -> Result<u64, Failure> {
        let target = &self.shared.target;
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(target.client.session().await?),
        };
        match operation {
            Operation::Insert => {
                let params = vec![self.values.text()];
                session.execute_prepared(&target.insert, params).await?;
                Ok(1)
            }
            Operation::Transaction => {
                let mut transaction = session.transaction().await?;
                for _ in 0..TRANSACTION_ROWS {
                    let params = vec![self.values.text()];
                    transaction.execute_prepared(&target.insert, params).await?;
                }
                transaction.commit().await?;
                Ok(TRANSACTION_ROWS)
            }
            Operation::Update => {
                let params = vec![self.values.text(), integer(key)];
                let changed = session.execute_prepared(&target.update, params).await?;
                expect("an update", changed.rows_affected, 1)
            }
            Operation::Read | Operation::Query => {
                let (sql, params) = (&target.read, vec![integer(key)]);
                let rows = match operation {
                    Operation::Query => session.query_stream(sql, params).await?,
                    _ => session.query_prepared(sql, params).await?,
                };
                expect("a read", count(rows).await?, 1)
            }
            Operation::Scan => {
                let left = target.filled_rows.saturating_sub(key).saturating_add(1);
                let params = vec![integer(key)];
                let rows = session.query_prepared(&target.scan, params).await?;
                expect("a scan", count(rows).await?, left.min(SCAN_ROWS))
            }
            Operation::Load => {
                let rows = load_rows(key, self.shared.setting.rows);
                Ok(load(session, &target.inserts, key, rows, &mut self.values).await?)
            }
        }
    }
}

/// Counts the rows of a query.
async fn count(mut rows: RowStream<'_>) -> ClientResult<u64> {
    let mut count = 0;
    while rows.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// A fast answer is worth nothing if it is wrong.
fn expect(what: &str, rows: u64, expected: u64) -> Result<u64, Failure> {
    match rows == expected {
        true => Ok(rows),
        false => Err(Failure::Answer(format!(
            "{what} met {rows} rows where {expected} are"
        ))),
    }
}

/// How many rows the transaction of a load has that begins with this one.
pub fn load_rows(first: u64, last: u64) -> u64 {
    last.saturating_sub(first)
        .saturating_add(1)
        .min(TRANSACTION_ROWS)
}

/// Inserts rows of these numbers in a transaction.
///
/// # Errors
/// What the client reports.
pub async fn load(
    session: &mut Session,
    table: &str,
    first: u64,
    count: u64,
    values: &mut Values,
) -> ClientResult<u64> {
    let mut transaction = session.transaction().await?;
    let end = first.saturating_add(count);
    let mut next = first;
    while next < end {
        let rows = (end - next).min(STATEMENT_ROWS);
        let row = |id| [integer(id), values.text()];
        let params: Vec<Value> = (next..next + rows).flat_map(row).collect();
        let sql = insert_rows_sql(table, rows);
        transaction.execute_prepared(&sql, params).await?;
        next += rows;
    }
    transaction.commit().await?;
    Ok(count)
}

fn integer(key: u64) -> Value {
    Value::Integer(i64::try_from(key).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// Protects: the pauses are those that the help text promises, also after very many attempts.
    #[test]
    fn pauses_double_up_to_the_limit() {
        let backoff = Backoff::new(200, 1000);
        let mut chance = fastrand::Rng::with_seed(1);
        for nth in 0..1000 {
            let whole = [200, 400, 800].get(nth).copied().unwrap_or(1000);
            let nth = u32::try_from(nth).unwrap();
            let pause = backoff.pause(nth, &mut chance);
            let whole = Duration::from_millis(whole);
            assert!(pause <= whole && pause >= whole * 4 / 5, "{nth}: {pause:?}");
        }
        assert!(backoff.pause(u32::MAX, &mut chance) >= Duration::from_millis(800));
        assert_eq!(Backoff::new(0, 1000).pause(7, &mut chance), Duration::ZERO);
    }

    /// Protects: a run can be repeated; no two clients write the same.
    #[test]
    fn values_come_from_the_seed() {
        let drawn = |seed, client| {
            let mut values = Values::new(seed, client, 100);
            (values.text(), values.key(1_000_000), values.text())
        };
        assert_eq!(drawn(1, 1), drawn(1, 1));
        assert_ne!(drawn(1, 1), drawn(1, 2));
        assert_ne!(drawn(1, 1), drawn(2, 1));
        let (Value::Text(text), key, _) = drawn(7, 0) else {
            panic!("not a text");
        };
        assert_eq!(text.len(), 100);
        assert!((1..=1_000_000).contains(&key));
    }

    /// Protects: the last transaction of a load ends with the last row.
    #[test]
    fn a_load_has_all_rows() {
        assert_eq!(load_rows(1, 100_000), 1000);
        assert_eq!(load_rows(99_001, 99_500), 500);
        assert_eq!(load_rows(5, 5), 1);
        assert_eq!(
            insert_rows_sql("t", 2),
            "INSERT INTO t (id, value) VALUES (?, ?), (?, ?)"
        );
    }
}
