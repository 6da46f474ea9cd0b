//! What happened in a simulation, line by line, in the order in which it happened.
//!
//! The trace serves two readers. A person reads the events that matter: elections, faults, what clients asked and were told. And
//! the test that the same seed is the same simulation compares all of it, down to every message, by a running checksum.

use std::cell::RefCell;
use std::time::Duration;

/// Who an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The simulation as a whole.
    World,
    /// A node.
    Node(u64),
    /// A client.
    Client(u64),
}

/// One event.
#[derive(Debug, Clone)]
pub struct Line {
    /// When.
    pub at: Duration,
    /// Whose.
    pub whose: Whose,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = match self.whose {
            Whose::World => String::new(),
            Whose::Node(id) => format!("node {id}"),
            Whose::Client(number) => format!("client {number}"),
        };
        write!(
            f,
            "{:>7} ms  {whose:<10} {}",
            self.at.as_millis(),
            self.what
        )
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Trace {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    sum: crc32fast::Hasher,
    events: u64,
}

impl Trace {
    /// An event for people.
    pub fn say(&self, at: Duration, whose: Whose, what: impl Into<String>) {
        let line = Line {
            at,
            whose,
            what: what.into(),
        };
        self.count(line.to_string().as_bytes());
        self.state.borrow_mut().lines.push(line);
    }

    /// An event that is only counted in.
    pub fn count(&self, what: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.sum.update(what);
        state.events += 1;
    }

    /// How many events there were, and the checksum of them all.
    pub fn sum(&self) -> (u64, u32) {
        let state = self.state.borrow();
        (state.events, state.sum.clone().finalize())
    }

    /// The events for people.
    pub fn lines(&self) -> Vec<Line> {
        self.state.borrow().lines.clone()
    }
}
