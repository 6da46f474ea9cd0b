//! Each row of the table of what is known when a transaction ends early.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Begin, Manner, Stop, Transaction};
use crate::connection::FailureKind::{Refused, Statement, Unknown};
use crate::connection::{Connection, Failure, FailureKind};
use crate::history::Outcome;
use crate::value::Value;

/// A connection whose answers are known beforehand.
struct Script {
    /// What is answered to each statement, in order; after that, success.
    answers: VecDeque<Option<FailureKind>>,
    /// What was sent.
    sent: Vec<String>,
}

impl Script {
    fn new(answers: &[Option<FailureKind>]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            sent: Vec::new(),
        }
    }
}

impl Connection for Script {
    async fn execute(&mut self, sql: &str, _: &[Value]) -> Result<u64, Failure> {
        self.sent.push(sql.to_owned());
        match self.answers.pop_front().flatten() {
            Some(kind) => Err(Failure::new(kind, "scripted")),
            None => Ok(1),
        }
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        self.execute(sql, params).await.map(|_| Vec::new())
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => panic!("a script does not wait"),
    }
}

fn manner(begin: Begin) -> Manner {
    Manner {
        begin,
        rollback: false,
    }
}

/// A transaction of one write and one read.
async fn run(connection: &mut Script, manner: Manner) -> Result<(), Stop> {
    let mut transaction = Transaction::begin(connection, manner).await?;
    transaction.execute("WRITE", &[]).await?;
    transaction.query("READ", &[]).await?;
    transaction.end().await
}

/// What it is known to have done, whether the connection may be used again, and what was sent.
fn attempt(manner: Manner, answers: &[Option<FailureKind>]) -> (&'static str, bool, String) {
    let mut script = Script::new(answers);
    let (effect, usable) = match now(run(&mut script, manner)) {
        Ok(()) => ("done", true),
        Err(Stop {
            undone: true,
            usable,
            ..
        }) => ("none", usable),
        Err(Stop { usable, .. }) => ("unknown", usable),
    };
    (effect, usable, script.sent.join(", "))
}

fn is(effect: &'static str, usable: bool, sent: &str) -> (&'static str, bool, String) {
    (effect, usable, sent.to_owned())
}

#[test]
fn a_statement_alone() {
    let alone = manner(Begin::Autocommit);
    assert_eq!(attempt(alone, &[]), is("done", true, "WRITE, READ"));
    assert_eq!(
        attempt(alone, &[Some(Statement)]),
        is("none", true, "WRITE")
    );
    assert_eq!(attempt(alone, &[Some(Refused)]), is("none", false, "WRITE"));
    assert_eq!(
        attempt(alone, &[Some(Unknown)]),
        is("unknown", false, "WRITE")
    );
}

#[test]
fn begin() {
    for (begin, sql) in [
        (Begin::Deferred, "BEGIN"),
        (Begin::Immediate, "BEGIN IMMEDIATE"),
    ] {
        let manner = manner(begin);
        assert_eq!(attempt(manner, &[Some(Statement)]), is("none", true, sql));
        assert_eq!(attempt(manner, &[Some(Refused)]), is("none", false, sql));
        assert_eq!(attempt(manner, &[Some(Unknown)]), is("none", false, sql));
    }
}

#[test]
fn a_statement_in_a_transaction() {
    let deferred = manner(Begin::Deferred);
    let undone = "BEGIN, WRITE, ROLLBACK";
    assert_eq!(
        attempt(deferred, &[None, Some(Statement)]),
        is("none", true, undone)
    );
    // What cannot be rolled back goes with the connection.
    for kind in [Statement, Refused, Unknown] {
        let answers = [None, Some(Statement), Some(kind)];
        assert_eq!(attempt(deferred, &answers), is("none", false, undone));
    }
    assert_eq!(
        attempt(deferred, &[None, Some(Refused)]),
        is("none", false, "BEGIN, WRITE")
    );
    assert_eq!(
        attempt(deferred, &[None, Some(Unknown)]),
        is("none", false, "BEGIN, WRITE")
    );
    assert_eq!(
        attempt(deferred, &[None, None, Some(Unknown)]),
        is("none", false, "BEGIN, WRITE, READ")
    );
}

#[test]
fn commit() {
    let deferred = manner(Begin::Deferred);
    let all = "BEGIN, WRITE, READ, COMMIT";
    let commit = |kind| [None, None, None, Some(kind)];
    assert_eq!(attempt(deferred, &[]), is("done", true, all));
    assert_eq!(
        attempt(deferred, &commit(Statement)),
        is("none", true, "BEGIN, WRITE, READ, COMMIT, ROLLBACK")
    );
    assert_eq!(attempt(deferred, &commit(Refused)), is("none", false, all));
    assert_eq!(
        attempt(deferred, &commit(Unknown)),
        is("unknown", false, all)
    );
}

#[test]
fn rollback() {
    let manner = Manner {
        rollback: true,
        ..manner(Begin::Immediate)
    };
    let all = "BEGIN IMMEDIATE, WRITE, READ, ROLLBACK";
    assert_eq!(attempt(manner, &[]), is("none", true, all));
    assert_eq!(
        attempt(manner, &[None, None, None, Some(Unknown)]),
        is("none", false, all)
    );
}

#[test]
fn a_stop_says_the_same_as_outcome_and_as_failure() {
    let stopped =
        |begin, answers: &[_]| now(run(&mut Script::new(answers), manner(begin))).unwrap_err();
    let kind = |stop: Stop| Failure::from(stop).kind;
    let statement = stopped(Begin::Autocommit, &[Some(Statement)]);
    let refused = stopped(Begin::Autocommit, &[Some(Refused)]);
    let unknown = stopped(Begin::Autocommit, &[Some(Unknown)]);
    assert!(matches!(
        statement.clone().outcome::<()>(),
        Outcome::Failed(_)
    ));
    assert!(matches!(
        refused.clone().outcome::<()>(),
        Outcome::Failed(_)
    ));
    assert!(matches!(
        unknown.clone().outcome::<()>(),
        Outcome::Unknown(_)
    ));
    assert_eq!(
        [kind(statement), kind(refused), kind(unknown)],
        [Statement, Refused, Unknown]
    );
}
