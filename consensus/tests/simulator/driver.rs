//! A node's driver: doing what the core asks for, on a simulated disk and network.

use ferrolite_consensus::{
    Action, Body, Entry, Event, Index, Message, NodeId, RefusedReason, State,
};

use super::Violation;
use super::history::digest;
use super::invariants::Observation;
use super::node::{Incoming, Node, snapshot_bytes, snapshot_state};
use super::script::{brief, members, span};
use super::world::{Pending, World};

impl World {
    pub fn act(&mut self, id: NodeId, action: Action) -> Result<(), Violation> {
        let boot = self.nodes.get(&id).map_or(0, |node| node.boot);
        match action {
            Action::Send(message) => {
                self.observe(&Observation::Sent {
                    node: id,
                    message: &message,
                })?;
                self.transmit(message);
            }
            Action::Append { seq, entries } => {
                self.note(|| format!("n{id} append #{seq}: {}", span(&entries)));
                self.observe(&Observation::Appending {
                    node: id,
                    entries: &entries,
                })?;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.disk.append(seq, entries);
                }
                let mut delay = self.disk_delay_us();
                if self.slow_log == Some(id) {
                    delay += 300_000;
                }
                self.schedule(
                    delay,
                    Pending::Appended {
                        node: id,
                        boot,
                        seq,
                    },
                );
            }
            Action::SaveHardState { seq, state } => {
                self.note(|| {
                    format!(
                        "n{id} save #{seq}: term {} vote {:?}",
                        state.term, state.vote
                    )
                });
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.disk.save(seq, state);
                }
                let delay = self.disk_delay_us();
                self.schedule(
                    delay,
                    Pending::Saved {
                        node: id,
                        boot,
                        seq,
                    },
                );
            }
            Action::Commit { index } => self.note(|| format!("n{id} commit {index}")),
            Action::Apply {
                first,
                last,
                entries,
            } => self.apply(id, boot, first, last, entries)?,
            Action::ReadLog {
                token,
                lo,
                hi,
                max_bytes,
                ..
            } => {
                let delay = self.disk_delay_us();
                self.schedule(
                    delay,
                    Pending::LogRead {
                        node: id,
                        boot,
                        token,
                        lo,
                        hi,
                        max_bytes,
                    },
                );
            }
            Action::ReadReady { token, index } => {
                self.report.reads += 1;
                self.note(|| format!("n{id} read {token} ready at {index}"));
                self.observe(&Observation::ReadReady {
                    node: id,
                    token,
                    index,
                })?;
            }
            Action::StateChanged {
                state,
                term,
                leader,
            } => {
                self.note(|| format!("n{id} is {state:?} in term {term}, leader {leader:?}"));
                if state == State::Leader {
                    self.report.elections += 1;
                    self.observe(&Observation::Elected { node: id, term })?;
                }
            }
            Action::ReadSnapshot {
                token,
                id: stream,
                offset,
                max_bytes,
                ..
            } => {
                let delay = self.disk_delay_us();
                let what = Pending::SnapshotRead {
                    node: id,
                    boot,
                    token,
                    id: stream,
                    offset,
                    max_bytes,
                };
                self.schedule(delay, what);
            }
            Action::CloseSnapshot { id: stream, .. } => {
                self.report.hit("snapshot streams closed");
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.streams.remove(&stream);
                }
            }
            Action::WriteSnapshot {
                meta,
                offset,
                data,
                done,
                ..
            } => {
                self.write_snapshot(id, boot, meta, offset, &data, done)?;
            }
            Action::ConfigurationChanged {
                index,
                configuration,
            } => {
                self.note(|| format!("n{id} configuration {index}: {}", members(&configuration)));
                if configuration.is_joint() {
                    self.report.hit("joint configurations");
                }
                self.observe(&Observation::Reconfigured {
                    node: id,
                    index,
                    configuration: &configuration,
                })?;
                self.watch_farewell(id, &configuration);
            }
            Action::PeerRefused { reason, .. } => self.report.hit(match reason {
                RefusedReason::OtherIncarnation => "peers refused for their incarnation",
                _ => "peers refused for their cluster",
            }),
            _ => {}
        }
        Ok(())
    }

    fn apply(
        &mut self,
        id: NodeId,
        boot: u64,
        first: Index,
        last: Index,
        mut entries: Vec<Entry>,
    ) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        if entries.is_empty() {
            entries = read_log(node, first, last, u64::MAX);
        }
        for entry in &entries {
            node.app.hash = digest(node.app.hash, entry);
            node.app.index = entry.index;
        }
        self.observe(&Observation::Applying {
            node: id,
            first,
            last,
            entries: &entries,
        })?;
        let delay = self.disk_delay_us();
        self.schedule(
            delay,
            Pending::Applied {
                node: id,
                boot,
                index: last,
            },
        );
        Ok(())
    }

    fn write_snapshot(
        &mut self,
        id: NodeId,
        boot: u64,
        meta: ferrolite_consensus::SnapshotMeta,
        offset: u64,
        data: &[u8],
        done: bool,
    ) -> Result<(), Violation> {
        let delay = self.disk_delay_us();
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        if offset == 0 {
            node.incoming = Some(Incoming {
                meta: meta.clone(),
                bytes: Vec::new(),
            });
        }
        let received = node
            .incoming
            .as_ref()
            .map(|incoming| (incoming.meta.id, incoming.bytes.len() as u64));
        if received != Some((meta.id, offset)) {
            let details = format!(
                "n{id} is to write snapshot {} at {offset}, but has {received:?}",
                meta.id
            );
            return Err(Violation {
                invariant: "snapshot chunks in order",
                details,
            });
        }
        if let Some(incoming) = &mut node.incoming {
            incoming.bytes.extend_from_slice(data);
        }
        let next = offset + data.len() as u64;
        self.schedule(
            delay,
            Pending::SnapshotWritten {
                node: id,
                boot,
                id: meta.id,
                next,
                done,
            },
        );
        Ok(())
    }

    /// The network: a message may be lost, doubled, or late.
    fn transmit(&mut self, message: Message) {
        if self.is_cut(message.from, message.to) {
            return;
        }
        if !self.calm {
            if self.tape.chance(self.profile.drop) {
                self.report.hit("messages lost");
                self.note(|| {
                    format!(
                        "      lost: n{} -> n{} t{} {}",
                        message.from,
                        message.to,
                        message.term,
                        brief(&message)
                    )
                });
                return;
            }
            if self.tape.chance(self.profile.duplicate) {
                self.report.hit("messages doubled");
                let delay = self.message_delay_us();
                self.schedule(delay, Pending::Deliver(message.clone()));
            }
        }
        let mut delay = self.message_delay_us();
        if self.slow.contains(&(message.from, message.to)) {
            self.report.hit("messages on slow links");
            delay += 100_000 + self.tape.below(400) * 1000;
        }
        if message.body == Body::TimeoutNow && !self.calm && self.tape.chance(self.profile.transfer)
        {
            self.report.hit("calls to take over that come too late");
            // So late that the leader has given up the transfer.
            delay += 300_000 + self.tape.below(600) * 1000;
        }
        self.schedule(delay, Pending::Deliver(message));
    }

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
        let filler = self.tape.below(40) as usize;
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
                node.streams
                    .insert(fresh, (meta, snapshot_bytes(state, filler)));
                (fresh, 0)
            }
        };
        let Some((meta, bytes)) = node.streams.get(&id) else {
            return Event::SnapshotUnavailable { token };
        };
        let start = (offset as usize).min(bytes.len());
        let end = start.saturating_add(max_bytes as usize).min(bytes.len());
        let data = bytes.slice(start..end);
        Event::SnapshotRead {
            token,
            meta: meta.clone(),
            offset,
            data,
            done: end == bytes.len(),
        }
    }

    /// Puts a received snapshot in place of state and log. Returns `false` if its bytes make no sense.
    pub fn install(&mut self, id: NodeId, stream: u64) -> Result<bool, Violation> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(false);
        };
        let Some(incoming) = node.incoming.take_if(|incoming| incoming.meta.id == stream) else {
            return Ok(false);
        };
        let Some(state) = snapshot_state(&incoming.bytes) else {
            return Ok(false);
        };
        let meta = incoming.meta;
        let base = (meta.configuration_index, meta.configuration.clone());
        node.disk.install(meta.position, state, base);
        node.app = state;
        self.report.snapshots += 1;
        self.observe(&Observation::Installed {
            node: id,
            meta: &meta,
            state,
        })?;
        Ok(true)
    }
}

pub fn read_log(node: &Node, lo: Index, hi: Index, max_bytes: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let mut entries = Vec::new();
    for index in lo..=hi {
        let Some(entry) = node.disk.current.get(index) else {
            break;
        };
        bytes += entry.payload.len() as u64;
        if bytes > max_bytes && !entries.is_empty() {
            break;
        }
        entries.push(entry.clone());
    }
    entries
}
