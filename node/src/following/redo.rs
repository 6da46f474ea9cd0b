//! Redo beside databases that are open for stale reads.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use ferrolite_consensus::Index;

use super::Following;
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::store::Store;

/// What the files were given while some databases were open, and so had to be left out.
///
/// Readers of an old snapshot keep the mark where it is, and for no longer than that, only for their database. The others are
/// not written again and again from there.
#[derive(Debug)]
pub(super) struct Written {
    /// Of all other databases the files have everything up to there.
    through: Index,
    left_out: BTreeSet<String>,
}

/// Redo on a node that follows: what is open for stale reads has a checkpoint instead. Returns how far the files got.
pub(crate) fn redo(store: &Store, following: &Following, to: Index) -> Result<Index, Error> {
    let open = following.all();
    let done = store.mark.done();
    if open.is_empty() || to <= done {
        return store.redo(to);
    }
    store.mark.begin(to)?;
    let names: BTreeSet<_> = open.iter().map(|open| open.live.name.clone()).collect();
    let mut written = following
        .written
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let before = written.take();
    let before = before.filter(|before| before.left_out.is_subset(&names));
    let from = before.map_or(done, |before| before.through.max(done));
    let open_from = store.write_pages(from, to, |name| !names.contains(name))?;
    *written = Some(Written {
        through: open_from.map_or(to, |open| to.min(open.saturating_sub(1))),
        left_out: names,
    });
    drop(written);
    // Before it is asked what the engines have.
    let needed_from = open.iter().map(|open| open.needed_from());
    let open_from = needed_from.chain(open_from).min();
    let databases: Vec<_> = open.iter().map(|open| Arc::clone(&open.live)).collect();
    checkpoint(store, &databases, to, open_from)
}
