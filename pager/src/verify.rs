//! Looking at the files of a node that does not run, without changing anything.
//!
//! [`inspect`] says what there is, in a moment and without reading a page. [`verify`] reads every page of every
//! database, compares it with its [sum](crate::sums), and looks at all that the crate keeps beside: the sums
//! themselves, the mark, the decision about a snapshot; and at the [structure](crate::validate) of each database. What
//! is damaged comes one by one, so that a directory that is nothing but damage takes no memory.
//!
//! Both take the data directory of a node: `checkpoint` in it, the databases in `databases/`, and `incoming/` if a
//! snapshot is on its way. Its lock is the caller's business: of files that a live node writes to, nothing of this is true.
//!
//! **What a crash left is not damage.** While the mark has a target above what is done, a checkpoint may have been cut
//! short. A page that differs from its sum then may be one of those that the node writes again on its next start;
//! it is counted as *unsettled*, and the structure is left for after that start.
//!
//! ```
//! use ferrolite_pager::verify;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # std::fs::create_dir(dir.path().join("databases"))?;
//! # std::fs::write(dir.path().join("databases/app.sqlite"), b"no database")?;
//! let verified = verify::verify(dir.path(), |damage| println!("{damage}"))?;
//! assert_eq!((verified.databases, verified.damaged), (1, 1));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use crate::directory::Directory;
use crate::error::Error;
use crate::mark::CheckpointMark;
use crate::naming;
use crate::snapshot::pending_install_in;
use crate::sums::{SumsReader, UNKNOWN_INDEX, page_sum};
use crate::validate::{self, Header};

/// Where a node keeps its databases, and a snapshot that comes, in its data directory.
const DATABASES: &str = "databases";
const INCOMING: &str = "incoming";

/// What the files of a node are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// `done` and `target` of the mark; `None` where there is none.
    pub mark: Option<(u64, u64)>,
    /// By name.
    pub databases: Vec<Database>,
    /// A snapshot on its way in.
    pub incoming: Incoming,
}

/// A database file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Database {
    /// Name of the database.
    pub name: String,
    /// Name of its file in `databases/`.
    pub file: String,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Bytes of a page, if the sums or the file itself say it.
    pub page_size: Option<u32>,
    /// Whole pages in the file, if the size of a page is known.
    pub pages: Option<u32>,
    /// Pages that have a sum.
    pub known_pages: u32,
    /// Those of them that were adopted as they were found.
    pub adopted_pages: u32,
    /// The highest log index of a page; `None` when no page has one.
    pub newest_index: Option<u64>,
}

/// What is in the directory where snapshots come in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// Nothing.
    Nothing,
    /// A part of a snapshot. The next start throws it away.
    Partial {
        /// Bytes of its files.
        bytes: u64,
    },
    /// A whole snapshot, decided on. The next start installs it.
    Complete {
        /// The number by which the receiver knows it.
        id: u64,
        /// Bytes of a page.
        page_size: u32,
        /// Name and number of pages of each database.
        databases: Vec<(String, u32)>,
    },
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Databases.
    pub databases: u64,
    /// Pages of them.
    pub pages: u64,
    /// Pages of which nothing is known: any bytes would have passed.
    pub unverified_pages: u64,
    /// Pages that differ from their sums, which after an interrupted checkpoint proves nothing.
    pub unsettled_pages: u64,
    /// How many times damage was reported.
    pub damaged: u64,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file, by its path.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub kind: DamageKind,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole.
    File,
    /// A page, counted from 1.
    Page(u32),
    /// A byte.
    Offset(u64),
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// A page does not have its checksum.
    Rot {
        /// The one that it has to have.
        expected: u32,
        /// The one that it has; `None` when the file ends before it.
        found: Option<u32>,
        /// The log index of the last entry that wrote it, or a later one.
        index: u64,
    },
    /// A sector of the sums is damaged. Their pages cannot be verified; that says nothing about the pages.
    Sums,
    /// The database is no sound SQLite database.
    Structure(String),
    /// The file cannot be read for what it is.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        match self.place {
            Place::File => {}
            Place::Page(page_no) => write!(f, ", page {page_no}")?,
            Place::Offset(offset) => write!(f, ", byte {offset}")?,
        }
        match &self.kind {
            DamageKind::Rot {
                expected,
                found: Some(found),
                index,
            } => {
                write!(
                    f,
                    ": its checksum is {found:08x} and has to be {expected:08x}"
                )?;
                written_by(f, *index)
            }
            DamageKind::Rot {
                expected, index, ..
            } => {
                write!(
                    f,
                    ": the file ends before it; its checksum has to be {expected:08x}"
                )?;
                written_by(f, *index)
            }
            DamageKind::Sums => write!(f, ": the checksums of pages that stand there are damaged"),
            DamageKind::Structure(reason) | DamageKind::Unreadable(reason) => {
                write!(f, ": {reason}")
            }
        }
    }
}

fn written_by(f: &mut fmt::Formatter<'_>, index: u64) -> fmt::Result {
    if index == UNKNOWN_INDEX {
        return Ok(());
    }
    write!(f, ", as entry {index} or one before it wrote it")
}

/// Says what is in the data directory `dir`. Only sizes, sums and first pages are read; what is damaged is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Damaged`], [`Error::Wal`] or [`Error::NewerFormat`] when the mark, the decision about a
/// snapshot or sums cannot be read.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    inspect_in(&Files::real(dir))
}

/// Reads everything in the data directory `dir`, and gives what is damaged to `on_damage`.
///
/// # Errors
/// [`Error::Io`] when the system fails, other than in reading a page. Everything else that is wrong is damage.
pub fn verify(dir: &Path, mut on_damage: impl FnMut(Damage)) -> Result<Verified, Error> {
    verify_in(&Files::real(dir), &mut on_damage)
}

/// The directories of a node.
#[derive(Debug, Clone)]
pub struct Files {
    root: Directory,
    databases: Directory,
    incoming: Directory,
}

impl Files {
    fn real(dir: &Path) -> Files {
        Files {
            root: Directory::read_only(dir),
            databases: Directory::read_only(&dir.join(DATABASES)),
            incoming: Directory::read_only(&dir.join(INCOMING)),
        }
    }

    /// Directories that need not be real, of the mark, of the databases and of a snapshot that comes.
    #[must_use]
    pub fn new(root: Directory, databases: Directory, incoming: Directory) -> Files {
        Files {
            root,
            databases,
            incoming,
        }
    }

    /// Names of the databases with those of their files.
    fn list(&self) -> Result<Vec<(String, String)>, Error> {
        let named = |file: String| naming::database_name(&file).map(|name| (name, file));
        let mut list: Vec<_> = self
            .databases
            .names()?
            .into_iter()
            .filter_map(named)
            .collect();
        list.sort();
        Ok(list)
    }
}

/// [`inspect`] of directories that need not be real.
///
/// # Errors
/// As there.
pub fn inspect_in(files: &Files) -> Result<Inspection, Error> {
    let mark = CheckpointMark::peek(files.root.backend())?;
    let mut databases = Vec::new();
    for (name, file) in files.list()? {
        databases.push(inspect_database(&files.databases, name, file)?);
    }
    let incoming = match pending_install_in(&files.incoming)? {
        Some(install) => Incoming::Complete {
            id: install.id(),
            page_size: install.page_size(),
            databases: install
                .databases()
                .map(|(name, pages)| (name.to_owned(), pages))
                .collect(),
        },
        None => {
            let names = files.incoming.names()?;
            let mut bytes = 0;
            for name in &names {
                bytes += files.incoming.len_of(name)?.unwrap_or(0);
            }
            if names.is_empty() {
                Incoming::Nothing
            } else {
                Incoming::Partial { bytes }
            }
        }
    };
    Ok(Inspection {
        mark,
        databases,
        incoming,
    })
}

fn inspect_database(databases: &Directory, name: String, file: String) -> Result<Database, Error> {
    let bytes = databases.len_of(&file)?.unwrap_or(0);
    let mut sums = SumsReader::open(databases, &file)?;
    let own = sums.as_ref().and_then(SumsReader::page_size);
    let page_size = match own {
        Some(page_size) => Some(page_size),
        None => open(databases, &file)?
            .and_then(|opened| validate::header(&opened).ok())
            .map(|header| header.page_size),
    };
    let pages = page_size.map(|page_size| pages_of(bytes, page_size));
    let (mut known_pages, mut adopted_pages, mut newest_index) = (0, 0, None);
    if let (Some(sums), Some(page_size)) = (&mut sums, page_size) {
        sums.assume_page_size(page_size);
        for page_no in 1..=pages.unwrap_or(0).min(sums.pages()) {
            let Ok(Some(known)) = sums.get(page_no)? else {
                continue;
            };
            known_pages += 1;
            adopted_pages += u32::from(known.adopted);
            newest_index = newest_index.max(known.known_index());
        }
    }
    Ok(Database {
        name,
        file,
        bytes,
        page_size,
        pages,
        known_pages,
        adopted_pages,
        newest_index,
    })
}

fn pages_of(bytes: u64, page_size: u32) -> u32 {
    u32::try_from(bytes / u64::from(page_size)).unwrap_or(u32::MAX)
}

/// [`verify`] of directories that need not be real.
///
/// # Errors
/// As there.
pub fn verify_in(files: &Files, on_damage: &mut dyn FnMut(Damage)) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    let mut on_damage = |verified: &mut Verified, damage| {
        verified.damaged += 1;
        on_damage(damage);
    };
    let unreadable = |file: &Path, error: Error| {
        if error.is_io() {
            return Err(error);
        }
        Ok(Damage {
            file: file.display().to_string(),
            place: Place::File,
            kind: DamageKind::Unreadable(error.to_string()),
        })
    };
    // Without a mark, nothing was interrupted; with one that cannot be read, nobody knows.
    let is_interrupted = match CheckpointMark::peek(files.root.backend()) {
        Ok(mark) => mark.is_some_and(|(done, target)| done < target),
        Err(error) => {
            let damage = unreadable(&files.root.path_of("checkpoint"), error)?;
            on_damage(&mut verified, damage);
            true
        }
    };
    if let Err(error) = pending_install_in(&files.incoming) {
        let damage = unreadable(&files.incoming.path_of("complete"), error)?;
        on_damage(&mut verified, damage);
    }
    for (_, file) in files.list()? {
        verified.databases += 1;
        let path = files.databases.path_of(&file);
        let Some(opened) = open(&files.databases, &file)? else {
            continue;
        };
        let header = validate::header(&opened);
        let sums = match SumsReader::open(&files.databases, &file) {
            Ok(sums) => sums,
            Err(error) => {
                let damage = unreadable(&path, error)?;
                on_damage(&mut verified, damage);
                None
            }
        };
        if let Some(sums) = sums {
            let mut check = PageCheck {
                path: &path,
                file: &opened.file,
                header: header.as_ref().ok(),
                is_interrupted,
            };
            check.run(sums, &mut verified, &mut on_damage)?;
        } else if let Ok(header) = &header {
            let pages = u64::from(pages_of(opened.len()?, header.page_size));
            verified.pages += pages;
            verified.unverified_pages += pages;
        }
        let is_empty = opened.len()? == 0;
        if is_empty || is_interrupted {
            continue;
        }
        let problems = match validate::examine(&opened) {
            Ok(report) => report
                .problems
                .into_iter()
                .map(|problem| (Place::Page(problem.page), problem.description))
                .collect(),
            Err(error) => vec![(Place::File, error.to_string())],
        };
        for (place, description) in problems {
            let damage = Damage {
                file: path.display().to_string(),
                place,
                kind: DamageKind::Structure(description),
            };
            on_damage(&mut verified, damage);
        }
    }
    Ok(verified)
}

/// A database file of which nothing is changed.
fn open(directory: &Directory, name: &str) -> Result<Option<validate::OpenFile>, Error> {
    let file = directory.open(name, false)?;
    Ok(file.map(|file| validate::OpenFile {
        file,
        path: directory.path_of(name),
    }))
}

/// Compares the pages of one file with their sums.
struct PageCheck<'a> {
    path: &'a Path,
    file: &'a Arc<dyn BackendFile>,
    header: Option<&'a Header>,
    is_interrupted: bool,
}

impl PageCheck<'_> {
    fn run(
        &mut self,
        mut sums: SumsReader,
        verified: &mut Verified,
        on_damage: &mut dyn FnMut(&mut Verified, Damage),
    ) -> Result<(), Error> {
        let sums_damage = |offset, sums: &SumsReader| Damage {
            file: sums.path().display().to_string(),
            place: Place::Offset(offset),
            kind: DamageKind::Sums,
        };
        if sums.page_size().is_none() {
            on_damage(verified, sums_damage(0, &sums));
        }
        if let Some(header) = self.header {
            sums.assume_page_size(header.page_size);
        }
        let Some(page_size) = sums.page_size() else {
            return Ok(());
        };
        let failed = |e| Error::io("read", self.path, e);
        let pages = pages_of(self.file.len().map_err(failed)?, page_size);
        verified.pages += u64::from(pages);
        let mut page = vec![0; page_size as usize];
        let mut last_bad_sector = None;
        for page_no in 1..=pages.max(sums.pages()) {
            let known = match sums.get(page_no)? {
                Ok(known) => known,
                Err(offset) => {
                    if last_bad_sector.replace(offset) != Some(offset) {
                        on_damage(verified, sums_damage(offset, &sums));
                    }
                    None
                }
            };
            let Some(known) = known else {
                verified.unverified_pages += u64::from(page_no <= pages);
                continue;
            };
            let position = u64::from(page_no - 1) * u64::from(page_size);
            let read = match self.file.read_at(position, &mut page) {
                Ok(read) => read,
                Err(error) => {
                    let damage = Damage {
                        file: self.path.display().to_string(),
                        place: Place::Page(page_no),
                        kind: DamageKind::Unreadable(error.to_string()),
                    };
                    on_damage(verified, damage);
                    continue;
                }
            };
            let found = (read == page.len()).then(|| page_sum(page_no, &page));
            if found == Some(known.sum) {
                continue;
            }
            if self.is_interrupted {
                verified.unsettled_pages += 1;
                continue;
            }
            let damage = Damage {
                file: self.path.display().to_string(),
                place: Place::Page(page_no),
                kind: DamageKind::Rot {
                    expected: known.sum,
                    found,
                    index: known.index,
                },
            };
            on_damage(verified, damage);
        }
        Ok(())
    }
}
