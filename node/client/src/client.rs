//! The client: sessions from a pool, and calls that are made again where that is safe.
//!
//! What is safe depends on how far a call got:
//!
//! | what happened | a read | a single write | a script | BEGIN |
//! |---|---|---|---|---|
//! | no leader yet, or the connection broke before the request was sent | again | again | again | again |
//! | the server says that it does not lead | again | again | *unknown* | again |
//! | the connection or leadership was lost after sending | again | *unknown*, again if opted in | *unknown* | again |
//! | any other failure | error | error | error | error |
//!
//! A script is a text of several statements: its first ones may have taken effect before a later one was refused.
//! Before one is sent over a connection that was idle, the server is asked whether it still leads.

use std::sync::Arc;

use ferrolite_wire::{ErrorCode, Request, Response};
use tokio::time::Instant;

use crate::config::{Builder, Config};
use crate::connection::{check, is_not_leader};
use crate::discovery::{Backoff, Servers};
use crate::error::CallError;
use crate::held::Held;
use crate::pool::{Pool, PooledSession};
use crate::session::{Call, Opening, exec_result};
use crate::sql::Effect;
use crate::{
    Error, ExecResult, FromRow, IntoParams, Result, RowStream, Session, Statement, Transaction,
    TransactionMode,
};

/// A client of a cluster, for one database.
///
/// It is cheap to clone, and all clones share its connections. Calls may be made from many tasks at once; each
/// takes a connection for itself while it lasts, up to the [maximum](Builder::max_connections). Dropping the
/// future of a call gives the call up: a statement that is running is interrupted.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
}

impl Client {
    /// Connects to the leader of the cluster that these servers (`HOST:PORT`) belong to, with default settings and
    /// the [default database](crate::DEFAULT_DATABASE).
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::builder().servers(servers).connect().await
    }

    /// Begins with the settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(
        servers: Vec<String>,
        database: String,
        config: Config,
    ) -> Result<Self> {
        let opening = Opening {
            database,
            staleness: None,
        };
        let pool = Pool::new(config, Arc::new(Servers::new(servers)), opening);
        let client = Self { pool };
        // The connection goes to the pool: a cluster that cannot be reached is noticed here.
        drop(client.pool.checkout(client.deadline()).await?);
        Ok(client)
    }

    /// A client of the same cluster for another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self {
            pool: Pool::new(
                self.pool.config.clone(),
                self.pool.servers.clone(),
                Opening {
                    database: name.to_owned(),
                    staleness: None,
                },
            ),
        }
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.pool.opening.database
    }

    /// The servers that the client knows, the last leader first.
    pub fn servers(&self) -> Vec<String> {
        self.pool.servers.addresses()
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.pool.config.retry_deadline
    }

    /// Takes a session for calls that must share a connection: transactions written in SQL, temporary tables,
    /// `last_insert_rowid()`. It is the caller's alone, does not count towards the maximum of connections, and
    /// never changes servers: when it is [closed](Session::is_closed), take another.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if none is found within the retry deadline.
    pub async fn session(&self) -> Result<Session> {
        Ok(self.pool.checkout(self.deadline()).await?.detach())
    }

    /// Runs one or more statements for their effect.
    ///
    /// # Errors
    /// [`Error::Server`] if a statement fails; what the statements before it did stays done.
    /// [`Error::OutcomeUnknown`] if it is not known whether a write took effect. [`Error::NoLeader`] if nothing
    /// was sent within the retry deadline. [`Error::Misuse`] for a lone BEGIN, COMMIT and the like: the next call
    /// may be on another connection, so use [`transaction`](Self::transaction) or [`session`](Self::session).
    pub async fn execute(&self, sql: &str, params: impl IntoParams) -> Result<ExecResult> {
        self.run_exec(Call::execute(sql, params.into_params()))
            .await
    }

    pub(crate) async fn run_exec(&self, mut call: Call) -> Result<ExecResult> {
        refuse_transaction(&call)?;
        let (mut session, first) = self.run(&mut call).await?;
        if call.effect == Effect::Script {
            // It may have left anything behind on its connection, a transaction for one.
            session.connection.close();
        }
        exec_result(&call, first)
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and the errors of [`FromRow`].
    pub async fn query<T: FromRow>(&self, sql: &str, params: impl IntoParams) -> Result<Vec<T>> {
        self.collect(Call::query(sql, params.into_params())).await
    }

    /// Runs a statement for its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`] if there is none, and as [`query`](Self::query).
    pub async fn query_one<T: FromRow>(&self, sql: &str, params: impl IntoParams) -> Result<T> {
        self.query_optional(sql, params).await?.ok_or(Error::NoRow)
    }

    /// Runs a statement for its first row, if there is one.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_optional<T: FromRow>(
        &self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<Option<T>> {
        self.query_stream(sql, params).await?.into_first().await
    }

    /// Runs a statement and yields its rows as they come, with memory for one batch.
    ///
    /// A stream whose connection is lost after its first batch is not begun again: the caller has seen rows of it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query_stream(
        &self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<RowStream<'static>> {
        self.run_stream(Call::query(sql, params.into_params()))
            .await
    }

    pub(crate) async fn run_stream(&self, mut call: Call) -> Result<RowStream<'static>> {
        refuse_transaction(&call)?;
        let (session, first) = self.run(&mut call).await?;
        RowStream::new(Held::Pooled(Box::new(session)), &call, first)
    }

    /// Runs a call for all of its rows. A read is made again even if it breaks after its first batch, since
    /// nobody has seen that.
    pub(crate) async fn collect<T: FromRow>(&self, mut call: Call) -> Result<Vec<T>> {
        refuse_transaction(&call)?;
        let deadline = self.deadline();
        loop {
            let (session, first) = self.run_until(&mut call, deadline).await?;
            let rows = RowStream::new(Held::Pooled(Box::new(session)), &call, first)?
                .collect()
                .await;
            match rows {
                Err(error)
                    if call.effect == Effect::Read
                        && passes(&error)
                        && Instant::now() < deadline => {}
                Err(error @ Error::ConnectionLost { .. }) if call.effect != Effect::Read => {
                    return Err(error.outcome_unknown());
                }
                other => return other,
            }
        }
    }

    /// Prepares a statement. It is checked now, and prepared on every connection it is run on.
    ///
    /// # Errors
    /// [`Error::Server`] if its text is wrong, [`Error::Misuse`] if it is several statements, or one that begins
    /// or ends a transaction.
    pub async fn prepare(&self, sql: &str) -> Result<Statement> {
        Statement::new(self.clone(), sql.into()).await
    }

    /// Begins a transaction that takes the writer's turn at once.
    ///
    /// # Errors
    /// [`Error::Server`], busy if the turn does not come within the server's busy timeout; [`Error::NoLeader`].
    pub async fn transaction(&self) -> Result<Transaction<'static>> {
        self.transaction_with(TransactionMode::Immediate).await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_with(&self, mode: TransactionMode) -> Result<Transaction<'static>> {
        let mut call = mode.call();
        let (session, first) = self.run(&mut call).await?;
        exec_result(&call, first)?;
        Ok(Transaction::new(Held::Pooled(Box::new(session)), mode))
    }

    async fn run(&self, call: &mut Call) -> Result<(PooledSession, Response)> {
        self.run_until(call, self.deadline()).await
    }

    /// Makes a call until its first answer is one to keep, by the table at the head of this module.
    async fn run_until(
        &self,
        call: &mut Call,
        deadline: Instant,
    ) -> Result<(PooledSession, Response)> {
        let mut backoff = Backoff::new();
        loop {
            let mut session = self.pool.checkout(deadline).await?;
            if call.effect == Effect::Script {
                self.confirm_leader(&mut session).await;
            }
            let (error, again) = match session.start(call).await {
                Ok(answer) if is_not_leader(&answer) => {
                    self.forget(&mut session);
                    self.refused(call, answer)
                }
                Ok(answer) if is_leadership_lost(&answer) => {
                    self.forget(&mut session);
                    self.lost(call, as_error(answer))
                }
                Ok(answer) => return Ok((session, check(answer)?)),
                Err(CallError::NotSent(error)) => {
                    let again = passes(&error);
                    (error, again)
                }
                Err(CallError::Sent(error)) => self.lost(call, error),
            };
            drop(session);
            if !again || !backoff.pause(deadline).await {
                return Err(error);
            }
        }
    }

    /// The server does not lead: nothing happened, except that the first statements of a script may have.
    fn refused(&self, call: &Call, answer: Response) -> (Error, bool) {
        let error = as_error(answer);
        match call.effect {
            Effect::Script => (error.outcome_unknown(), false),
            Effect::Read | Effect::Write | Effect::Transaction => (error, true),
        }
    }

    /// The answer never came.
    fn lost(&self, call: &Call, error: Error) -> (Error, bool) {
        match call.effect {
            // Of the statements that begin or end a transaction only BEGIN comes here, and it went with its
            // connection.
            Effect::Read | Effect::Transaction => {
                let again = passes(&error) || error.is_outcome_unknown();
                (error, again)
            }
            Effect::Write => (error.outcome_unknown(), self.pool.config.retry_writes),
            Effect::Script => (error.outcome_unknown(), false),
        }
    }

    /// Closes a session whose server does not lead any more.
    pub(crate) fn forget(&self, session: &mut PooledSession) {
        self.pool.not_leader(session.address());
        session.connection.close();
    }

    /// Closes a session if its server does not say that it leads; the call then fails before it is sent.
    async fn confirm_leader(&self, session: &mut PooledSession) {
        match session.connection.call(&Request::Leader).await {
            Ok(Response::Leader { address, .. }) if address == session.address() => {}
            _ => self.forget(session),
        }
    }
}

fn is_leadership_lost(response: &Response) -> bool {
    matches!(response, Response::Failure { code, .. } if *code == ErrorCode::IOERR_LEADERSHIP_LOST)
}

/// The error that a FAILURE is.
fn as_error(response: Response) -> Error {
    match check(response) {
        Err(error) => error,
        Ok(other) => Error::UnexpectedAnswer {
            request: "a statement",
            answer: other.name(),
        },
    }
}

/// Whether the cause of an error may be gone by the next attempt.
fn passes(error: &Error) -> bool {
    match error {
        Error::ConnectionLost { .. } | Error::Connect { .. } | Error::Closed => true,
        Error::Server { code, .. } => {
            *code == ErrorCode::IOERR_LEADERSHIP_LOST || error.is_not_leader()
        }
        _ => false,
    }
}

/// Begin and end of a transaction make no sense where every call may be on another connection.
fn refuse_transaction(call: &Call) -> Result<()> {
    match call.effect {
        Effect::Transaction => Err(Error::Misuse(
            "a client's calls share no connection: use transaction() or session() for BEGIN, COMMIT and the like",
        )),
        Effect::Read | Effect::Write | Effect::Script => Ok(()),
    }
}
