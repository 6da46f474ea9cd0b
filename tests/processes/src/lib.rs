//! Nodes as real processes: what programs need that put a cluster to the test.
//!
//! - [`node`]: a process that is started, killed, suspended and stopped, and the directory that outlives it.
//! - [`status`]: what a node says about itself.
//! - [`judged`](fn@judged): how a program ends that puts them to the test.
//! - [`files`]: whether the files of nodes that have stopped are the same, and in order.
//!
//! What is waited for has a bound ([`eventually`]).

pub mod files;
mod judged;
pub mod node;
pub mod status;

use std::time::{Duration, Instant};

use tokio::time::sleep;

pub use judged::judged;
pub use node::{Node, Place, stop_all};
pub use status::Status;

/// The result of anything that may make a run impossible.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long anything may take that is waited for; on a machine that is not overloaded all of it takes a fraction of that.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and returns it.
///
/// # Errors
/// What `look` fails with, or that it has not found it in time.
pub async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()).into());
        }
        sleep(POLL).await;
    }
}
