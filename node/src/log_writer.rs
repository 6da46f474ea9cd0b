//! The thread that writes the log: everything that gathers during one sync goes into the next.
//!
//! The replica hands over work and goes on; this thread takes all that waits, writes it in order, syncs
//! once, and reports. It is the only writer. A failed write or sync ends it for good: what the disk holds
//! is no longer known, and the replica takes no further part. A full disk is different. Nothing was
//! written then, so the same work is tried again until there is room.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ferrolite_consensus::{Entry, HardState, Index, Term};
use ferrolite_wal::Record;

use crate::error::Error;
use crate::handle::Event;
use crate::replica::Driver;
use crate::snapshot::Install;
use crate::store::Store;

/// How long to wait for room on a full disk before the next try.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// What is to be written, in order.
#[derive(Debug)]
pub(crate) enum Work {
    /// Entries; a first index that the log has already supersedes from there on.
    Append { seq: u64, entries: Vec<Entry> },
    /// The hard state.
    HardState { seq: u64, state: HardState },
    /// Entries before this one are not needed any more.
    Purge { first: Index },
    /// A snapshot is in place: the log begins anew after it. `token` is the consensus's.
    Reset { token: u64, install: Box<Install> },
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Stored {
    /// An append is on disk.
    Appended { seq: u64, index: Index, term: Term },
    /// The hard state is on disk.
    HardState { seq: u64 },
    /// The log now begins with this entry.
    Purged { first: Index },
    /// The log has begun anew after a snapshot.
    Reset { token: u64 },
    /// Nothing is written any more.
    Failed(String),
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All of it is written.
    Done,
    /// The disk is full. What is left of the batch is to be tried again once there is room.
    Full,
}

/// Writes until the replica is gone.
pub(crate) fn run(store: &Store, work: &Receiver<Work>, replica: &Driver) {
    let mut batch = VecDeque::new();
    let mut is_full = false;
    while let Ok(first) = work.recv() {
        batch.push_back(first);
        while !batch.is_empty() {
            batch.extend(work.try_iter());
            match write(store, &mut batch, replica) {
                Ok(Progress::Done) => {
                    if std::mem::take(&mut is_full) {
                        log::info!("there is room on the disk again");
                    }
                    replica.drive();
                }
                Ok(Progress::Full) => {
                    if !std::mem::replace(&mut is_full, true) {
                        log::error!("the disk is full: waiting for room for the log");
                    }
                    replica.drive();
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => return fail(&error, replica),
            }
        }
    }
}

/// Nothing is written any more.
pub(crate) fn fail(error: &Error, replica: &Driver) {
    log::error!(error:%; "the log cannot be written any more; this node takes no further part");
    replica.send(Event::Stored(Stored::Failed(error.to_string())));
}

/// Writes a batch, in order, and tells the replica's queue what is on disk.
pub(crate) fn write(
    store: &Store,
    batch: &mut VecDeque<Work>,
    replica: &Driver,
) -> Result<Progress, Error> {
    let report = |stored| replica.post(Event::Stored(stored));
    let mut appended = Vec::new();
    let sync = |appended: &mut Vec<Stored>| -> Result<(), ferrolite_wal::Error> {
        if !appended.is_empty() {
            store.log.sync()?;
            appended.drain(..).for_each(&report);
        }
        Ok(())
    };
    while let Some(work) = batch.pop_front() {
        match work {
            Work::Append { seq, entries } => {
                let Some((index, term)) = entries.last().map(|last| (last.index, last.term)) else {
                    continue;
                };
                let records: Vec<Record> = entries.iter().map(record).collect();
                match store.log.append(&records) {
                    Ok(()) => appended.push(Stored::Appended { seq, index, term }),
                    Err(error) if error.is_full() => {
                        batch.push_front(Work::Append { seq, entries });
                        sync(&mut appended)?;
                        return Ok(Progress::Full);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Work::HardState { seq, state } => {
                sync(&mut appended)?;
                store.save_hard_state(&state)?;
                report(Stored::HardState { seq });
            }
            Work::Purge { first } => {
                sync(&mut appended)?;
                report(Stored::Purged {
                    first: store.log.drop_prefix(first)?,
                });
            }
            Work::Reset { token, install } => {
                sync(&mut appended)?;
                match install.finish(store) {
                    Ok(()) => report(Stored::Reset { token }),
                    Err(error) if error.is_full() => {
                        batch.push_front(Work::Reset { token, install });
                        return Ok(Progress::Full);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    sync(&mut appended)?;
    Ok(Progress::Done)
}

fn record(entry: &Entry) -> Record {
    Record {
        index: entry.index,
        term: entry.term,
        kind: entry.kind.to_byte(),
        payload: entry.payload.clone(),
    }
}
