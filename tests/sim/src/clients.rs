//! Clients: how they find the leader, how long they wait, and how their connections break.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use ferrolite_node::simulation::{Refused, SimNode, SimSession};
use ferrolite_wire::{ErrorCode, Value as Wire};
use ferrolite_workloads::{self as workloads, Failure, FailureKind, Value};

use crate::machine::Suspension;
use crate::plan::Fault;
use crate::run::engine_panics;
use crate::trace::Whose;
use crate::world::{DATABASE, World};

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Where processes are suspended, every other client waits only for so long: somebody has to be at the new leader already when the
/// old one goes on.
const SHORT_TIMEOUT: Duration = Duration::from_millis(500);
/// One statement in so many is lost on its way, or its answer is, where the connections of clients break.
const BREAKS: u64 = 40;

/// One pause in so many is a long one, of up to so many milliseconds.
const LONG_THOUGHTS: u64 = 20;
const LONG_MS: u64 = 1_500;

/// What a workload sees of the world.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) world: Rc<World>,
    rng: Rc<RefCell<Rng>>,
    thought: Rc<RefCell<Rng>>,
}

impl Side {
    pub(crate) fn new(world: &Rc<World>, number: u64) -> Self {
        Self {
            world: Rc::clone(world),
            rng: Rc::new(RefCell::new(world.plan.dice("side", number))),
            thought: Rc::new(RefCell::new(world.plan.dice("thought", number))),
        }
    }
}

impl Side {
    fn patience(&self, client: u64) -> Duration {
        let is_short = self.world.plan.has(Fault::Suspension)
            && !self.world.is_healed()
            && client.is_multiple_of(2);
        if is_short { SHORT_TIMEOUT } else { TIMEOUT }
    }
}

/// A connection of a client to a node.
#[derive(Debug)]
pub(crate) struct Connected {
    side: Side,
    client: u64,
    node: u64,
    life: u64,
    session: Option<SimSession>,
    suspension: Rc<Suspension>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.close();
    }
}

impl workloads::World for Side {
    type Connection = Connected;

    fn now(&self) -> Duration {
        self.world.now()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
        if self.world.plan.has(Fault::Suspension) && !self.world.is_healed() {
            // Who asks without a pause is asking already when a process is suspended. A stale answer shows only to one who asks
            // when others have been answered meanwhile.
            let long = {
                let mut thought = self.thought.borrow_mut();
                (thought.u64(..LONG_THOUGHTS) == 0)
                    .then(|| Duration::from_millis(thought.u64(..LONG_MS)))
            };
            if let Some(long) = long {
                tokio::time::sleep(long).await;
            }
        }
    }

    async fn connect(&self, client: u64) -> Result<Connected, Failure> {
        let refused = |why: &str| Failure::new(FailureKind::Refused, why);
        tokio::time::sleep(self.world.weather.latency()).await;
        let asked = {
            let nodes = self.world.nodes();
            self.rng
                .borrow_mut()
                .choice(nodes)
                .ok_or_else(|| refused("no node is up"))?
        };
        let status = asked.status();
        let node: Rc<SimNode> = if status.serves {
            asked
        } else {
            let leader = status.leader.and_then(|leader| self.world.node(leader));
            leader.ok_or_else(|| refused("no leader is known"))?
        };
        let (id, life) = (node.id(), self.world.life(node.id()));
        let suspension = self.world.suspension(id);
        let mut opening = Box::pin(async move { node.open(DATABASE).await });
        let patience = self.patience(client);
        let opened = suspension.holds_up_session(&mut opening);
        let opened = tokio::time::timeout(patience, opened).await;
        let session = match opened {
            Ok(opened) => opened.map_err(|why| refused(&why.message))?,
            Err(_) => {
                suspension.discard(opening);
                return Err(refused("it was not opened in time"));
            }
        };
        Ok(Connected {
            side: self.clone(),
            client,
            node: id,
            life,
            session: Some(session),
            suspension,
        })
    }
}

/// What is known of the effect of a statement that was answered so.
fn kind(refused: &Refused) -> FailureKind {
    let code = ErrorCode(refused.code);
    if refused.closes || code == ErrorCode::IOERR_LEADERSHIP_LOST {
        FailureKind::Unknown
    } else if code == ErrorCode::IOERR_NOT_LEADER
        || code.primary() == ErrorCode::BUSY
        || code == ErrorCode::FULL
    {
        FailureKind::Refused
    } else {
        FailureKind::Statement
    }
}

impl Connected {
    /// Whether the connection is in a transaction, as far as the node knows.
    pub(crate) fn in_transaction(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(SimSession::in_transaction)
    }

    /// The client closes the connection, or it breaks.
    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            self.suspension.discard(session);
        }
    }

    /// Sends a statement, has it run by `run`, and waits for its answer.
    async fn ask<T: 'static>(
        &mut self,
        sql: &str,
        run: impl AsyncFnOnce(&mut SimSession) -> Result<T, Refused> + 'static,
    ) -> Result<T, Failure> {
        let world = Rc::clone(&self.side.world);
        let broken = |why: &str| Failure::new(FailureKind::Unknown, why);
        if !world.is_sent(self.client) {
            self.close();
            return Err(Failure::new(FailureKind::Refused, "it was not sent"));
        }
        let breaks = !world.is_healed()
            && world.plan.has(Fault::Clients)
            && self.side.rng.borrow_mut().u64(..BREAKS) == 0;
        let breaks_before = breaks && self.side.rng.borrow_mut().bool();
        tokio::time::sleep(world.weather.latency()).await;
        if breaks {
            world.count(Fault::Clients);
        }
        if breaks_before || !world.is_alive(self.node, self.life) {
            self.close();
            return Err(broken("the connection broke"));
        }
        let Some(mut session) = self.session.take() else {
            return Err(broken("the connection is broken"));
        };
        let mut running = Box::pin(async move {
            let answer = run(&mut session).await;
            (answer, session)
        });
        let patience = self.side.patience(self.client);
        let ran = self.suspension.holds_up_session(&mut running);
        let ran = match tokio::time::timeout(patience, ran).await {
            Ok((answer, session)) => {
                self.session = Some(session);
                Ok(answer)
            }
            Err(late) => {
                self.suspension.discard(running);
                Err(late)
            }
        };
        // The answer leaves the node, or its power is gone before.
        if !world.is_alive(self.node, self.life) {
            self.close();
            return Err(broken("the connection broke"));
        }
        let answer = match ran {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refused)) => {
                let code = ErrorCode(refused.code).primary();
                if code == ErrorCode::CORRUPT {
                    world.counts.borrow_mut().corrupt += 1;
                } else if code == ErrorCode::INTERNAL && engine_panics() == 0 {
                    world.fail(format!("{sql}: {}", refused.message));
                }
                Err(Failure::new(kind(&refused), refused.message))
            }
            Err(_) => Err(broken("no answer came in time")),
        };
        tokio::time::sleep(world.weather.latency()).await;
        if breaks {
            self.close();
            return Err(broken("the connection broke before the answer came"));
        }
        match &answer {
            Ok(_) => world.counts.borrow_mut().successes += 1,
            Err(failure) if failure.kind != FailureKind::Statement => {
                // Who is told this connects anew.
                self.close();
                world.say(Whose::Client(self.client), format!("{sql}: {failure}"));
            }
            Err(_) => {}
        }
        answer
    }
}

impl workloads::Connection for Connected {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Failure> {
        let (text, given) = (sql.to_owned(), params.iter().map(wire).collect());
        let run = async move |session: &mut SimSession| session.execute(&text, given).await;
        let changed = self.ask(sql, run);
        let changed = changed.await;
        self.side
            .world
            .answered(self.client, || format!("{sql} {params:?}: {changed:?}"));
        let changed = changed?;
        self.side.world.trace.count(&changed.to_le_bytes());
        Ok(u64::try_from(changed).unwrap_or(0))
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        let (text, given) = (sql.to_owned(), params.iter().map(wire).collect());
        let run = async move |session: &mut SimSession| session.query(&text, given).await;
        let rows = self.ask(sql, run);
        let rows = rows.await;
        self.side
            .world
            .answered(self.client, || format!("{sql} {params:?}: {rows:?}"));
        let rows = rows?;
        let rows: Vec<Vec<Value>> = rows
            .into_iter()
            .map(|row| row.into_iter().map(own).collect())
            .collect();
        self.side.world.trace.count(format!("{rows:?}").as_bytes());
        Ok(rows)
    }
}

fn wire(value: &Value) -> Wire {
    match value {
        Value::Null => Wire::Null,
        Value::Integer(integer) => Wire::Integer(*integer),
        Value::Real(real) => Wire::Float(*real),
        Value::Text(text) => Wire::Text(text.clone()),
        Value::Blob(blob) => Wire::Blob(blob.clone().into()),
    }
}

fn own(value: Wire) -> Value {
    match value {
        Wire::Null => Value::Null,
        Wire::Integer(integer) | Wire::UnixTime(integer) => Value::Integer(integer),
        Wire::Float(real) => Value::Real(real),
        Wire::Text(text) | Wire::Iso8601(text) => Value::Text(text),
        Wire::Blob(blob) => Value::Blob(blob.to_vec()),
        Wire::Boolean(truth) => Value::Integer(truth.into()),
    }
}
