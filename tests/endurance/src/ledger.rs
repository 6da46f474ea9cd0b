//! What all clients together know, and what none of them may therefore be told.
//!
//! Two kinds of things are written, both of which only grow: registers, each a number that one writer counts up, and the
//! table of rows, of which the number is counted. So one rule serves for both, a [`Counter`]: a read that begins after a
//! number was acknowledged, or after another read has returned it, returns that number or a later one, and never one that
//! was not sent yet. That is linearizability, as far as something that only grows can break it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How many registers there are.
pub(crate) const REGISTERS: usize = 4;
/// So much that is wrong is kept for the report.
const MOST_FINDINGS: usize = 20;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    /// The last one that was sent.
    sent: AtomicI64,
    /// The largest one that was acknowledged, or returned by a read.
    known: AtomicI64,
}

impl Counter {
    /// So many more are about to be sent. Returns the number that makes.
    pub(crate) fn send(&self, more: i64) -> i64 {
        self.sent.fetch_add(more, Ordering::SeqCst) + more
    }

    /// The cluster has said that it is there.
    pub(crate) fn learn(&self, number: i64) {
        self.known.fetch_max(number, Ordering::SeqCst);
    }

    /// What is known now: a read that begins now may not return less.
    pub(crate) fn known(&self) -> i64 {
        self.known.load(Ordering::SeqCst)
    }

    /// Whether a read that began when `before` was known may have returned `read`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, before: i64, read: i64) -> Result<(), String> {
        let sent = self.sent.load(Ordering::SeqCst);
        if read < before {
            return Err(format!(
                "{read} was read, when {before} was known before the read began"
            ));
        }
        if read > sent {
            return Err(format!(
                "{read} was read, when no more than {sent} was sent"
            ));
        }
        self.learn(read);
        Ok(())
    }
}

/// When rows were acknowledged, and when for long none.
#[derive(Debug)]
struct Pulse {
    start: Instant,
    last_ms: AtomicU64,
    longest_ms: AtomicU64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) registers: [Counter; REGISTERS],
    pub(crate) rows: Counter,
    acknowledged: AtomicI64,
    /// The last row of each writer that was acknowledged: its rowid and what is in it.
    latest: Vec<Mutex<Option<(i64, i64)>>>,
    pub(crate) reads: AtomicU64,
    /// Reads that were answered with an error, as may happen whenever leadership moves.
    pub(crate) failed_reads: AtomicU64,
    pub(crate) updates: AtomicU64,
    pulse: Pulse,
    ends: AtomicBool,
    findings: Mutex<Vec<String>>,
    found: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(writers: usize) -> Self {
        Self {
            registers: Default::default(),
            rows: Counter::default(),
            acknowledged: AtomicI64::new(0),
            latest: (0..writers).map(|_| Mutex::default()).collect(),
            reads: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            updates: AtomicU64::new(0),
            pulse: Pulse {
                start: Instant::now(),
                last_ms: AtomicU64::new(0),
                longest_ms: AtomicU64::new(0),
            },
            ends: AtomicBool::new(false),
            findings: Mutex::default(),
            found: Notify::new(),
        }
    }

    /// The cluster has acknowledged rows of a writer, given as their rowids and what is in them.
    pub(crate) fn acknowledged(&self, writer: usize, rows: &[(i64, i64)]) {
        let count = i64::try_from(rows.len()).unwrap_or(0);
        let all = self.acknowledged.fetch_add(count, Ordering::SeqCst) + count;
        self.rows.learn(all);
        if let (Some(latest), Some(row)) = (self.latest.get(writer), rows.last()) {
            *lock(latest) = Some(*row);
        }
        let now_ms = self.now_ms();
        let before = self.pulse.last_ms.swap(now_ms, Ordering::SeqCst);
        let pause = now_ms.saturating_sub(before);
        self.pulse.longest_ms.fetch_max(pause, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.pulse.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many rows were acknowledged.
    pub(crate) fn acknowledged_rows(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// The longest time without an acknowledged row since this was asked before, one that lasts still included.
    pub(crate) fn take_longest_pause(&self) -> Duration {
        let last = self.pulse.last_ms.load(Ordering::SeqCst);
        let lasts = self.now_ms().saturating_sub(last);
        Duration::from_millis(self.pulse.longest_ms.swap(0, Ordering::SeqCst).max(lasts))
    }

    /// A row that was acknowledged to a writer: its rowid and what is in it.
    pub(crate) fn latest_of(&self, writer: usize) -> Option<(i64, i64)> {
        self.latest.get(writer).and_then(|latest| *lock(latest))
    }

    /// Tells all clients to end.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::SeqCst);
    }

    /// Whether clients are to go on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::SeqCst)
    }

    /// Something is wrong.
    pub(crate) fn report(&self, finding: String) {
        let mut findings = lock(&self.findings);
        if findings.len() < MOST_FINDINGS {
            findings.push(finding);
        }
        self.found.notify_one();
    }

    /// Waits until something is wrong.
    pub(crate) async fn found(&self) {
        self.found.notified().await;
    }

    /// What is wrong so far.
    pub(crate) fn findings(&self) -> Vec<String> {
        lock(&self.findings).clone()
    }
}
