//! A client's database between two pieces of work: where it waits.
//!
//! A statement needs a thread only while the engine works on it. In between the session waits here, without one, for three
//! things: the writer's turn, the commit by a quorum of everything that its answer depends on, and the confirmation that this
//! node still leads.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrolite_sql::{Error, Turn};
use ferrolite_wire::{ErrorCode, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::failure::Failure;
use super::inbox::Interrupts;
use super::session::{Effect, Ending, OpenDatabase, Outcome, Pace, Ran, Release};
use super::shared::{self, Answer};
use super::staleness::{self, Setting, Staleness};
use super::statements::Statements;
use super::text::{Text, has_statement, has_tail};
use crate::error::Error as NodeError;
use crate::handle::{Event, Handle};
use crate::leading::LeaderDatabase;

/// Batches of rows that may be ready before the client has taken them.
const READY_BATCHES: usize = 4;
/// Pause before a statement is tried again that a checkpoint was in the way of.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// A client's database, here or away at work.
pub(super) struct Seat {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) handle: Handle,
    pub(super) busy_timeout: Duration,
    pub(super) interrupts: Arc<Interrupts>,
    /// Whether reads may be [stale](super::stale).
    pub(super) staleness: Option<Staleness>,
}

/// Where the session of a seat is.
pub(super) enum Place {
    Here(Box<OpenDatabase>),
    /// At work, or gone for good because that panicked.
    Away,
    /// There is none now; these are to be prepared for the next one.
    Parked(Statements),
}

/// Where batches of rows go.
pub(super) trait BatchSink {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure>;
}

impl Seat {
    /// A seat of the database `name`, without a session so far.
    pub(super) fn new(
        name: String,
        handle: Handle,
        busy_timeout: Duration,
        interrupts: Arc<Interrupts>,
        staleness: Option<Staleness>,
    ) -> Self {
        Self {
            place: Place::Parked(Statements::default()),
            name,
            handle,
            busy_timeout,
            interrupts,
            staleness,
        }
    }

    /// The seat with a session.
    pub(super) fn with(mut self, open: OpenDatabase) -> Self {
        self.place = Place::Here(Box::new(open));
        self
    }

    pub(super) fn here(&mut self) -> Result<&mut OpenDatabase, Failure> {
        match &mut self.place {
            Place::Here(open) => Ok(open),
            Place::Away | Place::Parked(_) => Err(engine_failed()),
        }
    }

    /// What the client has prepared.
    pub(super) fn statements(&mut self) -> Result<&mut Statements, Failure> {
        match &mut self.place {
            Place::Here(open) => Ok(&mut open.statements),
            Place::Parked(statements) => Ok(statements),
            Place::Away => Err(engine_failed()),
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        matches!(&self.place, Place::Here(open) if open.session.in_transaction())
    }

    pub(super) fn set_staleness(&mut self, staleness: Option<Staleness>) {
        self.staleness = staleness;
        if let Place::Here(open) = &mut self.place {
            open.linearizable = staleness.is_none();
        }
    }

    /// Lets go of the session, but for what the client has prepared.
    pub(super) fn park(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Away) {
            Place::Here(open) => Place::Parked(open.statements),
            other => other,
        };
    }

    /// Whether the seat has a database open on a node that follows, without being in the middle of something.
    pub(super) fn is_idle_follower(&self) -> bool {
        matches!(&self.place, Place::Here(open) if open.attached.is_some() && !open.session.in_transaction())
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut OpenDatabase) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let Place::Here(mut open) = std::mem::replace(&mut self.place, Place::Away) else {
            return Err(engine_failed());
        };
        let job = self.handle.workers.run(move || {
            let outcome = work(&mut open);
            (open, outcome)
        });
        match job.await {
            Ok((open, outcome)) => {
                self.place = Place::Here(open);
                Ok(outcome)
            }
            Err(error) => {
                self.handle.send(Event::EngineFailed(error.to_string()));
                Err(engine_failed())
            }
        }
    }

    /// Runs `work`, which does not take long, on this thread.
    fn run_here<T>(&mut self, work: impl FnOnce(&mut OpenDatabase) -> T) -> Result<T, Failure> {
        let open = self.here()?;
        match std::panic::catch_unwind(AssertUnwindSafe(|| work(open))) {
            Ok(outcome) => Ok(outcome),
            Err(_) => {
                // The engine failed in the middle of something: it must not be asked for more.
                if let Place::Here(open) = std::mem::replace(&mut self.place, Place::Away) {
                    open.session.abandon();
                }
                let reason = "a statement panicked".to_owned();
                self.handle.send(Event::EngineFailed(reason));
                Err(engine_failed())
            }
        }
    }

    /// Waits until the outcome may leave the node.
    async fn release(&mut self, ending: Ending) -> Result<(), Failure> {
        let release = match ending {
            Ending::Settled(release) => release,
            Ending::Unsettled => self.run(OpenDatabase::settle_large).await?,
        };
        let database = Arc::clone(&self.here()?.database);
        release_answer(&self.handle, &database, release).await?;
        self.here()?.released(release);
        Ok(())
    }

    /// An outcome that is an error because the database is closed depends on nothing: nothing was done, and nothing was seen.
    async fn release_outcome<T>(
        &mut self,
        ending: Ending,
        result: Result<T, Error>,
    ) -> Result<T, Failure> {
        if let Err(error) = &result
            && error.is_closed()
        {
            return Err(Failure::not_leader());
        }
        self.release(ending).await?;
        Ok(result?)
    }

    /// Prepares a statement that the client will name by a number. Returns that, the number of parameters, and where the
    /// text goes on.
    pub(super) async fn prepare(&mut self, sql: String) -> Result<(u32, u64, usize), Failure> {
        if let Some((setting, tail)) = Setting::read(&sql)? {
            return Ok((self.statements()?.keep_setting(setting)?, 0, tail));
        }
        let attempt = self.attempt();
        let sql: Arc<str> = Arc::from(sql);
        loop {
            self.get_ready(&attempt).await?;
            let sql = Arc::clone(&sql);
            let prepared = self.run(move |open| {
                // Nothing is done by it.
                open.only_read = true;
                let statement = open.session.prepare(&sql)?;
                let statement =
                    statement.ok_or_else(|| Failure::new(ErrorCode::ERROR, "empty statement"))?;
                let (params, tail) = (statement.parameter_count() as u64, statement.tail());
                Ok((open.statements.keep(statement, &sql)?, params, tail))
            });
            match prepared.await? {
                Err(_) if self.may_repeat(&attempt) => {}
                prepared => return prepared,
            }
        }
    }

    /// Refuses a text that is not one statement.
    pub(super) async fn expect_alone(&mut self, text: &Text) -> Result<(), Failure> {
        let Text::Sql { sql, .. } = text else {
            return Ok(());
        };
        if let Some((_, tail)) = Setting::read(sql)? {
            return if has_tail(sql, tail) {
                Err(Failure::new(ErrorCode::ERROR, "nonempty statement tail"))
            } else {
                Ok(())
            };
        }
        // A text that was kept is one statement, and nothing behind it.
        if self.statements()?.get(text).is_some() {
            return Ok(());
        }
        let attempt = self.attempt();
        loop {
            self.get_ready(&attempt).await?;
            let whole = text.clone();
            let prepared = self.run(move |open| {
                open.only_read = true;
                open.prepare_alone(&whole)
            });
            match prepared.await? {
                Err(_) if self.may_repeat(&attempt) => {}
                prepared => return prepared,
            }
        }
    }

    /// Runs a statement for its effect, and returns what it did and where the text goes on.
    pub(super) async fn exec(
        &mut self,
        text: Text,
        params: Vec<Value>,
    ) -> Result<(Effect, usize), Failure> {
        if let Some(end) = self.settle_setting(&text)? {
            return Ok((Effect::default(), end));
        }
        let (attempt, mut params) = (self.attempt(), Arc::new(params));
        loop {
            self.get_ready(&attempt).await?;
            if let Some((sql, offset)) = self.here()?.shareable(&text) {
                let (database, busy_timeout) =
                    (Arc::clone(&self.here()?.database), self.busy_timeout);
                let given = Arc::unwrap_or_clone(params);
                match shared::run(&self.handle, &database, sql, given, busy_timeout).await {
                    Answer::Done(result) => {
                        let personal = &mut self.here()?.personal;
                        return Ok((result.map(|changed| personal.shared(changed))?, offset));
                    }
                    Answer::GivenBack(given_back) => params = Arc::new(given_back),
                    Answer::Failed(failure) => return Err(failure),
                }
            }
            match self.exec_once(text.clone(), Arc::clone(&params)).await {
                Err(_) if self.may_repeat(&attempt) => {}
                done => return done,
            }
        }
    }

    async fn exec_once(
        &mut self,
        text: Text,
        params: Arc<Vec<Value>>,
    ) -> Result<(Effect, usize), Failure> {
        let mut work = Work::new(self, params)?;
        let mut pace = self.here()?.pace(&text);
        loop {
            let turn = work.turn.take();
            let ran = match pace {
                Pace::Brisk => self.run_here(|open| {
                    open.with_statement(&text, &work.params, turn, pace, OpenDatabase::effect)
                })?,
                Pace::Patient => {
                    let (text, params) = (text.clone(), Arc::clone(&work.params));
                    self.run(move |open| {
                        open.with_statement(&text, &params, turn, pace, OpenDatabase::effect)
                    })
                    .await?
                }
            }?;
            if let Some(((result, offset), ending)) = work.after(ran, &mut pace).await? {
                return Ok((self.release_outcome(ending, result).await?, offset));
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
        if self.settle_setting(&text)?.is_some() {
            return client.send(staleness::rows(self.staleness)?).await;
        }
        let (attempt, params) = (self.attempt(), Arc::new(params));
        let mut client = Noting {
            client,
            has_rows: false,
        };
        loop {
            self.get_ready(&attempt).await?;
            let params = Arc::clone(&params);
            match self.query_once(text.clone(), params, &mut client).await {
                Err(_) if !client.has_rows && self.may_repeat(&attempt) => {}
                done => return done,
            }
        }
    }

    async fn query_once(
        &mut self,
        text: Text,
        params: Arc<Vec<Value>>,
        client: &mut impl BatchSink,
    ) -> Result<(), Failure> {
        let mut work = Work::new(self, params)?;
        let mut pace = self.here()?.pace(&text);
        loop {
            let turn = work.turn.take();
            let ran = match pace {
                Pace::Brisk => self.run_here(|open| {
                    open.with_statement(&text, &work.params, turn, pace, |open, kept| {
                        if kept.statement.needs_turn() {
                            open.held_rows(kept)
                        } else {
                            open.brisk_rows(kept)
                        }
                    })
                })??,
                Pace::Patient => {
                    let (text, params) = (text.clone(), Arc::clone(&work.params));
                    self.stream(text, params, turn, client).await?
                }
            };
            if let Some(((result, _), ending)) = work.after(ran, &mut pace).await? {
                for batch in self.release_outcome(ending, result).await? {
                    client.send(batch).await?;
                }
                return Ok(());
            }
        }
    }

    /// Runs a statement whose result may be of any size, and sends batches while it is made. Returns those that are left.
    async fn stream(
        &mut self,
        text: Text,
        params: Arc<Vec<Value>>,
        turn: Option<Turn>,
        client: &mut impl BatchSink,
    ) -> Result<Ran<Outcome<Vec<Bytes>>>, Failure> {
        let workers = self.handle.workers;
        let (batches, mut ready) = mpsc::channel::<Bytes>(workers.room_for(READY_BATCHES));
        let (observed, observes) = oneshot::channel::<Release>();
        let (handle, database) = (self.handle.clone(), Arc::clone(&self.here()?.database));
        let job = self.run(move |open| {
            let mut observed = Some(observed);
            open.with_statement(&text, &params, turn, Pace::Patient, |open, kept| {
                if kept.statement.needs_turn() {
                    return open.held_rows(kept);
                }
                let release = open.observed(open.needs_confirmation());
                let last = open.rows(kept, &mut |batch| {
                    // The snapshot is fixed since the first step: what it can hold is known now.
                    if let Some(observed) = observed.take() {
                        let _ = observed.send(release());
                    }
                    workers.send(&batches, batch)
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
        ran?
    }
}

/// Notes whether a client has got any rows, and so cannot be given them anew.
struct Noting<'a, S> {
    client: &'a mut S,
    has_rows: bool,
}

impl<S: BatchSink> BatchSink for Noting<'_, S> {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure> {
        self.has_rows = true;
        self.client.send(batch).await
    }
}

/// A statement on its way through as many attempts as it takes.
struct Work {
    params: Arc<Vec<Value>>,
    turn: Option<Turn>,
    database: Arc<LeaderDatabase>,
    busy_timeout: Duration,
    deadline: Instant,
}

impl Work {
    fn new(seat: &mut Seat, params: Arc<Vec<Value>>) -> Result<Self, Failure> {
        Ok(Self {
            params,
            turn: None,
            database: Arc::clone(&seat.here()?.database),
            busy_timeout: seat.busy_timeout,
            deadline: Instant::now() + seat.busy_timeout,
        })
    }

    /// Gets ready for the next attempt, unless the statement has ended: then says how.
    async fn after<T>(
        &mut self,
        ran: Ran<T>,
        pace: &mut Pace,
    ) -> Result<Option<(T, Ending)>, Failure> {
        match ran {
            Ran::NeedsTurn => {
                self.turn = Some(wait_for_turn(&self.database, self.busy_timeout).await?);
            }
            Ran::Again => pause_until(self.deadline).await?,
            Ran::Behind(bytes) => {
                let paused = pause_until(self.deadline).await;
                paused.map_err(|_| Failure::behind(bytes))?;
            }
            Ran::TooLong => *pace = Pace::Patient,
            Ran::Ended(outcome, ending) => return Ok(Some((outcome, ending))),
        }
        Ok(None)
    }
}

pub(super) fn engine_failed() -> Failure {
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
        biased;
        turn = turn => turn.map_err(|_| Failure::not_leader()),
        () = database.closed() => Err(Failure::not_leader()),
        () = tokio::time::sleep(timeout) => Err(Failure::from(Error::Busy)),
    }
}

/// Waits until an outcome may leave the node.
pub(super) async fn release_answer(
    handle: &Handle,
    database: &LeaderDatabase,
    release: Release,
) -> Result<(), Failure> {
    release_once(database, release, handle.confirm()).await
}

/// Waits until a quorum has what an outcome depends on, and `confirmed`, which begins only then, where that is wanted.
///
/// The commit does not make up for the confirmation, not even where it was waited for. The statement may depend on what
/// was proposed before it began; a quorum may have had that long ago, and have followed another leader since, if this node
/// slept meanwhile and finds the acknowledgements only now.
async fn release_once(
    database: &LeaderDatabase,
    release: Release,
    confirmed: impl Future<Output = Result<(), NodeError>>,
) -> Result<(), Failure> {
    database.commits.wait(release.number).await?;
    if release.confirm {
        confirmed.await?;
        // This node leads, but perhaps again: then another engine has the database now, and this one may have answered from
        // pages that it remembers. An engine that is open at this moment has been the only one since its statement began.
        if database.sql.is_closed() {
            return Err(Failure::not_leader());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
