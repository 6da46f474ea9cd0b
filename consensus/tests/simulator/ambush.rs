//! Misfortunes that are timed.
//!
//! Some bugs need several mishaps within a few milliseconds of one another, which chance alone brings together once in a
//! hundred thousand runs. In a part of the runs an adversary who sees the nodes' timers brings them together. It does
//! nothing that a network, a clock or an operator could not do; only the moment is chosen.
//!
//! - **A rival.** One voter hears the leader no more. Just before it stands for election the others cease to hear the
//!   leader too; and then either their clocks jump as far as they may, or their processes start anew. If that suffices
//!   to make them forget their loyalty, there are two leaders, and the old one is read from all the while. Then an
//!   operator may ask the old one to put a wiped voter in place of all others; or the network heals, the old leader's
//!   log must give way while its disk is slow, and leadership is handed on at that moment.
//! - **A successor.** A leader that has just asked who still follows it is told to hand over. What is said to it comes
//!   late from then on, the answers to that question as well as the news that another one leads; and it is read from.
//! - **A farewell.** A leader is asked to remove itself. The entry that does so reaches no other disk before the power
//!   fails everywhere; and since the others are then weighted not to wish to lead, the removed one may well be elected
//!   once more, and has to hand over.

use ferrolite_consensus::{Change, Configuration, Member, NodeId, Raft, Role};

use super::Violation;
use super::profile::JUMP_MS;
use super::world::{Pending, World};

/// What is under way, and whom it concerns.
#[derive(Clone, Copy, Debug)]
pub struct Ambush {
    pub leader: NodeId,
    rival: NodeId,
    kind: Kind,
    /// The operator has made the mistake already.
    replaced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Clocks,
    Restarts,
    Farewell,
    Successor,
}

/// The steps of an ambush.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Nobody hears the leader any more.
    Silence,
    /// Clocks jump, or processes start anew.
    Strike,
    /// The network is whole again, and the old leader's log is slow.
    Heal,
    /// Leadership is handed on.
    HandOver,
    /// The power fails everywhere, and comes back.
    Outage,
    /// Nothing more is planned.
    Over,
}

impl World {
    /// Lays an ambush, if none is under way and somebody leads.
    pub fn lay_ambush(&mut self) -> Result<(), Violation> {
        let leader = self.leader_but_for(&self.banned);
        let Some(leader) = leader.filter(|_| self.ambush.is_none()) else {
            return Ok(());
        };
        let Some(configuration) = self.configuration_of(leader) else {
            return Ok(());
        };
        let others: Vec<NodeId> = (configuration.voter_ids().iter().copied())
            .filter(|&id| id != leader && self.timer_us(id).is_some())
            .collect();
        let Some(rival) = self.tape.pick(&others) else {
            return Ok(());
        };
        let kind = match self.tape.below(4) {
            0 => Kind::Clocks,
            1 => Kind::Restarts,
            2 => Kind::Farewell,
            _ => Kind::Successor,
        };
        self.ambush = Some(Ambush {
            leader,
            rival,
            kind,
            replaced: false,
        });
        self.note(|| format!("---- an ambush: {kind:?}, leader n{leader}, rival n{rival} ----"));
        if kind == Kind::Farewell {
            self.report.hit("ambushes: a farewell");
            self.plan(1_000_000, Stage::Over);
            let changes = [Change::Remove { id: leader }];
            let asked = self.with(leader, |raft, now| raft.change_membership(now, &changes))?;
            self.note(|| format!("n{leader} is to remove itself: {asked:?}"));
            return Ok(());
        }
        if kind == Kind::Successor {
            self.report.hit("ambushes: a successor");
            self.plan(600_000, Stage::Over);
            self.slow.extend(others.iter().map(|&from| (from, leader)));
            self.read_at(leader)?;
            let asked = self.with(leader, |raft, now| raft.transfer(now, Some(rival)))?;
            self.note(|| format!("n{leader} is to hand over to n{rival}: {asked:?}"));
            return Ok(());
        }
        self.report.hit("ambushes: a rival");
        self.cut.extend([(leader, rival), (rival, leader)]);
        let left_us = self
            .timer_us(rival)
            .unwrap_or(0)
            .saturating_sub(self.now_us);
        let lead_us = 1000 * (150 + self.tape.below(60));
        if kind == Kind::Clocks {
            self.plan(left_us.saturating_sub(lead_us), Stage::Silence);
        }
        self.plan(left_us.saturating_sub(100), Stage::Strike);
        let heal_us = left_us + 1000 * (50 + self.tape.below(300));
        self.plan(heal_us, Stage::Heal);
        let hand_over_us = heal_us + 1000 * self.tape.below(160);
        self.plan(hand_over_us, Stage::HandOver);
        if self.tape.chance(80) {
            self.plan(hand_over_us + 10_000, Stage::Outage);
        }
        self.plan(hand_over_us + 400_000, Stage::Over);
        Ok(())
    }

    /// The next step of the ambush.
    pub fn spring(&mut self, stage: Stage) -> Result<(), Violation> {
        let Some(ambush) = self.ambush else {
            return Ok(());
        };
        self.note(|| format!("---- {stage:?} ----"));
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let bystanders = |id: &NodeId| *id != ambush.leader && *id != ambush.rival;
        match stage {
            Stage::Silence => self.silence(ambush.leader),
            Stage::Strike => {
                self.silence(ambush.leader);
                for id in ids.into_iter().filter(bystanders) {
                    match ambush.kind {
                        Kind::Clocks => self.jump_far(id),
                        _ => self.start_anew(id)?,
                    }
                }
            }
            Stage::Heal => {
                self.cut.clear();
                self.slow.clear();
                self.slow_log = Some(ambush.leader);
            }
            Stage::HandOver => {
                if let Some(leader) = self.leader_but_for(&self.banned) {
                    let done = self.with(leader, |raft, now| raft.transfer(now, None))?;
                    self.note(|| format!("n{leader} hands over: {done:?}"));
                }
            }
            Stage::Outage => {
                self.report.hit("ambushes: the power fails everywhere");
                self.cut.clear();
                for id in ids {
                    self.start_anew(id)?;
                    if ambush.kind == Kind::Farewell && id != ambush.leader {
                        let weight = if id == ambush.rival { 7 } else { 8 };
                        self.with(id, |raft, _| raft.set_weight(weight))?;
                    }
                }
            }
            Stage::Over => {
                self.cut.clear();
                self.slow.clear();
                self.slow_log = None;
                self.ambush = None;
            }
        }
        Ok(())
    }

    /// While an old leader does not know of the new one: reads, proposals, and an operator's mistake.
    pub fn exploit(&mut self, deposed: NodeId) -> Result<(), Violation> {
        self.read_at(deposed)?;
        if self.tape.chance(30) {
            self.propose_at(deposed, 1)?;
        }
        let Some(ambush) = self.ambush.filter(|ambush| !ambush.replaced) else {
            return Ok(());
        };
        let behind = (self.nodes.get(&deposed))
            .and_then(|node| node.raft.as_ref())
            .is_some_and(|raft| raft.commit() < self.history.last_committed());
        if ambush.leader != deposed || !behind || !self.tape.chance(20) {
            return Ok(());
        }
        self.ambush = Some(Ambush {
            replaced: true,
            ..ambush
        });
        self.replace_all_by_a_wiped_one(deposed, ambush.rival)
    }

    /// The operator asks for one change by which all other voters go, and a wiped one of them comes back as standby.
    fn replace_all_by_a_wiped_one(
        &mut self,
        deposed: NodeId,
        rival: NodeId,
    ) -> Result<(), Violation> {
        let Some(configuration) = self.configuration_of(deposed) else {
            return Ok(());
        };
        let others = (configuration.voter_ids().iter().copied()).filter(|&id| id != deposed);
        let others: Vec<NodeId> = others.collect();
        let victims: Vec<NodeId> = others.iter().copied().filter(|&id| id != rival).collect();
        let Some(victim) = self.tape.pick(&victims).filter(|&id| self.may_lose(id)) else {
            return Ok(());
        };
        self.report
            .hit("ambushes: a wiped voter in place of all others");
        self.cut.extend([(rival, victim), (victim, rival)]);
        for link in [(deposed, victim), (victim, deposed)] {
            self.cut.remove(&link);
            self.slow.remove(&link);
        }
        self.lose_disk(victim)?;
        self.restart(victim)?;
        let mut changes: Vec<Change> = others.iter().map(|&id| Change::Remove { id }).collect();
        let again = Member::new(victim, Role::Standby, format!("n{victim}"));
        changes.push(Change::Add(again));
        let asked = self.with(deposed, |raft, now| raft.change_membership(now, &changes))?;
        self.note(|| format!("n{deposed} change {changes:?}: {asked:?}"));
        Ok(())
    }

    /// A leader has another configuration in effect: if it says farewell by that, nobody hears of it before the power fails.
    pub fn watch_farewell(&mut self, id: NodeId, configuration: &Configuration) {
        let leaves = self
            .ambush
            .is_some_and(|ambush| ambush.kind == Kind::Farewell && ambush.leader == id);
        if leaves && !configuration.is_joint() && !configuration.is_voter(id) {
            self.silence(id);
            self.plan(3_000, Stage::Outage);
        }
    }

    fn plan(&mut self, delay_us: u64, stage: Stage) {
        self.schedule(delay_us, Pending::Ambush(stage));
    }

    fn silence(&mut self, leader: NodeId) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.cut.extend(ids.into_iter().map(|to| (leader, to)));
    }

    /// The clock jumps as far as it may, if it may.
    fn jump_far(&mut self, id: NodeId) {
        let now_us = self.now_us;
        if let Some(node) = self.nodes.get_mut(&id)
            && now_us > node.clock.jumped_at_us + 1_000_000
        {
            node.clock.ahead_us += JUMP_MS * 1000;
            node.clock.jumped_at_us = now_us;
        }
    }

    fn start_anew(&mut self, id: NodeId) -> Result<(), Violation> {
        self.crash(id);
        self.restart(id)
    }

    fn configuration_of(&self, id: NodeId) -> Option<Configuration> {
        let raft = self.nodes.get(&id)?.raft.as_ref()?;
        raft.configuration().cloned()
    }

    /// The moment of real time at which a node that runs wants its next tick.
    fn timer_us(&self, id: NodeId) -> Option<u64> {
        let node = self.nodes.get(&id)?;
        let raft = node
            .raft
            .as_ref()
            .filter(|raft: &&Raft| !raft.is_halted())?;
        Some(node.clock.real_us(raft.deadline()))
    }
}
