//! One durable log: Raft's log and the databases' write-ahead log at once.
//!
//! A replicated database usually writes every change three times: to the consensus log, to the database's
//! write-ahead log, and to the database file. Here the first two are one. A transaction's changed pages become
//! an entry of the consensus log; the log keeps the entry, and the page is read back out of it until a checkpoint
//! has carried it into the database file.
//!
//! | module | what it is |
//! |---|---|
//! | [`backend`] | files and directories, real, in memory, or failing on purpose |
//! | [`log`] | the log: append, sync, read, drop, recover |
//! | [`inspect`] | what is on disk, read to the last byte, without changing it |
//! | [`slot`] | a small value that survives crashes, on which votes and marks stand |
//! | [`frames`] | a transaction as the payload of entries: its pages, in one part or several |
//! | [`view`] | the log as the `-wal` file that an SQL engine believes in |
//!
//! The crate knows neither Raft's roles nor SQL; it needs no threads and no runtime of its own, and everything is
//! `Send + Sync`. What it promises: what was synced is there after any crash; what was damaged is reported, with the
//! entry that it was, and never handed out; what was torn in a crash, and so promised to nobody, is gone. The byte
//! layouts stand in `docs/formats.md`.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use ferrolite_wal::{Log, LogOptions, Record, backend::MemBackend};
//!
//! # fn main() -> Result<(), ferrolite_wal::Error> {
//! let (log, recovery) = Log::open(Arc::new(MemBackend::new()), LogOptions::default())?;
//! assert_eq!(recovery.last_index, 0);
//! log.append(&[Record { index: 1, term: 1, kind: 0, payload: Bytes::from_static(b"pages") }])?;
//! assert_eq!(log.sync()?, 1); // durable
//! assert_eq!(log.entry(1)?.payload, "pages");
//! # Ok(())
//! # }
//! ```

pub mod backend;
mod bytes_le;
pub mod error;
pub mod frames;
pub mod inspect;
pub mod log;
mod record;
mod segment;
pub mod slot;
pub mod view;

pub use error::Error;
pub use log::{DamagedRange, Log, LogOptions, Recovery, TermRun};
pub use record::Record;
pub use segment::FORMAT_VERSION;
pub use slot::{SlotFile, SlotKind};
