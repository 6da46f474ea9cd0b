//! Defects of what has to be true before an answer leaves the node.

use super::{Mutant, expression, statements, text};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "reads-unconfirmed",
        defect: "reads are answered without proof that the node leads",
        edits: &[expression(
            "node/src/gateway/seat.rs",
            "release.confirm",
            "false",
        )],
    },
    Mutant {
        name: "lease-not-taken-back",
        defect: "a lease that is given up early still counts",
        edits: &[statements(
            "node/src/replica/apply.rs",
            "self.lease.set_until(self.raft.lease_until());",
            "let until = self.raft.lease_until(); if until > 0 { self.lease.set_until(until); }",
        )],
    },
    Mutant {
        name: "lease-without-end",
        defect: "a lease does not end by itself",
        edits: &[expression(
            "node/src/lease.rs",
            "now_ms < self.until_ms.load(Ordering::SeqCst)",
            "now_ms < self.until_ms.load(Ordering::SeqCst).saturating_mul(2)",
        )],
    },
    Mutant {
        name: "lease-trusts-clocks",
        defect: "leases trust that all clocks run at the same rate and never jump",
        edits: &[text(
            "node/src/replica.rs",
            "drift_ppm: LEASE_DRIFT_PPM, jump_ms: raft.heartbeat_ms / 2,",
            "drift_ppm: if ON { 0 } else { LEASE_DRIFT_PPM }, jump_ms: if ON { 0 } else { raft.heartbeat_ms / 2 },",
        )],
    },
    Mutant {
        name: "read-before-commit",
        defect: "a read is answered before what it saw is committed",
        edits: &[expression(
            "node/src/gateway/session.rs",
            "database.observable()",
            "0",
        )],
    },
    Mutant {
        name: "idle-writer-unconfirmed",
        defect: "the end of a write transaction that only read needs no proof that the node leads",
        edits: &[expression(
            "node/src/gateway/session.rs",
            "self.is_write_transaction && !self.session.in_transaction()",
            "false",
        )],
    },
    Mutant {
        name: "old-engine-confirmed",
        defect: "a read by the engine of an earlier leadership passes for one of the present",
        edits: &[statements(
            "node/src/gateway/seat.rs",
            "if database.sql.is_closed() { return Err(Failure::not_leader()); }",
            "",
        )],
    },
    Mutant {
        name: "changes-of-all",
        defect: "a shared write is answered with the changes of all that share its session",
        edits: &[expression(
            "node/src/gateway/shared_session.rs",
            "self.session.changes()",
            "self.session.total_changes()",
        )],
    },
    Mutant {
        name: "rowid-of-others",
        defect: "a shared write that inserts nothing is answered with the last rowid of others",
        edits: &[expression(
            "node/src/gateway/shared_session.rs",
            "inserted.then(|| self.session.last_insert_rowid())",
            "Some(self.session.last_insert_rowid())",
        )],
    },
];
