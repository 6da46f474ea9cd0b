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
    let target = nodes.get(&message.to);
    let meant = |target: &&super::super::node::Node| {
        raft.configuration().is_some_and(|c| target.is_meant_by(c))
    };
    let Some(target) = target.filter(meant) else {
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
