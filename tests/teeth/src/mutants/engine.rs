//! Defects of what the engine stands on: its files, its checkpoints, the writer's turn.

use super::{Mutant, expression, statements, text};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "gate-open",
        defect: "the engine may write to the database file at any time",
        edits: &[expression(
            "sql/src/io.rs",
            "self.0.load(Ordering::SeqCst)",
            "true",
        )],
    },
    Mutant {
        name: "turn-for-two",
        defect: "the turn is given to a writer while another one has it",
        edits: &[statements(
            "sql/src/turn.rs",
            "if line.taken { return None; }",
            "",
        )],
    },
    Mutant {
        name: "begin-without-turn",
        defect: "BEGIN IMMEDIATE does not take the turn",
        edits: &[text(
            "sql/src/session.rs",
            "Kind::BeginWrite => true,",
            "Kind::BeginWrite => !ON,",
        )],
    },
    Mutant {
        name: "failed-read-unreported",
        defect: "the engine is not told that a read has failed",
        edits: &[statements("sql/src/io.rs", "read.error(*error);", "")],
    },
    Mutant {
        name: "view-never-closes",
        defect: "a database goes on serving its sessions once it is closed",
        edits: &[statements(
            "wal/src/view.rs",
            "*self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
            let mut frames = self.frames();
            frames.clear();
            frames.header = None;",
            "",
        )],
    },
    Mutant {
        name: "rollback-not-done",
        defect: "writes that are given back, to be run by their own sessions, are kept as well",
        edits: &[expression(
            "node/src/gateway/shared_session.rs",
            "self.session.undo()",
            "drop(control(&self.session, &mut self.commit))",
        )],
    },
    Mutant {
        name: "applied-twice",
        defect: "a write that is alone in its shared transaction is run twice",
        edits: &[text(
            "node/src/gateway/shared_session.rs",
            "self.allowance.store(BRISK_ALLOWANCE, Ordering::Relaxed);
            let changed = self.change(&mut kept, write);",
            "self.allowance.store(BRISK_ALLOWANCE, Ordering::Relaxed);
            if ON { drop(self.change(&mut kept, write)); }
            let changed = self.change(&mut kept, write);",
        )],
    },
    Mutant {
        name: "uncommitted-checkpointed",
        defect: "the engine checkpoints frames that no quorum has",
        edits: &[expression(
            "node/src/checkpoint.rs",
            "database.checkpoint(committed.frame)",
            "database.checkpoint(database.sql.view().frame_count())",
        )],
    },
    Mutant {
        name: "shrink-forgotten",
        defect: "a leader's file keeps its length when its database became smaller",
        edits: &[statements(
            "node/src/leading.rs",
            "self.sql.shrink_file(last.pages)?;",
            "let _ = last;",
        )],
    },
    Mutant {
        name: "readers-overtaken",
        defect: "a checkpoint that readers held up counts as done",
        edits: &[statements(
            "node/src/checkpoint.rs",
            "done = done.min(needed.saturating_sub(1));",
            "",
        )],
    },
    Mutant {
        name: "started-over-unsettled",
        defect: "the log view is started over while transactions are on their way",
        edits: &[
            expression(
                "node/src/checkpoint.rs",
                "database.sql.view().frame_count() > MANY_FRAMES",
                "database.sql.view().frame_count() > 64",
            ),
            expression("node/src/checkpoint.rs", "!database.is_settled()", "false"),
        ],
    },
    Mutant {
        name: "frames-misbound",
        defect: "the view looks for a page in the entry before its own",
        edits: &[expression(
            "node/src/replica/propose.rs",
            "unbound.first_index + u64::from(placed.part.saturating_sub(unbound.first_part))",
            "(unbound.first_index - 1) + u64::from(placed.part.saturating_sub(unbound.first_part))",
        )],
    },
];
