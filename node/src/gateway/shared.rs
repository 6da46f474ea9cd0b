//! Writes that share transactions.
//!
//! An INSERT that is a transaction of its own costs far more than the row: the engine begins and commits, every session's
//! page cache is out of date after every other's commit, and each commit is an entry of the log, sent to every node and
//! written there. So writes outside of explicit transactions are handed to one session that all share, which runs those that
//! have gathered one after the other *in one transaction*. They share its pages, its entry and its commit.
//!
//! Nobody can tell. Each still succeeds or fails on its own, because an error undoes only the statement that it ended. They
//! appear to others together, which a writer that is answered afterwards cannot distinguish from one after the other. What
//! depends on the session that sent it stays there ([`Statement::is_shareable`](ferrolite_sql::Statement::is_shareable)), and
//! what a session is asked about its earlier writes, it answers as if they had been its own ([`personal`](super::personal)).
//!
//! # When
//!
//! Whatever waits is run at once while little is on its way to a quorum. With [`UNDER_WAY`] transactions on their way, more
//! gather: those could not be synced before the next sync anyway.
//!
//! # What does not fit
//!
//! | a write | is |
//! |---|---|
//! | whose text is new here | run in a transaction by itself, within an allowance |
//! | that exceeds it, or was heavy when it was last run | given back: its own session runs it |
//! | that fails and ends the transaction, or whose transaction cannot be committed | answered with that error if it was alone; all others of that transaction are given back |

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrolite_sql::Error;
use ferrolite_wire::Value;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::seat::{RETRY_PAUSE, engine_failed, release_answer, wait_for_turn};
use super::session::{MAX_BEHIND_BYTES, Release, reopen_if_confused};
use super::shared_session::{SharedSession, Verdict};
use crate::handle::{Event, Handle};
use crate::leading::LeaderDatabase;

/// So many transactions may be on their way to a quorum before writes gather.
const UNDER_WAY: usize = 2;
/// So many writes share a transaction at most.
const WRITES_AT_ONCE: usize = 128;
/// The shared session waits for the writer's turn as long as anybody waits for it; each of those has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A write that somebody waits for.
#[derive(Debug)]
pub(super) struct Write {
    number: u64,
    pub(super) sql: Arc<str>,
    pub(super) params: Vec<Value>,
    answer: oneshot::Sender<Answer>,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was run, and a quorum has what its outcome depends on.
    Done(Result<Changed, Error>),
    /// It was not run, or nothing of it was kept: its own session is to run it, with these parameters.
    GivenBack(Vec<Value>),
    /// Nothing can be said about it, or nothing can be written.
    Failed(Failure),
}

/// What a write that succeeded did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) rows: i64,
    /// The last row that it inserted, if it did.
    pub(super) rowid: Option<i64>,
    /// All rows that it changed, those by triggers among them.
    pub(super) total: i64,
}

/// The writes of a database that wait to be run together; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    /// Counted up when a statement may have changed the schema.
    schemas: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Write>,
    next_number: u64,
    /// A task runs them.
    running: bool,
    /// Here while no task has it.
    session: Option<Box<SharedSession>>,
}

/// A place in the queue, given up when it is dropped.
pub(super) struct Place {
    database: Arc<LeaderDatabase>,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement that may have changed the schema has ended, or is about to.
    pub(super) fn schema_changed(&self) {
        self.schemas.fetch_add(1, Ordering::AcqRel);
    }

    /// Which schema it is, for comparison with what this was before.
    pub(super) fn schema(&self) -> u64 {
        self.schemas.load(Ordering::Acquire)
    }
}

/// Has a write run in a transaction that it may share, and waits for its outcome: at most so long until it is begun.
pub(super) async fn run(
    handle: &Handle,
    database: &Arc<LeaderDatabase>,
    sql: Arc<str>,
    params: Vec<Value>,
    busy_timeout: Duration,
) -> Answer {
    let mut place = join(handle, database, sql, params);
    let answered = tokio::select! {
        biased;
        answered = &mut place.answer => answered,
        () = tokio::time::sleep(busy_timeout) => {
            if place.leave() {
                return Answer::Failed(Failure::from(Error::Busy));
            }
            // It is being run.
            (&mut place.answer).await
        }
    };
    // Whoever runs them has panicked in the engine's midst, or the node stops.
    answered.unwrap_or_else(|_| Answer::Failed(engine_failed()))
}

fn join(
    handle: &Handle,
    database: &Arc<LeaderDatabase>,
    sql: Arc<str>,
    params: Vec<Value>,
) -> Place {
    let (answer, answered) = oneshot::channel();
    let mut queue = database.shared.queue();
    let number = queue.next_number;
    queue.next_number += 1;
    queue.waiting.push_back(Write {
        number,
        sql,
        params,
        answer,
    });
    if !std::mem::replace(&mut queue.running, true) {
        let runner = Runner {
            handle: handle.clone(),
            database: Arc::clone(database),
            session: queue.session.take(),
            under_way: VecDeque::new(),
            done: false,
        };
        tokio::spawn(runner.run());
    }
    Place {
        database: Arc::clone(database),
        number,
        answer: answered,
    }
}

impl Place {
    /// Takes the write back. Says whether it was not begun.
    fn leave(&self) -> bool {
        let mut queue = self.database.shared.queue();
        let waiting = &mut queue.waiting;
        let place = waiting.binary_search_by_key(&self.number, |write| write.number);
        place.is_ok_and(|place| waiting.remove(place).is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The client has vanished; where its write was begun, that makes no difference any more.
        self.leave();
    }
}

/// The task that runs them.
struct Runner {
    handle: Handle,
    database: Arc<LeaderDatabase>,
    session: Option<Box<SharedSession>>,
    /// Numbers of the transactions that are on their way to a quorum.
    under_way: VecDeque<u64>,
    /// Nothing waits any more; the next write begins another task.
    done: bool,
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The engine has panicked, or the runtime ends: nobody would run what waits.
        if std::thread::panicking() {
            let reason = "a shared transaction panicked".to_owned();
            self.handle.send(Event::EngineFailed(reason));
        }
        let mut queue = self.database.shared.queue();
        queue.running = false;
        queue.waiting.clear();
    }
}

impl Runner {
    async fn run(mut self) {
        loop {
            self.let_gather().await;
            if let Err(failure) = self.round().await {
                self.refuse(&failure);
            }
            {
                let mut queue = self.database.shared.queue();
                if queue.waiting.is_empty() {
                    queue.running = false;
                    queue.session = self.session.take();
                    self.done = true;
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits while enough is on its way to a quorum.
    async fn let_gather(&mut self) {
        while let Some(oldest) = self.under_way.front() {
            let wait = self.database.commits.wait(*oldest);
            if self.under_way.len() >= UNDER_WAY {
                // Where it is lost, its writers learn it; what comes next is told by the closed database.
                let _ = wait.await;
            } else if !self.database.commits.is_reached(*oldest) {
                return;
            }
            self.under_way.pop_front();
        }
        // Whoever has waited for too long leaves.
        while self.handle.behind_bytes() > MAX_BEHIND_BYTES && !self.database.sql.is_closed() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Runs what waits, and puts it on its way.
    async fn round(&mut self) -> Result<(), Failure> {
        let turn = wait_for_turn(&self.database, PATIENCE).await?;
        self.handle.store.room.check(0)?;
        // Before anything is taken out of the queue: what fails here is told to all that wait.
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Box::new(SharedSession::new(&self.database)?),
        };
        let writes: Vec<Write> = {
            let mut queue = self.database.shared.queue();
            let count = queue.waiting.len().min(WRITES_AT_ONCE);
            queue.waiting.drain(..count).collect()
        };
        let verdicts = session.run(&self.database, turn, &writes);
        for verdict in &verdicts {
            if let Verdict::Done(Err(error)) = verdict {
                reopen_if_confused(&self.handle, &self.database, error, false);
            }
        }
        if session.is_large() {
            // Its pages are put on their way one after the other, waiting for a quorum in between.
            let (handle, database) = (self.handle.clone(), Arc::clone(&self.database));
            let settle = self.handle.workers.run(move || {
                let submitted = session.settle(&handle, &database);
                (session, submitted)
            });
            let (session, submitted) = settle.await.map_err(|_| engine_failed())?;
            self.session = Some(session);
            self.answer(writes, verdicts, submitted);
        } else {
            let submitted = session.settle(&self.handle, &self.database);
            self.session = Some(session);
            self.answer(writes, verdicts, submitted);
        }
        Ok(())
    }

    /// Answers the writes once a quorum has what their outcomes depend on.
    fn answer(&mut self, writes: Vec<Write>, verdicts: Vec<Verdict>, submitted: bool) {
        let release = Release {
            number: self.database.observable(),
            confirm: !submitted,
        };
        if submitted {
            self.under_way.push_back(release.number);
        }
        self.handle.driver.drive();
        let (handle, database) = (self.handle.clone(), Arc::clone(&self.database));
        tokio::spawn(async move {
            let released = release_answer(&handle, &database, release).await;
            for (write, verdict) in writes.into_iter().zip(verdicts) {
                let answer = match (verdict, &released) {
                    (Verdict::GivenBack, _) => Answer::GivenBack(write.params),
                    (Verdict::Done(result), Ok(())) => Answer::Done(result),
                    (Verdict::Done(_), Err(failure)) => Answer::Failed(failure.clone()),
                };
                // Whoever sent it may have left.
                let _ = write.answer.send(answer);
            }
        });
    }

    /// Nothing can be run now: says so to all that wait.
    fn refuse(&self, failure: &Failure) {
        let waiting = std::mem::take(&mut self.database.shared.queue().waiting);
        for write in waiting {
            let _ = write.answer.send(Answer::Failed(failure.clone()));
        }
    }
}
