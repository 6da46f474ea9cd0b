//! The databases that are open on a node that follows, for clients whose reads may be stale.
//!
//! A node that follows needs no engine, and as long as nobody reads from it, it has none. The first client that wants to read
//! a database here has it opened: its file is brought up to what is applied, and an engine is put on it, with an empty view
//! of the log. From then on the database's transactions reach the file *through the engine alone*:
//!
//! ```text
//!                        ┌────────► log ◄───────────────┐ where the pages are
//! leader ──► replica ────┤                              │
//!                        └─ "applied" ─► feed ──► engine, its view ──► file, by checkpoints
//!                                                   ▲
//!                                             stale readers
//! ```
//!
//! The *feed* is a thread of its own. It reads the log up to what the replica has applied, puts the transactions into the
//! engines ([`ferrolite_sql::Applier`]), and tells the views where in the log the pages are, so that they need not be kept in
//! memory. The replica only says how far it is, and never waits. Readers have snapshots, as on the leader, and so may keep some
//! of the log; what bounds that is the same ([`reader_log_bytes`](crate::Options::reader_log_bytes)), and so is how the
//! checkpointer goes about it.
//!
//! Everything here is committed, so there is nothing to undo, and to close such a database loses nothing: what only its view
//! knew is in the log, behind the checkpoint mark, and redo writes it into the file. So all is closed whenever something
//! else is about to write to the files, and in doubt:
//!
//! - before the node takes over as leader, or its files are replaced by a snapshot: [`Following::close_all`];
//! - when a database is replaced by an import, which the engine could not take for a change of it;
//! - when an engine fails, or cannot take a transaction;
//! - when nobody has used it for a while.
//!
//! Readers notice, and have it opened again. That a database which is being opened in such a moment does not stay open is
//! what the *generation* is for: it is counted up by each closing, and what was asked for before belongs to an earlier one.

mod feed;
mod redo;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrolite_consensus::Index;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::feed::Feed;
use self::redo::Written;
use crate::error::Error;
use crate::leading::LeaderDatabase;
use crate::store::Store;

pub(crate) use self::feed::run;
pub(crate) use self::redo::redo;

/// How often it is looked whether somebody still uses the databases that are open.
const IDLE_PAUSE: Duration = Duration::from_millis(500);

/// A database that is open for stale reads; see the [module](self).
#[derive(Debug)]
pub(crate) struct FollowedDatabase {
    pub(crate) live: Arc<LeaderDatabase>,
    feed: Mutex<Feed>,
    /// The first entry that the feed still needs the log for.
    needed_from: AtomicU64,
    /// What of the log readers have.
    applied: watch::Sender<Index>,
    usage: Mutex<Usage>,
}

#[derive(Debug)]
struct Usage {
    sessions: usize,
    last: Instant,
}

impl FollowedDatabase {
    /// The log index up to which readers have everything.
    pub(crate) fn applied(&self) -> Index {
        *self.applied.borrow()
    }

    /// Sees how that moves on.
    pub(crate) fn progress(&self) -> watch::Receiver<Index> {
        self.applied.subscribe()
    }

    /// The first entry that is not, or not as a whole, in the engine.
    pub(crate) fn needed_from(&self) -> Index {
        self.needed_from.load(Ordering::Acquire)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self, limit: Duration) -> bool {
        let usage = self.usage();
        usage.sessions == 0 && usage.last.elapsed() >= limit
    }
}

/// A session's hold on a database, which is not closed for idleness meanwhile.
#[derive(Debug)]
pub(crate) struct Attached(Arc<FollowedDatabase>);

impl Attached {
    fn to(database: &Arc<FollowedDatabase>) -> Self {
        database.usage().sessions += 1;
        Self(Arc::clone(database))
    }

    /// The session does something.
    pub(crate) fn touch(&self) {
        self.0.usage().last = Instant::now();
    }
}

impl std::ops::Deref for Attached {
    type Target = FollowedDatabase;

    fn deref(&self) -> &FollowedDatabase {
        &self.0
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.usage().sessions -= 1;
    }
}

/// Why a database cannot be opened for stale reads now.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// The node is between two states, and will soon be able to.
    NotNow,
    /// There is no database of that name, as far as this node has applied the log.
    Missing,
    /// The engine or the disk said no.
    Failed(Error),
}

#[derive(Debug, Default)]
struct State {
    admits: bool,
    generation: u64,
    ends: bool,
    applied: Index,
    databases: BTreeMap<String, Arc<FollowedDatabase>>,
}

/// The databases that are open for stale reads; see the [module](self).
#[derive(Debug)]
pub(crate) struct Following {
    state: Mutex<State>,
    /// Wakes the feed.
    changed: Condvar,
    idle: Duration,
    written: Mutex<Option<Written>>,
}

impl Following {
    /// No database is open, and none can be before [`admit`](Self::admit). One that nobody uses is closed after `idle`.
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            idle,
            written: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is complete before the guard is dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a session may do nothing before it lets go of its database.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// From now on databases may be opened.
    pub(crate) fn admit(&self) {
        self.state().admits = true;
    }

    /// Closes all databases, and keeps them closed until the next [`admit`](Self::admit). Nothing reads from their files any
    /// more once this returns.
    pub(crate) fn close_all(&self) {
        let databases = {
            let mut state = self.state();
            state.admits = false;
            state.generation += 1;
            std::mem::take(&mut state.databases)
        };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for database in databases.into_values() {
            database.live.close();
        }
    }

    /// To what a database belongs that is opened now; none if none may be.
    pub(crate) fn generation(&self) -> Option<u64> {
        let state = self.state();
        state.admits.then_some(state.generation)
    }

    /// A database that is open.
    pub(crate) fn get(&self, name: &str) -> Option<Attached> {
        let state = self.state();
        state.databases.get(name).map(Attached::to)
    }

    /// The databases that are open.
    pub(crate) fn all(&self) -> Vec<Arc<FollowedDatabase>> {
        self.state().databases.values().map(Arc::clone).collect()
    }

    /// The replica has applied the log up to `index`.
    pub(crate) fn applied(&self, index: Index) {
        let mut state = self.state();
        state.applied = index;
        if !state.databases.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Ends the feed.
    pub(crate) fn end(&self) {
        self.state().ends = true;
        self.changed.notify_one();
    }

    fn insert(&self, generation: u64, database: FollowedDatabase) -> Result<Attached, Unopened> {
        let database = Arc::new(database);
        let attached = Attached::to(&database);
        let mut state = self.state();
        if !state.admits || state.generation != generation {
            drop(state);
            database.live.close();
            return Err(Unopened::NotNow);
        }
        let name = database.live.name.clone();
        state.databases.insert(name, database);
        self.changed.notify_one();
        Ok(attached)
    }

    /// Closes one database.
    fn close(&self, database: &Arc<FollowedDatabase>) {
        {
            let mut state = self.state();
            let name = &database.live.name;
            let is_open = state.databases.get(name);
            if is_open.is_some_and(|open| Arc::ptr_eq(open, database)) {
                state.databases.remove(name);
            }
        }
        database.live.close();
    }

    fn close_idle(&self) {
        let idle: Vec<_> = {
            let mut state = self.state();
            let idle =
                |_: &String, database: &mut Arc<FollowedDatabase>| database.is_idle(self.idle);
            state.databases.extract_if(.., idle).collect()
        };
        for (name, database) in idle {
            log::debug!(database = name; "nobody reads here any more; the database is closed");
            database.live.close();
        }
    }

    /// Waits until there is something for the feed, or it is time to look who is idle: the open databases, and what they
    /// may be given. Nothing comes once the feed is to end.
    fn next(&self) -> Option<(Vec<Arc<FollowedDatabase>>, Index)> {
        let mut state = self.state();
        let deadline = Instant::now() + IDLE_PAUSE;
        loop {
            if state.ends {
                return None;
            }
            let applied = state.applied;
            let mut behind = state.databases.values();
            let left = deadline.saturating_duration_since(Instant::now());
            if behind.any(|database| database.applied() < applied)
                || (left.is_zero() && !state.databases.is_empty())
            {
                let databases = state.databases.values().map(Arc::clone);
                return Some((databases.collect(), applied));
            }
            state = if state.databases.is_empty() {
                self.changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

/// Somebody wants to read a database of which everything up to `to` is applied.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) name: String,
    pub(crate) to: Index,
    pub(crate) generation: u64,
    pub(crate) wanted_by: oneshot::Sender<Result<Attached, Unopened>>,
}

impl Follow {
    /// Opens it, on the thread that writes to the files.
    pub(crate) fn answer(self, store: &Store, following: &Following) {
        let opened = open(store, following, &self.name, self.to, self.generation);
        // If nobody waits any more, nobody uses it, and it is closed again in a while.
        drop(self.wanted_by.send(opened));
    }
}

/// Opens a database whose file nothing else writes to meanwhile, with all that is applied up to `to`.
fn open(
    store: &Store,
    following: &Following,
    name: &str,
    to: Index,
    generation: u64,
) -> Result<Attached, Unopened> {
    if let Some(open) = following.get(name) {
        return Ok(open);
    }
    if following.generation() != Some(generation) {
        return Err(Unopened::NotNow);
    }
    let done = store.mark.done();
    let written = store.mark.begin(to).map_err(Error::from);
    written
        .and_then(|()| store.write_pages(done, to, |written| written == name))
        .map_err(Unopened::Failed)?;
    let known = store.list().map_err(Unopened::Failed)?;
    if known.iter().all(|(known, _)| known != name) {
        return Err(Unopened::Missing);
    }
    let unable = |error: ferrolite_sql::Error| Unopened::Failed(error.into());
    let sql = store.open_engine(name).map_err(unable)?;
    let feed = Feed::new(store, &sql, name, done, to).map_err(Unopened::Failed)?;
    log::debug!(database = name, index = to; "opened for stale reads");
    let database = FollowedDatabase {
        live: Arc::new(LeaderDatabase::new(name.to_owned(), sql)),
        feed: Mutex::new(feed),
        needed_from: AtomicU64::new(done.saturating_add(1)),
        applied: watch::Sender::new(to),
        usage: Mutex::new(Usage {
            sessions: 0,
            last: Instant::now(),
        }),
    };
    following.insert(generation, database)
}
