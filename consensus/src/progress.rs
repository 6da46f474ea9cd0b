//! What a leader knows about one peer, and how fast it may send to it.
//!
//! A peer is in one of three modes. *Probe*: the leader looks for the place where the logs agree, one message at a
//! time. *Replicate*: the logs agree, and messages follow one another without waiting, within a window counted in
//! messages and bytes. *Snapshot*: the peer needs what the log no longer holds.
//!
//! ```text
//!            accepted                      position purged
//!   Probe ───────────► Replicate    any ───────────────────► Snapshot
//!     ▲                    │                                    │
//!     └────────────────────┴── rejected, lost, unreachable ◄────┘ installed
//! ```

use alloc::collections::VecDeque;

use crate::entry::{Incarnation, Index, NodeId};
use crate::options::Options;
use crate::snapshot::SnapshotSend;

/// How a peer is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One append at a time until the logs are known to agree.
    Probe {
        /// Appends from this number on asked about the present `next`: only their rejections lead further back.
        since: u64,
        /// An append was sent and not answered.
        waiting: bool,
    },
    /// Appends follow one another.
    Replicate,
    /// Chunks of a snapshot go, within a window of their own.
    Snapshot(SnapshotSend),
}

/// A leader's view of one peer.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// The incarnation that answers count from; zero until the first answer of a peer whose configuration does not say.
    pub(crate) incarnation: Incarnation,
    /// The peer holds the leader's log up to here, on disk. Only lowered when the peer is seen to have lost entries.
    pub(crate) matched: Index,
    /// The next entry to send; always greater than `matched`.
    pub(crate) next: Index,
    pub(crate) mode: Mode,
    /// Appends with entries that were not acknowledged: last index and bytes of each, ascending.
    inflight: VecDeque<(Index, u64)>,
    inflight_bytes: u64,
    /// Answers to older appends do not count: they were given before the peer lost entries.
    pub(crate) least_seq: u64,
    /// Entries for this peer are being read from the log; the token.
    pub(crate) reading: Option<u64>,
    /// A heartbeat round that was not answered, and the last index that had been sent before it: if the answer to it, or
    /// to a later one, tells of less, something was lost.
    pub(crate) mark: Option<(u64, Index)>,
    /// The latest round that the peer has answered.
    pub(crate) acked_round: u64,
    /// When the peer last answered, or when this leadership began.
    pub(crate) contact_at: u64,
    /// The commit index that the last append carried.
    pub(crate) commit_sent: Index,
    /// What the peer has applied, as it last said.
    pub(crate) applied: Index,
    /// The peer's wish not to lead.
    pub(crate) weight: u32,
}

impl Progress {
    pub(crate) const fn new(
        id: NodeId,
        incarnation: Incarnation,
        last: Index,
        next_seq: u64,
        now: u64,
    ) -> Self {
        Self {
            id,
            incarnation,
            matched: 0,
            next: last.saturating_add(1),
            mode: Mode::Probe {
                since: next_seq,
                waiting: false,
            },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            least_seq: next_seq,
            reading: None,
            mark: None,
            acked_round: 0,
            contact_at: now,
            commit_sent: 0,
            applied: 0,
            weight: 0,
        }
    }

    /// Whether another append must wait.
    pub(crate) fn is_paused(&self, options: &Options) -> bool {
        match &self.mode {
            Mode::Probe { waiting, .. } => *waiting,
            Mode::Replicate => {
                self.reading.is_some()
                    || self.inflight.len() >= options.max_inflight_messages
                    || self.inflight_bytes >= options.max_inflight_bytes
            }
            Mode::Snapshot(_) => true,
        }
    }

    /// Goes back to looking for the place where the logs agree, starting at `next`; the next append is `next_seq`.
    pub(crate) fn probe(&mut self, next: Index, next_seq: u64) {
        self.mode = Mode::Probe {
            since: next_seq,
            waiting: false,
        };
        self.next = next.max(self.matched.saturating_add(1));
        self.clear_flow();
    }

    /// The peer has lost entries that it held: nothing it said before counts from here on.
    pub(crate) fn regress(&mut self, matched: Index, next_seq: u64) {
        self.matched = matched;
        self.least_seq = next_seq;
        self.probe(matched.saturating_add(1), next_seq);
    }

    /// Begins to send a snapshot.
    pub(crate) fn begin_snapshot(&mut self) {
        self.mode = Mode::Snapshot(SnapshotSend::new());
        self.clear_flow();
    }

    fn clear_flow(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.reading = None;
    }

    /// Notes an append that leaves now, with entries up to `last`.
    pub(crate) fn sent(&mut self, last: Option<Index>, bytes: u64) {
        match &mut self.mode {
            Mode::Probe { waiting, .. } => *waiting = true,
            Mode::Replicate => {
                if let Some(last) = last {
                    self.next = last.saturating_add(1);
                    self.inflight.push_back((last, bytes));
                    self.inflight_bytes = self.inflight_bytes.saturating_add(bytes);
                }
            }
            Mode::Snapshot(_) => {}
        }
    }

    /// The peer holds the log up to `matched`.
    pub(crate) fn accepted(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
        while let Some(&(_, bytes)) = self
            .inflight
            .front()
            .filter(|(last, _)| *last <= self.matched)
        {
            self.inflight.pop_front();
            self.inflight_bytes = self.inflight_bytes.saturating_sub(bytes);
        }
        self.next = self.next.max(self.matched.saturating_add(1));
    }

    /// The logs agree: send without waiting.
    pub(crate) fn replicate(&mut self) {
        self.mode = Mode::Replicate;
        self.next = self.matched.saturating_add(1);
        self.clear_flow();
    }

    pub(crate) fn inflight_messages(&self) -> usize {
        self.inflight.len()
    }

    pub(crate) const fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes
    }

    pub(crate) fn inflight_chunks(&self) -> usize {
        match &self.mode {
            Mode::Snapshot(send) => send.inflight_chunks(),
            _ => 0,
        }
    }

    /// The snapshot stream that is open for this peer.
    pub(crate) fn open_stream(&self) -> Option<u64> {
        match &self.mode {
            Mode::Snapshot(send) => send.stream_id(),
            _ => None,
        }
    }
}

/// What a leader knows about a peer, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// It holds the leader's log up to here, on disk.
    pub matched: Index,
    /// The next entry that it is sent.
    pub next: Index,
    /// What it has applied, as it last said.
    pub applied: Index,
    /// Its wish not to lead.
    pub weight: u32,
    /// When it last answered, on the clock of [`Raft::step`](crate::Raft::step).
    pub contact_at: u64,
    /// How it is being served.
    pub mode: PeerMode,
    /// Appends with entries on their way.
    pub inflight_messages: usize,
}

/// How a leader serves a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMode {
    /// The leader looks for the place where the logs agree.
    Probe,
    /// The peer gets entries as they come.
    Replicate,
    /// The peer gets a snapshot; so many bytes have arrived.
    Snapshot {
        /// Bytes that the peer has.
        offset: u64,
    },
}

impl Progress {
    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            id: self.id,
            matched: self.matched,
            next: self.next,
            applied: self.applied,
            weight: self.weight,
            contact_at: self.contact_at,
            mode: match &self.mode {
                Mode::Probe { .. } => PeerMode::Probe,
                Mode::Replicate => PeerMode::Replicate,
                Mode::Snapshot(send) => PeerMode::Snapshot {
                    offset: send.arrived(),
                },
            },
            inflight_messages: self.inflight_messages(),
        }
    }
}
