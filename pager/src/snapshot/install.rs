//! From files aside to the live ones: one decision, and steps that may be repeated.
//!
//! The file `complete` is the decision. It is written beside, synced and renamed, after every file was synced,
//! so it is there with all of them or not at all. From then on:
//!
//! ```text
//! apply   databases that the snapshot does not have are removed, and what SQLite left beside any of them;
//!         of all pages: every file that still lies in incoming/ is renamed over the live one, sums first;
//!         of changed pages: they are written to the live files, with their sums, and these synced;
//!         both directories are synced
//! …       the caller sets its own state from `meta`
//! clear   `complete` is removed, then the directory
//! ```
//!
//! A crash between any two of these leaves `complete`, and the next start does them all again: a file that is no longer
//! in `incoming/` was moved already, and a page that was written is written once more. So nothing may use the databases
//! between `apply` and `clear` but what can be repeated too.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::format::{Database, MAX_DATABASES, STREAM_VERSION};
use super::part::ChangedPages;
use crate::bytes::{self, Reader};
use crate::directory::Directory;
use crate::error::Error;
use crate::naming;
use crate::page_file::is_page_size;
use crate::sums::SUMS_SUFFIX;

/// First bytes of the file `complete`.
const MAGIC: [u8; 8] = *b"FERRINST";
/// Version of `complete` that this program writes, and the newest that it reads.
const VERSION: u32 = 2;
/// The version without sums and changes.
const BARE_VERSION: u32 = 1;
/// Name of the file that decides; no database's file is called so.
const COMPLETE: &str = "complete";
/// Where it is written before it decides.
const COMPLETE_NEW: &str = "complete.new";
/// Most bytes of the caller's own.
pub const MAX_META_BYTES: usize = 16 << 20;
/// Most bytes of `complete`: what is longer was not written by this program.
const MAX_COMPLETE_BYTES: usize = 64 << 20;
/// What SQLite, and the sums, may have left beside a database file, and must not find beside another one.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", SUMS_SUFFIX];

/// What the file `complete` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complete {
    /// Whether the sums of whole files lie beside them.
    pub has_sums: bool,
    pub id: u64,
    pub page_size: u32,
    /// The index since which pages have changed; 0 for whole files.
    pub base: u64,
    pub meta: Vec<u8>,
    pub databases: Vec<Database>,
}

impl Complete {
    /// Writes the file; on return the decision is durable.
    pub(super) fn save(&self, directory: &Directory) -> Result<(), Error> {
        let bytes = self.encode()?;
        let file = directory.create(COMPLETE_NEW)?;
        file.set_len(0)
            .and_then(|()| file.write_at(0, &bytes))
            .and_then(|()| file.sync())
            .map_err(|e| Error::io("write", &directory.path_of(COMPLETE_NEW), e))?;
        directory.rename(COMPLETE_NEW, COMPLETE)?;
        directory.sync()
    }

    fn encode(&self) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge {
            what: "meta data of a snapshot in bytes",
            len: self.meta.len() as u64,
            max: MAX_META_BYTES as u64,
        };
        let meta_len = u32::try_from(self.meta.len()).map_err(|_| too_large())?;
        if self.meta.len() > MAX_META_BYTES {
            return Err(too_large());
        }
        // The sink took no more than MAX_DATABASES.
        let count = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        let mut bytes = bytes::prefix(MAGIC, VERSION);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.page_size.to_le_bytes());
        bytes.extend_from_slice(&self.base.to_le_bytes());
        bytes.extend_from_slice(&meta_len.to_le_bytes());
        bytes.extend_from_slice(&self.meta);
        bytes.extend_from_slice(&count.to_le_bytes());
        for database in &self.databases {
            database.encode_fields(STREAM_VERSION, &mut bytes);
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Complete, Error> {
        let damaged = |reason| Error::damaged(path, reason);
        let cut_off = || Error::damaged(path, "it is cut off");
        let mut reader = Reader::new(bytes);
        let version = bytes::version(&mut reader, MAGIC)
            .ok_or_else(|| damaged("its first bytes are not those of such a file"))?;
        if version > VERSION {
            let path = path.display().to_string();
            return Err(Error::NewerFormat {
                path,
                found: version,
                supported: VERSION,
            });
        }
        let (covered, checksum) = bytes
            .len()
            .checked_sub(4)
            .and_then(|len| bytes.split_at_checked(len))
            .ok_or_else(cut_off)?;
        if version < BARE_VERSION || Reader::new(checksum).u32() != Some(crc32fast::hash(covered)) {
            return Err(damaged("its checksum is wrong"));
        }
        let mut reader = Reader::new(covered);
        reader.take(bytes::PREFIX_BYTES).ok_or_else(cut_off)?;
        let id = reader.u64().ok_or_else(cut_off)?;
        let page_size = reader.u32().ok_or_else(cut_off)?;
        let base = match version {
            BARE_VERSION => 0,
            _ => reader.u64().ok_or_else(cut_off)?,
        };
        let meta_len = reader.u32().ok_or_else(cut_off)?;
        let meta = reader.take(meta_len as usize).ok_or_else(cut_off)?.to_vec();
        let count = reader.u32().ok_or_else(cut_off)?;
        if !is_page_size(page_size) || count > MAX_DATABASES {
            return Err(damaged("the numbers in it make no sense"));
        }
        let mut databases = Vec::new();
        for _ in 0..count {
            // Databases stand here as they do in a stream, in the version of the same number.
            let database = Database::decode_fields(&mut reader, version, base).map_err(damaged)?;
            databases.push(database);
        }
        if !reader.is_empty() {
            return Err(damaged("bytes follow its end"));
        }
        Ok(Complete {
            has_sums: version > BARE_VERSION,
            id,
            page_size,
            base,
            meta,
            databases,
        })
    }
}

/// A snapshot that came whole and has to be installed. See [`apply`](PendingInstall::apply).
#[derive(Debug)]
pub struct PendingInstall {
    directory: Directory,
    complete: Complete,
    /// Whether all of it was applied.
    is_applied: AtomicBool,
}

/// Looks for a complete snapshot in `dir`. To be asked on every start, before the databases are opened.
///
/// # Errors
/// [`Error::Damaged`] when there is one that cannot be read; [`Error::NewerFormat`]; [`Error::Io`].
pub fn pending_install(dir: &Path) -> Result<Option<PendingInstall>, Error> {
    pending_install_in(&Directory::at(dir))
}

/// [`pending_install`] in a directory that need not be real.
///
/// # Errors
/// As there.
pub fn pending_install_in(directory: &Directory) -> Result<Option<PendingInstall>, Error> {
    let path = directory.path_of(COMPLETE);
    let Some(file) = directory.open(COMPLETE, false)? else {
        return Ok(None);
    };
    let failed = |e| Error::io("read", &path, e);
    let len = file.len().map_err(failed)?;
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_COMPLETE_BYTES)
        .ok_or_else(|| Error::damaged(&path, "it is too long"))?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes).map_err(failed)?;
    bytes.truncate(read);
    let complete = Complete::decode(&path, &bytes)?;
    Ok(Some(PendingInstall {
        directory: directory.clone(),
        complete,
        is_applied: AtomicBool::new(false),
    }))
}

/// Removes what an incomplete snapshot left in `dir`, and `dir`; nothing, when it is not there.
///
/// # Errors
/// [`Error::InstallPending`] when the snapshot in it is complete; [`Error::Io`].
pub fn discard(dir: &Path) -> Result<(), Error> {
    discard_in(&Directory::at(dir))
}

/// [`discard`] in a directory that need not be real.
///
/// # Errors
/// As there.
pub fn discard_in(directory: &Directory) -> Result<(), Error> {
    if directory.open(COMPLETE, false)?.is_some() {
        return Err(Error::InstallPending {
            path: directory.path().display().to_string(),
        });
    }
    directory.remove_all()
}

impl PendingInstall {
    /// What the caller gave to [`finish`](super::SnapshotSink::finish).
    #[must_use]
    pub fn meta(&self) -> &[u8] {
        &self.complete.meta
    }

    /// What the caller knew the snapshot as.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.complete.id
    }

    /// Bytes of a page in all of its databases.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.complete.page_size
    }

    /// The log index since which pages have changed that the snapshot has; 0 when it has all pages. With changes only, the
    /// live files may hold pages up to the mark's target already, and the log has to be redone that far, too, before
    /// they are used.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.complete.base
    }

    /// Name and number of pages of each database.
    pub fn databases(&self) -> impl Iterator<Item = (&str, u32)> {
        self.complete
            .databases
            .iter()
            .map(|database| (database.name.as_str(), database.pages))
    }

    /// Makes the databases of the snapshot, and only these, the ones in `databases_dir`, which has to be on the same
    /// file system. May be repeated. Nobody may read or write the databases meanwhile, and a
    /// [`PageFile`](crate::PageFile) that was opened before is of no use any more.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file of the snapshot is not what was written, before anything is changed;
    /// [`Error::Io`], after which it may be tried again.
    pub fn apply(&self, databases_dir: &Path) -> Result<(), Error> {
        self.apply_in(&Directory::at(databases_dir))
    }

    /// [`apply`](PendingInstall::apply) to a directory that need not be real.
    ///
    /// # Errors
    /// As there.
    pub fn apply_in(&self, databases: &Directory) -> Result<(), Error> {
        if self.complete.base == 0 {
            self.move_files(databases)?;
        } else {
            self.write_changes(databases)?;
        }
        // The new names before the old ones go: a crash between the two must not lose a file.
        databases.sync()?;
        self.directory.sync()?;
        self.is_applied.store(true, Ordering::Release);
        Ok(())
    }

    fn move_files(&self, databases: &Directory) -> Result<(), Error> {
        let mut moves = Vec::new();
        let mut wanted = HashSet::new();
        for database in &self.complete.databases {
            let file = naming::file_name(&database.name)?;
            let sums = format!("{file}{SUMS_SUFFIX}");
            // The sums go first: where they are gone and the file is not, or the other way round, a crash came between.
            if self.complete.has_sums {
                if self.directory.open(&sums, false)?.is_some() {
                    moves.push(sums.clone());
                }
                wanted.insert(sums);
            }
            match self.directory.len_of(&file)? {
                Some(len) => {
                    if len != u64::from(database.pages) * u64::from(self.complete.page_size) {
                        let path = self.directory.path_of(&file);
                        return Err(Error::damaged(&path, "its length is not what was written"));
                    }
                    moves.push(file.clone());
                }
                // Moved before a crash.
                None => {
                    if databases.open(&file, false)?.is_none() {
                        let path = self.directory.path_of(&file);
                        return Err(Error::damaged(&path, "it is gone"));
                    }
                }
            }
            wanted.insert(file);
        }
        // All of them each time: a crash may have kept any of the removals, and lost the others.
        remove_others(databases, &wanted)?;
        for file in &moves {
            self.directory.move_to(databases, file)?;
        }
        Ok(())
    }

    fn write_changes(&self, databases: &Directory) -> Result<(), Error> {
        let mut changes = Vec::new();
        let mut wanted = HashSet::new();
        for database in &self.complete.databases {
            let file = naming::file_name(&database.name)?;
            let page_size = self.complete.page_size;
            let changed = ChangedPages::open(&self.directory, &file, page_size, database)?;
            changed.check()?;
            wanted.insert(format!("{file}{SUMS_SUFFIX}"));
            wanted.insert(file.clone());
            changes.push((file, changed));
        }
        remove_others(databases, &wanted)?;
        for (file, changed) in changes {
            changed.write_to(&self.directory, databases, &file)?;
        }
        Ok(())
    }

    /// Forgets the decision: the snapshot is installed, and its directory is removed.
    ///
    /// # Errors
    /// [`Error::NotApplied`] when it was not applied; [`Error::Io`], after which the next start finds the
    /// decision again, or the rest of the directory for [`discard`].
    pub fn clear(&self) -> Result<(), Error> {
        if !self.is_applied.load(Ordering::Acquire) {
            let path = self.directory.path().display().to_string();
            return Err(Error::NotApplied { path });
        }
        self.directory.remove(COMPLETE)?;
        self.directory.sync()?;
        self.directory.remove_all()
    }
}

/// Removes databases, and what may lie beside any database, unless it is `wanted`.
fn remove_others(databases: &Directory, wanted: &HashSet<String>) -> Result<(), Error> {
    for file in databases.names()? {
        let beside = BESIDE.iter().find_map(|suffix| file.strip_suffix(suffix));
        let is_database = naming::database_name(beside.unwrap_or(&file)).is_some();
        if is_database && !wanted.contains(&file) {
            databases.remove(&file)?;
        }
    }
    Ok(())
}
