//! A machine: a disk and a clock that stay, and a node that comes and goes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use ferrolite_node::simulation::{SimClock, SimNode};
use ferrolite_wal::backend::FaultBackend;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// More than any simulation writes.
pub(crate) const PLENTY: u64 = 1 << 30;

/// A clock that runs at a rate of its own, and may jump ahead.
#[derive(Debug)]
pub(crate) struct MachineClock {
    start: Instant,
    /// How much faster it runs than true time, in millionths.
    drift_ppm: i64,
    jumped_ms: AtomicU64,
    /// It never goes back.
    last_ms: AtomicU64,
}

impl MachineClock {
    pub(crate) fn new(drift_ppm: i64) -> Self {
        Self {
            start: Instant::now(),
            drift_ppm,
            jumped_ms: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn jump(&self, ms: u64) {
        self.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl SimClock for MachineClock {
    fn now_ms(&self) -> u64 {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        let off = passed.saturating_mul(self.drift_ppm) / 1_000_000;
        let shown = u64::try_from(passed.saturating_add(off)).unwrap_or(0);
        let shown = shown.saturating_add(self.jumped_ms.load(Ordering::Relaxed));
        self.last_ms.fetch_max(shown, Ordering::Relaxed).max(shown)
    }
}

/// Whether the process of a machine is suspended. Its clock runs on meanwhile, and what is sent to it waits for it.
#[derive(Debug, Default)]
pub(crate) struct Suspension {
    is_suspended: Cell<bool>,
    /// Whether it is of a client's session, and what it waits with.
    waiting: RefCell<Vec<(bool, Waker)>>,
    /// What the process will be rid of once it goes on.
    discarded: RefCell<Vec<Box<dyn Any>>>,
    rng: RefCell<Rng>,
}

impl Suspension {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            is_suspended: Cell::default(),
            waiting: RefCell::default(),
            discarded: RefCell::default(),
            rng: RefCell::new(rng),
        }
    }

    pub(crate) fn begin(&self) {
        self.is_suspended.set(true);
    }

    pub(crate) fn end(&self) {
        self.is_suspended.set(false);
        drop(self.discarded.take());
        // Which of its threads a system runs first is anybody's guess: it may be those that serve clients, before the node
        // finds out how late it is, or those that carry the frames of other nodes, each in their order.
        let (sessions, rest): (Vec<_>, Vec<_>) = {
            let waiting = self.waiting.take().into_iter();
            waiting.partition(|(is_session, _)| *is_session)
        };
        let (first, second) = if self.rng.borrow_mut().bool() {
            (sessions, rest)
        } else {
            (rest, sessions)
        };
        for (_, waker) in first.into_iter().chain(second) {
            waker.wake();
        }
    }

    /// Drops what the process has. It does not notice before it goes on.
    pub(crate) fn discard(&self, part: impl Any) {
        if self.is_suspended.get() {
            self.discarded.borrow_mut().push(Box::new(part));
        }
    }

    /// Does `work`, which the process does, and not while it is suspended.
    pub(crate) async fn holds_up<T>(&self, work: impl Future<Output = T>) -> T {
        self.holds_up_thread(false, work).await
    }

    /// [`holds_up`](Self::holds_up), for what a session of a client does.
    pub(crate) async fn holds_up_session<T>(&self, work: impl Future<Output = T>) -> T {
        self.holds_up_thread(true, work).await
    }

    async fn holds_up_thread<T>(&self, is_session: bool, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if self.is_suspended.get() {
                let waker = context.waker().clone();
                self.waiting.borrow_mut().push((is_session, waker));
                return Poll::Pending;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

/// Holds up the next checkpoint of a leader, and tells when it has begun.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    wanted: Cell<Option<Duration>>,
    begun: Notify,
}

impl Stall {
    /// Waits until a checkpoint has begun, which takes so much longer.
    pub(crate) async fn next(&self, time: Duration) {
        self.wanted.set(Some(time));
        self.begun.notified().await;
    }

    /// No checkpoint is held up any more.
    pub(crate) fn give_up(&self) {
        self.wanted.set(None);
    }

    /// A checkpoint begins. Says how much longer it takes.
    pub(crate) fn begins(&self) -> Duration {
        let Some(time) = self.wanted.take() else {
            return Duration::ZERO;
        };
        self.begun.notify_one();
        time
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) disk: FaultBackend,
    pub(crate) capacity: Arc<AtomicU64>,
    pub(crate) clock: Arc<MachineClock>,
    /// How often a node was started here.
    pub(crate) life: u64,
    pub(crate) node: Option<Rc<SimNode>>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
    /// The node was removed from the cluster, and is not to come back.
    pub(crate) is_gone: bool,
    /// Milliseconds that the disk takes for a batch, at most.
    pub(crate) sync_ms: Arc<AtomicI64>,
    pub(crate) suspension: Rc<Suspension>,
    pub(crate) stall: Rc<Stall>,
}

impl Machine {
    pub(crate) fn new(id: u64, drift_ppm: i64, sync_ms: u64, rng: Rng) -> Self {
        Self {
            id,
            disk: FaultBackend::new(),
            capacity: Arc::new(AtomicU64::new(PLENTY)),
            clock: Arc::new(MachineClock::new(drift_ppm)),
            life: 0,
            node: None,
            tasks: Vec::new(),
            is_gone: false,
            sync_ms: Arc::new(AtomicI64::new(i64::try_from(sync_ms).unwrap_or(0))),
            suspension: Rc::new(Suspension::new(rng)),
            stall: Rc::default(),
        }
    }

    /// The power goes: the node is gone as it is. What of the unsynced parts of its disk is lost, `keep` says.
    pub(crate) fn cut(&mut self, keep: impl FnMut(usize) -> bool) {
        if let Some(node) = self.node.take() {
            node.cut();
        }
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.suspension.end();
        self.disk.crash(keep);
    }
}

/// A time up to this many milliseconds.
pub(crate) fn up_to(rng: &mut fastrand::Rng, ms: i64) -> Duration {
    let ms = u64::try_from(ms).unwrap_or(0);
    Duration::from_millis(if ms == 0 { 0 } else { rng.u64(0..=ms) })
}
