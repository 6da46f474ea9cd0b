//! The node: its state, the way in ([`Raft::step`]) and the way out ([`Raft::take_actions`]).
//!
//! The parts of the protocol are written as further `impl Raft` blocks, one concern a file; this file holds what they
//! share and nothing that decides.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::action::{Action, ReadError, RefusedReason, State, TransferOutcome};
use crate::entry::{HardState, Index, NodeId, Position, Term};
use crate::error::Error;
use crate::event::Event;
use crate::log::Log;
use crate::membership::Configurations;
use crate::message::{Body, Message};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::progress::Progress;
use crate::random::Random;
use crate::reads::Reads;
use crate::recovery::Recovered;
use crate::snapshot::{ChunkWrite, Incoming};
use crate::storage::Saves;
use crate::transfer::Transfer;

/// How many distinct refused peers are reported by an action; later ones are only counted.
const MAX_REPORTED_PEERS: usize = 256;

/// The most by which a message may lead the term. Terms grow by one an election, so that a correct node is never ahead
/// by so much; a damaged or forged message that is must not use up the terms, after which nobody could be elected.
const MAX_TERM_LEAP: u64 = 1 << 32;

/// One node of a Raft cluster.
///
/// The node does nothing by itself. Its driver gives it events and the time, takes its actions, and does them. All
/// methods that change it gather their actions until [`take_actions`](Self::take_actions), and what was proposed between
/// two calls of that becomes one write and one message to each peer.
///
/// `now` is milliseconds on a clock of the driver's choice that only goes forward; a value below an earlier one
/// counts as the earlier one.
#[derive(Debug)]
pub struct Raft {
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// Nothing is said or done any more: storage failed.
    pub(crate) halted: bool,

    // What must survive a crash, and where writing it stands.
    pub(crate) hard: HardState,
    pub(crate) saves: Saves,
    pub(crate) log: Log,
    pub(crate) configurations: Configurations,

    // The state machine of elections.
    pub(crate) state: State,
    /// The leader of the current term, once it is known.
    pub(crate) leader: Option<NodeId>,
    /// When this node stops waiting for a leader.
    pub(crate) election_at: u64,
    /// When a leader was last heard of; votes are refused for the least election timeout from then on.
    pub(crate) heard_at: Option<u64>,
    pub(crate) votes: BTreeMap<NodeId, bool>,
    /// What was last told to the driver by `StateChanged`.
    announced: (State, Term, Option<NodeId>),

    // What is decided.
    /// Everything up to here is committed.
    pub(crate) commit: Index,
    pub(crate) commit_announced: Index,
    /// Everything up to here was handed out to be applied.
    pub(crate) apply_sent: Index,
    /// Everything up to here is applied.
    pub(crate) applied: Index,

    // Follower.
    /// This log and the current leader's are the same up to here; zero while that is not known in this term.
    pub(crate) shared: Index,
    /// The latest append of this term that was dealt with.
    pub(crate) seen_seq: u64,
    /// The last acknowledgement given in this term.
    pub(crate) acked: Index,
    pub(crate) incoming: Option<Incoming>,
    /// Chunks of snapshots that were handed out and not answered, in order.
    pub(crate) chunk_writes: VecDeque<ChunkWrite>,

    // Leader.
    /// The peers that are sent the log, sorted by number.
    pub(crate) progress: Vec<Progress>,
    /// Index of this leadership's no-op.
    pub(crate) noop: Index,
    /// Number of the next append that is sent; not used twice, for whatever peer or term.
    pub(crate) next_seq: u64,
    pub(crate) serving: bool,
    pub(crate) heartbeat_at: u64,
    /// Bytes of each proposal that is not committed, by index.
    pub(crate) uncommitted: VecDeque<(Index, u64)>,
    pub(crate) uncommitted_bytes: u64,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) next_token: u64,

    // The way out.
    pub(crate) actions: Vec<Action>,
    /// Messages that wait until term and vote are on disk.
    pub(crate) outbox: VecDeque<Message>,
    refused: BTreeSet<NodeId>,
    pub(crate) metrics: Metrics,
}

impl Raft {
    /// Starts a node from what its storage holds. `seed` makes its random choices; give every node another one.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] or [`Error::InvalidRecovery`]; nothing must be built on such a store.
    pub fn new(now: u64, options: Options, recovered: Recovered, seed: u64) -> Result<Self, Error> {
        options.validate()?;
        recovered.validate()?;
        let log = Log::new(&recovered, options.tail_cache_bytes);
        let mut hard = recovered.hard_state;
        let mut saves = Saves::new();
        if recovered.term() > hard.term {
            // Entries of a later term were on disk before the term itself. No vote was given in that term: votes
            // leave only after the term is saved.
            hard.term = recovered.term();
            hard.vote = None;
            saves.mark_dirty();
        }
        if recovered.damaged_from.is_some()
            && hard
                .claim
                .is_none_or(|claim| claim < recovered.last_position())
        {
            hard.claim = Some(recovered.last_position());
            saves.mark_dirty();
        }
        let commit = recovered.applied.max(hard.commit.min(log.last().index));
        let configurations = Configurations::new(&recovered, log.last().index);
        // A node that elects itself without asking anyone need not wait. But it must be alone in every configuration that
        // may still decide: a leader that is about to leave may hold a lease that rests on this node's loyalty.
        let is_alone = hard.cluster != 0
            && configurations
                .undecided(commit)
                .all(|configuration| configuration.is_only_voter(options.id))
            && configurations.latest().is_some();
        let heard_at = (hard.cluster != 0 && !is_alone).then_some(now);
        let announced = (State::Follower, hard.term, None);
        let mut raft = Self {
            random: Random::new(seed),
            now,
            halted: false,
            hard,
            saves,
            log,
            configurations,
            state: State::Follower,
            leader: None,
            election_at: now,
            heard_at,
            votes: BTreeMap::new(),
            announced,
            commit,
            commit_announced: commit,
            apply_sent: recovered.applied,
            applied: recovered.applied,
            shared: 0,
            seen_seq: 0,
            acked: 0,
            incoming: None,
            chunk_writes: VecDeque::new(),
            progress: Vec::new(),
            noop: 0,
            next_seq: 1,
            serving: false,
            heartbeat_at: 0,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            reads: Reads::default(),
            transfer: None,
            next_token: 1,
            actions: Vec::new(),
            outbox: VecDeque::new(),
            refused: BTreeSet::new(),
            metrics: Metrics::default(),
            options,
        };
        raft.check_claim();
        if !is_alone {
            raft.reset_election_timer();
        }
        Ok(raft)
    }

    /// Takes in one event. What follows from it is found in [`take_actions`](Self::take_actions).
    pub fn step(&mut self, now: u64, event: Event) {
        self.now = self.now.max(now);
        if self.halted {
            if let Event::Read { token } = event {
                self.fail_read(token, ReadError::NotLeader);
            }
            return;
        }
        match event {
            Event::Tick => self.on_tick(),
            Event::Message(message) => self.on_message(message),
            Event::Read { token } => self.on_read(token),
            Event::Persisted { seq, index, term } => {
                self.on_persisted(seq, Position::new(index, term))
            }
            Event::HardStateSaved { seq } => self.on_hard_state_saved(seq),
            Event::StorageFailed => self.halt(),
            Event::LogRead { token, entries } => self.on_log_read(token, entries),
            Event::Applied { index } => self.on_applied(index),
            Event::LogPurged { first } => self.on_log_purged(first),
            Event::SnapshotRead {
                token,
                meta,
                offset,
                data,
                done,
            } => {
                self.on_snapshot_read(token, meta, offset, data, done);
            }
            Event::SnapshotUnavailable { token } => self.on_snapshot_unavailable(token),
            Event::SnapshotWritten { token } => self.on_snapshot_written(token),
            Event::SnapshotRefused { token } => self.on_snapshot_refused(token),
            Event::PeerUnreachable { peer } => self.on_peer_unreachable(peer),
        }
    }

    /// Everything that the node wants done, in order. Empty (and not allocated) when there is nothing.
    pub fn take_actions(&mut self) -> Vec<Action> {
        if !self.halted {
            self.flush();
        }
        core::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is needed next, on the clock of [`step`](Self::step).
    #[must_use]
    pub fn deadline(&self) -> u64 {
        if self.halted {
            return u64::MAX;
        }
        let own = if self.state == State::Leader {
            self.heartbeat_at
        } else {
            self.election_at
        };
        self.transfer
            .as_ref()
            .map_or(own, |transfer| own.min(transfer.deadline))
    }

    fn on_tick(&mut self) {
        self.tick_transfer();
        if self.state == State::Leader {
            self.tick_leader();
        } else if self.now >= self.election_at {
            self.on_election_timeout();
        }
    }

    /// Refuses what comes from elsewhere, settles the terms, and hands the rest to its concern.
    fn on_message(&mut self, message: Message) {
        self.metrics.messages_received = self.metrics.messages_received.saturating_add(1);
        if message.to != self.options.id || message.from == self.options.id || message.from == 0 {
            self.violation();
            return;
        }
        if !self.is_welcome(&message) {
            return;
        }
        if message.term > self.hard.term.saturating_add(MAX_TERM_LEAP) {
            self.violation();
            return;
        }
        let Message {
            from, term, body, ..
        } = message;
        if let Body::VoteRequest {
            last,
            pre,
            transfer,
        } = body
        {
            // Requests for votes have rules of their own about terms.
            self.on_vote_request(from, term, last, pre, transfer);
            return;
        }
        let promise = matches!(
            body,
            Body::VoteResponse {
                pre: true,
                granted: true
            }
        );
        if term > self.hard.term && !promise {
            self.become_follower(term, None);
        }
        if term < self.hard.term {
            if body.is_from_leader() {
                // A leader that does not know that its term is over (paper §5.1).
                let outcome = crate::message::AppendOutcome::StaleTerm;
                self.send(from, Body::AppendResponse { seq: 0, outcome });
            }
            return;
        }
        match body {
            Body::VoteRequest { .. } => {}
            Body::VoteResponse { pre, granted } => self.on_vote_response(from, term, pre, granted),
            Body::Append {
                seq,
                prev,
                commit,
                entries,
            } => self.on_append(from, seq, prev, commit, entries),
            Body::AppendResponse { seq, outcome } => self.on_append_response(from, seq, outcome),
            Body::Heartbeat { round, commit } => self.on_heartbeat(from, round, commit),
            Body::HeartbeatResponse {
                round,
                seq,
                received,
                matched,
                applied,
                weight,
            } => {
                let answer = crate::replication::HeartbeatAnswer {
                    round,
                    seq,
                    received,
                    matched,
                    applied,
                    weight,
                };
                self.on_heartbeat_response(from, answer);
            }
            Body::Snapshot {
                meta,
                offset,
                data,
                done,
            } => self.on_snapshot(from, meta, offset, data, done),
            Body::SnapshotResponse {
                id,
                next,
                installed,
            } => {
                self.on_snapshot_response(from, id, next, installed);
            }
            Body::TimeoutNow => self.on_timeout_now(from),
        }
    }

    /// Whether a message comes from this cluster and, if it is an answer, from the member it claims to be.
    ///
    /// | this node | the message | |
    /// |---|---|---|
    /// | of no cluster | a leader's, of some cluster | adopts that cluster |
    /// | of no cluster | any other | dropped: it has neither log nor vote to offer |
    /// | of a cluster | of another cluster | refused |
    /// | of a cluster | an answer of no member | dropped |
    /// | of a cluster | an answer of another incarnation | refused |
    ///
    /// Requests are taken from any node of the cluster: the configuration here may be older than the sender's.
    fn is_welcome(&mut self, message: &Message) -> bool {
        if self.hard.cluster == 0 {
            if message.cluster != 0 && message.body.is_from_leader() {
                self.hard.cluster = message.cluster;
                self.saves.mark_dirty();
                return true;
            }
            return false;
        }
        if message.cluster != self.hard.cluster {
            self.refuse(message.from, RefusedReason::OtherCluster);
            return false;
        }
        if !message.body.is_response() {
            return true;
        }
        match self.configurations.current().member(message.from) {
            None => false,
            Some(member) if !member.accepts(message.incarnation) => {
                self.refuse(message.from, RefusedReason::OtherIncarnation);
                false
            }
            Some(_) => {
                self.note_incarnation(message.from, message.incarnation);
                true
            }
        }
    }

    /// Ties a peer whose configuration does not name an incarnation to the one that answers. If another one answers
    /// later, the peer was wiped, and what it held is gone.
    fn note_incarnation(&mut self, peer: NodeId, incarnation: u64) {
        let (last, now, next_seq) = (self.log.last().index, self.now, self.next_seq);
        let Some(progress) = self.progress_mut(peer) else {
            return;
        };
        if progress.incarnation == 0 {
            progress.incarnation = incarnation;
        } else if progress.incarnation != incarnation {
            let stream = progress.open_stream();
            *progress = Progress::new(peer, incarnation, last, next_seq, now);
            self.close_stream(stream);
        }
    }

    fn refuse(&mut self, peer: NodeId, reason: RefusedReason) {
        self.metrics.messages_refused = self.metrics.messages_refused.saturating_add(1);
        if self.refused.len() < MAX_REPORTED_PEERS && self.refused.insert(peer) {
            self.actions.push(Action::PeerRefused { peer, reason });
        }
    }

    /// Counts something that no correct peer does.
    pub(crate) fn violation(&mut self) {
        self.metrics.violations = self.metrics.violations.saturating_add(1);
    }

    /// Storage failed: nothing this node says could be relied on.
    fn halt(&mut self) {
        self.leave_leadership();
        self.state = State::Follower;
        self.leader = None;
        self.end_transfer(TransferOutcome::Failed);
        self.halted = true;
        self.outbox.clear();
        self.announce();
    }

    /// Tells the driver of a change of state, term or leader, if there is one.
    pub(crate) fn announce(&mut self) {
        let now = (self.state, self.hard.term, self.leader);
        if now != self.announced {
            self.announced = now;
            self.actions.push(Action::StateChanged {
                state: now.0,
                term: now.1,
                leader: now.2,
            });
        }
    }

    pub(crate) fn progress_mut(&mut self, peer: NodeId) -> Option<&mut Progress> {
        let at = self
            .progress
            .binary_search_by_key(&peer, |progress| progress.id)
            .ok()?;
        self.progress.get_mut(at)
    }

    pub(crate) fn progress_of(&self, peer: NodeId) -> Option<&Progress> {
        let at = self
            .progress
            .binary_search_by_key(&peer, |progress| progress.id)
            .ok()?;
        self.progress.get(at)
    }
}
