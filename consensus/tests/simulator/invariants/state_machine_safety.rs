//! State Machine Safety (paper, figure 3): no two nodes ever apply different entries at the same index.
//!
//! Each node applies without gaps, only what is committed, only what is on its own disk; and the hash of its state is
//! that of the committed history, also after a snapshot.

use super::super::history::History;
use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, history: &History, seen: &Observation<'_>) -> Check {
    let (id, first, last) = match seen {
        Observation::Applying {
            node,
            first,
            last,
            entries,
        } => {
            let complete = entries.len() as u64 == last + 1 - first
                && entries
                    .iter()
                    .zip(*first..)
                    .all(|(entry, index)| entry.index == index);
            if !complete {
                return Err(format!(
                    "n{node} is to apply {first}..={last} and gets {} entries",
                    entries.len()
                ));
            }
            (node, *first, *last)
        }
        Observation::Installed {
            node, meta, state, ..
        } => {
            if state.index != meta.position.index {
                return Err(format!(
                    "n{node} installs a state of {} as a snapshot of {}",
                    state.index, meta.position.index
                ));
            }
            (node, state.index, state.index)
        }
        _ => return Ok(()),
    };
    let Some(node) = nodes.get(id) else {
        return Ok(());
    };
    if last > history.last_committed() {
        return Err(format!(
            "n{id} applies {last}, but only {} is committed",
            history.last_committed()
        ));
    }
    if matches!(seen, Observation::Applying { .. }) && node.disk.durable.last().index < last {
        return Err(format!("n{id} applies {last}, which is not on its disk"));
    }
    let expected = history.committed(last).map(|committed| committed.hash);
    if expected != Some(node.app.hash) {
        return Err(format!(
            "n{id} applied {first}..={last} and differs from the committed history"
        ));
    }
    Ok(())
}
