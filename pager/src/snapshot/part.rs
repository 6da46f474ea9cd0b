//! One database of a snapshot, on its way in: a whole file with its sums, or the pages of it that have changed.
//!
//! Changed pages cannot go into the live file yet, which has to stay what it is until all have come. They are kept as
//! a file of records, `NAME.sqlite-pages`, and written to the live file when the snapshot is installed: once the
//! decision is durable, that can be repeated as often as it takes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use super::early::EarlySync;
use super::format::{Database, Head, PageRecord, STREAM_VERSION, page_record_bytes};
use crate::bytes::{self, PREFIX_BYTES, Reader};
use crate::directory::Directory;
use crate::error::Error;
use crate::page_file::PageFile;
use crate::sums::{PageSum, SUMS_SUFFIX, Sums, UNKNOWN_INDEX, page_sum};

/// First bytes of a file of changed pages.
const MAGIC: [u8; 8] = *b"FERRPAGE";
const VERSION: u32 = 1;
/// What the name of such a file ends in, behind the name of the database file.
pub(super) const PAGES_SUFFIX: &str = "-pages";
/// Records that are read at once when they are written to the live file.
const RUN_BYTES: u64 = 1 << 20;

/// A database that is being filled.
#[derive(Debug)]
pub(super) struct Incoming {
    ordinal: u32,
    /// Pages that the database has.
    pages: u32,
    /// Pages of it that come, and that came.
    records: u32,
    done_records: u32,
    /// The page that came last.
    last_page_no: u32,
    file: Arc<dyn BackendFile>,
    path: PathBuf,
    early: EarlySync,
    /// The sums of a whole file; a file of changed pages has none.
    sums: Option<Sums>,
    /// What is written at once; here to be used again.
    run: Vec<u8>,
}

impl Incoming {
    /// Makes the files for database number `ordinal`, whose own file is called `name`.
    pub(super) fn create(
        directory: &Directory,
        name: &str,
        head: &Head,
        ordinal: u32,
        database: &Database,
    ) -> Result<Incoming, Error> {
        let (file_name, sums) = if head.base == 0 {
            let sums_name = format!("{name}{SUMS_SUFFIX}");
            let sums = Sums::open(directory, &sums_name, head.page_size, true)?;
            (name.to_owned(), Some(sums))
        } else {
            (format!("{name}{PAGES_SUFFIX}"), None)
        };
        let file = directory.create(&file_name)?;
        let path = directory.path_of(&file_name);
        if sums.is_none() {
            file.write_at(0, &bytes::prefix(MAGIC, VERSION))
                .map_err(|e| Error::io("write", &path, e))?;
        }
        Ok(Incoming {
            ordinal,
            pages: database.pages,
            records: database.records,
            done_records: 0,
            last_page_no: 0,
            file,
            path,
            early: EarlySync::new(),
            sums,
            run: Vec::new(),
        })
    }

    pub(super) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Whether all pages have come.
    pub(super) fn is_filled(&self) -> bool {
        self.done_records >= self.records
    }

    /// Makes what came durable.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let failed = |e| Error::io("sync", &self.path, e);
        self.early.settle().map_err(failed)?;
        self.file.sync().map_err(failed)?;
        if let Some(sums) = &mut self.sums {
            sums.flush().map_err(failed)?;
            if let Some(file) = sums.take_unsynced() {
                file.sync().map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Takes pages as long as they are good and of this file, and writes them at once. Counts those before a bad one
    /// into `offset`; those of a good run are the caller's to count.
    pub(super) fn pages(
        &mut self,
        head: &Head,
        reader: &mut Reader<'_>,
        offset: &mut u64,
    ) -> Result<(), Error> {
        let first = self.done_records;
        let mut run = std::mem::take(&mut self.run);
        run.clear();
        run.reserve(reader.len());
        let mut bad = None;
        while !self.is_filled() && !reader.is_empty() {
            let mut after = *reader;
            match self.page(head, &mut after) {
                Ok(record) => self.keep(record, &mut run)?,
                Err(reason) => {
                    bad = Some(reason);
                    break;
                }
            }
            *reader = after;
        }
        let position = match &self.sums {
            Some(_) => u64::from(first) * u64::from(head.page_size),
            None => position(first, head.page_size),
        };
        self.file
            .write_at(position, &run)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.early
            .wrote(&self.file, run.len() as u64)
            .map_err(|e| Error::io("sync", &self.path, e))?;
        self.run = run;
        match bad {
            None => Ok(()),
            Some(reason) => {
                *offset += u64::from(self.done_records - first) * head.page_record_bytes();
                Err(Error::Stream {
                    offset: *offset,
                    reason,
                })
            }
        }
    }

    /// The next page, if it is a good one and may come next.
    fn page<'a>(
        &self,
        head: &Head,
        reader: &mut Reader<'a>,
    ) -> Result<PageRecord<'a>, &'static str> {
        let next = self.last_page_no.saturating_add(1);
        let record = PageRecord::decode(reader, head.version, head.page_size, self.ordinal, next)?;
        let is_in_order = match &self.sums {
            Some(_) => record.page_no == next,
            None => (next..=self.pages).contains(&record.page_no),
        };
        if is_in_order {
            Ok(record)
        } else {
            Err("a page is not in order")
        }
    }

    /// Notes a page, and appends what is to be written of it.
    fn keep(&mut self, record: PageRecord<'_>, run: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.sums {
            Some(sums) => {
                run.extend_from_slice(record.page);
                let known = PageSum {
                    sum: page_sum(record.page_no, record.page),
                    index: record.index.unwrap_or(UNKNOWN_INDEX),
                    adopted: record.index.is_none(),
                };
                sums.set(record.page_no, Some(known))
                    .map_err(|e| Error::io("write the sums of", &self.path, e))?;
            }
            None => record.encode(0, run),
        }
        self.last_page_no = record.page_no;
        self.done_records += 1;
        Ok(())
    }
}

/// Where the record after `before` others begins in a file of changed pages.
fn position(before: u32, page_size: u32) -> u64 {
    let record = page_record_bytes(STREAM_VERSION, page_size);
    PREFIX_BYTES as u64 + u64::from(before) * record
}

/// The changed pages of a database that wait to be written to its file.
#[derive(Debug)]
pub(super) struct ChangedPages<'a> {
    file: Arc<dyn BackendFile>,
    path: PathBuf,
    page_size: u32,
    database: &'a Database,
}

impl ChangedPages<'_> {
    /// Opens those of the database whose file is called `name`, and checks all of them.
    pub(super) fn open<'a>(
        directory: &Directory,
        name: &str,
        page_size: u32,
        database: &'a Database,
    ) -> Result<ChangedPages<'a>, Error> {
        let file_name = format!("{name}{PAGES_SUFFIX}");
        let path = directory.path_of(&file_name);
        let file = directory
            .open(&file_name, false)?
            .ok_or_else(|| Error::damaged(&path, "it is gone"))?;
        let changed = ChangedPages {
            file,
            path,
            page_size,
            database,
        };
        let len = changed.file.len().map_err(|e| changed.failed(e))?;
        if len != position(database.records, page_size) {
            return Err(changed.damaged("its length is not what was written"));
        }
        let mut prefix = [0; PREFIX_BYTES];
        changed
            .file
            .read_at(0, &mut prefix)
            .map_err(|e| changed.failed(e))?;
        match bytes::version(&mut Reader::new(&prefix), MAGIC) {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(Error::NewerFormat {
                    path: changed.path.display().to_string(),
                    found,
                    supported: VERSION,
                });
            }
            _ => return Err(changed.damaged("its first bytes are not those of such a file")),
        }
        Ok(changed)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read", &self.path, error)
    }

    fn damaged(&self, reason: &'static str) -> Error {
        Error::damaged(&self.path, reason)
    }

    /// Gives each page to `visit`, in order.
    fn each(
        &self,
        mut visit: impl FnMut(PageRecord<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let record_bytes = page_record_bytes(STREAM_VERSION, self.page_size);
        let at_once = u32::try_from(RUN_BYTES / record_bytes).unwrap_or(1).max(1);
        let (mut done, mut last) = (0, 0);
        let mut run = Vec::new();
        while done < self.database.records {
            let count = at_once.min(self.database.records - done);
            let len = usize::try_from(u64::from(count) * record_bytes).unwrap_or(usize::MAX);
            run.resize(len, 0);
            self.file
                .read_at(position(done, self.page_size), &mut run)
                .map_err(|e| self.failed(e))?;
            let mut reader = Reader::new(&run);
            for _ in 0..count {
                let record = PageRecord::decode(&mut reader, STREAM_VERSION, self.page_size, 0, 0)
                    .map_err(|reason| self.damaged(reason))?;
                if record.page_no <= last || record.page_no > self.database.pages {
                    return Err(self.damaged("a page is not in order"));
                }
                last = record.page_no;
                visit(record)?;
            }
            done += count;
        }
        Ok(())
    }

    /// Checks every record.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.each(|_| Ok(()))
    }

    /// Writes the pages to the file `name` of `databases`, which is made if there is none; durable on return, but for its
    /// name.
    ///
    /// The file may be shorter than the pages suppose, when a checkpoint that this node had begun cut it at a later entry,
    /// which will be redone. Pages that a disk lost there have their sums still, and are found by them.
    pub(super) fn write_to(
        &self,
        incoming: &Directory,
        databases: &Directory,
        name: &str,
    ) -> Result<(), Error> {
        replace_sums(incoming, databases, name)?;
        let live = PageFile::open_to_install(databases, name, self.page_size)?;
        self.each(|record| {
            live.install_page(
                record.page_no,
                record.page,
                record.index.unwrap_or(UNKNOWN_INDEX),
            )
        })?;
        let len = u64::from(self.database.pages) * u64::from(self.page_size);
        live.truncate(len)
            .and_then(|()| live.sync())
            .map_err(|e| live.failed_to("write", e))
    }
}

/// Puts a copy of the sums in their place. Whoever had the file open before may still have sums to write, which are not
/// so any more: they go to a file without a name.
fn replace_sums(incoming: &Directory, databases: &Directory, name: &str) -> Result<(), Error> {
    let name = format!("{name}{SUMS_SUFFIX}");
    let Some(from) = databases.open(&name, false)? else {
        return Ok(());
    };
    let to = incoming.create(&name)?;
    let failed = |e| Error::io("copy", &databases.path_of(&name), e);
    to.set_len(0).map_err(failed)?;
    let mut run = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = from.read_at(at, &mut run).map_err(failed)?;
        let Some(bytes) = run.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        to.write_at(at, bytes).map_err(failed)?;
        at += bytes.len() as u64;
    }
    to.sync().map_err(failed)?;
    incoming.move_to(databases, &name)
}
