//! Defects of the log: what is durable, what a crash leaves of it, and what a place in it is.

use super::{Mutant, expression, statements};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "append-unsynced",
        defect: "entries are acknowledged before the log is synced",
        edits: &[statements(
            "node/src/log_writer.rs",
            "store.log.sync()?;",
            "",
        )],
    },
    Mutant {
        name: "log-never-syncs",
        defect: "the log's sync does not reach the disk",
        edits: &[statements(
            "wal/src/log/append.rs",
            r#"file.sync().map_err(|e| self.stop(Error::at("sync", &name, e)))?;"#,
            "",
        )],
    },
    Mutant {
        name: "append-loses-last",
        defect: "an append of several entries leaves the last one out",
        edits: &[expression(
            "node/src/log_writer.rs",
            "entries.iter().map(record).collect()",
            "entries.iter().take(entries.len().max(2) - 1).map(record).collect()",
        )],
    },
    Mutant {
        name: "full-disk-drops-append",
        defect: "an append that finds the disk full is not tried again",
        edits: &[statements(
            "node/src/log_writer.rs",
            "batch.push_front(Work::Append { seq, entries });",
            "",
        )],
    },
    Mutant {
        name: "vote-unsaved",
        defect: "votes are given before the hard state is saved",
        edits: &[statements(
            "node/src/log_writer.rs",
            "store.save_hard_state(&state)?;",
            "",
        )],
    },
    Mutant {
        name: "slot-unsynced",
        defect: "a slot file is saved without a sync",
        edits: &[expression(
            "wal/src/slot.rs",
            "self.file.write_at(slot, &copy)
                .and_then(|()| self.file.write_at(slot + 2 * BLOCK_BYTES, &copy))
                .and_then(|()| self.file.sync())",
            "self.file.write_at(slot, &copy)
                .and_then(|()| self.file.write_at(slot + 2 * BLOCK_BYTES, &copy))",
        )],
    },
    Mutant {
        name: "torn-tail-kept",
        defect: "recovery keeps what a torn write has left at the log's end",
        edits: &[expression(
            "wal/src/log/assemble.rs",
            "cut_of(&header, &found, self.durable)",
            "None",
        )],
    },
    Mutant {
        name: "torn-tail-unwiped",
        defect: "recovery cuts a torn write off without wiping it",
        edits: &[statements(
            "wal/src/log/assemble.rs",
            "wipe(&name, &*file, cut, wipe_to)?;",
            "",
        )],
    },
    Mutant {
        name: "suffix-revived",
        defect: "recovery does not drop entries that were superseded",
        edits: &[statements(
            "wal/src/log/assemble.rs",
            "self.map.supersede(header.prev_index + 1);",
            "",
        )],
    },
    Mutant {
        name: "superseded-terms",
        defect: "the terms of superseded entries are kept",
        edits: &[statements(
            "wal/src/log/map.rs",
            "self.runs.retain(|run| run.first_index < index);",
            "",
        )],
    },
    Mutant {
        name: "segments-removed-first",
        defect: "segments are removed while the log's mark still counts them",
        edits: &[statements(
            "wal/src/log/retention.rs",
            "self.save_mark(oldest)?;",
            "",
        )],
    },
    Mutant {
        name: "rollback-stays-staged",
        defect: "frames of a transaction that was rolled back stay in the log view",
        edits: &[expression(
            "wal/src/view/write.rs",
            "frames.truncate(first)",
            "0",
        )],
    },
    Mutant {
        name: "chain-skips-one",
        defect: "a page of several differences is read without one of them",
        edits: &[expression(
            "wal/src/frames/read.rs",
            "frames.iter().rev()",
            "frames.get(..frames.len().saturating_sub(1)).unwrap_or_default().iter().rev()",
        )],
    },
    Mutant {
        name: "difference-on-any-base",
        defect: "redo puts a difference on whatever image of the page it has",
        edits: &[expression(
            "node/src/redo.rs",
            "difference.base(index) == Some(page.place)",
            "true",
        )],
    },
];
