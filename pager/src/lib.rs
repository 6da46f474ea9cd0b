//! Database files: pages at their places, how far they are up to date, and how they travel.
//!
//! In a replicated database the log is the truth, and a database file is a digest of a prefix of it. That makes
//! files simple: nothing in them has to survive a torn write, because what a checkpoint writes can be written again
//! from the log. All that has to be exact is the *mark*, which says how far the digest reaches for sure, and how far it
//! may reach at most. What the log does not give back is a page that rots years after its entry was dropped; so every
//! page has a *sum* beside the file, by which it is known when it is read.
//!
//! | module | what it is |
//! |---|---|
//! | [`page_file`] | a database file: positional reads and writes, checked, and failures that are not forgotten |
//! | [`sums`] | what every page has to be: a checksum and a log index, beside the database file |
//! | [`naming`] | which file holds which database |
//! | [`mark`] | the two log indexes of a checkpoint, durable |
//! | [`scrub`] | looks for pages that have rotted |
//! | [`snapshot`] | all databases as a stream, out of files in use, and installed by one decision |
//! | [`validate`] | whether bytes are an SQLite database |
//! | [`verify`] | what the files of a node that does not run are, and what of them is damaged |
//!
//! The crate knows neither Raft's roles nor SQL; it has no threads and no runtime of its own, and everything is
//! `Send + Sync`. What it promises: a name that a client chose never leaves its directory; whatever a crash interrupts
//! can be done again, with the same end; a page that is not what was written is an error, never data; bytes from elsewhere
//! are checked before they are believed, and no bytes make it panic. The layouts stand in `docs/formats-pages.md`.
//!
//! ```
//! use std::sync::Arc;
//! use ferrolite_pager::{CheckpointMark, PageFile, file_name, write_transaction_at};
//! use ferrolite_wal::backend::MemBackend;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let mark = Arc::new(CheckpointMark::open(&MemBackend::new())?);
//! let path = dir.path().join(file_name("app")?);
//! let file = PageFile::open_checked(&path, 4096, Arc::clone(&mark))?;
//!
//! // A checkpoint of the log up to entry 7, which is one transaction of one page:
//! let page = [42; 4096];
//! mark.begin(7)?;
//! write_transaction_at(&file, 4096, [(1, page.as_slice())].into_iter(), 1, 7)?;
//! file.sync()?;
//! mark.finish(7)?; // now the log may drop the entry
//!
//! assert_eq!((mark.done(), mark.target(), file.len()?), (7, 7, 4096));
//! let read = file.read_page(1)?; // what was written, or an error
//! assert_eq!((read.bytes, read.sum.map(|sum| sum.index)), (page.to_vec(), Some(7)));
//! # Ok(())
//! # }
//! ```

mod bytes;
pub mod directory;
pub mod error;
pub mod mark;
pub mod naming;
pub mod page_file;
mod rot;
pub mod scrub;
pub mod snapshot;
pub mod sums;
pub mod validate;
pub mod verify;

pub use directory::Directory;
pub use error::Error;
pub use mark::CheckpointMark;
pub use naming::{database_name, file_name};
pub use page_file::{PageFile, write_outcome, write_transaction, write_transaction_at};
pub use rot::Rot;
pub use scrub::{Scrubbed, Scrubber};
pub use snapshot::{
    PendingInstall, SnapshotSink, SnapshotSource, discard, pending_install, pending_install_in,
};
