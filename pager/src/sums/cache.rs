//! The blocks of a sums file that are in memory, and how they get there and back.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ferrolite_wal::backend::BackendFile;

use super::{
    BLOCK_BYTES, BLOCK_PAGES, Block, Header, Identity, PageSum, SUMS_VERSION, header, read_header,
};
use crate::directory::Directory;
use crate::error::Error;

/// Most blocks of one file that are kept in memory.
pub const MAX_BLOCKS: usize = 8192;
/// Most blocks that one write carries.
const RUN_BLOCKS: usize = 512;

/// The sums of one database file. The caller sees to it that two threads do not change one page at one time.
#[derive(Debug)]
pub(crate) struct Sums {
    path: PathBuf,
    file: Arc<dyn BackendFile>,
    page_size: u32,
    blocks: HashMap<u32, Block>,
    /// Blocks that differ from the file; all of them are in `blocks`.
    dirty: BTreeSet<u32>,
    /// Blocks, and header, that were found damaged.
    damaged: BTreeSet<u32>,
    header_damaged: bool,
    /// Blocks that the file has room for.
    in_file: u64,
    /// Whether something was written since [`take_unsynced`](Self::take_unsynced).
    unsynced: bool,
    most_blocks: usize,
}

/// Block of a page, and its slot there.
fn place(page_no: u32) -> (u32, u32) {
    let before = page_no.saturating_sub(1);
    (before / BLOCK_PAGES, before % BLOCK_PAGES)
}

/// Where block `number` begins in the file, behind the header.
pub(super) fn position(number: u64) -> u64 {
    (number + 1) * BLOCK_BYTES as u64
}

impl Sums {
    /// Opens the file `name` of `directory`, and makes it if it is not there; then the caller makes the name durable.
    /// With `anew` nothing that is in it counts.
    pub(crate) fn open(
        directory: &Directory,
        name: &str,
        page_size: u32,
        anew: bool,
    ) -> Result<Sums, Error> {
        let path = directory.path_of(name);
        let file = directory.create(name)?;
        let failed = |e| Error::io("write", &path, e);
        if anew && file.len().map_err(failed)? > 0 {
            file.set_len(0).map_err(failed)?;
        }
        let found = read_header(&file, &path)?;
        if let Header::Good(other) = found
            && other != page_size
        {
            return Err(Error::damaged(&path, "it is of pages of another size"));
        }
        if !matches!(found, Header::Good(_)) {
            file.write_at(0, &header(page_size)).map_err(failed)?;
        }
        let len = file.len().map_err(failed)?;
        Ok(Sums {
            path,
            file,
            page_size,
            blocks: HashMap::new(),
            dirty: BTreeSet::new(),
            damaged: BTreeSet::new(),
            header_damaged: found == Header::Damaged,
            in_file: len.div_ceil(BLOCK_BYTES as u64).saturating_sub(1),
            unsynced: !matches!(found, Header::Good(_)),
            most_blocks: MAX_BLOCKS,
        })
    }

    fn identity(&self, number: u32) -> Identity {
        Identity {
            version: SUMS_VERSION,
            page_size: self.page_size,
            number,
        }
    }

    /// What is known of a page, if its block is in memory.
    pub(crate) fn cached(&self, page_no: u32) -> Option<Option<PageSum>> {
        let (number, slot) = place(page_no);
        self.blocks.get(&number).map(|block| block.get(slot))
    }

    /// What is known of a page.
    pub(crate) fn get(&mut self, page_no: u32) -> io::Result<Option<PageSum>> {
        self.shrink()?;
        let (number, slot) = place(page_no);
        Ok(self.load(number)?.get(slot))
    }

    /// Says what is known of a page from now on. An error leaves it said, unless the block could not be read.
    pub(crate) fn set(&mut self, page_no: u32, entry: Option<PageSum>) -> io::Result<()> {
        let (number, slot) = place(page_no);
        let block = self.load(number)?;
        if block.get(slot) != entry {
            block.set(slot, entry);
            self.dirty.insert(number);
        }
        self.shrink()
    }

    /// Forgets all pages after the first `pages`.
    pub(crate) fn cut(&mut self, pages: u32) -> io::Result<()> {
        self.shrink()?;
        let (number, slot) = (pages / BLOCK_PAGES, pages % BLOCK_PAGES);
        let mut first_gone = number;
        if slot > 0 {
            first_gone += 1;
            if self.load(number)?.cut(slot) {
                self.dirty.insert(number);
            }
        }
        self.blocks.retain(|number, _| *number < first_gone);
        self.dirty.split_off(&first_gone);
        self.damaged.split_off(&first_gone);
        let keep = u64::from(first_gone);
        if self.in_file > keep {
            self.file
                .set_len(position(keep))
                .map_err(|e| self.named("truncate", &e))?;
            self.in_file = keep;
            self.unsynced = true;
        }
        Ok(())
    }

    /// The last page that something is known of; 0 for none.
    pub(crate) fn known_pages(&mut self) -> io::Result<u32> {
        let in_memory = self.dirty.last().map_or(0, |last| u64::from(*last) + 1);
        let mut blocks = self.in_file.max(in_memory);
        while let Some(number) = blocks.checked_sub(1).and_then(|n| u32::try_from(n).ok()) {
            self.shrink()?;
            if let Some(slot) = self.load(number)?.last() {
                let before = number.saturating_mul(BLOCK_PAGES);
                return Ok(before.saturating_add(slot + 1));
            }
            blocks -= 1;
        }
        Ok(0)
    }

    /// Writes all blocks that changed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.dirty.first().copied() {
            let mut run = Vec::new();
            let mut next = first;
            for number in &self.dirty {
                if *number != next || run.len() >= RUN_BLOCKS * BLOCK_BYTES {
                    break;
                }
                let block = self.blocks.get(number).unwrap_or(&Block::EMPTY);
                run.extend_from_slice(&block.encode(self.identity(*number)));
                next += 1;
            }
            self.unsynced = true;
            self.file
                .write_at(position(first.into()), &run)
                .map_err(|e| self.named("write", &e))?;
            self.in_file = self.in_file.max(next.into());
            self.dirty = self.dirty.split_off(&next);
        }
        Ok(())
    }

    /// The file, if something was written to it that no sync of this answer's caller has covered yet.
    pub(crate) fn take_unsynced(&mut self) -> Option<Arc<dyn BackendFile>> {
        std::mem::take(&mut self.unsynced).then(|| Arc::clone(&self.file))
    }

    /// Where the sectors begin that were found not to be what was written.
    pub(crate) fn damaged_sectors(&self) -> Vec<u64> {
        let header = self.header_damaged.then_some(0);
        let blocks = self.damaged.iter().map(|number| position((*number).into()));
        header.into_iter().chain(blocks).collect()
    }

    fn load(&mut self, number: u32) -> io::Result<&mut Block> {
        if !self.blocks.contains_key(&number) {
            let mut block = Block::EMPTY;
            if u64::from(number) < self.in_file {
                let mut bytes = [0; BLOCK_BYTES];
                self.file
                    .read_at(position(number.into()), &mut bytes)
                    .map_err(|e| self.named("read", &e))?;
                match Block::decode(self.identity(number), &bytes) {
                    Some(found) => block = found,
                    None => {
                        self.damaged.insert(number);
                    }
                }
            }
            self.blocks.insert(number, block);
        }
        Ok(self.blocks.entry(number).or_insert(Block::EMPTY))
    }

    /// Makes room in memory once there are too many blocks.
    fn shrink(&mut self) -> io::Result<()> {
        if self.blocks.len() < self.most_blocks {
            return Ok(());
        }
        if self.dirty.len() > self.most_blocks / 2 {
            self.flush()?;
        }
        let dirty = &self.dirty;
        self.blocks.retain(|number, _| dirty.contains(number));
        Ok(())
    }

    fn named(&self, operation: &str, error: &io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!("cannot {operation} {}: {error}", self.path.display()),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::path::Path;

    use ferrolite_wal::backend::MemBackend;
    use proptest::prelude::*;

    use super::*;

    fn entry(n: u32) -> PageSum {
        PageSum {
            sum: n,
            index: u64::from(n) << 32,
            adopted: n.is_multiple_of(3),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u32, u32),
        Forget(u32),
        Get(u32),
        Cut(u32),
        Flush,
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        let page = 1..1000_u32;
        prop_oneof![
            8 => (page.clone(), any::<u32>()).prop_map(|(page, n)| Step::Set(page, n)),
            1 => page.clone().prop_map(Step::Forget),
            4 => page.clone().prop_map(Step::Get),
            1 => (0..1000_u32).prop_map(Step::Cut),
            1 => Just(Step::Flush),
            1 => Just(Step::Reopen),
        ]
    }

    proptest! {
        /// Whatever happens to them, and however few blocks are in memory, the sums are those of a plain map.
        #[test]
        fn equal_a_map(steps in prop::collection::vec(step(), 0..120), most in 1..6_usize) {
            let directory = Directory::on(Arc::new(MemBackend::new()), Path::new("d"));
            let open = || {
                let mut sums = Sums::open(&directory, "s", 512, false).unwrap();
                sums.most_blocks = most;
                sums
            };
            let mut sums = open();
            let mut twin = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(page, n) => {
                        sums.set(page, Some(entry(n))).unwrap();
                        twin.insert(page, entry(n));
                    }
                    Step::Forget(page) => {
                        sums.set(page, None).unwrap();
                        twin.remove(&page);
                    }
                    Step::Get(page) => {
                        prop_assert_eq!(sums.get(page).unwrap(), twin.get(&page).copied());
                        prop_assert_eq!(sums.cached(page), Some(twin.get(&page).copied()));
                    }
                    Step::Cut(pages) => {
                        sums.cut(pages).unwrap();
                        twin.retain(|page, _| *page <= pages);
                    }
                    Step::Flush => sums.flush().unwrap(),
                    Step::Reopen => {
                        sums.flush().unwrap();
                        sums = open();
                    }
                }
                prop_assert!(sums.blocks.len() <= most + 1);
                prop_assert_eq!(sums.damaged_sectors(), Vec::<u64>::new());
            }
            for page in 1..1000 {
                prop_assert_eq!(sums.get(page).unwrap(), twin.get(&page).copied());
            }
        }
    }
}
