//! What is in the data directory of a node that does not run, and what of it is damaged. Nothing is changed.
//!
//! [`inspect`] is quick and says what there is: whose directory it is, its votes, its log, its databases. [`verify`]
//! reads every record and every page. Both keep a node from being started on the directory meanwhile, and refuse one
//! that runs.

use std::path::Path;

use ferrolite_consensus::{Configuration, HardState, Index};
use ferrolite_pager::verify as pages;
use ferrolite_wal::backend::ReadOnlyDir;
use ferrolite_wal::inspect::{self as log, LogReport, SlotReport};
use ferrolite_wal::slot::SlotKind;

use crate::error::Error;
use crate::membership;
use crate::store::{HARD_STATE, IDENTITY, LOG_DIRECTORY, identity_of};

/// See [`inspect`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// Number and incarnation of the node whose directory it is; `None` if the file that says it is damaged.
    pub node: Option<(u64, u64)>,
    /// Term, vote and cluster; `None` if the node never saved them, or the file is damaged.
    pub hard_state: Option<HardState>,
    /// The members before the log's first entry, and the index from which on they were so. Later changes are in the log.
    pub members: Option<(Index, Configuration)>,
    /// The log.
    pub log: LogReport,
    /// The databases, the checkpoint's mark, and a snapshot that is being received.
    pub files: pages::Inspection,
}

/// Something that is not as it was written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Damage {
    /// In a file of the log, or a file of fixed values.
    Record {
        /// The file, from the data directory on.
        file: String,
        /// What is wrong, and where.
        damage: log::Damage,
    },
    /// In a database, the checksums beside it, the checkpoint's mark or a snapshot.
    Page(pages::Damage),
    /// The file of the members cannot be read.
    Members(String),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record { file, damage } => {
                write!(f, "{file}, byte {}: {}", damage.offset, damage.reason)?;
                match (damage.index, damage.last_index) {
                    (Some(first), Some(last)) if first < last => {
                        write!(f, " (entries {first} to {last}")?;
                    }
                    (Some(index), _) | (None, Some(index)) => write!(f, " (entry {index}")?,
                    (None, None) => return Ok(()),
                }
                if let Some(term) = damage.term {
                    write!(f, ", term {term}")?;
                }
                if !damage.loses_entries {
                    write!(f, "; nothing is lost by it")?;
                }
                write!(f, ")")
            }
            Self::Page(damage) => damage.fmt(f),
            Self::Members(reason) => f.write_str(reason),
        }
    }
}

/// How much [`verify`] has looked at.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Records of the log.
    pub records: u64,
    /// Bytes of a write to the log that a crash cut short. They are no damage: nobody was told that it was done.
    pub torn_bytes: u64,
    /// The databases.
    pub files: pages::Verified,
    /// Places that are damaged.
    pub damaged: u64,
}

fn open(directory: &Path) -> Result<ReadOnlyDir, Error> {
    let is_ours = directory.join(IDENTITY.name).exists();
    if !is_ours {
        return Err(Error::Options(format!(
            "{} is not the data directory of a node",
            directory.display()
        )));
    }
    Ok(ReadOnlyDir::open(directory)?)
}

fn read_log(root: &ReadOnlyDir, directory: &Path) -> Result<LogReport, Error> {
    // A node that was started for the first time, and stopped at once.
    if !directory.join(LOG_DIRECTORY).exists() {
        return Ok(log::log(&ferrolite_wal::backend::MemBackend::new())?);
    }
    Ok(log::log(&root.subdirectory(LOG_DIRECTORY)?)?)
}

/// Says what is in a data directory.
///
/// # Errors
/// When `directory` is none, belongs to a live process, was written by a newer program, cannot be read, or is so damaged
/// that there is nothing to say; [`verify`] then tells more.
pub fn inspect(directory: &Path) -> Result<Inspection, Error> {
    let root = open(directory)?;
    let value = |kind: SlotKind| -> Result<Option<Vec<u8>>, Error> {
        Ok(log::slot(&root, kind)?.and_then(|slot| slot.value))
    };
    let log = read_log(&root, directory)?;
    let mut members = membership::load(&root)?;
    members.retain(|(index, _)| *index <= log.base.0);
    Ok(Inspection {
        node: value(IDENTITY)?.and_then(|payload| identity_of(&payload)),
        hard_state: value(HARD_STATE)?.and_then(|payload| HardState::decode(&payload).ok()),
        members: members.pop(),
        log,
        files: pages::inspect(directory)?,
    })
}

/// Reads every record and every page, and gives whatever is damaged to `found`.
///
/// # Errors
/// As [`inspect`], for what makes it impossible to look.
pub fn verify(directory: &Path, mut found: impl FnMut(Damage)) -> Result<Verified, Error> {
    let root = open(directory)?;
    let mut damaged = 0;
    let mut found = |damage| {
        damaged += 1;
        found(damage);
    };
    for kind in [IDENTITY, HARD_STATE] {
        if let Some(slot) = log::slot(&root, kind)? {
            report_slot(&slot, "", &mut found);
        }
    }
    if let Err(error) = membership::load(&root) {
        found(Damage::Members(error.to_string()));
    }
    let report = read_log(&root, directory)?;
    for damage in report.damage {
        found(Damage::Record {
            file: format!("{LOG_DIRECTORY}/{}", damage.file),
            damage,
        });
    }
    for slot in &report.marks {
        report_slot(slot, "log/", &mut found);
    }
    let files = pages::verify(directory, |damage| found(Damage::Page(damage)))?;
    Ok(Verified {
        records: report.segments.iter().map(|segment| segment.records).sum(),
        torn_bytes: report.torn_bytes,
        files,
        damaged,
    })
}

fn report_slot(slot: &SlotReport, directory: &str, found: &mut impl FnMut(Damage)) {
    for damage in slot.damage() {
        found(Damage::Record {
            file: format!("{directory}{}", damage.file),
            damage,
        });
    }
}
