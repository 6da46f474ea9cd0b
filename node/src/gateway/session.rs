//! A client's database: what its statements do, and what must be true before their outcome may leave the node.
//!
//! Most statements are small: a row by its key, a row more. Sending those to another thread and back would cost several
//! times what they do, so they run where their request was read, on a network thread, at a *brisk* pace. What may take long
//! must not: it would keep other clients and other nodes waiting. So a statement is given an allowance of instructions there.
//! When it is used up, the statement is interrupted, which undoes what it did, and run once more from its beginning, at a
//! *patient* pace on a thread that may block. The session remembers which of its statements are heavy.
//!
//! A write inside a transaction cannot be interrupted without harm to the transaction. There only statements run at a brisk
//! pace whose last run was light.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrolite_sql::{Error, Session, Step, Turn};
use ferrolite_wire::{ErrorCode, RowsEncoder, Value};
use tokio::time::Instant;

use super::failure::Failure;
use super::personal::Personal;
use super::statements::{Kept, Statements, Toll};
use super::text::{Text, has_tail};
use super::values::value_ref;
use crate::following::Attached;
use crate::handle::{Event, Handle};
use crate::leading::LeaderDatabase;

/// Rows of a RETURNING clause wait for the commit in memory, up to this many bytes.
const MAX_HELD_BYTES: usize = 64 << 20;
/// A result that is larger is sent while it is being made, which takes a thread that may block.
const MAX_BRISK_BYTES: usize = 64 << 10;
/// How often a brisk statement may be asked whether it is to end, once in some thousand instructions: about a millisecond.
pub(super) const BRISK_ALLOWANCE: i64 = 8;
/// A statement that takes more instructions, or more time, is heavy.
pub(super) const LIGHT_INSTRUCTIONS: u64 = 16_384;
const LIGHT_TIME: Duration = Duration::from_millis(2);
/// A transaction that changes more pages is put on its way by a thread that may block.
pub(super) const BRISK_FRAMES: u64 = 32;

/// With more than so many bytes on their way to a quorum no write is begun.
pub(super) const MAX_BEHIND_BYTES: u64 = 64 << 20;

/// A writer has the turn: nothing that it keeps from others can be had earlier by ending it.
const WRITES: u64 = u64::MAX;

/// A database that a client has open, while no work is under way.
pub(super) struct OpenDatabase {
    pub(super) database: Arc<LeaderDatabase>,
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) personal: Personal,
    handle: Handle,
    /// What [`LeaderDatabase::snapshots`] was before the present transaction or statement took its snapshot.
    began: Arc<AtomicU64>,
    /// How often the statement that runs may still be asked whether it is to end; below zero, it is to.
    allowance: Arc<AtomicI64>,
    /// Instructions that the present transaction has taken so far.
    transaction_instructions: u64,
    /// The database as it is open on a node that follows; all that is read there is committed.
    pub(super) attached: Option<Attached>,
    /// Whether what a read shows has to be the newest.
    pub(super) linearizable: bool,
    /// The last statement could only read, and so did its transaction.
    pub(super) only_read: bool,
    /// The present transaction has its snapshot.
    pub(super) has_snapshot: bool,
    /// The present transaction has the writer's turn, or had it until it ended.
    is_write_transaction: bool,
    /// Since the present transaction has the turn, and with it the newest snapshot, this node was known to lead. Nobody else
    /// can have written before that, so it need not be known again for what the transaction reads.
    is_confirmed: bool,
}

/// What a statement that was run for its effect has to say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effect {
    pub(super) last_insert_id: i64,
    pub(super) rows_affected: i64,
}

/// What must be true before the outcome may leave the node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    /// So many of the database's transactions are committed.
    pub(super) number: u64,
    /// This node led at a moment after the statement was run.
    pub(super) confirm: bool,
}

/// On which thread a statement runs; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// On one that others need, so not for long.
    Brisk,
    /// On one that may block.
    Patient,
}

/// What a statement came to, and where the text goes on.
pub(super) type Outcome<T> = (Result<T, Error>, usize);

/// What became of an attempt to run a statement.
pub(super) enum Ran<T> {
    /// The statement has to wait for the writer's turn first.
    NeedsTurn,
    /// Something was in the way for a moment.
    Again,
    /// A quorum is slow: so many bytes wait for it that no write is begun before it has caught up.
    Behind(u64),
    /// It takes too long for this pace. Nothing of it was done, and a turn that it was given is kept.
    TooLong,
    Ended(T, Ending),
}

/// What remains to be done once a statement has ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// Nothing: its transaction, if that is over, is on its way.
    Settled(Release),
    /// Its transaction is over, but too large to be put on its way at this pace.
    Unsettled,
}

impl OpenDatabase {
    pub(super) fn new(
        handle: &Handle,
        name: &str,
        interrupted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        Self::on(handle, handle.open_database(name)?, None, interrupted)
    }

    /// A session of a database that is open, on a node that leads or, `attached`, on one that follows.
    pub(super) fn on(
        handle: &Handle,
        database: Arc<LeaderDatabase>,
        attached: Option<Attached>,
        interrupted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let session = database.sql.connect()?;
        let began = Arc::new(AtomicU64::new(WRITES));
        let allowance = Arc::new(AtomicI64::new(i64::MAX));
        let (snapshots, mine) = (Arc::clone(&database), Arc::clone(&began));
        let left = Arc::clone(&allowance);
        session.interrupt_when(move || {
            left.fetch_sub(1, Ordering::Relaxed) <= 0
                || interrupted()
                || is_too_old(&snapshots, &mine)
        });
        Ok(Self {
            database,
            session,
            statements: Statements::default(),
            personal: Personal::new(),
            handle: handle.clone(),
            began,
            allowance,
            transaction_instructions: 0,
            attached,
            linearizable: true,
            only_read: true,
            has_snapshot: false,
            is_write_transaction: false,
            is_confirmed: false,
        })
    }

    /// At which pace a statement is to be tried first.
    pub(super) fn pace(&self, text: &Text) -> Pace {
        let known = self.statements.get(text);
        let toll = known.map_or(Toll::Unknown, |kept| kept.toll);
        let brisk = if self.session.in_transaction() {
            // To commit much takes long, and cannot be interrupted.
            let much = self.transaction_instructions > LIGHT_INSTRUCTIONS;
            let ends = known.is_some_and(|kept| kept.statement.is_transaction_control());
            toll == Toll::Light && !(much && ends)
        } else {
            toll != Toll::Heavy
        };
        if brisk { Pace::Brisk } else { Pace::Patient }
    }

    /// The text of a statement that another session may run for this one, and where the text goes on behind it.
    pub(super) fn shareable(&self, text: &Text) -> Option<(Arc<str>, usize)> {
        if self.session.in_transaction() || !self.personal.shares() || self.attached.is_some() {
            return None;
        }
        let kept = self.statements.get(text)?;
        let offset = match text {
            Text::Prepared(_) => 0,
            Text::Sql { at, .. } => at + kept.statement.tail(),
        };
        let shareable = kept.toll != Toll::Heavy && kept.statement.is_shareable();
        shareable.then(|| (Arc::clone(&kept.sql), offset))
    }

    /// Ends whatever has just run: a transaction that committed goes to the log. Blocks if that is a large one.
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
        if submitted {
            self.handle.driver.drive();
        }
        let confirm = if control {
            // The end of a write transaction that wrote nothing: it was a read.
            self.is_write_transaction && !self.session.in_transaction()
        } else {
            !self.is_confirmed
        };
        self.observed(!submitted && confirm)()
    }

    /// A statement's outcome has left the node, as [`Release`] wanted it.
    pub(super) fn released(&mut self, release: Release) {
        self.is_confirmed |=
            release.confirm && self.session.has_turn() && self.session.in_transaction();
    }

    /// Whether what a statement shows, which runs now, needs a confirmation that this node leads.
    pub(super) fn needs_confirmation(&self) -> bool {
        !self.is_confirmed
    }

    /// Says, once a statement has its snapshot, what must be true before what it shows may leave the node; `confirm` is whether
    /// nothing else proves that the node leads.
    pub(super) fn observed(&self, confirm: bool) -> impl Fn() -> Release + use<> {
        let is_committed = self.attached.is_some();
        let confirm = confirm && self.linearizable && !is_committed;
        let database = Arc::clone(&self.database);
        move || Release {
            number: if is_committed {
                0
            } else {
                database.observable()
            },
            confirm,
        }
    }

    /// Puts a large transaction on its way that has just ended. Blocks.
    pub(super) fn settle_large(&mut self) -> Release {
        self.release_after(true)
    }

    fn ending(&mut self, pace: Pace, control: bool) -> Ending {
        let is_large = || self.database.sql.view().staged_frames() > BRISK_FRAMES;
        let ended = self.session.has_turn() && !self.session.in_transaction();
        if pace == Pace::Brisk && ended && is_large() {
            Ending::Unsettled
        } else {
            Ending::Settled(self.release_after(control))
        }
    }

    /// Takes the statement out, and prepares it if it is not known.
    fn statement(&mut self, text: &Text) -> Result<Result<Box<Kept>, Error>, Failure> {
        if let Some(kept) = self.statements.take(text)? {
            return Ok(Ok(kept));
        }
        let Text::Sql { sql, at } = text else {
            return Err(Failure::new(ErrorCode::INTERNAL, "no such statement"));
        };
        match self.session.prepare(sql.get(*at..).unwrap_or_default()) {
            Ok(Some(statement)) => Ok(Ok(Kept::new(statement, sql.get(*at..).unwrap_or_default()))),
            Ok(None) => Err(Failure::new(ErrorCode::ERROR, "empty statement")),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Prepares a text that is to be one statement, and keeps it.
    pub(super) fn prepare_alone(&mut self, text: &Text) -> Result<(), Failure> {
        let kept = self.statement(text)??;
        if let Text::Sql { sql, at } = text
            && has_tail(sql, at + kept.statement.tail())
        {
            return Err(Failure::new(ErrorCode::ERROR, "nonempty statement tail"));
        }
        self.statements.put_back(text, kept);
        Ok(())
    }

    /// Runs `work` on a statement, which is taken out of the session for as long and comes back reset.
    pub(super) fn with_statement<T>(
        &mut self,
        text: &Text,
        params: &[Value],
        turn: Option<Turn>,
        pace: Pace,
        work: impl FnOnce(&mut Self, &mut Kept) -> Result<T, Error>,
    ) -> Result<Ran<Outcome<T>>, Failure> {
        if !self.session.in_transaction() {
            self.transaction_instructions = 0;
            (self.is_write_transaction, self.is_confirmed) = (false, false);
            self.began
                .store(self.database.snapshots(), Ordering::Release);
        } else if is_too_old(&self.database, &self.began) {
            self.session.roll_back();
            let outcome = (Err(Error::SnapshotTooOld), 0);
            return Ok(Ran::Ended(outcome, self.ending(pace, true)));
        }
        let start = match text {
            Text::Prepared(_) => 0,
            Text::Sql { at, .. } => *at,
        };
        let mut kept = match self.statement(text)? {
            Ok(kept) => kept,
            Err(error) => return Ok(Ran::Ended((Err(error), start), self.ending(pace, true))),
        };
        let offset = match text {
            Text::Prepared(_) => 0,
            Text::Sql { .. } => start + kept.statement.tail(),
        };
        if pace == Pace::Brisk && !kept.statement.is_ordinary() {
            kept.toll = Toll::Heavy;
            self.statements.put_back(text, kept);
            return Ok(Ran::TooLong);
        }
        self.only_read = !kept.statement.needs_turn() && !self.session.has_turn();
        if kept.statement.needs_turn() && !self.session.has_turn() {
            if self.attached.is_some() {
                self.statements.put_back(text, kept);
                let leader = self.handle.status().leader;
                return Err(Failure::only_reads(leader.map(|(_, address)| address)));
            }
            if let Err(short) = self.handle.store.room.check(0) {
                // With it goes the turn, if it was granted already.
                self.statements.put_back(text, kept);
                return Err(short.into());
            }
            let behind_bytes = self.handle.behind_bytes();
            if behind_bytes > MAX_BEHIND_BYTES {
                self.statements.put_back(text, kept);
                return Ok(Ran::Behind(behind_bytes));
            }
            match turn.or_else(|| self.database.sql.line().try_take()) {
                Some(turn) => {
                    self.session.take_turn(turn);
                    self.began.store(WRITES, Ordering::Release);
                }
                None => {
                    self.statements.put_back(text, kept);
                    return Ok(Ran::NeedsTurn);
                }
            }
        }
        let control = kept.statement.is_transaction_control();
        // To interrupt a query is harmless anywhere.
        let limited =
            pace == Pace::Brisk && !(self.session.in_transaction() && kept.statement.needs_turn());
        self.allowance.store(
            if limited { BRISK_ALLOWANCE } else { i64::MAX },
            Ordering::Relaxed,
        );
        let before = kept.statement.instructions();
        let begun = Instant::now();
        let mut result = self.personal.before(&self.session, &kept.statement);
        if result.is_ok() {
            result = kept.statement.bind(params.iter().map(value_ref));
        }
        let mut outcome = None;
        if result.is_ok() {
            match work(self, &mut kept) {
                Ok(value) => outcome = Some(value),
                Err(error) => result = Err(error),
            }
        }
        if let Err(error) = kept.statement.reset()
            && result.is_ok()
        {
            result = Err(error);
        }
        let took = kept.statement.instructions().saturating_sub(before);
        self.transaction_instructions = self.transaction_instructions.saturating_add(took);
        // At a patient pace time may have passed by waiting for the client.
        let light = match pace {
            Pace::Brisk => is_light(took, begun),
            Pace::Patient => took <= LIGHT_INSTRUCTIONS,
        };
        // One that was interrupted has not said how much it did.
        let ended = !matches!(&result, Err(Error::Interrupted));
        kept.toll = if light && ended {
            Toll::Light
        } else {
            Toll::Heavy
        };
        if kept.statement.may_change_schema() {
            self.database.shared.schema_changed();
        }
        if let Err(error) = &result
            && self.attached.is_none()
        {
            let changes_schema = kept.statement.may_change_schema();
            reopen_if_confused(&self.handle, &self.database, error, changes_schema);
        }
        let too_long = pace == Pace::Brisk
            && matches!(&result, Err(Error::Interrupted))
            && self.allowance.load(Ordering::Relaxed) < 0;
        if too_long {
            self.statements.put_back(text, kept);
            return Ok(Ran::TooLong);
        }
        self.statements.put_back(text, kept);
        if matches!(&result, Err(Error::Interrupted)) && is_too_old(&self.database, &self.began) {
            result = Err(Error::SnapshotTooOld);
            self.session.roll_back();
        }
        if matches!(&result, Err(Error::TransactionTooLarge { .. })) {
            // Part of it may have been spilled already; nothing of it can be kept.
            self.session.roll_back();
        }
        let in_transaction = self.session.in_transaction();
        self.is_write_transaction |= in_transaction && self.session.has_turn();
        self.has_snapshot = in_transaction && (self.has_snapshot || !control);
        let ending = self.ending(pace, control);
        Ok(match (result, outcome) {
            (Err(Error::Busy), _) => Ran::Again,
            // A new schema has come with the pages, and is not parsed yet.
            (Err(error), _) if error.is_schema() && self.attached.is_some() => Ran::Again,
            (Err(error), _) => Ran::Ended((Err(error), offset), ending),
            (Ok(()), Some(value)) => Ran::Ended((Ok(value), offset), ending),
            (Ok(()), None) => Ran::Again,
        })
    }

    /// Runs a statement to its end.
    pub(super) fn effect(&mut self, kept: &mut Kept) -> Result<Effect, Error> {
        let before = self.session.last_insert_rowid();
        while self.session.step(&mut kept.statement)? == Step::Row {}
        Ok(self.personal.after(&self.session, &kept.statement, before))
    }

    /// Steps through all rows and gives them to `sink`, batch by batch; the last batch is returned.
    pub(super) fn rows(
        &mut self,
        kept: &mut Kept,
        sink: &mut dyn FnMut(Bytes) -> Result<(), Error>,
    ) -> Result<Bytes, Error> {
        // The columns are known for certain once it runs.
        let mut step = self.session.step(&mut kept.statement)?;
        let shape = kept.shape();
        let (mut encoder, kinds) = (
            RowsEncoder::with_preamble(&shape.preamble),
            Arc::clone(&shape.kinds),
        );
        while step == Step::Row {
            let row = kept.statement.row().zip(kinds.iter());
            encoder
                .push_values(row.map(|(value, kind)| kind.wire(value)))
                .map_err(|error| too_big(&error))?;
            if let Some(batch) = encoder.take_ready() {
                sink(batch)?;
            }
            step = self.session.step(&mut kept.statement)?;
        }
        encoder.finish().map_err(|error| too_big(&error))
    }

    /// All rows of a small result.
    pub(super) fn brisk_rows(&mut self, kept: &mut Kept) -> Result<Vec<Bytes>, Error> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let allowance = Arc::clone(&self.allowance);
        let last = self.rows(kept, &mut |batch| {
            bytes += batch.len();
            batches.push(batch);
            if bytes > MAX_BRISK_BYTES {
                allowance.store(-1, Ordering::Relaxed);
                return Err(Error::Interrupted);
            }
            Ok(())
        })?;
        batches.push(last);
        Ok(batches)
    }

    /// Rows of a statement that also writes are kept until it is committed.
    pub(super) fn held_rows(&mut self, kept: &mut Kept) -> Result<Vec<Bytes>, Error> {
        let mut held = Vec::new();
        let mut held_bytes = 0;
        let last = self.rows(kept, &mut |batch| {
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
}

/// After an error of a statement: if the engine's idea of the schema has gone wrong, the database is opened anew. Otherwise
/// nothing could be done with it until another node leads.
pub(super) fn reopen_if_confused(
    handle: &Handle,
    database: &LeaderDatabase,
    error: &Error,
    changes_schema: bool,
) {
    // A change of the schema that could not read a page leaves its session's idea of it half changed.
    let half_changed = changes_schema && error.is_io();
    if database.sql.is_closed() {
        return;
    }
    if half_changed || (error.is_schema() && database.sql.is_confused()) {
        let reason = format!(
            "it has lost track of the schema of {}, after a change that failed",
            database.name
        );
        handle.send(Event::EngineFailed(reason));
    }
}

/// Whether a statement that took so many instructions since `begun` may be run on a thread that others need.
fn is_light(instructions: u64, begun: Instant) -> bool {
    instructions <= LIGHT_INSTRUCTIONS && begun.elapsed() <= LIGHT_TIME
}

/// Whether the snapshot that was taken then has been given up.
fn is_too_old(database: &LeaderDatabase, began: &AtomicU64) -> bool {
    let began = began.load(Ordering::Acquire);
    began != WRITES && began != database.snapshots()
}

fn too_big(error: &ferrolite_wire::WireError) -> Error {
    Error::Refused(format!("the row cannot be sent: {error}"))
}
