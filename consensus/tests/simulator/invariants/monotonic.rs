//! Monotonic term, vote, commit and applied.
//!
//! Within a process nothing goes back (but the applied index when an older snapshot replaces a damaged log). Across
//! crashes the term never falls below one that was spoken in, and a vote that was given is given to nobody else in that
//! term, by that data directory.

use std::collections::HashMap;

use ferrolite_consensus::{Body, Incarnation, Index, NodeId, Term};

use super::{Check, Nodes, Observation};

#[derive(Default)]
pub struct Monotonic {
    running: HashMap<NodeId, (Term, Option<NodeId>, Index, Index)>,
    spoken: HashMap<(NodeId, Incarnation), Term>,
    votes: HashMap<(NodeId, Incarnation, Term), NodeId>,
}

impl Monotonic {
    pub fn check(&mut self, nodes: &Nodes, seen: &Observation<'_>) -> Check {
        match seen {
            Observation::Started { node } => {
                self.running.remove(node);
                let Some(raft) = nodes.get(node).and_then(|node| node.raft.as_ref()) else {
                    return Ok(());
                };
                let spoken = self
                    .spoken
                    .get(&(*node, raft.options().incarnation))
                    .copied()
                    .unwrap_or(0);
                if raft.term() < spoken {
                    return Err(format!(
                        "n{node} starts in term {}, having spoken in {spoken}",
                        raft.term()
                    ));
                }
                Ok(())
            }
            Observation::Stepped { node } => self.stepped(nodes, *node),
            Observation::Sent { node, message } => {
                let source = (*node, message.incarnation);
                if let Body::VoteResponse {
                    pre: false,
                    granted: true,
                } = message.body
                {
                    let first = *self
                        .votes
                        .entry((*node, message.incarnation, message.term))
                        .or_insert(message.to);
                    if first != message.to {
                        return Err(format!(
                            "n{node} votes for n{first} and n{} in term {}",
                            message.to, message.term
                        ));
                    }
                }
                let promise = matches!(
                    message.body,
                    Body::VoteRequest { pre: true, .. } | Body::VoteResponse { pre: true, .. }
                );
                if !promise {
                    let spoken = self.spoken.entry(source).or_insert(0);
                    *spoken = (*spoken).max(message.term);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stepped(&mut self, nodes: &Nodes, id: NodeId) -> Check {
        let Some(raft) = nodes.get(&id).and_then(|node| node.raft.as_ref()) else {
            return Ok(());
        };
        let hard = raft.hard_state();
        let now = (hard.term, hard.vote, raft.commit(), raft.applied());
        if let Some(before) = self.running.insert(id, now) {
            let vote_changed = before.0 == now.0 && before.1.is_some() && before.1 != now.1;
            let reinstalled = raft.metrics().snapshots_installed > 0 && now.3 < before.3;
            if now.0 < before.0
                || vote_changed
                || now.2 < before.2
                || (now.3 < before.3 && !reinstalled)
            {
                return Err(format!(
                    "n{id} went back: (term, vote, commit, applied) {before:?} -> {now:?}"
                ));
            }
        }
        Ok(())
    }
}
