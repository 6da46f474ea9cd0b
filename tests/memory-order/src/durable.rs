//! What is said to be durable was synced, and never less is said.
//!
//! Two threads may sync the log at the same time, without a lock, and say so in any order; whoever sees a position takes all
//! before it for durable.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

struct Log {
    /// How far the file is synced: what the system knows.
    synced: AtomicU64,
    durable: AtomicU64,
}

fn model(say: fn(&AtomicU64, u64)) {
    loom::model(move || {
        let log = Arc::new(Log {
            synced: AtomicU64::new(0),
            durable: AtomicU64::new(0),
        });
        let syncs = [1, 2].map(|end| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                log.synced.fetch_max(end, Ordering::Relaxed);
                say(&log.durable, end);
            })
        });
        let first = log.durable.load(Ordering::Acquire);
        assert!(log.synced.load(Ordering::Relaxed) >= first, "not synced");
        let second = log.durable.load(Ordering::Acquire);
        assert!(second >= first, "taken back");
        for sync in syncs {
            sync.join().unwrap();
        }
        assert_eq!(log.durable.load(Ordering::Acquire), 2, "taken back");
    });
}

#[test]
fn what_is_durable_was_synced() {
    model(|durable, end| {
        durable.fetch_max(end, Ordering::AcqRel);
    });
}

/// The position is stored, whatever stands there.
#[test]
#[should_panic(expected = "taken back")]
fn a_store_is_found() {
    model(|durable, end| durable.store(end, Ordering::Release));
}

/// The position is there for others before what it stands for.
#[test]
#[should_panic(expected = "not synced")]
fn a_weaker_ordering_is_found() {
    model(|durable, end| {
        durable.fetch_max(end, Ordering::Relaxed);
    });
}
