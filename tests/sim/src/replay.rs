//! SQL from the grammar, in transactions whose order can be told, and what one engine alone says to them in that order.
//!
//! Every transaction adds a row with a number of its own to a table. A transaction that writes has the database to itself from
//! its BEGIN IMMEDIATE on, so the order of these rows is the order in which the cluster committed. In that order another engine,
//! which knows nothing of clusters, is given the same statements; it has to answer each of them in the same way.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ferrolite_grammar::{Kind, Production, Statement};
use ferrolite_workloads::{Connection, Failure, FailureKind, Value};

use crate::clients::Connected;
use crate::free::{self, Answer};
use crate::reference::Reference;
use crate::world::World;

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS replayed(place INTEGER PRIMARY KEY, number INTEGER NOT NULL)";
const MARK: &str = "INSERT INTO replayed(number) VALUES (?)";
/// What a client is told whose statement did nothing though an engine alone would have run it: because it has to read a page that
/// has rotted, or because the node's engine has lost track of the schema, before the node has noticed that.
const NOTHING_DONE: [&str; 2] = ["invalid data", "Database schema changed"];

/// What is known about whether a transaction committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// Nobody knows.
    Unknown,
    Not,
}

/// A transaction, and what was answered as far as anything was.
#[derive(Debug)]
struct Recorded {
    client: u64,
    statements: Vec<(Statement, Option<Result<Answer, String>>)>,
    fate: Fate,
}

/// The transactions of all clients, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    recorded: RefCell<Vec<Recorded>>,
}

impl Replay {
    /// Creates the table of marks.
    pub(crate) async fn setup(&self, connection: &mut Connected) -> Result<(), Failure> {
        connection.execute(CREATE, &[]).await.map(drop)
    }

    /// Sends transactions until the simulation is to heal.
    pub(crate) async fn client(&self, world: Rc<World>, number: u64) {
        free::steps(
            &world,
            "replay",
            number,
            async |connection, step| match replayable(step) {
                Some(statements) => self.transaction(connection, number, statements).await,
                None => Ok(()),
            },
        )
        .await;
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Recorded)) {
        if let Some(recorded) = self.recorded.borrow_mut().get_mut(number) {
            note(recorded);
        }
    }

    /// Runs a transaction. An error is one after which the connection is of no use.
    async fn transaction(
        &self,
        connection: &mut Connected,
        client: u64,
        statements: Vec<Statement>,
    ) -> Result<(), Failure> {
        connection.execute("BEGIN IMMEDIATE", &[]).await?;
        let number = self.recorded.borrow().len();
        let kept = statements.iter().map(|statement| (statement.clone(), None));
        self.recorded.borrow_mut().push(Recorded {
            client,
            statements: kept.collect(),
            fate: Fate::Not,
        });
        for (place, statement) in statements.iter().enumerate() {
            let answer = free::send(connection, statement).await;
            let told = match &answer {
                Ok(answer) => Ok(answer.clone()),
                Err(failure) if failure.kind == FailureKind::Statement => {
                    Err(failure.message.clone())
                }
                Err(failure) => return Err(failure.clone()),
            };
            self.note(number, |recorded| {
                if let Some((_, answer)) = recorded.statements.get_mut(place) {
                    *answer = Some(told);
                }
            });
            if !connection.in_transaction() {
                // The statement has ended it.
                return Ok(());
            }
        }
        let mark = i64::try_from(number).unwrap_or(i64::MAX);
        let marked = connection.execute(MARK, &[Value::Integer(mark)]).await;
        let marked = match marked {
            Err(failure) if failure.kind != FailureKind::Statement => return Err(failure),
            marked => marked.is_ok(),
        };
        if !marked {
            if connection.in_transaction() {
                connection.execute("ROLLBACK", &[]).await?;
            }
            return Ok(());
        }
        // From here on it may have been done.
        self.note(number, |recorded| recorded.fate = Fate::Unknown);
        match connection.execute("COMMIT", &[]).await {
            Ok(_) => {
                self.note(number, |recorded| recorded.fate = Fate::Committed);
                Ok(())
            }
            Err(failure) if failure.kind == FailureKind::Unknown => Err(failure),
            Err(failure) => {
                self.note(number, |recorded| recorded.fate = Fate::Not);
                if failure.kind == FailureKind::Statement && connection.in_transaction() {
                    connection.execute("ROLLBACK", &[]).await?;
                }
                if failure.kind == FailureKind::Statement {
                    Ok(())
                } else {
                    Err(failure)
                }
            }
        }
    }

    /// Reads the order of the transactions.
    pub(crate) async fn order(&self, connection: &mut Connected) -> Result<Vec<usize>, Failure> {
        let rows = connection.query("SELECT number FROM replayed ORDER BY place", &[]);
        let numbers = rows.await?.into_iter().filter_map(|row| {
            let number = row.first()?.as_integer()?;
            usize::try_from(number).ok()
        });
        Ok(numbers.collect())
    }

    /// Holds what was answered against what one engine says. Returns how many transactions that were.
    pub(crate) fn check(&self, order: &[usize]) -> Result<u64, String> {
        let recorded = self.recorded.borrow();
        let mut seen = BTreeSet::new();
        for number in order {
            let Some(transaction) = recorded.get(*number) else {
                return Err(format!("there is a transaction {number} that nobody sent"));
            };
            if transaction.fate == Fate::Not {
                return Err(format!(
                    "transaction {number} is there and certainly did not commit"
                ));
            }
            if !seen.insert(*number) {
                return Err(format!("transaction {number} is there twice"));
            }
        }
        for (number, transaction) in recorded.iter().enumerate() {
            if transaction.fate == Fate::Committed && !seen.contains(&number) {
                return Err(format!(
                    "transaction {number} of client {} was acknowledged and is lost",
                    transaction.client
                ));
            }
        }
        let mut alone = Reference::new().map_err(|error| error.to_string())?;
        alone.run(CREATE, &[]).map_err(|error| error.to_string())?;
        for number in order {
            if let Some(transaction) = recorded.get(*number) {
                replay(&mut alone, *number, transaction)?;
            }
        }
        Ok(order.len() as u64)
    }
}

fn replay(alone: &mut Reference, number: usize, transaction: &Recorded) -> Result<(), String> {
    // Which of several reasons not to run a statement the engine meets first depends on how it came to know the schema, and some
    // end the transaction. It is run again without those then.
    let mut left_out = BTreeSet::new();
    while let Some(statement) = replay_without(alone, number, transaction, &left_out)? {
        left_out.insert(statement);
    }
    Ok(())
}

/// Replays a transaction but for some of its statements. Says which one ended it, if it failed in the cluster as well.
fn replay_without(
    alone: &mut Reference,
    number: usize,
    transaction: &Recorded,
    left_out: &BTreeSet<usize>,
) -> Result<Option<usize>, String> {
    let unable = |error: ferrolite_sql::Error| format!("transaction {number}: {error}");
    alone.run("BEGIN IMMEDIATE", &[]).map_err(unable)?;
    for (at, (statement, told)) in transaction.statements.iter().enumerate() {
        if left_out.contains(&at) {
            continue;
        }
        let nothing_done = |why: &String| NOTHING_DONE.iter().any(|words| why.contains(words));
        if matches!(told, Some(Err(why)) if nothing_done(why)) {
            continue;
        }
        let said = alone.run(&statement.sql, &statement.params);
        let Some(told) = told else {
            continue;
        };
        if said.is_err() && told.is_err() && !alone.in_transaction() {
            return Ok(Some(at));
        }
        let same = match (&said, told) {
            (Ok((rows, _)), Ok(Answer::Rows(told))) => {
                if statement.ordered {
                    rows == told
                } else {
                    sorted(rows) == sorted(told)
                }
            }
            (Ok((_, changed)), Ok(Answer::Changed(told))) => {
                // Whatever else says how many rows it changed says it of an earlier statement.
                !counts(&statement.sql) || changed == told
            }
            (Err(_), Err(_)) => true,
            _ => false,
        };
        // A transaction that was committed went on after each of its statements.
        if !same || !alone.in_transaction() {
            let said = match said {
                Ok((rows, changed)) if statement.has_rows() => format!("{rows:?} ({changed})"),
                Ok((_, changed)) => format!("{changed} changed"),
                Err(error) => error.to_string(),
            };
            let ended = if alone.in_transaction() {
                ""
            } else {
                ", which ends the transaction"
            };
            return Err(format!(
                "transaction {number} of client {}: {}\n  with {:?}\n  was answered {told:?}\n  and one engine says {said}{ended}",
                transaction.client, statement.sql, statement.params
            ));
        }
    }
    let mark = i64::try_from(number).unwrap_or(i64::MAX);
    alone.run(MARK, &[Value::Integer(mark)]).map_err(unable)?;
    alone.run("COMMIT", &[]).map_err(unable)?;
    Ok(None)
}

fn sorted(rows: &[Vec<Value>]) -> Vec<String> {
    let mut rows: Vec<_> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    rows
}

fn counts(sql: &str) -> bool {
    let verbs = ["INSERT", "UPDATE", "DELETE", "REPLACE"];
    verbs.iter().any(|verb| sql.trim_start().starts_with(verb))
}

/// The statements of a step without its own transaction; nothing if it cannot be replayed.
fn replayable(step: Vec<Statement>) -> Option<Vec<Statement>> {
    let is_unfit = |statement: &Statement| {
        // A column that cannot be dropped leaves the engine confused, which a node takes care of and the engine alone does not.
        let left_out = [
            Production::Random,
            Production::Vacuum,
            Production::DropColumn,
        ];
        // The schema has tables that the replay does not know, and so has whatever tells how large the database is.
        let sql = &statement.sql;
        let tells = sql.contains("sqlite_schema")
            || sql.starts_with("PRAGMA") && !sql.contains("user_version");
        let mut productions = left_out.iter();
        // With the largest key taken, the next one is drawn by chance.
        let is_largest = |value: &Value| *value == Value::Integer(i64::MAX);
        let fills = sql.contains("9223372036854775807") || statement.params.iter().any(is_largest);
        tells || fills || productions.any(|production| statement.productions.contains(production))
    };
    if step.iter().any(is_unfit) {
        return None;
    }
    let is_frame = |statement: &Statement| {
        let sql = statement.sql.trim_start();
        statement.kind == Kind::Control
            && ["BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA"]
                .iter()
                .any(|word| sql.starts_with(word))
            && !sql.contains(" TO ")
    };
    let statements: Vec<_> = step
        .into_iter()
        .filter(|statement| !is_frame(statement))
        .collect();
    (!statements.is_empty()).then_some(statements)
}
