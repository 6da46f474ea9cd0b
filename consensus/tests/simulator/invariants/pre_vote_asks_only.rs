//! A pre-vote is a question (dissertation §9.6): being asked changes neither term nor vote nor state.

use ferrolite_consensus::{Body, HardState, Message, State};

use super::{Check, Nodes, Observation};

/// What a node was before it dealt with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    pub hard: HardState,
    pub state: State,
}

pub fn check(nodes: &Nodes, seen: &Observation<'_>) -> Check {
    let Observation::Delivered {
        message:
            Message {
                to,
                from,
                body: Body::VoteRequest { pre: true, .. },
                ..
            },
        before,
    } = seen
    else {
        return Ok(());
    };
    let Some(raft) = nodes.get(to).and_then(|node| node.raft.as_ref()) else {
        return Ok(());
    };
    let after = Before {
        hard: raft.hard_state(),
        state: raft.state(),
    };
    if after.hard.term != before.hard.term
        || after.hard.vote != before.hard.vote
        || after.state != before.state
    {
        return Err(format!(
            "a pre-vote request of n{from} moved n{to} from {before:?} to {after:?}"
        ));
    }
    Ok(())
}
