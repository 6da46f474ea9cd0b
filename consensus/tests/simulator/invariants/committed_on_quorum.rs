//! Committed is on a quorum, and never changes (paper §5.4).
//!
//! Whatever a leader first calls committed must be held durably by a quorum of the configuration in effect there (a node
//! whose log was damaged counts while it is bound to vote as though it held it), and must be the successor of what was
//! committed before. Nobody else commits first.

use std::collections::HashMap;

use ferrolite_consensus::{Configuration, Index, NodeId, Position, VoteResult};

use super::super::history::History;
use super::{Check, Nodes, Observation};

#[derive(Default)]
pub struct CommittedOnQuorum {
    /// What was in effect on each node before the present step: a commit may itself bring the next one into effect.
    in_effect: HashMap<NodeId, (u64, Index, Configuration)>,
}

impl CommittedOnQuorum {
    pub fn check(&mut self, nodes: &Nodes, history: &mut History, seen: &Observation<'_>) -> Check {
        match seen {
            Observation::Stepped { node } => {
                if let Some(machine) = nodes.get(node)
                    && let Some(raft) = machine.raft.as_ref()
                    && let Some(configuration) = raft.configuration()
                {
                    let now = (machine.boot, raft.configuration_index());
                    if self
                        .in_effect
                        .get(node)
                        .is_none_or(|(boot, index, _)| (*boot, *index) != now)
                    {
                        self.in_effect
                            .insert(*node, (now.0, now.1, configuration.clone()));
                    }
                }
                Ok(())
            }
            Observation::Committed { node, index } => self.committed(nodes, history, *node, *index),
            _ => Ok(()),
        }
    }

    fn committed(&self, nodes: &Nodes, history: &mut History, node: NodeId, index: Index) -> Check {
        let Some(raft) = nodes.get(&node).and_then(|node| node.raft.as_ref()) else {
            return Ok(());
        };
        // What was committed before must be the same here, as far as this log still tells.
        for at in raft.first_index()..=(index).min(history.last_committed()) {
            let expected = history
                .committed(at)
                .map(|committed| committed.position.term);
            let found = raft.term_at(at);
            if found.is_some() && found != expected {
                return Err(format!(
                    "n{node} calls {at}@{found:?} committed; committed is {at}@{expected:?}"
                ));
            }
        }
        if index <= history.last_committed() {
            return Ok(());
        }
        // A leader that is deposed in the very step in which it commits (it is no voter any more) counts as one.
        let leads = raft.is_leader() || raft.configuration().is_some_and(|c| !c.is_voter(node));
        if !leads {
            return Err(format!(
                "follower n{node} commits {index}, which no leader has committed"
            ));
        }
        for at in history.last_committed() + 1..=index {
            let Some(term) = raft.term_at(at) else {
                return Err(format!("n{node} commits {at}, which it does not hold"));
            };
            history.commit(Position::new(at, term), raft.term());
        }
        let Some(last) = history.committed(index).map(|committed| committed.position) else {
            return Ok(());
        };
        let Some((_, _, configuration)) = self.in_effect.get(&node) else {
            return Err(format!("n{node} commits without a configuration"));
        };
        let holds = |id| {
            let incarnation = configuration
                .member(id)
                .map_or(0, |member| member.incarnation);
            let disk = nodes
                .get(&id)
                .map(|node| match node.lost.get(&incarnation) {
                    Some(lost) => lost,
                    None => &node.disk,
                });
            Some(disk.is_some_and(|disk| disk.vouches_for(last)))
        };
        if configuration.vote_result(holds) != VoteResult::Won {
            let holders: Vec<u64> = nodes
                .keys()
                .copied()
                .filter(|&id| holds(id) == Some(true))
                .collect();
            return Err(format!(
                "n{node} commits {}@{}, held only by {holders:?}",
                last.index, last.term
            ));
        }
        Ok(())
    }
}
