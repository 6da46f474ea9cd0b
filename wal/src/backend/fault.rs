//! A disk that can be made to fail in every way that disks do, the same way each time.
//!
//! The disk knows two states of everything: what programs see, and what is durable. A write, a new length and a
//! change of names only become durable with a sync; until then each of them is *unsynced*, and a crash keeps any
//! part of it. [`FaultBackend::crash`] asks its caller for every single unsynced part (each 512-byte sector of a
//! write, each new length, each change of a name) whether it reached the disk before the power went: so a test
//! can go through all cases, or draw them from a seed.
//!
//! [`FaultBackend::stop_after`] stops the machine in the middle of a workload, [`FaultBackend::inject`] lets single
//! operations fail, [`FaultBackend::set_capacity`] fills the disk, and [`FaultBackend::flip_bit`] lets it rot.
//! [`FaultBackend::fork`] copies the disk, so that many crashes can be tried from one moment.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::file::FaultFile;
use super::mem::write_into;
use super::{Backend, BackendFile};

/// A write reaches the disk, or does not, in units of this many bytes.
pub const SECTOR_BYTES: usize = 512;

/// An operation on the disk, for [`FaultBackend::inject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Backend::list`]
    List,
    /// [`Backend::open`]
    Open,
    /// [`Backend::rename`]
    Rename,
    /// [`Backend::remove`]
    Remove,
    /// [`Backend::sync`]
    SyncNames,
    /// [`BackendFile::read_at`]
    Read,
    /// [`BackendFile::write_at`]
    Write,
    /// [`BackendFile::set_len`]
    SetLen,
    /// [`BackendFile::sync`]
    Sync,
}

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It fails with this error and does nothing. A failed sync, as on Linux, throws away what it should have made
    /// durable, while programs go on seeing it.
    Fails(io::ErrorKind),
    /// A write stores its first half and fails; a read returns half of the bytes and says so.
    Half,
    /// A write stores its first half and fails with this error.
    HalfFails(io::ErrorKind),
    /// It goes well, but late: its caller waits until [`FaultBackend::release`], and other operations overtake it.
    Late,
    /// A write or sync says that all is well and does nothing durable: a lying disk.
    Lost,
    /// A write goes this many bytes further on in the file.
    Misdirected(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
        file: usize,
    },
    Remove {
        name: String,
        file: usize,
    },
}

#[derive(Debug, Clone, Default)]
struct Inode {
    // Shared until one of them is written: forks and crashes copy no bytes.
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<NameChange>,
}

#[derive(Debug, Clone)]
struct Fault {
    operation: Operation,
    /// How many such operations still go well.
    after: u64,
    kind: FaultKind,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    files: Vec<Inode>,
    directories: BTreeMap<String, Names>,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    /// Changing operations so far.
    changes: u64,
    stop_after: Option<u64>,
    /// Counts crashes; handles from before the last one are dead.
    life: u64,
    /// Operations that wait for their release.
    late: usize,
    /// Counts releases.
    releases: u64,
}

/// The disk, and a bell that rings when an operation becomes late, or late ones may go on.
#[derive(Debug, Default)]
struct Shared {
    disk: Mutex<Disk>,
    bell: Condvar,
}

/// A simulated disk, or one directory of it. Clones share it. See the module's text.
///
/// ```
/// use ferrolite_wal::backend::{Backend, FaultBackend};
/// # fn main() -> std::io::Result<()> {
/// let disk = FaultBackend::new();
/// let file = disk.open("a", true)?;
/// file.write_at(0, b"hello")?;
/// disk.sync()?; // the name, but not the bytes
/// disk.crash(|_| false);
/// let file = disk.open("a", false)?;
/// assert_eq!(file.len()?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FaultBackend {
    disk: Arc<Shared>,
    directory: String,
}

impl Default for FaultBackend {
    fn default() -> FaultBackend {
        FaultBackend::new()
    }
}

impl FaultBackend {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> FaultBackend {
        FaultBackend {
            disk: Arc::default(),
            directory: String::new(),
        }
    }

    /// Another directory of the same disk: it counts, crashes and fills with it.
    #[must_use]
    pub fn directory(&self, name: &str) -> FaultBackend {
        FaultBackend {
            disk: Arc::clone(&self.disk),
            directory: name.to_owned(),
        }
    }

    /// A copy of the disk as it is now, with its unsynced changes, and without its faults.
    #[must_use]
    pub fn fork(&self) -> FaultBackend {
        let disk = Disk {
            faults: Vec::new(),
            stop_after: None,
            late: 0,
            ..self.disk().clone()
        };
        FaultBackend {
            disk: Arc::new(Shared {
                disk: Mutex::new(disk),
                bell: Condvar::new(),
            }),
            directory: self.directory.clone(),
        }
    }

    /// Number of operations so far that changed or synced anything.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Stops the machine once it has made `changes` changes in all: the next one is not begun, and fails as all
    /// operations do from then on, until [`crash`](FaultBackend::crash). With a write it is different: that one is
    /// begun, so that a crash may keep any part of it.
    pub fn stop_after(&self, changes: u64) {
        self.disk().stop_after = Some(changes);
    }

    /// Lets the `after`-th next `operation` (0 is the very next) go wrong, once.
    pub fn inject(&self, operation: Operation, after: u64, kind: FaultKind) {
        self.disk().faults.push(Fault {
            operation,
            after,
            kind,
        });
    }

    /// Lets the disk hold at most so many bytes; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Whether the machine has stopped, as [`stop_after`](FaultBackend::stop_after) wanted it.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let disk = self.disk();
        disk.stop_after.is_some_and(|limit| disk.changes > limit)
    }

    /// Bytes in all files that have a name.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Number of parts that a crash decides about: those that [`crash`](FaultBackend::crash) would ask for.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let mut count = 0;
        self.fork().crash(|_| {
            count += 1;
            true
        });
        count
    }

    /// Cuts the power and starts the machine again. `keep` is asked, for every unsynced part in the order of its
    /// making (numbered from 0), whether it reached the disk. All handles are dead from then on; faults and the stop
    /// are forgotten.
    pub fn crash(&self, mut keep: impl FnMut(usize) -> bool) {
        let mut disk = self.disk();
        let mut part = 0;
        let mut decide = || {
            part += 1;
            keep(part - 1)
        };
        for file in &mut disk.files {
            let changes = std::mem::take(&mut file.unsynced);
            for change in changes {
                match change {
                    Change::SetLen(len) => {
                        if decide() {
                            Arc::make_mut(&mut file.durable)
                                .resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
                        }
                    }
                    Change::Write { offset, bytes } => {
                        // Sectors of the disk, not of the write: it may begin in the middle of one.
                        let (mut at, mut rest) = (offset, bytes.as_slice());
                        while !rest.is_empty() {
                            let sector = SECTOR_BYTES as u64;
                            let room =
                                usize::try_from(sector - at % sector).unwrap_or(SECTOR_BYTES);
                            let (piece, after) = rest.split_at(room.min(rest.len()));
                            // The write was possible once, so it is again.
                            if decide()
                                && write_into(Arc::make_mut(&mut file.durable), at, piece).is_err()
                            {
                                break;
                            }
                            at += piece.len() as u64;
                            rest = after;
                        }
                    }
                }
            }
            file.seen.clone_from(&file.durable);
        }
        for names in disk.directories.values_mut() {
            for change in std::mem::take(&mut names.unsynced) {
                if decide() {
                    change.apply(&mut names.durable);
                }
            }
            names.seen.clone_from(&names.durable);
        }
        disk.life += 1;
        disk.faults.clear();
        disk.stop_after = None;
        // Whoever still waits goes on to learn that the machine has stopped.
        disk.releases += 1;
        self.disk.bell.notify_all();
    }

    /// Waits until so many operations are [late](FaultKind::Late) at the same time.
    pub fn wait_until_late(&self, operations: usize) {
        let mut disk = self.disk();
        while disk.late < operations {
            disk = self
                .disk
                .bell
                .wait(disk)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets all operations that are late complete.
    pub fn release(&self) {
        self.disk().releases += 1;
        self.disk.bell.notify_all();
    }

    /// Turns over one bit of a file, in what is seen and what is durable. Does nothing outside of the file.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut disk = self.disk();
        let file = disk
            .directories
            .get(&self.directory)
            .and_then(|names| names.seen.get(name))
            .copied();
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(file) = file.and_then(|file| disk.files.get_mut(file)) {
            for bytes in [&mut file.seen, &mut file.durable] {
                if let Some(byte) = Arc::make_mut(bytes).get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation, finds out what goes wrong with it, and waits if it is to be late.
    fn begin(
        &self,
        operation: Operation,
        life: Option<u64>,
    ) -> io::Result<(MutexGuard<'_, Disk>, Option<FaultKind>)> {
        let mut disk = self.lock();
        let life = life.unwrap_or(disk.life);
        let fault = disk.begin(operation, life)?;
        if fault != Some(FaultKind::Late) {
            return Ok((disk, fault));
        }
        disk.late += 1;
        self.bell.notify_all();
        let releases = disk.releases;
        while disk.releases == releases {
            disk = self.bell.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
        disk.late -= 1;
        if disk.life == life {
            Ok((disk, None))
        } else {
            Err(stopped())
        }
    }
}

impl NameChange {
    /// Does the change where it is possible: one that builds on a lost one is lost too.
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create { name, file } => {
                names.insert(name, file);
            }
            NameChange::Rename { from, to, file } => {
                if names.get(&from) == Some(&file) {
                    names.remove(&from);
                    names.insert(to, file);
                }
            }
            NameChange::Remove { name, file } => {
                if names.get(&name) == Some(&file) {
                    names.remove(&name);
                }
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl Disk {
    fn used(&self) -> u64 {
        let named = self
            .directories
            .values()
            .flat_map(|names| names.seen.values());
        named
            .filter_map(|file| self.files.get(*file))
            .map(|file| file.seen.len() as u64)
            .sum()
    }

    /// Counts an operation and finds out what goes wrong with it.
    fn begin(&mut self, operation: Operation, life: u64) -> io::Result<Option<FaultKind>> {
        if life != self.life {
            return Err(stopped());
        }
        if !matches!(
            operation,
            Operation::List | Operation::Open | Operation::Read
        ) {
            self.count(operation == Operation::Write)?;
        } else if self.stop_after.is_some_and(|limit| self.changes > limit) {
            return Err(stopped());
        }
        let matching = |fault: &Fault| fault.operation == operation;
        let due = self
            .faults
            .iter()
            .position(|fault| matching(fault) && fault.after == 0);
        let kind = due.map(|at| self.faults.swap_remove(at).kind);
        self.faults
            .iter_mut()
            .filter(|fault| matching(fault))
            .for_each(|fault| {
                fault.after = fault.after.saturating_sub(1);
            });
        match kind {
            Some(FaultKind::Fails(error)) if operation != Operation::Sync => Err(error.into()),
            kind => Ok(kind),
        }
    }

    /// Counts a change. The one at which the machine stops is not done, but that a write may be.
    fn count(&mut self, write: bool) -> io::Result<()> {
        match self.stop_after {
            Some(limit) if self.changes > limit || (self.changes == limit && !write) => {
                self.changes = self.changes.max(limit + 1);
                Err(stopped())
            }
            _ => {
                self.changes += 1;
                Ok(())
            }
        }
    }

    fn names(&mut self, directory: &str) -> &mut Names {
        self.directories.entry(directory.to_owned()).or_default()
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name:?}"))
}

impl Backend for FaultBackend {
    fn list(&self) -> io::Result<Vec<String>> {
        let (mut disk, _) = self.disk.begin(Operation::List, None)?;
        Ok(disk.names(&self.directory).seen.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        let (mut disk, _) = self.disk.begin(Operation::Open, None)?;
        let life = disk.life;
        let file = match disk.names(&self.directory).seen.get(name) {
            Some(file) => *file,
            None if !create => return Err(not_found(name)),
            None => {
                disk.count(false)?;
                let file = disk.files.len();
                disk.files.push(Inode::default());
                let names = disk.names(&self.directory);
                names.seen.insert(name.to_owned(), file);
                names.unsynced.push(NameChange::Create {
                    name: name.to_owned(),
                    file,
                });
                file
            }
        };
        Ok(Arc::new(FaultFile {
            disk: Arc::clone(&self.disk),
            file,
            life,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut disk, _) = self.disk.begin(Operation::Rename, None)?;
        let names = disk.names(&self.directory);
        let file = names.seen.remove(from).ok_or_else(|| not_found(from))?;
        names.seen.insert(to.to_owned(), file);
        names.unsynced.push(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            file,
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut disk, _) = self.disk.begin(Operation::Remove, None)?;
        let names = disk.names(&self.directory);
        let file = names.seen.remove(name).ok_or_else(|| not_found(name))?;
        names.unsynced.push(NameChange::Remove {
            name: name.to_owned(),
            file,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut disk, fault) = self.disk.begin(Operation::SyncNames, None)?;
        let names = disk.names(&self.directory);
        if fault != Some(FaultKind::Lost) {
            names.unsynced.clear();
            names.durable.clone_from(&names.seen);
        }
        Ok(())
    }
}
