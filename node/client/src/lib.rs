//! The Rust client of Ferrolite and dqlite clusters.
//!
//! # Example
//! ```no_run
//! use ferrolite_client::{Client, Result};
//!
//! # async fn example() -> Result<()> {
//! let client = Client::connect(["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]).await?;
//!
//! client.execute("CREATE TABLE IF NOT EXISTS users (name TEXT, age INTEGER)", ()).await?;
//! client.execute("INSERT INTO users VALUES (?, ?)", ("Ada", 36)).await?;
//!
//! let adults: Vec<(String, u32)> = client.query("SELECT * FROM users WHERE age >= ?", (18,)).await?;
//! let count: u64 = client.query_one("SELECT count(*) FROM users", ()).await?;
//!
//! let mut transaction = client.transaction().await?;
//! transaction.execute("UPDATE users SET age = age + 1", ()).await?;
//! transaction.commit().await?; // dropped without this, it is rolled back
//!
//! let mut rows = client.query_stream("SELECT name FROM users", ()).await?;
//! while let Some(name) = rows.next_as::<String>().await? {
//!     println!("{name}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does for its user
//! A cluster has one leader, which runs all SQL but reads that may be [stale](Client::stale), and it changes. The client finds it among any of the servers,
//! follows it when it moves, and learns the cluster's members on the way. A call that failed is made again
//! exactly where that cannot do anything twice; every other failure tells by its type what may be done next
//! ([`Error::is_retryable`], [`Error::is_outcome_unknown`]). Results are streamed in batches. Any future can be
//! dropped at any time: a running statement is interrupted, a transaction rolled back, and no connection is ever
//! used again with an answer on it that belongs to somebody else.
//!
//! # How it is built
//! ```text
//! Client ─ Statement        retries, by what a text can have done (sql)
//!   │  StaleClient          the same for reads on any server
//!   │
//! Pool ── Servers           a few sessions; who leads
//!   │
//! Session ─ Transaction ─ RowStream     one connection with one open database
//!   │
//! Connection                requests out, answers in; knows what it is owed
//! ```
//! What is deliberately absent: encryption of the connection (run it over one that is), and any knowledge of how
//! servers replicate.

mod admin;
mod client;
mod config;
mod connection;
mod discovery;
mod error;
mod held;
mod params;
mod patience;
mod pool;
mod row;
mod session;
#[doc(hidden)]
pub mod socket;
mod sql;
mod stale;
mod statement;
mod stream;
mod transaction;
mod transfer;

pub use admin::{Leader, Node, NodeMetadata};
pub use client::Client;
pub use config::{Builder, DEFAULT_DATABASE};
pub use error::{Error, Result};
pub use ferrolite_wire::{DatabaseFile, DatabaseInfo, ErrorCode, NodeInfo, Role, Value, WireError};
pub use params::IntoParams;
pub use row::{FromRow, FromValue, Row};
pub use session::{ExecResult, Session};
pub use stale::{StaleClient, Staleness};
pub use statement::Statement;
pub use stream::RowStream;
pub use transaction::{Transaction, TransactionMode};
pub use transfer::{Export, ExportChunk, ImportOptions, TransferProgress};
