//! Time, the network, and all machines: the discrete-event loop.
//!
//! Real time is in microseconds. What is going to happen (a message arrives, a write is done) waits in one queue by
//! time; beside it every node wants a tick at its deadline. [`World::advance`] lets the next of these happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};

use ferrolite_consensus::{
    Action, Body, Configuration, Entry, EntryKind, Event, Index, Lease, Member, Message, NodeId,
    Options, Position, Raft, Role, State, bootstrap,
};

use super::history::{History, digest};
use super::invariants::pre_vote_asks_only::Before;
use super::invariants::{Invariants, Observation};
use super::node::{Incoming, Node, snapshot_bytes, snapshot_state};
use super::tape::Tape;
use super::{Report, Violation};

pub const CLUSTER: u128 = 0xF00D;
/// The most that the clock of a node drifts, either way, in parts per million.
pub const DRIFT_PPM: i64 = 20_000;
/// The most that a clock jumps within one election timeout, in milliseconds.
pub const JUMP_MS: u64 = 20;

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Pending {
    Deliver(Message),
    Appended {
        node: NodeId,
        boot: u64,
        seq: u64,
    },
    Saved {
        node: NodeId,
        boot: u64,
        seq: u64,
    },
    Applied {
        node: NodeId,
        boot: u64,
        index: Index,
    },
    LogRead {
        node: NodeId,
        boot: u64,
        token: u64,
        lo: Index,
        hi: Index,
        max_bytes: u64,
    },
    SnapshotRead {
        node: NodeId,
        boot: u64,
        token: u64,
        id: Option<u64>,
        offset: u64,
        max_bytes: u64,
    },
    SnapshotWritten {
        node: NodeId,
        boot: u64,
        id: u64,
        next: u64,
        done: bool,
    },
    Restart {
        node: NodeId,
    },
}

struct Queued {
    at_us: u64,
    order: u64,
    what: Pending,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.order) == (other.at_us, other.order)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

/// How rough this run is; drawn once, so that runs differ in kind and not only in detail.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub drop: u8,
    pub duplicate: u8,
    pub slow_message: u8,
    pub slow_disk: u8,
    pub crash: u8,
    pub partition: u8,
    pub damage: u8,
    pub disk_failure: u8,
    pub wipe: u8,
    pub jump: u8,
    pub membership: u8,
    pub transfer: u8,
    pub propose: u8,
    pub read: u8,
    pub compact: u8,
}

pub struct World {
    pub tape: Tape,
    pub now_us: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Links on which nothing arrives: (from, to).
    pub cut: HashSet<(NodeId, NodeId)>,
    pub profile: Profile,
    pub history: History,
    pub invariants: Invariants,
    pub report: Report,
    pub script: Vec<String>,
    trace: bool,
    pub next_number: u64,
    /// No more faults: messages and disks are quick and reliable.
    pub calm: bool,
    /// This node is to crash when it has done so many more actions of its next batch.
    pub crash_in_actions: Option<(NodeId, u64)>,
    /// These stay down.
    pub banned: BTreeSet<NodeId>,
}

impl World {
    pub fn new(mut tape: Tape, trace: bool) -> Self {
        let profile = draw_profile(&mut tape);
        let founders = 1 + tape.below(5);
        let total = founders + tape.below(3);
        let template = draw_options(&mut tape);
        let mut world = Self {
            tape,
            now_us: 1_000_000,
            queue: BinaryHeap::new(),
            order: 0,
            nodes: BTreeMap::new(),
            cut: HashSet::new(),
            profile,
            history: History::new(),
            invariants: Invariants::new(),
            report: Report::default(),
            script: Vec::new(),
            trace,
            next_number: 1,
            calm: false,
            crash_in_actions: None,
            banned: BTreeSet::new(),
        };
        let members: Vec<Member> = (1..=founders)
            .map(|id| Member::new(id, Role::Voter, format!("n{id}")).with_incarnation(100 + id))
            .collect();
        let configuration = Configuration::new(members).expect("founders make a configuration");
        let (hard, first) = bootstrap(CLUSTER, &configuration);
        world
            .invariants
            .log_matching
            .found(&mut world.history, &first);
        for id in 1..=total {
            let mut options = template.clone();
            options.id = id;
            options.incarnation = 100 + id;
            options.weight = u32::from(world.tape.byte() % 4);
            let mut node = Node::new(id, 100 + id, options);
            node.clock.drift_ppm = world.tape.below(2 * DRIFT_PPM as u64 + 1) as i64 - DRIFT_PPM;
            node.clock.ahead_us = world.tape.below(100_000);
            if id <= founders {
                node.disk = super::disk::Disk::founded(hard, first.clone());
            }
            world.nodes.insert(id, node);
        }
        world.note(|| format!("{founders} voters of {total} nodes"));
        world
    }

    /// Adds a line to the script, if one is wanted.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace {
            let at = self.now_us as f64 / 1e6;
            let line = line();
            self.script.push(format!("{at:10.4}s  {line}"));
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn schedule(&mut self, delay_us: u64, what: Pending) {
        self.order += 1;
        self.queue.push(Reverse(Queued {
            at_us: self.now_us + delay_us,
            order: self.order,
            what,
        }));
    }

    /// Loses every message on its way that carries a configuration.
    pub fn lose_configurations(&mut self) {
        let carries = |message: &Message| match &message.body {
            Body::Append { entries, .. } => {
                entries.iter().any(|entry| entry.kind == EntryKind::Config)
            }
            _ => false,
        };
        self.queue.retain(
            |Reverse(queued)| !matches!(&queued.what, Pending::Deliver(message) if carries(message)),
        );
    }

    pub fn schedule_restart(&mut self, node: NodeId, delay_us: u64) {
        self.schedule(delay_us, Pending::Restart { node });
    }

    fn disk_delay_us(&mut self) -> u64 {
        if self.calm {
            return 200;
        }
        if self.tape.chance(self.profile.slow_disk) {
            return self.tape.below(900) * 1000;
        }
        self.tape.below(40) * 100
    }

    fn message_delay_us(&mut self) -> u64 {
        if self.calm {
            return 300;
        }
        if self.tape.chance(self.profile.slow_message) {
            return self.tape.below(1500) * 1000;
        }
        self.tape.below(60) * 100
    }

    /// The node that wants a tick first, and when.
    fn next_tick(&self) -> Option<(u64, NodeId)> {
        self.nodes
            .values()
            .filter_map(|node| {
                let raft = node.raft.as_ref().filter(|raft| !raft.is_halted())?;
                Some((
                    node.clock.real_us(raft.deadline()).max(self.now_us),
                    node.id,
                ))
            })
            .min()
    }

    /// Lets the next thing happen. Returns `false` if nothing ever will.
    pub fn advance(&mut self) -> Result<bool, Violation> {
        let tick = self.next_tick();
        let queued = self.queue.peek().map(|Reverse(queued)| queued.at_us);
        match (tick, queued) {
            (None, None) => Ok(false),
            (Some((at, node)), queued) if queued.is_none_or(|queued| at < queued) => {
                self.now_us = at;
                self.note(|| format!("n{node} tick"));
                self.step(node, Event::Tick)?;
                Ok(true)
            }
            _ => {
                if let Some(Reverse(queued)) = self.queue.pop() {
                    self.now_us = self.now_us.max(queued.at_us);
                    self.happen(queued.what)?;
                }
                Ok(true)
            }
        }
    }

    /// The running process that something is meant for.
    fn is_running(&self, node: NodeId, boot: u64) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|node| node.boot == boot && node.raft.is_some())
    }

    fn happen(&mut self, what: Pending) -> Result<(), Violation> {
        match what {
            Pending::Deliver(message) => {
                let up = self
                    .nodes
                    .get(&message.to)
                    .is_some_and(|node| node.raft.is_some());
                if !up || self.cut.contains(&(message.from, message.to)) {
                    return Ok(());
                }
                self.note(|| {
                    format!(
                        "n{} <- n{} t{} {}",
                        message.to,
                        message.from,
                        message.term,
                        brief(&message)
                    )
                });
                let to = message.to;
                let before = self
                    .nodes
                    .get(&to)
                    .and_then(|node| node.raft.as_ref())
                    .map(|raft| Before {
                        hard: raft.hard_state(),
                        state: raft.state(),
                    });
                self.step(to, Event::Message(message.clone()))?;
                match before {
                    Some(before) => self.observe(&Observation::Delivered {
                        message: &message,
                        before,
                    }),
                    None => Ok(()),
                }
            }
            Pending::Restart { node } => self.restart(node),
            Pending::Appended { node, boot, seq } if self.is_running(node, boot) => {
                let end = self
                    .nodes
                    .get_mut(&node)
                    .and_then(|node| node.disk.complete_append(seq));
                let Some(end) = end else { return Ok(()) };
                self.note(|| format!("n{node} append #{seq} is on disk"));
                self.step(
                    node,
                    Event::Persisted {
                        seq,
                        index: end.index,
                        term: end.term,
                    },
                )
            }
            Pending::Saved { node, boot, seq } if self.is_running(node, boot) => {
                if self
                    .nodes
                    .get_mut(&node)
                    .is_some_and(|node| node.disk.complete_save(seq))
                {
                    self.note(|| format!("n{node} save #{seq} is on disk"));
                    self.step(node, Event::HardStateSaved { seq })?;
                }
                Ok(())
            }
            Pending::Applied { node, boot, index } if self.is_running(node, boot) => {
                self.step(node, Event::Applied { index })
            }
            Pending::LogRead {
                node,
                boot,
                token,
                lo,
                hi,
                max_bytes,
            } if self.is_running(node, boot) => {
                let entries = self
                    .nodes
                    .get(&node)
                    .map(|node| read_log(node, lo, hi, max_bytes))
                    .unwrap_or_default();
                self.note(|| format!("n{node} read {} entries from {lo}", entries.len()));
                self.step(node, Event::LogRead { token, entries })
            }
            Pending::SnapshotRead {
                node,
                boot,
                token,
                id,
                offset,
                max_bytes,
            } if self.is_running(node, boot) => {
                let event = self.read_snapshot(node, token, id, offset, max_bytes);
                self.step(node, event)
            }
            Pending::SnapshotWritten {
                node,
                boot,
                id,
                next,
                done,
            } if self.is_running(node, boot) => {
                let mut event = Event::SnapshotWritten { id, next };
                if done && !self.install(node, id)? {
                    event = Event::SnapshotRefused { id };
                }
                self.note(|| format!("n{node} snapshot {id} written up to {next}, last: {done}"));
                self.step(node, event)
            }
            _ => Ok(()),
        }
    }

    fn read_snapshot(
        &mut self,
        node: NodeId,
        token: u64,
        id: Option<u64>,
        offset: u64,
        max_bytes: u64,
    ) -> Event {
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
    fn install(&mut self, id: NodeId, stream: u64) -> Result<bool, Violation> {
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

    /// Gives a running node an event, and does what it asks for.
    pub fn step(&mut self, id: NodeId, event: Event) -> Result<(), Violation> {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let now = node.now_ms(now_us);
        let Some(raft) = node.raft.as_mut() else {
            return Ok(());
        };
        raft.step(now, event);
        self.drain(id)
    }

    /// Does what a node asks for, and checks the invariants.
    pub fn drain(&mut self, id: NodeId) -> Result<(), Violation> {
        self.report.events += 1;
        let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) else {
            return Ok(());
        };
        for (done, action) in raft.take_actions().into_iter().enumerate() {
            if self.crash_in_actions == Some((id, done as u64)) {
                self.crash_in_actions = None;
                self.crash(id);
                self.after_crash(id);
                return Ok(());
            }
            self.act(id, action)?;
        }
        self.observe(&Observation::Stepped { node: id })
    }

    pub fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        self.invariants
            .check(&self.nodes, &mut self.history, observation)
    }

    fn act(&mut self, id: NodeId, action: Action) -> Result<(), Violation> {
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
                let delay = self.disk_delay_us();
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
            Action::Commit { index } => {
                self.note(|| format!("n{id} commit {index}"));
                self.observe(&Observation::Committed { node: id, index })?;
                self.report.committed = self.history.last_committed();
            }
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
                self.observe(&Observation::Reconfigured {
                    node: id,
                    index,
                    configuration: &configuration,
                })?;
            }
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
        if self.cut.contains(&(message.from, message.to)) {
            return;
        }
        if !self.calm {
            if self.tape.chance(self.profile.drop) {
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
                let delay = self.message_delay_us();
                self.schedule(delay, Pending::Deliver(message.clone()));
            }
        }
        let mut delay = self.message_delay_us();
        if message.body == Body::TimeoutNow && !self.calm && self.tape.chance(self.profile.transfer)
        {
            // So late that the leader has given up the transfer.
            delay += 300_000 + self.tape.below(600) * 1000;
        }
        self.schedule(delay, Pending::Deliver(message));
    }

    /// The process dies, and with it whatever the disk had not made durable.
    pub fn crash(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.raft.take().is_none() {
            return;
        }
        node.disk.crash(&mut self.tape);
        self.report.crashes += 1;
        self.note(|| format!("n{id} crashes"));
    }

    pub fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.banned.contains(&id) {
            return Ok(());
        }
        let seed = u64::from(self.tape.byte());
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.raft.is_none()) else {
            return Ok(());
        };
        if let Err(error) = node.start(now_us, seed.wrapping_mul(31).wrapping_add(id)) {
            return Err(Violation {
                invariant: "recovery",
                details: format!("n{id} cannot start: {error}"),
            });
        }
        let last = node.disk.durable.last();
        self.note(|| format!("n{id} starts, log up to {}@{}", last.index, last.term));
        self.observe(&Observation::Started { node: id })?;
        self.drain(id)
    }

    /// The leader of the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        self.nodes
            .values()
            .filter(|node| node.is_leader())
            .max_by_key(|node| node.raft.as_ref().map_or(0, Raft::term))
            .map(|node| node.id)
    }

    /// Calls a method of a node's core, and does what follows.
    pub fn with<T>(
        &mut self,
        id: NodeId,
        call: impl FnOnce(&mut Raft, u64) -> T,
    ) -> Result<Option<T>, Violation> {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(None);
        };
        let now = node.now_ms(now_us);
        let Some(raft) = node.raft.as_mut() else {
            return Ok(None);
        };
        let result = call(raft, now);
        self.drain(id)?;
        Ok(Some(result))
    }
}

fn draw_profile(tape: &mut Tape) -> Profile {
    // Each fault is absent in a third of the runs, rare in a third, frequent in a third.
    let mut level = |rare: u8, frequent: u8| match tape.below(3) {
        0 => 0,
        1 => rare,
        _ => frequent,
    };
    Profile {
        drop: level(8, 50),
        duplicate: level(8, 50),
        slow_message: level(8, 60),
        slow_disk: level(8, 80),
        crash: level(3, 14),
        partition: level(3, 14),
        damage: level(60, 160),
        disk_failure: level(10, 60),
        wipe: level(1, 4),
        jump: level(4, 20),
        membership: level(4, 24),
        transfer: level(3, 30),
        propose: 20 + level(20, 80),
        read: level(8, 40),
        compact: level(4, 24),
    }
}

fn draw_options(tape: &mut Tape) -> Options {
    let mut options = Options::new(1, 1);
    options.election_timeout_min_ms = 200;
    options.election_timeout_max_ms = 400;
    options.heartbeat_ms = 50;
    options.transfer_timeout_ms = 500;
    options.max_message_bytes = [1, 90, 300, 1 << 20][tape.below(4) as usize];
    options.max_inflight_messages = [1, 2, 64][tape.below(3) as usize];
    options.max_inflight_bytes = [1, 400, 1 << 20][tape.below(3) as usize];
    options.tail_cache_bytes = [0, 200, 1 << 20][tape.below(3) as usize];
    options.max_uncommitted_bytes = [100, 1 << 20][tape.below(2) as usize];
    options.trailing_entries = [0, 3, 100][tape.below(3) as usize];
    options.promotion_lag_entries = [0, 2, 100][tape.below(3) as usize];
    options.snapshot_chunk_bytes = [7, 16, 1 << 16][tape.below(3) as usize];
    options.eager_commit = tape.below(2) == 1;
    if tape.below(2) == 1 {
        // Two clocks differ by twice what one drifts, and a little for the quotient.
        options.lease = Some(Lease {
            drift_ppm: 2 * DRIFT_PPM as u64 + 2000,
            jump_ms: JUMP_MS,
        });
    }
    options
}

fn read_log(node: &Node, lo: Index, hi: Index, max_bytes: u64) -> Vec<Entry> {
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

fn span(entries: &[Entry]) -> String {
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => format!(
            "{}@{}..{}@{}",
            first.index, first.term, last.index, last.term
        ),
        _ => "nothing".to_owned(),
    }
}

fn members(configuration: &Configuration) -> String {
    let list = |members: &[Member]| {
        let each = members
            .iter()
            .map(|member| format!("{}{}", &format!("{:?}", member.role)[..2], member.id));
        each.collect::<Vec<_>>().join(" ")
    };
    match configuration.is_joint() {
        true => format!(
            "[{}] leaving [{}]",
            list(configuration.members()),
            list(configuration.outgoing())
        ),
        false => format!("[{}]", list(configuration.members())),
    }
}

fn brief(message: &Message) -> String {
    match &message.body {
        Body::Append {
            seq,
            prev,
            commit,
            entries,
        } => {
            format!(
                "append #{seq} after {}@{}: {}, commit {commit}",
                prev.index,
                prev.term,
                span(entries)
            )
        }
        Body::Snapshot {
            meta, offset, done, ..
        } => {
            format!(
                "snapshot {} of {} at {offset}, last: {done}",
                meta.id, meta.position.index
            )
        }
        other => format!("{other:?}"),
    }
}

/// The position of a node's last durable entry.
pub fn durable_last(node: &Node) -> Position {
    node.disk.durable.last()
}
