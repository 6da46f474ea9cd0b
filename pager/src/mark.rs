//! How far the log has been carried into the database files.
//!
//! A checkpoint copies committed pages from the log to the files, and a crash may stop it anywhere, with some pages
//! new and some old. Two log indexes make that harmless. `done`: everything up to it is in the files, durably.
//! `target`: nothing after it has been written to them. Between the two, nobody knows; after a crash the entries
//! `done + 1 ..= target` are written again, all of them, before the files are used: pages are whole images, so writing
//! them twice is the same as once, and a database's pages then are those of `target` exactly.
//!
//! ```text
//! begin(target)           durable: from here, files may hold pages up to `target`
//!   write_transaction(…) for every entry up to it, then PageFile::sync of every file written
//! finish(target)          durable: from here, the log may drop entries up to `target`
//! ```
//!
//! A mark that is opened with the two apart is *interrupted*: until the entries between them have been written again, a
//! page may be torn, and that it differs from its [sum](crate::sums) proves nothing.
//!
//! Neither index ever goes back, except by [`install`](CheckpointMark::install), which is for files that came from
//! another node. The value stands in a slot file, so a torn write leaves the one before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ferrolite_wal::backend::Backend;
use ferrolite_wal::{SlotFile, SlotKind};

use crate::bytes::Reader;
use crate::error::Error;

/// The slot file of the mark.
const KIND: SlotKind = SlotKind {
    name: "checkpoint",
    magic: *b"FERRCKPT",
    // The value is that of version 1. The files have sums since version 2, and a program that does not know them would
    // leave them wrong.
    version: 2,
};

/// The durable mark of a node's checkpoints. See the [module](self).
#[derive(Debug)]
pub struct CheckpointMark {
    slots: SlotFile,
    /// What the slot file holds. Held while it is written, so that two callers never cross.
    value: Mutex<Value>,
    /// The target of a checkpoint that the process before this one may not have finished; 0 once that was made good.
    interrupted: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    /// Entries up to this index are in the files.
    done: u64,
    /// Entries after this index are not; never below `done`.
    target: u64,
}

impl Value {
    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (done, target) = bytes.split_at_mut(8);
        done.copy_from_slice(&self.done.to_le_bytes());
        target.copy_from_slice(&self.target.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Value> {
        let mut reader = Reader::new(bytes);
        let value = Value {
            done: reader.u64()?,
            target: reader.u64()?,
        };
        (reader.is_empty() && value.done <= value.target).then_some(value)
    }
}

fn nonsense() -> Error {
    Error::Damaged {
        path: KIND.name.to_owned(),
        reason: "the indexes in it make no sense",
    }
}

impl CheckpointMark {
    /// Opens the file `checkpoint` of `backend`, and makes it, with both indexes 0, if it is not there.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no copy of the mark is left, [`Error::Wal`] for a newer format and for what the
    /// backend answered.
    pub fn open(backend: &dyn Backend) -> Result<CheckpointMark, Error> {
        let (slots, value) = match SlotFile::open(backend, KIND)? {
            Some((slots, payload)) => {
                let value = Value::decode(&payload).ok_or_else(nonsense)?;
                (slots, value)
            }
            None => {
                let value = Value { done: 0, target: 0 };
                (SlotFile::create(backend, KIND, &value.encode())?, value)
            }
        };
        let interrupted = if value.done < value.target {
            value.target
        } else {
            0
        };
        Ok(CheckpointMark {
            slots,
            value: Mutex::new(value),
            interrupted: AtomicU64::new(interrupted),
        })
    }

    /// `done` and `target` as they stand in `backend`, where nothing is changed; `None` where there is no mark.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn peek(backend: &dyn Backend) -> Result<Option<(u64, u64)>, Error> {
        let Some((_, payload)) = SlotFile::open(backend, KIND)? else {
            return Ok(None);
        };
        let value = Value::decode(&payload).ok_or_else(nonsense)?;
        Ok(Some((value.done, value.target)))
    }

    /// The log index up to which every committed entry is in the files, durably.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.value
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .done
    }

    /// The log index after which no entry has been written to the files. Never below [`done`](Self::done).
    #[must_use]
    pub fn target(&self) -> u64 {
        self.value
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .target
    }

    /// Whether pages may still be torn by a crash of the process before this one: its checkpoint was not
    /// [finished](Self::finish) up to its target, nor [repeated](Self::settle).
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire) != 0
    }

    /// Says that the entries up to the target, as it was when the mark was opened, have been written to the files again.
    /// Needed only where [`finish`](Self::finish) cannot say it, because a transaction began before the target and goes on
    /// behind it.
    pub fn settle(&self) {
        self.interrupted.store(0, Ordering::Release);
    }

    /// Says that the entries up to `through` have been written to the files again: [`settle`](Self::settle), if the target was
    /// not beyond that.
    pub fn settle_through(&self, through: u64) {
        if through >= self.interrupted.load(Ordering::Acquire) {
            self.settle();
        }
    }

    /// Says that entries up to `target` may be written to the files from now on; durable on return. A `target` below
    /// the one that stands changes nothing.
    ///
    /// # Errors
    /// [`Error::Wal`] when the mark cannot be written; then, and ever after, nothing may be written to the files.
    pub fn begin(&self, target: u64) -> Result<(), Error> {
        self.update(|value| Value {
            target: value.target.max(target),
            ..value
        })
    }

    /// Says that all entries up to `done` are in the files, and the files synced; durable on return. A `done` below the
    /// one that stands changes nothing; one above the target raises the target too.
    ///
    /// # Errors
    /// [`Error::Wal`] when the mark cannot be written; then the log must keep the entries.
    pub fn finish(&self, done: u64) -> Result<(), Error> {
        self.update(|value| {
            let done = value.done.max(done);
            Value {
                done,
                target: value.target.max(done),
            }
        })
    }

    /// Sets both indexes, down too, for files that came from another node; durable on return. With a `target` above
    /// `done` the mark is [interrupted](Self::is_interrupted) from then on: whoever had the files open has forgotten what
    /// it had not written.
    ///
    /// # Errors
    /// [`Error::Refused`] when `done` is above `target`; [`Error::Wal`] when the mark cannot be written.
    pub fn install(&self, done: u64, target: u64) -> Result<(), Error> {
        if done > target {
            return Err(Error::Refused {
                reason: "a checkpoint is done beyond its target",
            });
        }
        self.update(|_| Value { done, target })?;
        if done < target {
            self.interrupted.store(target, Ordering::Release);
        }
        Ok(())
    }

    fn update(&self, change: impl FnOnce(Value) -> Value) -> Result<(), Error> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change(*value);
        if next != *value {
            self.slots.save(&next.encode())?;
            *value = next;
        }
        if next.done >= self.interrupted.load(Ordering::Acquire) {
            self.settle();
        }
        Ok(())
    }
}
