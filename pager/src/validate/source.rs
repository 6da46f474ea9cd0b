//! Where the bytes come from.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use crate::directory::RealFile;
use crate::error::Error;
use crate::page_file::PageFile;

/// Bytes that can be validated: a path, a [`PageFile`], or a slice.
pub trait Source: sealed::Open {}

impl<T: sealed::Open + ?Sized> Source for T {}

/// Bytes that are open for reading.
#[derive(Debug)]
pub struct Opened<'a> {
    bytes: Bytes<'a>,
    /// Name for messages.
    path: PathBuf,
}

#[derive(Debug)]
enum Bytes<'a> {
    File(RealFile),
    PageFile(&'a PageFile),
    Open(&'a dyn BackendFile),
    Slice(&'a [u8]),
}

impl Opened<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> Result<u64, Error> {
        let result = match &self.bytes {
            Bytes::File(file) => file.len(),
            Bytes::PageFile(file) => file.len(),
            Bytes::Open(file) => file.len(),
            Bytes::Slice(bytes) => Ok(bytes.len() as u64),
        };
        result.map_err(|e| Error::io("measure", &self.path, e))
    }

    /// Reads at `position` until `buf` is full or the bytes end, and returns how many were read.
    pub(super) fn read_at(&self, position: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let result = match &self.bytes {
            Bytes::File(file) => file.read_at(position, buf),
            Bytes::PageFile(file) => file.read_at(position, buf),
            Bytes::Open(file) => file.read_at(position, buf),
            Bytes::Slice(bytes) => {
                let rest = usize::try_from(position)
                    .ok()
                    .and_then(|position| bytes.get(position..));
                let rest = rest.unwrap_or_default();
                let len = rest.len().min(buf.len());
                if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
                    to.copy_from_slice(from);
                }
                Ok(len)
            }
        };
        result.map_err(|e| Error::io("read", &self.path, e))
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::NotADatabase {
            path: self.path.display().to_string(),
            reason: reason.into(),
        }
    }
}

/// A file that is open already.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub file: Arc<dyn BackendFile>,
    /// Name for messages.
    pub path: PathBuf,
}

impl OpenFile {
    pub(crate) fn len(&self) -> Result<u64, Error> {
        sealed::Open::open(self)?.len()
    }
}

impl sealed::Open for OpenFile {
    fn open(&self) -> Result<Opened<'_>, Error> {
        Ok(Opened {
            bytes: Bytes::Open(self.file.as_ref()),
            path: self.path.clone(),
        })
    }
}

mod sealed {
    use super::Opened;
    use crate::error::Error;

    pub trait Open {
        fn open(&self) -> Result<Opened<'_>, Error>;
    }
}

impl sealed::Open for Path {
    fn open(&self) -> Result<Opened<'_>, Error> {
        let file = File::open(self).map_err(|e| Error::io("open", self, e))?;
        Ok(Opened {
            bytes: Bytes::File(RealFile(file)),
            path: self.to_path_buf(),
        })
    }
}

impl sealed::Open for PathBuf {
    fn open(&self) -> Result<Opened<'_>, Error> {
        sealed::Open::open(self.as_path())
    }
}

impl sealed::Open for PageFile {
    fn open(&self) -> Result<Opened<'_>, Error> {
        Ok(Opened {
            bytes: Bytes::PageFile(self),
            path: self.path().to_path_buf(),
        })
    }
}

impl sealed::Open for Arc<PageFile> {
    fn open(&self) -> Result<Opened<'_>, Error> {
        sealed::Open::open(self.as_ref())
    }
}

impl sealed::Open for [u8] {
    fn open(&self) -> Result<Opened<'_>, Error> {
        Ok(Opened {
            bytes: Bytes::Slice(self),
            path: PathBuf::from("(bytes)"),
        })
    }
}
