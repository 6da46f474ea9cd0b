//! A file's pages with their sums.
//!
//! Two locks keep them together. A writer holds `writing` while it changes a page and then its sum. A reader takes
//! no part in that: it reads the page, looks up the sum, and is done when they agree, which they nearly always do. Only
//! when they do not may it have met a writer between the two, or a page half written; then it takes `writing` too, and
//! what it reads under that is final.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ferrolite_wal::backend::BackendFile;

use super::{PageFile, is_page_size};
use crate::directory::Directory;
use crate::error::Error;
use crate::mark::CheckpointMark;
use crate::rot::Rot;
use crate::sums::{PageSum, SUMS_SUFFIX, Sums, page_sum};

/// Most rotten pages of one file that are remembered. Each is found again when it is read.
const MAX_ROTTEN: usize = 1024;

#[derive(Debug)]
pub(super) struct Checked {
    page_size: u32,
    /// `None` while a snapshot is installed, when no checkpoint can be under way.
    mark: Option<Arc<CheckpointMark>>,
    sums: RwLock<Sums>,
    writing: Mutex<()>,
    rotten: Mutex<BTreeMap<u32, Rot>>,
}

/// A page, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedPage {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its sum and log index, which agree with the bytes; `None` for a page that nothing is known of.
    pub sum: Option<PageSum>,
}

impl Checked {
    /// Opens a database file and its sums.
    pub(super) fn open(
        directory: &Directory,
        name: &str,
        page_size: u32,
        mark: Option<Arc<CheckpointMark>>,
    ) -> Result<(Arc<dyn BackendFile>, Checked), Error> {
        if !is_page_size(page_size) {
            return Err(Error::Refused {
                reason: "SQLite has no such page size",
            });
        }
        let sums_name = format!("{name}{SUMS_SUFFIX}");
        let existing = directory.open(name, false)?;
        if existing.is_none() && directory.remove(&sums_name)? {
            // Durable before there is a database again: these sums were of another.
            directory.sync()?;
        }
        let is_new = directory.open(&sums_name, false)?.is_none();
        let sums = Sums::open(directory, &sums_name, page_size, is_new)?;
        let file = match existing {
            Some(ref file) => Arc::clone(file),
            None => directory.create(name)?,
        };
        if is_new || existing.is_none() {
            directory.sync()?;
        }
        let checked = Checked {
            page_size,
            mark,
            sums: RwLock::new(sums),
            writing: Mutex::new(()),
            rotten: Mutex::default(),
        };
        Ok((file, checked))
    }

    pub(super) fn target(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.target())
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rotten(&self) -> MutexGuard<'_, BTreeMap<u32, Rot>> {
        self.rotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookup(&self, page_no: u32) -> io::Result<Option<PageSum>> {
        let cached = self
            .sums
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .cached(page_no);
        match cached {
            Some(entry) => Ok(entry),
            None => self.change(|sums| sums.get(page_no)),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Sums) -> T) -> T {
        change(&mut self.sums.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a page begins.
    fn position(&self, page_no: u32) -> u64 {
        u64::from(page_no.saturating_sub(1)) * u64::from(self.page_size)
    }

    /// Numbers of the pages in `len` bytes, at least one, from `pos` on.
    fn pages(&self, pos: u64, len: usize) -> io::Result<RangeInclusive<u32>> {
        let page_size = u64::from(self.page_size);
        let last = pos.saturating_add(len as u64).saturating_sub(1) / page_size + 1;
        let last = u32::try_from(last).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "past the last page that SQLite can count",
            )
        })?;
        let first = u32::try_from(pos / page_size + 1).unwrap_or(last);
        Ok(first..=last)
    }

    /// Reads a page, whose length `page` has, and compares it. Returns how many bytes there are, and the sum that they have.
    fn read_page(
        &self,
        file: &PageFile,
        page_no: u32,
        page: &mut [u8],
    ) -> io::Result<(usize, Option<PageSum>)> {
        let position = self.position(page_no);
        let read = file.read_raw(position, page)?;
        let entry = self.lookup(page_no)?;
        if agrees(page_no, page, read, entry) {
            return Ok((read, entry));
        }
        self.read_undisturbed(file, page_no, page)
    }

    /// [`read_page`](Self::read_page) while nobody writes: what is found is final.
    fn read_undisturbed(
        &self,
        file: &PageFile,
        page_no: u32,
        page: &mut [u8],
    ) -> io::Result<(usize, Option<PageSum>)> {
        let position = self.position(page_no);
        let _no_writer = self.writing();
        let read = file.read_raw(position, page)?;
        let entry = self.lookup(page_no)?;
        match entry {
            Some(known) if !agrees(page_no, page, read, entry) => {
                if self.mark.as_ref().is_some_and(|mark| mark.is_interrupted()) {
                    return Ok((read, None));
                }
                let rot = Rot {
                    path: file.path.display().to_string(),
                    page_no,
                    index: known.index,
                    expected: known.sum,
                    found: (read == page.len()).then(|| page_sum(page_no, page)),
                };
                let mut rotten = self.rotten();
                if rotten.len() < MAX_ROTTEN {
                    rotten.insert(page_no, rot.clone());
                }
                Err(rot.into_io())
            }
            _ => Ok((read, entry)),
        }
    }

    pub(super) fn read_at(&self, file: &PageFile, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let page_bytes = self.page_size as usize;
        let Ok(pages) = self.pages(pos, buf.len()) else {
            return Ok(0); // no file is that long
        };
        if pos.is_multiple_of(self.page_size.into()) && buf.len().is_multiple_of(page_bytes) {
            let mut done = 0;
            for (page_no, page) in pages.zip(buf.chunks_exact_mut(page_bytes)) {
                let (read, _) = self.read_page(file, page_no, page)?;
                done += read;
                if read < page_bytes {
                    break;
                }
            }
            return Ok(done);
        }
        let mut page = vec![0; page_bytes];
        let mut done = 0;
        for page_no in pages {
            let (read, _) = self.read_page(file, page_no, &mut page)?;
            // Where in this page the bytes begin: at its beginning, except in the first one.
            let skip = (pos + done as u64).saturating_sub(self.position(page_no));
            let skip = usize::try_from(skip).unwrap_or(page_bytes);
            let there = page.get(skip..read).unwrap_or_default();
            let wanted = buf.get_mut(done..).unwrap_or_default();
            let len = there.len().min(wanted.len());
            if let (Some(to), Some(from)) = (wanted.get_mut(..len), there.get(..len)) {
                to.copy_from_slice(from);
            }
            done += len;
            if read < page_bytes {
                break;
            }
        }
        Ok(done)
    }

    pub(super) fn write_at(
        &self,
        file: &PageFile,
        pos: u64,
        buf: &[u8],
        index: u64,
    ) -> io::Result<()> {
        self.write_alone(file, pos, buf, index, &self.writing())
    }

    /// [`write_at`](Self::write_at) of somebody who is the only writer.
    fn write_alone(
        &self,
        file: &PageFile,
        pos: u64,
        buf: &[u8],
        index: u64,
        _writing: &MutexGuard<'_, ()>,
    ) -> io::Result<()> {
        file.check()?;
        if buf.is_empty() {
            return Ok(());
        }
        let pages = self.pages(pos, buf.len())?;
        let written = file.write_raw(pos, buf);
        let end = pos + buf.len() as u64;
        for page_no in pages {
            let begin = self.position(page_no);
            let whole = begin
                .checked_sub(pos)
                .and_then(|skip| usize::try_from(skip).ok())
                .filter(|_| begin + u64::from(self.page_size) <= end)
                .and_then(|skip| buf.get(skip..skip + self.page_size as usize));
            // Of a page that could not be written, nobody knows what it is.
            let sum = match (&written, whole) {
                (Err(_), _) => None,
                (Ok(()), Some(page)) => Some(page_sum(page_no, page)),
                (Ok(()), None) => self.sum_of_file(file, page_no)?,
            };
            let entry = sum.map(|sum| PageSum {
                sum,
                index,
                adopted: false,
            });
            file.latch(
                "note the sum of a page of",
                self.change(|sums| sums.set(page_no, entry)),
            )?;
            self.rotten().remove(&page_no);
        }
        written
    }

    /// The sum of a page as it is in the file, if there is all of it.
    fn sum_of_file(&self, file: &PageFile, page_no: u32) -> io::Result<Option<u32>> {
        let mut page = vec![0; self.page_size as usize];
        let read = file.read_raw(self.position(page_no), &mut page)?;
        Ok((read == page.len()).then(|| page_sum(page_no, &page)))
    }

    pub(super) fn truncate(&self, file: &PageFile, len: u64) -> io::Result<()> {
        let _writing = self.writing();
        file.truncate_raw(len)?;
        let pages = u32::try_from(len / u64::from(self.page_size)).unwrap_or(u32::MAX);
        self.forget_after(file, pages)
    }

    /// Forgets the pages after the first `pages`, which are not in the file.
    pub(super) fn cut(&self, file: &PageFile, pages: u32) -> io::Result<()> {
        let _writing = self.writing();
        self.forget_after(file, pages)
    }

    fn forget_after(&self, file: &PageFile, pages: u32) -> io::Result<()> {
        file.check()?;
        file.latch("forget sums of", self.change(|sums| sums.cut(pages)))?;
        self.rotten().retain(|page_no, _| *page_no <= pages);
        Ok(())
    }

    /// Writes the sums out, and returns their file if it has to be synced.
    pub(super) fn flush(&self) -> io::Result<Option<Arc<dyn BackendFile>>> {
        self.change(|sums| sums.flush().map(|()| sums.take_unsynced()))
    }
}

/// Whether a page is what is known of it. Only `read` bytes of it are in the file.
fn agrees(page_no: u32, page: &[u8], read: usize, entry: Option<PageSum>) -> bool {
    entry.is_none_or(|known| read == page.len() && page_sum(page_no, page) == known.sum)
}

impl PageFile {
    /// Bytes of a page, of a checked file.
    #[must_use]
    pub fn page_size(&self) -> Option<u32> {
        self.checked.as_ref().map(|checked| checked.page_size)
    }

    fn checked(&self) -> Result<&Checked, Error> {
        self.checked.as_ref().ok_or(Error::Refused {
            reason: "the file was opened without sums",
        })
    }

    /// Number of whole pages, of a checked file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Refused`] for a file that was opened without sums.
    pub fn pages(&self) -> Result<u32, Error> {
        let page_size = u64::from(self.checked()?.page_size);
        let len = self.len().map_err(|e| self.failed_to("measure", e))?;
        Ok(u32::try_from(len / page_size).unwrap_or(u32::MAX))
    }

    /// No page after this one is known of: a file that ends before a known page has lost it.
    pub(crate) fn known_pages(&self) -> Result<u32, Error> {
        self.checked()?
            .change(Sums::known_pages)
            .map_err(|e| self.failed_to("read the sums of", e))
    }

    /// Reads a page of a checked file, with its sum and log index.
    ///
    /// # Errors
    /// [`Error::Rot`] when it is not what was written; [`Error::Refused`] when there is no such page; [`Error::Io`].
    pub fn read_page(&self, page_no: u32) -> Result<CheckedPage, Error> {
        let checked = self.checked()?;
        let none = Error::Refused {
            reason: "the database has no such page",
        };
        if page_no == 0 {
            return Err(none);
        }
        let mut bytes = vec![0; checked.page_size as usize];
        let (read, sum) = match checked.read_page(self, page_no, &mut bytes) {
            Ok(found) => found,
            Err(e) => return Err(self.failed_to("read", e)),
        };
        if read < bytes.len() {
            return Err(none);
        }
        Ok(CheckedPage { bytes, sum })
    }

    /// Sum and log index of a page; `None` when nothing is known of it. The page itself is not looked at.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Refused`] for a file that was opened without sums.
    pub fn page_sum(&self, page_no: u32) -> Result<Option<PageSum>, Error> {
        self.checked()?
            .lookup(page_no)
            .map_err(|e| self.failed_to("read the sums of", e))
    }

    /// Pages that reads, of whomever, have found rotten since the file was opened, and that were not written since.
    #[must_use]
    pub fn rotten(&self) -> Vec<Rot> {
        self.checked
            .as_ref()
            .map(|checked| checked.rotten().values().cloned().collect())
            .unwrap_or_default()
    }

    /// Notes the sum of a page that nothing is known of, as it is in the file, with the mark's target for its log index.
    /// Says whether it did. The note is durable with the next [`sync`](PageFile::sync).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Refused`] for a file that was opened without sums.
    pub fn adopt(&self, page_no: u32) -> Result<bool, Error> {
        let checked = self.checked()?;
        let _writing = checked.writing();
        if page_no == 0 || self.page_sum(page_no)?.is_some() {
            return Ok(false);
        }
        let sum = checked
            .sum_of_file(self, page_no)
            .map_err(|e| self.failed_to("read", e))?;
        let Some(sum) = sum else {
            return Ok(false);
        };
        let entry = PageSum {
            sum,
            index: checked.target(),
            adopted: true,
        };
        let noted = checked.change(|sums| sums.set(page_no, Some(entry)));
        self.latch("note the sum of a page of", noted)
            .map_err(|e| self.failed_to("adopt a page of", e))?;
        Ok(true)
    }

    /// Puts a page back that rotted, with the bytes that another node has, or the log; durable on return. `index` is the log
    /// index by which the giver knows them.
    ///
    /// Only bytes with the sum that is known of the page are taken. Later ones need not be: the entry that made them stands in
    /// the log, or will, and the next checkpoint writes the page anew. Nor could they be told by their log index, which may
    /// be higher than what the page is of.
    ///
    /// # Errors
    /// [`Error::OtherPage`] for any other bytes; [`Error::Refused`] for a page of which nothing is known; [`Error::Io`].
    pub fn repair(&self, page_no: u32, bytes: &[u8], index: u64) -> Result<(), Error> {
        let checked = self.checked()?;
        // Held from the comparison on: a page that a checkpoint writes meanwhile is not to be undone.
        let writing = checked.writing();
        let Some(known) = self.page_sum(page_no)? else {
            return Err(Error::Refused {
                reason: "nothing is known of the page",
            });
        };
        let is_it = |known: PageSum| {
            bytes.len() == checked.page_size as usize && page_sum(page_no, bytes) == known.sum
        };
        if !is_it(known) {
            return Err(Error::OtherPage {
                path: self.path.display().to_string(),
                page_no,
                known: known.index,
                given: index,
            });
        }
        let position = checked.position(page_no);
        let written = checked.write_alone(self, position, bytes, known.index, &writing);
        drop(writing);
        written
            .and_then(|()| self.sync())
            .map_err(|e| self.failed_to("repair", e))
    }

    /// The pages that an entry after `base` may have written, as ranges in order: those whose log index is greater, and
    /// those of which nothing is known.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Refused`] for a file that was opened without sums.
    pub fn changed_since(&self, base: u64) -> Result<Vec<RangeInclusive<u32>>, Error> {
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for page_no in 1..=self.pages()? {
            if self
                .page_sum(page_no)?
                .is_some_and(|known| known.index <= base)
            {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if *range.end() + 1 == page_no => *range = *range.start()..=page_no,
                _ => ranges.push(page_no..=page_no),
            }
        }
        Ok(ranges)
    }

    /// Sectors of the sums file, by the byte at which they begin, that were found damaged since the file was opened. What
    /// they said of their pages is not known any more; nothing else is lost.
    #[must_use]
    pub fn damaged_sums(&self) -> Vec<u64> {
        self.checked
            .as_ref()
            .map(|checked| checked.change(|sums| sums.damaged_sectors()))
            .unwrap_or_default()
    }

    /// Reads what there is of consecutive pages, of `page_bytes` each, from `first` on until `run` is full, and gives them to
    /// `visit`, each with the log index up to which it is of; with `None` in a file that was opened without sums.
    /// What the file does not have is zeros.
    pub(crate) fn read_for_snapshot(
        &self,
        first: u32,
        page_bytes: usize,
        run: &mut [u8],
        mut visit: impl FnMut(u32, Option<u64>, &[u8]),
    ) -> io::Result<()> {
        let position = u64::from(first.saturating_sub(1)) * page_bytes as u64;
        let mut read = self.read_raw(position, run)?;
        run.get_mut(read..).unwrap_or_default().fill(0);
        for (page_no, page) in (first..).zip(run.chunks_exact_mut(page_bytes)) {
            let there = read.min(page_bytes);
            read -= there;
            let index = match &self.checked {
                None => None,
                Some(checked) => {
                    let mut known = checked.lookup(page_no)?;
                    if !agrees(page_no, page, there, known) {
                        page.fill(0);
                        known = checked.read_undisturbed(self, page_no, page)?.1;
                    }
                    // Asked for after the page was read, the target is above whatever wrote it.
                    Some(known.map_or_else(|| checked.target(), |known| known.index))
                }
            };
            visit(page_no, index, page);
        }
        Ok(())
    }

    /// Writes a page with its log index, whatever the mark says.
    pub(crate) fn install_page(&self, page_no: u32, page: &[u8], index: u64) -> Result<(), Error> {
        let checked = self.checked()?;
        checked
            .write_at(self, checked.position(page_no), page, index)
            .map_err(|e| self.failed_to("write", e))
    }

    pub(crate) fn failed_to(&self, operation: &'static str, error: io::Error) -> Error {
        match Rot::of(&error) {
            Some(rot) => Error::Rot(rot.clone()),
            None => Error::io(operation, &self.path, error),
        }
    }
}
