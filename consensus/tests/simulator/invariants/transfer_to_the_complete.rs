//! Leadership is handed only to a node that holds everything committed (dissertation §3.10): the transfer waits for the
//! target to catch up.

use ferrolite_consensus::{Body, Position};

use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, seen: &Observation<'_>) -> Check {
    let Observation::Sent { node, message } = seen else {
        return Ok(());
    };
    if message.body != Body::TimeoutNow {
        return Ok(());
    }
    let Some(raft) = nodes.get(node).and_then(|node| node.raft.as_ref()) else {
        return Ok(());
    };
    let Some(target) = nodes.get(&message.to).filter(|target| !target.wiped) else {
        return Ok(());
    };
    let committed = raft.commit();
    match raft.term_at(committed) {
        Some(term) if !target.disk.vouches_for(Position::new(committed, term)) => Err(format!(
            "n{node} hands over to n{}, which lacks {committed}@{term}",
            message.to
        )),
        _ => Ok(()),
    }
}
