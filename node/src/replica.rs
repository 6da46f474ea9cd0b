//! The replica: what the consensus says, done; what happens, told to the consensus.
//!
//! It owns the Raft core, and is run by one thread at a time ([`driver`]). Around the core it keeps what the core must not know:
//! which proposal belongs to which transaction of which database, who waits for what, and in which state
//! the database files are.
//!
//! # A node's states
//!
//! ```text
//!            elected                    files complete                    leadership gone
//! following ─────────► taking over ───────────────────► serving ──────────────────────────► following
//!  (redo now and then)  (redo of everything committed)   (engines open, they checkpoint)
//! ```
//!
//! - *Following.* No engine is open, but for [stale reads](crate::following). Committed entries stay in the log until there
//!   are enough of them to be worth writing into the files.
//! - *Taking over.* The no-op of the new term is committed, so everything that any leader ever acknowledged
//!   is in this node's log. All of it goes into the files; then engines may open.
//! - *Serving.* Engines run ahead of the quorum; answers wait for it. What the engines have in memory and the
//!   quorum does not hold is worth nothing when leadership goes: the databases are closed and forgotten, and
//!   the files are again what the log says.
//!
//! An engine that fails in a way it cannot be trusted after (it panicked) ends the serving state as well: the
//! node closes all databases, waits until what was submitted is committed, and takes over from itself.

mod apply;
mod changes;
mod driver;
mod events;
mod follow;
mod propose;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ferrolite_consensus::{ClusterId, Configuration, Index, NodeId, Raft, Term};
use tokio::sync::{oneshot, watch};

use self::changes::{PendingChange, WantedTransfer};
use crate::anchors::Reach;
use crate::checkpoint::{Job, OpenTransactions};
use crate::errands::Errands;
use crate::error::Error;
use crate::following::Following;
use crate::freshness::{Freshness, FreshnessMessage};
use crate::handle::{Status, Then};
use crate::leading::{LeaderDatabase, Registry};
use crate::lease::Lease;
use crate::log_writer::Work;
use crate::options::Options;
use crate::pages::Placed;
use crate::scrub::PageMessage;
use crate::store::{Past, Store};

pub(crate) use driver::Driver;

/// So many entries that everyone in touch has are kept all the same, as far as [`log_bytes`](Options::log_bytes) allows: for a
/// node that has been away for some seconds. Most entries are small.
const TRAILING_ENTRIES: u64 = 32_768;

type Answer = oneshot::Sender<Result<(), Error>>;

/// By how much the rates of two nodes' clocks may differ: one part in a hundred, ten times what any clock of a computer is off.
const LEASE_DRIFT_PPM: u64 = 10_000;

/// What a replica is made of.
pub(crate) struct Parts<'a> {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) options: &'a Options,
    pub(crate) past: Past,
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) following: Arc<Following>,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) published: watch::Sender<Status>,
    pub(crate) cluster: watch::Sender<ClusterId>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) writes: Errands<Work>,
    pub(crate) jobs: Errands<Job>,
}

/// In which of its states the node is; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Following,
    /// Waits until everything that was submitted before is applied.
    Settling,
    TakingOver,
    Serving,
}

/// Something proposed that somebody waits for.
#[derive(Debug)]
enum Proposed {
    Transaction {
        database: Arc<LeaderDatabase>,
        /// The log index that the transaction began with.
        began: Index,
        first_part: u32,
        placed: Vec<(u64, Placed)>,
        then: Then,
    },
    Import {
        name: String,
        last: bool,
        answer: Answer,
    },
}

#[derive(Debug)]
struct Pending {
    first_index: Index,
    last_index: Index,
    what: Proposed,
}

/// Pages that are committed, and found in the log once this node's own write is done.
#[derive(Debug)]
struct Unbound {
    last_index: Index,
    first_index: Index,
    first_part: u32,
    database: Arc<LeaderDatabase>,
    placed: Vec<(u64, Placed)>,
}

/// See the [module](self).
pub(crate) struct Replica {
    id: NodeId,
    address: String,
    raft: Raft,
    store: Arc<Store>,
    registry: Arc<Registry>,
    following: Arc<Following>,
    freshness: Arc<Freshness>,
    published: watch::Sender<Status>,
    cluster: watch::Sender<ClusterId>,
    lease: Arc<Lease>,
    writes: Errands<Work>,
    jobs: Errands<Job>,
    checkpoint_bytes: u64,
    log_bytes: u64,

    phase: Phase,
    term: Term,
    leader: Option<NodeId>,
    applied: Index,
    committed: Index,
    halted: Option<String>,
    stopping: bool,

    pending: VecDeque<Pending>,
    unbound: VecDeque<Unbound>,
    /// Large transactions that were proposed in part: the log index that each began with, by its database.
    begun: BTreeMap<String, Index>,
    confirms: BTreeMap<u64, Answer>,
    next_token: u64,
    changes: VecDeque<PendingChange>,
    wanted_transfers: Vec<WantedTransfer>,
    transfers: Vec<(NodeId, Answer)>,
    /// Imports that a quorum holds and this node has not applied: the index of their last part, and whose
    /// they are.
    imported: VecDeque<(Index, String, Answer)>,
    imports: BTreeMap<u64, Answer>,

    /// What is to be said to peers about pages.
    page_messages: Vec<(NodeId, PageMessage)>,
    /// And about how far the cluster is.
    freshness_messages: Vec<(NodeId, FreshnessMessage)>,
    /// Peers that have asked that: by the token of a read, who, and the number of the question.
    questions: BTreeMap<u64, (NodeId, u64)>,
    /// What clients may have read here while this node led.
    read_through: Index,
    /// When it was last certain that this node leads.
    confirmed_at: Option<u64>,

    open: OpenTransactions,
    /// How far back the pages of the next transaction may be said against earlier images.
    reach: Reach,
    /// A checkpoint job is under way.
    checkpointing: bool,
    /// The log is about to begin anew after this entry.
    log_anew_after: Option<Index>,
    /// What was applied when the files were last to be made sure.
    examined_at: Index,
    /// Bytes of entries applied since the last checkpoint was begun.
    fresh_bytes: u64,
    /// Configurations by the index of their entry, ascending; those before the log's boundary are dropped.
    configurations: Vec<(Index, Configuration)>,
    /// Snapshots that are being sent, by their id: the log from their index on is kept.
    sending: BTreeMap<u64, Index>,
}

impl Replica {
    /// A replica that goes on from `past`.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts {
            id,
            address,
            options,
            past,
            store,
            registry,
            following,
            freshness,
            published,
            cluster,
            lease,
            writes,
            jobs,
        } = parts;
        let recovered = past.recovered;
        let mut configurations: Vec<_> = recovered.configuration.iter().cloned().collect();
        configurations.extend(recovered.configurations.iter().cloned());
        let applied = recovered.applied;
        let raft = Raft::new(
            0,
            raft_options(id, options, &store),
            recovered,
            store.process_id(),
        )?;
        let replica = Self {
            id,
            address,
            raft,
            store,
            registry,
            following,
            freshness,
            published,
            cluster,
            lease,
            writes,
            jobs,
            checkpoint_bytes: options.checkpoint_bytes,
            log_bytes: options.log_bytes,
            phase: Phase::Following,
            term: 0,
            leader: None,
            applied,
            committed: applied,
            halted: None,
            stopping: false,
            pending: VecDeque::new(),
            unbound: VecDeque::new(),
            begun: BTreeMap::new(),
            confirms: BTreeMap::new(),
            next_token: 0,
            changes: VecDeque::new(),
            wanted_transfers: Vec::new(),
            transfers: Vec::new(),
            imported: VecDeque::new(),
            imports: BTreeMap::new(),
            page_messages: Vec::new(),
            freshness_messages: Vec::new(),
            questions: BTreeMap::new(),
            read_through: 0,
            confirmed_at: None,
            open: OpenTransactions::default(),
            reach: Reach::new(options.log_bytes),
            checkpointing: false,
            log_anew_after: None,
            examined_at: 0,
            fresh_bytes: 0,
            configurations,
            sending: BTreeMap::new(),
        };
        replica.following.admit();
        // Whoever asks before the thread runs shall know what was known before.
        replica.publish();
        Ok(replica)
    }
}

fn raft_options(id: NodeId, options: &Options, store: &Store) -> ferrolite_consensus::Options {
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (least, most) = options.election_timeout();
    let mut raft = ferrolite_consensus::Options::new(id, store.incarnation());
    raft.heartbeat_ms = ms(options.heartbeat());
    raft.election_timeout_min_ms = ms(least);
    raft.election_timeout_max_ms = ms(most);
    raft.max_uncommitted_bytes = options.max_transaction_bytes.saturating_mul(2);
    raft.weight = options.weight;
    raft.transfer_timeout_ms = ms(most).saturating_mul(2);
    raft.lease = options.read_lease.then_some(ferrolite_consensus::Lease {
        drift_ppm: LEASE_DRIFT_PPM,
        jump_ms: raft.heartbeat_ms / 2,
    });
    raft.trailing_entries = TRAILING_ENTRIES;
    raft
}

/// Answers whoever asked; if they have left, nobody needs to know.
fn reply(answer: Answer, result: Result<(), Error>) {
    let _ = answer.send(result);
}
