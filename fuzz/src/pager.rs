//! Database files, and snapshots of them.

mod snapshot;
mod sums;

pub use snapshot::pager_snapshot;
pub use sums::pager_sums;

use ferrolite_pager::validate::{self, MAX_PROBLEMS};

use crate::Target;

/// The targets of this layer.
pub const TARGETS: &[(&str, Target)] = &[
    ("pager_snapshot", pager_snapshot),
    ("pager_sums", pager_sums),
    ("pager_validate", pager_validate),
];

/// Bytes as a database: looking at them ends, without a panic, and the answers agree with each other.
pub fn pager_validate(data: &[u8]) {
    let header = validate::header(data);
    let report = validate::examine(data);
    let verdict = validate::file(data);
    let Ok(report) = report else {
        assert!(verdict.is_err());
        return;
    };
    assert_eq!(header.ok().as_ref(), Some(&report.header));
    assert_eq!(verdict.is_ok(), report.is_sound());
    assert!(report.problems.len() <= MAX_PROBLEMS);
    for problem in &report.problems {
        assert!(!problem.description.is_empty());
    }
    let used = [report.tree_pages, report.overflow_pages, report.free_pages];
    let used: u64 = used.into_iter().map(u64::from).sum();
    assert!(used <= report.pages.into(), "{report:?}: pages used twice");
    assert!(u64::from(report.pages) * 512 <= data.len() as u64);
    if report.is_sound() {
        assert!(report.trees > 0 && report.tree_pages >= report.trees);
    }
}
