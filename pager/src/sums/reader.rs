//! Sums as they stand in a file, read in order and without a change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use super::cache::position;
use super::{
    BLOCK_BYTES, BLOCK_PAGES, Block, Header, Identity, PageSum, SUMS_SUFFIX, SUMS_VERSION,
    read_header,
};
use crate::directory::Directory;
use crate::error::Error;

/// The sums of a database file, for somebody who goes through all of them.
#[derive(Debug)]
pub(crate) struct SumsReader {
    path: PathBuf,
    file: Arc<dyn BackendFile>,
    /// Bytes of a page; `None` when the header is damaged.
    page_size: Option<u32>,
    /// The block that was read last, and whether it was what was written.
    block: Option<(u32, Option<Block>)>,
    /// Blocks that there are.
    blocks: u32,
}

impl SumsReader {
    /// Opens the sums beside the database file `name`; `None` when there are none, or they were never written.
    pub(crate) fn open(directory: &Directory, name: &str) -> Result<Option<SumsReader>, Error> {
        let name = format!("{name}{SUMS_SUFFIX}");
        let path = directory.path_of(&name);
        let Some(file) = directory.open(&name, false)? else {
            return Ok(None);
        };
        let page_size = match read_header(&file, &path)? {
            Header::Blank => return Ok(None),
            Header::Good(page_size) => Some(page_size),
            Header::Damaged => None,
        };
        let len = file.len().map_err(|e| Error::io("measure", &path, e))?;
        let blocks = len.div_ceil(BLOCK_BYTES as u64).saturating_sub(1);
        Ok(Some(SumsReader {
            path,
            file,
            page_size,
            block: None,
            blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        }))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Bytes of a page; `None` when the header is damaged.
    pub(crate) fn page_size(&self) -> Option<u32> {
        self.page_size
    }

    /// Takes the page size from elsewhere, because the header does not say it any more.
    pub(crate) fn assume_page_size(&mut self, page_size: u32) {
        self.page_size.get_or_insert(page_size);
    }

    /// Pages that the file has room for.
    pub(crate) fn pages(&self) -> u32 {
        self.blocks.saturating_mul(BLOCK_PAGES)
    }

    /// What is known of a page; an error that says where when its block is damaged.
    pub(crate) fn get(&mut self, page_no: u32) -> Result<Result<Option<PageSum>, u64>, Error> {
        let before = page_no.saturating_sub(1);
        let number = before / BLOCK_PAGES;
        if self.block.as_ref().is_none_or(|(read, _)| *read != number) {
            let block = self
                .read(number)
                .map_err(|e| Error::io("read", &self.path, e))?;
            self.block = Some((number, block));
        }
        Ok(match &self.block {
            Some((_, Some(block))) => Ok(block.get(before % BLOCK_PAGES)),
            _ => Err(position(number.into())),
        })
    }

    fn read(&self, number: u32) -> io::Result<Option<Block>> {
        if number >= self.blocks {
            return Ok(Some(Block::EMPTY));
        }
        let mut bytes = [0; BLOCK_BYTES];
        self.file.read_at(position(number.into()), &mut bytes)?;
        let identity = Identity {
            version: SUMS_VERSION,
            page_size: self.page_size.unwrap_or_default(),
            number,
        };
        Ok(Block::decode(identity, &bytes))
    }
}
