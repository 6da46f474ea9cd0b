//! A file on such a disk.

use std::io;
use std::sync::Arc;

use super::super::BackendFile;
use super::super::mem::{memory_len, read_from, write_into};
use super::{Change, FaultKind, Inode, Operation, Shared, stopped};

#[derive(Debug)]
pub(super) struct FaultFile {
    pub(super) disk: Arc<Shared>,
    pub(super) file: usize,
    pub(super) life: u64,
}

impl FaultFile {
    /// Begins an operation and runs it on the file.
    fn run<T>(
        &self,
        operation: Operation,
        body: impl FnOnce(&mut Inode, Option<FaultKind>, Option<u64>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut disk, fault) = self.disk.begin(operation, Some(self.life))?;
        // At the operation where the machine stops, the write has begun and its caller never learns how it went.
        let stops = disk.stop_after.is_some_and(|limit| disk.changes > limit);
        let room = disk
            .capacity
            .map(|capacity| capacity.saturating_sub(disk.used()));
        let file = disk.files.get_mut(self.file).ok_or_else(stopped)?;
        let result = body(file, fault, room);
        if stops && operation != Operation::Read {
            Err(stopped())
        } else {
            result
        }
    }
}

/// Whether the file may grow to `end`.
fn check_room(file: &Inode, end: u64, room: Option<u64>) -> io::Result<()> {
    let growth = end.saturating_sub(file.seen.len() as u64);
    if room.is_some_and(|room| growth > room) {
        Err(io::ErrorKind::StorageFull.into())
    } else {
        Ok(())
    }
}

impl BackendFile for FaultFile {
    fn len(&self) -> io::Result<u64> {
        self.run(Operation::Read, |file, _, _| Ok(file.seen.len() as u64))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.run(Operation::Read, |file, fault, _| {
            let wanted = if fault == Some(FaultKind::Half) {
                buf.len() / 2
            } else {
                buf.len()
            };
            Ok(read_from(
                &file.seen,
                offset,
                buf.get_mut(..wanted).unwrap_or_default(),
            ))
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.run(Operation::Write, |file, fault, room| {
            let (offset, bytes) = match fault {
                Some(FaultKind::Lost) => {
                    return write_into(Arc::make_mut(&mut file.seen), offset, buf);
                }
                Some(FaultKind::Half | FaultKind::HalfFails(_)) => {
                    (offset, buf.get(..buf.len() / 2).unwrap_or_default())
                }
                Some(FaultKind::Misdirected(by)) => (offset.saturating_add(by), buf),
                _ => (offset, buf),
            };
            check_room(file, offset.saturating_add(bytes.len() as u64), room)?;
            write_into(Arc::make_mut(&mut file.seen), offset, bytes)?;
            file.unsynced.push(Change::Write {
                offset,
                bytes: bytes.to_vec(),
            });
            match fault {
                Some(FaultKind::Half) => Err(io::Error::other("half of it was written")),
                Some(FaultKind::HalfFails(error)) => Err(error.into()),
                _ => Ok(()),
            }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(Operation::SetLen, |file, _, room| {
            check_room(file, len, room)?;
            Arc::make_mut(&mut file.seen).resize(memory_len(len)?, 0);
            file.unsynced.push(Change::SetLen(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.run(Operation::Sync, |file, fault, _| match fault {
            Some(FaultKind::Fails(error)) => {
                // The system gives up on what it could not write and calls it clean.
                file.unsynced.clear();
                Err(error.into())
            }
            Some(FaultKind::Lost) => Ok(()),
            _ => {
                // What is known to be unwritten is written: not what an earlier, failed sync gave up on.
                for change in std::mem::take(&mut file.unsynced) {
                    match change {
                        Change::Write { offset, bytes } => {
                            write_into(Arc::make_mut(&mut file.durable), offset, &bytes)?
                        }
                        Change::SetLen(len) => {
                            Arc::make_mut(&mut file.durable).resize(memory_len(len)?, 0);
                        }
                    }
                }
                Ok(())
            }
        })
    }
}
