//! Everything that a node keeps on disk, opened and checked.
//!
//! ```text
//! DIR/            lock, identity (node, incarnation), hard state (term, vote, cluster), checkpoint mark
//! DIR/log/        the log's segments
//! DIR/databases/  one ordinary SQLite file a database
//! DIR/incoming/   a snapshot that is being received
//! DIR/spill/      pages of transactions under way, of files that have no names any more
//! DIR/imports/    databases that clients are importing; worth nothing after a crash
//! ```
//!
//! # What is where
//!
//! The checkpoint mark says `done`: the database files hold everything up to that log index. Everything
//! after it is in the log. While a checkpoint runs, the files may already hold pages up to the mark's
//! `target`; those entries are committed, and writing their pages again changes nothing. So a start brings
//! the files to one state by writing the pages of the entries from `done` to `target` once more, and goes on
//! from there like any follower.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ferrolite_consensus as consensus;
use ferrolite_consensus::{
    Configuration, Entry, EntryKind, HardState, Member, Position, Recovered, Role,
};
use ferrolite_pager::{CheckpointMark, Directory, PageFile};
use ferrolite_sql::Database;
use ferrolite_wal::backend::{Backend, BackendFile, DirBackend};
use ferrolite_wal::frames::TransactionId;
use ferrolite_wal::slot::{SlotFile, SlotKind};
use ferrolite_wal::view::WalView;
use ferrolite_wal::{Log, LogOptions, Record};

use crate::anchors::Known;
use crate::environment::{Engine, Environment, Random, Workers};
use crate::error::Error;
use crate::images::Images;
use crate::membership;
use crate::options::Options;
use crate::pages::{LogPages, TransactionIds};
use crate::room::Room;
use crate::snapshot::Install;

pub(crate) const IDENTITY: SlotKind = SlotKind {
    name: "identity",
    magic: *b"FRLT-id\0",
    version: 1,
};
pub(crate) const HARD_STATE: SlotKind = SlotKind {
    name: "hard-state",
    magic: *b"FRLT-hs\0",
    version: 1,
};
/// Where in the data directory the log is.
pub(crate) const LOG_DIRECTORY: &str = "log";
const SPILL_DIRECTORY: &str = "spill";
const IMPORTS_DIRECTORY: &str = "imports";
/// Pages that are not in the log yet take so much memory for each database; what is more is spilled.
const VIEW_MEMORY_BYTES: u64 = 4 << 20;
/// How much of the log is read at once when it is scanned.
const SCAN_BYTES: usize = 4 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: Arc<Log>,
    pub(crate) mark: Arc<CheckpointMark>,
    /// Pages that went into the log a moment ago, on the node that leads.
    pub(crate) images: Arc<Images>,
    pub(crate) known_anchor: Mutex<Known>,
    pub(crate) databases: Directory,
    pub(crate) incoming: Directory,
    imports: PathBuf,
    /// Numbers for the names of files that do not outlive the process.
    next_file: AtomicU64,
    /// Where large transactions go that do not fit into memory.
    spill: Arc<dyn Backend>,
    pub(crate) page_size: u32,
    pub(crate) room: Room,
    incarnation: u64,
    hard_state: SlotFile,
    files: Mutex<BTreeMap<String, Arc<PageFile>>>,
    /// Files that were written to since they were synced.
    unsynced: Mutex<BTreeMap<String, Arc<PageFile>>>,
    /// How far the database files of other nodes are at least, as they said when they connected.
    peers_done: Mutex<BTreeMap<u64, u64>>,
    /// The files came with a snapshot and were not looked at since; they can be once they hold everything up to there.
    unexamined: Mutex<Option<u64>>,
    ids: TransactionIds,
    process_id: u64,
    max_transaction_bytes: u64,
    /// Readers whose snapshots keep more log than this are ended.
    pub(crate) reader_log_bytes: u64,
    /// Holds the lock on the directory for as long as the store lives.
    root: Arc<dyn Backend>,
    random: Arc<dyn Random>,
    engine: Option<Engine>,
    pub(crate) workers: Workers,
}

/// What the consensus needs to know about the past.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) recovered: Recovered,
}

impl Past {
    /// Whether the node has never belonged to a cluster.
    pub(crate) fn is_fresh(&self) -> bool {
        self.recovered.hard_state.cluster == 0 && self.recovered.last_index == 0
    }

    pub(crate) fn cluster(&self) -> u128 {
        self.recovered.hard_state.cluster
    }
}

impl Store {
    /// Opens the data directory of node `id`, or makes one.
    pub(crate) fn open(
        directory: &Path,
        id: u64,
        options: &Options,
    ) -> Result<(Self, Past), Error> {
        Self::open_in(Environment::system(directory)?, id, options)
    }

    /// Likewise, where `environment` has it.
    pub(crate) fn open_in(
        environment: Environment,
        id: u64,
        options: &Options,
    ) -> Result<(Self, Past), Error> {
        let Environment {
            disk,
            random,
            engine,
            workers,
            ..
        } = environment;
        let root = disk.root();
        let incarnation = identify(&*root, id, &*random)?;
        let (hard_state, state) = open_hard_state(&*root)?;
        let (log, recovery) = Log::open(
            disk.part(LOG_DIRECTORY)?,
            log_options(options, random.next()?),
        )?;
        if recovery.torn_bytes > 0 {
            log::info!(
                bytes = recovery.torn_bytes;
                "cut off a write to the log that had not finished"
            );
        }
        for damage in &recovery.damaged {
            log::error!(damage:?; "the log is damaged; it will be fetched again from other nodes");
        }
        let process_id = random.next()?;
        let mark = Arc::new(CheckpointMark::open(&*root)?);
        let databases = disk.pages().subdirectory("databases");
        databases.make()?;
        let spill = emptied(disk.part(SPILL_DIRECTORY)?, SPILL_DIRECTORY)?;
        emptied(disk.part(IMPORTS_DIRECTORY)?, IMPORTS_DIRECTORY)?;
        let store = Self {
            log: Arc::new(log),
            mark,
            images: Arc::default(),
            known_anchor: Mutex::default(),
            databases,
            incoming: disk.pages().subdirectory("incoming"),
            imports: disk.path().join(IMPORTS_DIRECTORY),
            next_file: AtomicU64::new(0),
            spill,
            page_size: options.page_size,
            room: Room::new(disk, options.reserve_bytes),
            incarnation,
            hard_state,
            files: Mutex::default(),
            unsynced: Mutex::default(),
            peers_done: Mutex::default(),
            unexamined: Mutex::default(),
            ids: TransactionIds::new(process_id),
            process_id,
            max_transaction_bytes: options.max_transaction_bytes,
            reader_log_bytes: options.reader_log_bytes,
            root,
            random,
            engine,
            workers,
        };
        if let Some(install) = Install::pending(&store)? {
            log::info!("finishing the installation of a snapshot");
            install.put_in_place(&store)?;
            install.finish(&store)?;
        }
        store.redo_interrupted_checkpoint()?;
        // What cannot be used is to be known now, and not when a client asks for it.
        store.open_all()?;
        let past = store.past(state)?;
        Ok((store, past))
    }
}

/// The node whose directory this is, and its incarnation, if it is anyone's.
fn identity(root: &dyn Backend) -> Result<Option<(u64, u64)>, Error> {
    let Some((_, payload)) = SlotFile::open(root, IDENTITY)? else {
        return Ok(None);
    };
    let identity = identity_of(&payload).ok_or_else(|| damaged(IDENTITY.name))?;
    Ok(Some(identity))
}

/// Number and incarnation of a node, as the file [`IDENTITY`] has them.
pub(crate) fn identity_of(payload: &[u8]) -> Option<(u64, u64)> {
    Some((u64_at(payload, 0)?, u64_at(payload, 8)?))
}

/// The node whose data directory this is; `None` if it is no data directory.
pub(crate) fn owner(directory: &Path) -> Result<Option<u64>, Error> {
    // Opening makes what is missing, and nobody who asks wants that.
    if !directory.join(IDENTITY.name).exists() {
        return Ok(None);
    }
    Ok(identity(&DirBackend::open(directory)?)?.map(|(id, _)| id))
}

/// Checks that the directory is node `id`'s, or makes it so; returns its incarnation.
fn identify(root: &dyn Backend, id: u64, random: &dyn Random) -> Result<u64, Error> {
    if let Some((found, incarnation)) = identity(root)? {
        if found != id {
            return Err(ferrolite_wal::Error::WrongNode {
                found,
                expected: id,
            }
            .into());
        }
        return Ok(incarnation);
    }
    let incarnation = random.next()?.max(1);
    let payload = [id.to_le_bytes(), incarnation.to_le_bytes()].concat();
    SlotFile::create(root, IDENTITY, &payload)?;
    Ok(incarnation)
}

fn open_hard_state(root: &dyn Backend) -> Result<(SlotFile, HardState), Error> {
    match SlotFile::open(root, HARD_STATE)? {
        Some((slot, payload)) => {
            let state = HardState::decode(&payload).map_err(|_| damaged(HARD_STATE.name))?;
            // What was read may be in the system's cache only, from a save that the crash cut short. Nothing
            // may be built on it before it is durable.
            slot.save(&payload)?;
            Ok((slot, state))
        }
        None => {
            let state = HardState::default();
            Ok((SlotFile::create(root, HARD_STATE, &state.encode())?, state))
        }
    }
}

/// The log goes segment by segment, so a log that is to stay small has small ones.
fn log_options(options: &Options, salt: u64) -> LogOptions {
    const LEAST: u64 = 64 << 10;
    let mut log = LogOptions::default();
    log.salt = Some(salt);
    let eighth = (options.log_bytes / 8).max(LEAST) / LEAST * LEAST;
    if let Ok(eighth) = u32::try_from(eighth) {
        log.segment_bytes = log.segment_bytes.min(eighth);
    }
    log
}

/// A directory without what a crash has left there.
fn emptied(directory: Arc<dyn Backend>, name: &str) -> Result<Arc<dyn Backend>, Error> {
    let empty = || -> std::io::Result<()> {
        for file in directory.list()? {
            directory.remove(&file)?;
        }
        Ok(())
    };
    empty().map_err(|error| Error::io(format!("emptying the directory {name}"), error))?;
    Ok(directory)
}

fn damaged(file: &str) -> ferrolite_wal::Error {
    ferrolite_wal::Error::Damaged {
        file: file.to_owned(),
        offset: 0,
        index: None,
        term: None,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number for a new cluster.
pub(crate) fn random_cluster(random: &dyn Random) -> Result<u128, Error> {
    Ok(u128::from(random.next()?) << 64 | u128::from(random.next()?.max(1)))
}

/// A log record as the consensus knows it; `None` for a kind that this program does not know.
pub(crate) fn entry(record: Record) -> Option<Entry> {
    Some(Entry {
        index: record.index,
        term: record.term,
        kind: EntryKind::from_byte(record.kind)?,
        payload: record.payload,
    })
}

impl Store {
    fn past(&self, hard_state: HardState) -> Result<Past, Error> {
        let (boundary_index, boundary_term) = self.log.base();
        let mut recovered = Recovered::empty();
        recovered.hard_state = hard_state;
        recovered.boundary = Position::new(boundary_index, boundary_term);
        recovered.last_index = boundary_index;
        let known = membership::load(&*self.root)?;
        recovered.configuration = known
            .into_iter()
            .rev()
            .find(|(index, _)| *index <= boundary_index);
        recovered.applied = self.mark.done();
        recovered.damaged_from = self.log.damaged().first().map(|damage| damage.first);
        let last = self.log.last_index();
        let end = recovered
            .damaged_from
            .unwrap_or(u64::MAX)
            .min(last.saturating_add(1));
        self.scan(boundary_index.saturating_add(1), end, |entry| {
            recovered.push(&entry)?;
            Ok(())
        })?;
        if recovered.damaged_from.is_some() {
            recovered.last_index = last.max(recovered.last_index);
            recovered.terms = self
                .log
                .term_runs()
                .into_iter()
                .map(|run| consensus::TermRun {
                    first: run.first_index,
                    term: run.term,
                })
                .collect();
        }
        Ok(Past { recovered })
    }

    /// Gives the entries from `lo` up to, not including, `hi` to `visit`, in order.
    pub(crate) fn scan(
        &self,
        lo: u64,
        hi: u64,
        mut visit: impl FnMut(Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut next = lo;
        while next < hi {
            let records = self.log.read(next, hi, SCAN_BYTES)?;
            if records.is_empty() {
                return Err(ferrolite_wal::Error::PastEnd {
                    index: next,
                    last: self.log.last_index(),
                }
                .into());
            }
            for record in records {
                next = record.index.saturating_add(1);
                let entry = entry(record).ok_or(consensus::Error::InvalidRecovery(
                    "the log holds an entry of a kind that this program does not know",
                ))?;
                visit(entry)?;
            }
        }
        Ok(())
    }

    /// Makes this node the founder and only member of a new cluster.
    pub(crate) fn found_cluster(
        &self,
        id: u64,
        address: &str,
        bootstrap: impl Fn(u128, &Configuration) -> (HardState, Entry),
    ) -> Result<Past, Error> {
        let member = Member::new(id, Role::Voter, address).with_incarnation(self.incarnation);
        let configuration = Configuration::new(vec![member]).map_err(consensus::Error::from)?;
        let cluster = random_cluster(&*self.random)?;
        let (state, first) = bootstrap(cluster, &configuration);
        // The entry first: a crash in between leaves a directory without a cluster, which founds one again.
        self.log.append(&[Record {
            index: first.index,
            term: first.term,
            kind: first.kind.to_byte(),
            payload: first.payload.clone(),
        }])?;
        self.log.sync()?;
        self.save_hard_state(&state)?;
        Ok(Past {
            recovered: Recovered::from_entries(state, &[first], 0)?,
        })
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// A random number of this process.
    pub(crate) fn process_id(&self) -> u64 {
        self.process_id
    }

    /// A path for the pages of an import, where no file is.
    pub(crate) fn new_import(&self) -> PathBuf {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        self.imports.join(format!("{number}.sqlite"))
    }

    pub(crate) fn next_transaction(&self) -> TransactionId {
        self.ids.next()
    }

    /// The data directory.
    pub(crate) fn directory(&self) -> &dyn Backend {
        &*self.root
    }

    pub(crate) fn save_hard_state(&self, state: &HardState) -> Result<(), ferrolite_wal::Error> {
        self.hard_state.save(&state.encode())
    }

    /// The file of the database `name`, made if there is none.
    pub(crate) fn file(&self, name: &str) -> Result<Arc<PageFile>, Error> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(PageFile::open_checked_in(
            &self.databases,
            &ferrolite_pager::file_name(name)?,
            self.page_size,
            Arc::clone(&self.mark),
        )?);
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// The files that are open, with the names of their databases. All that there were at the start are.
    pub(crate) fn open_files(&self) -> Vec<(String, Arc<PageFile>)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let open = files.iter();
        open.map(|(name, file)| (name.clone(), Arc::clone(file)))
            .collect()
    }

    pub(crate) fn note_unsynced(&self, files: BTreeMap<String, Arc<PageFile>>) {
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(files);
    }

    pub(crate) fn take_unsynced(&self) -> BTreeMap<String, Arc<PageFile>> {
        std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the files anew, because a snapshot has replaced them; they make sense once they hold everything up to `newest`.
    pub(crate) fn files_replaced(&self, newest: u64) -> Result<(), Error> {
        drop(self.take_unsynced());
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        *self
            .unexamined
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(newest);
        self.open_all()
    }

    fn open_all(&self) -> Result<(), Error> {
        for (name, _) in self.list()? {
            self.file(&name)?;
        }
        Ok(())
    }

    /// The index that the files have to reach before those of a snapshot can be [examined](Self::examine).
    pub(crate) fn unexamined(&self) -> Option<u64> {
        *self
            .unexamined
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the databases that a snapshot has brought are sound, if the files hold everything up to `done`.
    pub(crate) fn examine(&self, done: u64) -> Result<(), Error> {
        if self.unexamined().is_none_or(|newest| newest > done) {
            return Ok(());
        }
        for (_, file) in self.open_files() {
            ferrolite_pager::validate::file(file.as_ref())?;
        }
        *self
            .unexamined
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        log::info!("the databases of the snapshot are sound");
        Ok(())
    }

    /// Notes what a peer said of its database files.
    pub(crate) fn note_peer(&self, peer: u64, done: u64) {
        log::debug!(peer, done; "a peer said how far its files are");
        self.peers_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(peer, done);
    }

    /// How far a peer's database files are at least; 0 if that is not known.
    pub(crate) fn peer_done(&self, peer: u64) -> u64 {
        let known = self
            .peers_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&peer).copied().unwrap_or(0)
    }

    /// Names and sizes in bytes of the databases that have a page.
    pub(crate) fn list(&self) -> Result<Vec<(String, u64)>, Error> {
        let mut found = Vec::new();
        for file in self.databases.names()? {
            let Some(name) = ferrolite_pager::database_name(&file) else {
                continue;
            };
            let len = self.databases.len_of(&file)?;
            if let Some(len) = len.filter(|len| *len > 0) {
                found.push((name, len));
            }
        }
        found.sort();
        Ok(found)
    }

    /// A file for what does not fit into memory. It has no name, so that nothing is left of it.
    fn spill_file(&self) -> Result<Arc<dyn BackendFile>, Error> {
        let name = self.next_file.fetch_add(1, Ordering::Relaxed).to_string();
        let unable = |error| Error::io("making a file for large transactions", error);
        let file = self.spill.open(&name, true).map_err(unable)?;
        self.spill.remove(&name).map_err(unable)?;
        Ok(file)
    }

    /// Opens the SQL engine on the database `name`, whose file holds everything committed.
    pub(crate) fn open_engine(&self, name: &str) -> Result<Arc<Database>, ferrolite_sql::Error> {
        let unable = |error: Error| ferrolite_sql::Error::io(&error.to_string());
        let file = self.file(name).map_err(unable)?;
        let source = LogPages {
            database: name.to_owned(),
            log: Arc::clone(&self.log),
            images: Arc::clone(&self.images),
            file: Arc::clone(&file),
            page_size: self.page_size,
        };
        let view = WalView::new(self.page_size, self.max_transaction_bytes, Box::new(source))
            .with_spill(self.spill_file().map_err(unable)?, VIEW_MEMORY_BYTES);
        let path = self
            .databases
            .path()
            .join(ferrolite_pager::file_name(name).map_err(|e| unable(e.into()))?);
        let surroundings = self.engine.clone().map(|engine| engine.0);
        Database::open_in(
            surroundings,
            &path.display().to_string(),
            file,
            Arc::new(view),
        )
    }
}
