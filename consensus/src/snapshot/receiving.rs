//! The follower's part of a snapshot: which chunk is taken, and when the last one is.

use bytes::Bytes;

use crate::action::{Action, State};
use crate::entry::{Index, NodeId};
use crate::message::{Body, SnapshotMeta};
use crate::raft::Raft;

/// A snapshot that is being received.
#[derive(Debug)]
pub(crate) struct Incoming {
    from: NodeId,
    meta: SnapshotMeta,
    /// Writes from this token on are of this stream, since it last began.
    since: u64,
    /// Everything before this offset was handed out to be written.
    next: u64,
    /// Chunks were passed over. The leader is told so when all that was handed out is written.
    has_missed: bool,
    /// The last chunk; it waits until nothing else is being written.
    last: Option<Bytes>,
}

/// A chunk that was handed out to be written.
#[derive(Debug)]
pub(crate) struct ChunkWrite {
    token: u64,
    /// The offset after it.
    end: u64,
    bytes: u64,
    done: bool,
}

impl Raft {
    /// Whether a snapshot is about to replace state and log.
    pub(crate) fn is_installing(&self) -> bool {
        let is_held = |incoming: &Incoming| incoming.last.is_some();
        self.incoming.as_ref().is_some_and(is_held)
            || self.chunk_writes.back().is_some_and(|write| write.done)
    }

    /// Whether a snapshot is one that a correct leader of this term can have sent.
    const fn is_sound_snapshot(&self, meta: &SnapshotMeta) -> bool {
        meta.position.term <= self.hard.term
            && meta.position.index < Index::MAX
            && meta.configuration_index <= meta.position.index
    }

    pub(crate) fn on_snapshot(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        done: bool,
    ) {
        if !self.is_sound_snapshot(&meta) {
            self.violation();
            return;
        }
        if !self.hear_leader(from) || !self.may_write_log() {
            return;
        }
        self.metrics.snapshot_chunks_received =
            self.metrics.snapshot_chunks_received.saturating_add(1);
        let position = meta.position;
        let settled = self.commit.min(self.log.last().index);
        if position.index <= settled || self.log.term(position.index) == Some(position.term) {
            // The log holds what the snapshot would bring.
            self.shared = self.shared.max(position.index);
            self.commit_to(position.index);
            if position.index <= self.log.durable() {
                self.answer_chunk(from, meta.id, 0, true);
            }
            return;
        }
        let has_room = self.has_room_for(data.len() as u64);
        let is_idle = self.chunk_writes.is_empty();
        let is_other = |incoming: &mut Incoming| incoming.meta != meta;
        drop(self.incoming.take_if(is_other));
        let since = self.next_token;
        let incoming = self.incoming.get_or_insert_with(|| Incoming {
            from,
            meta,
            since,
            next: 0,
            has_missed: false,
            last: None,
        });
        incoming.from = from;
        if offset == incoming.next && done {
            incoming.last = Some(data);
        } else if offset == incoming.next && has_room {
            self.write_chunk(data, false);
        } else if is_idle {
            let (id, next) = (incoming.meta.id, incoming.next);
            self.answer_chunk(from, id, next, false);
        } else if offset >= incoming.next {
            incoming.has_missed = true;
        }
        // What came before is being written, or waited for: that is answered when it is done.
    }

    /// Whether so many bytes more may be handed out.
    fn has_room_for(&self, bytes: u64) -> bool {
        let waiting: u64 = self.chunk_writes.iter().map(|write| write.bytes).sum();
        self.chunk_writes.is_empty()
            || self.chunk_writes.len() < self.options.snapshot_window_chunks
                && waiting.saturating_add(bytes) <= self.options.snapshot_window_bytes
    }

    /// Hands out the next chunk of the snapshot that is being received.
    fn write_chunk(&mut self, data: Bytes, done: bool) {
        let token = self.next_token;
        let Some(incoming) = self.incoming.as_mut() else {
            return;
        };
        self.next_token = token.wrapping_add(1);
        let (offset, bytes) = (incoming.next, data.len() as u64);
        incoming.next = offset.saturating_add(bytes);
        self.chunk_writes.push_back(ChunkWrite {
            token,
            end: incoming.next,
            bytes,
            done,
        });
        self.actions.push(Action::WriteSnapshot {
            token,
            from: incoming.from,
            meta: incoming.meta.clone(),
            offset,
            data,
            done,
        });
    }

    /// Hands out the last chunk once nothing else is being written.
    pub(crate) fn flush_snapshot(&mut self) {
        if !self.log.is_quiet() || !self.chunk_writes.is_empty() {
            return;
        }
        let last = self
            .incoming
            .as_mut()
            .and_then(|incoming| incoming.last.take());
        if let Some(data) = last {
            self.write_chunk(data, true);
        }
    }

    /// The writes up to this one have been answered. Returns the last of them, if it was not known before.
    fn end_write(&mut self, token: u64) -> Option<ChunkWrite> {
        let at = self
            .chunk_writes
            .iter()
            .position(|write| write.token == token)?;
        self.chunk_writes.drain(..=at).next_back()
    }

    pub(crate) fn on_snapshot_written(&mut self, token: u64) {
        let Some(write) = self.end_write(token) else {
            return;
        };
        if write.done {
            if let Some(incoming) = self.incoming.take() {
                self.installed(incoming.meta, write.end);
            }
            return;
        }
        let is_idle = self.chunk_writes.is_empty();
        let Some(incoming) = self.incoming.as_mut() else {
            return;
        };
        let (from, id, next) = (incoming.from, incoming.meta.id, incoming.next);
        let says_again = is_idle && core::mem::take(&mut incoming.has_missed);
        if write.token >= incoming.since {
            self.answer_chunk(from, id, write.end, false);
        }
        if says_again {
            self.answer_chunk(from, id, next, false);
        }
    }

    pub(crate) fn on_snapshot_refused(&mut self, token: u64) {
        let Some(write) = self.end_write(token) else {
            return;
        };
        let is_of_it = |incoming: &mut Incoming| write.token >= incoming.since;
        if let Some(incoming) = self.incoming.take_if(is_of_it) {
            self.answer_chunk(incoming.from, incoming.meta.id, 0, false);
        }
    }

    fn answer_chunk(&mut self, to: NodeId, id: u64, next: u64, installed: bool) {
        self.send(
            to,
            Body::SnapshotResponse {
                id,
                next,
                installed,
            },
        );
    }

    /// State and log have been replaced by the snapshot.
    fn installed(&mut self, meta: SnapshotMeta, next: u64) {
        self.metrics.snapshots_installed = self.metrics.snapshots_installed.saturating_add(1);
        let index: Index = meta.position.index;
        self.log.reset(meta.position);
        self.configurations
            .reset(meta.configuration_index, meta.configuration);
        self.configuration_changed();
        self.apply_sent = index;
        self.applied = index;
        self.commit_announced = self.commit_announced.max(index);
        self.commit = self.commit.max(index);
        self.check_claim();
        let Some(leader) = self.leader.filter(|_| self.state == State::Follower) else {
            return;
        };
        self.shared = self.shared.max(index);
        self.answer_chunk(leader, meta.id, next, true);
    }
}
