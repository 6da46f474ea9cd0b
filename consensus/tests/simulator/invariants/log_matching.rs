//! Log Matching (paper, figure 3): if two logs hold an entry of the same index and term, they are identical in all
//! entries up to it.
//!
//! Checked by induction: whenever any node writes an entry, its payload and the term of its predecessor must be those
//! that every other node has written at that index and term.

use ferrolite_consensus::{Entry, EntryKind};

use super::super::history::{History, Known};
use super::{Check, Nodes, Observation};

#[derive(Default)]
pub struct LogMatching;

impl LogMatching {
    /// Notes the entry that founds the cluster.
    pub fn found(&self, history: &mut History, first: &Entry) {
        let known = Known {
            kind: EntryKind::Config,
            payload: first.payload.clone(),
            prev_term: 0,
        };
        history.known.insert((first.index, first.term), known);
    }

    pub fn check(&self, nodes: &Nodes, history: &mut History, seen: &Observation<'_>) -> Check {
        let Observation::Appending { node, entries } = seen else {
            return Ok(());
        };
        let Some(image) = nodes.get(node).map(|node| &node.disk.current) else {
            return Ok(());
        };
        let Some(first) = entries.first() else {
            return Err("an append without entries".to_owned());
        };
        let mut prev = match first.index.checked_sub(1) {
            Some(index) if index == image.boundary.index => image.boundary,
            Some(index) => match image.get(index) {
                Some(entry) => entry.position(),
                None => return Err(format!("n{node} writes {} behind a gap", first.index)),
            },
            None => return Err(format!("n{node} writes an entry of index 0")),
        };
        for entry in *entries {
            if entry.index != prev.index + 1 || entry.term < prev.term {
                return Err(format!(
                    "n{node} writes {:?} after {prev:?}",
                    entry.position()
                ));
            }
            let here = Known {
                kind: entry.kind,
                payload: entry.payload.clone(),
                prev_term: prev.term,
            };
            let there = history
                .known
                .entry((entry.index, entry.term))
                .or_insert_with(|| here.clone());
            if *there != here {
                return Err(format!(
                    "n{node} writes {}@{} as {here:?}; another log holds {there:?}",
                    entry.index, entry.term
                ));
            }
            prev = entry.position();
        }
        Ok(())
    }
}
