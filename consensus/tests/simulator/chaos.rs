//! The first phase: clients and operators at work while everything goes wrong.

use std::collections::BTreeSet;

use bytes::Bytes;
use ferrolite_consensus::{
    Change, Configuration, Error, Event, Member, NodeId, Raft, Role, VoteResult,
};

use super::Violation;
use super::invariants::Observation;
use super::profile::JUMP_MS;
use super::world::World;

impl World {
    /// Runs `steps` events, with disturbances between them, or until the tape ends.
    pub fn chaos(&mut self, steps: u32) -> Result<(), Violation> {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.restart(id)?;
        }
        for _ in 0..steps {
            if self.tape.is_exhausted() {
                break;
            }
            if self.tape.chance(80) {
                self.disturb()?;
            }
            if self.tape.chance(self.profile.ambush) {
                self.lay_ambush()?;
            }
            if let Some(deposed) = self.deposed_leader()
                && self.profile.ambush > 0
            {
                self.exploit(deposed)?;
            }
            if let Some(deposed) = self.deposed_leader()
                && self.tape.chance(self.profile.read)
            {
                // It does not know yet that another one leads: whatever it answers now is the hardest case.
                self.read_at(deposed)?;
            }
            if !self.advance()? {
                break;
            }
        }
        Ok(())
    }

    /// One thing that a client, an operator or fate may do, if this run's profile has it.
    fn disturb(&mut self) -> Result<(), Violation> {
        let profile = self.profile.clone();
        match self.tape.below(13) {
            0..=2 if self.tape.chance(profile.propose) => self.propose(),
            3 | 4 if self.tape.chance(profile.read) => self.read(),
            5 if self.tape.chance(profile.crash.saturating_mul(4)) => self.crash_someone(),
            6 if self.tape.chance(profile.partition.saturating_mul(4)) => {
                self.repartition();
                Ok(())
            }
            7 if self.tape.chance(profile.membership.saturating_mul(4)) => self.change_members(),
            8 if self.tape.chance(profile.transfer.saturating_mul(6)) => self.transfer(),
            9 if self.tape.chance(profile.compact.saturating_mul(4)) => self.compact(),
            10 if self.tape.chance(profile.jump.saturating_mul(6)) => {
                self.jump();
                Ok(())
            }
            12 => self.meddle(),
            11 if self.tape.chance(profile.disk_failure) => self.fail_disk(),
            11 if self.tape.chance(profile.wipe.saturating_mul(8)) => self.wipe(),
            _ => Ok(()),
        }
    }

    /// Small things that an owner may do at any time.
    fn meddle(&mut self) -> Result<(), Violation> {
        let (Some(id), Some(other)) = (self.any_node(|_| true), self.any_node(|_| true)) else {
            return Ok(());
        };
        match self.tape.below(4) {
            0 if self.mishap("ticks before their time") => self.step(id, Event::Tick),
            1 if self.mishap("weights changed") => {
                let weight = u32::from(self.tape.byte() % 10);
                self.with(id, |raft, _| raft.set_weight(weight)).map(drop)
            }
            2 | 3 if id != other && self.mishap("connections reported as broken") => {
                self.step(id, Event::PeerUnreachable { peer: other })
            }
            _ => Ok(()),
        }
    }

    fn any_node(&mut self, choose: impl Fn(&super::node::Node) -> bool) -> Option<NodeId> {
        let ids: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| choose(node))
            .map(|node| node.id)
            .collect();
        self.tape.pick(&ids)
    }

    /// A node that still leads although another leads a later term.
    fn deposed_leader(&self) -> Option<NodeId> {
        let leads = |node: &&super::node::Node| node.is_leader();
        let mut leaders = self.nodes.values().filter(leads);
        let (first, second) = (leaders.next()?, leaders.next()?);
        let term = |node: &super::node::Node| node.raft.as_ref().map_or(0, Raft::term);
        Some(if term(first) < term(second) {
            first.id
        } else {
            second.id
        })
    }

    pub fn propose(&mut self) -> Result<(), Violation> {
        let Some(id) = self.any_node(super::node::Node::is_leader) else {
            return Ok(());
        };
        let count = 1 + self.tape.below(4);
        self.propose_at(id, count)
    }

    pub fn propose_at(&mut self, id: NodeId, count: u64) -> Result<(), Violation> {
        let payloads: Vec<Bytes> = (0..count)
            .map(|_| Bytes::from(format!("p{}", self.number())))
            .collect();
        let result = self.with(id, |raft, now| raft.propose(now, payloads))?;
        if let Some(Err(Error::Transferring)) = result {
            self.report
                .hit("proposals refused: leadership is being handed over");
        }
        self.note(|| format!("n{id} propose {count}: {result:?}"));
        Ok(())
    }

    pub fn read(&mut self) -> Result<(), Violation> {
        match self.any_node(super::node::Node::is_leader) {
            Some(id) => self.read_at(id),
            None => Ok(()),
        }
    }

    pub fn read_at(&mut self, id: NodeId) -> Result<(), Violation> {
        let token = self.number();
        self.note(|| format!("n{id} read {token} begins"));
        self.observe(&Observation::ReadStarted { node: id, token })?;
        self.step(id, Event::Read { token })
    }

    fn crash_someone(&mut self) -> Result<(), Violation> {
        let Some(id) = self.any_node(|node| node.raft.is_some()) else {
            return Ok(());
        };
        if self.tape.chance(80) {
            // In the middle of doing what the node asked for.
            let after = self.tape.below(4);
            self.crash_in_actions = Some((id, after));
            return Ok(());
        }
        self.crash(id);
        self.after_crash(id);
        Ok(())
    }

    /// Decides when a crashed node starts again, and whether its disk is found damaged then.
    pub fn after_crash(&mut self, id: NodeId) {
        let delay_ms = if self.tape.chance(128) {
            self.tape.below(2000)
        } else {
            self.tape.below(40)
        };
        self.schedule_restart(id, 1 + delay_ms * 1000);
        if self.tape.chance(self.profile.damage) && self.may_damage(id) {
            let World { nodes, tape, .. } = self;
            if nodes
                .get_mut(&id)
                .is_some_and(|node| node.disk.damage(tape))
            {
                self.report.damages += 1;
                self.note(|| format!("n{id} has damaged entries"));
            }
        }
    }

    fn repartition(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        match self.tape.below(8) {
            0 | 1 => {
                self.cut.clear();
                self.slow.clear();
            }
            5 | 6 => self.delude_leader(&ids),
            7 => self.estrange(&ids),
            2 => {
                let Some(alone) = self.tape.pick(&ids) else {
                    return;
                };
                self.cut.extend(
                    ids.iter()
                        .flat_map(|&other| [(alone, other), (other, alone)]),
                );
            }
            3 => {
                let (Some(from), Some(to)) = (self.tape.pick(&ids), self.tape.pick(&ids)) else {
                    return;
                };
                self.cut.insert((from, to));
            }
            _ => {
                let sides = self.tape.byte();
                let side = |id: NodeId| sides >> (id % 8) & 1;
                for &from in &ids {
                    self.cut.extend(
                        ids.iter()
                            .filter(|&&to| side(from) != side(to))
                            .map(|&to| (from, to)),
                    );
                }
            }
        }
        self.note(|| "the network's cuts change".to_owned());
    }

    /// News reach a leader late, perhaps it reaches nobody any more: it goes on to believe that it leads.
    fn delude_leader(&mut self, ids: &[NodeId]) {
        let Some(leader) = self.any_node(super::node::Node::is_leader) else {
            return;
        };
        let others = ids.iter().copied().filter(|&id| id != leader);
        self.slow.extend(others.clone().map(|from| (from, leader)));
        if self.tape.chance(160) {
            self.cut.extend(others.map(|to| (leader, to)));
        }
    }

    /// One node does not hear the leader any more, and would lead; another one, which still does, starts anew.
    fn estrange(&mut self, ids: &[NodeId]) {
        let Some(leader) = self.any_node(super::node::Node::is_leader) else {
            return;
        };
        let (Some(rival), Some(forgetful)) = (self.tape.pick(ids), self.tape.pick(ids)) else {
            return;
        };
        if rival == leader || forgetful == leader || rival == forgetful {
            return;
        }
        self.cut.insert((leader, rival));
        self.slow.insert((rival, leader));
        self.crash_in_actions = Some((forgetful, self.tape.below(3)));
    }

    fn change_members(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.any_node(super::node::Node::is_leader) else {
            return Ok(());
        };
        let count = 1 + self.tape.below(3);
        let mut changes = Vec::new();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let current = self
            .nodes
            .get(&leader)
            .and_then(|node| node.raft.as_ref()?.configuration().cloned());
        let Some(current) = current else {
            return Ok(());
        };
        for _ in 0..count {
            let Some(id) = self.tape.pick(&ids) else {
                break;
            };
            let change = match current.member(id).map(|member| member.role) {
                None => {
                    let role = if self.tape.chance(40) {
                        Role::Spare
                    } else {
                        Role::Standby
                    };
                    Change::Add(Member::new(id, role, format!("n{id}")))
                }
                Some(Role::Spare) => Change::SetRole {
                    id,
                    role: Role::Standby,
                },
                Some(Role::Standby) => match self.tape.below(4) {
                    0 => Change::Remove { id },
                    _ => Change::SetRole {
                        id,
                        role: Role::Voter,
                    },
                },
                Some(Role::Voter) => match self.tape.below(4) {
                    0 => Change::SetRole {
                        id,
                        role: Role::Standby,
                    },
                    1 => Change::SetRole {
                        id,
                        role: Role::Spare,
                    },
                    2 => Change::SetAddress {
                        id,
                        address: format!("m{id}"),
                    },
                    _ => Change::Remove { id },
                },
            };
            changes.push(change);
        }
        if self.tape.chance(20)
            && let Some(id) = self.tape.pick(&ids)
        {
            // Under its old number, but perhaps another data directory by now.
            let member = Member::new(id, Role::Standby, format!("n{id}"));
            changes.extend([Change::Remove { id }, Change::Add(member)]);
        }
        if self.tape.chance(16) {
            // One remains: the smallest quorum there is, next to the one that is being left.
            let others = (current.voter_ids().iter()).filter(|&&id| id != leader);
            changes = others.map(|&id| Change::Remove { id }).collect();
        }
        let asked = changes.clone();
        let result = self.with(leader, |raft, now| raft.change_membership(now, &changes))?;
        self.note(|| format!("n{leader} change {asked:?}: {result:?}"));
        self.report.hit(match &result {
            Some(Ok(_)) => "changes of members begun",
            Some(Err(Error::NotReady)) => "changes refused: nothing committed in the term",
            Some(Err(Error::ChangeInProgress)) => "changes refused: another is unfinished",
            Some(Err(Error::NotCaughtUp { .. })) => "changes refused: a standby is behind",
            Some(Err(Error::Transferring)) => "changes refused: leadership is being handed over",
            Some(Err(Error::InvalidConfiguration(_))) => "changes refused: no voter would be left",
            _ => "changes refused for other reasons",
        });
        self.report.membership_changes += u64::from(matches!(result, Some(Ok(_))));
        Ok(())
    }

    fn transfer(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.any_node(super::node::Node::is_leader) else {
            return Ok(());
        };
        let target = if self.tape.chance(128) {
            None
        } else {
            self.any_node(|_| true)
        };
        let result = self.with(leader, |raft, now| raft.transfer(now, target))?;
        self.note(|| format!("n{leader} transfer to {target:?}: {result:?}"));
        self.report.transfers += u64::from(matches!(result, Some(Ok(_))));
        Ok(())
    }

    /// A node makes its application's state durable, and may then drop a prefix of its log.
    fn compact(&mut self) -> Result<(), Violation> {
        let Some(id) =
            self.any_node(|node| node.raft.as_ref().is_some_and(|raft| !raft.is_halted()))
        else {
            return Ok(());
        };
        let (purge, greedy) = (self.tape.chance(170), self.tape.chance(100));
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let Some(raft) = node.raft.as_ref() else {
            return Ok(());
        };
        if node.app.index >= node.disk.checkpoint.index {
            node.disk.checkpoint = node.app;
        }
        let limit = if greedy {
            raft.applied()
        } else {
            raft.purge_limit()
        };
        let limit = limit.min(node.disk.checkpoint.index).min(raft.durable());
        let meta = raft
            .snapshot_meta(0, limit)
            .filter(|_| limit >= raft.first_index());
        let Some(meta) = meta.filter(|_| purge) else {
            return Ok(());
        };
        node.disk.purge(
            meta.position,
            (meta.configuration_index, meta.configuration),
        );
        self.report.hit(match greedy {
            true => "logs purged without regard for followers",
            false => "logs purged with regard for followers",
        });
        self.note(|| format!("n{id} purges up to {limit}"));
        self.step(id, Event::LogPurged { first: limit + 1 })
    }

    fn jump(&mut self) {
        let now_us = self.now_us;
        let Some(id) = self.any_node(|node| now_us > node.clock.jumped_at_us + 1_000_000) else {
            return;
        };
        let by_us = self.tape.below(JUMP_MS * 1000);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.clock.ahead_us += by_us;
        node.clock.jumped_at_us = now_us;
        self.report.hit("clocks that jump");
        self.note(|| format!("the clock of n{id} jumps by {by_us} us"));
    }

    fn fail_disk(&mut self) -> Result<(), Violation> {
        let Some(id) = self.any_node(|node| node.raft.is_some()) else {
            return Ok(());
        };
        self.report.hit("disks that fail");
        self.note(|| format!("the disk of n{id} fails"));
        self.step(id, Event::StorageFailed)?;
        self.crash(id);
        self.after_crash(id);
        Ok(())
    }

    /// A machine is replaced by an empty one of the same number.
    fn wipe(&mut self) -> Result<(), Violation> {
        let Some(id) = self.any_node(|_| true) else {
            return Ok(());
        };
        if !self.may_lose(id) {
            return Ok(());
        }
        self.lose_disk(id)?;
        self.schedule_restart(id, 10_000);
        Ok(())
    }

    /// The machine is down, and its disk is an empty one.
    pub fn lose_disk(&mut self, id: NodeId) -> Result<(), Violation> {
        self.crash(id);
        let incarnation = 1000 + self.number();
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let disk = std::mem::take(&mut node.disk);
        node.lost.insert(node.incarnation, disk);
        node.incarnation = incarnation;
        node.options.incarnation = incarnation;
        self.report.wipes += 1;
        self.note(|| format!("n{id} is wiped"));
        self.observe(&Observation::Wiped { node: id })
    }

    /// Whether every configuration on any disk, each of which could come into effect, still has a quorum without these
    /// nodes.
    pub fn tolerates(&self, lost: &BTreeSet<NodeId>) -> bool {
        self.nodes
            .values()
            .flat_map(|node| node.disk.configurations())
            .all(|(_, _, configuration)| self.has_quorum(&configuration, lost))
    }

    /// Whether the nodes that a configuration means, without these, are a quorum of it.
    pub fn has_quorum(&self, configuration: &Configuration, lost: &BTreeSet<NodeId>) -> bool {
        let is_sound = |id| {
            !lost.contains(&id)
                && self
                    .nodes
                    .get(&id)
                    .is_some_and(|node| node.is_meant_by(configuration))
        };
        configuration.vote_result(|id| Some(is_sound(id))) == VoteResult::Won
    }

    /// Nodes whose logs are not what they were: damaged, or bound by a claim.
    pub fn impaired(&self) -> BTreeSet<NodeId> {
        self.nodes
            .values()
            .filter(|node| {
                node.disk.is_damaged()
                    || node.disk.hard.claim.is_some()
                    || node.raft.as_ref().is_some_and(Raft::is_damaged)
            })
            .map(|node| node.id)
            .collect()
    }

    /// At most one node's log is damaged at a time, and only where a quorum can do without it.
    fn may_damage(&self, id: NodeId) -> bool {
        let mut lost = self.impaired();
        lost.is_empty() && lost.insert(id) && self.tolerates(&lost)
    }

    pub fn may_lose(&self, id: NodeId) -> bool {
        self.may_damage(id)
    }
}
