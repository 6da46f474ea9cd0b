//! The list.

use super::{Edit, Mutant};

const fn edit(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { file, from, to }
}

/// Bugs that can exist in this design, and how to make them.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        bug: "a step-down within the term clears the vote",
        source: "microsoft/CCF 8094",
        edits: &[edit(
            "election.rs",
            "self.leave_leadership(); self.state = State::Follower; self.votes.clear();",
            "self.leave_leadership(); self.state = State::Follower; self.votes.clear(); self.hard.vote = None; self.saves.mark_dirty();",
        )],
    },
    Mutant {
        bug: "a pre-candidate of a lower term is never told so",
        source: "etcd 8243",
        edits: &[edit(
            "election.rs",
            "if pre { let granted",
            "if pre { if term <= self.hard.term { return; } let granted",
        )],
    },
    Mutant {
        bug: "a long log at a low term and a short one at a high term refuse each other for ever",
        source: "openraft 1796",
        edits: &[edit(
            "raft.rs",
            "let promise = matches!(body, Body::VoteResponse { pre: true, granted: true });",
            "let promise = matches!(body, Body::VoteResponse { pre: true, .. });",
        )],
    },
    Mutant {
        bug: "a pre-vote request makes the leader step down",
        source: "hashicorp/raft 605",
        edits: &[edit(
            "election.rs",
            "if pre { let granted",
            "if pre { if term > self.hard.term { self.become_follower(term, None); } let granted",
        )],
    },
    Mutant {
        bug: "a standby just promoted does not vote, for its configuration is older",
        source: "raft-rs 57",
        edits: &[edit(
            "election.rs",
            "let granted = free && last >= self.vote_position();",
            "let granted = free && last >= self.vote_position() && self.configurations.current().voter_ids().contains(&self.options.id);",
        )],
    },
    Mutant {
        bug: "a late TimeoutNow deposes a leader that relies on its lease",
        source: "raft-rs 234",
        edits: &[edit("transfer.rs", "self.reads.forfeit_lease();", "")],
    },
    Mutant {
        bug: "leadership is handed to a node that is behind",
        source: "openraft 1806",
        edits: &[edit(
            "transfer.rs",
            "progress.matched == self.log.last().index",
            "progress.matched <= self.log.last().index",
        )],
    },
    Mutant {
        bug: "a vote is answered before it is on disk",
        source: "paper 5.2",
        edits: &[edit(
            "storage.rs",
            "if self.saves.is_clean() { let released",
            "if self.commit < u64::MAX { let released",
        )],
    },
    Mutant {
        bug: "a wiped node counts under its old number",
        source: "dissertation 11.7.2",
        edits: &[edit(
            "configuration.rs",
            "self.incarnation == 0 || self.incarnation == incarnation",
            "self.incarnation == 0 || incarnation > 0",
        )],
    },
    Mutant {
        bug: "an entry of an earlier term is committed by counting",
        source: "logcabin 44, canonical/raft 336",
        edits: &[edit(
            "replication.rs",
            "if reached > self.commit && self.log.term(reached) == Some(self.hard.term)",
            "if reached > self.commit && self.log.term(reached).is_some()",
        )],
    },
    Mutant {
        bug: "the quorum of an even cluster is one short",
        source: "hashicorp/raft 163a55f, openraft 1802",
        edits: &[edit("quorum.rs", "voters / 2 + 1", "voters.div_ceil(2)")],
    },
    Mutant {
        bug: "a follower commits past the prefix it shares with the leader",
        source: "scylladb 9965, rabbitmq/ra 508",
        edits: &[
            edit(
                "replication.rs",
                "self.commit_to(commit.min(self.shared)); if end",
                "self.commit_to(commit.min(self.log.last().index)); if end",
            ),
            edit(
                "replication.rs",
                "self.commit_to(commit.min(self.shared)); let body",
                "self.commit_to(commit.min(self.log.last().index)); let body",
            ),
        ],
    },
    Mutant {
        bug: "a committed suffix is dropped when a leader becomes follower",
        source: "CCF 5674, NuRaft 185",
        edits: &[
            edit(
                "log.rs",
                "fn truncate(&mut self, first: Index)",
                "pub(crate) fn truncate(&mut self, first: Index)",
            ),
            edit(
                "election.rs",
                "self.serving = false; while let",
                "self.serving = false; self.log.truncate(self.applied.max(self.log.boundary().index) + 1); while let",
            ),
        ],
    },
    Mutant {
        bug: "a joint configuration is not left by the next leader",
        source: "etcd 12136",
        edits: &[edit(
            "membership.rs",
            "self.actions.push(Action::ConfigurationCommitted { index }); }",
            "self.actions.push(Action::ConfigurationCommitted { index }); } else { return; }",
        )],
    },
    Mutant {
        bug: "a joint configuration is taken for a single node",
        source: "openraft 6c0ccaf",
        edits: &[edit(
            "configuration.rs",
            "alone(&self.voter_ids) && alone(&self.outgoing_ids)",
            "alone(&self.voter_ids)",
        )],
    },
    Mutant {
        bug: "a joint configuration commits by the new voters alone",
        source: "openraft 6c0ccaf",
        edits: &[edit(
            "quorum.rs",
            "reached(incoming, &value).min(reached(outgoing, &value))",
            "{ let _ = outgoing; reached(incoming, &value) }",
        )],
    },
    Mutant {
        bug: "a snapshot leaves the old configuration in effect",
        source: "openraft 1808",
        edits: &[edit(
            "snapshot/receiving.rs",
            "self.configurations.reset(meta.configuration_index, meta.configuration);",
            "let _ = &meta.configuration;",
        )],
    },
    Mutant {
        bug: "a configuration that is appended, not committed, is ignored by the next leader",
        source: "NuRaft 67",
        edits: &[edit(
            "membership.rs",
            "for (index, configuration) in configurations { self.configurations.push(index, configuration);",
            "for (index, configuration) in configurations { if self.state == State::Leader { self.configurations.push(index, configuration); }",
        )],
    },
    Mutant {
        bug: "a second change begins before the first is committed",
        source: "paper 6",
        edits: &[edit(
            "membership.rs",
            "if index > self.commit || current.is_joint()",
            "if index == u64::MAX || current.is_joint()",
        )],
    },
    Mutant {
        bug: "a removed voter with the best log refuses to lead for the last time",
        source: "dissertation 4.2.2",
        edits: &[edit(
            "election.rs",
            "self.configurations.undecided(self.commit).any(",
            "core::iter::once(self.configurations.current()).any(",
        )],
    },
    Mutant {
        bug: "panic when asked to append after compaction",
        source: "etcd-io/raft 31",
        edits: &[edit(
            "replication.rs",
            "let Some(prev) = self.log.position(progress.next.saturating_sub(1)) else { self.begin_snapshot(at); return false; };",
            "let prev = self.log.position(progress.next.saturating_sub(1)).unwrap();",
        )],
    },
    Mutant {
        bug: "in-flight bytes leak until the flow stops",
        source: "etcd-io/raft 54",
        edits: &[edit(
            "progress.rs",
            "self.inflight.pop_front(); self.inflight_bytes = self.inflight_bytes.saturating_sub(bytes);",
            "self.inflight.pop_front(); let _ = bytes;",
        )],
    },
    Mutant {
        bug: "a follower that has caught up stays in probe",
        source: "etcd-io/raft 52",
        edits: &[
            edit(
                "replication.rs",
                "progress.accepted(matched); match &progress.mode {",
                "let news = matched > progress.matched; progress.accepted(matched); match &progress.mode {",
            ),
            edit(
                "replication.rs",
                "Mode::Probe { .. } => progress.replicate(),",
                "Mode::Probe { .. } if !news => {} Mode::Probe { .. } => progress.replicate(),",
            ),
        ],
    },
    Mutant {
        bug: "the count of uncommitted bytes leaks until every proposal is refused",
        source: "etcd-io/raft a370b6f",
        edits: &[edit(
            "election.rs",
            "self.uncommitted.clear(); self.uncommitted_bytes = 0;",
            "self.uncommitted.clear();",
        )],
    },
    Mutant {
        bug: "paging of committed entries skips some",
        source: "etcd 10063",
        edits: &[edit(
            "storage.rs",
            "self.log.cached(first, last, u64::MAX).unwrap_or_default()",
            "self.log.cached(first, last, 100).unwrap_or_default()",
        )],
    },
    Mutant {
        bug: "more than a screenful of conflicting entries: livelock",
        source: "openraft 6d53aa1",
        edits: &[
            edit(
                "replication.rs",
                ".min(progress.next.saturating_sub(1)).max(1);",
                ".max(progress.next.saturating_sub(3)).max(1);",
            ),
            edit(
                "replication.rs",
                "let hint = self.log.last_agreeable(prev);",
                "let hint = self.log.position(prev.index).unwrap_or(self.log.last());",
            ),
        ],
    },
    Mutant {
        bug: "a leader whose whole log is compacted sends no snapshot",
        source: "openraft 1828",
        edits: &[edit(
            "replication.rs",
            "else { self.begin_snapshot(at); return false; };",
            "else { if self.log.boundary().index < self.applied { self.begin_snapshot(at); } return false; };",
        )],
    },
    Mutant {
        bug: "a read is answered before the leader has committed in its term",
        source: "etcd 7331",
        edits: &[edit(
            "reads.rs",
            "} else if self.has_committed_in_term() {",
            "} else if self.commit < u64::MAX {",
        )],
    },
    Mutant {
        bug: "a read joins a round that began before it",
        source: "etcd 20418",
        edits: &[edit(
            "reads.rs",
            "self.reads.gathered.push_back((token, index));",
            "if self.reads.asked.is_empty() { self.reads.gathered.push_back((token, index)); } else { let round = self.reads.round; self.reads.asked.push_back((round, token, index)); }",
        )],
    },
    Mutant {
        bug: "the completion of an old write vouches for a newer entry of its index",
        source: "etcd 1690",
        edits: &[edit(
            "log.rs",
            "write.covers = write.covers.min(kept);",
            "write.covers = write.covers.max(kept.min(1));",
        )],
    },
    Mutant {
        bug: "a late, short append cuts what was acknowledged",
        source: "openraft 9540c90",
        edits: &[edit(
            "replication.rs",
            "entries.drain(..known);",
            "let _ = known;",
        )],
    },
    Mutant {
        bug: "completions out of order are taken for a durable prefix",
        source: "openraft 1960",
        edits: &[edit(
            "log.rs",
            "write.done = true; while",
            "write.done = true; self.durable = self.durable.max(write.covers); while",
        )],
    },
    Mutant {
        bug: "a leader counts itself before its disk has answered",
        source: "etcd 14370",
        edits: &[edit(
            "replication.rs",
            "let durable = self.log.durable(); let reached",
            "let durable = self.log.last().index; let reached",
        )],
    },
    Mutant {
        bug: "a node forgets that part of its log was damaged, and votes without it",
        source: "etcd 6515",
        edits: &[edit(
            "raft.rs",
            "hard.claim = Some(recovered.last_position());",
            "hard.claim = hard.claim.filter(|_| false);",
        )],
    },
    Mutant {
        bug: "a node that restarts elects itself at once, for its configuration names no other voter but is not committed",
        source: "this crate",
        edits: &[edit(
            "raft.rs",
            ".all(|configuration| configuration.is_only_voter(options.id))",
            ".last().is_some_and(|configuration| configuration.is_only_voter(options.id))",
        )],
    },
    Mutant {
        bug: "a lease counts from the answer, not from the question",
        source: "dissertation 6.4.1",
        edits: &[edit(
            "reads.rs",
            "self.reads.confirmed_at = Some(at);",
            "self.reads.confirmed_at = Some(at.max(self.now));",
        )],
    },
    Mutant {
        bug: "a node with a damaged log stands for election",
        source: "etcd 6515",
        edits: &[edit(
            "election.rs",
            "self.hard.claim.is_none() && !self.is_installing() && is_voter",
            "!self.is_installing() && is_voter",
        )],
    },
    Mutant {
        bug: "an election is won with the new voters alone",
        source: "openraft 6c0ccaf",
        edits: &[edit(
            "quorum.rs",
            "match (vote(incoming, &answer), vote(outgoing, &answer)) {",
            "let _ = outgoing; match (vote(incoming, &answer), vote(incoming, &answer)) {",
        )],
    },
    Mutant {
        bug: "entries are written while a snapshot replaces the log",
        source: "this crate",
        edits: &[edit(
            "replication.rs",
            "!self.is_installing() && (self.hard.claim.is_none() || self.saves.is_clean())",
            "self.hard.claim.is_none() || self.saves.is_clean()",
        )],
    },
    Mutant {
        bug: "the end of a snapshot is read before the rest has arrived, which is then read again",
        source: "this crate",
        edits: &[edit(
            "snapshot/sending.rs",
            "if chunk.done && !self.ends.is_empty() {",
            "if false && chunk.done {",
        )],
    },
    Mutant {
        bug: "a chunk of a snapshot is taken for the one that was lost before it",
        source: "this crate",
        edits: &[edit(
            "snapshot/receiving.rs",
            "} else if offset == incoming.next && has_room {",
            "} else if offset >= incoming.next && has_room {",
        )],
    },
    Mutant {
        bug: "a snapshot is installed while the log is being written",
        source: "this crate",
        edits: &[edit(
            "snapshot/receiving.rs",
            "if !self.log.is_quiet() || !self.chunk_writes.is_empty() {",
            "if !self.chunk_writes.is_empty() {",
        )],
    },
    Mutant {
        bug: "a follower hands out every chunk of a snapshot that comes, however slow its disk is",
        source: "this crate",
        edits: &[edit(
            "snapshot/receiving.rs",
            "&& waiting.saturating_add(bytes) <= self.options.snapshot_window_bytes",
            "|| waiting < bytes.max(u64::MAX)",
        )],
    },
    Mutant {
        bug: "what a node had been given of a snapshot before it refused a chunk counts for the next one",
        source: "this crate",
        edits: &[edit(
            "snapshot/receiving.rs",
            "let is_of_it = |incoming: &mut Incoming| write.token >= incoming.since;",
            "let is_of_it = |_: &mut Incoming| false;",
        )],
    },
    Mutant {
        bug: "a node that has just started votes at once, against the lease it has forgotten",
        source: "dissertation 6.4.1",
        edits: &[edit(
            "raft.rs",
            ".then_some(now);",
            ".then_some(now).filter(|_| false);",
        )],
    },
    Mutant {
        bug: "a leader that leaves hands over to a node that lacks what is committed",
        source: "this crate, openraft 1806",
        edits: &[edit(
            "membership.rs",
            "self.best_successor(self.commit)",
            "self.best_successor(index)",
        )],
    },
    Mutant {
        bug: "a voter is removed and added in one change, and its wiped self counts as the outgoing voter",
        source: "this crate",
        edits: &[edit(
            "membership.rs",
            "if self.configurations.current().member(member.id).is_some() {",
            "if self.commit == u64::MAX {",
        )],
    },
    Mutant {
        bug: "a lease lasts the whole election timeout, whatever the clocks do",
        source: "dissertation 6.4.1",
        edits: &[edit(
            "options.rs",
            "(left > 0).then_some(left)",
            "(left > 0).then_some(self.election_timeout_min_ms)",
        )],
    },
    Mutant {
        bug: "the hint of the commit index covers what is not durable",
        source: "this crate",
        edits: &[edit(
            "storage.rs",
            "self.hard.commit.max(self.commit.min(self.log.durable()))",
            "self.hard.commit.max(self.commit)",
        )],
    },
];

/// Bugs of the list that cannot exist in this design.
pub const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    (
        "deadlock while PreVote is being rolled out",
        "etcd 8501",
        "PreVote and CheckQuorum are not optional: there is no node without them",
    ),
    (
        "a late acknowledgement counts after the follower's log went back",
        "openraft cecb5de",
        "a follower's log goes back only by damage, and then it is bound by its claim: it votes as though it held what it \
         acknowledged. The numbers of appends (`least_seq`) keep such an answer from misleading replication besides",
    ),
    (
        "a change of one server without a committed entry of the term",
        "raft-dev, July 2015",
        "voters change by joint consensus only, and a change waits for the configuration before it to be committed; the \
         check of the term is kept as a second line",
    ),
    (
        "campaigning with a committed but unapplied configuration",
        "etcd 12133",
        "a configuration is in effect from the moment it is appended; applying it means nothing",
    ),
    (
        "the applied index is not atomic with the data",
        "etcd 13766",
        "the application owns its index and reports it at the start; the core keeps none on disk",
    ),
    (
        "a torn tail is mistaken for corruption, or corruption for a torn tail",
        "etcd 5230, 6515",
        "the log decides that, not the core; the core's part, the claim, has a mutant of its own",
    ),
    (
        "an fsync is retried after it failed",
        "fsyncgate",
        "the core takes `StorageFailed` once and says nothing more",
    ),
];
