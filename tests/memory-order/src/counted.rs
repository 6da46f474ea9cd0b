//! A commit is counted before a reader can have seen it.
//!
//! The engine writes the frames of a transaction into the view of the log, which counts the commit under its lock, and then
//! publishes the last frame's number in an atomic of its own. A reader takes that number, and afterwards asks for the count:
//! it covers all that the reader can have seen, or an answer would leave the node before a quorum has what is in it.

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

struct View {
    frames: Mutex<u64>,
    commits: AtomicU64,
    /// The engine's, which it publishes when the frames are written.
    shown: AtomicU64,
}

impl View {
    fn write(&self) {
        let mut frames = self.frames.lock().unwrap();
        *frames += 1;
        let commits = self.commits.load(Ordering::SeqCst);
        self.commits.store(commits + 1, Ordering::SeqCst);
    }

    fn show(&self) {
        let shown = self.shown.load(Ordering::Acquire);
        self.shown.store(shown + 1, Ordering::Release);
    }
}

fn model(commit: fn(&View)) {
    loom::model(move || {
        let view = Arc::new(View {
            frames: Mutex::new(0),
            commits: AtomicU64::new(0),
            shown: AtomicU64::new(0),
        });
        let writer = {
            let view = Arc::clone(&view);
            thread::spawn(move || {
                commit(&view);
            })
        };
        let reader = thread::spawn(move || {
            let seen = view.shown.load(Ordering::Acquire);
            let observable = view.commits.load(Ordering::SeqCst);
            assert!(observable >= seen, "{seen} seen, {observable} counted");
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn what_was_seen_was_counted() {
    model(|view| {
        view.write();
        view.show();
    });
}

/// The engine shows a commit before it is written.
#[test]
#[should_panic(expected = "counted")]
fn the_other_way_round_it_is_found() {
    model(|view| {
        view.show();
        view.write();
    });
}
