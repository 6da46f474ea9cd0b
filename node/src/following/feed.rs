//! The thread that gives the engines of a node that follows what has been committed.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use ferrolite_consensus::{Entry, EntryKind, Index};
use ferrolite_sql::{Applier, Database, Turn, schema_cookie};
use ferrolite_wal::frames::{self, Frame, Part, PartHeader, TransactionId};
use ferrolite_wal::view::FramePlace;

use super::{FollowedDatabase, Following};
use crate::error::Error;
use crate::leading::Committed;
use crate::store::Store;

/// How far one database has been fed.
#[derive(Debug)]
pub(super) struct Feed {
    applier: Applier,
    /// Entries up to here were looked at.
    seen: Index,
    /// The file held everything up to here when the engine was put on it.
    opened_at: Index,
    /// A transaction of which some parts were seen, and not the last.
    begun: Option<Begun>,
    /// Which schema the engine has.
    cookie: Option<u32>,
}

#[derive(Debug)]
struct Begun {
    id: TransactionId,
    indexes: Vec<Index>,
}

/// Why a database cannot be fed any more. It is closed, and whoever reads it has it opened again.
#[derive(Debug, thiserror::Error)]
enum Unfed {
    /// The transaction makes another database of it.
    #[error("it was replaced")]
    Replaced,
    #[error("its engine failed")]
    Panicked,
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<ferrolite_sql::Error> for Unfed {
    fn from(error: ferrolite_sql::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ferrolite_wal::Error> for Unfed {
    fn from(error: ferrolite_wal::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Feed {
    /// The feed of a database that was just opened, on a file with everything up to `opened_at`. The log is kept from behind
    /// `done`, and a transaction that is not complete begins after that.
    pub(super) fn new(
        store: &Store,
        sql: &Arc<Database>,
        name: &str,
        done: Index,
        opened_at: Index,
    ) -> Result<Self, Error> {
        let first_page = store.file(name)?.read_page(1)?;
        Ok(Self {
            applier: sql.applier()?,
            seen: done,
            opened_at,
            begun: None,
            cookie: schema_cookie(&first_page.bytes),
        })
    }

    /// The first entry that is needed for what comes.
    fn needed_from(&self) -> Index {
        let begun = self.begun.as_ref().and_then(|begun| begun.indexes.first());
        begun.copied().unwrap_or(self.seen.saturating_add(1))
    }

    /// Takes a part of a transaction of this database.
    fn take(
        &mut self,
        store: &Store,
        database: &FollowedDatabase,
        header: &PartHeader,
        entry: Entry,
    ) -> Result<(), Unfed> {
        // Another id means that the transaction before it never committed.
        let before = self.begun.take().filter(|begun| begun.id == header.id);
        if header.abandoned {
            return Ok(());
        }
        let mut indexes = before.map_or_else(Vec::new, |begun| begun.indexes);
        if !header.last {
            indexes.push(entry.index);
            let id = header.id;
            self.begun = Some(Begun { id, indexes });
            return Ok(());
        }
        if entry.index <= self.opened_at {
            return Ok(());
        }
        let last = Part::decode(entry.payload)?;
        self.commit(store, database, indexes, entry.index, &last)
    }

    /// The transaction of these parts has committed.
    fn commit(
        &mut self,
        store: &Store,
        database: &FollowedDatabase,
        earlier: Vec<Index>,
        index: Index,
        last: &Part,
    ) -> Result<(), Unfed> {
        let live = &database.live;
        let first = earlier.first().copied().unwrap_or(index);
        let mut pages = Pages {
            store,
            page_size: last.page_size(),
            db_size: last.db_size(),
            earlier: earlier.into_iter(),
            part: (0, Vec::new().into_iter()),
            last: Some((index, frames_of(last))),
            cookie: self.cookie,
            places: Vec::new(),
        };
        let turn = turn(&live.sql)?;
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.applier.apply(&turn, last.db_size(), &mut pages)
        }));
        let taken = applied.map_err(|_| Unfed::Panicked)??;
        self.cookie = pages.cookie;
        let frames = taken.first_frame..=taken.last_frame;
        live.sql.view().bind(frames.zip(pages.places));
        let end = Committed {
            frame: taken.last_frame,
            index,
        };
        live.committed(taken.number, end, first, last.db_size());
        Ok(())
    }
}

/// The pages of a transaction whose last part has come, one part after the other.
struct Pages<'a> {
    store: &'a Store,
    page_size: u32,
    db_size: u32,
    /// The entries of the parts before the last that were not read yet.
    earlier: std::vec::IntoIter<Index>,
    /// What is left of the present part, and its entry.
    part: (Index, std::vec::IntoIter<Frame>),
    last: Option<(Index, std::vec::IntoIter<Frame>)>,
    /// Which schema the pages so far have brought.
    cookie: Option<u32>,
    /// Where the log has them.
    places: Vec<FramePlace>,
}

fn frames_of(part: &Part) -> std::vec::IntoIter<Frame> {
    part.frames().cloned().collect::<Vec<_>>().into_iter()
}

impl Iterator for Pages<'_> {
    type Item = Result<(u32, Vec<u8>), Unfed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.page().transpose()
    }
}

impl Pages<'_> {
    fn page(&mut self) -> Result<Option<(u32, Vec<u8>)>, Unfed> {
        loop {
            let (index, frames) = &mut self.part;
            let index = *index;
            // A page that the same transaction cut off again is not there afterwards.
            if let Some(frame) = frames.find(|frame| frame.page_no() <= self.db_size) {
                return self.image(index, &frame).map(Some);
            }
            if let Some(index) = self.earlier.next() {
                let part = Part::decode(self.store.log.entry(index)?.payload)?;
                self.part = (index, frames_of(&part));
            } else if let Some(last) = self.last.take() {
                self.part = last;
            } else {
                return Ok(None);
            }
        }
    }

    fn image(&mut self, index: Index, frame: &Frame) -> Result<(u32, Vec<u8>), Unfed> {
        let image = frames::resolve(&self.store.log, index, frame, self.page_size)?;
        if frame.page_no() == 1 {
            let cookie = schema_cookie(&image);
            if cookie < self.cookie {
                // An engine only counts it up. Sessions that know the old schema would take the new one for it.
                return Err(Unfed::Replaced);
            }
            self.cookie = cookie;
        }
        self.places.push(frame.place(index));
        Ok((frame.page_no(), image))
    }
}

/// The writer's turn, which nobody keeps for long here: a checkpoint has it now and then.
fn turn(sql: &Database) -> Result<Turn, ferrolite_sql::Error> {
    let (granted, turn) = std::sync::mpsc::channel();
    let _ticket = sql.line().join(move |turn| {
        // The receiver is there until the turn has come.
        let _ = granted.send(turn);
    });
    turn.recv().map_err(|_| ferrolite_sql::Error::Closed)
}

/// Feeds the open databases until there will be no more.
pub(crate) fn run(store: &Store, following: &Following) {
    while let Some((databases, to)) = following.next() {
        if let Err(error) = feed(store, following, &databases, to) {
            let are_open = |database: &&Arc<FollowedDatabase>| !database.live.sql.is_closed();
            for database in databases.iter().filter(are_open) {
                log::error!(
                    database = database.live.name,
                    error:%;
                    "the log cannot be read for stale reads; the database is closed"
                );
                following.close(database);
            }
        }
        following.close_idle();
    }
}

/// Gives all databases what the log has up to `to`.
fn feed(
    store: &Store,
    following: &Following,
    databases: &[Arc<FollowedDatabase>],
    to: Index,
) -> Result<(), Error> {
    let mut feeds: BTreeMap<&str, (&Arc<FollowedDatabase>, MutexGuard<'_, Feed>)> = databases
        .iter()
        .filter(|database| database.applied() < to)
        .map(|database| {
            let feed = database.feed.lock().unwrap_or_else(PoisonError::into_inner);
            (database.live.name.as_str(), (database, feed))
        })
        .collect();
    let Some(from) = feeds.values().map(|(_, feed)| feed.seen).min() else {
        return Ok(());
    };
    store.scan(from.saturating_add(1), to.saturating_add(1), |entry| {
        let index = entry.index;
        if entry.kind == EntryKind::Noop {
            for (_, feed) in feeds.values_mut().filter(|(_, feed)| feed.seen < index) {
                // A new leader: what the one before did not finish never will be.
                feed.begun = None;
            }
        }
        if entry.kind != EntryKind::Normal {
            return Ok(());
        }
        let header = PartHeader::decode(&entry.payload)?;
        let Some((database, feed)) = feeds.get_mut(header.database.as_str()) else {
            return Ok(());
        };
        if index <= feed.seen {
            return Ok(());
        }
        match feed.take(store, database, &header, entry) {
            Ok(()) => {
                feed.seen = index;
                note(database, feed);
            }
            Err(reason) => {
                tell(database, &reason);
                following.close(database);
                feeds.remove(header.database.as_str());
            }
        }
        Ok(())
    })?;
    for (database, feed) in feeds.values_mut() {
        feed.seen = feed.seen.max(to);
        note(database, feed);
    }
    Ok(())
}

/// Tells others how far the database is.
fn note(database: &FollowedDatabase, feed: &Feed) {
    let needed_from = feed.needed_from();
    database.needed_from.store(needed_from, Ordering::Release);
    let seen = feed.seen;
    database.applied.send_if_modified(|applied| {
        let moves = *applied < seen;
        *applied = seen.max(*applied);
        moves
    });
}

fn tell(database: &FollowedDatabase, reason: &Unfed) {
    let name = &database.live.name;
    match reason {
        _ if database.live.sql.is_closed() => {}
        Unfed::Replaced => {
            log::info!(
                database = name;
                "a database that is open for stale reads is replaced; it is opened anew"
            );
        }
        reason => {
            log::warn!(
                database = name,
                reason:%;
                "a database cannot be followed; it is opened anew"
            );
        }
    }
}
