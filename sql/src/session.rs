//! A client's session with a database: statements, a transaction, and the turn that goes with it.
//!
//! The session enforces one rule: *whoever writes has the turn*. A statement says whether it
//! [needs it](Statement::needs_turn); [`Session::step`] refuses to run it without. The turn stays with
//! the session for as long as its transaction is open. When the transaction has ended,
//! [`Session::settle`] hands out what it committed, and only then gives the turn on, so that
//! transactions reach the log in the order in which the engine committed them.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use ferrolite_wal::view::TakenTransaction;
use limbo_core::{
    Connection, LimboError, MAIN_DB_ID, PreparedProgram, StatementStatusCounter, StepResult,
};

use crate::database::Database;
use crate::error::{Error, code};
use crate::guard::{self, Inspected, Kind, Marks};
use crate::io::Gate;
use crate::turn::Turn;
use crate::uniqueness;
use crate::value::ValueRef;

/// A client's session with a database. It rolls back and gives up its turn when it is dropped.
pub struct Session {
    database: Arc<Database>,
    connection: Arc<Connection>,
    turn: Option<Turn>,
    /// The engine is not to be asked for anything more.
    abandoned: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

/// A prepared statement of a [`Session`].
pub struct Statement {
    inner: limbo_core::Statement,
    kind: Kind,
    marks: Marks,
    tail: usize,
    columns: Option<(Arc<PreparedProgram>, Arc<Columns>)>,
}

/// The columns of a statement's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Their names.
    pub names: Vec<String>,
    /// The types that the schema declares, of those that are columns of a table.
    pub declared: Vec<Option<String>>,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statement")
            .field(&self.inner.get_sql())
            .finish()
    }
}

/// What a step of a statement brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A row, to be read with [`Statement::row`].
    Row,
    /// The statement is done.
    Done,
}

/// How many instructions of the engine pass between two looks at whether to go on.
const PROGRESS_INSTRUCTIONS: u64 = 4096;

impl Session {
    pub(crate) fn new(database: Arc<Database>, connection: Arc<Connection>) -> Self {
        Self {
            database,
            connection,
            turn: None,
            abandoned: false,
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Has `interrupted` asked every few thousand instructions while a statement runs; once it says yes,
    /// the statement ends with [`Error::Interrupted`].
    pub fn interrupt_when(&self, interrupted: impl Fn() -> bool + Send + Sync + 'static) {
        self.connection
            .set_progress_handler(PROGRESS_INSTRUCTIONS, Some(Box::new(interrupted)));
    }

    /// Prepares the first statement of `sql`; `None` if there is none but blanks and comments.
    ///
    /// # Errors
    /// When it does not parse, names what does not exist, or is refused.
    pub fn prepare(&self, sql: &str) -> Result<Option<Statement>, Error> {
        if self.database.is_closed() {
            return Err(Error::Closed);
        }
        let Inspected { kind, marks } = guard::inspect(sql)?;
        match self.connection.consume_stmt(sql) {
            Ok(Some((inner, tail))) => Ok(Some(Statement {
                inner,
                kind,
                marks,
                tail,
                columns: None,
            })),
            Ok(None) => Ok(None),
            Err(error) => Err(self.database.explain(error)),
        }
    }

    /// Gives the session the turn for its next transaction.
    pub fn take_turn(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// Whether the session has the turn.
    #[must_use]
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether an explicit transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        !self.connection.get_auto_commit()
    }

    /// Runs `statement` to its next row or its end.
    ///
    /// # Errors
    /// [`Error::Busy`] without running anything when the statement needs the turn and the session does
    /// not have it; [`Error::Interrupted`]; [`Error::Closed`]; or what the statement failed with. After
    /// an error the statement is reset.
    pub fn step(&self, statement: &mut Statement) -> Result<Step, Error> {
        if statement.needs_turn() && self.turn.is_none() {
            return Err(Error::Busy);
        }
        let result = loop {
            match statement.inner.step() {
                Ok(StepResult::Row) => return Ok(Step::Row),
                Ok(StepResult::Done) => return Ok(Step::Done),
                Ok(StepResult::Interrupt) => break Error::Interrupted,
                Ok(StepResult::Busy) => break Error::Busy,
                // All of our I/O is complete when it returns; what is left are the engine's own pauses.
                Ok(StepResult::IO | StepResult::Yield | StepResult::Sleep { .. }) => {
                    if let Err(error) = statement.inner._io().step() {
                        break self.database.explain(error);
                    }
                }
                Err(error) if statement.kind == Kind::Vacuum && Gate::refused(&error) => {
                    // VACUUM commits, and then wants to checkpoint by itself. The gate keeps it from
                    // that; the commit stands.
                    statement.inner.reset_best_effort();
                    return Ok(Step::Done);
                }
                Err(error) => break self.explain_write(error),
            }
        };
        statement.inner.reset_best_effort();
        Err(uniqueness::refine(&self.connection, result))
    }

    /// The engine reports a write that the view refused for its size as a bare I/O error.
    fn explain_write(&self, error: LimboError) -> Error {
        use limbo_core::CompletionError::IOError;
        if let LimboError::CompletionError(IOError(std::io::ErrorKind::FileTooLarge, _)) = error {
            return Error::TransactionTooLarge {
                limit_bytes: self.database.view().limit_bytes(),
            };
        }
        self.database.explain(error)
    }

    /// To be called whenever a statement has ended, well or badly. When no transaction is open any
    /// more, `submit` gets what the last one committed, if it changed anything, and the turn goes on.
    pub fn settle(&mut self, submit: impl FnOnce(TakenTransaction)) {
        if self.in_transaction() {
            return;
        }
        if let Some(turn) = self.turn.take() {
            if let Some(transaction) = self.database.view().take() {
                submit(transaction);
            }
            drop(turn);
        }
    }

    /// Rolls an open transaction back, and gives up the turn.
    pub fn roll_back(&mut self) {
        if self.in_transaction()
            && let Err(error) = self.connection.execute("ROLLBACK")
            && !self.database.is_closed()
        {
            log::warn!(
                error:%;
                "rolling back a session's transaction failed; its connection is dropped"
            );
        }
        // Whatever the engine staged for a transaction that did not commit is overwritten by the next.
        self.turn = None;
    }

    /// Rolls an open transaction back, and keeps the turn.
    pub fn undo(&mut self) {
        let turn = self.turn.take();
        self.roll_back();
        self.turn = turn;
    }

    /// Drops a session whose engine has panicked, without asking it to roll back.
    pub fn abandon(mut self) {
        self.abandoned = true;
    }

    /// Reads a page of the snapshot that the session holds; false if there is none of that number.
    pub(crate) fn read_page(&self, page_no: u32, page: &mut [u8]) -> Result<bool, Error> {
        self.connection
            .try_wal_watermark_read_page(page_no, page, None)
            .map_err(|error| self.database.explain(error))
    }

    /// Makes the session answer `last_insert_rowid()`, `changes()` and `total_changes()` as if it had done what other
    /// sessions did for it: in all `total` changes since it was connected, `changes` by the last statement, and an insert of
    /// this rowid.
    ///
    /// # Errors
    /// What the engine says.
    pub fn take_over(&self, rowid: i64, changes: i64, total: i64) -> Result<(), Error> {
        // The engine has no other way to set them than to insert something.
        let own = self.connection.total_changes();
        for sql in [
            "CREATE TEMP TABLE IF NOT EXISTS ferrolite_taken_over(rowid INTEGER PRIMARY KEY)"
                .to_owned(),
            format!(
                "INSERT OR REPLACE INTO temp.ferrolite_taken_over \
                 SELECT {rowid} FROM generate_series(1, {})",
                total.saturating_sub(own).max(1)
            ),
            "DROP TABLE temp.ferrolite_taken_over".to_owned(),
        ] {
            self.connection
                .execute(&sql)
                .map_err(|error| self.database.explain(error))?;
        }
        self.connection.set_changes(changes);
        Ok(())
    }

    /// Rowid of the session's last successful insert.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// Rows that all INSERTs, UPDATEs and DELETEs of the session changed.
    #[must_use]
    pub fn total_changes(&self) -> i64 {
        self.connection.total_changes()
    }

    /// Rows that the last INSERT, UPDATE or DELETE changed.
    #[must_use]
    pub fn changes(&self) -> i64 {
        self.connection.changes()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.abandoned || std::thread::panicking() {
            // The engine failed in the middle of something: it must not be asked for more.
            self.turn = None;
            return;
        }
        self.roll_back();
    }
}

impl Statement {
    /// Whether running this statement needs the writer's turn.
    #[must_use]
    pub fn needs_turn(&self) -> bool {
        let program = self.inner.get_program();
        match self.kind {
            Kind::BeginWrite => true,
            // A query is not "read-only" to the engine when it fills a table of its own on the way.
            Kind::Query => program.prepared().write_databases.get(MAIN_DB_ID),
            _ => !program.is_readonly(),
        }
    }

    /// Whether the statement only begins, marks or ends a transaction, and so shows nobody's data.
    #[must_use]
    pub fn is_transaction_control(&self) -> bool {
        matches!(self.kind, Kind::Control | Kind::BeginWrite)
    }

    /// Whether the statement queries or changes rows, or controls a transaction: what runs for long only because it has
    /// much to do, which shows in [instructions](Self::instructions), and can be interrupted at any of them.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        !matches!(self.kind, Kind::Vacuum | Kind::Pragma | Kind::Other)
    }

    /// Whether the statement changes rows of tables that all sessions have, and neither tells more than how many nor asks
    /// what its session did before: then another session may as well run it, together with others in one transaction.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        matches!(self.kind, Kind::Insert | Kind::Change) && self.marks == Marks::default()
    }

    /// Whether the statement is an INSERT (or REPLACE), which sets the session's last rowid if it inserts into a table
    /// that has rowids.
    #[must_use]
    pub fn inserts(&self) -> bool {
        self.kind == Kind::Insert
    }

    /// Whether the statement may depend on what its session did before, or change what later ones do: it asks for the last
    /// rowid or for numbers of changes, is about temporary tables or a setting, or does not say whether it has inserted.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        let Marks {
            observes,
            conflict,
            temporary,
            ..
        } = self.marks;
        observes || conflict || temporary || self.kind == Kind::Pragma
    }

    /// Whether the statement may change the schema.
    #[must_use]
    pub fn may_change_schema(&self) -> bool {
        matches!(self.kind, Kind::Other | Kind::Vacuum)
    }

    /// How many instructions the engine has carried out for the statement in all its runs.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.inner.stmt_status(StatementStatusCounter::VmStep)
    }

    /// The columns of the result. They are those of the last run: a statement is compiled anew when it is run after the
    /// schema has changed.
    pub fn columns(&mut self) -> Arc<Columns> {
        let program = self.inner.get_program().prepared();
        if let Some((known, columns)) = &self.columns
            && Arc::ptr_eq(known, program)
        {
            return Arc::clone(columns);
        }
        let count = self.inner.num_columns();
        let name = |nth| self.inner.get_column_name(nth).into_owned();
        let columns = Arc::new(Columns {
            names: (0..count).map(name).collect(),
            declared: (0..count)
                .map(|nth| self.inner.get_column_decltype(nth))
                .collect(),
        });
        self.columns = Some((Arc::clone(program), Arc::clone(&columns)));
        columns
    }

    /// Length in bytes of the statement in the text that it was prepared from; what follows is the
    /// next.
    #[must_use]
    pub fn tail(&self) -> usize {
        self.tail
    }

    /// Number of parameters, which is the highest index.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.inner.parameters_count()
    }

    /// Gives the parameters new values; those beyond `values` become NULL.
    ///
    /// # Errors
    /// When there are more values than parameters.
    pub fn bind<'a>(
        &mut self,
        values: impl ExactSizeIterator<Item = ValueRef<'a>>,
    ) -> Result<(), Error> {
        let (given, wanted) = (values.len(), self.parameter_count());
        if given > wanted {
            return Err(Error::statement(code::RANGE, "column index out of range"));
        }
        self.inner.clear_bindings();
        for (nth, value) in values.enumerate() {
            if let Some(index) = NonZero::new(nth + 1) {
                self.inner.bind_at(index, value.to_engine())?;
            }
        }
        Ok(())
    }

    /// Makes the statement ready to run again.
    ///
    /// # Errors
    /// What the engine says while it ends the previous run.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.inner.reset()?)
    }

    /// The values of the row that the last step brought, in order.
    pub fn row(&self) -> impl Iterator<Item = ValueRef<'_>> + Clone {
        let row = self.inner.row();
        let count = row.map_or(0, limbo_core::Row::len);
        (0..count).filter_map(move |nth| Some(ValueRef::from(row?.get_value(nth))))
    }
}
