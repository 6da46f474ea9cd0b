//! Time, the network, and all machines: the discrete-event loop.
//!
//! Real time is in microseconds. What is going to happen (a message arrives, a write is done) waits in one queue by
//! time; beside it every node wants a tick at its deadline. [`World::advance`] lets the next of these happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};

use ferrolite_consensus::{
    Body, Configuration, EntryKind, Event, Index, Member, Message, NodeId, Raft, Role, bootstrap,
};

use super::Violation;
use super::ambush::{Ambush, Stage};
use super::driver::read_log;
use super::history::History;
use super::invariants::pre_vote_asks_only::Before;
use super::invariants::{Invariants, Observation};
use super::node::Node;
use super::profile::{DRIFT_PPM, Profile, draw_options};
use super::report::Report;
use super::script::brief;
use super::tape::Tape;

pub const CLUSTER: u128 = 0xF00D;

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
    ChunkWritten {
        node: NodeId,
        boot: u64,
    },
    Restart {
        node: NodeId,
    },
    /// The next step of what was planned.
    Ambush(Stage),
    /// The driver takes the actions of a batch of events.
    Drain {
        node: NodeId,
        boot: u64,
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

pub struct World {
    pub tape: Tape,
    pub now_us: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Links on which nothing arrives: (from, to).
    pub cut: HashSet<(NodeId, NodeId)>,
    /// Links on which everything arrives late.
    pub slow: HashSet<(NodeId, NodeId)>,
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
    /// What is planned against the nodes at present.
    pub ambush: Option<Ambush>,
    /// The writes to this node's log take long.
    pub slow_log: Option<NodeId>,
    /// These stay down.
    pub banned: BTreeSet<NodeId>,
}

impl World {
    pub fn new(mut tape: Tape, trace: bool) -> Self {
        let profile = Profile::draw(&mut tape);
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
            slow: HashSet::new(),
            profile,
            history: History::new(),
            invariants: Invariants::new(),
            report: Report::default(),
            script: Vec::new(),
            trace,
            next_number: 1,
            calm: false,
            crash_in_actions: None,
            ambush: None,
            slow_log: None,
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
            node.clock.drift_ppm = match world.profile.ambush {
                0 => world.tape.below(2 * DRIFT_PPM as u64 + 1) as i64 - DRIFT_PPM,
                _ => [-DRIFT_PPM, DRIFT_PPM][world.tape.below(2) as usize],
            };
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

    pub fn schedule(&mut self, delay_us: u64, what: Pending) {
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

    pub fn disk_delay_us(&mut self) -> u64 {
        if self.calm {
            return 200;
        }
        if self.tape.chance(self.profile.slow_disk) {
            self.report.hit("late writes");
            return self.tape.below(900) * 1000;
        }
        let most = if self.profile.ambush > 0 { 10 } else { 40 };
        self.tape.below(most) * 100
    }

    pub fn message_delay_us(&mut self) -> u64 {
        if self.calm {
            return 300;
        }
        if self.tape.chance(self.profile.slow_message) {
            self.report.hit("late messages");
            return self.tape.below(1500) * 1000;
        }
        let most = if self.profile.ambush > 0 { 10 } else { 60 };
        self.tape.below(most) * 100
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
                if !up || self.is_cut(message.from, message.to) {
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
            Pending::Ambush(stage) => self.spring(stage),
            Pending::Drain { node, boot } if self.is_running(node, boot) => self.drain(node),
            Pending::Appended { node, boot, seq } if self.is_running(node, boot) => {
                let Some(disk) = self.nodes.get_mut(&node).map(|node| &mut node.disk) else {
                    return Ok(());
                };
                if disk.is_overtaking(seq) {
                    self.report.hit("writes done out of order");
                }
                let Some(end) = disk.complete_append(seq) else {
                    return Ok(());
                };
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
                let mut entries = self
                    .nodes
                    .get(&node)
                    .map(|node| read_log(node, lo, hi, max_bytes))
                    .unwrap_or_default();
                if self.mishap("reads of the log that fail") {
                    let kept = self.tape.below(entries.len() as u64);
                    entries.truncate(kept as usize);
                }
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
            Pending::ChunkWritten { node, boot } if self.is_running(node, boot) => {
                match self.chunk_written(node)? {
                    Some(event) => self.step(node, event),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether something goes wrong that the core must take in its stride; counted under this name.
    pub fn mishap(&mut self, name: &'static str) -> bool {
        let happens = !self.calm && self.tape.chance(self.profile.mishap);
        if happens {
            self.report.hit(name);
        }
        happens
    }

    pub fn is_cut(&mut self, from: NodeId, to: NodeId) -> bool {
        let is_cut = self.cut.contains(&(from, to));
        if is_cut {
            let one_way = !self.cut.contains(&(to, from));
            self.report.hit(match one_way {
                true => "messages cut off one way",
                false => "messages cut off",
            });
        }
        is_cut
    }

    /// Gives a running node an event, and does what it asks for, now or together with what follows from later events.
    pub fn step(&mut self, id: NodeId, event: Event) -> Result<(), Violation> {
        self.with(id, |raft, now| raft.step(now, event)).map(drop)
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
        let (now, boot, gathers) = (node.now_ms(now_us), node.boot, node.gathers);
        let Some(raft) = node.raft.as_mut() else {
            return Ok(None);
        };
        let commit = raft.commit();
        let result = call(raft, now);
        self.report.events += 1;
        let index = raft.commit();
        if index > commit {
            self.observe(&Observation::Committed { node: id, index })?;
            self.report.committed = self.history.last_committed();
        }
        if gathers {
            self.report.hit("events taken in one batch with others");
            self.observe(&Observation::Stepped { node: id })?;
        } else if !self.calm && self.tape.chance(self.profile.batch) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.gathers = true;
            }
            let delay_us = self.tape.below(20) * 100;
            self.schedule(delay_us, Pending::Drain { node: id, boot });
            self.observe(&Observation::Stepped { node: id })?;
        } else {
            self.drain(id)?;
        }
        Ok(Some(result))
    }

    /// Does what a node asks for, and checks the invariants.
    pub fn drain(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        node.gathers = false;
        let Some(raft) = node.raft.as_mut() else {
            return Ok(());
        };
        for (done, action) in raft.take_actions().into_iter().enumerate() {
            if self.crash_in_actions == Some((id, done as u64)) {
                self.crash_in_actions = None;
                self.report.hit("crashes between two actions");
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

    /// The process dies, and with it whatever the disk had not made durable.
    pub fn crash(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(raft) = node.raft.take() else {
            return;
        };
        self.report.add_metrics(&raft.metrics());
        let lost = node.disk.crash(&mut self.tape);
        if lost {
            self.report.hit("crashes that lose what was not synced");
        }
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

    /// Counts what the nodes that run have done.
    pub fn count_metrics(&mut self) {
        for raft in self.nodes.values().filter_map(|node| node.raft.as_ref()) {
            self.report.add_metrics(&raft.metrics());
        }
    }

    /// The leader of the highest term among the nodes that are not dead.
    pub fn leader_but_for(&self, dead: &BTreeSet<NodeId>) -> Option<NodeId> {
        self.nodes
            .values()
            .filter(|node| node.is_leader() && !dead.contains(&node.id))
            .max_by_key(|node| node.raft.as_ref().map_or(0, Raft::term))
            .map(|node| node.id)
    }
}
