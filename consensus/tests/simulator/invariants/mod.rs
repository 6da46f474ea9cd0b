//! What must hold after every event, one promise a file, named as in the papers.

pub mod committed_on_quorum;
pub mod crash_at_any_moment;
pub mod durable_before_said;
pub mod election_safety;
pub mod index_order;
pub mod leader_append_only;
pub mod leader_completeness;
pub mod linearizable_reads;
pub mod log_matching;
pub mod monotonic;
pub mod one_change_at_a_time;
pub mod pre_vote_asks_only;
pub mod snapshots_in_order;
pub mod state_machine_safety;
pub mod transfer_to_the_complete;

use std::collections::BTreeMap;

use ferrolite_consensus::{Configuration, Entry, Index, Message, NodeId, SnapshotMeta, Term};

use super::Violation;
use super::disk::AppState;
use super::history::History;
use super::node::Node;
use super::snapshots::Chunk;

/// Something that the simulator has just seen.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A process has started.
    Started { node: NodeId },
    /// A disk was lost.
    Wiped { node: NodeId },
    /// A node has dealt with an event.
    Stepped { node: NodeId },
    /// A node leads.
    Elected { node: NodeId, term: Term },
    /// A node is about to write entries.
    Appending { node: NodeId, entries: &'a [Entry] },
    /// Another configuration is in effect on a node.
    Reconfigured {
        node: NodeId,
        index: Index,
        configuration: &'a Configuration,
    },
    /// A node says that everything up to `index` is committed.
    Committed { node: NodeId, index: Index },
    /// A node has applied entries.
    Applying {
        node: NodeId,
        first: Index,
        last: Index,
        entries: &'a [Entry],
    },
    /// A node is about to write a chunk of a snapshot.
    Writing { node: NodeId, chunk: &'a Chunk },
    /// A node has replaced its state.
    Installed {
        node: NodeId,
        meta: &'a SnapshotMeta,
        state: AppState,
        /// What the driver has of the stream.
        bytes: &'a [u8],
    },
    /// A node has dealt with a message.
    Delivered {
        message: &'a Message,
        before: pre_vote_asks_only::Before,
    },
    /// A message leaves.
    Sent { node: NodeId, message: &'a Message },
    /// A client's read arrives.
    ReadStarted { node: NodeId, token: u64 },
    /// A read may be served at `index`.
    ReadReady {
        node: NodeId,
        token: u64,
        index: Index,
    },
}

/// All nodes, by number.
pub type Nodes = BTreeMap<NodeId, Node>;

/// What a check finds: nothing, or words for what is wrong.
pub type Check = Result<(), String>;

/// All of them, with what they remember.
#[derive(Default)]
pub struct Invariants {
    pub log_matching: log_matching::LogMatching,
    election_safety: election_safety::ElectionSafety,
    committed_on_quorum: committed_on_quorum::CommittedOnQuorum,
    leader_append_only: leader_append_only::LeaderAppendOnly,
    monotonic: monotonic::Monotonic,
    linearizable_reads: linearizable_reads::LinearizableReads,
    durable_before_said: durable_before_said::DurableBeforeSaid,
}

impl Invariants {
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows an observation to every invariant.
    pub fn check(
        &mut self,
        nodes: &Nodes,
        history: &mut History,
        seen: &Observation<'_>,
    ) -> Result<(), Violation> {
        let named = |invariant: &'static str| move |details| Violation { invariant, details };
        self.log_matching
            .check(nodes, history, seen)
            .map_err(named("log matching"))?;
        self.election_safety
            .check(seen)
            .map_err(named("election safety"))?;
        self.leader_append_only
            .check(nodes, seen)
            .map_err(named("leader append-only"))?;
        self.committed_on_quorum
            .check(nodes, history, seen)
            .map_err(named("committed is on a quorum and never changes"))?;
        leader_completeness::check(nodes, history, seen).map_err(named("leader completeness"))?;
        state_machine_safety::check(nodes, history, seen).map_err(named("state machine safety"))?;
        crash_at_any_moment::check(nodes, history, seen)
            .map_err(named("a crash at any moment loses nothing"))?;
        self.monotonic
            .check(nodes, seen)
            .map_err(named("monotonic term, vote, commit and applied"))?;
        one_change_at_a_time::check(nodes, seen)
            .map_err(named("one configuration change at a time"))?;
        self.linearizable_reads
            .check(history, seen)
            .map_err(named("linearizable reads"))?;
        index_order::check(nodes, seen)
            .map_err(named("purged <= snapshot <= applied <= committed <= last"))?;
        pre_vote_asks_only::check(nodes, seen).map_err(named("a pre-vote asks only"))?;
        transfer_to_the_complete::check(nodes, seen).map_err(named("transfer to the complete"))?;
        snapshots_in_order::check(nodes, seen)
            .map_err(named("snapshots are written in order and end last"))?;
        self.durable_before_said
            .check(nodes, seen)
            .map_err(named("durable before said"))
    }
}
