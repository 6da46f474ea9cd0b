//! A node's disk, and the doing of what the node asks for.

use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use ferrolite_consensus::{
    Action, Configuration, Entry, EntryKind, Event, HardState, Index, NodeId, Options, Position,
    Raft, Recovered, SnapshotMeta,
};

use super::Scene;
use super::show::members;

/// A node and its disk.
#[derive(Default)]
pub struct Machine {
    pub raft: Option<Raft>,
    pub hard: HardState,
    pub boundary: Position,
    pub base: Option<(Index, Configuration)>,
    pub entries: Vec<Entry>,
    pub applied: Index,
    /// Completions that wait for `persist`.
    pub held: Vec<Event>,
    pub holds: bool,
    pub options: Option<Options>,
    /// How many chunks a snapshot of this node has.
    pub chunks: u64,
}

impl Machine {
    pub fn recovered(&self, damaged_from: Option<Index>) -> Recovered {
        let mut recovered = Recovered::empty();
        recovered.hard_state = self.hard;
        recovered.boundary = self.boundary;
        recovered.last_index = self.boundary.index;
        recovered.configuration = self.base.clone();
        recovered.applied = self.applied;
        recovered.damaged_from = damaged_from;
        for entry in &self.entries {
            recovered.push(entry).unwrap();
        }
        recovered
    }

    fn write(&mut self, entries: Vec<Entry>) {
        let first = entries[0].index;
        self.entries.retain(|entry| entry.index < first);
        self.entries.extend(entries);
    }
}

impl Scene {
    pub fn drain(&mut self, id: NodeId) -> Result<(), Box<dyn Error>> {
        loop {
            let now = self.now;
            let actions = self.raft(id)?.take_actions();
            if actions.is_empty() {
                return Ok(());
            }
            let mut events = Vec::new();
            for action in actions {
                self.act(id, action, &mut events)?;
            }
            for event in events {
                self.raft(id)?.step(now, event);
            }
        }
    }

    fn act(
        &mut self,
        id: NodeId,
        action: Action,
        events: &mut Vec<Event>,
    ) -> Result<(), Box<dyn Error>> {
        let machine = self.machines.get_mut(&id).ok_or("no such node")?;
        let mut written = |event: Event, machine: &mut Machine| {
            if machine.holds {
                machine.held.push(event)
            } else {
                events.push(event)
            }
        };
        match action {
            Action::Send(message) => {
                if !self.cut.contains(&(message.from, message.to)) {
                    self.messages.push(message);
                }
            }
            Action::Append { seq, entries } => {
                let end = entries
                    .last()
                    .map(Entry::position)
                    .ok_or("an empty append")?;
                machine.write(entries);
                written(
                    Event::Persisted {
                        seq,
                        index: end.index,
                        term: end.term,
                    },
                    machine,
                );
            }
            Action::SaveHardState { seq, state } => {
                machine.hard = state;
                written(Event::HardStateSaved { seq }, machine);
            }
            Action::Apply {
                first,
                last,
                entries,
            } => {
                machine.applied = last;
                let from = if entries.is_empty() {
                    &machine.entries
                } else {
                    &entries
                };
                let texts: Vec<String> = from
                    .iter()
                    .filter(|entry| {
                        entry.kind == EntryKind::Normal && (first..=last).contains(&entry.index)
                    })
                    .map(|entry| String::from_utf8_lossy(&entry.payload).into_owned())
                    .filter(|text| !text.is_empty())
                    .collect();
                writeln!(
                    self.out,
                    "{id} applies {first}..={last} {}",
                    texts.join(" ")
                )?;
                events.push(Event::Applied { index: last });
            }
            Action::Commit { index } => writeln!(self.out, "{id} commits {index}")?,
            Action::ReadLog {
                token,
                lo,
                hi,
                max_bytes,
                ..
            } => {
                writeln!(self.out, "{id} reads its log from {lo}")?;
                let mut bytes = 0;
                let wanted = machine
                    .entries
                    .iter()
                    .filter(|entry| (lo..=hi).contains(&entry.index));
                let entries = wanted
                    .take_while(|entry| {
                        let fits = bytes == 0 || bytes + (entry.payload.len() as u64) < max_bytes;
                        bytes += entry.payload.len() as u64 + 1;
                        fits
                    })
                    .cloned()
                    .collect();
                events.push(Event::LogRead { token, entries });
            }
            Action::ReadSnapshot {
                token,
                peer,
                id: stream,
                offset,
                ..
            } => {
                writeln!(self.out, "{id} reads a snapshot for {peer} at {offset}")?;
                let index = machine.applied;
                let meta = machine
                    .raft
                    .as_ref()
                    .and_then(|raft| raft.snapshot_meta(stream.unwrap_or(index), index));
                events.push(match meta {
                    // A stream of chunks of four bytes.
                    Some(meta) => Event::SnapshotRead {
                        token,
                        meta,
                        offset,
                        data: Bytes::from(index.to_le_bytes()[..4].to_vec()),
                        done: offset + 4 >= 4 * machine.chunks,
                    },
                    None => Event::SnapshotUnavailable { token },
                });
            }
            Action::WriteSnapshot {
                token,
                meta,
                offset,
                done,
                ..
            } => {
                writeln!(
                    self.out,
                    "{id} writes the snapshot of {} at {offset}",
                    meta.position.index
                )?;
                let event = Event::SnapshotWritten { token };
                if done {
                    install(machine, meta);
                    writeln!(self.out, "{id} installs it")?;
                }
                written(event, machine);
            }
            Action::StateChanged {
                state,
                term,
                leader,
            } => {
                let leader = leader.map_or("none".to_owned(), |leader| leader.to_string());
                writeln!(
                    self.out,
                    "{id} is {state:?} in term {term}, leader {leader}"
                )?;
            }
            Action::ConfigurationChanged {
                index,
                configuration,
            } => {
                writeln!(
                    self.out,
                    "{id} uses configuration {index}: {}",
                    members(&configuration)
                )?;
            }
            Action::CloseSnapshot { .. } => {}
            other => writeln!(self.out, "{id} {other:?}")?,
        }
        Ok(())
    }
}

fn install(machine: &mut Machine, meta: SnapshotMeta) {
    machine.entries.clear();
    machine.boundary = meta.position;
    machine.applied = meta.position.index;
    machine.base = Some((meta.configuration_index, meta.configuration));
}
