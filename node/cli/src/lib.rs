//! The commands of the `ferrolite` program that are clients of a cluster.
//!
//! Everything here speaks the client protocol over a socket and nothing else: no engine, no log, no
//! files of a node. So the same code drives a Ferrolite cluster and a dqlite cluster, and it can be
//! built, tested and embedded without the SQL engine.
//!
//! The commands, one module each:
//!
//! - [`shell`]: an interactive SQL shell, and the runner of SQL scripts. It can be opened from another
//!   program through [`shell::run`].
//! - [`render`]: results as tables, CSV, JSON and more.
//! - [`sql`]: the little the shell has to know of SQL's grammar: where a statement ends, whether it
//!   returns rows, how a value is written as a literal.
//!
//! ```
//! use ferrolite_cli::sql::Splitter;
//!
//! let mut splitter = Splitter::new();
//! splitter.push("INSERT INTO t VALUES ('one;two'); SELECT\n");
//! let first = splitter.next_statement().ok_or("a whole statement")?;
//! assert_eq!(first.text, "INSERT INTO t VALUES ('one;two');");
//! assert!(splitter.next_statement().is_none(), "the SELECT is not finished");
//! splitter.push("  1;\n");
//! assert_eq!(splitter.next_statement().map(|s| s.line), Some(1));
//! # Ok::<(), &'static str>(())
//! ```
#![forbid(unsafe_code)]

pub mod render;
pub mod sql;
