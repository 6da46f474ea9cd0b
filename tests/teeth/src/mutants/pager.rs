//! Defects of the database files, their sums, the mark and snapshots.

use super::{Mutant, expression, statements};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "pages-unsynced",
        defect: "the mark is moved before pages are on disk",
        edits: &[statements(
            "pager/src/page_file.rs",
            r#"self.latch_all("sync", self.file.sync())?;"#,
            "",
        )],
    },
    Mutant {
        name: "mark-not-begun",
        defect: "pages are written before the mark says so",
        edits: &[
            statements("node/src/redo.rs", "self.mark.begin(to)?;", ""),
            statements(
                "node/src/checkpoint.rs",
                "store.mark.begin(newest.unwrap_or(0).max(applied))?;",
                "",
            ),
        ],
    },
    Mutant {
        name: "sums-not-updated",
        defect: "a page is written without its sum",
        edits: &[statements(
            "pager/src/page_file/checked.rs",
            r#"file.latch("note the sum of a page of", self.change(|sums| sums.set(page_no, entry)),)?;"#,
            "let _ = entry;",
        )],
    },
    Mutant {
        name: "sums-not-compared",
        defect: "a page is read without a look at its sum",
        edits: &[expression(
            "pager/src/page_file/checked.rs",
            "entry.is_none_or(|known| read == page.len() && page_sum(page_no, page) == known.sum)",
            "true",
        )],
    },
    Mutant {
        name: "repair-takes-any",
        defect: "a rotten page is replaced by whatever a peer has for it",
        edits: &[expression(
            "pager/src/page_file/checked.rs",
            "!is_it(known)",
            "false",
        )],
    },
    Mutant {
        name: "last-page-skipped",
        defect: "redo leaves the database's last page out",
        edits: &[expression(
            "pager/src/page_file/transaction.rs",
            "page_no <= db_size",
            "page_no < db_size",
        )],
    },
    Mutant {
        name: "file-not-cut",
        defect: "redo does not cut a file whose database became smaller",
        edits: &[
            expression(
                "pager/src/page_file/transaction.rs",
                "cut(file, page_size, db_size)",
                "Ok(())",
            ),
            statements(
                "pager/src/page_file/transaction.rs",
                "cut(file, page_size, least_size)?;",
                "",
            ),
        ],
    },
    Mutant {
        name: "snapshot-without-last-page",
        defect: "a snapshot leaves the last page out",
        edits: &[expression(
            "pager/src/snapshot/source.rs",
            "*range.start()..=pages.min(*range.end())",
            "*range.start()..=pages.saturating_sub(1).min(*range.end())",
        )],
    },
    Mutant {
        name: "snapshot-of-too-few",
        defect: "a snapshot of changes begins later than the receiver's files end",
        edits: &[expression(
            "pager/src/snapshot/source.rs",
            "file.changed_since(base)?",
            "file.changed_since(base + 30)?",
        )],
    },
    Mutant {
        name: "snapshot-not-installed",
        defect: "the files of a snapshot are not put in the place of the old ones",
        edits: &[statements(
            "node/src/snapshot.rs",
            "self.pending.apply_in(&store.databases)?;",
            "",
        )],
    },
    Mutant {
        name: "snapshot-old-files-open",
        defect: "files that a snapshot has replaced stay open",
        edits: &[expression(
            "node/src/snapshot.rs",
            "store.files_replaced(newest)",
            "Ok(())",
        )],
    },
    Mutant {
        name: "snapshot-newest-too-low",
        defect: "the end of a snapshot does not say how new its pages may be",
        edits: &[expression(
            "node/src/snapshot.rs",
            "trailer.put_u64_le(self.store.mark.target())",
            "trailer.put_u64_le(0)",
        )],
    },
    Mutant {
        name: "snapshot-keeps-log",
        defect: "the log is not begun anew after a snapshot",
        edits: &[statements(
            "node/src/snapshot.rs",
            "store.log.reset(position.index, position.term)?;",
            "",
        )],
    },
];
