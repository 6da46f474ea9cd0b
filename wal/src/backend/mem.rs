//! Files in memory: what tests and simulations without faults stand on.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendFile};

/// A directory in memory. Clones share it, so that a test can drop what it opened and open it again.
#[derive(Debug, Clone, Default)]
pub struct MemBackend {
    files: Arc<Mutex<BTreeMap<String, Arc<MemFile>>>>,
}

impl MemBackend {
    /// An empty directory.
    #[must_use]
    pub fn new() -> MemBackend {
        MemBackend::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name:?}"))
}

impl Backend for MemBackend {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        let mut files = self.files();
        if let Some(file) = files.get(name) {
            return Ok(Arc::clone(file) as Arc<dyn BackendFile>);
        }
        if !create {
            return Err(not_found(name));
        }
        let file = Arc::new(MemFile::default());
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(|| not_found(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files()
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| not_found(name))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct MemFile {
    bytes: Mutex<Vec<u8>>,
}

impl MemFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackendFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(read_from(&self.bytes(), offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        write_into(&mut self.bytes(), offset, buf)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(memory_len(len)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file length as a length in memory.
pub(super) fn memory_len(len: u64) -> io::Result<usize> {
    usize::try_from(len)
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "file too large for memory"))
}

/// Copies from `bytes` at `offset` into `buf` as far as there are bytes, and returns how many.
pub(super) fn read_from(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let available = bytes.get(start..).unwrap_or_default();
    let len = available.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..len), available.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// Writes `buf` into `bytes` at `offset`, growing it with zeros.
pub(super) fn write_into(bytes: &mut Vec<u8>, offset: u64, buf: &[u8]) -> io::Result<()> {
    let end = memory_len(offset.saturating_add(buf.len() as u64))?;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(target) = bytes.get_mut(end - buf.len()..end) {
        target.copy_from_slice(buf);
    }
    Ok(())
}
