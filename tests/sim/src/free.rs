//! Clients that send SQL from the grammar, whatever comes of it.
//!
//! Nobody judges their answers. They are there for what they do to the pages: whatever the engine makes of them, all nodes have to
//! make the same of it.

use std::rc::Rc;
use std::time::Duration;

use ferrolite_grammar::{Generator, Profile, Statement};
use ferrolite_workloads::{Connection, Failure, FailureKind, Value, World as _};

use crate::clients::{Connected, Side};
use crate::world::World;

/// How long a client waits between two steps, at most.
const THINK_MS: u64 = 30;

/// Sends steps until the simulation is to heal.
pub(crate) async fn client(world: Rc<World>, number: u64) {
    steps(&world, "free", number, run).await;
}

/// Draws steps, for a client of this kind and number, and has `send` send them, until the simulation is to heal. After an error
/// the client connects anew.
pub(crate) async fn steps(
    world: &Rc<World>,
    kind: &str,
    number: u64,
    mut send: impl AsyncFnMut(&mut Connected, Vec<Statement>) -> Result<(), Failure>,
) {
    let side = Side::new(world, number);
    let mut rng = world.plan.dice(kind, number);
    let profile = Profile::draw(&mut rng);
    let mut generator = Generator::new(rng.fork(), profile);
    let mut open: Option<Connected> = None;
    while world.goes_on() {
        side.pause(Duration::from_millis(rng.u64(..THINK_MS))).await;
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match side.connect(number).await {
                Ok(connection) => connection,
                Err(_) => {
                    side.pause(Duration::from_millis(rng.u64(..200))).await;
                    continue;
                }
            },
        };
        let step = generator.next_step();
        if send(&mut connection, step.statements).await.is_ok() {
            open = Some(connection);
        }
    }
}

/// Sends the statements of a step. An error is one after which the connection is of no use.
async fn run(connection: &mut Connected, statements: Vec<Statement>) -> Result<(), Failure> {
    for statement in &statements {
        match send(connection, statement).await {
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::Statement => break,
            Err(failure) => return Err(failure),
        }
    }
    if connection.in_transaction() {
        connection.execute("ROLLBACK", &[]).await?;
    }
    Ok(())
}

/// What a statement was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Rows(Vec<Vec<Value>>),
    Changed(u64),
}

pub(crate) async fn send(
    connection: &mut Connected,
    statement: &Statement,
) -> Result<Answer, Failure> {
    if statement.has_rows() {
        let rows = connection.query(&statement.sql, &statement.params).await?;
        return Ok(Answer::Rows(rows));
    }
    let changed = connection
        .execute(&statement.sql, &statement.params)
        .await?;
    Ok(Answer::Changed(changed))
}
