//! A node's driver: doing what the core asks for, on a simulated disk and network.

use ferrolite_consensus::{Action, Body, Entry, Index, Message, NodeId, RefusedReason, State};

use super::Violation;
use super::history::digest;
use super::invariants::Observation;
use super::node::Node;
use super::script::{brief, members, span};
use super::snapshots::Chunk;
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
            Action::CloseSnapshot { id: stream } => {
                self.report.hit("snapshot streams closed");
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.streams.remove(&stream);
                }
            }
            Action::WriteSnapshot {
                token,
                meta,
                offset,
                data,
                done,
                ..
            } => {
                let chunk = Chunk {
                    token,
                    attempt: 0,
                    meta,
                    offset,
                    data,
                    done,
                };
                self.write_chunk(id, boot, chunk)?;
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
