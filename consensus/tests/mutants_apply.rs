//! The mutants of `tests/mutants` still fit the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod mutants;

/// Protects: the proof that the simulator catches known bugs, which would silently rot as the source changes.
#[test]
fn every_mutant_still_applies() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut failures = Vec::new();
    for mutant in mutants::MUTANTS {
        for edit in mutant.edits {
            let source =
                std::fs::read_to_string(src.join(edit.file)).expect("the edited file exists");
            if let Err(error) = mutants::apply(&source, edit) {
                failures.push(format!("{}: {error}", mutant.bug));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
