//! Transactions.

use crate::held::Held;
use crate::session::{Call, exec_result};
use crate::sql::Effect;
use crate::{Error, ExecResult, FromRow, IntoParams, Result, RowStream};

/// When a transaction takes the writer's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionMode {
    /// At once, waiting for it up to the server's busy timeout: no later statement of the transaction can
    /// then fail because another connection writes.
    #[default]
    Immediate,
    /// With the first write, which fails as busy if another transaction has written since the first read: for
    /// transactions that only read.
    Deferred,
}

impl TransactionMode {
    pub(crate) fn call(self) -> Call {
        let sql = match self {
            Self::Immediate => "BEGIN IMMEDIATE",
            Self::Deferred => "BEGIN",
        };
        Call::execute(sql, Vec::new())
    }
}

/// A transaction. It is rolled back when it is dropped without having been committed.
///
/// It belongs to one connection: if that is lost, the server rolls the transaction back, every later call fails,
/// and the whole may be run again from its start ([`Error::is_retryable`]). Only a [`commit`](Self::commit) can
/// end with its outcome unknown.
#[derive(Debug)]
pub struct Transaction<'a> {
    held: Held<'a>,
    open: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(mut held: Held<'a>, mode: TransactionMode) -> Self {
        // Other writers wait until it ends.
        let has_turn = mode == TransactionMode::Immediate;
        held.connection.set_awaited(has_turn);
        Self { held, open: true }
    }

    /// Runs one or more statements for their effect.
    ///
    /// # Errors
    /// [`Error::Server`] if a statement fails; the transaction goes on, unless SQLite itself rolled it back.
    /// [`Error::ConnectionLost`] if the connection is lost: nothing of the transaction took effect.
    pub async fn execute(&mut self, sql: &str, params: impl IntoParams) -> Result<ExecResult> {
        self.run_exec(Call::execute(sql, params.into_params()))
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
        let sql = self.held.known(sql);
        self.run_exec(Call::execute_prepared(sql, params.into_params()))
            .await
    }

    async fn run_exec(&mut self, mut call: Call) -> Result<ExecResult> {
        let first = self.held.run_uncommitted(&mut call).await?;
        exec_result(&call, first)
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

    /// Runs a statement and yields its rows as they come.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query_stream(
        &mut self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<RowStream<'_>> {
        let mut call = Call::query(sql, params.into_params());
        let first = self.held.run_uncommitted(&mut call).await?;
        RowStream::new(self.held.reborrow(), &call, first)
    }

    /// Commits.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the connection or leadership is lost on the way. After any other error the
    /// transaction is rolled back.
    pub async fn commit(mut self) -> Result<()> {
        let mut call = Call::execute("COMMIT", Vec::new());
        self.held.connection.set_awaited(false);
        let answer = self.held.run(call.effect, &mut call).await;
        self.open = answer.is_err() && !self.held.is_closed();
        exec_result(&call, answer?).map(drop)
    }

    /// Rolls back and waits until that is done.
    ///
    /// # Errors
    /// [`Error::Server`] if SQLite had already rolled back. A lost connection is no error: it rolls back too.
    pub async fn rollback(mut self) -> Result<()> {
        if self.held.is_closed() {
            return Ok(());
        }
        let mut call = Call::execute("ROLLBACK", Vec::new());
        let answer = self.held.run(Effect::Read, &mut call).await;
        self.open = false;
        match answer {
            Ok(first) => exec_result(&call, first).map(drop),
            Err(Error::ConnectionLost { .. } | Error::Closed) => Ok(()),
            Err(error) => {
                // Whether a transaction is still open is anyone's guess: the server's end of the connection decides.
                self.held.connection.close();
                Err(error)
            }
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.held.connection.set_awaited(false);
        if self.open {
            self.held.roll_back_now();
        }
    }
}
