//! A transaction, and what is known when it ends early.
//!
//! | what fails | how | effect | connection |
//! |---|---|---|---|
//! | a statement outside of a transaction | Statement, Refused | none | goes on; dropped |
//! | a statement outside of a transaction | Unknown | unknown | dropped |
//! | BEGIN or a statement in a transaction | Statement | none, for ROLLBACK follows | goes on, if that succeeds |
//! | BEGIN or a statement in a transaction | Refused, Unknown | none: COMMIT was never sent | dropped |
//! | COMMIT | Statement | none, for ROLLBACK follows | goes on, if that succeeds |
//! | COMMIT | Refused | none | dropped |
//! | COMMIT | Unknown | unknown | dropped |

use crate::connection::{Connection, Failure, FailureKind};
use crate::history::Outcome;
use crate::value::Value;

/// How statements are held together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Not at all: each is a transaction of its own.
    Autocommit,
    /// By `BEGIN`: the transaction begins with its first read, and may have to be given up at its first write.
    Deferred,
    /// By `BEGIN IMMEDIATE`: nobody else writes until it ends.
    Immediate,
}

/// How something is done, apart from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// How statements are held together.
    pub begin: Begin,
    /// Whether all is undone in the end.
    pub rollback: bool,
}

impl Manner {
    /// Any manner, for what needs no transaction: one statement does all of it.
    pub fn any(rng: &mut fastrand::Rng) -> Self {
        if rng.bool() {
            return Self {
                begin: Begin::Autocommit,
                rollback: false,
            };
        }
        Self::together(rng)
    }

    /// Any manner, for what takes several statements.
    pub fn together(rng: &mut fastrand::Rng) -> Self {
        let begin = match rng.bool() {
            true => Begin::Deferred,
            false => Begin::Immediate,
        };
        let rollback = rng.u8(..12) == 0;
        Self { begin, rollback }
    }

    /// For the last reads: together, and to the end.
    pub fn last() -> Self {
        Self {
            begin: Begin::Deferred,
            rollback: false,
        }
    }
}

/// Why something was not done to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Whether it certainly had no effect.
    pub undone: bool,
    /// Whether the connection may be used again.
    pub usable: bool,
    /// What happened.
    pub why: String,
    /// What cannot be understood of an answer, if that is what happened.
    pub oddity: bool,
}

impl Stop {
    fn new(undone: bool, usable: bool, why: impl ToString) -> Self {
        let why = why.to_string();
        Self {
            undone,
            usable,
            why,
            oddity: false,
        }
    }

    /// An answer is not of the shape that its statement asks for. What the operation did is left open.
    pub fn odd(why: impl ToString) -> Self {
        Self {
            oddity: true,
            ..Self::new(false, false, why)
        }
    }

    /// The outcome of an operation that stopped so.
    pub fn outcome<A>(self) -> Outcome<A> {
        match self.undone {
            true => Outcome::Failed(self.why),
            false => Outcome::Unknown(self.why),
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        let kind = match (stop.undone, stop.usable) {
            (true, true) => FailureKind::Statement,
            (true, false) => FailureKind::Refused,
            (false, _) => FailureKind::Unknown,
        };
        Self::new(kind, stop.why)
    }
}

/// Statements on a connection, held together or not.
#[derive(Debug)]
pub struct Transaction<'c, C> {
    connection: &'c mut C,
    manner: Manner,
}

impl<'c, C: Connection> Transaction<'c, C> {
    /// Begins.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn begin(connection: &'c mut C, manner: Manner) -> Result<Self, Stop> {
        let sql = match manner.begin {
            Begin::Autocommit => return Ok(Self { connection, manner }),
            Begin::Deferred => "BEGIN",
            Begin::Immediate => "BEGIN IMMEDIATE",
        };
        match connection.execute(sql, &[]).await {
            Ok(_) => Ok(Self { connection, manner }),
            Err(failure) => {
                let usable = failure.kind == FailureKind::Statement;
                Err(Stop::new(true, usable, format!("{sql}: {failure}")))
            }
        }
    }

    /// How it is done.
    pub fn manner(&self) -> Manner {
        self.manner
    }

    /// Runs a statement that returns no rows, and says how many rows it changed.
    ///
    /// # Errors
    /// The transaction is over.
    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Stop> {
        match self.connection.execute(sql, params).await {
            Ok(changed) => Ok(changed),
            Err(failure) => Err(self.stopped(failure).await),
        }
    }

    /// Runs a statement that returns rows.
    ///
    /// # Errors
    /// The transaction is over.
    pub async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Stop> {
        match self.connection.query(sql, params).await {
            Ok(rows) => Ok(rows),
            Err(failure) => Err(self.stopped(failure).await),
        }
    }

    /// Ends it as its manner says.
    ///
    /// # Errors
    /// It is not committed, or perhaps not.
    pub async fn end(self) -> Result<(), Stop> {
        if self.manner.rollback {
            return Err(self.rollback("rolled back").await);
        }
        if self.manner.begin == Begin::Autocommit {
            return Ok(());
        }
        match self.connection.execute("COMMIT", &[]).await {
            Ok(_) => Ok(()),
            Err(failure) => {
                let why = format!("COMMIT: {failure}");
                Err(match failure.kind {
                    FailureKind::Statement => self.rollback(why).await,
                    FailureKind::Refused => Stop::new(true, false, why),
                    FailureKind::Unknown => Stop::new(false, false, why),
                })
            }
        }
    }

    /// Undoes it, and says so. Outside of a transaction there must be nothing to undo.
    pub async fn rollback(self, why: impl ToString) -> Stop {
        undo(self.connection, self.manner.begin, why).await
    }

    async fn stopped(&mut self, failure: Failure) -> Stop {
        let alone = self.manner.begin == Begin::Autocommit;
        match failure.kind {
            FailureKind::Statement => undo(self.connection, self.manner.begin, failure).await,
            FailureKind::Refused => Stop::new(true, false, failure),
            FailureKind::Unknown => Stop::new(!alone, false, failure),
        }
    }
}

async fn undo<C: Connection>(connection: &mut C, begin: Begin, why: impl ToString) -> Stop {
    let usable = match begin {
        Begin::Autocommit => true,
        // What is not answered is undone with the connection.
        Begin::Deferred | Begin::Immediate => connection.execute("ROLLBACK", &[]).await.is_ok(),
    };
    Stop::new(true, usable, why)
}

#[cfg(test)]
mod tests;
