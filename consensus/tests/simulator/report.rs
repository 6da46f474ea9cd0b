//! What runs did, so that it can be seen that every feature and every fault was met.

use std::collections::BTreeMap;

use ferrolite_consensus::Metrics;

/// Counts over one run or many.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub events: u64,
    pub elections: u64,
    pub committed: u64,
    pub reads: u64,
    pub crashes: u64,
    pub snapshots: u64,
    pub membership_changes: u64,
    pub transfers: u64,
    pub damages: u64,
    pub wipes: u64,
    /// The second phase was run (it is left out when what is broken leaves no quorum to heal).
    pub liveness_checked: bool,
    /// How often each of the rarer things happened.
    pub hits: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Notes that something happened.
    pub fn hit(&mut self, name: &'static str) {
        *self.hits.entry(name).or_default() += 1;
    }

    /// Adds what a node's core has counted.
    pub fn add_metrics(&mut self, metrics: &Metrics) {
        for (name, count) in [
            ("core: rounds of pre-voting", metrics.pre_elections),
            ("core: elections begun", metrics.elections),
            ("core: elections won", metrics.elections_won),
            ("core: votes granted", metrics.votes_granted),
            (
                "core: leaders without a quorum that gave up",
                metrics.quorum_lost,
            ),
            (
                "core: transfers that reached their target",
                metrics.transfers_done,
            ),
            ("core: transfers that failed", metrics.transfers_failed),
            ("core: messages refused", metrics.messages_refused),
            (
                "core: proposals answered `Full`",
                metrics.proposals_refused_full,
            ),
            ("core: entries superseded", metrics.entries_superseded),
            ("core: appends rejected", metrics.appends_rejected),
            (
                "core: losses noticed by a heartbeat",
                metrics.probes_restarted,
            ),
            ("core: entries read back from the log", metrics.log_reads),
            (
                "core: configurations put into effect",
                metrics.configurations,
            ),
            ("core: snapshots begun", metrics.snapshots_begun),
            (
                "core: chunks of snapshots sent",
                metrics.snapshot_chunks_sent,
            ),
            (
                "core: snapshots sent again in part",
                metrics.snapshots_resumed,
            ),
            ("core: snapshots installed", metrics.snapshots_installed),
            ("core: reads confirmed", metrics.reads_confirmed),
            ("core: reads under a lease", metrics.reads_leased),
            ("core: reads refused", metrics.reads_failed),
        ] {
            *self.hits.entry(name).or_default() += count;
        }
    }

    /// What never happened, of all that is counted.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = EXPECTED
            .iter()
            .filter(|name| self.hits.get(*name).copied().unwrap_or(0) == 0);
        never.copied().collect()
    }

    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.elections += other.elections;
        self.committed += other.committed;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.membership_changes += other.membership_changes;
        self.transfers += other.transfers;
        self.damages += other.damages;
        self.wipes += other.wipes;
        for (name, count) in &other.hits {
            *self.hits.entry(name).or_default() += count;
        }
    }
}

/// Everything that a few thousand seeds must meet.
const EXPECTED: &[&str] = &[
    "ambushes: a farewell",
    "ambushes: a rival",
    "ambushes: a successor",
    "ambushes: a wiped voter in place of all others",
    "ambushes: the power fails everywhere",
    "calls to take over that come too late",
    "changes of members begun",
    "changes refused for other reasons",
    "changes refused: a standby is behind",
    "changes refused: another is unfinished",
    "changes refused: leadership is being handed over",
    "changes refused: no voter would be left",
    "changes refused: nothing committed in the term",
    "chunks of snapshots answered together",
    "chunks of snapshots that cannot be used",
    "chunks of snapshots that wait for a disk",
    "clocks that jump",
    "connections reported as broken",
    "core: appends rejected",
    "core: chunks of snapshots sent",
    "core: configurations put into effect",
    "core: elections begun",
    "core: elections won",
    "core: entries read back from the log",
    "core: entries superseded",
    "core: leaders without a quorum that gave up",
    "core: losses noticed by a heartbeat",
    "core: messages refused",
    "core: proposals answered `Full`",
    "core: reads confirmed",
    "core: reads refused",
    "core: reads under a lease",
    "core: rounds of pre-voting",
    "core: snapshots begun",
    "core: snapshots installed",
    "core: snapshots sent again in part",
    "core: transfers that failed",
    "core: transfers that reached their target",
    "core: votes granted",
    "crashes between two actions",
    "crashes that lose what was not synced",
    "deaf nodes beside a healed quorum",
    "disks that fail",
    "events taken in one batch with others",
    "joint configurations",
    "late messages",
    "late writes",
    "logs purged with regard for followers",
    "logs purged without regard for followers",
    "messages cut off",
    "messages cut off one way",
    "messages doubled",
    "messages lost",
    "messages on slow links",
    "peers refused for their incarnation",
    "proposals refused: leadership is being handed over",
    "reads of the log that fail",
    "snapshot streams closed",
    "snapshots that cannot be read now",
    "ticks before their time",
    "weights changed",
    "writes done out of order",
];
