//! Bugs that other implementations of Raft shipped, put into this one.
//!
//! A checker that has never caught anything has not been tested. Each [`Mutant`] replaces a few lines of `src/` and so
//! brings back one bug; `cargo run --release -p ferrolite-consensus --example mutants` builds each of them and prints
//! which invariant caught it after how many seeds. The numbers and sources are those of the field: issues and pull
//! requests of the projects named. What cannot exist here is in [`table::IMPOSSIBLE`], with the reason.

#![allow(dead_code, reason = "the test and the example each use a part of it")]

pub mod table;

pub use table::MUTANTS;

/// A replacement in one file of `src/`; white space does not count in finding the place.
pub struct Edit {
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

/// One bug.
pub struct Mutant {
    pub bug: &'static str,
    pub source: &'static str,
    pub edits: &'static [Edit],
}

/// Makes an edit. The text must stand in the source exactly once.
pub fn apply(source: &str, edit: &Edit) -> Result<String, String> {
    let solid: Vec<(usize, char)> = source
        .char_indices()
        .filter(|(_, c)| !c.is_whitespace())
        .collect();
    let wanted: Vec<char> = edit.from.chars().filter(|c| !c.is_whitespace()).collect();
    let places: Vec<usize> = (0..=solid.len().saturating_sub(wanted.len()))
        .filter(|&at| {
            solid[at..]
                .iter()
                .map(|(_, c)| c)
                .take(wanted.len())
                .eq(wanted.iter())
        })
        .collect();
    match places.as_slice() {
        [at] => {
            let start = solid[*at].0;
            let (last, c) = solid[at + wanted.len() - 1];
            Ok(format!(
                "{}{}{}",
                &source[..start],
                edit.to,
                &source[last + c.len_utf8()..]
            ))
        }
        _ => Err(format!(
            "{} places instead of one in {}:\n{}",
            places.len(),
            edit.file,
            edit.from
        )),
    }
}
