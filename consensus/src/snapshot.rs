//! Snapshots for peers that need what the log no longer holds (paper §7).
//!
//! To the core a snapshot is an opaque stream of bytes with a [`SnapshotMeta`]. The leader's driver cuts it into chunks,
//! the follower's driver puts them together; the core moves one chunk at a time to each peer and asks for the next when
//! the follower's driver has written the last, so a slow disk slows the stream and nothing piles up. A follower knows
//! the offset that it has reached, and an interrupted stream goes on from there.
//!
//! With the last chunk the follower's driver replaces state and log in one step. The core hands that chunk out only
//! when no other write of the log is under way, and touches the log no more until the driver has answered. A snapshot of
//! a position that the log holds already is not installed at all: the position being committed is all it says.

use bytes::Bytes;

use crate::action::{Action, State};
use crate::entry::{Index, NodeId};
use crate::message::{Body, SnapshotMeta};
use crate::progress::{Mode, SnapshotSend};
use crate::raft::Raft;

/// A snapshot that is being received.
#[derive(Debug)]
pub(crate) struct Incoming {
    from: NodeId,
    meta: SnapshotMeta,
    /// Everything before this offset is written.
    next: u64,
    writing: Writing,
}

/// The chunk after [`Incoming::next`].
#[derive(Debug)]
enum Writing {
    /// Not here yet.
    Nothing,
    /// Handed out: the offset after it, and whether it is the last.
    Chunk { end: u64, done: bool },
    /// The last one; it waits until the log is quiet.
    Held { data: Bytes },
}

impl Raft {
    // ---- Leader ----

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

    /// Asks the driver for the next chunk for a peer.
    fn request_chunk(&mut self, peer: NodeId) {
        let token = self.token();
        let max_bytes = self.options.snapshot_chunk_bytes;
        let Some(progress) = self.progress_mut(peer) else {
            return;
        };
        let peer_applied = progress.applied;
        let Mode::Snapshot(send) = &mut progress.mode else {
            return;
        };
        send.reading = Some(token);
        send.sent_at = None;
        let (id, offset) = (send.stream.map(|(id, _)| id), send.offset);
        self.actions.push(Action::ReadSnapshot {
            token,
            peer,
            id,
            offset,
            max_bytes,
            peer_applied,
        });
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
        let usable =
            self.log.term(position.index) == Some(position.term) && position.index <= self.commit;
        let Some((peer, send)) = self.reader_of(token) else {
            return;
        };
        send.reading = None;
        let continues = send.stream == Some((meta.id, position.index)) && offset == send.offset;
        if !usable || !(continues || offset == 0) {
            // A snapshot from before the log's start leads nowhere; one must be made that the log goes on from.
            *send = SnapshotSend::default();
            return;
        }
        send.stream = Some((meta.id, position.index));
        send.offset = offset;
        send.sent_at = Some(now);
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

    pub(crate) fn on_snapshot_unavailable(&mut self, token: u64) {
        if let Some((_, send)) = self.reader_of(token) {
            send.reading = None;
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
        let Some(progress) = self.progress_mut(from) else {
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
            self.close_stream(from, stream);
            self.advance_commit();
        } else if send.sent_at.is_some() && next != send.offset {
            send.offset = next;
            self.request_chunk(from);
        }
    }

    /// The peer answers, but perhaps a chunk was lost or could not be read: try again after a while.
    pub(crate) fn retry_snapshot(&mut self, peer: NodeId) {
        let (now, patience) = (self.now, self.options.election_timeout_max_ms);
        let Some(progress) = self.progress_mut(peer) else {
            return;
        };
        let Mode::Snapshot(send) = &progress.mode else {
            return;
        };
        let overdue = send
            .sent_at
            .is_none_or(|at| now > at.saturating_add(patience));
        if send.reading.is_none() && overdue {
            self.request_chunk(peer);
        }
    }

    /// Tells the driver that a stream is not read any more.
    pub(crate) fn close_stream(&mut self, peer: NodeId, stream: Option<u64>) {
        if let Some(id) = stream {
            self.actions.push(Action::CloseSnapshot { peer, id });
        }
    }

    // ---- Follower ----

    /// Whether a snapshot is about to replace state and log.
    pub(crate) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| {
            matches!(
                incoming.writing,
                Writing::Held { .. } | Writing::Chunk { done: true, .. }
            )
        })
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
                self.send(
                    from,
                    Body::SnapshotResponse {
                        id: meta.id,
                        next: 0,
                        installed: true,
                    },
                );
            }
            return;
        }
        let (id, length) = (meta.id, data.len() as u64);
        if self
            .incoming
            .as_ref()
            .is_none_or(|incoming| incoming.meta != meta)
        {
            self.incoming = Some(Incoming {
                from,
                meta,
                next: 0,
                writing: Writing::Nothing,
            });
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return;
        };
        incoming.from = from;
        if !matches!(incoming.writing, Writing::Nothing) {
            return;
        }
        if offset != incoming.next {
            let next = incoming.next;
            self.send(
                from,
                Body::SnapshotResponse {
                    id,
                    next,
                    installed: false,
                },
            );
        } else if done {
            incoming.writing = Writing::Held { data };
        } else {
            incoming.writing = Writing::Chunk {
                end: offset.saturating_add(length),
                done,
            };
            let meta = incoming.meta.clone();
            self.actions.push(Action::WriteSnapshot {
                from,
                meta,
                offset,
                data,
                done,
            });
        }
    }

    /// Hands out the last chunk once nothing else is being written.
    pub(crate) fn flush_snapshot(&mut self) {
        if !self.log.is_quiet() {
            return;
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return;
        };
        let Writing::Held { data } = &incoming.writing else {
            return;
        };
        let data = data.clone();
        let (from, meta, offset) = (incoming.from, incoming.meta.clone(), incoming.next);
        incoming.writing = Writing::Chunk {
            end: offset.saturating_add(data.len() as u64),
            done: true,
        };
        self.actions.push(Action::WriteSnapshot {
            from,
            meta,
            offset,
            data,
            done: true,
        });
    }

    pub(crate) fn on_snapshot_written(&mut self, id: u64, next: u64) {
        let Some(incoming) = self
            .incoming
            .as_mut()
            .filter(|incoming| incoming.meta.id == id)
        else {
            return;
        };
        match incoming.writing {
            Writing::Chunk { end, done: true } if end == next => {
                if let Some(incoming) = self.incoming.take() {
                    self.installed(incoming.meta, next);
                }
            }
            Writing::Chunk { end, done: false } if end == next => {
                incoming.next = next;
                incoming.writing = Writing::Nothing;
                let to = incoming.from;
                self.send(
                    to,
                    Body::SnapshotResponse {
                        id,
                        next,
                        installed: false,
                    },
                );
            }
            _ => {}
        }
    }

    pub(crate) fn on_snapshot_refused(&mut self, id: u64) {
        if let Some(incoming) = self.incoming.take_if(|incoming| incoming.meta.id == id) {
            self.send(
                incoming.from,
                Body::SnapshotResponse {
                    id,
                    next: 0,
                    installed: false,
                },
            );
        }
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
        self.send(
            leader,
            Body::SnapshotResponse {
                id: meta.id,
                next,
                installed: true,
            },
        );
    }
}
