//! Whoever waits for a commit is woken or has seen it, and sees what was said with it.
//!
//! The line keeps its number in an atomic, for those whose commit is reached already, and those who wait under a lock. The
//! number is changed under the lock too, and looked at again under it before somebody waits. What a commit brings with it,
//! the size of the database, is written before the number.

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

#[derive(Default)]
struct Waiting {
    lost: bool,
    waiters: usize,
    woken: usize,
}

struct Line {
    committed: AtomicU64,
    pages: AtomicU64,
    state: Mutex<Waiting>,
}

#[derive(PartialEq)]
enum Waited {
    Reached,
    Lost,
    Asleep,
}

impl Line {
    fn new() -> Self {
        Self {
            committed: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            state: Mutex::new(Waiting::default()),
        }
    }

    fn wait(&self, looks_again: bool) -> Waited {
        if self.committed.load(Ordering::Acquire) >= 1 {
            return Waited::Reached;
        }
        let mut state = self.state.lock().unwrap();
        if looks_again && self.committed.load(Ordering::Acquire) >= 1 {
            return Waited::Reached;
        }
        if state.lost {
            return Waited::Lost;
        }
        state.waiters += 1;
        Waited::Asleep
    }

    fn advance(&self) {
        self.pages.store(7, Ordering::Release);
        let mut state = self.state.lock().unwrap();
        self.committed.store(1, Ordering::Release);
        state.woken += std::mem::take(&mut state.waiters);
    }

    fn lose(&self) {
        let mut state = self.state.lock().unwrap();
        state.lost = true;
        state.woken += std::mem::take(&mut state.waiters);
    }
}

fn model(end: fn(&Line), looks_again: bool) {
    loom::model(move || {
        let line = Arc::new(Line::new());
        let waiter = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                let waited = line.wait(looks_again);
                if waited == Waited::Reached {
                    assert_eq!(line.pages.load(Ordering::Acquire), 7);
                }
                waited
            })
        };
        end(&line);
        let waited = waiter.join().unwrap();
        let state = line.state.lock().unwrap();
        assert_eq!(state.waiters, 0, "somebody sleeps for ever");
        assert_eq!(state.woken, usize::from(waited == Waited::Asleep));
    });
}

#[test]
fn a_commit_wakes_who_waits() {
    model(Line::advance, true);
}

#[test]
fn a_loss_wakes_who_waits() {
    model(Line::lose, true);
}

/// Who waits does not look again once he has the lock.
#[test]
#[should_panic(expected = "sleeps for ever")]
fn a_forgotten_look_is_found() {
    model(Line::advance, false);
}
