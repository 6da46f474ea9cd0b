//! The mutants still fit the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::mutants;

/// Protects: the proof that the simulator finds defects, which would silently rot as the source changes. The edits are made one
/// after the other, as they are for the search, in which they must not get into each other's way.
#[test]
fn every_mutant_still_applies() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    let mut failures = Vec::new();
    for (_, mutant) in mutants::all() {
        for edit in mutant.edits {
            let source = sources.entry(edit.file).or_insert_with(|| {
                std::fs::read_to_string(workspace.join(edit.file)).expect("the edited file exists")
            });
            match mutants::apply(source, mutant, edit) {
                Ok(edited) => *source = edited,
                Err(error) => failures.push(format!("{}: {error}", mutant.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Protects: the choice of one mutant by its name.
#[test]
fn names_are_unique() {
    let names: BTreeSet<&str> = mutants::all().map(|(_, mutant)| mutant.name).collect();
    assert_eq!(names.len(), mutants::all().count());
}

/// Protects: what is compiled into the crates asks for the variable that the search sets.
#[test]
fn the_switch_is_the_one_that_is_asked_for() {
    assert!(mutants::ASKS.contains(&format!("{:?}", mutants::SWITCH)));
}
