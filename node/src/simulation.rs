//! Nodes without threads, sockets, clocks and disks of their own, for a simulator that runs whole clusters in one thread.
//!
//! A [`SimNode`] is made of the same replica, log, page store, engine and gateway as a [`Node`](crate::Node). What a process
//! takes from the system comes from whoever makes one ([`Setup`]): a simulated disk, a clock, random numbers, and a network that
//! takes frames. What are threads in a process are tasks here: [`run_replica`](SimNode::run_replica),
//! [`run_log`](SimNode::run_log) and [`run_pages`](SimNode::run_pages), for an executor whose time is simulated.
//!
//! Only the sockets are left out, and with them the framing of messages, the protocol's decoding, imports and stale reads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrolite_consensus::message::codec;
use ferrolite_consensus::{Change, Member, Message, NodeId, Role};
use ferrolite_pager::Directory;
use ferrolite_sql::Surroundings;
use ferrolite_wal::backend::{Backend, FaultBackend};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::assembly::{self, Assembly};
use crate::checkpoint::{Attempt, Checkpointer, Job};
use crate::environment::{Clock, Disk, Engine, Environment, Random, Space, Workers};
use crate::errands::Errands;
use crate::error::Error;
use crate::freshness::FreshnessMessage;
pub use crate::gateway::{Refused, SimSession};
use crate::handle::{Event, Handle};
use crate::log_writer::{self, Progress, Work};
use crate::options::Options;
use crate::peers::{self, Outlet};
use crate::scrub::PageMessage;
use crate::store::LOG_DIRECTORY;

/// How long a task waits for room on a full disk before the next try.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// What a node has to say to others leaves here.
pub trait Network: Send {
    /// A frame for the node `to`.
    fn send(&mut self, to: NodeId, frame: Bytes);
}

/// A node's clock.
pub trait SimClock: fmt::Debug + Send + Sync {
    /// Milliseconds since the node was started, by its own clock.
    fn now_ms(&self) -> u64;
}

/// What a node is made of.
pub struct Setup {
    /// The node's number.
    pub id: NodeId,
    /// By which others know it.
    pub address: String,
    /// Settings.
    pub options: Options,
    /// The disk, which outlives the node.
    pub disk: FaultBackend,
    /// Bytes that the disk has, for the node to see.
    pub capacity: Arc<AtomicU64>,
    /// How often the node was started on this disk: engines of different lives are different engines.
    pub life: u64,
    /// The clock.
    pub clock: Arc<dyn SimClock>,
    /// A seed for all that the node decides by chance.
    pub seed: u64,
    /// Where frames go.
    pub network: Box<dyn Network>,
    /// Founds a cluster if the disk belongs to none.
    pub bootstrap: bool,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a node says of itself when it connects to another.
#[derive(Debug, Clone)]
pub struct Greeting {
    id: NodeId,
    incarnation: u64,
    address: String,
    files_done: u64,
    cluster: u128,
}

/// What a node says about its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimStatus {
    /// The term.
    pub term: u64,
    /// The leader that it knows.
    pub leader: Option<NodeId>,
    /// Whether it leads and answers clients.
    pub serves: bool,
    /// The last committed index.
    pub committed: u64,
    /// The last applied index.
    pub applied: u64,
    /// The last index.
    pub last: u64,
    /// Why it takes no part any more, if it does not.
    pub halted: Option<String>,
    /// The members that it knows, and whether they keep the data.
    pub members: Vec<(NodeId, bool)>,
}

/// See the [module](self).
pub struct SimNode {
    id: NodeId,
    address: String,
    handle: Handle,
    bells: Bells,
    writes: RefCell<Receiver<Work>>,
    jobs: RefCell<Receiver<Job>>,
    checkpointer: RefCell<Checkpointer>,
    busy_timeout: Duration,
    cluster: watch::Receiver<u128>,
}

#[derive(Debug, Clone, Default)]
struct Bells {
    replica: Arc<Notify>,
    writes: Arc<Notify>,
    jobs: Arc<Notify>,
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNode")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SimNode {
    /// Starts a node on its disk.
    ///
    /// # Errors
    /// As a real node: when the data directory is another's, or damaged, or the disk fails.
    pub fn start(setup: Setup) -> Result<Self, Error> {
        let Setup {
            id,
            address,
            options,
            disk,
            capacity,
            life,
            clock,
            seed,
            network,
            bootstrap: founds,
        } = setup;
        let random = Arc::new(Dice::new(seed));
        let environment = Environment {
            // The engine knows databases by their paths.
            disk: Arc::new(SimDisk::new(
                PathBuf::from(format!("/node-{id}/life-{life}")),
                disk,
                capacity,
            )),
            clock: Arc::new(NodeClock(clock)),
            random: Arc::clone(&random) as Arc<dyn Random>,
            engine: Some(Engine(Arc::new(EngineWorld {
                random,
                start: Instant::now(),
            }))),
            workers: Workers::Caller,
        };
        let bells = Bells::default();
        let (writes, to_write) = Errands::with_bell(Arc::clone(&bells.writes));
        let (jobs, to_do) = Errands::with_bell(Arc::clone(&bells.jobs));
        let Assembly {
            handle,
            cluster,
            replica,
        } = Assembly::new(assembly::Parts {
            id,
            address: &address,
            options: &options,
            environment,
            founds,
            writes,
            jobs,
        })?;
        let checkpointer =
            Checkpointer::new(Arc::clone(&handle.store), Arc::clone(&handle.following));
        handle.driver.attend(Arc::clone(&bells.replica));
        handle.driver.start(replica, Box::new(Posted(network)));
        Ok(Self {
            id,
            address,
            handle,
            bells,
            writes: RefCell::new(to_write),
            jobs: RefCell::new(to_do),
            checkpointer: RefCell::new(checkpointer),
            busy_timeout: options.busy_timeout,
            cluster,
        })
    }

    /// The node's number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Gives the replica the time, until it is stopped.
    pub async fn run_replica(&self) {
        loop {
            self.handle.driver.drive();
            let Some(due) = self.handle.driver.due_in() else {
                return;
            };
            tokio::select! {
                biased;
                () = self.bells.replica.notified() => {}
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    /// Writes the log. Every batch takes the time that `takes` says.
    pub async fn run_log(&self, mut takes: impl FnMut() -> Duration) {
        let mut batch = VecDeque::new();
        loop {
            self.bells.writes.notified().await;
            tokio::time::sleep(takes()).await;
            batch.extend(self.writes.borrow().try_iter());
            while !batch.is_empty() {
                match log_writer::write(&self.handle.store, &mut batch, &self.handle.driver) {
                    Ok(Progress::Done) => self.handle.driver.drive(),
                    Ok(Progress::Full) => {
                        self.handle.driver.drive();
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    Err(error) => return log_writer::fail(&error, &self.handle.driver),
                }
            }
        }
    }

    /// Does what is to be done to the database files. Every job takes the time that `takes` says, which is told whether it is
    /// a leader's checkpoint. After each, `done` is called, while nobody changes the files.
    pub async fn run_pages(
        &self,
        mut takes: impl FnMut(bool) -> Duration,
        mut done: impl FnMut(&Self),
    ) {
        loop {
            let scrubs_in = self.checkpointer.borrow().scrubs_in();
            tokio::select! {
                biased;
                () = self.bells.jobs.notified() => {}
                () = tokio::time::sleep(scrubs_in.max(Duration::from_millis(1))) => {}
            }
            loop {
                let next = self.jobs.borrow().try_recv();
                let Ok(mut job) = next else {
                    break;
                };
                let is_checkpoint = matches!(job, Job::Checkpoint { .. });
                tokio::time::sleep(takes(is_checkpoint)).await;
                loop {
                    let attempt = self
                        .checkpointer
                        .borrow_mut()
                        .attempt(job, &self.handle.driver);
                    match attempt {
                        Attempt::Done => break,
                        Attempt::Again(again) => job = *again,
                        Attempt::Failed => return,
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                done(self);
            }
            self.checkpointer.borrow_mut().scrub(&self.handle.driver);
        }
    }

    /// A frame of the peer `from` arrives. Says whether it made sense; if not, the connection is to be closed.
    #[must_use]
    pub fn deliver(&self, from: NodeId, frame: Bytes) -> bool {
        match peers::event(from, frame) {
            Ok(event) => {
                self.handle.send(event);
                true
            }
            Err(_) => false,
        }
    }

    /// What this node says when it connects to another.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting {
            id: self.id,
            incarnation: self.handle.store.incarnation(),
            address: self.address.clone(),
            files_done: self.handle.store.mark.done(),
            cluster: *self.cluster.borrow(),
        }
    }

    /// A peer has connected. Says whether it is welcome.
    #[must_use]
    pub fn greet(&self, peer: &Greeting) -> bool {
        let own = *self.cluster.borrow();
        if own != 0 && peer.cluster != 0 && own != peer.cluster {
            return false;
        }
        self.handle.store.note_peer(peer.id, peer.files_done);
        self.handle.send(Event::PeerAt {
            id: peer.id,
            incarnation: peer.incarnation,
            address: peer.address.clone(),
        });
        true
    }

    /// The connection to a peer broke.
    pub fn unreachable(&self, peer: NodeId) {
        self.handle.send(Event::Unreachable(peer));
    }

    /// Opens a database for a client.
    ///
    /// # Errors
    /// What the client would be answered.
    pub async fn open(&self, database: &str) -> Result<SimSession, Refused> {
        SimSession::open(self.handle.clone(), database, self.busy_timeout).await
    }

    /// Adds a member, as one that gets the data and does not vote yet.
    ///
    /// # Errors
    /// As a real node.
    pub async fn add(&self, id: NodeId, address: &str) -> Result<(), Error> {
        let member = Member::new(id, Role::Spare, address);
        self.handle.change(Change::Add(member)).await
    }

    /// Makes a member a voter.
    ///
    /// # Errors
    /// As a real node.
    pub async fn promote(&self, id: NodeId) -> Result<(), Error> {
        let role = Role::Voter;
        self.handle.change(Change::SetRole { id, role }).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// As a real node.
    pub async fn remove(&self, id: NodeId) -> Result<(), Error> {
        self.handle.change(Change::Remove { id }).await
    }

    /// Hands leadership over.
    ///
    /// # Errors
    /// As a real node.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<(), Error> {
        self.handle.transfer(to).await
    }

    /// What the node says about itself.
    #[must_use]
    pub fn status(&self) -> SimStatus {
        let status = self.handle.status.borrow();
        let members = status.configuration.as_ref().map_or_else(Vec::new, |all| {
            let members = all.members().iter();
            members.map(|m| (m.id, m.role != Role::Spare)).collect()
        });
        SimStatus {
            term: status.term,
            leader: status.leader.as_ref().map(|(id, _)| *id),
            serves: status.serves,
            committed: status.committed,
            applied: status.applied,
            last: status.last,
            halted: status.halted.clone(),
            members,
        }
    }

    /// The entry at which the database files are: they hold it and all before it, and nothing of those that follow. `None` where
    /// they may hold something of these, or a checkpoint is not finished.
    #[must_use]
    pub fn files_at(&self) -> Option<u64> {
        let mark = &self.handle.store.mark;
        let done = mark.done();
        (done == mark.target() && !mark.is_interrupted()).then_some(done)
    }

    /// Has all pages looked at for rot from now on.
    pub fn begin_scrub(&self) {
        self.checkpointer.borrow_mut().rounds().0.begin_round();
    }

    /// Whether all pages have been looked at, and those that have rotted are put back.
    #[must_use]
    pub fn is_scrubbed(&self) -> bool {
        let mut checkpointer = self.checkpointer.borrow_mut();
        let (scrub, store) = checkpointer.rounds();
        scrub.is_done(store)
    }

    /// The machine has lost its power. What the node had in memory is gone; what it had asked of the disk is in the disk.
    pub fn cut(&self) {
        self.handle.driver.cut();
        // Whoever waits for the node learns that it is gone.
        for database in self.handle.registry.close_all() {
            database.commits.lose_from(0);
        }
        self.handle.following.close_all();
    }

    /// Stops as a program that is asked to stop: everything applied is in the database files on return.
    ///
    /// # Errors
    /// When the disk fails or is full; the next start recovers.
    pub fn stop(&self) -> Result<(), Error> {
        self.handle.send(Event::Stop);
        let mut batch: VecDeque<Work> = self.writes.borrow().try_iter().collect();
        if log_writer::write(&self.handle.store, &mut batch, &self.handle.driver)? == Progress::Full
        {
            return Err(Error::Stopped);
        }
        let jobs: Vec<Job> = self.jobs.borrow().try_iter().collect();
        for job in jobs {
            let attempt = self
                .checkpointer
                .borrow_mut()
                .attempt(job, &self.handle.driver);
            if !matches!(attempt, Attempt::Done) {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}

/// Frames to others, on the simulated network.
struct Posted(Box<dyn Network>);

impl Outlet for Posted {
    fn send(&mut self, message: &Message) {
        let (head, data) = codec::encode_in_two(message);
        let mut frame = BytesMut::from(&head[..]);
        frame.extend_from_slice(&data);
        self.0.send(message.to, frame.freeze());
    }

    fn send_page(&mut self, to: NodeId, message: &PageMessage) {
        self.0.send(to, message.encode());
    }

    fn send_freshness(&mut self, to: NodeId, message: FreshnessMessage) {
        self.0.send(to, message.encode());
    }

    fn flush(&mut self) {}
}

/// A data directory on a simulated disk.
#[derive(Debug)]
struct SimDisk {
    path: PathBuf,
    disk: FaultBackend,
    pages: Directory,
    capacity: Arc<AtomicU64>,
}

impl SimDisk {
    fn new(path: PathBuf, disk: FaultBackend, capacity: Arc<AtomicU64>) -> Self {
        Self {
            pages: Directory::on(Arc::new(disk.directory(PAGES)), &path),
            path,
            disk,
            capacity,
        }
    }
}

/// Where the directories of database files are, on a simulated disk.
const PAGES: &str = "pages";

/// The file of a database on the disk of a simulated node.
#[must_use]
pub fn database_file(disk: &FaultBackend, database: &str) -> Option<Vec<u8>> {
    let name = ferrolite_pager::file_name(database).ok()?;
    let pages = disk.directory(PAGES);
    let file = pages.open(&format!("databases/{name}"), false).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
    file.read_at(0, &mut bytes).ok()?;
    Some(bytes)
}

/// The directory and the name of the file of a database, for [flipping bits](FaultBackend::flip_bit) of it.
#[must_use]
pub fn database_place(disk: &FaultBackend, database: &str) -> Option<(FaultBackend, String)> {
    let name = ferrolite_pager::file_name(database).ok()?;
    Some((disk.directory(PAGES), format!("databases/{name}")))
}

/// The directory of the log, for [flipping bits](FaultBackend::flip_bit) of its files.
#[must_use]
pub fn log_place(disk: &FaultBackend) -> FaultBackend {
    disk.directory(LOG_DIRECTORY)
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> Arc<dyn Backend> {
        Arc::new(self.disk.clone())
    }

    fn part(&self, name: &str) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(self.disk.directory(name)))
    }

    fn pages(&self) -> Directory {
        self.pages.clone()
    }

    fn space(&self) -> std::io::Result<Space> {
        let total = self.capacity.load(Ordering::Relaxed);
        Ok(Space {
            total,
            free: total.saturating_sub(self.disk.used()),
        })
    }
}

#[derive(Debug)]
struct NodeClock(Arc<dyn SimClock>);

impl Clock for NodeClock {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    fn instant(&self, ms: u64) -> Instant {
        let ago = self.0.now_ms().saturating_sub(ms);
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(ago)).unwrap_or(now)
    }
}

/// Random numbers from a seed.
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn roll(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed);
        let mut z = state.wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for Dice {
    fn next(&self) -> Result<u64, Error> {
        Ok(self.roll())
    }
}

/// Time and random numbers for SQL.
#[derive(Debug)]
struct EngineWorld {
    random: Arc<Dice>,
    start: Instant,
}

/// The simulated world begins at the turn of the year 2026, in seconds since 1970.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

impl Surroundings for EngineWorld {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_clock(&self) -> Duration {
        BEGINNING + self.start.elapsed()
    }

    fn random(&self) -> u64 {
        self.random.roll()
    }
}
