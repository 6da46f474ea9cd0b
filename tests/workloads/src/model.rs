//! A toy database, to see that the workloads pass on it and are not fooled when it is broken.
//!
//! It is as much of a database as the workloads ask for: it knows their statements by heart, runs one writer at a time, and gives
//! each transaction a copy of everything as its snapshot. Connections break at random, before or after a
//! statement was done. Tasks are polled in an order that a seed decides. With a [`Fault`] it breaks one of its promises
//! now and then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod tables;
mod tests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::tables::{Rows, Tables};
use crate::connection::{Connection, Failure, FailureKind, World};
use crate::value::Value;

/// What the toy does wrong now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// It acknowledges a commit and forgets it.
    Loses,
    /// It forgets one of the statements of a transaction.
    Tears,
    /// It reads what is not committed.
    Dirty,
    /// It reads what is no longer so.
    Stale,
    /// It lets transactions write that have read what is no longer so, and keeps their writes only.
    Skew,
    /// It says that a commit failed, and keeps it.
    Denies,
    /// It does a statement twice.
    Repeats,
}

/// The server, with its clock.
struct Server {
    fault: Fault,
    /// Whether the fault may show.
    armed: Cell<bool>,
    rng: RefCell<fastrand::Rng>,
    now: Cell<Duration>,
    /// Every state there was.
    versions: RefCell<Vec<Tables>>,
    /// The connection that writes, and what it has made of its snapshot.
    writer: RefCell<Option<(u64, Tables)>>,
    connections: Cell<u64>,
}

/// What is around the clients.
#[derive(Clone)]
struct Toy(Rc<Server>);

/// A client's connection.
struct Wire {
    server: Rc<Server>,
    id: u64,
    open: Option<Open>,
}

/// A transaction.
struct Open {
    /// What it sees, and the number of the version that it was made of; none before its first statement.
    snapshot: Option<(Tables, usize)>,
    /// What it has written, to do it again.
    written: Vec<(String, Vec<Value>)>,
}

impl Server {
    fn chance(&self, of: u32) -> bool {
        self.rng.borrow_mut().u32(..of) == 0
    }

    /// Whether the fault shows now.
    fn strikes(&self, fault: Fault) -> bool {
        // Few have somebody to do harm to when these two show.
        let often = matches!(fault, Fault::Dirty | Fault::Skew);
        let of = if often { 1 } else { 12 };
        self.armed.get() && self.fault == fault && self.chance(of)
    }

    fn latest(&self) -> (Tables, usize) {
        let versions = self.versions.borrow();
        (versions.last().unwrap().clone(), versions.len())
    }

    fn to_read(&self) -> Tables {
        if self.strikes(Fault::Dirty)
            && let Some((_, tables)) = &*self.writer.borrow()
        {
            return tables.clone();
        }
        let (tables, count) = self.latest();
        if self.strikes(Fault::Stale) {
            return self.versions.borrow()[count.saturating_sub(12)].clone();
        }
        tables
    }

    fn is_writing(&self, id: u64) -> bool {
        self.writer
            .borrow()
            .as_ref()
            .is_some_and(|(writer, _)| *writer == id)
    }

    fn lock(&self, id: u64, tables: Tables) -> Result<(), Failure> {
        let mut writer = self.writer.borrow_mut();
        if writer.is_some() {
            return Err(refused("busy"));
        }
        *writer = Some((id, tables));
        Ok(())
    }

    fn commit(&self, written: &[(String, Vec<Value>)]) -> Result<(), Failure> {
        if written.is_empty() {
            return Ok(());
        }
        let (mut tables, _) = self.latest();
        let torn = self
            .strikes(Fault::Tears)
            .then(|| self.rng.borrow_mut().usize(..written.len()));
        for (nth, (sql, params)) in written.iter().enumerate() {
            if Some(nth) == torn {
                continue;
            }
            // What has been done once can be done again, unless the toy is broken.
            let _ = tables.run(sql, params);
            if self.strikes(Fault::Repeats) {
                let _ = tables.run(sql, params);
            }
        }
        if !self.strikes(Fault::Loses) {
            self.versions.borrow_mut().push(tables);
        }
        if self.strikes(Fault::Denies) {
            return Err(refused("no"));
        }
        Ok(())
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(FailureKind::Refused, why)
}

async fn step_aside() {
    let mut first = true;
    poll_fn(|_| match std::mem::take(&mut first) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await;
}

impl Wire {
    async fn run(&mut self, sql: &str, params: &[Value]) -> Result<Rows, Failure> {
        step_aside().await;
        let server = Rc::clone(&self.server);
        if server.chance(120) {
            return Err(refused("not leader"));
        }
        let unknown = Failure::new(FailureKind::Unknown, "the connection is gone");
        if server.chance(120) {
            self.close();
            return Err(unknown);
        }
        let done = self.run_now(sql, params);
        let delay = server.rng.borrow_mut().u8(..3);
        for _ in 0..delay {
            step_aside().await;
        }
        if server.chance(120) {
            self.close();
            return Err(unknown);
        }
        done
    }

    fn close(&mut self) {
        self.open = None;
        if self.server.is_writing(self.id) {
            *self.server.writer.borrow_mut() = None;
        }
    }

    fn run_now(&mut self, sql: &str, params: &[Value]) -> Result<Rows, Failure> {
        let nothing = (0, Vec::new());
        match sql {
            "BEGIN" | "BEGIN IMMEDIATE" => {
                assert!(self.open.is_none(), "a transaction in a transaction");
                let mut snapshot = None;
                if sql != "BEGIN" {
                    let latest = self.server.latest();
                    self.server.lock(self.id, latest.0.clone())?;
                    snapshot = Some(latest);
                }
                self.open = Some(Open {
                    snapshot,
                    written: Vec::new(),
                });
                Ok(nothing)
            }
            "ROLLBACK" => {
                assert!(self.open.is_some(), "no transaction");
                self.close();
                Ok(nothing)
            }
            "COMMIT" => {
                let open = self.open.take().expect("a transaction");
                let done = self.server.commit(&open.written);
                self.close();
                done.map(|()| nothing)
            }
            _ if self.open.is_some() => self.run_inside(sql, params),
            _ if sql.starts_with("SELECT") => self.server.to_read().run(sql, params),
            _ => {
                let (mut tables, _) = self.server.latest();
                self.server.lock(self.id, tables.clone())?;
                let done = tables.run(sql, params);
                self.close();
                let done = done?;
                self.server.commit(&[(sql.to_owned(), params.to_vec())])?;
                Ok(done)
            }
        }
    }

    fn run_inside(&mut self, sql: &str, params: &[Value]) -> Result<Rows, Failure> {
        let server = &self.server;
        let open = self.open.as_mut().expect("a transaction");
        let (tables, version) = open
            .snapshot
            .get_or_insert_with(|| (server.to_read(), server.latest().1));
        if sql.starts_with("SELECT") {
            return tables.run(sql, params);
        }
        if !server.is_writing(self.id) {
            let is_old = *version != server.latest().1;
            if is_old && !server.strikes(Fault::Skew) {
                return Err(refused("busy: others have written"));
            }
            server.lock(self.id, tables.clone())?;
        }
        let done = tables.run(sql, params)?;
        *server.writer.borrow_mut() = Some((self.id, tables.clone()));
        open.written.push((sql.to_owned(), params.to_vec()));
        Ok(done)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connection for Wire {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Failure> {
        Ok(self.run(sql, params).await?.0)
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        Ok(self.run(sql, params).await?.1)
    }
}

impl World for Toy {
    type Connection = Wire;

    fn now(&self) -> Duration {
        self.0.now.get()
    }

    async fn pause(&self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            step_aside().await;
        }
    }

    async fn connect(&self, _: u64) -> Result<Wire, Failure> {
        step_aside().await;
        if self.0.chance(20) {
            return Err(refused("no leader"));
        }
        let id = self.0.connections.get();
        self.0.connections.set(id + 1);
        Ok(Wire {
            server: Rc::clone(&self.0),
            id,
            open: None,
        })
    }
}

impl Toy {
    /// From now on the fault may show, but nothing of what was before.
    fn arm(&self) {
        let latest = self.0.latest().0;
        *self.0.versions.borrow_mut() = vec![latest];
        self.0.armed.set(true);
    }

    fn new(seed: u64, fault: Fault) -> Self {
        Self(Rc::new(Server {
            fault,
            armed: Cell::new(false),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            now: Cell::new(Duration::ZERO),
            versions: RefCell::new(vec![Tables::default()]),
            writer: RefCell::new(None),
            connections: Cell::new(0),
        }))
    }

    /// Polls tasks in random order until all have ended.
    fn run<'f>(&self, tasks: impl IntoIterator<Item = Pin<Box<dyn Future<Output = ()> + 'f>>>) {
        let mut tasks: Vec<_> = tasks.into_iter().collect();
        let mut context = Context::from_waker(Waker::noop());
        while !tasks.is_empty() {
            self.0.now.update(|now| now + Duration::from_millis(1));
            let next = self.0.rng.borrow_mut().usize(..tasks.len());
            if tasks[next].as_mut().poll(&mut context).is_ready() {
                drop(tasks.swap_remove(next));
            }
        }
    }
}
