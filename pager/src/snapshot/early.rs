//! Bytes that go to the disk while more come.
//!
//! A file that is written whole and synced at its end waits twice: while it comes the disk has nothing to do, because the
//! system gathers what is written, and when all is there nobody else has. So what has come is synced now and then
//! already, by a thread of its own, and the sync at the end has little left to do. It is still what decides: a sync of a
//! part promises nothing to anyone, but its failure has to be heard of, because the system tells it only once.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use ferrolite_wal::backend::BackendFile;

/// So many bytes are worth a sync.
const WORTH_BYTES: u64 = 32 << 20;

/// The early syncs of one file.
#[derive(Debug)]
pub(super) struct EarlySync {
    worth_bytes: u64,
    /// Bytes that were written since the last one began.
    fresh_bytes: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl EarlySync {
    pub(super) fn new() -> EarlySync {
        EarlySync::every(WORTH_BYTES)
    }

    fn every(worth_bytes: u64) -> EarlySync {
        EarlySync {
            worth_bytes,
            fresh_bytes: 0,
            running: None,
        }
    }

    /// Notes that bytes were written, and begins a sync if there is enough and none under way.
    ///
    /// # Errors
    /// That of an earlier sync: then the file is lost.
    pub(super) fn wrote(&mut self, file: &Arc<dyn BackendFile>, bytes: u64) -> io::Result<()> {
        self.fresh_bytes = self.fresh_bytes.saturating_add(bytes);
        if self.fresh_bytes < self.worth_bytes {
            return Ok(());
        }
        if self
            .running
            .as_ref()
            .is_some_and(|sync| !sync.is_finished())
        {
            return Ok(());
        }
        self.settle()?;
        let file = Arc::clone(file);
        let sync = Builder::new().name("early-sync".to_owned());
        // Where no thread can be had, the sync at the end has more to do.
        self.running = sync.spawn(move || file.sync()).ok();
        self.fresh_bytes = 0;
        Ok(())
    }

    /// Waits for the sync that is under way. To be called before the file is synced for good.
    ///
    /// # Errors
    /// As [`wrote`](EarlySync::wrote).
    pub(super) fn settle(&mut self) -> io::Result<()> {
        match self.running.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the thread that syncs has panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A file that counts its syncs, and fails one.
    #[derive(Debug, Default)]
    struct Counting {
        syncs: AtomicU32,
        fails: u32,
    }

    impl BackendFile for Counting {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            match self.syncs.fetch_add(1, Ordering::SeqCst) + 1 == self.fails {
                true => Err(io::Error::other("lost")),
                false => Ok(()),
            }
        }
    }

    /// What has come is synced once it is enough, and not before.
    #[test]
    fn syncs_what_is_worth_it() {
        let counting = Arc::new(Counting::default());
        let file: Arc<dyn BackendFile> = counting.clone();
        let mut early = EarlySync::every(100);
        early.wrote(&file, 99).unwrap();
        early.settle().unwrap();
        assert_eq!(counting.syncs.load(Ordering::SeqCst), 0);
        for syncs in 1..5 {
            early.wrote(&file, 100).unwrap();
            early.settle().unwrap();
            assert_eq!(counting.syncs.load(Ordering::SeqCst), syncs);
        }
    }

    /// A failure is told by whatever is asked next, write or end: the system would call the next sync a success.
    #[test]
    fn a_failure_is_heard_of() {
        for ends in [false, true] {
            let file: Arc<dyn BackendFile> = Arc::new(Counting {
                fails: 2,
                ..Counting::default()
            });
            let mut early = EarlySync::every(1);
            early.wrote(&file, 1).unwrap();
            early.settle().unwrap();
            early.wrote(&file, 1).unwrap();
            if ends {
                early.settle().unwrap_err();
                continue;
            }
            while early
                .running
                .as_ref()
                .is_some_and(|sync| !sync.is_finished())
            {
                std::thread::yield_now();
            }
            early.wrote(&file, 1).unwrap_err();
        }
    }
}
