//! A session: one connection to the leader, or to any server if its reads may be stale, with one database open.
//!
//! Whatever SQLite ties to a connection lives here and nowhere else: prepared statements, an open transaction,
//! temporary tables, `last_insert_rowid()`. So a session never changes servers behind its user's back; when its
//! connection is lost it is [closed](Session::is_closed), and everything it held is gone, rolled back by the
//! server. [`Client`](crate::Client) takes sessions from its pool and hides all this where that is safe.

use std::sync::Arc;

use ferrolite_wire::{Request, Response, Value};

use crate::connection::{Connection, check, unexpected};
use crate::error::CallError;
use crate::held::Held;
use crate::sql::{Effect, effect};
use crate::stale::Staleness;
use crate::{Error, FromRow, IntoParams, Result, RowStream, Transaction, TransactionMode};

/// How many prepared statements a session keeps.
const MOST_STATEMENTS: usize = 64;

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecResult {
    /// The rowid of the last row that the connection inserted.
    pub last_insert_id: i64,
    /// How many rows the (last) statement changed.
    pub rows_affected: u64,
}

/// A statement that is to be run: its text or its preparation, its parameters, and what may be done about it if
/// it fails.
#[derive(Debug)]
pub(crate) struct Call {
    request: Request,
    /// The text to prepare first, if it is to be run as a prepared statement.
    prepare: Option<Arc<str>>,
    pub(crate) effect: Effect,
}

impl Call {
    /// Runs a text for its effect.
    pub(crate) fn execute(sql: &str, params: Vec<Value>) -> Self {
        let request = Request::ExecSql {
            db: 0,
            sql: sql.to_owned(),
            params,
        };
        Self {
            request,
            prepare: None,
            effect: effect(sql),
        }
    }

    /// Runs a statement for its rows.
    pub(crate) fn query(sql: &str, params: Vec<Value>) -> Self {
        let request = Request::QuerySql {
            db: 0,
            sql: sql.to_owned(),
            params,
        };
        Self {
            request,
            prepare: None,
            effect: effect(sql),
        }
    }

    /// Runs a prepared statement for its effect.
    pub(crate) fn execute_prepared(sql: Arc<str>, params: Vec<Value>) -> Self {
        let effect = effect(&sql);
        Self {
            request: Request::Exec {
                db: 0,
                stmt: 0,
                params,
            },
            prepare: Some(sql),
            effect,
        }
    }

    /// Runs a prepared statement for its rows.
    pub(crate) fn query_prepared(sql: Arc<str>, params: Vec<Value>) -> Self {
        let effect = effect(&sql);
        Self {
            request: Request::Query {
                db: 0,
                stmt: 0,
                params,
            },
            prepare: Some(sql),
            effect,
        }
    }

    /// The error for a first answer that is of no use.
    pub(crate) fn unexpected(&self, response: &Response) -> Error {
        unexpected(&self.request, response)
    }
}

/// A statement prepared on a session.
#[derive(Debug)]
struct Prepared {
    sql: Arc<str>,
    id: u32,
    params: u64,
}

/// What a session opens.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) database: String,
    /// Set if its reads may be stale.
    pub(crate) staleness: Option<Staleness>,
}

/// One connection with one database open, for what SQLite ties to a connection. It is to the leader, from
/// [`Client::session`](crate::Client::session), or to any server, from [`StaleClient::session`](crate::StaleClient::session).
#[derive(Debug)]
pub struct Session {
    pub(crate) connection: Connection,
    opening: Arc<Opening>,
    /// The id of the open database; none before the first statement.
    db: Option<u32>,
    /// The most recently used statement last.
    prepared: Vec<Prepared>,
}

impl Session {
    pub(crate) fn new(connection: Connection, opening: Arc<Opening>) -> Self {
        Self {
            connection,
            opening,
            db: None,
            prepared: Vec::new(),
        }
    }

    /// A session without a connection.
    pub(crate) fn closed() -> Self {
        let opening = Opening {
            database: String::new(),
            staleness: None,
        };
        Self::new(Connection::closed(), Arc::new(opening))
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.opening.database
    }

    /// Whether the server has opened the database.
    pub(crate) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// Whether the connection is lost. The session is then of no further use.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Runs one or more statements for their effect.
    ///
    /// # Errors
    /// [`Error::Server`] if a statement fails; what the statements before it did stays done.
    /// [`Error::OutcomeUnknown`] if the connection is lost after the text was sent.
    pub async fn execute(&mut self, sql: &str, params: impl IntoParams) -> Result<ExecResult> {
        self.run_exec(Call::execute(sql, params.into_params()))
            .await
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and the errors of [`FromRow`].
    pub async fn query<T: FromRow>(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<Vec<T>> {
        self.query_stream(sql, params).await?.collect().await
    }

    /// Runs a statement for its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`] if there is none, and as [`query`](Self::query).
    pub async fn query_one<T: FromRow>(&mut self, sql: &str, params: impl IntoParams) -> Result<T> {
        self.query_optional(sql, params).await?.ok_or(Error::NoRow)
    }

    /// Runs a statement for its first row, if there is one.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_optional<T: FromRow>(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<Option<T>> {
        self.query_stream(sql, params).await?.into_first().await
    }

    /// Runs a statement and yields its rows as they come, with memory for one batch.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query_stream(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<RowStream<'_>> {
        self.run_stream(Call::query(sql, params.into_params()))
            .await
    }

    /// Like [`execute`](Self::execute), for a single statement that is run often: it is prepared once and kept.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_prepared(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<ExecResult> {
        let sql = self.known(sql);
        self.run_exec(Call::execute_prepared(sql, params.into_params()))
            .await
    }

    /// Like [`query_stream`](Self::query_stream), for a statement that is run often: it is prepared once and kept.
    ///
    /// # Errors
    /// As [`query_stream`](Self::query_stream).
    pub async fn query_prepared(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<RowStream<'_>> {
        let sql = self.known(sql);
        self.run_stream(Call::query_prepared(sql, params.into_params()))
            .await
    }

    /// Begins a transaction that takes the writer's turn at once.
    ///
    /// # Errors
    /// [`Error::Server`], busy if the turn does not come within the server's busy timeout.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with(TransactionMode::Immediate).await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_with(&mut self, mode: TransactionMode) -> Result<Transaction<'_>> {
        let mut call = mode.call();
        let first = self.run(Effect::Read, &mut call).await?;
        exec_result(&call, first)?;
        Ok(Transaction::new(Held::Borrowed(self), mode))
    }

    async fn run_exec(&mut self, mut call: Call) -> Result<ExecResult> {
        let first = self.run(call.effect, &mut call).await?;
        exec_result(&call, first)
    }

    async fn run_stream(&mut self, mut call: Call) -> Result<RowStream<'_>> {
        let first = self.run(call.effect, &mut call).await?;
        RowStream::new(Held::Borrowed(self), &call, first)
    }

    /// The text of a statement, as it is kept if it is prepared already.
    pub(crate) fn known(&self, sql: &str) -> Arc<str> {
        let mut latest_first = self.prepared.iter().rev();
        let known = latest_first.find(|known| *known.sql == *sql);
        known.map_or_else(|| sql.into(), |known| Arc::clone(&known.sql))
    }

    /// Runs a call and returns its first answer, FAILUREs as errors. What `effect` says decides what a lost
    /// connection means.
    pub(crate) async fn run(&mut self, effect: Effect, call: &mut Call) -> Result<Response> {
        let answer = self.start(call).await;
        check(answer.map_err(|error| match effect {
            Effect::Read => error.harmless(),
            _ => error.of_write(),
        })?)
    }

    /// Runs a call inside a transaction: what it does is undone if the connection is lost, unless the text can
    /// have committed.
    pub(crate) async fn run_uncommitted(&mut self, call: &mut Call) -> Result<Response> {
        let effect = match call.effect {
            Effect::Read | Effect::Write => Effect::Read,
            other @ (Effect::Transaction | Effect::Script) => other,
        };
        self.run(effect, call).await
    }

    /// Sends a call and returns its first answer, whatever it is.
    pub(crate) async fn start(&mut self, call: &mut Call) -> Result<Response, CallError> {
        let db = match self.open().await? {
            Ok(db) => db,
            Err(failure) => return Ok(failure),
        };
        let request = &mut call.request;
        if let Some(sql) = &call.prepare {
            match self.prepare(db, sql).await? {
                Ok((id, _)) => {
                    if let Request::Exec { stmt, .. } | Request::Query { stmt, .. } = request {
                        *stmt = id;
                    }
                }
                Err(failure) => return Ok(failure),
            }
        }
        match request {
            Request::Exec { db: place, .. } | Request::Query { db: place, .. } => *place = db,
            Request::ExecSql { db: place, .. } | Request::QuerySql { db: place, .. } => {
                *place = db.into()
            }
            _ => {}
        }
        self.connection.call(request).await
    }

    /// How many parameters a statement has; it is kept prepared.
    pub(crate) async fn parameter_count(
        &mut self,
        sql: &Arc<str>,
    ) -> Result<Result<u64, Response>, CallError> {
        let db = match self.open().await? {
            Ok(db) => db,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(self.prepare(db, sql).await?.map(|(_, params)| params))
    }

    /// Opens the database, the first time. The inner error is the server's FAILURE.
    pub(crate) async fn open(&mut self) -> Result<Result<u32, Response>, CallError> {
        if let Some(db) = self.db {
            return Ok(Ok(db));
        }
        let request = Request::Open {
            name: self.opening.database.clone(),
            flags: 0,
            vfs: self
                .opening
                .staleness
                .map(Staleness::vfs)
                .unwrap_or_default(),
        };
        match self.harmless_call(&request).await? {
            Response::Database { id } => {
                self.db = Some(id);
                Ok(Ok(id))
            }
            other => Ok(Err(other)),
        }
    }

    /// Prepares a statement, unless it is. The inner error is the server's FAILURE.
    async fn prepare(
        &mut self,
        db: u32,
        sql: &Arc<str>,
    ) -> Result<Result<(u32, u64), Response>, CallError> {
        if let Some(at) = self.prepared.iter().rposition(|known| known.sql == *sql) {
            let known = self.prepared.remove(at);
            let found = (known.id, known.params);
            self.prepared.push(known);
            return Ok(Ok(found));
        }
        if self.prepared.len() >= MOST_STATEMENTS {
            let oldest = self.prepared.remove(0);
            let request = Request::Finalize {
                db,
                stmt: oldest.id,
            };
            match self.harmless_call(&request).await? {
                Response::Empty => {}
                other => return Ok(Err(other)),
            }
        }
        let request = Request::Prepare {
            db: db.into(),
            sql: sql.to_string(),
            with_tail: false,
        };
        match self.harmless_call(&request).await? {
            Response::Statement { id, params, .. } => {
                self.prepared.push(Prepared {
                    sql: sql.clone(),
                    id,
                    params,
                });
                Ok(Ok((id, params)))
            }
            other => Ok(Err(other)),
        }
    }

    /// A request before the one that matters: however it fails, that one was not sent.
    async fn harmless_call(&mut self, request: &Request) -> Result<Response, CallError> {
        let answer = self.connection.call(request).await;
        answer.map_err(|error| CallError::NotSent(error.harmless()))
    }

    /// Rolls back without waiting, for a transaction that is dropped.
    pub(crate) fn roll_back_now(&mut self) {
        self.connection.roll_back_now(self.db.unwrap_or_default());
    }
}

/// Reads the answer to a call that was run for its effect.
pub(crate) fn exec_result(call: &Call, response: Response) -> Result<ExecResult> {
    match response {
        Response::Result {
            last_insert_id,
            rows_affected,
        } => Ok(ExecResult {
            last_insert_id: last_insert_id.cast_signed(),
            rows_affected,
        }),
        other => Err(call.unexpected(&other)),
    }
}
