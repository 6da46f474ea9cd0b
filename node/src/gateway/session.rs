//! A client's database: the statements of its session, run off the network threads.
//!
//! Running SQL blocks: on the disk when a page is not in memory, on the processor when a query is large.
//! So a session leaves for a blocking thread with each piece of work and comes back with the outcome. In
//! between it waits here, without a thread, for three things: the writer's turn, the commit by a quorum of
//! everything that its answer depends on, and the confirmation that this node still leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrolite_sql::{Error, Session, Statement, Step, Turn, ValueRef};
use ferrolite_wire::{ErrorCode, RowsEncoder, Value};
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use crate::handle::{Event, Handle};
use crate::leading::LeaderDatabase;

/// Batches of rows that may be ready before the client has taken them.
const READY_BATCHES: usize = 4;
/// Rows of a RETURNING clause wait for the commit in memory, up to this many bytes.
const MAX_HELD_BYTES: usize = 64 << 20;
/// Pause before a statement is tried again that a checkpoint was in the way of.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// A database that a client has open, while no work is under way.
pub(super) struct OpenDatabase {
    pub(super) database: Arc<LeaderDatabase>,
    pub(super) session: Session,
    pub(super) statements: Vec<Option<Statement>>,
    handle: Handle,
    /// What [`LeaderDatabase::snapshots`] was before the present transaction or statement took its snapshot.
    began: Arc<AtomicU64>,
}

/// A writer has the turn: nothing that it keeps from others can be had earlier by ending it.
const WRITES: u64 = u64::MAX;

/// What a statement that was run for its effect has to say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effect {
    pub(super) last_insert_id: i64,
    pub(super) rows_affected: i64,
}

/// What must be true before the outcome may leave the node.
#[derive(Debug, Clone, Copy)]
struct Release {
    number: u64,
    confirm: bool,
}

/// Which statement to run.
pub(super) enum Text {
    /// One that was prepared, by its number.
    Prepared(u32),
    /// The first of a text, from this offset.
    Sql { sql: Arc<str>, at: usize },
}

/// What a statement came to, and where the text goes on.
type Outcome<T> = (Result<T, Error>, usize);

enum Ran<T> {
    /// The statement has to wait for the writer's turn first.
    NeedsTurn,
    /// Something was in the way for a moment.
    Again,
    Ended(T, Release),
}

impl OpenDatabase {
    pub(super) fn new(
        handle: &Handle,
        name: &str,
        interrupted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let database = handle.open_database(name)?;
        let session = database.sql.connect()?;
        let began = Arc::new(AtomicU64::new(WRITES));
        let (snapshots, mine) = (Arc::clone(&database), Arc::clone(&began));
        session.interrupt_when(move || interrupted() || is_too_old(&snapshots, &mine));
        Ok(Self {
            database,
            session,
            statements: Vec::new(),
            handle: handle.clone(),
            began,
        })
    }

    /// Keeps a prepared statement, and returns its number.
    pub(super) fn keep(&mut self, statement: Statement) -> Result<u32, Failure> {
        let free = self
            .statements
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.statements.len());
        let number = u32::try_from(free)
            .map_err(|_| Failure::new(ErrorCode::NOMEM, "too many prepared statements"))?;
        match self.statements.get_mut(free) {
            Some(slot) => *slot = Some(statement),
            None => self.statements.push(Some(statement)),
        }
        Ok(number)
    }

    /// Ends whatever has just run: a transaction that committed goes to the log.
    fn settle(&mut self) -> bool {
        let mut submitted = false;
        let (handle, database) = (&self.handle, &self.database);
        self.session.settle(|transaction| {
            handle.submit(database, &transaction);
            submitted = true;
        });
        submitted
    }

    fn release_after(&mut self, control: bool) -> Release {
        let submitted = self.settle();
        Release {
            number: self.database.observable(),
            confirm: !submitted && !control && !self.session.has_turn(),
        }
    }

    /// Runs `work` on a statement, which is taken out of the session for as long and comes back reset.
    fn with_statement<T>(
        &mut self,
        text: &Text,
        params: &[Value],
        turn: Option<Turn>,
        work: impl FnOnce(&mut Self, &mut Statement) -> Result<T, Error>,
    ) -> Result<Ran<Outcome<T>>, Failure> {
        if !self.session.in_transaction() {
            self.began
                .store(self.database.snapshots(), Ordering::Release);
        } else if is_too_old(&self.database, &self.began) {
            self.session.roll_back();
            return Ok(Ran::Ended(
                (Err(Error::SnapshotTooOld), 0),
                self.release_after(true),
            ));
        }
        let (mut statement, offset) = match text {
            Text::Prepared(number) => {
                let slot = usize::try_from(*number)
                    .ok()
                    .and_then(|n| self.statements.get_mut(n));
                let taken = slot.and_then(Option::take);
                (
                    taken.ok_or_else(|| {
                        Failure::new(ErrorCode::DQLITE_NOTFOUND, "no statement with that id")
                    })?,
                    0,
                )
            }
            Text::Sql { sql, at } => match self.session.prepare(sql.get(*at..).unwrap_or_default())
            {
                Ok(Some(statement)) => {
                    let tail = at + statement.tail();
                    (statement, tail)
                }
                Ok(None) => return Err(Failure::new(ErrorCode::ERROR, "empty statement")),
                Err(error) => return Ok(Ran::Ended((Err(error), *at), self.release_after(true))),
            },
        };
        if statement.needs_turn() && !self.session.has_turn() {
            if let Err(short) = self.handle.store.room.check(0) {
                // With it goes the turn, if it was granted already.
                self.put_back(text, statement);
                return Err(short.into());
            }
            match turn.or_else(|| self.database.sql.line().try_take()) {
                Some(turn) => {
                    self.session.take_turn(turn);
                    self.began.store(WRITES, Ordering::Release);
                }
                None => {
                    self.put_back(text, statement);
                    return Ok(Ran::NeedsTurn);
                }
            }
        }
        let control = statement.is_transaction_control();
        let mut result = statement.bind(params.iter().map(value_ref));
        let mut outcome = None;
        if result.is_ok() {
            match work(self, &mut statement) {
                Ok(value) => outcome = Some(value),
                Err(error) => result = Err(error),
            }
        }
        if let Err(error) = statement.reset()
            && result.is_ok()
        {
            result = Err(error);
        }
        self.put_back(text, statement);
        if matches!(&result, Err(Error::Interrupted)) && is_too_old(&self.database, &self.began) {
            result = Err(Error::SnapshotTooOld);
            self.session.roll_back();
        }
        if matches!(&result, Err(Error::TransactionTooLarge { .. })) {
            // Part of it may have been spilled already; nothing of it can be kept.
            self.session.roll_back();
        }
        let release = self.release_after(control);
        Ok(match (result, outcome) {
            (Err(Error::Busy), _) => Ran::Again,
            (Err(error), _) => Ran::Ended((Err(error), offset), release),
            (Ok(()), Some(value)) => Ran::Ended((Ok(value), offset), release),
            (Ok(()), None) => Ran::Again,
        })
    }

    fn put_back(&mut self, text: &Text, statement: Statement) {
        if let Text::Prepared(number) = text
            && let Some(slot) = usize::try_from(*number)
                .ok()
                .and_then(|n| self.statements.get_mut(n))
        {
            *slot = Some(statement);
        }
    }

    fn effect(&mut self, statement: &mut Statement) -> Result<Effect, Error> {
        while self.session.step(statement)? == Step::Row {}
        Ok(Effect {
            last_insert_id: self.session.last_insert_rowid(),
            rows_affected: self.session.changes(),
        })
    }

    /// Steps through all rows and gives them to `sink`, batch by batch; the last batch is returned.
    fn rows(
        &mut self,
        statement: &mut Statement,
        sink: &mut dyn FnMut(Bytes) -> Result<(), Error>,
    ) -> Result<Bytes, Error> {
        let columns = statement.column_count();
        let names: Vec<String> = (0..columns).map(|nth| statement.column_name(nth)).collect();
        let kinds: Vec<Declared> = (0..columns)
            .map(|nth| Declared::of(statement.column_decltype(nth).as_deref()))
            .collect();
        let mut encoder = RowsEncoder::new(&names);
        while self.session.step(statement)? == Step::Row {
            let row: Vec<_> = statement
                .row()
                .zip(&kinds)
                .map(|(value, kind)| kind.wire(value))
                .collect();
            encoder.push(&row).map_err(|error| too_big(&error))?;
            if let Some(batch) = encoder.take_ready() {
                sink(batch)?;
            }
        }
        encoder.finish().map_err(|error| too_big(&error))
    }
}

/// Whether the snapshot that was taken then has been given up.
fn is_too_old(database: &LeaderDatabase, began: &AtomicU64) -> bool {
    let began = began.load(Ordering::Acquire);
    began != WRITES && began != database.snapshots()
}

fn too_big(error: &ferrolite_wire::WireError) -> Error {
    Error::Refused(format!("the row cannot be sent: {error}"))
}

/// How the declared type of a column changes the type of its values on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Plain,
    Time,
    Boolean,
}

impl Declared {
    fn of(decltype: Option<&str>) -> Self {
        let is = |name: &str| decltype.is_some_and(|decltype| decltype.eq_ignore_ascii_case(name));
        if is("DATETIME") || is("DATE") || is("TIMESTAMP") {
            Self::Time
        } else if is("BOOLEAN") {
            Self::Boolean
        } else {
            Self::Plain
        }
    }

    fn wire(self, value: ValueRef<'_>) -> ferrolite_wire::ValueRef<'_> {
        use ferrolite_wire::ValueRef as Wire;
        match (self, value) {
            (Self::Time, ValueRef::Integer(seconds)) => Wire::UnixTime(seconds),
            (Self::Time, ValueRef::Text(text)) => Wire::Iso8601(text),
            (Self::Boolean, ValueRef::Integer(integer)) => Wire::Boolean(integer != 0),
            (_, ValueRef::Null) => Wire::Null,
            (_, ValueRef::Integer(integer)) => Wire::Integer(integer),
            (_, ValueRef::Real(real)) => Wire::Float(real),
            (_, ValueRef::Text(text)) => Wire::Text(text),
            (_, ValueRef::Blob(bytes)) => Wire::Blob(bytes),
        }
    }
}

fn value_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) | Value::UnixTime(integer) => ValueRef::Integer(*integer),
        Value::Float(real) => ValueRef::Real(*real),
        Value::Text(text) | Value::Iso8601(text) => ValueRef::Text(text),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
        Value::Boolean(truth) => ValueRef::Integer(i64::from(*truth)),
    }
}

/// A client's database, here or away at work.
pub(super) struct Seat {
    /// `None` while it is away, and for good if the work panicked.
    open: Option<Box<OpenDatabase>>,
    handle: Handle,
    busy_timeout: Duration,
}

impl Seat {
    pub(super) fn new(open: OpenDatabase, busy_timeout: Duration) -> Self {
        Self {
            handle: open.handle.clone(),
            open: Some(Box::new(open)),
            busy_timeout,
        }
    }

    pub(super) fn here(&mut self) -> Result<&mut OpenDatabase, Failure> {
        self.open.as_deref_mut().ok_or_else(engine_failed)
    }

    /// Runs `work` on a blocking thread.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut OpenDatabase) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let mut open = self.open.take().ok_or_else(engine_failed)?;
        let job = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut open);
            (open, outcome)
        });
        match job.await {
            Ok((open, outcome)) => {
                self.open = Some(open);
                Ok(outcome)
            }
            Err(error) => {
                self.handle.send(Event::EngineFailed(error.to_string()));
                Err(engine_failed())
            }
        }
    }

    async fn turn(&mut self) -> Result<Turn, Failure> {
        let database = Arc::clone(&self.here()?.database);
        wait_for_turn(&database, self.busy_timeout).await
    }

    /// Waits until the outcome may leave the node.
    async fn release(&mut self, release: Release) -> Result<(), Failure> {
        let database = Arc::clone(&self.here()?.database);
        release_answer(&self.handle, &database, release).await
    }

    /// Runs a statement for its effect, and returns what it did and where the text goes on.
    pub(super) async fn exec(
        &mut self,
        text: Text,
        params: Vec<Value>,
    ) -> Result<(Effect, usize), Failure> {
        let (text, params) = (Arc::new(text), Arc::new(params));
        let mut turn = None;
        let deadline = Instant::now() + self.busy_timeout;
        loop {
            let (text, params, mine) = (Arc::clone(&text), Arc::clone(&params), turn.take());
            let ran = self
                .run(move |open| open.with_statement(&text, &params, mine, OpenDatabase::effect))
                .await??;
            match ran {
                Ran::NeedsTurn => turn = Some(self.turn().await?),
                Ran::Again => pause_until(deadline).await?,
                Ran::Ended((result, offset), release) => {
                    self.release(release).await?;
                    return Ok((result?, offset));
                }
            }
        }
    }

    /// Runs every statement of a text; the parameters are the first one's.
    pub(super) async fn exec_text(
        &mut self,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Effect, Failure> {
        let sql: Arc<str> = Arc::from(sql);
        let mut params = Some(params);
        let mut at = 0;
        let mut effect = Effect::default();
        while has_statement(sql.get(at..).unwrap_or_default()) {
            let text = Text::Sql {
                sql: Arc::clone(&sql),
                at,
            };
            (effect, at) = self.exec(text, params.take().unwrap_or_default()).await?;
        }
        Ok(effect)
    }

    /// Runs a statement for its rows. Batches go to `client` as they come, and the last one last.
    pub(super) async fn query(
        &mut self,
        text: Text,
        params: Vec<Value>,
        client: &mut impl BatchSink,
    ) -> Result<(), Failure> {
        let (text, params) = (Arc::new(text), Arc::new(params));
        let mut turn = None;
        let deadline = Instant::now() + self.busy_timeout;
        loop {
            let (text, params, mine) = (Arc::clone(&text), Arc::clone(&params), turn.take());
            let database = Arc::clone(&self.here()?.database);
            let (batches, mut ready) = mpsc::channel::<Bytes>(READY_BATCHES);
            let (observed, observes) = oneshot::channel::<Release>();
            let handle = self.handle.clone();
            let job = self.run(move |open| {
                let mut observed = Some(observed);
                open.with_statement(&text, &params, mine, |open, statement| {
                    if statement.needs_turn() {
                        return hold_rows(open, statement);
                    }
                    let number = Arc::clone(&open.database);
                    let confirm = !open.session.has_turn();
                    let last = open.rows(statement, &mut |batch| {
                        // The snapshot is fixed since the first step: what it can hold is known now.
                        if let Some(observed) = observed.take() {
                            let _ = observed.send(Release {
                                number: number.observable(),
                                confirm,
                            });
                        }
                        batches.blocking_send(batch).map_err(|_| Error::Interrupted)
                    })?;
                    Ok(vec![last])
                })
            });
            let stream = async {
                // Nothing comes here for a result that fits one batch: the sender is dropped unused.
                if let Ok(release) = observes.await {
                    release_answer(&handle, &database, release).await?;
                }
                while let Some(batch) = ready.recv().await {
                    client.send(batch).await?;
                }
                // The receiver goes with this block, so that a query nobody listens to ends.
                drop(ready);
                Ok::<(), Failure>(())
            };
            let (ran, streamed) = tokio::join!(job, stream);
            streamed?;
            match ran?? {
                Ran::NeedsTurn => turn = Some(self.turn().await?),
                Ran::Again => pause_until(deadline).await?,
                Ran::Ended((result, _), release) => {
                    self.release(release).await?;
                    for batch in result? {
                        client.send(batch).await?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Where batches of rows go.
pub(super) trait BatchSink {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure>;
}

/// Rows of a statement that also writes are kept until it is committed.
fn hold_rows(open: &mut OpenDatabase, statement: &mut Statement) -> Result<Vec<Bytes>, Error> {
    let mut held = Vec::new();
    let mut held_bytes = 0;
    let last = open.rows(statement, &mut |batch| {
        held_bytes += batch.len();
        held.push(batch);
        if held_bytes > MAX_HELD_BYTES {
            return Err(Error::Refused(format!(
                "RETURNING yields more than {MAX_HELD_BYTES} bytes, which wait in memory for the commit; return less"
            )));
        }
        Ok(())
    })?;
    held.push(last);
    Ok(held)
}

fn engine_failed() -> Failure {
    Failure::new(
        ErrorCode::INTERNAL,
        "the SQL engine failed on this statement; see the node's log",
    )
    .closing()
}

async fn pause_until(deadline: Instant) -> Result<(), Failure> {
    if Instant::now() >= deadline {
        return Err(Failure::from(Error::Busy));
    }
    tokio::time::sleep(RETRY_PAUSE).await;
    Ok(())
}

/// Waits in the database's line for the writer's turn.
pub(super) async fn wait_for_turn(
    database: &LeaderDatabase,
    timeout: Duration,
) -> Result<Turn, Failure> {
    let (granted, turn) = oneshot::channel();
    let _ticket = database.sql.line().join(move |turn| {
        // If the wait is over, the turn comes back in the error and is passed on.
        let _ = granted.send(turn);
    });
    tokio::select! {
        turn = turn => turn.map_err(|_| Failure::not_leader()),
        () = database.closed() => Err(Failure::not_leader()),
        () = tokio::time::sleep(timeout) => Err(Failure::from(Error::Busy)),
    }
}

async fn release_answer(
    handle: &Handle,
    database: &LeaderDatabase,
    release: Release,
) -> Result<(), Failure> {
    if !database.commits.is_reached(release.number) {
        // A commit in this term proves the leadership as well.
        database.commits.wait(release.number).await?;
    } else if release.confirm {
        handle.confirm().await?;
    }
    Ok(())
}

/// Whether a text holds anything but blanks, comments and semicolons.
fn has_statement(mut sql: &str) -> bool {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = sql.strip_prefix("--") {
            sql = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = sql.strip_prefix("/*") {
            sql = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            return !sql.is_empty();
        }
    }
}

/// Whether anything follows the first statement of a text.
pub(super) fn has_tail(sql: &str, tail: usize) -> bool {
    has_statement(sql.get(tail..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts as "nothing more" after a statement, as for SQLite's own tail.
    #[test]
    fn statements_in_a_text() {
        for sql in ["", "  ;\n; ", "-- x", "/* x */ ; -- y\n", "/* open"] {
            assert!(!has_statement(sql), "{sql}");
        }
        for sql in ["SELECT 1", " ; /* x */ -- y\n x"] {
            assert!(has_statement(sql), "{sql}");
        }
    }

    /// Times and truth values by declared type; NULL and values of other classes are what they are.
    #[test]
    fn declared_types() {
        use ferrolite_wire::ValueRef as Wire;
        let time = Declared::of(Some("datetime"));
        assert_eq!(time.wire(ValueRef::Integer(7)), Wire::UnixTime(7));
        assert_eq!(time.wire(ValueRef::Text("x")), Wire::Iso8601("x"));
        assert_eq!(time.wire(ValueRef::Null), Wire::Null);
        assert_eq!(time.wire(ValueRef::Real(0.5)), Wire::Float(0.5));
        let truth = Declared::of(Some("BOOLEAN"));
        assert_eq!(truth.wire(ValueRef::Integer(2)), Wire::Boolean(true));
        assert_eq!(truth.wire(ValueRef::Text("no")), Wire::Text("no"));
        assert_eq!(
            Declared::of(None).wire(ValueRef::Integer(1)),
            Wire::Integer(1)
        );
    }
}
