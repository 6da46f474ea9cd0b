//! The second phase: what is healed must work, whatever happened before.

use std::collections::BTreeSet;

use ferrolite_consensus::{Configuration, Index, NodeId, PeerMode, Raft, VoteResult};

use super::Violation;
use super::world::World;

/// How long the healed part may take, in real time. An election takes at most a second with the weights of the
/// simulation; the rest is for messages and writes that were begun before and may be late by a second and a half, and
/// for splits of the vote.
const LIMIT_US: u64 = 30_000_000;

impl World {
    /// Heals all but a minority, and waits until the rest has elected, committed and converged.
    pub fn liveness(&mut self) -> Result<(), Violation> {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.calm = true;
        self.crash_in_actions = None;
        self.cut.clear();
        self.slow.clear();
        self.ambush = None;
        self.slow_log = None;
        for &id in &ids {
            // What a driver has not done yet could be a change of members that no disk shows.
            self.drain(id)?;
            if self
                .nodes
                .get(&id)
                .and_then(|node| node.raft.as_ref())
                .is_some_and(Raft::is_halted)
            {
                self.crash(id);
            }
        }
        let mut dead = BTreeSet::new();
        if !self.can_work(&dead) {
            return Ok(());
        }
        if self.impaired().is_empty() {
            for &id in &ids {
                dead.insert(id);
                if self.tape.chance(128) || !self.can_work(&dead) {
                    dead.remove(&id);
                }
            }
        }
        self.report.liveness_checked = true;
        self.note(|| format!("---- healed, but for {dead:?} ----"));
        // A late message could bring back a configuration that no log holds any more and that needs a node that is gone.
        self.lose_configurations();
        for &id in &ids {
            if !dead.contains(&id) || self.tape.chance(100) {
                self.restart(id)?;
            } else {
                self.crash(id);
                self.banned.insert(id);
            }
        }
        // What is broken and runs is deaf: it disturbs the others, and cannot be told anything.
        let deaf = dead.iter().filter(|id| !self.banned.contains(*id));
        let links = deaf.flat_map(|&to| ids.iter().map(move |&from| (from, to)));
        self.cut.extend(links);
        if !self.cut.is_empty() {
            self.report.hit("deaf nodes beside a healed quorum");
        }
        let deadline = self.now_us + LIMIT_US;
        let mut proposed_to = None;
        while self.now_us < deadline {
            if !self.advance()? {
                break;
            }
            let leader = self.leader_but_for(&dead).filter(|id| {
                self.nodes
                    .get(id)
                    .and_then(|node| node.raft.as_ref())
                    .is_some_and(Raft::is_serving)
            });
            let Some(leader) = leader else { continue };
            let term = self
                .nodes
                .get(&leader)
                .and_then(|node| node.raft.as_ref())
                .map_or(0, Raft::term);
            if proposed_to != Some((leader, term)) {
                self.propose_at(leader, 2)?;
                self.read_at(leader)?;
                proposed_to = Some((leader, term));
            } else if self.unmet(leader, &dead).is_none() {
                return Ok(());
            }
        }
        let state: Vec<String> = self.nodes.values().map(describe).collect();
        let unmet = self
            .leader_but_for(&dead)
            .and_then(|leader| self.unmet(leader, &dead));
        let details = format!(
            "not converged ({}): {}",
            unmet.unwrap_or("no leader serves"),
            state.join("; ")
        );
        Err(Violation {
            invariant: "liveness",
            details,
        })
    }

    /// Whether the nodes that are not dead must be able to elect and commit: one of them can be elected now, and whichever
    /// configuration comes into effect after that, it has a quorum among them.
    fn can_work(&self, dead: &BTreeSet<NodeId>) -> bool {
        self.is_electable(dead)
            && self
                .decisive_configurations()
                .iter()
                .all(|configuration| self.has_quorum(configuration, dead))
    }

    /// The last committed configuration, and those in any log that are not committed.
    fn decisive_configurations(&self) -> Vec<Configuration> {
        let committed = self.history.last_committed();
        let mut latest: Option<(Index, Configuration)> = None;
        let mut open = Vec::new();
        for node in self.nodes.values() {
            for (index, term, configuration) in node.disk.configurations() {
                let is_committed = term.is_none()
                    || self.history.committed(index).map(|at| at.position.term) == term;
                if index > committed {
                    open.push(configuration);
                } else if is_committed && latest.as_ref().is_none_or(|(at, _)| *at < index) {
                    latest = Some((index, configuration));
                }
            }
        }
        open.extend(latest.map(|(_, configuration)| configuration));
        open
    }

    /// Whether some node that is not dead can be elected by nodes that are not: it has an undamaged log that is good
    /// enough for a quorum of the configuration at its end.
    fn is_electable(&self, dead: &BTreeSet<NodeId>) -> bool {
        self.nodes
            .values()
            .filter(|node| !dead.contains(&node.id))
            .any(|candidate| {
                let Ok(raft) =
                    Raft::new(0, candidate.options.clone(), candidate.disk.recovered(), 0)
                else {
                    return false;
                };
                let raft = candidate.raft.as_ref().unwrap_or(&raft);
                let Some(configuration) = raft.configuration().filter(|_| !raft.is_damaged())
                else {
                    return false;
                };
                let would_vote = |id: NodeId| {
                    self.nodes
                        .get(&id)
                        .filter(|_| !dead.contains(&id))
                        .is_some_and(|voter| {
                            voter.is_meant_by(configuration)
                                && voter.vote_position() <= candidate.vote_position()
                        })
                };
                // A candidate that is on its way out is covered by the voters that remain.
                candidate.is_meant_by(configuration)
                    && configuration.is_voter(candidate.id)
                    && configuration.vote_result(|id| Some(would_vote(id))) == VoteResult::Won
            })
    }

    /// What is still missing for the healed part to be as it should.
    fn unmet(&self, leader: NodeId, dead: &BTreeSet<NodeId>) -> Option<&'static str> {
        let Some(raft) = self.nodes.get(&leader).and_then(|node| node.raft.as_ref()) else {
            return Some("no leader");
        };
        let Some(configuration) = raft.configuration() else {
            return Some("no configuration");
        };
        if configuration.is_joint() {
            return Some("still joint");
        }
        if raft.commit() != raft.last_index() {
            return Some("not all committed");
        }
        for member in configuration.replicating() {
            let Some(node) = self
                .nodes
                .get(&member.id)
                .filter(|node| !dead.contains(&member.id) && node.is_meant_by(configuration))
            else {
                continue;
            };
            let Some(peer) = node.raft.as_ref() else {
                return Some("a member is down");
            };
            if peer.commit() != raft.commit() || node.app.index != raft.commit() {
                return Some("a member has not applied everything");
            }
            if peer.metrics().snapshot_chunks_outstanding != 0 {
                return Some("a member still writes a snapshot");
            }
            if peer.is_damaged() {
                return Some("a member still claims what it lost");
            }
            if peer.leader() != Some(leader) {
                return Some("a member knows of no leader");
            }
        }
        let probing = raft.peers().any(|peer| {
            let alive = !dead.contains(&peer.id)
                && self
                    .nodes
                    .get(&peer.id)
                    .is_some_and(|node| node.is_meant_by(configuration));
            alive && peer.mode != PeerMode::Replicate
        });
        if probing {
            return Some("a peer that has everything is still being probed");
        }
        let metrics = raft.metrics();
        let dead_member = configuration.replicating().any(|member| {
            dead.contains(&member.id)
                || self
                    .nodes
                    .get(&member.id)
                    .is_some_and(|node| !node.is_meant_by(configuration))
        });
        if metrics.uncommitted_bytes != 0 {
            return Some("uncommitted bytes leaked");
        }
        if metrics.reads_pending != 0 {
            return Some("a read waits");
        }
        if metrics.snapshot_chunks_inflight != 0 && !dead_member {
            return Some("chunks of snapshots leaked");
        }
        if metrics.inflight_messages != 0 && !dead_member {
            return Some("in-flight messages leaked");
        }
        None
    }
}

fn describe(node: &super::node::Node) -> String {
    match &node.raft {
        None => format!("n{} down", node.id),
        Some(raft) => format!(
            "n{} {:?} t{} first {} last {} durable {} commit {} applied {} leader {:?} damaged {} config {:?} peers {:?}",
            node.id,
            raft.state(),
            raft.term(),
            raft.first_index(),
            raft.last_index(),
            raft.durable(),
            raft.commit(),
            node.app.index,
            raft.leader(),
            raft.is_damaged(),
            raft.configuration()
                .map(|c| (c.voter_ids().to_vec(), c.outgoing_ids().to_vec())),
            raft.peers()
                .map(|p| (p.id, p.matched, p.next, p.mode))
                .collect::<Vec<_>>(),
        ),
    }
}
