//! Snapshots as a driver has them: streams that are read in chunks, and chunks that are written one after the other.
//!
//! A stream is the application's state and some filler, so that it takes several chunks. The filler says how often the
//! stream had been read from when each byte of it was: like database files, that are sent while they are in use, it is
//! another one each time.

use std::collections::VecDeque;

use bytes::Bytes;
use ferrolite_consensus::{Event, NodeId, SnapshotMeta};

use super::Violation;
use super::disk::AppState;
use super::invariants::Observation;
use super::world::{Pending, World};

/// Bytes of the state, before the filler.
const STATE_BYTES: usize = 16;

/// A snapshot being sent.
pub struct Stream {
    meta: SnapshotMeta,
    state: AppState,
    filler: usize,
    /// How often it was read from; stops at the greatest.
    reads: u8,
}

impl Stream {
    fn bytes(&mut self) -> Bytes {
        self.reads = self.reads.saturating_add(1);
        let mut bytes = Vec::with_capacity(STATE_BYTES + self.filler);
        bytes.extend_from_slice(&self.state.index.to_le_bytes());
        bytes.extend_from_slice(&self.state.hash.to_le_bytes());
        bytes.resize(STATE_BYTES + self.filler, self.reads);
        Bytes::from(bytes)
    }
}

/// The state that a stream has brought.
fn state(bytes: &[u8]) -> Option<AppState> {
    let index = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let hash = u64::from_le_bytes(bytes.get(8..STATE_BYTES)?.try_into().ok()?);
    Some(AppState { index, hash })
}

/// Which reads the bytes of the filler are of.
pub fn versions(bytes: &[u8]) -> &[u8] {
    bytes.get(STATE_BYTES..).unwrap_or_default()
}

/// A chunk that a driver is to write.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub token: u64,
    /// Which beginning of a stream it is of; set by the receiver.
    pub attempt: u64,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub data: Bytes,
    pub done: bool,
}

/// What a driver has of the snapshot that it is given.
#[derive(Default)]
pub struct Receiver {
    /// The stream and its bytes, as far as they are written.
    written: Option<(u64, Vec<u8>)>,
    /// What it has still to write.
    pub writes: VecDeque<Chunk>,
    /// The stream of the chunk that it was given last, and the offset after that.
    pub handed: Option<(u64, u64)>,
    attempt: u64,
}

impl Receiver {
    /// Writes a chunk; `false` if it does not go on from what there is.
    fn write(&mut self, chunk: &Chunk) -> bool {
        if chunk.offset == 0 {
            self.written = Some((chunk.meta.id, Vec::new()));
        }
        match &mut self.written {
            Some((id, bytes)) if *id == chunk.meta.id && bytes.len() as u64 == chunk.offset => {
                bytes.extend_from_slice(&chunk.data);
                true
            }
            _ => false,
        }
    }
}

impl World {
    pub fn read_snapshot(
        &mut self,
        node: NodeId,
        token: u64,
        id: Option<u64>,
        offset: u64,
        max_bytes: u64,
    ) -> Event {
        if self.mishap("snapshots that cannot be read now") {
            return Event::SnapshotUnavailable { token };
        }
        let fresh = self.number();
        let filler = self.tape.below(120) as usize + 1;
        let Some(node) = self.nodes.get_mut(&node) else {
            return Event::SnapshotUnavailable { token };
        };
        let known = id.filter(|id| node.streams.contains_key(id));
        let (id, offset) = match known {
            Some(id) => (id, offset),
            None => {
                let state = node.disk.checkpoint;
                let meta = node
                    .raft
                    .as_ref()
                    .and_then(|raft| raft.snapshot_meta(fresh, state.index));
                let Some(meta) = meta else {
                    return Event::SnapshotUnavailable { token };
                };
                let stream = Stream {
                    meta,
                    state,
                    filler,
                    reads: 0,
                };
                node.streams.insert(fresh, stream);
                (fresh, 0)
            }
        };
        let Some(stream) = node.streams.get_mut(&id) else {
            return Event::SnapshotUnavailable { token };
        };
        let bytes = stream.bytes();
        let start = (offset as usize).min(bytes.len());
        let end = start.saturating_add(max_bytes as usize).min(bytes.len());
        Event::SnapshotRead {
            token,
            meta: stream.meta.clone(),
            offset,
            data: bytes.slice(start..end),
            done: end == bytes.len(),
        }
    }

    /// A node's driver is given a chunk.
    pub fn write_chunk(
        &mut self,
        id: NodeId,
        boot: u64,
        mut chunk: Chunk,
    ) -> Result<(), Violation> {
        self.observe(&Observation::Writing {
            node: id,
            chunk: &chunk,
        })?;
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let receiver = &mut node.receiver;
        if chunk.offset == 0 {
            receiver.attempt += 1;
        }
        chunk.attempt = receiver.attempt;
        receiver.handed = Some((chunk.meta.id, chunk.offset + chunk.data.len() as u64));
        receiver.writes.push_back(chunk);
        if receiver.writes.len() > 1 {
            self.report.hit("chunks of snapshots that wait for a disk");
        }
        let delay = self.disk_delay_us();
        self.schedule(delay, Pending::ChunkWritten { node: id, boot });
        Ok(())
    }

    /// A node's driver has written a chunk, and perhaps more than one before it says so.
    pub fn chunk_written(&mut self, id: NodeId) -> Result<Option<Event>, Violation> {
        loop {
            let receiver = self.nodes.get_mut(&id).map(|node| &mut node.receiver);
            let Some(chunk) = receiver.and_then(|receiver| receiver.writes.pop_front()) else {
                return Ok(None);
            };
            let is_bad = self.mishap("chunks of snapshots that cannot be used");
            let Some(receiver) = self.nodes.get_mut(&id).map(|node| &mut node.receiver) else {
                return Ok(None);
            };
            let is_written = !is_bad && receiver.write(&chunk);
            let (token, stream) = (chunk.token, chunk.meta.id);
            if !is_written || chunk.done && !self.install(id, &chunk.meta)? {
                let receiver = self.nodes.get_mut(&id).map(|node| &mut node.receiver);
                if let Some(receiver) = receiver.filter(|it| it.attempt == chunk.attempt) {
                    receiver.written = None;
                    receiver.handed = None;
                }
                self.note(|| format!("n{id} snapshot {stream} refused at {}", chunk.offset));
                return Ok(Some(Event::SnapshotRefused { token }));
            }
            self.note(|| {
                let next = chunk.offset + chunk.data.len() as u64;
                format!(
                    "n{id} snapshot {stream} written up to {next}, last: {}",
                    chunk.done
                )
            });
            let waiting = self.nodes.get(&id).map_or(0, |n| n.receiver.writes.len());
            if waiting > 0 && self.tape.below(4) == 3 {
                self.report.hit("chunks of snapshots answered together");
                continue;
            }
            return Ok(Some(Event::SnapshotWritten { token }));
        }
    }

    /// Puts a received snapshot in place of state and log. Returns `false` if its bytes make no sense.
    fn install(&mut self, id: NodeId, meta: &SnapshotMeta) -> Result<bool, Violation> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(false);
        };
        let Some((_, bytes)) = node.receiver.written.take() else {
            return Ok(false);
        };
        let Some(state) = state(&bytes) else {
            return Ok(false);
        };
        let base = (meta.configuration_index, meta.configuration.clone());
        node.disk.install(meta.position, state, base);
        node.app = state;
        self.report.snapshots += 1;
        self.observe(&Observation::Installed {
            node: id,
            meta,
            state,
            bytes: &bytes,
        })?;
        Ok(true)
    }
}
