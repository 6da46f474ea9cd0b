//! The databases of the node that leads, and what its clients wait for.
//!
//! A [`LeaderDatabase`] is an open engine together with two counters that carry the promise of the whole
//! product:
//!
//! - [`observable`](LeaderDatabase::observable): how many transactions the engine has committed, so that
//!   others can read them;
//! - [`CommitLine`]: how many of those a quorum holds.
//!
//! The engine runs ahead: a transaction that is submitted is visible to the next statement at once. But no
//! answer leaves the node before everything that it *produced or could have observed* is committed. So every
//! answer, of a write or a read, of a success or a failure, waits until the line has reached the value that
//! the first had when the statement was done. When the node no longer leads, the [`Registry`] closes every
//! database, and whoever waits learns that the outcome is unknown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolite_sql::Database;
use tokio::sync::{Notify, oneshot};

use crate::gateway::Shared;

/// How far the transactions of one database are committed, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct CommitLine {
    state: Mutex<LineState>,
    /// Copy of the state's counter, so that the common question costs no lock.
    committed: AtomicU64,
}

#[derive(Debug, Default)]
struct LineState {
    /// Transactions from this number on will never be known to be committed.
    lost_from: Option<u64>,
    /// Transactions from this number on were not even proposed: they certainly did not happen.
    refused_from: Option<u64>,
    waiting: BinaryHeap<Reverse<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Waiter {}
impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}

/// Why nobody will learn that a transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Leadership went before it was known: it may have been committed or not.
    Unknown,
    /// It was never proposed.
    Refused,
}

impl CommitLine {
    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until transaction `number` is committed by a quorum.
    pub(crate) async fn wait(&self, number: u64) -> Result<(), Lost> {
        if self.committed.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let woken = {
            let mut state = self.state();
            if self.committed.load(Ordering::Acquire) >= number {
                return Ok(());
            }
            if let Some(lost) = state.lost(number) {
                return Err(lost);
            }
            let (wake, woken) = oneshot::channel();
            state.waiting.push(Reverse(Waiter { number, wake }));
            woken
        };
        woken
            .await
            .map_err(|_| self.state().lost(number).unwrap_or(Lost::Unknown))
    }

    /// Whether transaction `number` is committed by a quorum.
    pub(crate) fn is_reached(&self, number: u64) -> bool {
        self.committed.load(Ordering::Acquire) >= number
    }

    /// Says that transactions up to `number` are committed.
    fn advance(&self, number: u64) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            self.committed.store(number, Ordering::Release);
            while state
                .waiting
                .peek()
                .is_some_and(|waiter| waiter.0.number <= number)
            {
                due.extend(state.waiting.pop());
            }
        }
        for Reverse(waiter) in due {
            // Whoever waited may have left; nobody else needs to know.
            let _ = waiter.wake.send(());
        }
    }

    /// Says that transactions from `number` on will never be known to be committed.
    pub(crate) fn lose_from(&self, number: u64) {
        self.drop_waiting(|state| &mut state.lost_from, number);
    }

    /// Says that transactions from `number` on were not proposed, and never will be.
    pub(crate) fn refuse_from(&self, number: u64) {
        self.drop_waiting(|state| &mut state.refused_from, number);
    }

    fn drop_waiting(&self, bound: impl FnOnce(&mut LineState) -> &mut Option<u64>, number: u64) {
        let lost = {
            let mut state = self.state();
            let bound = bound(&mut state);
            let from = bound.map_or(number, |before| before.min(number));
            *bound = Some(from);
            let waiting = std::mem::take(&mut state.waiting).into_vec();
            let (lost, kept): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|waiter| waiter.0.number >= from);
            state.waiting = BinaryHeap::from(kept);
            lost
        };
        drop(lost);
    }
}

impl LineState {
    fn lost(&self, number: u64) -> Option<Lost> {
        let reached = |bound: Option<u64>| bound.is_some_and(|bound| bound <= number);
        if reached(self.refused_from) {
            Some(Lost::Refused)
        } else {
            reached(self.lost_from).then_some(Lost::Unknown)
        }
    }
}

/// A committed transaction whose pages are not all in the database file.
#[derive(Debug, Clone, Copy)]
struct Pending {
    last_frame: u64,
    first_index: u64,
    /// Pages that the database has after it.
    pages: u32,
}

/// How far the engine's frames are committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The last frame of the last transaction.
    pub(crate) frame: u64,
    /// The log entry that commits it.
    pub(crate) index: u64,
}

#[derive(Debug, Default)]
struct Unwritten {
    committed: Committed,
    pending: VecDeque<Pending>,
}

/// A database that is open on the leader; see the [module](self).
#[derive(Debug)]
pub(crate) struct LeaderDatabase {
    pub(crate) name: String,
    pub(crate) sql: Arc<Database>,
    pub(crate) commits: CommitLine,
    pages: AtomicU64,
    unwritten: Mutex<Unwritten>,
    /// Snapshots from before this was counted up are given up.
    snapshots: AtomicU64,
    /// Tells those who wait for the end of the database.
    closing: Notify,
    /// Writes that may share transactions.
    pub(crate) shared: Shared,
}

impl LeaderDatabase {
    pub(crate) fn new(name: String, sql: Arc<Database>) -> Self {
        Self {
            name,
            sql,
            commits: CommitLine::default(),
            pages: AtomicU64::new(0),
            unwritten: Mutex::default(),
            snapshots: AtomicU64::new(0),
            closing: Notify::new(),
            shared: Shared::default(),
        }
    }

    /// The number of the last transaction that a statement which ends now can have observed.
    pub(crate) fn observable(&self) -> u64 {
        self.sql.view().commits()
    }

    /// Says that transaction `number`, which ends with the frame and the log entry of `last` and begins in log entry
    /// `first_index`, is committed.
    pub(crate) fn committed(&self, number: u64, last: Committed, first_index: u64, pages: u32) {
        self.pages.store(u64::from(pages), Ordering::Release);
        {
            let mut unwritten = self.unwritten();
            unwritten.committed = last;
            unwritten.pending.push_back(Pending {
                last_frame: last.frame,
                first_index,
                pages,
            });
        }
        self.commits.advance(number);
    }

    /// How far the frames are committed now.
    pub(crate) fn committed_through(&self) -> Committed {
        self.unwritten().committed
    }

    /// Pages of the database after the last committed transaction; 0 if there was none since it was opened.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Acquire)
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every transaction that was submitted is committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.commits.is_reached(self.observable())
    }

    /// Copies frames up to `frame`, all of them committed, into the database file. Returns the first log index that is
    /// still needed because its pages are not all there, if there is one.
    pub(crate) fn checkpoint(&self, frame: u64) -> Result<Option<u64>, ferrolite_sql::Error> {
        let done = self.sql.checkpoint(frame)?;
        let (last, needed) = {
            let pending = &mut self.unwritten().pending;
            let mut last = None;
            while let Some(written) = pending.pop_front_if(|pending| pending.last_frame <= done) {
                last = Some(written);
            }
            (last, pending.front().map(|pending| pending.first_index))
        };
        // After a VACUUM the file is longer than the database, and the engine leaves it so.
        if let Some(last) = last.filter(|last| last.last_frame == done) {
            self.sql.shrink_file(last.pages)?;
        }
        Ok(needed)
    }

    /// The first log index that is needed because its pages are not all in the database file, as of the last checkpoint.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        let pending = &self.unwritten().pending;
        pending.front().map(|pending| pending.first_index)
    }

    /// Starts the log view over, if nobody reads from it. The caller has the writer's turn, and
    /// [everything is settled](Self::is_settled).
    pub(crate) fn start_over(
        &self,
        turn: &ferrolite_sql::Turn,
    ) -> Result<bool, ferrolite_sql::Error> {
        let over = self.sql.start_over(turn)?;
        if over {
            let mut unwritten = self.unwritten();
            unwritten.pending.clear();
            unwritten.committed.frame = 0;
        }
        Ok(over)
    }

    /// Which snapshots are kept: a session notes the number before it takes one, and gives its snapshot up once
    /// there is another number.
    pub(crate) fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Acquire)
    }

    /// Has all readers give their snapshots up, so that the log can let go of what they keep.
    pub(crate) fn give_up_snapshots(&self) {
        self.snapshots.fetch_add(1, Ordering::AcqRel);
    }

    /// Closes the database under its sessions. Those who wait for a commit still learn of it.
    pub(crate) fn close(&self) {
        self.sql.close();
        self.closing.notify_waiters();
    }

    /// Waits until the database is closed.
    pub(crate) async fn closed(&self) {
        let mut closing = pin!(self.closing.notified());
        // From here on it is told.
        closing.as_mut().enable();
        if !self.sql.is_closed() {
            closing.await;
        }
    }
}

/// Why a database cannot be opened on this node now.
#[derive(Debug)]
pub(crate) enum OpenRefusal {
    /// This node does not lead, or does not serve yet.
    NotLeader,
    /// The engine or the disk said no.
    Failed(ferrolite_sql::Error),
}

#[derive(Debug, Default)]
struct Open {
    serving: bool,
    /// Databases whose files are being replaced.
    blocked: BTreeSet<String>,
    databases: BTreeMap<String, Arc<LeaderDatabase>>,
}

/// The open databases of this node: none, unless it leads.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    open: Mutex<Open>,
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on databases may be opened.
    pub(crate) fn serve(&self) {
        self.open().serving = true;
    }

    /// Closes all databases, and keeps them closed until the next [`serve`](Self::serve). Those who wait
    /// for a commit go on waiting; returns the databases, so that the caller can tell them.
    pub(crate) fn close_all(&self) -> Vec<Arc<LeaderDatabase>> {
        let databases = {
            let mut open = self.open();
            open.serving = false;
            open.blocked.clear();
            std::mem::take(&mut open.databases)
        };
        databases
            .into_values()
            .inspect(|database| database.close())
            .collect()
    }

    /// Closes one database, whose file is replaced, and keeps it closed until it is
    /// [released](Self::release).
    pub(crate) fn block(&self, name: &str) {
        let database = {
            let mut open = self.open();
            open.blocked.insert(name.to_owned());
            open.databases.remove(name)
        };
        if let Some(database) = database {
            database.close();
        }
    }

    /// The file of the database is complete again.
    pub(crate) fn release(&self, name: &str) {
        self.open().blocked.remove(name);
    }

    /// The databases that are open.
    pub(crate) fn all(&self) -> Vec<Arc<LeaderDatabase>> {
        self.open().databases.values().map(Arc::clone).collect()
    }

    /// The database `name`, opened by `open` if it is not open yet. Blocks while another one is opened.
    pub(crate) fn get_or_open(
        &self,
        name: &str,
        open: impl FnOnce() -> Result<Arc<Database>, ferrolite_sql::Error>,
    ) -> Result<Arc<LeaderDatabase>, OpenRefusal> {
        let mut registry = self.open();
        if !registry.serving {
            return Err(OpenRefusal::NotLeader);
        }
        if let Some(database) = registry.databases.get(name) {
            return Ok(Arc::clone(database));
        }
        if registry.blocked.contains(name) {
            return Err(OpenRefusal::Failed(ferrolite_sql::Error::Busy));
        }
        let sql = open().map_err(OpenRefusal::Failed)?;
        let database = Arc::new(LeaderDatabase::new(name.to_owned(), sql));
        registry
            .databases
            .insert(name.to_owned(), Arc::clone(&database));
        Ok(database)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Nobody is answered before a quorum has what the answer depends on.
    #[test]
    fn waits_for_the_commit() {
        let line = CommitLine::default();
        let mut first = Box::pin(line.wait(1));
        let mut third = Box::pin(line.wait(3));
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut third).is_pending());
        line.advance(2);
        assert_eq!(poll(&mut first), Poll::Ready(Ok(())));
        assert!(poll(&mut third).is_pending());
        line.advance(3);
        assert_eq!(poll(&mut third), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut Box::pin(line.wait(2))), Poll::Ready(Ok(())));
    }

    /// A transaction that could not be proposed is lost; those before it are not.
    #[test]
    fn lost_from_some_number_on() {
        let line = CommitLine::default();
        let mut kept = Box::pin(line.wait(1));
        let mut lost = Box::pin(line.wait(2));
        assert!(poll(&mut kept).is_pending());
        assert!(poll(&mut lost).is_pending());
        line.refuse_from(2);
        assert_eq!(poll(&mut lost), Poll::Ready(Err(Lost::Refused)));
        assert!(poll(&mut kept).is_pending());
        line.advance(1);
        assert_eq!(poll(&mut kept), Poll::Ready(Ok(())));
        line.lose_from(0);
        assert_eq!(
            poll(&mut Box::pin(line.wait(3))),
            Poll::Ready(Err(Lost::Refused))
        );
    }

    /// Those who wait when leadership is lost are told so, and so is whoever comes later.
    #[test]
    fn leadership_lost() {
        let line = CommitLine::default();
        let mut waiting = Box::pin(line.wait(1));
        assert!(poll(&mut waiting).is_pending());
        line.lose_from(0);
        assert_eq!(poll(&mut waiting), Poll::Ready(Err(Lost::Unknown)));
        assert_eq!(
            poll(&mut Box::pin(line.wait(1))),
            Poll::Ready(Err(Lost::Unknown))
        );
        assert_eq!(
            poll(&mut Box::pin(line.wait(0))),
            Poll::Ready(Ok(())),
            "nothing to wait for"
        );
    }
}
