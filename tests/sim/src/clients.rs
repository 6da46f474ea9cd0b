//! Clients: how they find the leader, how long they wait, and how their connections break.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use ferrolite_node::simulation::{Refused, SimNode, SimSession};
use ferrolite_wire::{ErrorCode, Value as Wire};
use ferrolite_workloads::{self as workloads, Failure, FailureKind, Value};

use crate::plan::Fault;
use crate::run::engine_panics;
use crate::trace::Whose;
use crate::world::{DATABASE, World};

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// One statement in so many is lost on its way, or its answer is, where the connections of clients break.
const BREAKS: u64 = 40;

/// What a workload sees of the world.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) world: Rc<World>,
    rng: Rc<RefCell<Rng>>,
}

impl Side {
    pub(crate) fn new(world: &Rc<World>, number: u64) -> Self {
        Self {
            world: Rc::clone(world),
            rng: Rc::new(RefCell::new(world.plan.dice("side", number))),
        }
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
}

impl workloads::World for Side {
    type Connection = Connected;

    fn now(&self) -> Duration {
        self.world.now()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
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
        let opening = suspension.holds_up(node.open(DATABASE));
        let opened = tokio::time::timeout(TIMEOUT, opening).await;
        let session = match opened {
            Ok(opened) => opened.map_err(|why| refused(&why.message))?,
            Err(_) => return Err(refused("it was not opened in time")),
        };
        Ok(Connected {
            side: self.clone(),
            client,
            node: id,
            life,
            session: Some(session),
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

    /// Sends a statement, has it run by `run`, and waits for its answer.
    async fn ask<T>(
        &mut self,
        sql: &str,
        run: impl AsyncFnOnce(&mut SimSession) -> Result<T, Refused>,
    ) -> Result<T, Failure> {
        let world = Rc::clone(&self.side.world);
        let broken = |why: &str| Failure::new(FailureKind::Unknown, why);
        world.counts.borrow_mut().statements += 1;
        if !world.is_sent(self.client) {
            self.session = None;
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
            self.session = None;
            return Err(broken("the connection broke"));
        }
        let Some(session) = &mut self.session else {
            return Err(broken("the connection is broken"));
        };
        let suspension = world.suspension(self.node);
        let running = suspension.holds_up(run(session));
        let ran = tokio::time::timeout(TIMEOUT, running).await;
        // The answer leaves the node, or its power is gone before.
        if !world.is_alive(self.node, self.life) {
            self.session = None;
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
            self.session = None;
            return Err(broken("the connection broke before the answer came"));
        }
        match &answer {
            Ok(_) => world.counts.borrow_mut().successes += 1,
            Err(failure) if failure.kind != FailureKind::Statement => {
                // Who is told this connects anew.
                self.session = None;
                world.say(Whose::Client(self.client), format!("{sql}: {failure}"));
            }
            Err(_) => {}
        }
        answer
    }
}

impl workloads::Connection for Connected {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Failure> {
        let given = params.iter().map(wire).collect();
        let changed = self.ask(sql, async |session| session.execute(sql, given).await);
        let changed = changed.await;
        self.side
            .world
            .answered(self.client, || format!("{sql} {params:?}: {changed:?}"));
        let changed = changed?;
        self.side.world.trace.count(&changed.to_le_bytes());
        Ok(u64::try_from(changed).unwrap_or(0))
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        let given = params.iter().map(wire).collect();
        let rows = self.ask(sql, async |session| session.query(sql, given).await);
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
