//! The thread that brings pages from the log into the database files.
//!
//! Two ways lead there, and at any moment only one of them is open for a database:
//!
//! - On a node that does not lead, no engine has the files open. The pages of the committed entries are
//!   written over the old ones: [*redo*](crate::redo). Doing it twice changes nothing, so a crash in the middle needs no
//!   other answer than to do it again.
//! - On the leader, sessions read old snapshots, and only the engine knows which pages they still need. So
//!   the engine checkpoints, as far as its readers let it. It is the same with a database that is open for
//!   [stale reads](crate::following) on a node that follows.
//!
//! Either way the order is the same: the mark says how far the files may get (`begin`), the pages are
//! written and synced, the mark says how far they have got (`finish`), and only then may the log let go of
//! the entries, back to the last [anchor](crate::anchors). All jobs of a node run here, one at a time, so the two ways
//! never meet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ferrolite_consensus::{Index, NodeId, Term};
use ferrolite_wal::frames::{PartHeader, TransactionId};
use tokio::time::Instant;

use crate::error::Error;
use crate::following::{self, Follow, Following};
use crate::handle::Event;
use crate::leading::LeaderDatabase;
use crate::replica::Driver;
use crate::scrub::{self, GivenPage, PageName, Scrub};
use crate::snapshot::{self, ChunkRead, ChunkWritten};
use crate::store::Store;

/// A log view with more frames than this is started over, which holds up writers for a moment.
const MANY_FRAMES: u64 = 16_384;

/// How long to wait for the writer's turn, and then for the commit of what was submitted.
const START_OVER_PATIENCE: Duration = Duration::from_millis(100);
const SETTLE_PAUSE: Duration = Duration::from_micros(200);

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    /// No engine is open: write everything committed up to `to` into the files, and move the mark.
    Redo { to: Index },
    /// The same in a hurry, because clients wait: the files are complete but not synced, and the mark stays
    /// for a later checkpoint to move. `term` is the caller's, to know its answer by.
    TakeOver { to: Index, term: Term },
    /// These engines are open: have them checkpoint. They, and the files, have everything up to `applied`;
    /// nothing from `open_from` on may be counted as done, because its transaction is not complete.
    Checkpoint {
        databases: Vec<Arc<LeaderDatabase>>,
        applied: Index,
        open_from: Option<Index>,
    },
    /// Write what is committed up to `to` of one database, which no engine has open.
    RedoOne { name: String, to: Index, token: u64 },
    /// Something of a snapshot for a peer.
    ReadSnapshot(snapshot::Read),
    /// Something of a snapshot from the leader.
    WriteSnapshot(snapshot::Write),
    /// A peer needs no more of a snapshot.
    CloseSnapshot(u64),
    /// Open a database for stale reads.
    Follow(Follow),
    /// A page of this node's files, for a peer whose own has rotted.
    ReadPage {
        to: NodeId,
        page: PageName,
        applied: Index,
    },
    /// A peer's answer to the same question.
    RepairPage { from: NodeId, page: GivenPage },
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The files hold everything up to `done`; the log must be kept from `keep` on.
    Redone { done: Index, keep: Index },
    /// The files are complete.
    TakenOver { term: Term },
    /// The same on the leader.
    Checkpointed { done: Index, keep: Index },
    /// The one database's file is complete.
    RedoneOne { name: String, token: u64 },
    /// A chunk for a peer.
    Read(ChunkRead),
    /// The snapshot cannot be read now.
    Unavailable { token: u64 },
    /// A chunk from the leader.
    Written(ChunkWritten),
    /// A page has rotted, and this node's log does not have it: who does?
    Wanted(PageName),
    /// A page for a peer, as it is in several places.
    Given { to: NodeId, pages: Vec<GivenPage> },
    /// The files cannot be written any more.
    Failed(String),
}

/// How long to wait for room on a full disk before the next try.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// Who does the jobs.
pub(crate) struct Checkpointer {
    store: Arc<Store>,
    following: Arc<Following>,
    snapshots: snapshot::Snapshots,
    scrub: Scrub,
    /// There was no room on the disk for the job that was tried last.
    is_full: bool,
}

/// What became of an attempt to do a job.
pub(crate) enum Attempt {
    Done,
    /// It is to be tried again after a while, because there is no room on the disk. Every job can be done again.
    Again(Box<Job>),
    /// The files cannot be written any more: no job is to be done from now on.
    Failed,
}

impl Checkpointer {
    pub(crate) fn new(store: Arc<Store>, following: Arc<Following>) -> Self {
        Self {
            snapshots: snapshot::Snapshots::new(Arc::clone(&store)),
            scrub: Scrub::new(),
            store,
            following,
            is_full: false,
        }
    }

    /// Does a job, and tells the replica what became of it.
    pub(crate) fn attempt(&mut self, job: Job, replica: &Driver) -> Attempt {
        if let Job::Follow(follow) = job {
            follow.answer(&self.store, &self.following);
            return Attempt::Done;
        }
        match work(&self.store, &self.following, &mut self.snapshots, &job) {
            Ok(outcome) => {
                if std::mem::take(&mut self.is_full) {
                    log::info!("there is room on the disk for the database files again");
                }
                if let Some(outcome) = outcome {
                    replica.send(Event::Checkpointed(outcome));
                }
                Attempt::Done
            }
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut self.is_full, true) {
                    log::error!(error:%; "waiting for room on the disk for the database files");
                }
                Attempt::Again(Box::new(job))
            }
            Err(error) => {
                log::error!(
                    error:%;
                    "the database files cannot be written; this node takes no further part"
                );
                replica.send(Event::Checkpointed(Outcome::Failed(error.to_string())));
                Attempt::Failed
            }
        }
    }

    /// What looks for rot.
    #[cfg(feature = "simulation")]
    pub(crate) fn rounds(&mut self) -> (&mut Scrub, &Store) {
        (&mut self.scrub, &self.store)
    }

    /// How long until some pages are to be looked at for rot.
    pub(crate) fn scrubs_in(&self) -> Duration {
        self.scrub.due_in()
    }

    /// Looks at some pages, if it is time.
    pub(crate) fn scrub(&mut self, replica: &Driver) {
        if self.scrub.due_in().is_zero() {
            for wanted in self.scrub.step(&self.store) {
                replica.send(Event::Checkpointed(Outcome::Wanted(wanted)));
            }
        }
    }
}

/// Works until the replica is gone, or the files cannot be written any more.
pub(crate) fn run(mut checkpointer: Checkpointer, jobs: &Receiver<Job>, replica: &Driver) {
    loop {
        match jobs.recv_timeout(checkpointer.scrubs_in()) {
            Ok(mut job) => loop {
                match checkpointer.attempt(job, replica) {
                    Attempt::Done => break,
                    Attempt::Again(again) => job = *again,
                    Attempt::Failed => return,
                }
                std::thread::sleep(FULL_PAUSE);
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        checkpointer.scrub(replica);
    }
}

fn work(
    store: &Store,
    following: &Following,
    snapshots: &mut snapshot::Snapshots,
    job: &Job,
) -> Result<Option<Outcome>, Error> {
    Ok(match job {
        Job::Redo { to } => {
            let done = following::redo(store, following, *to)?;
            // A transaction that is not complete may keep the mark behind; what was interrupted is made good all the same.
            store.mark.settle_through(*to);
            match store.examine(done) {
                // It will be put back, and the databases looked at once more.
                Err(error) if error.is_rot() => {
                    log::error!(error:%; "the databases of the snapshot are not sound yet");
                }
                examined => examined?,
            }
            let keep = kept_from(store, done)?;
            Some(Outcome::Redone { done, keep })
        }
        Job::TakeOver { to, term } => {
            store.mark.begin(*to)?;
            store.write_pages(store.mark.done(), *to, |_| true)?;
            // What an interrupted checkpoint has left is made good with that, also if there was no room for it before.
            store.mark.settle_through(*to);
            Some(Outcome::TakenOver { term: *term })
        }
        Job::Checkpoint {
            databases,
            applied,
            open_from,
        } => {
            let done = checkpoint(store, databases, *applied, *open_from)?;
            let keep = kept_from(store, done)?;
            Some(Outcome::Checkpointed { done, keep })
        }
        Job::RedoOne { name, to, token } => {
            store.mark.begin(*to)?;
            store.write_pages(store.mark.done(), *to, |written| written == name)?;
            Some(Outcome::RedoneOne {
                name: name.clone(),
                token: *token,
            })
        }
        Job::ReadSnapshot(read) => Some(match snapshots.read(read) {
            Ok(Some(chunk)) => Outcome::Read(chunk),
            Ok(None) => Outcome::Unavailable { token: read.token },
            // A page has rotted, or an entry: it will be put back, and the snapshot begun anew.
            Err(error) if error.is_rot() || matches!(error, Error::NoAnchor { .. }) => {
                log::error!(error:%; "a snapshot cannot be sent now");
                Outcome::Unavailable { token: read.token }
            }
            Err(error) => return Err(error),
        }),
        Job::WriteSnapshot(write) => {
            if write.done {
                // The files are about to be replaced.
                following.close_all();
            }
            Some(Outcome::Written(snapshots.write(write)?))
        }
        Job::CloseSnapshot(id) => {
            snapshots.close(*id);
            None
        }
        Job::ReadPage { to, page, applied } => Some(Outcome::Given {
            to: *to,
            pages: scrub::read(store, page, *applied),
        }),
        Job::RepairPage { from, page } => {
            scrub::repair(store, *from, page)?;
            None
        }
        // It is never tried again by itself; see `attempt`.
        Job::Follow(_) => None,
    })
}

/// The entry from which on the log must be kept when the files hold everything up to `done`.
fn kept_from(store: &Store, done: Index) -> Result<Index, Error> {
    Ok(store.anchor(done)?.unwrap_or(0))
}

pub(crate) fn checkpoint(
    store: &Store,
    databases: &[Arc<LeaderDatabase>],
    applied: Index,
    open_from: Option<Index>,
) -> Result<Index, Error> {
    let mut done = open_from.map_or(applied, |open| applied.min(open.saturating_sub(1)));
    if done <= store.mark.done() {
        return Ok(store.mark.done());
    }
    // Engines run ahead: what they copy may be of later entries than were applied when this was asked for. The mark has to
    // cover all of it, because it is what the pages' log indexes and the end of a snapshot go by.
    let plan: Vec<_> = databases
        .iter()
        .map(|database| (database, database.committed_through()))
        .collect();
    let newest = plan.iter().map(|(_, committed)| committed.index).max();
    store.mark.begin(newest.unwrap_or(0).max(applied))?;
    for (database, committed) in plan {
        let (needed, was_busy) = match database.checkpoint(committed.frame) {
            Ok(needed) => (needed, false),
            // A reader of the file as it was before its log view had anything is in the way: the pages stay in the log.
            Err(error) if error.is_busy() => (database.needed_from(), true),
            // A page that it has to read has rotted. It will be put back; until then the pages stay in the log as well.
            Err(_) if has_rotten(store, database) => (database.needed_from(), true),
            // It was closed under our hands: its pages stay in the log for now.
            Err(error) if error.is_closed() => return Ok(store.mark.done()),
            Err(error) => return Err(error.into()),
        };
        if let Some(needed) = needed {
            done = done.min(needed.saturating_sub(1));
            let kept_bytes = store.log.bytes_from(needed);
            if kept_bytes > store.reader_log_bytes {
                log::warn!(
                    database:% = database.name,
                    kept_bytes;
                    "readers keep too much of the log; their snapshots are given up"
                );
                database.give_up_snapshots();
            }
        }
        if !was_busy && database.sql.view().frame_count() > MANY_FRAMES {
            start_over(store, database)?;
        }
    }
    store.sync_pages()?;
    store.mark.finish(done)?;
    Ok(store.mark.done())
}

fn has_rotten(store: &Store, database: &LeaderDatabase) -> bool {
    let file = store.file(&database.name);
    file.is_ok_and(|file| !file.rotten().is_empty())
}

/// Starts a database's log view over if that can be had now. If not, the next checkpoint tries again.
fn start_over(store: &Store, database: &LeaderDatabase) -> Result<(), Error> {
    let (granted, turn) = std::sync::mpsc::channel();
    let _ticket = database.sql.line().join(move |turn| {
        // If the wait is over, the turn comes back in the error and is passed on.
        let _ = granted.send(turn);
    });
    let patience = if store.workers.may_wait() {
        START_OVER_PATIENCE
    } else {
        Duration::ZERO
    };
    let Ok(turn) = turn.recv_timeout(patience) else {
        return Ok(());
    };
    let deadline = Instant::now() + patience;
    while !database.is_settled() {
        if Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
    // All that was committed meanwhile goes into the file as well.
    store.mark.begin(database.committed_through().index)?;
    match database.start_over(&turn) {
        Ok(true) => log::debug!(database:% = database.name; "the log view was started over"),
        Ok(false) => log::debug!(database:% = database.name; "a reader keeps the log view"),
        Err(error) => {
            log::warn!(database:% = database.name, error:%; "the log view was not started over")
        }
    }
    Ok(())
}

/// The incomplete transactions of a stretch of the log, followed entry by entry.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    open: HashMap<String, (TransactionId, Index)>,
    firsts: BTreeSet<Index>,
}

impl OpenTransactions {
    /// Follows one committed entry; `payload` is a part of a transaction.
    pub(crate) fn follow(&mut self, index: Index, payload: &[u8]) -> Result<(), Error> {
        let header = PartHeader::decode(payload)?;
        let before = self.open.remove(&header.database);
        let first = match before {
            Some((id, first)) if id == header.id => first,
            Some((_, abandoned)) => {
                self.firsts.remove(&abandoned);
                index
            }
            None => index,
        };
        if header.last || header.abandoned {
            self.firsts.remove(&first);
        } else {
            self.firsts.insert(first);
            self.open.insert(header.database, (header.id, first));
        }
        Ok(())
    }

    /// A new leader's first entry: what those before it did not finish never will be.
    pub(crate) fn new_leader(&mut self) {
        self.open.clear();
        self.firsts.clear();
    }

    /// The first entry of the oldest incomplete transaction.
    pub(crate) fn first(&self) -> Option<Index> {
        self.firsts.first().copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::leading::Committed;
    use crate::options::Options;

    /// Runs a statement as a session does, and says that entry `index` commits it.
    fn write(database: &LeaderDatabase, sql: &str, index: Index) {
        let mut session = database.sql.connect().unwrap();
        let mut statement = session.prepare(sql).unwrap().unwrap();
        session.take_turn(database.sql.line().try_take().unwrap());
        while session.step(&mut statement).unwrap() == ferrolite_sql::Step::Row {}
        drop(statement);
        session.settle(|transaction| {
            let last = Committed {
                frame: transaction.last_frame,
                index,
            };
            database.committed(transaction.number, last, index, transaction.db_size);
        });
    }

    /// A page never counts as older than it is, also when a leader's engine is ahead of what the checkpoint was asked
    /// for: a node that is sent "all pages since" would miss it.
    #[test]
    fn the_mark_covers_what_the_engine_copies() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), 1, &Options::default()).unwrap();
        let engine = store.open_engine("a").unwrap();
        let database = Arc::new(LeaderDatabase::new("a".to_owned(), engine));
        write(&database, "CREATE TABLE t(x)", 5);
        write(&database, "INSERT INTO t VALUES (randomblob(20000))", 9);
        checkpoint(&store, &[database], 5, None).unwrap();
        assert!(store.mark.done() <= 5);
        assert_eq!(store.mark.target(), 9);
        let file = store.file("a").unwrap();
        let newest = file.pages().unwrap();
        assert!(newest >= 6, "the second transaction is not in the file");
        assert!(file.page_sum(newest).unwrap().unwrap().index >= 9);
    }

    /// After a VACUUM the file is as long as the database says it is: the same as on nodes that have written the pages from the
    /// log, and what stock SQLite wants.
    #[test]
    fn a_checkpoint_cuts_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), 1, &Options::default()).unwrap();
        let engine = store.open_engine("a").unwrap();
        let database = Arc::new(LeaderDatabase::new("a".to_owned(), engine));
        let file = store.file("a").unwrap();
        let all = [Arc::clone(&database)];
        write(&database, "CREATE TABLE t(x)", 5);
        write(&database, "INSERT INTO t VALUES (zeroblob(400000))", 6);
        checkpoint(&store, &all, 6, None).unwrap();
        assert_eq!(u64::from(file.pages().unwrap()), database.pages());
        let before = database.pages();
        write(&database, "DELETE FROM t", 7);
        write(&database, "VACUUM", 8);
        assert!(database.pages() < before);
        checkpoint(&store, &all, 8, None).unwrap();
        assert_eq!(u64::from(file.pages().unwrap()), database.pages());
    }
}
