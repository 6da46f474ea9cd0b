//! A node without a cluster: a log as a list, and the databases that a checkpoint makes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::snapshot::{discard_in, pending_install_in};
use ferrolite_pager::{
    CheckpointMark, Directory, Error, PageFile, database_name, file_name, write_transaction_at,
};
use ferrolite_wal::backend::{Backend, FaultBackend};

pub const PAGE: usize = 512;

/// A committed transaction: pages by number and content, and the size of the database after it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub database: String,
    pub pages: Vec<(u32, u8)>,
    pub size: u32,
}

/// Name and bytes of all databases that have a page.
pub type Content = BTreeMap<String, Vec<u8>>;

/// What the first `index` entries make.
pub fn truth(log: &[Entry], index: u64) -> Content {
    let mut content = Content::new();
    for entry in &log[..index as usize] {
        let bytes = content.entry(entry.database.clone()).or_default();
        bytes.resize(entry.size as usize * PAGE, 0);
        for (page_no, byte) in entry.pages.iter().filter(|(no, _)| *no <= entry.size) {
            bytes[(*page_no as usize - 1) * PAGE..*page_no as usize * PAGE].fill(*byte);
        }
    }
    content
}

pub struct Node {
    pub mark: Arc<CheckpointMark>,
    pub databases: Directory,
    pub incoming: Directory,
    files: BTreeMap<String, Arc<PageFile>>,
}

/// What a snapshot stands for, as the caller's own bytes: its index, and up to where its pages may be newer.
pub fn meta(index: u64, newest: u64) -> Vec<u8> {
    [index.to_le_bytes(), newest.to_le_bytes()].concat()
}

impl Node {
    /// Starts on a disk, as a node does: a snapshot that was decided on is installed, one that was not is thrown away, and
    /// an interrupted checkpoint is repeated.
    pub fn start(disk: &FaultBackend, log: &[Entry]) -> Result<Node, Error> {
        let mark = Arc::new(CheckpointMark::open(disk)?);
        let databases = Directory::on(
            Arc::new(disk.directory("databases")),
            Path::new("databases"),
        );
        let incoming = databases.subdirectory("incoming");
        let mut node = Node {
            mark,
            databases,
            incoming,
            files: BTreeMap::new(),
        };
        if !node.install()? {
            discard_in(&node.incoming)?;
        }
        let target = node.mark.target();
        if node.mark.done() < target {
            // What a crash left is not called rot, before it is set right.
            for (_, file) in node.files()? {
                for page_no in 1..=file.pages()? {
                    file.read_page(page_no)?;
                }
            }
            node.checkpoint(log, target)?;
        }
        Ok(node)
    }

    /// Installs a snapshot, if one waits.
    pub fn install(&mut self) -> Result<bool, Error> {
        let Some(install) = pending_install_in(&self.incoming)? else {
            return Ok(false);
        };
        let number = |at: usize| u64::from_le_bytes(*install.meta()[at..].first_chunk().unwrap());
        let (index, mut newest) = (number(0), number(8));
        if install.base() > 0 {
            newest = newest.max(self.mark.target());
        }
        self.files.clear();
        install.apply_in(&self.databases)?;
        self.mark.install(index, newest.max(index))?;
        install.clear()?;
        Ok(true)
    }

    pub fn file(&mut self, database: &str) -> Result<Arc<PageFile>, Error> {
        if let Some(file) = self.files.get(database) {
            return Ok(Arc::clone(file));
        }
        let name = file_name(database)?;
        let mark = Arc::clone(&self.mark);
        let file = PageFile::open_checked_in(&self.databases, &name, PAGE as u32, mark)?;
        let file = Arc::new(file);
        self.files.insert(database.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// Writes entries to the files, without a sync.
    pub fn write(&mut self, log: &[Entry], from: u64, to: u64) -> Result<(), Error> {
        self.mark.begin(to)?;
        for index in from..=to {
            let entry = &log[index as usize - 1];
            let file = self.file(&entry.database)?;
            let images: Vec<_> = entry
                .pages
                .iter()
                .map(|(page_no, byte)| (*page_no, [*byte; PAGE]))
                .collect();
            let images = images.iter().map(|(page_no, image)| (*page_no, &image[..]));
            write_transaction_at(&file, PAGE as u32, images, entry.size, index)
                .map_err(|e| Error::io("write", file.path(), e))?;
        }
        Ok(())
    }

    /// Carries all entries up to `to` into the files.
    pub fn checkpoint(&mut self, log: &[Entry], to: u64) -> Result<(), Error> {
        self.write(log, self.mark.done() + 1, to)?;
        for file in self.files.values() {
            file.sync().map_err(|e| Error::io("sync", file.path(), e))?;
        }
        self.mark.finish(to)
    }

    /// All databases, opened with their sums.
    pub fn files(&mut self) -> Result<Vec<(String, Arc<PageFile>)>, Error> {
        let names = self.names();
        names
            .into_iter()
            .map(|name| self.file(&name).map(|file| (name, file)))
            .collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .listing()
            .iter()
            .filter_map(|name| database_name(name))
            .collect();
        names.sort();
        names
    }

    /// Names of all that is in the directory of the databases.
    pub fn listing(&self) -> Vec<String> {
        self.databases.names().unwrap()
    }

    /// What the databases hold, every page of them compared with its sum; or which page is rotten.
    pub fn content(&mut self) -> Result<Content, Error> {
        let mut content = Content::new();
        for (name, file) in self.files()? {
            let mut bytes = Vec::new();
            for page_no in 1..=file.pages()? {
                bytes.extend(file.read_page(page_no)?.bytes);
            }
            assert_eq!(bytes.len() as u64, file.len().unwrap());
            if !bytes.is_empty() {
                content.insert(name, bytes);
            }
        }
        Ok(content)
    }
}

/// A disk that a node was never on.
pub fn disk() -> FaultBackend {
    let disk = FaultBackend::new();
    disk.sync().unwrap();
    disk
}
