//! Clients that send SQL from the grammar, whatever comes of it.
//!
//! Nobody judges their answers. They are there for what they do to the pages: whatever the engine makes of them, all nodes have to
//! make the same of it.

use std::rc::Rc;
use std::time::Duration;

use ferrolite_grammar::{Generator, Kind, Profile, Statement, Value as Drawn};
use ferrolite_workloads::{Connection, Failure, FailureKind, Value, World as _};

use crate::clients::{Connected, Side};
use crate::world::World;

/// How long a client waits between two steps, at most.
const THINK_MS: u64 = 30;

/// Sends steps until the simulation is to heal.
pub(crate) async fn client(world: Rc<World>, number: u64) {
    let side = Side::new(&world, number);
    let mut rng = world.plan.dice("free", number);
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
        if run(&mut connection, &step.statements).await.is_ok() {
            open = Some(connection);
        }
    }
}

/// Sends the statements of a step. An error is one after which the connection is of no use.
async fn run(connection: &mut Connected, statements: &[Statement]) -> Result<(), Failure> {
    for statement in statements {
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

/// Whether a statement is asked for its rows.
pub(crate) fn has_rows(statement: &Statement) -> bool {
    statement.kind == Kind::Read || statement.sql.contains("RETURNING")
}

pub(crate) async fn send(
    connection: &mut Connected,
    statement: &Statement,
) -> Result<Answer, Failure> {
    let params = params(statement);
    if has_rows(statement) {
        let rows = connection.query(&statement.sql, &params).await?;
        return Ok(Answer::Rows(rows));
    }
    let changed = connection.execute(&statement.sql, &params).await?;
    Ok(Answer::Changed(changed))
}

/// The parameters of a statement.
pub(crate) fn params(statement: &Statement) -> Vec<Value> {
    let given = statement.params.iter();
    given
        .map(|value| match value {
            Drawn::Null => Value::Null,
            Drawn::Integer(integer) => Value::Integer(*integer),
            Drawn::Real(real) => Value::Real(*real),
            Drawn::Text(text) => Value::Text(text.clone()),
            Drawn::Blob(blob) => Value::Blob(blob.clone()),
        })
        .collect()
}
