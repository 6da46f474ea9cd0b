//! One configuration change at a time (paper §6), and by joint consensus: a leader appends a configuration only behind a
//! committed one, and neighbouring configurations either have the same voters or are bound by a joint one.

use ferrolite_consensus::{Configuration, EntryKind};

use super::{Check, Nodes, Observation};

pub fn check(nodes: &Nodes, seen: &Observation<'_>) -> Check {
    let Observation::Appending { node, entries } = seen else {
        return Ok(());
    };
    let Some(machine) = nodes.get(node) else {
        return Ok(());
    };
    let Some(raft) = machine.raft.as_ref() else {
        return Ok(());
    };
    for entry in entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Config)
    {
        let Ok(new) = Configuration::decode(&entry.payload) else {
            return Err(format!(
                "n{node} writes a configuration that cannot be read"
            ));
        };
        // What the new entries supersede is not before them.
        let kept = machine.disk.current.entries.iter();
        let kept = kept.filter(|held| {
            entries
                .first()
                .is_some_and(|first| held.index < first.index)
        });
        let before = kept
            .chain(entries.iter())
            .filter(|held| held.kind == EntryKind::Config && held.index < entry.index)
            .max_by_key(|held| held.index);
        let Some(old) = before else { continue };
        if raft.is_leader() && old.index > raft.commit() {
            return Err(format!(
                "leader n{node} appends configuration {} before {} is committed",
                entry.index, old.index
            ));
        }
        let Ok(old) = Configuration::decode(&old.payload) else {
            continue;
        };
        let bound = old.voter_ids() == new.voter_ids() && !new.is_joint()
            || (!old.is_joint() && new.outgoing_ids() == old.voter_ids());
        if !bound {
            return Err(format!(
                "n{node} goes from {old:?} to {new:?} at {}",
                entry.index
            ));
        }
    }
    Ok(())
}
