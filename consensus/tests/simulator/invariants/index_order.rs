//! Purged ≤ snapshot ≤ applied ≤ committed ≤ last, and what is on disk reaches no further than the log. Besides: in a cluster of
//! correct nodes nobody ever sees a message that no correct node sends.
//!
//! A node that has lost part of its log to damage knows of more commits than it holds; for it the order ends at
//! committed.

use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, seen: &Observation<'_>) -> Check {
    let Observation::Stepped { node: id } = seen else {
        return Ok(());
    };
    let Some(node) = nodes.get(id) else {
        return Ok(());
    };
    let Some(raft) = node.raft.as_ref() else {
        return Ok(());
    };
    let purged = raft.first_index() - 1;
    let (applied, commit, durable, last) = (
        raft.applied(),
        raft.commit(),
        raft.durable(),
        raft.last_index(),
    );
    let whole = purged <= applied && applied <= commit && durable <= last;
    if !whole || (commit > last && !raft.is_damaged()) {
        return Err(format!(
            "n{id}: purged {purged}, applied {applied}, committed {commit}, durable {durable}, last {last}"
        ));
    }
    // The application may be ahead of what it has reported.
    let (snapshot, reached) = (node.disk.checkpoint.index, node.app.index);
    if purged > snapshot || snapshot > reached || applied > reached || reached > commit {
        return Err(format!(
            "n{id}: purged {purged}, snapshot {snapshot}, applied {reached} (reported {applied}), committed {commit}"
        ));
    }
    // The core must not think more durable than is.
    if durable > node.disk.durable.last().index {
        return Err(format!(
            "n{id} takes {durable} for durable; the disk holds {}",
            node.disk.durable.last().index
        ));
    }
    if raft.metrics().violations > 0 {
        return Err(format!(
            "n{id} has seen a message or an event that no correct peer or driver sends"
        ));
    }
    Ok(())
}
