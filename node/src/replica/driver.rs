//! Who runs the replica: whoever has something for it.
//!
//! The replica is a state machine that owns no thread. Events are put into a queue, and one thread at a time takes them out,
//! gives them to the replica, and does what it wants done. A thread that has an event to bring, a session with a
//! transaction, a connection with a peer's message, the log writer with a completed sync, does that itself if nobody is at
//! it; otherwise it leaves the event to whoever is. So a message on its way through a node wakes no thread that is not
//! needed, and a wakened thread is most of what a small write costs; and what comes while the replica is busy is taken
//! together, as one batch.
//!
//! Nobody is kept for long: after a few rounds the rest is left to the replica's own thread, which is otherwise there for
//! the passing of time.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::Duration;

use ferrolite_consensus::Event as Input;

use super::Replica;
use crate::handle::Event;
use crate::lease::Lease;
use crate::peers::Outlet;

/// So many events are taken at once, so that time and peers get their turn under any load.
const EVENTS_AT_ONCE: usize = 256;
/// With more events waiting, peers are not read from until some are taken.
const MANY_EVENTS: usize = 1024;
/// So many times a thread that brought an event looks for more before it leaves them to the replica's own.
const ROUNDS: usize = 8;
/// The longest sleep: things like a retried change are looked at that often.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Driver {
    waiting: Mutex<VecDeque<Event>>,
    state: Mutex<State>,
    clock: Arc<Lease>,
    /// The replica's own thread, once it runs.
    own: OnceLock<Own>,
}

/// Who gives the replica the time.
#[derive(Debug)]
enum Own {
    Thread(Thread),
    #[cfg(feature = "simulation")]
    Task(Arc<tokio::sync::Notify>),
}

enum State {
    /// The replica is still being made; events wait for it.
    Starting,
    Running(Box<Running>),
    /// There is no replica any more: events are dropped, and with them the senders of their answers.
    Stopped,
}

struct Running {
    replica: Replica,
    peers: Box<dyn Outlet>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "Starting",
            Self::Running(_) => "Running",
            Self::Stopped => "Stopped",
        })
    }
}

impl Driver {
    /// A driver without a replica so far, whose time is that of `clock`.
    pub(crate) fn new(clock: Arc<Lease>) -> Self {
        Self {
            waiting: Mutex::default(),
            state: Mutex::new(State::Starting),
            clock,
            own: OnceLock::new(),
        }
    }

    /// The replica to drive from now on.
    pub(crate) fn start(&self, replica: Replica, peers: Box<dyn Outlet>) {
        let running = Box::new(Running { replica, peers });
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Running(running);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Nothing that could panic runs under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event into the queue; the caller [drives](Self::drive) the replica, now or after a few more.
    pub(crate) fn post(&self, event: Event) {
        self.waiting().push_back(event);
    }

    /// Whether so much waits that whoever can shall bring no more.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting().len() > MANY_EVENTS
    }

    /// [Puts](Self::post) an event into the queue, and drives the replica.
    pub(crate) fn send(&self, event: Event) {
        self.post(event);
        self.drive();
    }

    /// Has the replica take what waits, by this thread unless another is at it already.
    pub(crate) fn drive(&self) {
        for _ in 0..ROUNDS {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                // Whoever has it looks at the queue again once it has let go of it.
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(poisoned)) => self.stop(poisoned.into_inner()),
            };
            if !self.round(&mut state) {
                return;
            }
            drop(state);
            if self.waiting().is_empty() {
                return;
            }
        }
        match self.own.get() {
            Some(Own::Thread(thread)) => thread.unpark(),
            #[cfg(feature = "simulation")]
            Some(Own::Task(bell)) => bell.notify_one(),
            None => {}
        }
    }

    /// The replica's own thread: gives it the time, until it is stopped.
    pub(crate) fn run(&self) {
        // Only this thread sets it.
        let _ = self.own.set(Own::Thread(std::thread::current()));
        loop {
            let mut state = match self.state.lock() {
                Ok(state) => state,
                Err(poisoned) => self.stop(poisoned.into_inner()),
            };
            if !self.round(&mut state) {
                return;
            }
            let deadline = match &*state {
                State::Running(running) => running.replica.raft.deadline(),
                State::Starting => 0,
                State::Stopped => return,
            };
            drop(state);
            if self.waiting().is_empty() {
                let due = deadline.saturating_sub(self.clock.now_ms());
                std::thread::park_timeout(Duration::from_millis(due).min(LONGEST_SLEEP));
            }
        }
    }

    /// In place of a thread: whoever has the replica run is to be told by `bell` when there is reason to.
    #[cfg(feature = "simulation")]
    pub(crate) fn attend(&self, bell: Arc<tokio::sync::Notify>) {
        // Nobody else sets it in a simulation.
        let _ = self.own.set(Own::Task(bell));
    }

    /// How long the replica may be left alone, if nothing happens; `None` if there is none any more.
    #[cfg(feature = "simulation")]
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Running(running) = &*state else {
            return None;
        };
        let due = running.replica.raft.deadline();
        Some(Duration::from_millis(due.saturating_sub(self.clock.now_ms())).min(LONGEST_SLEEP))
    }

    /// The machine has lost its power: the replica is gone as it is.
    #[cfg(feature = "simulation")]
    pub(crate) fn cut(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Stopped;
        self.waiting().clear();
    }

    /// Gives the replica the time and what waits, and does what it wants done. Says whether there is still a replica, or
    /// will be one.
    fn round(&self, state: &mut State) -> bool {
        let running = match state {
            State::Running(running) => running,
            State::Starting => return true,
            State::Stopped => {
                self.waiting().clear();
                return false;
            }
        };
        let events: Vec<Event> = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(EVENTS_AT_ONCE);
            waiting.drain(..count).collect()
        };
        let now = self.clock.now_ms();
        for event in events {
            running.replica.handle(now, event);
        }
        running.replica.step(now, Input::Tick);
        running.replica.act(now, &mut *running.peers);
        running.peers.flush();
        if !running.replica.stopping {
            return true;
        }
        if let State::Running(running) = std::mem::replace(state, State::Stopped) {
            running.replica.close();
        }
        self.waiting().clear();
        false
    }

    /// The replica has panicked: nobody can tell what state it is in, so it takes no further part.
    fn stop<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if let State::Running(mut running) = std::mem::replace(&mut *state, State::Stopped) {
            let told = std::panic::catch_unwind(AssertUnwindSafe(|| running.replica.fail()));
            if told.is_err() {
                log::error!("the replica has failed, and has not told those who wait");
            }
        }
        state
    }
}
