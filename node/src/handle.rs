//! How the rest of the node talks to its replica.
//!
//! The replica runs on a thread of its own and owns all state of the consensus. Everyone else has a
//! [`Handle`]: it sends events, and reads what the replica publishes ([`Status`], the [`Registry`] of open
//! databases). An answer comes back through a one-shot channel; when the replica is gone, the channel is
//! dropped, and that is an answer as well.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use ferrolite_consensus::{Change, Configuration, Message, NodeId, Role};
use ferrolite_wal::view::StagedTransaction;
use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::leading::{LeaderDatabase, OpenRefusal, Registry};
use crate::pages::{self, Encoded};
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
    /// Why the node has stopped taking part, if it has.
    pub(crate) halted: Option<String>,
}

/// A transaction on its way into the log.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) database: Arc<LeaderDatabase>,
    pub(crate) number: u64,
    pub(crate) encoded: Encoded,
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

/// What happens to the replica.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message of a peer.
    Peer(Message),
    /// A peer asks for a page, or has one that this node asked for.
    PeerPage { from: NodeId, message: PageMessage },
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
    pub(crate) events: Sender<Event>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<Store>,
    pub(crate) id: NodeId,
}

impl Handle {
    /// Sends `event`; nothing happens if the replica has stopped, and whoever waits for an answer learns it
    /// from the dropped channel.
    pub(crate) fn send(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("an event came after the replica had stopped");
        }
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

    /// Puts a transaction on its way. The caller has the writer's turn, so that numbers and the log agree.
    pub(crate) fn submit(&self, database: &Arc<LeaderDatabase>, transaction: &StagedTransaction) {
        let number = transaction.number;
        match pages::encode(&database.name, self.store.next_transaction(), transaction) {
            Ok(encoded) => {
                let database = Arc::clone(database);
                self.send(Event::Submit(Submission {
                    database,
                    number,
                    encoded,
                }));
            }
            Err(error) => {
                // The engine has committed what cannot be written down: the same as if it had failed.
                database.commits.refuse_from(number);
                self.send(Event::EngineFailed(error.to_string()));
            }
        }
    }

    /// Opens the database `name` on the leader. Blocks on the disk.
    pub(crate) fn open_database(&self, name: &str) -> Result<Arc<LeaderDatabase>, OpenRefusal> {
        self.registry
            .get_or_open(name, || self.store.open_engine(name))
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
