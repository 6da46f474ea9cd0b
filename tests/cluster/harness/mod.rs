//! What the tests are made with.
//!
//! - [`Node`]: one process, its port and its directory.
//! - [`Cluster`]: several of them, and what they say about themselves.
//! - [`Load`]: clients that write, and remember what they were told.
//! - [`Register`]: a number that is written and read, and may only be read as it was written.
//! - [`files`]: database files, read without a node.
//! - [`RawConnection`]: the client protocol without a client that finds the leader by itself.

mod cluster;
pub mod files;
mod load;
mod node;
pub mod raw;
mod register;

use std::time::{Duration, Instant};

pub use cluster::Cluster;
pub use load::{Load, Tally};
pub use node::{Node, finished, program, text};
pub use raw::RawConnection;
pub use register::Register;

/// How long anything may take that a test waits for; on a machine that is not overloaded all of it takes a
/// fraction of that.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and returns it.
///
/// # Panics
/// When it has not found it in time.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}
