//! A seat whose reads may be stale: where its statements are run, and when they may.
//!
//! Such a seat is not bound to what the node is. While it follows, the seat has a session of a database that is
//! [open for that](crate::following); while it leads, one of the engine that everybody uses, whose answers still wait until a
//! quorum has what they show, but not for a proof that this node is the leader. When the one is closed, the seat goes on with
//! the other, with what its client has prepared; so all that a client notices of an election is that a statement took longer.
//! Only a transaction cannot be taken along.
//!
//! A bound counts from the moment in which the statement has come: what was committed so long before that is shown. So a bound
//! of nothing at all can be met, and makes reads on a node that follows linearizable; one that counted from the moment of the
//! snapshot would ask for what no network can do.

use std::sync::Arc;
use std::time::Duration;

use ferrolite_wire::ErrorCode;
use tokio::time::Instant;

use super::failure::Failure;
use super::seat::{Place, Seat};
use super::session::OpenDatabase;
use super::staleness::{Setting, Staleness};
use super::text::Text;
use crate::following::{Attached, Unopened};
use crate::freshness::{LEAST_PAUSE, Question};
use crate::handle::Event;
use crate::leading::LeaderDatabase;

/// Between two looks whether the node is ready for readers.
const REOPEN_PAUSE: Duration = Duration::from_millis(5);
/// A question to the leader that was not answered within so long is asked again.
const QUESTION_PATIENCE: Duration = Duration::from_millis(50);
/// If it was answered, and what is to be applied does not come for so long, it is asked again: with its answer, a leader tells
/// what is committed of what this node is known to hold, and when it answered first, that may not have been all.
const COMMIT_PATIENCE: Duration = Duration::from_millis(10);

/// A statement on its way, through as many databases as it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    arrived: Instant,
    deadline: Instant,
    in_transaction: bool,
}

/// What a database is opened as.
type Source = (Arc<LeaderDatabase>, Option<Attached>);

impl Seat {
    /// Whether the statement is one about the seat: then it is done, and this is where it ends.
    pub(super) fn settle_setting(&mut self, text: &Text) -> Result<Option<usize>, Failure> {
        let found = match text {
            Text::Prepared(_) => self.statements()?.setting(text).map(|setting| (setting, 0)),
            Text::Sql { sql, at } => Setting::read(sql.get(*at..).unwrap_or_default())?
                .map(|(setting, tail)| (setting, at + tail)),
        };
        let Some((setting, end)) = found else {
            return Ok(None);
        };
        if let Setting::Set(staleness) = setting {
            if self.in_transaction() {
                return Err(Failure::new(
                    ErrorCode::ERROR,
                    "the staleness of reads cannot be set inside a transaction",
                ));
            }
            self.set_staleness(staleness);
        }
        Ok(Some(end))
    }

    /// Opens the database, as old as it may be. A bound is for the statements that come.
    pub(super) async fn open_stale(&mut self) -> Result<(), Failure> {
        let attempt = self.attempt();
        while !self.is_usable() {
            let staleness = self.staleness.unwrap_or(Staleness::Unlimited);
            let source = self.source(staleness, &attempt).await?;
            self.sit_down(source).await?;
        }
        Ok(())
    }

    /// A statement has come.
    pub(super) fn attempt(&self) -> Attempt {
        let arrived = Instant::now();
        let bound = match self.staleness {
            Some(Staleness::Within(bound)) => bound,
            _ => Duration::ZERO,
        };
        Attempt {
            arrived,
            deadline: arrived + self.busy_timeout.max(bound),
            in_transaction: self.in_transaction(),
        }
    }

    /// Has a session to run the statement in, which sees what it has to see.
    pub(super) async fn get_ready(&mut self, attempt: &Attempt) -> Result<(), Failure> {
        let Some(staleness) = self.staleness else {
            return self.get_linearizable(attempt).await;
        };
        loop {
            if self.is_usable() {
                if self.is_fresh(staleness, attempt).await? {
                    return Ok(());
                }
            } else if attempt.in_transaction {
                return Err(self.give_up_transaction());
            } else {
                let source = self.source(staleness, attempt).await?;
                self.sit_down(source).await?;
            }
        }
    }

    /// After a statement has failed: whether only its database was closed under it, so that it may be run again.
    pub(super) fn may_repeat(&mut self, attempt: &Attempt) -> bool {
        let only_read = self.here().is_ok_and(|open| open.only_read);
        self.staleness.is_some()
            && only_read
            && !self.is_usable()
            && !attempt.in_transaction
            && Instant::now() < attempt.deadline
    }

    /// A linearizable statement needs a session on a node that leads.
    async fn get_linearizable(&mut self, attempt: &Attempt) -> Result<(), Failure> {
        let is_elsewhere = match &self.place {
            Place::Here(open) => open.attached.is_some(),
            Place::Away => false,
            Place::Parked(_) => true,
        };
        if !is_elsewhere {
            return Ok(());
        }
        if attempt.in_transaction || !self.handle.status.borrow().serves {
            return Err(Failure::not_leader());
        }
        let database = self.open_leading(true).await?;
        self.sit_down((database, None)).await
    }

    /// Whether there is a session whose database is open.
    fn is_usable(&self) -> bool {
        match &self.place {
            Place::Here(open) => !open.database.sql.is_closed(),
            // A session that is away for good says so itself.
            Place::Away => true,
            Place::Parked(_) => false,
        }
    }

    /// A transaction goes with the database that it was in.
    fn give_up_transaction(&mut self) -> Failure {
        let has_followed = self.here().is_ok_and(|open| open.attached.is_some());
        self.park();
        if has_followed {
            Failure::snapshot_lost()
        } else {
            Failure::not_leader()
        }
    }

    /// The database, opened as what the node is now.
    async fn source(&self, staleness: Staleness, attempt: &Attempt) -> Result<Source, Failure> {
        loop {
            let (leads, serves) = {
                let status = self.handle.status.borrow();
                (status.leads, status.serves)
            };
            if serves {
                match self.open_leading(false).await {
                    // It leads no more, or the database is just being replaced.
                    Err(failure) if failure.code == ErrorCode::IOERR_NOT_LEADER => {}
                    Err(failure) if failure.code == ErrorCode::BUSY => {}
                    opened => return Ok((opened?, None)),
                }
            } else if !leads {
                match self.handle.follow_database(&self.name).await {
                    Ok(attached) => return Ok((Arc::clone(&attached.live), Some(attached))),
                    Err(Unopened::Failed(error)) => return Err(error.into()),
                    Err(Unopened::Missing) if self.knows_all(staleness, attempt) => {
                        return Err(Failure::no_database(&self.name));
                    }
                    Err(Unopened::Missing | Unopened::NotNow) => {}
                }
            }
            if Instant::now() >= attempt.deadline {
                return Err(Failure::new(
                    ErrorCode::BUSY,
                    "this node cannot be read from now: it is being elected, or has to catch up; ask another node, or later",
                ));
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    }

    /// The database on a node that leads, made if it may be.
    async fn open_leading(&self, make: bool) -> Result<Arc<LeaderDatabase>, Failure> {
        let (handle, name) = (self.handle.clone(), self.name.clone());
        let open = move || {
            if !make && !handle.has_database(&name)? {
                return Err(Failure::no_database(&name));
            }
            Ok(handle.open_database(&name)?)
        };
        tokio::task::spawn_blocking(open)
            .await
            .map_err(|_| super::seat::engine_failed())?
    }

    /// Whether a database that is not here cannot be one that this node has not heard of yet.
    fn knows_all(&self, staleness: Staleness, attempt: &Attempt) -> bool {
        let Staleness::Within(bound) = staleness else {
            return true;
        };
        let since = self.since(bound, attempt);
        let applied = self.handle.status.borrow().applied;
        if self.handle.freshness.as_of(applied) >= Some(since) {
            return true;
        }
        self.ask(since);
        false
    }

    /// Goes on with a session of the database, and what was prepared before.
    async fn sit_down(&mut self, (database, attached): Source) -> Result<(), Failure> {
        self.park();
        let Place::Parked(statements) = std::mem::replace(&mut self.place, Place::Away) else {
            return Err(super::seat::engine_failed());
        };
        let (handle, interrupts) = (self.handle.clone(), Arc::clone(&self.interrupts));
        let connect = move || {
            let interrupted = move || interrupts.pending();
            match OpenDatabase::on(&handle, database, attached, interrupted) {
                Ok(mut open) => {
                    open.statements = statements.for_another(|sql| open.session.prepare(sql));
                    Ok(open)
                }
                Err(failure) => Err((failure, statements)),
            }
        };
        let connected = tokio::task::spawn_blocking(connect)
            .await
            .map_err(|_| super::seat::engine_failed())?;
        match connected {
            Ok(mut open) => {
                open.linearizable = self.staleness.is_none();
                self.place = Place::Here(Box::new(open));
                Ok(())
            }
            Err((failure, statements)) => {
                self.place = Place::Parked(statements);
                // Closed in this very moment: whoever comes next opens it again.
                let is_closed = failure.code == ErrorCode::IOERR_NOT_LEADER;
                if is_closed { Ok(()) } else { Err(failure) }
            }
        }
    }

    /// Waits until a statement that begins now sees what it has to. False if the database was closed meanwhile.
    async fn is_fresh(&mut self, staleness: Staleness, attempt: &Attempt) -> Result<bool, Failure> {
        let handle = self.handle.clone();
        let open = self.here()?;
        let progress = open.attached.as_ref().map(|attached| {
            attached.touch();
            attached.progress()
        });
        let Staleness::Within(bound) = staleness else {
            return Ok(true);
        };
        if open.has_snapshot || open.session.has_turn() {
            return Ok(true);
        }
        let database = Arc::clone(&open.database);
        let since = self.since(bound, attempt);
        let Some(mut progress) = progress else {
            // It has everything that is committed.
            if handle.freshness.as_of(u64::MAX) >= Some(since) {
                return Ok(!database.sql.is_closed());
            }
            let deadline = attempt.deadline;
            return match tokio::time::timeout_at(deadline, handle.confirm()).await {
                // It leads, but perhaps again, and with another engine.
                Ok(Ok(())) => Ok(!database.sql.is_closed()),
                // It leads no more, and its databases are closed, or will be.
                Ok(Err(_)) => {
                    tokio::time::sleep(REOPEN_PAUSE).await;
                    Ok(false)
                }
                Err(_) => Err(Failure::too_stale(bound, None)),
            };
        };
        let mut answers = handle.freshness.answers();
        let mut asked_again = Instant::now();
        loop {
            let as_of = handle.freshness.as_of(*progress.borrow_and_update());
            if as_of >= Some(since) {
                // Those that come after this one need not wait, if they come soon.
                let ahead = since + bound / 2;
                if as_of < Some(ahead) {
                    self.ask(ahead);
                }
                return Ok(true);
            }
            if database.sql.is_closed() {
                return Ok(false);
            }
            let now = Instant::now();
            if now >= attempt.deadline {
                let behind = as_of.map(|as_of| now.saturating_duration_since(as_of));
                return Err(Failure::too_stale(bound, behind));
            }
            let pause = if handle.freshness.needed(since).is_none() {
                self.ask(since)
            } else if now < asked_again + COMMIT_PATIENCE {
                COMMIT_PATIENCE
            } else {
                asked_again = now;
                self.ask(now)
            };
            let until = attempt.deadline.min(now + pause);
            tokio::select! {
                _ = answers.changed() => {}
                _ = progress.changed() => {}
                () = database.closed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// The moment before which everything has to be there.
    fn since(&self, bound: Duration, attempt: &Attempt) -> Instant {
        let since = attempt.arrived.checked_sub(bound);
        since.unwrap_or_else(|| self.handle.freshness.began())
    }

    /// Asks the leader how far the cluster is, unless somebody has, later than `since`. Returns for how long to wait for what
    /// comes of it.
    fn ask(&self, since: Instant) -> Duration {
        let freshness = &self.handle.freshness;
        match freshness.question(since, QUESTION_PATIENCE) {
            Question::Ask(number) => self.handle.send(Event::AskFreshness(number)),
            Question::IsAsked => {}
            Question::TooSoon => return LEAST_PAUSE,
        }
        QUESTION_PATIENCE
    }
}
