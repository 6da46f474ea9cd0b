//! Prepared statements of a client.

use std::sync::Arc;

use crate::client::Client;
use crate::error::CallError;
use crate::session::Call;
use crate::sql::{Effect, effect};
use crate::{Error, ExecResult, FromRow, IntoParams, Result, RowStream};

/// A statement that is parsed once per connection and run often.
///
/// It is not bound to a connection: each connection that runs it prepares it the first time and keeps it, so it
/// survives a change of the leader.
#[derive(Debug, Clone)]
pub struct Statement {
    client: Client,
    sql: Arc<str>,
    parameters: u64,
}

impl Statement {
    pub(crate) async fn new(client: Client, sql: Arc<str>) -> Result<Self> {
        if matches!(effect(&sql), Effect::Script | Effect::Transaction) {
            return Err(Error::Misuse(
                "prepare takes one statement that neither begins nor ends a transaction",
            ));
        }
        let deadline = client.deadline();
        let mut backoff = crate::discovery::Backoff::new();
        loop {
            let mut session = client.pool.checkout(deadline).await?;
            let error = match session
                .parameter_count(&sql)
                .await
                .map_err(CallError::harmless)
            {
                Ok(Ok(parameters)) => {
                    drop(session);
                    return Ok(Self {
                        client,
                        sql,
                        parameters,
                    });
                }
                Ok(Err(failure)) => Call::query(&sql, Vec::new()).unexpected(&failure),
                Err(error) => error,
            };
            if error.is_not_leader() {
                client.forget(&mut session);
            }
            drop(session);
            if !error.is_retryable() || error.is_busy() || !backoff.pause(deadline).await {
                return Err(error);
            }
        }
    }

    /// The statement's text.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Runs the statement for its effect.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn execute(&self, params: impl IntoParams) -> Result<ExecResult> {
        self.client
            .run_exec(Call::execute_prepared(
                self.sql.clone(),
                params.into_params(),
            ))
            .await
    }

    /// Runs the statement and collects its rows.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query<T: FromRow>(&self, params: impl IntoParams) -> Result<Vec<T>> {
        self.client
            .collect(Call::query_prepared(self.sql.clone(), params.into_params()))
            .await
    }

    /// Runs the statement for its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`] if there is none, and as [`Client::query`].
    pub async fn query_one<T: FromRow>(&self, params: impl IntoParams) -> Result<T> {
        self.query_optional(params).await?.ok_or(Error::NoRow)
    }

    /// Runs the statement for its first row, if there is one.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_optional<T: FromRow>(&self, params: impl IntoParams) -> Result<Option<T>> {
        self.query_stream(params).await?.into_first().await
    }

    /// Runs the statement and yields its rows as they come.
    ///
    /// # Errors
    /// As [`Client::query_stream`].
    pub async fn query_stream(&self, params: impl IntoParams) -> Result<RowStream<'static>> {
        self.client
            .run_stream(Call::query_prepared(self.sql.clone(), params.into_params()))
            .await
    }
}
