//! A client's database between two pieces of work: where it waits.
//!
//! A statement needs a thread only while the engine works on it. In between the session waits here, without one, for three
//! things: the writer's turn, the commit by a quorum of everything that its answer depends on, and the confirmation that this
//! node still leads.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrolite_sql::{Error, Turn};
use ferrolite_wire::{ErrorCode, Value};
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::session::{Effect, Ending, OpenDatabase, Outcome, Pace, Ran, Release};
use super::shared::{self, Answer};
use super::text::{Text, has_statement};
use crate::handle::{Event, Handle};
use crate::leading::LeaderDatabase;

/// Batches of rows that may be ready before the client has taken them.
const READY_BATCHES: usize = 4;
/// Pause before a statement is tried again that a checkpoint was in the way of.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// A client's database, here or away at work.
pub(super) struct Seat {
    /// `None` while it is away, and for good if the work panicked.
    open: Option<Box<OpenDatabase>>,
    handle: Handle,
    database: Arc<LeaderDatabase>,
    busy_timeout: Duration,
}

/// Where batches of rows go.
pub(super) trait BatchSink {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure>;
}

impl Seat {
    pub(super) fn new(open: OpenDatabase, handle: Handle, busy_timeout: Duration) -> Self {
        Self {
            handle,
            database: Arc::clone(&open.database),
            open: Some(Box::new(open)),
            busy_timeout,
        }
    }

    pub(super) fn here(&mut self) -> Result<&mut OpenDatabase, Failure> {
        self.open.as_deref_mut().ok_or_else(engine_failed)
    }

    /// Runs `work` on a thread that may block.
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

    /// Runs `work`, which does not take long, on this thread.
    fn run_here<T>(&mut self, work: impl FnOnce(&mut OpenDatabase) -> T) -> Result<T, Failure> {
        let open = self.here()?;
        match std::panic::catch_unwind(AssertUnwindSafe(|| work(open))) {
            Ok(outcome) => Ok(outcome),
            Err(_) => {
                // The engine failed in the middle of something: it must not be asked for more.
                if let Some(open) = self.open.take() {
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
        release_answer(&self.handle, &self.database, release).await
    }

    /// Runs a statement for its effect, and returns what it did and where the text goes on.
    pub(super) async fn exec(
        &mut self,
        text: Text,
        params: Vec<Value>,
    ) -> Result<(Effect, usize), Failure> {
        let mut params = params;
        if let Some((sql, offset)) = self.here()?.shareable(&text) {
            match shared::run(&self.handle, &self.database, sql, params, self.busy_timeout).await {
                Answer::Done(result) => {
                    let personal = &mut self.here()?.personal;
                    return Ok((result.map(|changed| personal.shared(changed))?, offset));
                }
                Answer::GivenBack(given_back) => params = given_back,
                Answer::Failed(failure) => return Err(failure),
            }
        }
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
                self.release(ending).await?;
                return Ok((result?, offset));
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
                self.release(ending).await?;
                for batch in result? {
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
        let (batches, mut ready) = mpsc::channel::<Bytes>(READY_BATCHES);
        let (observed, observes) = oneshot::channel::<Release>();
        let (handle, database) = (self.handle.clone(), Arc::clone(&self.database));
        let job = self.run(move |open| {
            let mut observed = Some(observed);
            open.with_statement(&text, &params, turn, Pace::Patient, |open, kept| {
                if kept.statement.needs_turn() {
                    return open.held_rows(kept);
                }
                let number = Arc::clone(&open.database);
                let confirm = !open.session.has_turn();
                let last = open.rows(kept, &mut |batch| {
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
        ran?
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
    fn new(seat: &Seat, params: Vec<Value>) -> Result<Self, Failure> {
        Ok(Self {
            params: Arc::new(params),
            turn: None,
            database: Arc::clone(&seat.database),
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
    if !database.commits.is_reached(release.number) {
        // A commit in this term proves the leadership as well.
        database.commits.wait(release.number).await?;
    } else if release.confirm {
        handle.confirm().await?;
        // This node leads, but perhaps again: then another engine has the database now, and this one may have answered from
        // pages that it remembers. An engine that is open at this moment has been the only one since its statement began.
        if database.sql.is_closed() {
            return Err(Failure::not_leader());
        }
    }
    Ok(())
}
