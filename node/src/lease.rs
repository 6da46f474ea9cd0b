//! The leader's lease, where every session can look at it.
//!
//! A leader that a quorum has answered knows for how long nobody else can have been elected
//! ([`Raft::lease_until`](ferrolite_consensus::Raft::lease_until)). Until then a read needs neither a round of messages nor a
//! word with the replica: its session looks here, after it has read. Whoever sees the lease hold knows that this node still
//! led when it looked, and so that what it read is what the cluster has.
//!
//! The replica writes the end of the lease whenever it may have changed, and *before* any message leaves that the change
//! has to do with: once a message could let another node be elected, the lease is gone here.
//!
//! Its clock is the system's monotonic one, and the replica goes by the same. What is trusted of it is how far it may differ
//! from those of the other voters within an election timeout: [`drift and jumps`](crate::Options::read_lease).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::environment::Clock;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Lease {
    clock: Arc<dyn Clock>,
    until_ms: AtomicU64,
}

impl Lease {
    /// No lease, by this clock.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            until_ms: AtomicU64::new(0),
        }
    }

    /// The replica's time: milliseconds since the node was started, rounded down.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A time of the replica's as one that can be compared with others.
    pub(crate) fn instant(&self, ms: u64) -> Instant {
        self.clock.instant(ms)
    }

    /// The replica says until when nobody else can have been elected; 0 takes the lease back.
    pub(crate) fn set_until(&self, until_ms: u64) {
        self.until_ms.store(until_ms, Ordering::SeqCst);
    }

    /// Whether this node certainly leads at this moment.
    pub(crate) fn holds(&self) -> bool {
        // The clock first: a lease that is taken back while it is looked at must not be seen to hold by an older one.
        let now_ms = self.now_ms();
        now_ms < self.until_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::environment::Environment;

    /// Nothing holds before the replica says so, nor once it has taken it back.
    #[test]
    fn holds_until_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let lease = Lease::new(Environment::system(directory.path()).unwrap().clock);
        assert!(!lease.holds());
        lease.set_until(u64::MAX);
        assert!(lease.holds());
        lease.set_until(0);
        assert!(!lease.holds());
    }
}
