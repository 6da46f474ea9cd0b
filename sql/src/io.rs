//! The engine's I/O: its two database files are ours, its temporary files are the system's.
//!
//! The engine asks an `IO` to open files by path. Two paths are special and matched exactly: the
//! database file, which is a [`PageFile`](ferrolite_pager::PageFile), and its `-wal`, which is a
//! [`WalView`]. Temporary tables and sorters open files of their own, some of them named
//! `…-wal` too; those go to the platform.
//!
//! Everything completes before the call returns: a page comes from memory, the log or a file, and a
//! write goes to memory. The one exception to "writes go to memory" is a checkpoint, and the gate makes
//! it so: outside of [`Gate::open`] the engine cannot touch the database file, whatever it would like
//! to do when a connection closes.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferrolite_pager::PageFile;
use ferrolite_wal::view::{ViewError, WalView};
use limbo_core::io::{Clock, FileSyncType};
use limbo_core::{
    Buffer, Completion, CompletionError, File, IO, LimboError, MonotonicInstant, OpenFlags,
    PlatformIO, WallClockInstant,
};

use crate::surroundings::Surroundings;

type Result<T> = std::result::Result<T, LimboError>;

/// Whether the engine may write to the database file: only while a checkpoint runs.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

const GATE_CLOSED: &str = "write to the database file outside of a checkpoint";

impl Gate {
    /// Runs `checkpoint` with the gate open.
    pub(crate) fn open<T>(&self, checkpoint: impl FnOnce() -> T) -> T {
        self.0.store(true, Ordering::SeqCst);
        let result = checkpoint();
        self.0.store(false, Ordering::SeqCst);
        result
    }

    /// Whether `error` is the gate's refusal.
    pub(crate) fn refused(error: &LimboError) -> bool {
        matches!(
            error,
            LimboError::CompletionError(CompletionError::IOError(
                ErrorKind::PermissionDenied,
                GATE_CLOSED
            ))
        )
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(failure(ErrorKind::PermissionDenied, GATE_CLOSED))
        }
    }
}

fn failure(kind: ErrorKind, what: &'static str) -> LimboError {
    LimboError::CompletionError(CompletionError::IOError(kind, what))
}

fn from_io(error: &std::io::Error, what: &'static str) -> LimboError {
    failure(error.kind(), what)
}

fn from_view(error: &ViewError) -> LimboError {
    match error {
        ViewError::Closed => failure(ErrorKind::NotConnected, "the database was closed"),
        ViewError::Spill(error) => failure(error.kind(), "no room for a large transaction"),
        ViewError::TooLarge { .. } => failure(ErrorKind::FileTooLarge, "transaction too large"),
        ViewError::Read(error) => from_io(error, "read of a page from the log"),
        _ => failure(ErrorKind::InvalidInput, "write to the log"),
    }
}

/// A read that has failed, told to both who may wait for it: whoever asked gets the error, and the completion, which the engine
/// may have put into a group before it asked and would otherwise wait for without end, has it too.
fn failed(read: &Completion, error: LimboError) -> LimboError {
    if let LimboError::CompletionError(error) = &error {
        read.error(*error);
    }
    error
}

fn count(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| failure(ErrorKind::InvalidInput, "length of a transfer"))
}

/// The engine's view of the world, for one database.
pub(crate) struct EngineIo {
    pub(crate) path: String,
    pub(crate) wal_path: String,
    pub(crate) file: Arc<PageFile>,
    pub(crate) view: Arc<WalView>,
    pub(crate) gate: Arc<Gate>,
    platform: PlatformIO,
    /// In place of the platform's time and random numbers.
    surroundings: Option<Arc<dyn Surroundings>>,
}

impl EngineIo {
    pub(crate) fn new(
        path: String,
        file: Arc<PageFile>,
        view: Arc<WalView>,
        surroundings: Option<Arc<dyn Surroundings>>,
    ) -> Result<Self> {
        Ok(Self {
            wal_path: format!("{path}-wal"),
            path,
            file,
            view,
            gate: Arc::default(),
            platform: PlatformIO::new()?,
            surroundings,
        })
    }

    pub(crate) fn main_file(&self) -> Arc<dyn File> {
        Arc::new(MainFile {
            file: Arc::clone(&self.file),
            gate: Arc::clone(&self.gate),
            view: Arc::clone(&self.view),
        })
    }
}

impl Clock for EngineIo {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        match &self.surroundings {
            None => self.platform.current_time_monotonic(),
            Some(given) => MonotonicInstant::from_nanos(given.monotonic().as_nanos()),
        }
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        let Some(given) = &self.surroundings else {
            return self.platform.current_time_wall_clock();
        };
        let time = given.wall_clock();
        WallClockInstant {
            secs: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            micros: time.subsec_micros(),
        }
    }
}

impl IO for EngineIo {
    fn open_file(&self, path: &str, flags: OpenFlags, direct: bool) -> Result<Arc<dyn File>> {
        if path == self.path {
            Ok(self.main_file())
        } else if path == self.wal_path {
            Ok(Arc::new(WalFile {
                view: Arc::clone(&self.view),
            }))
        } else {
            self.platform.open_file(path, flags, direct)
        }
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        if path == self.path || path == self.wal_path {
            return Err(failure(
                ErrorKind::PermissionDenied,
                "removal of a database file",
            ));
        }
        self.platform.remove_file(path)
    }

    fn step(&self) -> Result<()> {
        self.platform.step()
    }

    fn generate_random_number(&self) -> i64 {
        match &self.surroundings {
            None => self.platform.generate_random_number(),
            Some(given) => given.random().cast_signed(),
        }
    }

    fn fill_bytes(&self, dest: &mut [u8]) {
        let Some(given) = &self.surroundings else {
            return self.platform.fill_bytes(dest);
        };
        for chunk in dest.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(given.random().to_le_bytes()) {
                *byte = random;
            }
        }
    }

    fn file_id(&self, path: &str) -> Result<limbo_core::io::FileId> {
        if path == self.path || path == self.wal_path {
            Ok(limbo_core::io::FileId::from_path_hash(path))
        } else {
            self.platform.file_id(path)
        }
    }
}

/// The database file: reads go through, writes only during a checkpoint.
struct MainFile {
    file: Arc<PageFile>,
    gate: Arc<Gate>,
    view: Arc<WalView>,
}

impl File for MainFile {
    fn lock_file(&self, _exclusive: bool) -> Result<()> {
        // The data directory as a whole is locked by the node.
        Ok(())
    }

    fn unlock_file(&self) -> Result<()> {
        Ok(())
    }

    fn pread(&self, pos: u64, c: Completion) -> Result<Completion> {
        let buffer = c.as_read();
        let read = self
            .view
            .while_open(|| self.file.read_at(pos, buffer.buf().as_mut_slice()))
            .map_err(|error| from_view(&error))
            .and_then(|read| read.map_err(|error| from_io(&error, "read of the database file")));
        let n = read.map_err(|error| failed(&c, error))?;
        c.complete(count(n)?);
        Ok(c)
    }

    fn pwrite(&self, pos: u64, buffer: Arc<Buffer>, c: Completion) -> Result<Completion> {
        self.gate.check()?;
        self.file
            .write_at(pos, buffer.as_slice())
            .map_err(|error| from_io(&error, "write to the database file"))?;
        c.complete(count(buffer.len())?);
        Ok(c)
    }

    fn sync(&self, c: Completion, _: FileSyncType) -> Result<Completion> {
        self.file
            .sync()
            .map_err(|error| from_io(&error, "sync of the database file"))?;
        c.complete(0);
        Ok(c)
    }

    fn size(&self) -> Result<u64> {
        self.file
            .len()
            .map_err(|error| from_io(&error, "size of the database file"))
    }

    fn truncate(&self, len: u64, c: Completion) -> Result<Completion> {
        self.gate.check()?;
        self.file
            .truncate(len)
            .map_err(|error| from_io(&error, "truncation of the database file"))?;
        c.complete(0);
        Ok(c)
    }
}

/// The `-wal` file: the view of the log.
struct WalFile {
    view: Arc<WalView>,
}

impl File for WalFile {
    fn lock_file(&self, _exclusive: bool) -> Result<()> {
        Ok(())
    }

    fn unlock_file(&self) -> Result<()> {
        Ok(())
    }

    fn pread(&self, pos: u64, c: Completion) -> Result<Completion> {
        let buffer = c.as_read();
        let n = self
            .view
            .read_at(pos, buffer.buf().as_mut_slice())
            .map_err(|error| failed(&c, from_view(&error)))?;
        c.complete(count(n)?);
        Ok(c)
    }

    fn pwrite(&self, pos: u64, buffer: Arc<Buffer>, c: Completion) -> Result<Completion> {
        self.view
            .write_at(pos, buffer.as_slice())
            .map_err(|error| from_view(&error))?;
        c.complete(count(buffer.len())?);
        Ok(c)
    }

    fn pwritev(&self, pos: u64, buffers: Vec<Arc<Buffer>>, c: Completion) -> Result<Completion> {
        let mut at = pos;
        for buffer in &buffers {
            self.view
                .write_at(at, buffer.as_slice())
                .map_err(|error| from_view(&error))?;
            at += buffer.len() as u64;
        }
        c.complete(count(usize::try_from(at - pos).unwrap_or(usize::MAX))?);
        Ok(c)
    }

    fn sync(&self, c: Completion, _: FileSyncType) -> Result<Completion> {
        // Durability is the log's business, and the reply waits for it, not the engine.
        c.complete(0);
        Ok(c)
    }

    fn size(&self) -> Result<u64> {
        Ok(self.view.len())
    }

    fn truncate(&self, len: u64, c: Completion) -> Result<Completion> {
        self.view.truncate(len).map_err(|error| from_view(&error))?;
        c.complete(0);
        Ok(c)
    }
}
