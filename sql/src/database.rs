//! One database with its engine, on a page file and a view of the log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ferrolite_pager::PageFile;
use ferrolite_wal::view::WalView;
use limbo_core::{
    CheckpointMode, Connection, Database as Engine, DatabaseOpts, IO, OpenFlags, OpenOptions,
    SqliteDialect,
};

use crate::empty::ensure_first_page;
use crate::error::{Error, code};
use crate::io::EngineIo;
use crate::session::Session;
use crate::surroundings::Surroundings;
use crate::turn::{Turn, TurnLine};

/// How much the engine may keep of one connection's pages in memory, in KiB (as a negative number, the
/// way `PRAGMA cache_size` takes it).
const CONNECTION_CACHE_KIB: i32 = -2000;

/// A database that is open for SQL; see the [crate](crate).
pub struct Database {
    engine: Arc<Engine>,
    io: Arc<EngineIo>,
    line: TurnLine,
    /// The connection that checkpoints; no client uses it.
    checkpointer: Mutex<Arc<Connection>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.io.path)
            .field("view", &self.io.view)
            .finish()
    }
}

impl Database {
    /// Opens the database in `file`, with `view` as its write-ahead log.
    ///
    /// `name` is what the engine calls the file in its messages. The file must be complete: everything
    /// committed so far is in it, and the view is empty.
    ///
    /// # Errors
    /// When the file is not a database that the engine reads.
    pub fn open(name: &str, file: Arc<PageFile>, view: Arc<WalView>) -> Result<Arc<Self>, Error> {
        Self::open_in(None, name, file, view)
    }

    /// [`open`](Self::open) in these surroundings, or in those of the system.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(
        surroundings: Option<Arc<dyn Surroundings>>,
        name: &str,
        file: Arc<PageFile>,
        view: Arc<WalView>,
    ) -> Result<Arc<Self>, Error> {
        ensure_first_page(&file, view.page_size()).map_err(|error| {
            Error::statement(code::IOERR, format!("creating the database file: {error}"))
        })?;
        let io = Arc::new(EngineIo::new(name.to_owned(), file, view, surroundings)?);
        let engine_io: Arc<dyn IO> = Arc::clone(&io) as Arc<dyn IO>;
        let features = DatabaseOpts::new()
            .with_vacuum(true)
            .with_autovacuum(true)
            .with_generated_columns(true)
            .with_without_rowid(true);
        let options = OpenOptions::new(Arc::new(SqliteDialect))
            .flags(OpenFlags::Create)
            .db_opts(features);
        let engine = Engine::do_open(engine_io, &io.path, options)?;
        let checkpointer = Mutex::new(connect(&engine)?);
        Ok(Arc::new(Self {
            engine,
            io,
            line: TurnLine::new(),
            checkpointer,
        }))
    }

    /// A new session, with foreign keys on.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the engine says.
    pub fn connect(self: &Arc<Self>) -> Result<Session, Error> {
        let connection = connect(&self.engine).map_err(|error| self.explain(error))?;
        connection.set_foreign_keys_enabled(true);
        Ok(Session::new(Arc::clone(self), connection))
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The line of those who want to write.
    #[must_use]
    pub fn line(&self) -> &TurnLine {
        &self.line
    }

    /// The view that serves as the database's write-ahead log.
    #[must_use]
    pub fn view(&self) -> &Arc<WalView> {
        &self.io.view
    }

    /// Copies frames up to `frame` (all of them committed by a quorum) into the database file and syncs
    /// it, as far as readers allow. Returns the frame up to which the file is complete.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the engine says.
    pub fn checkpoint(&self, frame: u64) -> Result<u64, Error> {
        if frame <= self.io.view.backfilled() {
            return Ok(self.io.view.backfilled());
        }
        let mode = CheckpointMode::Passive {
            upper_bound_inclusive: Some(frame),
        };
        self.run_checkpoint(mode)
    }

    /// Like [`checkpoint`](Self::checkpoint) for all frames, and then starts the log view over, so that
    /// it does not grow for ever. The caller has the writer's turn and knows that everything staged is
    /// committed. Answers whether it could: readers of old frames prevent it.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the engine says.
    pub fn start_over(&self, _turn: &Turn) -> Result<bool, Error> {
        if self.io.view.is_empty() {
            return Ok(true);
        }
        self.checkpoint(self.io.view.frame_count())?;
        if self.io.view.backfilled() < self.io.view.frame_count() {
            return Ok(false);
        }
        match self.run_checkpoint(CheckpointMode::Truncate {
            upper_bound_inclusive: None,
        }) {
            Ok(_) => Ok(self.io.view.frame_count() == 0),
            Err(error) if error.is_busy() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn run_checkpoint(&self, mode: CheckpointMode) -> Result<u64, Error> {
        let connection = self
            .checkpointer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = self
            .io
            .gate
            .open(|| connection.checkpoint(mode))
            .map_err(|error| self.explain(error))?;
        self.io.file.sync().map_err(|error| {
            Error::statement(code::IOERR, format!("sync of the database file: {error}"))
        })?;
        let done = result.wal_total_backfilled;
        self.io.view.set_backfilled(done);
        Ok(done)
    }

    /// Cuts off what the file has beyond its first `pages` pages. All frames up to the end of a transaction after which the
    /// database has so many are in the file, and no reader has an older snapshot.
    ///
    /// # Errors
    /// [`Error::Closed`], or when the file cannot be cut.
    pub fn shrink_file(&self, pages: u32) -> Result<(), Error> {
        let (file, view) = (&self.io.file, &self.io.view);
        let bytes = u64::from(pages) * u64::from(view.page_size());
        let shrink = || -> std::io::Result<()> {
            if pages > 0 && file.len()? > bytes {
                file.truncate(bytes)?;
                file.sync()?;
            }
            Ok(())
        };
        let shrunk = view.while_open(shrink).map_err(|_| Error::Closed)?;
        shrunk.map_err(|error| {
            Error::statement(code::IOERR, format!("cutting the database file: {error}"))
        })
    }

    /// Whether the engine's idea of the schema no longer fits the database, so that no session can run anything any more. A
    /// change of the schema that fails in the middle can leave it so; opened anew, the database is well.
    #[must_use]
    pub fn is_confused(self: &Arc<Self>) -> bool {
        let look = || {
            let session = self.connect()?;
            let Some(mut statement) = session.prepare("SELECT count(*) FROM sqlite_schema")? else {
                return Ok(());
            };
            session.step(&mut statement).map(drop)
        };
        look().is_err_and(|error: Error| error.is_schema())
    }

    /// Closes the database under all of its sessions. Nothing reads from its file any more once this
    /// returns; what was staged and not committed is forgotten.
    pub fn close(&self) {
        self.io.view.close();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.io.view.while_open(|| ()).is_err()
    }

    /// An engine's error, unless the real reason is that the database was closed.
    pub(crate) fn explain(&self, error: limbo_core::LimboError) -> Error {
        if self.is_closed() {
            Error::Closed
        } else {
            Error::from(error)
        }
    }
}

pub(crate) fn connect(engine: &Arc<Engine>) -> Result<Arc<Connection>, limbo_core::LimboError> {
    let connection = engine.connect()?;
    connection.wal_auto_actions_disable();
    // The setting alone would change nothing: only the pragma resizes the cache.
    connection.execute(format!("PRAGMA cache_size = {CONNECTION_CACHE_KIB}"))?;
    Ok(connection)
}
