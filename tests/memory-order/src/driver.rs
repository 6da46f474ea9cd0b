//! An event that is left to another thread is taken by it.
//!
//! Whoever brings an event puts it into a queue, under the queue's lock, and then tries the replica's. If another has that,
//! the event is left to it; and whoever lets go of the replica looks into the queue once more. Neither lock is held while
//! the other is waited for, so this is the pattern in which two threads may each miss what the other wrote. They do not:
//! whichever has the queue's lock later sees all that the other did before it had it.
//!
//! The replica's lock is an atomic here, with the orderings of the standard library's: to fail to take it orders nothing.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

struct Driver {
    waiting: Mutex<usize>,
    driven: AtomicBool,
    /// What the replica has taken: only whoever drives it changes that.
    taken: AtomicUsize,
}

impl Driver {
    fn send(&self, looks_again: bool) {
        *self.waiting.lock().unwrap() += 1;
        loop {
            let locked =
                self.driven
                    .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            if locked.is_err() {
                return;
            }
            let events = std::mem::take(&mut *self.waiting.lock().unwrap());
            let taken = self.taken.load(Ordering::Relaxed);
            self.taken.store(taken + events, Ordering::Relaxed);
            self.driven.store(false, Ordering::Release);
            if !looks_again || *self.waiting.lock().unwrap() == 0 {
                return;
            }
        }
    }
}

fn model(looks_again: bool) {
    loom::model(move || {
        let driver = Arc::new(Driver {
            waiting: Mutex::new(0),
            driven: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
        });
        let other = {
            let driver = Arc::clone(&driver);
            thread::spawn(move || driver.send(looks_again))
        };
        driver.send(looks_again);
        other.join().unwrap();
        let taken = driver.taken.load(Ordering::Relaxed);
        assert_eq!(taken, 2, "an event is left lying");
    });
}

#[test]
fn every_event_is_taken() {
    model(true);
}

/// Who lets go of the replica does not look into the queue again.
#[test]
#[should_panic(expected = "left lying")]
fn a_forgotten_look_is_found() {
    model(false);
}
