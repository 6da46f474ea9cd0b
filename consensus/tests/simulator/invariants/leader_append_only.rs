//! Leader Append-Only (paper, figure 3): a leader never overwrites or deletes entries in its log; it only appends.

use std::collections::HashMap;

use ferrolite_consensus::{Index, NodeId, Term};

use super::{Check, Nodes, Observation};

#[derive(Default)]
pub struct LeaderAppendOnly {
    /// The last index of each leader, in its term.
    last: HashMap<NodeId, (Term, Index)>,
}

impl LeaderAppendOnly {
    pub fn check(&mut self, nodes: &Nodes, seen: &Observation<'_>) -> Check {
        let (Observation::Stepped { node } | Observation::Appending { node, .. }) = seen else {
            return Ok(());
        };
        let Some(raft) = nodes
            .get(node)
            .and_then(|node| node.raft.as_ref())
            .filter(|raft| raft.is_leader())
        else {
            return Ok(());
        };
        let now = (raft.term(), raft.last_index());
        let before = self.last.insert(*node, now);
        match before {
            Some((term, last)) if term == now.0 && last > now.1 => Err(format!(
                "leader n{node} of term {term} cut its log from {last} to {}",
                now.1
            )),
            _ => match seen {
                Observation::Appending { entries, .. } => {
                    // A leader's own entries only go behind what it had written or inherited.
                    let held = nodes
                        .get(node)
                        .map_or(0, |node| node.disk.current.last().index);
                    match entries
                        .iter()
                        .find(|entry| entry.index <= held && entry.term == now.0)
                    {
                        Some(entry) if before.is_some_and(|(term, _)| term == now.0) => Err(
                            format!("leader n{node} overwrites {}@{}", entry.index, entry.term),
                        ),
                        _ => Ok(()),
                    }
                }
                _ => Ok(()),
            },
        }
    }
}
