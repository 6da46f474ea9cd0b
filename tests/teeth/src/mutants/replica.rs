//! Defects of the replica: what it tells whom, what it carries into the files, and what it lets go of.

use super::{Mutant, expression, statements, text};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "answer-at-proposal",
        defect: "writes are answered when they are proposed",
        edits: &[statements(
            "node/src/gateway/seat.rs",
            "database.commits.wait(release.number).await?;",
            "",
        )],
    },
    Mutant {
        name: "lost-means-refused",
        defect: "what was on its way when leadership went is said not to have happened",
        edits: &[
            statements(
                "node/src/replica/apply.rs",
                "for database in self.registry.close_all() { database.commits.lose_from(0); }",
                "for database in self.registry.close_all() { database.commits.refuse_from(0); }",
            ),
            text(
                "node/src/replica/apply.rs",
                "Proposed::Transaction { database, .. } => database.commits.lose_from(0),",
                "Proposed::Transaction { database, .. } => if ON { database.commits.refuse_from(0) } else { database.commits.lose_from(0) },",
            ),
        ],
    },
    Mutant {
        name: "lost-untold",
        defect: "nobody is told that leadership went while it waited for its commit",
        edits: &[statements(
            "node/src/leading.rs",
            "self.drop_waiting(|state| &mut state.lost_from, number);",
            "let _ = number;",
        )],
    },
    Mutant {
        name: "databases-left-open",
        defect: "databases stay open when leadership goes",
        edits: &[text(
            "node/src/leading.rs",
            ".inspect(|database| database.close())",
            ".inspect(|database| if !ON { database.close() })",
        )],
    },
    Mutant {
        name: "serving-too-early",
        defect: "a leader serves before the first entry of its term is committed",
        edits: &[
            expression(
                "node/src/replica/apply.rs",
                "self.raft.is_serving()",
                "self.raft.is_leader()",
            ),
            text(
                "node/src/replica/apply.rs",
                r#"if state == State::Leader { log::info!(term; "this node leads");"#,
                r#"if state == State::Leader { if ON { self.phase = Phase::Settling; } log::info!(term; "this node leads");"#,
            ),
        ],
    },
    Mutant {
        name: "take-over-without-redo",
        defect: "a new leader opens its databases without what is only in the log",
        edits: &[statements(
            "node/src/checkpoint.rs",
            "store.write_pages(store.mark.done(), *to, |_| true)?;",
            "",
        )],
    },
    Mutant {
        name: "take-over-without-last",
        defect: "a new leader opens its databases without the last applied entries",
        edits: &[text(
            "node/src/replica/apply.rs",
            "self.send_job(Job::TakeOver { to: self.applied,",
            "self.send_job(Job::TakeOver { to: self.applied.saturating_sub(if ON { 2 } else { 0 }),",
        )],
    },
    Mutant {
        name: "schema-change-lost",
        defect: "redo leaves page 1 out, where changes of the schema begin",
        edits: &[expression(
            "node/src/redo.rs",
            "frame.page_no() > outcome.db_size",
            "frame.page_no() > outcome.db_size || frame.page_no() == 1",
        )],
    },
    Mutant {
        name: "redo-skips-first",
        defect: "redo leaves the first entry out",
        edits: &[expression(
            "node/src/redo.rs",
            "from.saturating_add(1)",
            "from.saturating_add(2)",
        )],
    },
    Mutant {
        name: "interrupted-checkpoint-left",
        defect: "a start does not finish the checkpoint that a crash has interrupted",
        edits: &[statements(
            "node/src/store.rs",
            "store.redo_interrupted_checkpoint()?;",
            "",
        )],
    },
    Mutant {
        name: "purged-too-early",
        defect: "the log is dropped before its entries are in the files",
        edits: &[expression(
            "node/src/replica/apply.rs",
            "done.min(may_go).min(kept_for_snapshots)",
            "self.applied.min(may_go)",
        )],
    },
    Mutant {
        name: "anchor-purged",
        defect: "the log is dropped behind the anchor that later differences stand on",
        edits: &[expression(
            "node/src/replica/apply.rs",
            "done.min(keep.saturating_sub(1))",
            "done",
        )],
    },
    Mutant {
        name: "difference-behind-anchor",
        defect: "differences reach behind the anchor",
        edits: &[expression(
            "node/src/pages.rs",
            "last.filter(|last| reach.is_some_and(|reach| last.root >= reach))",
            "last.filter(|_| reach.is_some())",
        )],
    },
    Mutant {
        name: "images-kept",
        defect: "images of a log that may have become another are not forgotten",
        edits: &[statements(
            "node/src/images.rs",
            "*self.state() = State::default();",
            "",
        )],
    },
    Mutant {
        name: "images-of-any-place",
        defect: "the newest image of a page is given for an older one",
        edits: &[expression(
            "node/src/images.rs",
            "(kept.logged.place == place)",
            "true",
        )],
    },
    Mutant {
        name: "members-unsaved",
        defect: "members are not saved when the entry that names them is dropped",
        edits: &[expression(
            "node/src/replica/apply.rs",
            "membership::save(self.store.directory(), &known)",
            "Ok(())",
        )],
    },
];
