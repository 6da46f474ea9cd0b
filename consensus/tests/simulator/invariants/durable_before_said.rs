//! Durable before said (paper §5.2, "persistent state"; §5.3): a message of a term leaves only when that term is on disk,
//! a vote only when the vote is, an acknowledgement only when the entries are.

use ferrolite_consensus::{AppendOutcome, Body, NodeId, Position};

use super::{Check, Nodes, Observation};

#[derive(Default)]
pub struct DurableBeforeSaid;

impl DurableBeforeSaid {
    pub fn check(&self, nodes: &Nodes, seen: &Observation<'_>) -> Check {
        let Observation::Sent { node: id, message } = seen else {
            return Ok(());
        };
        let Some(node) = nodes.get(id) else {
            return Ok(());
        };
        let hard = node.disk.hard;
        match &message.body {
            Body::VoteRequest { pre: true, .. } | Body::VoteResponse { pre: true, .. } => {
                return Ok(());
            }
            _ if message.term > hard.term => {
                return Err(format!(
                    "n{id} says {:?} in term {}, on disk is {}",
                    message.body, message.term, hard.term
                ));
            }
            Body::VoteResponse { granted: true, .. } => {
                return self.voted(*id, message.term, message.to, hard.term, hard.vote);
            }
            Body::VoteRequest { .. } => {
                return self.voted(*id, message.term, *id, hard.term, hard.vote);
            }
            _ => {}
        }
        let matched = match &message.body {
            Body::AppendResponse {
                outcome: AppendOutcome::Accepted { matched },
                ..
            } => *matched,
            Body::HeartbeatResponse { matched, .. } => *matched,
            _ => return Ok(()),
        };
        let Some(raft) = node.raft.as_ref() else {
            return Ok(());
        };
        // A message that was held back since an earlier term speaks of the log of that time.
        if message.term != raft.term() {
            return Ok(());
        }
        match raft
            .term_at(matched)
            .map(|term| Position::new(matched, term))
        {
            Some(position) if !node.disk.durable.holds(position) => Err(format!(
                "n{id} acknowledges {matched}; its disk holds {:?}",
                node.disk.durable.last()
            )),
            _ => Ok(()),
        }
    }

    fn voted(
        &self,
        id: NodeId,
        term: u64,
        candidate: NodeId,
        saved: u64,
        vote: Option<NodeId>,
    ) -> Check {
        if term == saved && vote != Some(candidate) {
            return Err(format!(
                "n{id} votes for n{candidate} in term {term}; on disk is {vote:?}"
            ));
        }
        Ok(())
    }
}
