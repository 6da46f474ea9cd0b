//! How the rest of the node talks to its replica.
//!
//! The replica owns all state of the consensus, and is run by one thread at a time. Everyone else has a
//! [`Handle`]: it sends events, which may mean to run the replica, and reads what the replica publishes ([`Status`], the [`Registry`] of open
//! databases). An answer comes back through a one-shot channel; when the replica is gone, the channel is
//! dropped, and that is an answer as well.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ferrolite_consensus::{Change, Configuration, Message, NodeId, Role};
use ferrolite_wal::view::{StagedPage, TakenTransaction, ViewError};
use tokio::sync::{oneshot, watch};

use crate::environment::Workers;
use crate::error::Error;
use crate::following::{Attached, Following, Unopened};
use crate::freshness::{Freshness, FreshnessMessage};
use crate::leading::{LeaderDatabase, OpenRefusal, Registry};
use crate::lease::Lease;
use crate::pages::{Encoded, Encoder, SmallTransaction};
use crate::replica::Driver;
use crate::scrub::PageMessage;
use crate::store::Store;

/// What the replica publishes about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// The current term.
    pub(crate) term: u64,
    /// The leader that this node knows, and its address.
    pub(crate) leader: Option<(NodeId, String)>,
    /// Whether this node is the leader.
    pub(crate) leads: bool,
    /// Whether it is the leader and answers clients.
    pub(crate) serves: bool,
    /// The members, as far as this node knows.
    pub(crate) configuration: Option<Configuration>,
    /// The last committed log index.
    pub(crate) committed: u64,
    /// The last applied log index.
    pub(crate) applied: u64,
    /// The last log index.
    pub(crate) last: u64,
    /// Bytes of entries that were proposed here and are not committed.
    pub(crate) behind_bytes: u64,
    /// Why the node has stopped taking part, if it has.
    pub(crate) halted: Option<String>,
}

/// A transaction, or the next entries of a large one, on its way into the log.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) database: Arc<LeaderDatabase>,
    pub(crate) content: Content,
    pub(crate) then: Then,
}

/// The pages of a [`Submission`].
#[derive(Debug)]
pub(crate) enum Content {
    /// All of a small transaction.
    Small(SmallTransaction),
    /// Entries of a large one.
    Entries(Encoded),
}

/// What comes after some entries of a transaction.
#[derive(Debug)]
pub(crate) enum Then {
    /// More of it. Answered once these are committed.
    More(oneshot::Sender<()>),
    /// Nothing: with these the transaction commits.
    Commit {
        number: u64,
        last_frame: u64,
        db_size: u32,
    },
}

/// One part of an import on its way into the log.
#[derive(Debug)]
pub(crate) struct ImportPart {
    pub(crate) name: String,
    pub(crate) payload: Bytes,
    pub(crate) last: bool,
    /// Answered once the part is committed; for the last part, once the database can be opened.
    pub(crate) done: oneshot::Sender<Result<(), Error>>,
}

/// So many parts of a large transaction, of about a MiB each, go into the log together, and so many times that may wait for
/// a quorum: that is what a transaction of any size takes of the node's memory.
const PARTS_AT_ONCE: usize = 2;
const BATCHES_UNDER_WAY: usize = 2;

/// Waits until the oldest of these is committed.
fn wait_for_first(under_way: &mut VecDeque<oneshot::Receiver<()>>) -> Result<(), Error> {
    let Some(wait) = under_way.pop_front() else {
        return Ok(());
    };
    wait.blocking_recv().map_err(|_| Error::LeadershipLost)
}

/// A page of a transaction could not be read back.
fn unread(error: ViewError) -> Error {
    match error {
        ViewError::Closed => Error::LeadershipLost,
        other => Error::io("reading back a transaction", std::io::Error::other(other)),
    }
}

/// What happens to the replica.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message of a peer.
    Peer(Message),
    /// A peer asks for a page, or has one that this node asked for.
    PeerPage { from: NodeId, message: PageMessage },
    /// A peer asks how far the cluster is, or answers that.
    PeerFreshness {
        from: NodeId,
        message: FreshnessMessage,
    },
    /// Ask the leader how far the cluster is, with a question of this number.
    AskFreshness(u64),
    /// Open a database for stale reads.
    Follow {
        name: String,
        wanted_by: oneshot::Sender<Result<Attached, Unopened>>,
    },
    /// A peer has connected, and said where it is to be found.
    PeerAt {
        id: NodeId,
        incarnation: u64,
        address: String,
    },
    /// The connection to a peer broke.
    Unreachable(NodeId),
    /// A transaction of a session.
    Submit(Submission),
    /// A part of an import.
    Import(ImportPart),
    /// A read asks whether this node still leads.
    Confirm(oneshot::Sender<Result<(), Error>>),
    /// A change of the members.
    Change(Change, oneshot::Sender<Result<(), Error>>),
    /// Hand leadership to a node, or to the best one.
    Transfer(Option<NodeId>, oneshot::Sender<Result<(), Error>>),
    /// The node's wish not to lead has changed.
    Weight(u32),
    /// The log writer has finished something.
    Stored(crate::log_writer::Stored),
    /// The checkpointer has finished something.
    Checkpointed(crate::checkpoint::Outcome),
    /// The engine failed in a way that it cannot be trusted after: give up leadership and start afresh.
    EngineFailed(String),
    /// Stop.
    Stop,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) driver: Arc<Driver>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) following: Arc<Following>,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) store: Arc<Store>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) workers: Workers,
    pub(crate) id: NodeId,
}

impl Handle {
    /// Sends `event`; nothing happens if the replica has stopped, and whoever waits for an answer learns it
    /// from the dropped channel.
    pub(crate) fn send(&self, event: Event) {
        self.driver.send(event);
    }

    async fn ask(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Event,
    ) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.send(event(answer));
        answered.await.unwrap_or(Err(Error::Stopped))
    }

    /// Waits for a confirmation that this node led at a moment after the call.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        if self.lease.holds() {
            return Ok(());
        }
        self.ask(Event::Confirm).await
    }

    /// Changes the members, and waits until that is committed.
    pub(crate) async fn change(&self, change: Change) -> Result<(), Error> {
        self.ask(|answer| Event::Change(change, answer)).await
    }

    /// Hands leadership over, and waits until this node knows the new leader.
    pub(crate) async fn transfer(&self, to: Option<NodeId>) -> Result<(), Error> {
        self.ask(|answer| Event::Transfer(to, answer)).await
    }

    /// Puts a transaction on its way. The caller has the writer's turn, so that numbers and the log agree, and drives the
    /// replica once it has passed the turn on. Blocks, for a large transaction, until a quorum has most of it.
    pub(crate) fn submit(&self, database: &Arc<LeaderDatabase>, transaction: &TakenTransaction) {
        if let Err(error) = self.try_submit(database, transaction) {
            // The engine has committed what is not in the log, and never will be: the same as if it had failed.
            database.commits.refuse_from(transaction.number);
            // With leadership the database is closed already.
            if !matches!(error, Error::LeadershipLost) || !database.sql.is_closed() {
                self.send(Event::EngineFailed(error.to_string()));
            }
        }
    }

    fn try_submit(
        &self,
        database: &Arc<LeaderDatabase>,
        transaction: &TakenTransaction,
    ) -> Result<(), Error> {
        let id = self.store.next_transaction();
        let pages = database.sql.view().pages_of(transaction);
        let mut pages = pages.map(|page| page.map_err(unread));
        let mut under_way = VecDeque::new();
        let content = if SmallTransaction::is_one(transaction) {
            Content::Small(SmallTransaction {
                id,
                page_size: transaction.page_size,
                pages: pages.collect::<Result<Vec<StagedPage>, Error>>()?,
            })
        } else {
            let mut encoder = Encoder::new(&database.name, transaction.page_size, id)?;
            while let Some(page) = pages.next().transpose()? {
                let Some(encoded) = encoder.push(&page, PARTS_AT_ONCE)? else {
                    continue;
                };
                let (committed, wait) = oneshot::channel();
                self.send(Event::Submit(Submission {
                    database: Arc::clone(database),
                    content: Content::Entries(encoded),
                    then: Then::More(committed),
                }));
                under_way.push_back(wait);
                if under_way.len() >= BATCHES_UNDER_WAY && self.workers.may_wait() {
                    wait_for_first(&mut under_way)?;
                }
            }
            while !under_way.is_empty() && self.workers.may_wait() {
                wait_for_first(&mut under_way)?;
            }
            Content::Entries(encoder.finish(transaction.db_size))
        };
        self.driver.post(Event::Submit(Submission {
            database: Arc::clone(database),
            content,
            then: Then::Commit {
                number: transaction.number,
                last_frame: transaction.last_frame,
                db_size: transaction.db_size,
            },
        }));
        Ok(())
    }

    /// Opens the database `name` on the leader. Blocks on the disk.
    pub(crate) fn open_database(&self, name: &str) -> Result<Arc<LeaderDatabase>, OpenRefusal> {
        self.registry
            .get_or_open(name, || self.store.open_engine(name))
    }

    /// Opens the database `name` for stale reads, while this node follows.
    pub(crate) async fn follow_database(&self, name: &str) -> Result<Attached, Unopened> {
        if let Some(open) = self.following.get(name) {
            return Ok(open);
        }
        let (wanted_by, opened) = oneshot::channel();
        self.send(Event::Follow {
            name: name.to_owned(),
            wanted_by,
        });
        opened
            .await
            .unwrap_or(Err(Unopened::Failed(Error::Stopped)))
    }

    /// Whether there is a database of that name, here on the leader. Blocks on the disk.
    pub(crate) fn has_database(&self, name: &str) -> Result<bool, Error> {
        let is_open = self
            .registry
            .all()
            .iter()
            .any(|database| database.name == name);
        Ok(is_open || self.store.list()?.iter().any(|(known, _)| known == name))
    }

    /// Bytes of transactions that are on their way to a quorum.
    pub(crate) fn behind_bytes(&self) -> u64 {
        self.status.borrow().behind_bytes
    }

    /// What the replica published last.
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The role of this node in the configuration it knows.
    pub(crate) fn role(&self) -> Option<Role> {
        let status = self.status.borrow();
        status
            .configuration
            .as_ref()?
            .member(self.id)
            .map(|member| member.role)
    }
}
