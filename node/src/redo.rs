//! Redo: what committed in the log, brought into the database files of a node on which no engine has them open.
//!
//! The entries are read in their order, and what they come to is put together in memory: of each page the last image. So a
//! page that a hundred transactions changed, each a little, is written once, and each of these changes is applied to the
//! image that the one before has left here, instead of to one that is put together out of the log anew. When there are too
//! many pages they are written out, and the next difference on one of them finds its base in the log, as any reader does.
//!
//! Doing it twice changes nothing, so a crash in the middle needs no other answer than to do it again; what the files hold
//! in the meantime is of no account. That is why no difference is ever put onto a page of a file, which may be of any entry
//! up to the mark's target.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrolite_consensus::{Entry, EntryKind, Index};
use ferrolite_pager::{PageFile, write_outcome};
use ferrolite_wal::frames::{self, Frame, Part, TransactionId};
use ferrolite_wal::view::FramePlace;

use crate::error::Error;
use crate::store::Store;

/// Pages that wait in memory to be written take so many bytes; in tests so few that they often do not fit.
const MOST_BYTES: usize = if cfg!(test) { 20 << 10 } else { 4 << 20 };

impl Store {
    /// Brings the files from wherever a checkpoint was when the node stopped to the mark's target.
    pub(crate) fn redo_interrupted_checkpoint(&self) -> Result<(), Error> {
        let (done, target) = (self.mark.done(), self.mark.target());
        if done < target && target <= self.log.last_index() {
            log::info!(from = done, to = target; "finishing an interrupted checkpoint");
            match self.redo(target) {
                Ok(_) => self.mark.settle(),
                // The entries will be fetched again, and the files are not used before they hold everything.
                Err(Error::Storage(error)) if error.is_damaged() => {
                    log::error!(
                        error:%;
                        "the checkpoint cannot be finished before the log is whole again"
                    );
                }
                // Likewise, once there is room.
                Err(error) if error.is_full() => {
                    log::error!(
                        error:%;
                        "the checkpoint cannot be finished before there is room on the disk"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes everything committed up to `to` into the files, syncs them, and moves the mark. Returns how
    /// far it got: not into a transaction whose last part comes after `to`.
    pub(crate) fn redo(&self, to: Index) -> Result<Index, Error> {
        let from = self.mark.done();
        if to <= from {
            return Ok(from);
        }
        self.mark.begin(to)?;
        let open_from = self.write_pages(from, to, |_| true)?;
        self.sync_pages()?;
        let done = open_from.map_or(to, |open| to.min(open.saturating_sub(1)));
        self.mark.finish(done)?;
        Ok(done.max(from))
    }

    /// Makes what [`write_pages`](Self::write_pages) wrote durable. The mark may move only after that.
    pub(crate) fn sync_pages(&self) -> Result<(), Error> {
        let unsynced = self.take_unsynced();
        for (name, file) in &unsynced {
            file.sync()
                .map_err(|error| Error::io(format!("syncing the file of {name}"), error))?;
        }
        // New files have new names in the directory.
        if !unsynced.is_empty() {
            self.databases.sync()?;
        }
        Ok(())
    }

    /// Writes the pages of the transactions that committed in `(from, to]`, of the databases that are `wanted`, without a
    /// sync. Returns the first entry of a transaction of theirs that is not complete, if any.
    pub(crate) fn write_pages(
        &self,
        from: Index,
        to: Index,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<Index>, Error> {
        let mut redo = Redo {
            store: self,
            open: BTreeMap::new(),
            files: BTreeMap::new(),
            bytes: 0,
        };
        self.scan(from.saturating_add(1), to.saturating_add(1), |entry| {
            redo.follow(entry, &wanted)
        })?;
        redo.write()?;
        let files = redo.files.into_iter();
        self.note_unsynced(files.map(|(name, outcome)| (name, outcome.file)).collect());
        let open = redo.open.into_values().filter(|begun| begun.whole);
        Ok(open
            .filter_map(|begun| begun.indexes.into_iter().min())
            .min())
    }
}

/// A transaction of which some parts have been seen, and not the last.
struct Begun {
    id: TransactionId,
    indexes: Vec<Index>,
    /// Whether the first part was seen.
    whole: bool,
}

/// What the entries of one database have come to, as far as it is not in the file.
struct Outcome {
    file: Arc<PageFile>,
    page_size: u32,
    pages: BTreeMap<u32, Page>,
    /// Pages of the database now, and the fewest since the file was written.
    db_size: u32,
    least_size: u32,
    /// The file does not have the last of it.
    is_unwritten: bool,
}

/// The last image of a page.
struct Page {
    image: Vec<u8>,
    /// Where the log has it.
    place: FramePlace,
    /// The entry that committed it.
    committed: Index,
}

struct Redo<'a> {
    store: &'a Store,
    open: BTreeMap<String, Begun>,
    files: BTreeMap<String, Outcome>,
    /// Bytes of all pages that wait.
    bytes: usize,
}

impl Redo<'_> {
    fn follow(&mut self, entry: Entry, wanted: &impl Fn(&str) -> bool) -> Result<(), Error> {
        if entry.kind == EntryKind::Noop {
            // A new leader: what the one before did not finish never will be.
            self.open.clear();
        }
        if entry.kind != EntryKind::Normal {
            return Ok(());
        }
        let part = Part::decode(entry.payload)?;
        let name = part.database();
        if !wanted(name) {
            return Ok(());
        }
        // Another id means that the transaction before it never committed.
        let before = self.open.remove(name).filter(|begun| begun.id == part.id());
        let mut begun = before.unwrap_or_else(|| Begun {
            id: part.id(),
            indexes: Vec::new(),
            whole: part.number() == 0,
        });
        if part.is_abandoned() {
            return Ok(());
        }
        if !part.is_last() {
            begun.indexes.push(entry.index);
            self.open.insert(name.to_owned(), begun);
            return Ok(());
        }
        if !begun.whole {
            // It began before the first entry. The mark stops there only for another transaction that was still
            // open, and this one was complete then and is in the file.
            return Ok(());
        }
        self.resize(&part)?;
        for index in begun.indexes {
            let earlier = Part::decode(self.store.log.entry(index)?.payload)?;
            self.take_in(name, index, &earlier, entry.index)?;
        }
        self.take_in(name, entry.index, &part, entry.index)
    }

    /// Gives the database the size that it has after the transaction which ends with this part.
    fn resize(&mut self, last: &Part) -> Result<(), Error> {
        let (name, db_size) = (last.database(), last.db_size());
        if !self.files.contains_key(name) {
            let outcome = Outcome {
                file: self.store.file(name)?,
                page_size: last.page_size(),
                pages: BTreeMap::new(),
                db_size,
                least_size: db_size,
                is_unwritten: true,
            };
            self.files.insert(name.to_owned(), outcome);
        }
        let Some(outcome) = self.files.get_mut(name) else {
            return Ok(());
        };
        if outcome.page_size != last.page_size() {
            let reason = format!("the pages of {name} change their size in the log");
            return Err(Error::io("redo", std::io::Error::other(reason)));
        }
        if db_size < outcome.db_size {
            let cut = outcome.pages.split_off(&db_size.saturating_add(1));
            self.bytes -= cut
                .into_values()
                .map(|page| page.image.len())
                .sum::<usize>();
        }
        outcome.db_size = db_size;
        outcome.least_size = outcome.least_size.min(db_size);
        outcome.is_unwritten = true;
        Ok(())
    }

    /// Takes in the pages of a part, which is entry `index`, of the transaction that entry `committed` commits.
    fn take_in(
        &mut self,
        name: &str,
        index: Index,
        part: &Part,
        committed: Index,
    ) -> Result<(), Error> {
        let Some(outcome) = self.files.get_mut(name) else {
            return Ok(());
        };
        for frame in part.frames() {
            // A page that the same transaction cut off again is not written back behind the end.
            if frame.page_no() > outcome.db_size {
                continue;
            }
            let before = outcome.pages.remove(&frame.page_no());
            self.bytes -= before.as_ref().map_or(0, |page| page.image.len());
            let page = Page {
                image: image(self.store, index, frame, outcome.page_size, before)?,
                place: frame.place(index),
                committed,
            };
            self.bytes += page.image.len();
            outcome.pages.insert(frame.page_no(), page);
            outcome.is_unwritten = true;
        }
        if self.bytes > MOST_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes all that waits into the files.
    fn write(&mut self) -> Result<(), Error> {
        for outcome in self.files.values_mut() {
            if !outcome.is_unwritten {
                continue;
            }
            let pages = outcome.pages.iter();
            let pages =
                pages.map(|(page_no, page)| (*page_no, page.image.as_slice(), page.committed));
            write_outcome(
                &outcome.file,
                outcome.page_size,
                pages,
                outcome.least_size,
                outcome.db_size,
            )
            .map_err(|error| Error::io("writing pages into a database file", error))?;
            outcome.pages.clear();
            outcome.least_size = outcome.db_size;
            outcome.is_unwritten = false;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// The image of a frame of entry `index`. `before` is the last image of the page, of which this frame most often is a
/// difference.
fn image(
    store: &Store,
    index: Index,
    frame: &Frame,
    page_size: u32,
    before: Option<Page>,
) -> Result<Vec<u8>, Error> {
    if let Some(difference) = frame.difference(page_size)?
        && let Some(mut page) = before
        && difference.base(index) == Some(page.place)
    {
        frame.change(&mut page.image)?;
        return Ok(page.image);
    }
    Ok(frames::resolve(&store.log, index, frame, page_size)?)
}

#[cfg(test)]
mod tests;
