//! Load: clients of the workloads whose answers are judged, and clients that send whatever the grammar draws.
//!
//! The latter are there for what they do to pages, schemas and the engine. Their answers are not judged, but some errors
//! are findings: a database that says it is damaged, or an engine that says it has failed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ferrolite_client::{Client, Error, ErrorCode, Row, Session, Value};
use ferrolite_grammar::{Generator, Production, Profile, Statement};
use ferrolite_processes::Result;
use ferrolite_workloads::{Connection, Failure, FailureKind, Value as Asked, World};
use tokio::time::sleep;

use crate::cluster::builder;

/// The database of the clients that send what the grammar draws.
pub(crate) const GRAMMAR: &str = "grammar";
/// How long such a client waits when nobody takes what it sends.
const RECONNECT: Duration = Duration::from_millis(200);
/// The most findings that are kept.
const MOST_FINDINGS: usize = 20;

/// How statements were answered.
#[derive(Debug)]
pub(crate) struct Tally {
    begun: Instant,
    pub(crate) statements: Cell<u64>,
    pub(crate) acknowledged: Cell<u64>,
    pub(crate) unknown: Cell<u64>,
    findings: RefCell<Vec<String>>,
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

impl Tally {
    fn new(begun: Instant) -> Self {
        Self {
            begun,
            statements: Cell::default(),
            acknowledged: Cell::default(),
            unknown: Cell::default(),
            findings: RefCell::default(),
        }
    }

    fn note<T>(&self, sql: &str, answer: &Result<T, Error>) {
        add(&self.statements, 1);
        let Err(error) = answer else {
            return add(&self.acknowledged, 1);
        };
        add(&self.unknown, u64::from(error.is_outcome_unknown()));
        let code = error.server_code().map(ErrorCode::primary);
        let fatal = [ErrorCode::CORRUPT, ErrorCode::INTERNAL, ErrorCode::NOTADB];
        let broken = matches!(
            error,
            Error::Protocol { .. } | Error::UnexpectedAnswer { .. }
        );
        let mut findings = self.findings.borrow_mut();
        if (broken || code.is_some_and(|code| fatal.contains(&code)))
            && findings.len() < MOST_FINDINGS
        {
            let sql: String = sql.chars().take(200).collect();
            let at = self.begun.elapsed().as_secs_f64();
            findings.push(format!("{error} at {at:.3} s, to: {sql}"));
        }
    }

    /// Errors that no client may ever be answered with.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.borrow().clone()
    }
}

/// The cluster, as the clients of a workload see it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    client: Client,
    pub(crate) tally: Rc<Tally>,
    begun: Instant,
    until: Duration,
    /// Set when the load is to end before its time.
    ended: Rc<Cell<bool>>,
}

impl Seen {
    /// What clients of `database` see for `lasts`, unless it is `ended` before.
    ///
    /// # Errors
    /// When there is no leader to be found.
    pub(crate) async fn new(
        nodes: u64,
        database: &str,
        lasts: Duration,
        ended: &Rc<Cell<bool>>,
    ) -> Result<Self> {
        let client = builder(nodes).database(database).connect().await?;
        let begun = Instant::now();
        Ok(Self {
            client,
            tally: Rc::new(Tally::new(begun)),
            begun,
            until: lasts,
            ended: Rc::clone(ended),
        })
    }
}

impl World for Seen {
    type Connection = Asking;

    fn now(&self) -> Duration {
        let now = self.begun.elapsed();
        match self.ended.get() {
            true => now.max(self.until),
            false => now,
        }
    }

    async fn pause(&self, time: Duration) {
        sleep(time).await;
    }

    async fn connect(&self, _client: u64) -> Result<Asking, Failure> {
        let session = self.client.session().await.map_err(failure)?;
        Ok(Asking {
            session,
            tally: Rc::clone(&self.tally),
        })
    }
}

/// A connection to the leader.
#[derive(Debug)]
pub(crate) struct Asking {
    session: Session,
    tally: Rc<Tally>,
}

impl Connection for Asking {
    async fn execute(&mut self, sql: &str, params: &[Asked]) -> Result<u64, Failure> {
        let params: Vec<Value> = params.iter().map(to_client).collect();
        let answer = self.session.execute(sql, params).await;
        self.tally.note(sql, &answer);
        Ok(answer.map_err(failure)?.rows_affected)
    }

    async fn query(&mut self, sql: &str, params: &[Asked]) -> Result<Vec<Vec<Asked>>, Failure> {
        let params: Vec<Value> = params.iter().map(to_client).collect();
        let answer = self.session.query::<Row>(sql, params).await;
        self.tally.note(sql, &answer);
        let rows = answer.map_err(failure)?.into_iter();
        Ok(rows
            .map(|row| row.into_values().into_iter().map(from_client).collect())
            .collect())
    }
}

fn to_client(value: &Asked) -> Value {
    match value {
        Asked::Null => Value::Null,
        Asked::Integer(number) => Value::Integer(*number),
        Asked::Real(number) => Value::Float(*number),
        Asked::Text(text) => Value::Text(text.clone()),
        Asked::Blob(bytes) => Value::Blob(bytes.clone().into()),
    }
}

fn from_client(value: Value) -> Asked {
    match value {
        Value::Null => Asked::Null,
        Value::Integer(number) | Value::UnixTime(number) => Asked::Integer(number),
        Value::Float(number) => Asked::Real(number),
        Value::Text(text) | Value::Iso8601(text) => Asked::Text(text),
        Value::Blob(bytes) => Asked::Blob(bytes.to_vec()),
        Value::Boolean(is) => Asked::Integer(is.into()),
    }
}

/// What an error says about the statement's effect.
fn failure(error: Error) -> Failure {
    let kind = match &error {
        error if error.is_outcome_unknown() => FailureKind::Unknown,
        // Only what concerns the statement alone leaves its connection as it was.
        Error::Server { code, .. }
            if error.is_constraint() || code.primary() == ErrorCode::ERROR =>
        {
            FailureKind::Statement
        }
        _ => FailureKind::Refused,
    };
    Failure::new(kind, error.to_string())
}

/// A client that sends what the grammar draws, to the end of the world's time, and leaves out statements with these
/// productions.
pub(crate) async fn send_what_is_drawn(world: &Seen, mut rng: Rng, without: &[Production]) {
    let profile = Profile::draw(&mut rng);
    let mut generator = Generator::new(rng, profile);
    let mut open = None;
    while world.now() < world.until {
        let step = generator.next_step();
        let mut session = match open.take() {
            Some(session) => session,
            None => match world.client.session().await {
                Ok(session) => session,
                Err(_) => {
                    sleep(RECONNECT).await;
                    continue;
                }
            },
        };
        let (mut failed, mut usable) = (false, true);
        let left_out = |statement: &&Statement| {
            let mut productions = statement.productions.iter();
            productions.any(|production| without.contains(production))
        };
        for statement in step.statements.iter().filter(|one| !left_out(one)) {
            let answer = send(&mut session, statement).await;
            world.tally.note(&statement.sql, &answer);
            failed |= answer.is_err();
            // The node does not lead any more, or the connection is lost.
            usable =
                !answer.is_err_and(|error| error.is_not_leader() || error.is_outcome_unknown());
            if !usable || session.is_closed() {
                break;
            }
        }
        if usable && failed && step.transactional {
            // Where there is no transaction any more, that is an error that says so.
            let _ = session.execute("ROLLBACK", ()).await;
        }
        if usable && !session.is_closed() {
            open = Some(session);
        }
    }
}

async fn send(session: &mut Session, statement: &Statement) -> Result<(), Error> {
    let params: Vec<Value> = statement.params.iter().map(to_client).collect();
    let sql = &statement.sql;
    match statement.has_rows() {
        true => session.query::<Row>(sql, params).await.map(drop),
        false => session.execute(sql, params).await.map(drop),
    }
}

/// Writes something and reads the schema of what the grammar has made.
///
/// # Errors
/// When that is not possible.
pub(crate) async fn write_and_read(nodes: u64) -> Result<(), Error> {
    let client = builder(nodes).connect().await?;
    let table = "CREATE TABLE IF NOT EXISTS healed (at INTEGER PRIMARY KEY)";
    client.execute(table, ()).await?;
    client
        .execute("INSERT INTO healed DEFAULT VALUES", ())
        .await?;
    let drawn = client.with_database(GRAMMAR);
    drawn
        .query::<Row>("SELECT * FROM sqlite_schema", ())
        .await?;
    Ok(())
}
