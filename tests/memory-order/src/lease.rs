//! Who knows of another leader does not see a lease.
//!
//! The replica takes its lease back before the message leaves that lets another node be elected. A client that was told of
//! what the other has committed, and then asks here, must not be answered under the old lease: what it reads here is older.
//! That the other's answer comes after that message, the network sees to; its place is taken by a release and an acquire.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

const LATER: u64 = 1000;
const NOW: u64 = 10;

struct Node {
    until: AtomicU64,
    /// A message of this node that let another one lead.
    sent: AtomicBool,
}

fn model(step_down: fn(&Node)) {
    loom::model(move || {
        let node = Arc::new(Node {
            until: AtomicU64::new(LATER),
            sent: AtomicBool::new(false),
        });
        let other = Arc::new(AtomicBool::new(false));
        let replica = {
            let node = Arc::clone(&node);
            thread::spawn(move || step_down(&node))
        };
        let elected = {
            let (node, other) = (Arc::clone(&node), Arc::clone(&other));
            thread::spawn(move || {
                if node.sent.load(Ordering::Acquire) {
                    other.store(true, Ordering::Release);
                }
            })
        };
        let told_by_the_other = other.load(Ordering::Acquire);
        let holds = NOW < node.until.load(Ordering::SeqCst);
        assert!(!(told_by_the_other && holds), "read under an old lease");
        replica.join().unwrap();
        elected.join().unwrap();
    });
}

#[test]
fn a_lease_ends_before_another_can_lead() {
    model(|node| {
        node.until.store(0, Ordering::SeqCst);
        node.sent.store(true, Ordering::Release);
    });
}

/// The message leaves first.
#[test]
#[should_panic(expected = "old lease")]
fn a_lease_that_ends_late_is_found() {
    model(|node| {
        node.sent.store(true, Ordering::Release);
        node.until.store(0, Ordering::SeqCst);
    });
}
