//! All databases of a node as one stream of bytes, and back into files.
//!
//! A node that is too far behind the log, or new, gets the database files of another. Three parts make that:
//!
//! - [`SnapshotSource`] reads files that are in use. Its list of databases and page counts is frozen when it is made,
//!   so that every record has one place in the stream and the stream can be taken up again at any record. The pages are
//!   not frozen: checkpoints go on meanwhile.
//! - [`SnapshotSink`] checks what comes, record by record, and writes it to files aside, in `incoming/`; large ones are
//!   synced while they come, so that the disk is busy meanwhile. Its `finish` is the moment of decision: once the file `incoming/complete` is durable, the snapshot *will* be installed.
//! - [`PendingInstall`] is such a decision, found again after any crash. Applying it renames the files over the live
//!   ones, or writes the pages that changed into them; that can be repeated, in whole or from the middle, with the same end.
//!
//! **All pages, or those that changed.** A node that holds everything up to a log index needs only the pages that an entry
//! after it wrote; their [log indexes](crate::sums) say which these are ([`SnapshotSource::since`]). Such a snapshot names its
//! *base*, and a sink takes it only on a node that has reached that base ([`SnapshotSink::begin_since`]). What the receiver's
//! files hold beyond its own mark does no harm: those are committed entries too, so their pages come as well, or are
//! redone. Databases that came since come whole, and those that went are not listed and are removed.
//!
//! **Fuzzy, then exact.** A page may be newer than the index that the snapshot claims, or of a transaction half
//! written. The sender's checkpoint [target](crate::CheckpointMark::target) at the time when the last byte was read
//! bounds how new; with changed pages, the receiver's own target does too. So the receiver redoes the log's entries from
//! the claimed index up to that target before it uses the files: the same rule as after a crash in a checkpoint, and so
//! the same code: it installs the pair as its [`CheckpointMark`](crate::CheckpointMark). Entries that say a page as a
//! difference must take the base from the log, not from these files.
//!
//! **The stream** is a sequence of records, each with a CRC-32 over its bytes and its place, so that a record is never
//! taken for another: one head (magic, version, page size, number of databases, length of the stream, base), one record
//! for each database (name, pages, how many come), then one for each page (number, log index, bytes). Every chunk consists of
//! whole records. Version 1, of bare pages without numbers and indexes, is still read, and is what [`SnapshotSource::new`]
//! gives. `docs/formats-pages.md` has the bytes.
//!
//! ```
//! use std::sync::Arc;
//! use ferrolite_pager::{PageFile, SnapshotSink, SnapshotSource, discard, pending_install};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # std::fs::create_dir_all(dir.path().join("a"))?;
//! # std::fs::create_dir_all(dir.path().join("b/databases"))?;
//! // One node reads …
//! let app = Arc::new(PageFile::open(&dir.path().join("a/app.sqlite"))?);
//! app.write_at(0, &[7; 4096])?;
//! let source = SnapshotSource::new(vec![("app".to_owned(), app, 1)], 4096)?;
//!
//! // … another writes …
//! let incoming = dir.path().join("b/incoming");
//! discard(&incoming)?; // whatever a crash left
//! let mut sink = SnapshotSink::begin(&incoming, 1)?;
//! loop {
//!     let (chunk, done) = source.read(sink.offset(), 1 << 16)?;
//!     sink.write(sink.offset(), &chunk)?;
//!     if done {
//!         break;
//!     }
//! }
//! sink.finish(b"index 12, term 3")?;
//!
//! // … and installs, now or on its next start.
//! let databases = dir.path().join("b/databases");
//! let Some(install) = pending_install(&incoming)? else { return Err("lost".into()) };
//! assert_eq!(install.meta(), b"index 12, term 3");
//! install.apply(&databases)?;
//! install.clear()?;
//! assert_eq!(std::fs::read(databases.join("app.sqlite"))?, [7; 4096]);
//! # Ok(())
//! # }
//! ```

mod early;
mod format;
mod install;
mod part;
mod sink;
mod source;

pub use format::{MAX_DATABASES, STREAM_VERSION};
pub use install::{
    MAX_META_BYTES, PendingInstall, discard, discard_in, pending_install, pending_install_in,
};
pub use sink::SnapshotSink;
pub use source::SnapshotSource;
