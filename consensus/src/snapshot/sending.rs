//! The leader's part of a snapshot: which chunk is read and sent when.

use alloc::collections::VecDeque;
use bytes::Bytes;

use crate::action::Action;
use crate::entry::{Index, NodeId};
use crate::message::{Body, SnapshotMeta};
use crate::options::Options;
use crate::progress::{Mode, Progress};
use crate::raft::Raft;

/// Where the sending of a snapshot to one peer stands.
///
/// ```text
///   0           offset            next
///   ├── arrived ──┼── on its way ───┼── to be read ──►
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotSend {
    /// The stream and the index that it reaches, once its first chunk was read.
    stream: Option<(u64, Index)>,
    /// The peer has everything before this offset.
    offset: u64,
    /// Everything before this offset was sent; not below `offset`.
    next: u64,
    /// Where the chunks end that are on their way, in order; all of them after `offset`.
    ends: VecDeque<u64>,
    /// A chunk is being read; its token.
    reading: Option<u64>,
    /// What is being read is not what is wanted any more.
    stale: bool,
    /// The last chunk was read, or sent: no other is to be read while something is on its way.
    ending: bool,
    /// How many chunks may be on their way now; at least one, and no more than the option says.
    window_chunks: usize,
    /// The offset from which chunks were last sent again.
    resumed_at: Option<u64>,
    /// When a chunk was last sent or arrived; `None` if what is on its way may be lost.
    moved_at: Option<u64>,
}

/// What a driver has read, but for the bytes.
#[derive(Debug)]
struct Chunk {
    stream: (u64, Index),
    offset: u64,
    len: u64,
    done: bool,
}

/// What becomes of a chunk that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    /// It is not the one that is wanted by now.
    ReadAnother,
    /// It is of no use, and the time for another will come.
    Drop,
}

impl SnapshotSend {
    pub(crate) const fn new() -> Self {
        Self {
            stream: None,
            offset: 0,
            next: 0,
            ends: VecDeque::new(),
            reading: None,
            stale: false,
            ending: false,
            window_chunks: 1,
            resumed_at: None,
            moved_at: None,
        }
    }

    /// The stream that is open.
    pub(crate) fn stream_id(&self) -> Option<u64> {
        self.stream.map(|(id, _)| id)
    }

    /// The log index that the stream reaches.
    pub(crate) fn index(&self) -> Option<Index> {
        self.stream.map(|(_, index)| index)
    }

    /// How many bytes the peer has.
    pub(crate) const fn arrived(&self) -> u64 {
        self.offset
    }

    /// How many chunks are on their way.
    pub(crate) fn inflight_chunks(&self) -> usize {
        self.ends.len()
    }

    /// What is on its way may be lost.
    pub(crate) const fn doubt(&mut self) {
        self.moved_at = None;
    }

    /// Whether the next chunk is to be read now.
    fn wants_chunk(&self, options: &Options) -> bool {
        if self.reading.is_some() || self.ends.is_empty() {
            return self.reading.is_none();
        }
        let bytes = self.next.saturating_sub(self.offset);
        !self.ending
            && self.ends.len() < self.window_chunks
            && bytes.saturating_add(options.snapshot_chunk_bytes) <= options.snapshot_window_bytes
    }

    /// What becomes of the chunk that was asked for.
    fn judge(&mut self, chunk: &Chunk, is_usable: bool) -> Verdict {
        self.reading = None;
        if core::mem::take(&mut self.stale) {
            return Verdict::ReadAnother;
        }
        if !is_usable || self.stream != Some(chunk.stream) || self.next != chunk.offset {
            *self = Self::new();
            if !is_usable || chunk.offset != 0 {
                return Verdict::Drop;
            }
            // The stream that was asked for is gone, or none was.
            self.stream = Some(chunk.stream);
        }
        if chunk.done && !self.ends.is_empty() {
            self.ending = true;
            return Verdict::Drop;
        }
        match chunk.len {
            // It would not end.
            0 if !chunk.done => Verdict::Drop,
            _ => Verdict::Send,
        }
    }

    /// A chunk leaves.
    fn sent(&mut self, chunk: &Chunk, now: u64) {
        self.next = chunk.offset.saturating_add(chunk.len);
        self.ends.push_back(self.next);
        self.ending = chunk.done;
        self.moved_at = Some(now);
    }

    /// The peer has everything before `to`, which is more than before.
    fn advance(&mut self, to: u64, now: u64, options: &Options) {
        self.offset = to;
        let mut arrived = 0_usize;
        while self.ends.front().is_some_and(|end| *end <= to) {
            self.ends.pop_front();
            arrived = arrived.saturating_add(1);
        }
        if to > self.next {
            // More than this leader remembers to have sent: it went back for nothing.
            self.go_on_from(to);
        }
        let window = self.window_chunks.saturating_add(arrived);
        self.window_chunks = window.min(options.snapshot_window_chunks);
        self.moved_at = Some(now);
    }

    /// What was sent from here on is lost, or is known to have arrived.
    fn go_on_from(&mut self, offset: u64) {
        self.next = offset;
        self.ends.clear();
        self.stale = self.reading.is_some();
        self.ending = false;
    }

    /// Sends again what the peer does not have.
    fn resume(&mut self) {
        self.go_on_from(self.offset);
        self.window_chunks = 1;
        self.resumed_at = Some(self.offset);
    }

    /// Gives the stream up for a new one. Returns it, to be closed.
    fn restart(&mut self) -> Option<u64> {
        let before = core::mem::replace(self, Self::new());
        // Its answer is waited for, so that no more than one chunk is being read, whatever a peer says.
        self.reading = before.reading;
        self.stale = before.reading.is_some();
        before.stream_id()
    }
}

impl Raft {
    /// The peer at `at` in the list needs a snapshot.
    pub(crate) fn begin_snapshot(&mut self, at: usize) {
        let Some(progress) = self.progress.get_mut(at) else {
            return;
        };
        progress.begin_snapshot();
        let peer = progress.id;
        self.metrics.snapshots_begun = self.metrics.snapshots_begun.saturating_add(1);
        self.request_chunk(peer);
    }

    /// Asks the driver for the next chunk for a peer, if one more may be on its way.
    fn request_chunk(&mut self, peer: NodeId) {
        let token = self.next_token;
        let Some((progress, options)) = self.sending_to(peer) else {
            return;
        };
        let (peer_applied, max_bytes) = (progress.applied, options.snapshot_chunk_bytes);
        let Mode::Snapshot(send) = &mut progress.mode else {
            return;
        };
        if !send.wants_chunk(options) {
            return;
        }
        send.reading = Some(token);
        let (id, offset) = (send.stream_id(), send.next);
        self.next_token = token.wrapping_add(1);
        self.actions.push(Action::ReadSnapshot {
            token,
            peer,
            id,
            offset,
            max_bytes,
            peer_applied,
        });
    }

    fn sending_to(&mut self, peer: NodeId) -> Option<(&mut Progress, &Options)> {
        let at = self
            .progress
            .binary_search_by_key(&peer, |progress| progress.id)
            .ok()?;
        Some((self.progress.get_mut(at)?, &self.options))
    }

    fn reader_of(&mut self, token: u64) -> Option<(NodeId, &mut SnapshotSend)> {
        self.progress
            .iter_mut()
            .find_map(|progress| match &mut progress.mode {
                Mode::Snapshot(send) if send.reading == Some(token) => Some((progress.id, send)),
                _ => None,
            })
    }

    pub(crate) fn on_snapshot_read(
        &mut self,
        token: u64,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        done: bool,
    ) {
        let now = self.now;
        let position = meta.position;
        // A snapshot from before the log's start leads nowhere; one must be made that the log goes on from.
        let is_usable =
            self.log.term(position.index) == Some(position.term) && position.index <= self.commit;
        let Some((peer, send)) = self.reader_of(token) else {
            // Nobody waits for it any more, nor for a stream that was begun with it.
            self.close_unless_open(meta.id);
            return;
        };
        let before = send.stream_id();
        let chunk = Chunk {
            stream: (meta.id, position.index),
            offset,
            len: data.len() as u64,
            done,
        };
        let verdict = send.judge(&chunk, is_usable);
        if verdict == Verdict::Send {
            send.sent(&chunk, now);
        }
        for id in before.into_iter().chain([meta.id]) {
            self.close_unless_open(id);
        }
        if verdict == Verdict::Send {
            self.metrics.snapshot_chunks_sent = self.metrics.snapshot_chunks_sent.saturating_add(1);
            self.send(
                peer,
                Body::Snapshot {
                    meta,
                    offset,
                    data,
                    done,
                },
            );
        }
        if verdict != Verdict::Drop {
            self.request_chunk(peer);
        }
    }

    pub(crate) fn on_snapshot_unavailable(&mut self, token: u64) {
        if let Some((_, send)) = self.reader_of(token) {
            send.reading = None;
            send.stale = false;
        }
    }

    pub(crate) fn on_snapshot_response(
        &mut self,
        from: NodeId,
        id: u64,
        next: u64,
        installed: bool,
    ) {
        let (now, next_seq) = (self.now, self.next_seq);
        let Some((progress, options)) = self.sending_to(from) else {
            return;
        };
        progress.contact_at = now;
        let Mode::Snapshot(send) = &mut progress.mode else {
            return;
        };
        let Some((_, index)) = send.stream.filter(|(stream, _)| *stream == id) else {
            return;
        };
        if installed {
            let stream = progress.open_stream();
            progress.accepted(index);
            progress.probe(progress.matched.saturating_add(1), next_seq);
            self.close_stream(stream);
            self.advance_commit();
        } else if next > send.offset {
            send.advance(next, now, options);
            self.request_chunk(from);
        } else if next == send.offset {
            if !send.ends.is_empty() && send.resumed_at != Some(next) {
                self.resume_snapshot(from);
            }
        } else if next == 0 {
            let stream = send.restart();
            self.close_stream(stream);
            self.request_chunk(from);
        }
    }

    /// Sends again what the peer does not have.
    fn resume_snapshot(&mut self, peer: NodeId) {
        if let Some(Progress {
            mode: Mode::Snapshot(send),
            ..
        }) = self.progress_mut(peer)
        {
            send.resume();
            self.metrics.snapshots_resumed = self.metrics.snapshots_resumed.saturating_add(1);
            self.request_chunk(peer);
        }
    }

    /// The peer answers, but perhaps chunks were lost, or one could not be read: try again after a while.
    pub(crate) fn retry_snapshot(&mut self, peer: NodeId) {
        let (now, patience) = (self.now, self.options.election_timeout_max_ms);
        let Some(progress) = self.progress_mut(peer) else {
            return;
        };
        let Mode::Snapshot(send) = &progress.mode else {
            return;
        };
        let overdue = send
            .moved_at
            .is_none_or(|at| now > at.saturating_add(patience));
        if send.ends.is_empty() {
            self.request_chunk(peer);
        } else if overdue && send.reading.is_none() {
            self.resume_snapshot(peer);
        }
    }

    /// Tells the driver that a stream is not read any more.
    pub(crate) fn close_stream(&mut self, stream: Option<u64>) {
        if let Some(id) = stream {
            self.actions.push(Action::CloseSnapshot { id });
        }
    }

    fn close_unless_open(&mut self, id: u64) {
        if self
            .progress
            .iter()
            .all(|progress| progress.open_stream() != Some(id))
        {
            self.close_stream(Some(id));
        }
    }
}
