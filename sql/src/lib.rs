//! SQL on replicated pages: the engine, standing on the log and the page store.
//!
//! [limbo_core](https://docs.rs/turso_core) is an SQL engine in Rust that reads and writes ordinary SQLite
//! files. This crate is the only one that knows it. It gives the engine two "files":
//!
//! - the database file, a [`PageFile`](ferrolite_pager::PageFile) that only a checkpoint writes to;
//! - the `-wal` file, a [`WalView`](ferrolite_wal::view::WalView), in which each commit of the engine
//!   appears as a list of changed pages, ready to be replicated.
//!
//! # A write
//!
//! 1. A [`Session`] prepares a [`Statement`], learns that it [needs the turn](Statement::needs_turn), and
//!    takes a place in the database's [line](Database::line).
//! 2. With the [`Turn`] it [steps](Session::step). The engine commits into the view and goes on; nothing
//!    is durable yet, and nobody was told.
//! 3. [`Session::settle`] hands out the
//!    [transaction's pages](ferrolite_wal::view::TakenTransaction). The caller puts them into the log,
//!    in this order, and answers its client when a quorum has them.
//!
//! # What replicates
//!
//! Pages, not statements. `random()` and `datetime('now')` are run once, on the node that leads. The
//! other nodes need no engine at all to follow: they write the pages that the log says into the same
//! file. A node opens the engine when it becomes the leader, on a file that holds everything committed
//! and an empty view; and it [closes](Database::close) the engine with all that it staged when it no longer
//! leads. So there is one way to undo, which is to forget, and one way to start, after a crash or an
//! election. A node that does not lead and is to answer queries all the same opens its engine in the same way, and
//! gives it the pages of the log, transaction by transaction, with an [`Applier`].
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use ferrolite_sql::{Database, Step, ValueRef};
//! # use ferrolite_wal::view::{FramePlace, PageSource, WalView};
//! # struct NoLog;
//! # impl PageSource for NoLog {
//! #     fn read_from_log(&self, _: u32, _: FramePlace, _: &mut [u8]) -> std::io::Result<()> { unreachable!() }
//! #     fn read_from_file(&self, _: u32, _: &mut [u8]) -> std::io::Result<()> { unreachable!() }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let file = Arc::new(ferrolite_pager::PageFile::open(&dir.path().join("app.sqlite"))?);
//! # let view = Arc::new(WalView::new(4096, 1 << 30, Box::new(NoLog)));
//! let database = Database::open("app", file, view)?;
//! let mut session = database.connect()?;
//! for sql in ["CREATE TABLE t(a)", "INSERT INTO t VALUES (random())"] {
//!     let mut statement = session.prepare(sql)?.ok_or("no statement")?;
//!     session.take_turn(database.line().try_take().ok_or("somebody else writes")?);
//!     assert_eq!(session.step(&mut statement)?, Step::Done);
//!     session.settle(|transaction| println!("{} pages to replicate", transaction.pages));
//! }
//! let mut statement = session.prepare("SELECT count(*) FROM t")?.ok_or("no statement")?;
//! assert_eq!(session.step(&mut statement)?, Step::Row);
//! assert_eq!(statement.row().next(), Some(ValueRef::Integer(1)));
//! # Ok(())
//! # }
//! ```

mod apply;
mod copy;
mod database;
mod empty;
pub mod error;
mod guard;
mod io;
mod session;
mod surroundings;
mod turn;
mod uniqueness;
mod value;

pub use apply::{Applier, SCHEMA_COOKIE, schema_cookie};
pub use copy::Copy;
pub use database::Database;
pub use error::Error;
pub use guard::{Pragma, pragma};
pub use session::{Columns, Session, Statement, Step};
pub use surroundings::Surroundings;
pub use turn::{Ticket, Turn, TurnLine};
pub use value::ValueRef;
