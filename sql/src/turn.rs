//! The writer's turn: a database has one writer at a time, and the others stand in line.
//!
//! SQLite tells a second writer "database is locked" and leaves it to poll. A server with sixty-four
//! clients can do better: whoever wants to write takes a place in line, is told when its turn has come,
//! and may leave the line when its patience (the busy timeout) ends. First come, first served; nobody
//! polls.
//!
//! The line itself waits for nothing and knows no clock or thread: a [`Ticket`] is granted by calling
//! back, at once when the line is empty. A [`Turn`] ends when it is dropped, so a session that vanishes
//! in the middle of a transaction frees its database.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Grant = Box<dyn FnOnce(Turn) + Send>;

#[derive(Default)]
struct Line {
    taken: bool,
    next_ticket: u64,
    waiting: VecDeque<(u64, Grant)>,
}

/// The line of those who want to write to one database.
#[derive(Clone, Default)]
pub struct TurnLine {
    line: Arc<Mutex<Line>>,
}

impl fmt::Debug for TurnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.lock();
        f.debug_struct("TurnLine")
            .field("taken", &line.taken)
            .field("waiting", &line.waiting.len())
            .finish()
    }
}

/// The right to write to the database, until it is dropped.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    line: TurnLine,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.pass_on();
    }
}

/// A place in line. Dropping it leaves the line; a turn already granted is not affected.
#[derive(Debug)]
#[must_use = "dropping the ticket leaves the line"]
pub struct Ticket {
    line: TurnLine,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let number = self.number;
        let left = {
            let mut line = self.line.lock();
            let place = line
                .waiting
                .iter()
                .position(|(ticket, _)| *ticket == number);
            place.and_then(|place| line.waiting.remove(place))
        };
        drop(left);
    }
}

impl TurnLine {
    /// An empty line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // The line is consistent at every point where a callback could panic: none runs under the lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in line. `grant` is called with the turn when it comes, perhaps before this
    /// returns, on whatever thread ended the turn before.
    pub fn join(&self, grant: impl FnOnce(Turn) + Send + 'static) -> Ticket {
        let mut line = self.lock();
        let number = line.next_ticket;
        line.next_ticket += 1;
        let ticket = Ticket {
            line: self.clone(),
            number,
        };
        if line.taken {
            line.waiting.push_back((number, Box::new(grant)));
        } else {
            line.taken = true;
            drop(line);
            grant(Turn { line: self.clone() });
        }
        ticket
    }

    /// Takes the turn if nobody has it and nobody waits.
    #[must_use]
    pub fn try_take(&self) -> Option<Turn> {
        let mut line = self.lock();
        if line.taken {
            return None;
        }
        line.taken = true;
        drop(line);
        Some(Turn { line: self.clone() })
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn pass_on(&self) {
        let next = {
            let mut line = self.lock();
            let next = line.waiting.pop_front();
            line.taken = next.is_some();
            next
        };
        if let Some((_, grant)) = next {
            grant(Turn { line: self.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn join(line: &TurnLine) -> (Ticket, Receiver<Turn>) {
        let (tx, rx) = channel();
        let ticket = line.join(move |turn| {
            // A receiver that is gone gives the turn back by dropping it.
            let _ = tx.send(turn);
        });
        (ticket, rx)
    }

    /// First come, first served, and one at a time.
    #[test]
    fn turns_come_in_order() {
        let line = TurnLine::new();
        let (_a, first) = join(&line);
        let (_b, second) = join(&line);
        let (_c, third) = join(&line);
        let turn = first.try_recv().unwrap();
        assert!(second.try_recv().is_err());
        assert!(line.try_take().is_none());
        drop(turn);
        let turn = second.try_recv().unwrap();
        assert!(third.try_recv().is_err());
        drop(turn);
        drop(third.try_recv().unwrap());
        assert!(line.try_take().is_some());
    }

    /// Whoever leaves the line does not hold up the others.
    #[test]
    fn leaving_the_line() {
        let line = TurnLine::new();
        let turn = line.try_take().unwrap();
        let (ticket, gone) = join(&line);
        let (_stays, rx) = join(&line);
        drop(ticket);
        drop(turn);
        assert!(gone.try_recv().is_err());
        assert!(rx.try_recv().is_ok());
    }

    /// A turn granted to someone who is gone passes on by itself.
    #[test]
    fn a_turn_granted_to_nobody_passes_on() {
        let line = TurnLine::new();
        let turn = line.try_take().unwrap();
        let (_ticket, gone) = join(&line);
        drop(gone);
        let (_stays, rx) = join(&line);
        drop(turn);
        assert!(rx.try_recv().is_ok());
    }
}
