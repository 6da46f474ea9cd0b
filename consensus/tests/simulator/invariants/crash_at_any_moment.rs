//! A crash at any moment leaves a node that is right about what is committed.
//!
//! The hard state carries a hint of the commit index, which a node that starts believes for whatever its log then holds.
//! So after every event: were the process to die now, with none of the log's writes under way surviving, but any one of the
//! saves of the hard state, the last entry that the hint would vouch for must be the committed one.
//! Crashes that are drawn by chance seldom fall between two writes; this asks the question of every moment.

use super::super::history::History;
use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, history: &History, seen: &Observation<'_>) -> Check {
    let Observation::Stepped { node: id } = seen else {
        return Ok(());
    };
    let Some(disk) = nodes.get(id).map(|node| &node.disk) else {
        return Ok(());
    };
    for hint in disk.hints() {
        let at = hint.min(disk.durable.last().index);
        let Some(held) = disk.durable.get(at).map(|entry| entry.position()) else {
            continue;
        };
        let committed = history.committed(at).map(|committed| committed.position);
        if committed != Some(held) {
            return Err(format!(
                "after a crash n{id} would take {}@{} for committed by the hint {hint}; committed is {committed:?}",
                held.index, held.term
            ));
        }
    }
    Ok(())
}
