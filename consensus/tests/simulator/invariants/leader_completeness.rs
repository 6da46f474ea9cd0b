//! Leader Completeness (paper, figure 3): an entry committed in a term is in the logs of the leaders of all higher terms.

use super::super::history::History;
use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, history: &History, seen: &Observation<'_>) -> Check {
    let Observation::Elected { node, term } = seen else {
        return Ok(());
    };
    // One that has ceased to lead within the same batch of events may have lost what it held.
    let leads = |raft: &&ferrolite_consensus::Raft| raft.is_leader() && raft.term() == *term;
    let Some(raft) = (nodes.get(node))
        .and_then(|node| node.raft.as_ref())
        .filter(leads)
    else {
        return Ok(());
    };
    for committed in history.all_committed().iter().rev() {
        let position = committed.position;
        if position.index < raft.first_index() {
            break;
        }
        if committed.by_term < *term && raft.term_at(position.index) != Some(position.term) {
            return Err(format!(
                "n{node} leads term {term} without {}@{}, committed in term {}; it holds {:?} there",
                position.index,
                position.term,
                committed.by_term,
                raft.term_at(position.index)
            ));
        }
    }
    Ok(())
}
