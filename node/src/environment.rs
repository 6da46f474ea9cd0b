//! What a node has of the world around it: a disk, a clock, random numbers, and threads to work on.
//!
//! A replica decides nothing by itself that is not in here: the same events at the same times, with the same random numbers
//! and the same answers of the disk, lead to the same messages and the same bytes. In a process all of it is the system's
//! ([`Environment::system`]). A simulation gives many nodes in one thread its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferrolite_pager::Directory;
use ferrolite_sql::Surroundings;
use ferrolite_wal::backend::{Backend, DirBackend};
use tokio::time::Instant;

use crate::error::Error;

/// More batches of rows than any result of a simulation has.
const MANY: usize = 1 << 16;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    /// What SQL asks for; that of the system if there is none.
    pub(crate) engine: Option<Engine>,
    pub(crate) workers: Workers,
}

/// Where SQL has its time and its random numbers from.
#[derive(Clone)]
pub(crate) struct Engine(pub(crate) Arc<dyn Surroundings>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

/// What a file system has, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// A data directory.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Where it is, as messages say it.
    fn path(&self) -> &Path;

    /// The directory itself; locked for as long as this or a part of it is kept.
    fn root(&self) -> Arc<dyn Backend>;

    /// A directory in it, made if it is not there.
    fn part(&self, name: &str) -> Result<Arc<dyn Backend>, Error>;

    /// The directory in which directories of database files are.
    fn pages(&self) -> Directory;

    /// How much room there is.
    fn space(&self) -> std::io::Result<Space>;
}

/// A node's monotonic clock.
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since the node was started, rounded down.
    fn now_ms(&self) -> u64;

    /// A time of this clock as one that can be compared with others.
    fn instant(&self, ms: u64) -> Instant;
}

/// A source of random numbers.
pub(crate) trait Random: fmt::Debug + Send + Sync {
    /// The next one.
    fn next(&self) -> Result<u64, Error>;
}

/// Who does work that may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// Threads that may block.
    Threads,
    /// Whoever asks for it, at once. Nothing may be waited for then, because nobody else would bring it about.
    #[cfg(feature = "simulation")]
    Caller,
}

/// Work has panicked.
#[derive(Debug)]
pub(crate) struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Workers {
    /// Has `work` done, and waits for it. It is done even if nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(|error| Panicked(error.to_string())),
            #[cfg(feature = "simulation")]
            Self::Caller => std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .map_err(|_| Panicked("it panicked".to_owned())),
        }
    }

    /// How many things a queue has to have room for that work fills and its asker empties, if `few` are enough where one can
    /// wait for the other.
    pub(crate) fn room_for(self, few: usize) -> usize {
        if self.may_wait() { few } else { MANY }
    }

    /// Puts something into such a queue. Work that nobody listens to any more is interrupted.
    pub(crate) fn send<T>(
        self,
        queue: &tokio::sync::mpsc::Sender<T>,
        item: T,
    ) -> Result<(), ferrolite_sql::Error> {
        let sent = if self.may_wait() {
            queue.blocking_send(item).is_ok()
        } else {
            queue.try_send(item).is_ok()
        };
        if sent {
            Ok(())
        } else {
            Err(ferrolite_sql::Error::Interrupted)
        }
    }

    /// Whether work may wait for something.
    pub(crate) fn may_wait(self) -> bool {
        self == Self::Threads
    }
}

impl Environment {
    /// The system's, with the data directory at `path`, which is made if it is not there.
    pub(crate) fn system(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            disk: Arc::new(SystemDisk::open(path)?),
            clock: Arc::new(SystemClock {
                start: Instant::now(),
            }),
            random: Arc::new(SystemRandom),
            engine: None,
            workers: Workers::Threads,
        })
    }
}

#[derive(Debug)]
struct SystemDisk {
    path: PathBuf,
    root: DirBackend,
}

impl SystemDisk {
    fn open(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(|error| {
            ferrolite_wal::Error::at("create", &path.display().to_string(), error)
        })?;
        Ok(Self {
            path: path.to_owned(),
            root: DirBackend::open(path)?,
        })
    }
}

impl Disk for SystemDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> Arc<dyn Backend> {
        Arc::new(self.root.clone())
    }

    fn part(&self, name: &str) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(self.root.subdirectory(name)?))
    }

    fn pages(&self) -> Directory {
        Directory::at(&self.path)
    }

    fn space(&self) -> std::io::Result<Space> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }
}

/// The system's monotonic clock.
#[derive(Debug)]
struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
}

/// The system's random numbers.
#[derive(Debug)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn next(&self) -> Result<u64, Error> {
        getrandom::u64()
            .map_err(|error| Error::Options(format!("the system gives no random numbers: {error}")))
    }
}
