//! Where bytes are kept: a flat directory of files, and nothing more.
//!
//! Everything durable in a node goes through two small traits: a [`Backend`] is a directory (names), a
//! [`BackendFile`] is an open file (bytes). The split is the one that the operating system makes: a file's
//! bytes and a directory's names become durable by different syncs, and a program that forgets one of them
//! loses data only on the day of the power cut. Five methods each; all take `&self`, so that one thread
//! writes while others read.
//!
//! What an implementation promises:
//!
//! - [`write_at`](BackendFile::write_at) is visible to every later read at once, and is durable after the next
//!   successful [`sync`](BackendFile::sync) of that file. Before that, after a crash, any part of it may be there.
//! - Names created, renamed and removed are visible at once, and durable after the next successful
//!   [`sync`](Backend::sync) of the directory. A rename is atomic.
//! - Two handles of one file see the same bytes; a handle stays good when its name is removed.
//!
//! [`DirBackend`] keeps real files, [`ReadOnlyDir`] only looks at them, [`MemBackend`] keeps them in memory, and [`FaultBackend`] is a
//! simulated disk that loses, tears and garbles what it is given, as a test wants it.

use std::io;
use std::sync::Arc;

mod dir;
mod fault;
mod mem;
mod read_only;

pub use dir::DirBackend;
pub use fault::{FaultBackend, FaultKind, Operation, SECTOR_BYTES};
pub use mem::MemBackend;
pub use read_only::ReadOnlyDir;

/// A flat directory of files.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Names of all files, in no particular order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens the file `name` for reading and writing; with `create`, an empty one is made if there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist and `create` is false; otherwise the system's error.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>>;

    /// Gives the file `from` the name `to`, replacing what had it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no `from`; otherwise the system's error.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name. Handles that are open stay usable.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such name; otherwise the system's error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every change of names so far durable.
    ///
    /// # Errors
    /// When the system cannot promise it. Never call it again for the same changes: a second success proves
    /// nothing.
    fn sync(&self) -> io::Result<()>;
}

/// An open file of a [`Backend`].
pub trait BackendFile: Send + Sync + std::fmt::Debug {
    /// Length in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// The system's error.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buf` is full or the file ends, and returns how many bytes were read.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`; the file grows as needed, a hole reads as zeros.
    ///
    /// # Errors
    /// The system's error; then any part of `buf` may have been written.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// The system's error.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes written so far durable (`fdatasync`: with the length, without the times).
    ///
    /// # Errors
    /// When the system cannot promise it. Never call it again for the same bytes: the system may have dropped
    /// them, and a second success proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly `buf.len()` bytes at `offset`.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the file ends before that; otherwise the file's error.
pub fn read_exact_at(file: &dyn BackendFile, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, buf)? == buf.len() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file ends too early",
        ))
    }
}
