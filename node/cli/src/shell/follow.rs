//! A session that follows the leader, or stays with any server that can be read from.
//!
//! A [`Session`] of the client stays with one server and ends with its connection, since whatever SQLite
//! ties to a connection ends with it too. A shell is to live on: it looks for the leader again, says so,
//! and repeats what can be repeated. That is decided here, once:
//!
//! | the statement failed because | inside a transaction | outside |
//! |---|---|---|
//! | the server no longer leads | the transaction is gone; report | find the leader, send again |
//! | the connection was lost, nothing can have happened | the transaction is gone; report | the same |
//! | the same, but rows were already shown | the transaction is gone; report | report |
//! | the outcome of a write is unknown | report | report |
//! | anything else | report | report |
//!
//! A connection that died while nobody used it is found out by a small read before the statement is sent,
//! so that it costs a repetition and not a write whose outcome is unknown.
//!
//! Where reads may be stale, the session is with any server. That one says of a write that it does not lead, which is then
//! the answer.

use std::time::Duration;

use ferrolite_client::{Builder, Client, ExecResult, Session, StaleClient, Staleness};
use ferrolite_wire::{ErrorCode, Value};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::sql::{TransactionEffect, classify};

/// How long a statement may run without a word from the server: a shell's user decides, with Ctrl-C.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the leader is looked for.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);
/// After this much idle time the connection is tried before it is trusted with a statement.
const TRUSTED: Duration = Duration::from_millis(500);
/// How often a statement is sent again at most.
const MOST_ATTEMPTS: u32 = 5;

/// Receives what a statement answers.
pub trait RowSink: Send {
    /// The names of the columns, before the first row.
    ///
    /// # Errors
    /// Whatever ends the statement.
    fn columns(&mut self, columns: &[String]) -> Result<()>;

    /// A row.
    ///
    /// # Errors
    /// Whatever ends the statement.
    fn row(&mut self, values: Vec<Value>) -> Result<()>;
}

/// Collects rows.
impl RowSink for Vec<Vec<Value>> {
    fn columns(&mut self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn row(&mut self, values: Vec<Value>) -> Result<()> {
        self.push(values);
        Ok(())
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It returned this many rows.
    Rows(u64),
    /// It was run for its effect.
    Changed(ExecResult),
}

/// What a shell is to talk to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Addresses of nodes, `HOST:PORT`.
    pub servers: Vec<String>,
    /// The database.
    pub database: String,
    /// How stale reads may be, if they may.
    pub staleness: Option<Staleness>,
}

/// Where sessions come from.
enum Source {
    Leader(Client),
    Any(StaleClient),
}

/// A session with the leader, wherever it goes. See the module's introduction.
pub struct Following {
    target: Target,
    source: Source,
    session: Option<Session>,
    /// The server that was last talked to.
    server: Option<String>,
    in_transaction: bool,
    last_used: Instant,
    /// Told to the user when the leader changes.
    notify: fn(&str),
}

impl Following {
    /// Finds the leader, or another server if reads may be stale, and opens the database on it.
    ///
    /// # Errors
    /// When there is none, or it refuses the database.
    pub async fn connect(target: Target, notify: fn(&str)) -> Result<Self> {
        let source = match target.staleness {
            None => Source::Leader(connect(&target).await?),
            Some(staleness) => {
                let reader = builder(&target).connect_stale(staleness).await;
                Source::Any(reader.map_err(Error::client("cannot connect"))?)
            }
        };
        let mut following = Self {
            target,
            source,
            session: None,
            server: None,
            in_transaction: false,
            last_used: Instant::now(),
            notify,
        };
        following.session().await?;
        Ok(following)
    }

    /// The client, for requests that need no database, if there is one.
    pub fn known_client(&self) -> Option<&Client> {
        match &self.source {
            Source::Leader(client) => Some(client),
            Source::Any(_) => None,
        }
    }

    /// A client for requests that need no database, and a leader.
    ///
    /// # Errors
    /// When no leader is found.
    pub async fn client(&self) -> Result<Client> {
        match self.known_client() {
            Some(client) => Ok(client.clone()),
            None => connect(&self.target).await,
        }
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.target.database
    }

    /// How stale reads may be, if they may.
    pub fn staleness(&self) -> Option<Staleness> {
        self.target.staleness
    }

    /// The address of the server that was last talked to.
    pub fn server(&self) -> &str {
        self.server.as_deref().unwrap_or("")
    }

    /// Whether a transaction was begun and not ended.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Goes to another database.
    ///
    /// # Errors
    /// When no server is found, or it refuses the database; the old one then stays in use.
    pub async fn use_database(&mut self, database: &str) -> Result<()> {
        let database = database.to_owned();
        self.go_to(Target {
            database,
            ..self.target.clone()
        })
        .await
    }

    /// Sets how stale reads may be.
    ///
    /// # Errors
    /// When no server is found; then nothing changes.
    pub async fn set_staleness(&mut self, staleness: Option<Staleness>) -> Result<()> {
        self.go_to(Target {
            staleness,
            ..self.target.clone()
        })
        .await
    }

    async fn go_to(&mut self, target: Target) -> Result<()> {
        let other = Self::connect(target, self.notify).await?;
        *self = other;
        Ok(())
    }

    /// A session that works, as far as is known.
    ///
    /// # Errors
    /// When no leader is found, or no server at all.
    pub async fn session(&mut self) -> Result<&mut Session> {
        self.drop_dead_session().await;
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let (session, moved) = match &self.source {
                    Source::Leader(client) => {
                        let opened = client.session().await;
                        let unable = Error::client("cannot reach the cluster's leader");
                        (opened.map_err(unable)?, "the leader changed: now")
                    }
                    Source::Any(reader) => {
                        let opened = reader.session().await;
                        let unable = Error::client("cannot read from the cluster");
                        (opened.map_err(unable)?, "reading from another node: now")
                    }
                };
                let address = session.address().to_owned();
                let mut before = self.server.iter();
                if before.any(|before| *before != address) {
                    (self.notify)(&format!("{moved} {address}"));
                }
                self.server = Some(address);
                session
            }
        };
        self.last_used = Instant::now();
        Ok(self.session.insert(session))
    }

    /// Forgets a session whose connection is known or found to be dead. A transaction dies with it, which the
    /// statement that needs it has to report; see `transaction_lost`.
    async fn drop_dead_session(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        if !session.is_closed() && self.last_used.elapsed() > TRUSTED {
            // Any answer of a leader is fine: an interrupted or failing engine is the statement's to see.
            match session.query::<i64>("SELECT 1", ()).await {
                Err(error) if error.is_not_leader() || session.is_closed() => self.session = None,
                _ => {}
            }
        } else if session.is_closed() {
            self.session = None;
        }
    }

    /// Runs one statement; rows go to `sink`.
    ///
    /// # Errors
    /// What the server reported, what `sink` reported, or that no leader is found.
    pub async fn run(&mut self, sql: &str, sink: &mut dyn RowSink) -> Result<Done> {
        let kind = classify(sql);
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.drop_dead_session().await;
            if self.in_transaction && self.session.is_none() {
                return Err(self.transaction_lost());
            }
            let mut progress = Progress {
                sink,
                rows: 0,
                sink_error: None,
            };
            let session = self.session().await?;
            let ran = if kind.returns_rows {
                match progress.query(session, sql).await {
                    Err(error) if has_no_columns(&error) => {
                        session.execute(sql, ()).await.map(Done::Changed)
                    }
                    queried => queried,
                }
            } else {
                session.execute(sql, ()).await.map(Done::Changed)
            };
            let rows = progress.rows;
            if let Some(error) = progress.sink_error {
                return Err(error);
            }
            self.last_used = Instant::now();
            let error = match ran {
                Ok(done) => {
                    self.note_transaction(kind.transaction);
                    return Ok(done);
                }
                Err(error) => error,
            };
            self.note(&error);
            let session_lost = self.session.as_ref().is_none_or(Session::is_closed);
            let repeatable = session_lost && error.is_retryable() && !error.is_outcome_unknown();
            if self.in_transaction && session_lost && !error.is_outcome_unknown() {
                self.session = None;
                return Err(self.transaction_lost());
            }
            if session_lost {
                self.session = None;
                self.in_transaction = false;
            }
            if !repeatable || rows > 0 || attempt >= MOST_ATTEMPTS {
                return Err(statement_error(error));
            }
        }
    }

    /// The rows of a statement that the shell itself needs.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn fetch(&mut self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        self.run(sql, &mut rows).await?;
        Ok(rows)
    }

    /// Notes an error that came from a session used directly: one of a server that leads no more is of no
    /// further use.
    pub fn note(&mut self, error: &ferrolite_client::Error) {
        if matches!(self.source, Source::Any(_)) {
            // Its transaction, which could only read, is gone.
            self.in_transaction &= error.server_code() != Some(ErrorCode::BUSY_SNAPSHOT);
        } else if leader_lost(error) {
            self.session = None;
        }
    }

    fn note_transaction(&mut self, effect: TransactionEffect) {
        match effect {
            TransactionEffect::Opens => self.in_transaction = true,
            TransactionEffect::Closes => self.in_transaction = false,
            TransactionEffect::None => {}
        }
    }

    fn transaction_lost(&mut self) -> Error {
        self.in_transaction = false;
        Error::Input {
            message:
                "the connection to the server was lost, and the open transaction was rolled back"
                    .to_owned(),
            advice: Some("run the transaction again from its BEGIN".to_owned()),
        }
    }
}

/// A client as the shell wants it.
async fn connect(target: &Target) -> Result<Client> {
    let connected = builder(target).connect().await;
    connected.map_err(Error::client("cannot connect"))
}

fn builder(target: &Target) -> Builder {
    Builder::default()
        .servers(target.servers.iter().cloned())
        .database(&target.database)
        .answer_timeout(ANSWER_TIMEOUT)
        .retry_deadline(FAILOVER_TIMEOUT)
}

fn leader_lost(error: &ferrolite_client::Error) -> bool {
    error.is_not_leader() || error.server_code() == Some(ErrorCode::IOERR_LEADERSHIP_LOST)
}

/// Whether a server refused a query because it has no columns, as dqlite does, with SQLite's words for
/// "no error": a PRAGMA that sets something may or may not answer with a row, which nobody can tell before.
fn has_no_columns(error: &ferrolite_client::Error) -> bool {
    matches!(error, ferrolite_client::Error::Server { message, .. } if message == "not an error")
}

/// An error of a statement: the server's words are enough, there is no need to say what was being done.
fn statement_error(source: ferrolite_client::Error) -> Error {
    Error::Statement(source)
}

/// Passes rows on and counts them.
struct Progress<'s> {
    sink: &'s mut dyn RowSink,
    rows: u64,
    sink_error: Option<Error>,
}

impl Progress<'_> {
    async fn query(&mut self, session: &mut Session, sql: &str) -> ferrolite_client::Result<Done> {
        let mut stream = session.query_stream(sql, ()).await?;
        let mut began = false;
        let mut passed = Ok(());
        loop {
            let row = stream.next().await?;
            if !began {
                began = true;
                passed = self.sink.columns(stream.columns());
            }
            let Some(row) = row else { break };
            if passed.is_ok() {
                passed = self.sink.row(row.into_values());
            }
            if passed.is_err() {
                // The rest of the rows is not wanted.
                stream.interrupt().await?;
                break;
            }
            self.rows = self.rows.saturating_add(1);
        }
        self.sink_error = passed.err();
        Ok(Done::Rows(self.rows))
    }
}
