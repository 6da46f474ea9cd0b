//! The session that runs writes for all others; when it does, and who waits for what, is told in [`shared`](super::shared).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ferrolite_sql::{Error, Session, Statement, Step, Turn, ValueRef};

use super::failure::Failure;
use super::session::{BRISK_ALLOWANCE, BRISK_FRAMES, LIGHT_INSTRUCTIONS};
use super::shared::{Changed, Write};
use super::values::value_ref;
use crate::handle::Handle;
use crate::leading::LeaderDatabase;

/// So many times a statement is given back after it was heavy, before it is tried again.
const GIVE_BACK: u32 = 64;
/// So many statements are kept.
const STATEMENTS: usize = 128;

/// What is to be told about a write.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was run.
    Done(Result<Changed, Error>),
    /// Nothing of it was kept.
    GivenBack,
}

/// A statement that is run for others.
#[derive(Debug)]
struct Kept {
    sql: Arc<str>,
    statement: Statement,
    /// It was run before.
    is_known: bool,
    /// It was heavy when it was last run: so many times it is given back, before it is tried again.
    give_back: u32,
    /// What it did can be told from what the session says afterwards.
    is_plain: bool,
}

/// What of the schema decides which writes may be shared.
#[derive(Debug, Default)]
struct Schema {
    /// Which one it was when it was read.
    version: Option<u64>,
    /// Triggers or views ask what their session did before, or may end its transaction.
    is_personal: bool,
    /// Tables whose rows have no rowid, in lower case.
    without_rowid: Vec<String>,
}

/// See the [module](self).
///
/// It does not know its database, which keeps it between two writes: else neither would ever be dropped, and a node would keep
/// the engine of every leadership that it has had.
#[derive(Debug)]
pub(super) struct SharedSession {
    session: Session,
    begin: Statement,
    commit: Statement,
    /// The one that was used last is the last.
    statements: VecDeque<Kept>,
    schema: Schema,
    /// See [`OpenDatabase`](super::session::OpenDatabase).
    allowance: Arc<AtomicI64>,
}

impl SharedSession {
    pub(super) fn new(database: &LeaderDatabase) -> Result<Self, Failure> {
        let session = database.sql.connect()?;
        let allowance = Arc::new(AtomicI64::new(i64::MAX));
        let left = Arc::clone(&allowance);
        session.interrupt_when(move || left.fetch_sub(1, Ordering::Relaxed) <= 0);
        let control = |sql| {
            let statement = session.prepare(sql)?;
            statement.ok_or_else(|| Error::Refused(format!("{sql} is no statement")))
        };
        Ok(Self {
            begin: control("BEGIN")?,
            commit: control("COMMIT")?,
            session,
            statements: VecDeque::new(),
            schema: Schema::default(),
            allowance,
        })
    }

    /// Runs writes, in order. What they come to is on its way once it is [settled](Self::settle).
    pub(super) fn run(
        &mut self,
        database: &LeaderDatabase,
        turn: Turn,
        writes: &[Write],
    ) -> Vec<Verdict> {
        self.session.take_turn(turn);
        if let Err(error) = self.read_schema(database.shared.schema()) {
            return writes
                .iter()
                .map(|_| Verdict::Done(Err(error.clone())))
                .collect();
        }
        let mut verdicts = Vec::with_capacity(writes.len());
        while let Some(rest) = writes.get(verdicts.len()..).filter(|rest| !rest.is_empty()) {
            let together = rest.iter().take_while(|write| self.is_light(write)).count();
            match rest.get(..together).filter(|_| together > 1) {
                Some(together) => verdicts.extend(self.run_together(together)),
                None => verdicts.extend(rest.first().map(|write| self.run_alone(write))),
            }
        }
        verdicts
    }

    /// Whether the transaction is too large to be settled on a thread that others need.
    pub(super) fn is_large(&self) -> bool {
        self.session.database().view().staged_frames() > BRISK_FRAMES
    }

    /// Puts what was run on its way, and passes the turn on. Says whether that was anything. The caller drives the replica.
    pub(super) fn settle(&mut self, handle: &Handle, database: &Arc<LeaderDatabase>) -> bool {
        let mut submitted = false;
        self.session.settle(|transaction| {
            handle.submit(database, &transaction);
            submitted = true;
        });
        submitted
    }

    /// Looks at the schema again if it may have changed, which shows in its `version`.
    fn read_schema(&mut self, version: u64) -> Result<(), Error> {
        if self.schema.version == Some(version) {
            return Ok(());
        }
        let mut schema = Schema {
            version: Some(version),
            ..Schema::default()
        };
        let select =
            "SELECT type, lower(name), lower(sql) FROM sqlite_schema WHERE sql IS NOT NULL";
        let statement = self.session.prepare(select)?;
        let mut statement =
            statement.ok_or_else(|| Error::Refused("the schema cannot be read".to_owned()))?;
        self.allowance.store(i64::MAX, Ordering::Relaxed);
        while self.session.step(&mut statement)? == Step::Row {
            let mut row = statement.row();
            let mut text = || match row.next() {
                Some(ValueRef::Text(text)) => text,
                _ => "",
            };
            let (kind, name, sql) = (text(), text(), text());
            match kind {
                "table" if sql.contains("without") => schema.without_rowid.push(name.to_owned()),
                "trigger" | "view" => {
                    let words = ["last_insert_rowid", "changes", "raise"];
                    schema.is_personal |= words.iter().any(|word| sql.contains(word));
                }
                _ => {}
            }
        }
        self.statements.clear();
        self.schema = schema;
        Ok(())
    }

    fn place_of(&self, sql: &str) -> Option<usize> {
        self.statements.iter().rposition(|kept| *kept.sql == *sql)
    }

    /// Whether a write is known to take little.
    fn is_light(&self, write: &Write) -> bool {
        let known = self.place_of(&write.sql);
        let known = known.and_then(|place| self.statements.get(place));
        known.is_some_and(|kept| kept.is_known && kept.give_back == 0 && kept.is_plain)
    }

    /// Takes the statement out of those that are kept, or prepares it.
    fn take(&mut self, sql: &Arc<str>) -> Result<Kept, Error> {
        if let Some(kept) = self
            .place_of(sql)
            .and_then(|place| self.statements.remove(place))
        {
            return Ok(kept);
        }
        let statement = self.session.prepare(sql)?;
        let statement = statement.ok_or_else(|| Error::Refused("empty statement".to_owned()))?;
        let names_one = || {
            let sql = sql.to_lowercase();
            let mut tables = self.schema.without_rowid.iter();
            tables.any(|table| sql.contains(table.as_str()))
        };
        Ok(Kept {
            sql: Arc::clone(sql),
            is_plain: !(self.schema.is_personal || statement.inserts() && names_one()),
            statement,
            is_known: false,
            give_back: 0,
        })
    }

    fn put_back(&mut self, kept: Kept) {
        if self.statements.len() >= STATEMENTS {
            self.statements.pop_front();
        }
        self.statements.push_back(kept);
    }

    fn change(&mut self, kept: &mut Kept, write: &Write) -> Result<Changed, Error> {
        let before = kept.statement.instructions();
        let total = self.session.total_changes();
        let mut result = kept.statement.bind(write.params.iter().map(value_ref));
        while result.is_ok() {
            match self.session.step(&mut kept.statement) {
                Ok(Step::Row) => {}
                Ok(Step::Done) => break,
                Err(error) => result = Err(error),
            }
        }
        if let Err(error) = kept.statement.reset()
            && result.is_ok()
        {
            result = Err(error);
        }
        let took = kept.statement.instructions().saturating_sub(before);
        // Not by the time that it took: a thread that is kept from its core for a moment says nothing about a statement.
        kept.give_back = if took > LIGHT_INSTRUCTIONS {
            GIVE_BACK
        } else {
            0
        };
        kept.is_known = true;
        result?;
        let rows = self.session.changes();
        let inserted = kept.statement.inserts() && rows > 0;
        Ok(Changed {
            rows,
            rowid: inserted.then(|| self.session.last_insert_rowid()),
            total: self.session.total_changes() - total,
        })
    }

    /// Runs a write in a transaction by itself.
    fn run_alone(&mut self, write: &Write) -> Verdict {
        let mut kept = match self.take(&write.sql) {
            Ok(kept) => kept,
            Err(error) => return Verdict::Done(Err(error)),
        };
        if kept.give_back > 0 || !kept.is_plain {
            kept.give_back = kept.give_back.saturating_sub(1);
            self.put_back(kept);
            return Verdict::GivenBack;
        }
        self.allowance.store(BRISK_ALLOWANCE, Ordering::Relaxed);
        let changed = self.change(&mut kept, write);
        let verdict = match changed {
            // Either the allowance is used up, or something was in the way: its session waits and tries again.
            Err(Error::Interrupted | Error::Busy) => {
                kept.give_back = GIVE_BACK;
                Verdict::GivenBack
            }
            other => Verdict::Done(other),
        };
        self.put_back(kept);
        verdict
    }

    /// Runs writes in one transaction.
    fn run_together(&mut self, writes: &[Write]) -> Vec<Verdict> {
        match self.try_together(writes) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                if self.session.in_transaction() {
                    self.session.undo();
                }
                let verdict = || match &error {
                    Error::Closed => Verdict::Done(Err(Error::Closed)),
                    _ => Verdict::GivenBack,
                };
                writes.iter().map(|_| verdict()).collect()
            }
        }
    }

    fn try_together(&mut self, writes: &[Write]) -> Result<Vec<Verdict>, Error> {
        // One that was interrupted now would take the others with it.
        self.allowance.store(i64::MAX, Ordering::Relaxed);
        control(&self.session, &mut self.begin)?;
        let mut verdicts = Vec::with_capacity(writes.len());
        for write in writes {
            let mut kept = self.take(&write.sql)?;
            let changed = self.change(&mut kept, write);
            self.put_back(kept);
            match changed {
                Err(error) if !self.session.in_transaction() || !error.is_of_statement() => {
                    return Err(error);
                }
                changed => verdicts.push(Verdict::Done(changed)),
            }
        }
        control(&self.session, &mut self.commit)?;
        Ok(verdicts)
    }
}

fn control(session: &Session, statement: &mut Statement) -> Result<(), Error> {
    while session.step(statement)? == Step::Row {}
    statement.reset()
}
