//! Elections (paper §5.2, §5.4.1; PreVote and CheckQuorum: dissertation §9.6, §4.2.3).
//!
//! A node that hears of no leader for a randomly drawn time first *asks* whether it would be elected. Nobody's term
//! changes by that, so a node that comes back from behind a partition disturbs no one. If a quorum would elect it, it
//! takes the next term, votes for itself, and asks for votes. It leads once a quorum has voted for it, itself included
//! only after its own vote is on disk.
//!
//! A voter decides about a request of term *t*:
//!
//! | | pre-vote | vote |
//! |---|---|---|
//! | *t* below its term | no, and says its term | no, and says its term |
//! | *t* equal to its term | no, and says its term | as below, if it has voted for no other and knows no leader |
//! | heard of a leader within the least timeout, no transfer | no | not answered |
//! | candidate's log behind its own (or behind its claim) | no | no; but it takes the term |
//! | else | yes; nothing changes | yes; takes the term and saves its vote before it answers |
//!
//! The lower row of "heard of a leader" makes leases possible; a node that has just started counts as having heard of
//! one, for it may have forgotten that it did. A leader in turn gives up when no quorum has answered for the greatest
//! timeout. Giving up leaves the vote of the term as it was.

use crate::action::{State, TransferOutcome};
use crate::configuration::Configuration;
use crate::entry::{EntryKind, NodeId, Position, Term};
use crate::message::Body;
use crate::quorum::VoteResult;
use crate::raft::Raft;
use bytes::Bytes;

/// The most units of weight that count.
const MAX_WEIGHT: u32 = 8;

impl Raft {
    /// Draws how long to wait for a leader from now on.
    pub(crate) fn reset_election_timer(&mut self) {
        let least = self.options.election_timeout_min_ms;
        let range = self.options.election_timeout_max_ms.saturating_sub(least);
        let reluctance = range.saturating_mul(u64::from(self.options.weight.min(MAX_WEIGHT))) / 4;
        let wait = least
            .saturating_add(self.random.up_to(range))
            .saturating_add(reluctance);
        self.election_at = self.now.saturating_add(wait);
    }

    /// Whether this node may stand for election at all: it belongs to a cluster, its log is whole, and it votes in a
    /// configuration that may still decide. That can be an older one than the one in effect: a voter that was sent the
    /// entry by which it is removed may be the only one whose log is good enough, and must then lead until that entry is
    /// committed (dissertation §4.2.2). It does not count itself in that.
    pub(crate) fn can_campaign(&self) -> bool {
        let id = self.options.id;
        let is_voter = self
            .configurations
            .undecided(self.commit)
            .any(|configuration| {
                configuration.is_voter(id)
                    && configuration
                        .member(id)
                        .is_some_and(|member| member.accepts(self.options.incarnation))
            });
        self.hard.cluster != 0 && self.hard.claim.is_none() && !self.is_installing() && is_voter
    }

    pub(crate) fn on_election_timeout(&mut self) {
        self.leader = None;
        self.heard_at = None;
        self.reset_election_timer();
        if self.can_campaign() {
            self.pre_campaign();
        } else {
            self.state = State::Follower;
            self.announce();
        }
    }

    fn pre_campaign(&mut self) {
        self.state = State::PreCandidate;
        self.metrics.pre_elections = self.metrics.pre_elections.saturating_add(1);
        self.votes.clear();
        self.votes.insert(self.options.id, true);
        self.announce();
        let term = self.hard.term.saturating_add(1);
        self.request_votes(term, true, false);
        self.count_votes();
    }

    /// Takes the next term and asks for votes in it.
    pub(crate) fn campaign(&mut self, transfer: bool) {
        self.enter_term(self.hard.term.saturating_add(1));
        self.hard.vote = Some(self.options.id);
        self.saves.mark_dirty();
        self.state = State::Candidate;
        self.leader = None;
        self.heard_at = None;
        self.metrics.elections = self.metrics.elections.saturating_add(1);
        self.votes.clear();
        self.reset_election_timer();
        self.announce();
        self.request_votes(self.hard.term, false, transfer);
    }

    fn request_votes(&mut self, term: Term, pre: bool, transfer: bool) {
        let last = self.log.last();
        let id = self.options.id;
        let configuration = self.configurations.current();
        let voters: alloc::vec::Vec<NodeId> = configuration
            .voter_ids()
            .iter()
            .chain(
                configuration
                    .outgoing_ids()
                    .iter()
                    .filter(|id| !configuration.voter_ids().contains(id)),
            )
            .copied()
            .filter(|&voter| voter != id)
            .collect();
        for voter in voters {
            let body = Body::VoteRequest {
                last,
                pre,
                transfer,
            };
            if pre {
                self.send_unheld(voter, term, body);
            } else {
                self.send(voter, body);
            }
        }
    }

    /// Whether this node owes a leader its loyalty: it has heard of one so recently that the leader may hold a lease.
    fn is_loyal(&self) -> bool {
        let heard_at = if self.state == State::Leader {
            Some(self.quorum_contact())
        } else {
            self.heard_at
        };
        heard_at
            .is_some_and(|at| self.now < at.saturating_add(self.options.election_timeout_min_ms))
    }

    /// The end of the log that this node votes by: its own, or what it held before part of it was damaged.
    fn vote_position(&self) -> Position {
        self.log
            .last()
            .max(self.hard.claim.unwrap_or(Position::ZERO))
    }

    pub(crate) fn on_vote_request(
        &mut self,
        from: NodeId,
        term: Term,
        last: Position,
        pre: bool,
        transfer: bool,
    ) {
        let disloyal = self.is_loyal() && !transfer;
        if pre {
            let granted = term > self.hard.term && !disloyal && last >= self.vote_position();
            let answer_term = if granted { term } else { self.hard.term };
            self.send_unheld(from, answer_term, Body::VoteResponse { pre, granted });
            return;
        }
        if term < self.hard.term {
            self.send(
                from,
                Body::VoteResponse {
                    pre,
                    granted: false,
                },
            );
            return;
        }
        if term > self.hard.term {
            if disloyal {
                return;
            }
            self.become_follower(term, None);
        }
        let free = match self.hard.vote {
            Some(candidate) => candidate == from,
            None => self.leader.is_none(),
        };
        let granted = free && last >= self.vote_position();
        if granted {
            self.metrics.votes_granted = self.metrics.votes_granted.saturating_add(1);
            if self.hard.vote.is_none() {
                self.hard.vote = Some(from);
                self.saves.mark_dirty();
            }
            self.reset_election_timer();
        }
        self.send(from, Body::VoteResponse { pre, granted });
    }

    pub(crate) fn on_vote_response(&mut self, from: NodeId, term: Term, pre: bool, granted: bool) {
        let expected = match (self.state, pre) {
            (State::PreCandidate, true) if granted => self.hard.term.saturating_add(1),
            (State::PreCandidate, true) | (State::Candidate, false) => self.hard.term,
            _ => return,
        };
        if term == expected {
            self.votes.insert(from, granted);
            self.count_votes();
        }
    }

    /// Acts on the votes so far.
    pub(crate) fn count_votes(&mut self) {
        let votes = &self.votes;
        match (
            self.configurations
                .current()
                .vote_result(|id| votes.get(&id).copied()),
            self.state,
        ) {
            (VoteResult::Won, State::PreCandidate) => self.campaign(false),
            (VoteResult::Won, State::Candidate) if self.saves.is_clean() => self.become_leader(),
            (VoteResult::Lost, State::PreCandidate | State::Candidate) => {
                self.become_follower(self.hard.term, None)
            }
            _ => {}
        }
    }

    fn enter_term(&mut self, term: Term) {
        self.hard.term = term;
        self.hard.vote = None;
        self.saves.mark_dirty();
        self.shared = 0;
        self.seen_seq = 0;
        self.acked = 0;
    }

    /// Follows `leader`, or waits for one, in `term`, which is not below the current one. Within a term the vote stays.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard.term {
            self.enter_term(term);
            self.leader = None;
        }
        if self.state != State::Follower {
            self.leave_leadership();
            self.state = State::Follower;
            self.votes.clear();
            self.leader = None;
            self.reset_election_timer();
        }
        if leader.is_some() {
            self.leader = leader;
        }
        self.announce();
        self.check_transfer_outcome();
    }

    fn become_leader(&mut self) {
        self.metrics.elections_won = self.metrics.elections_won.saturating_add(1);
        self.state = State::Leader;
        self.leader = Some(self.options.id);
        self.votes.clear();
        self.incoming = None;
        self.progress.clear();
        self.reads.restart();
        self.refresh_progress();
        self.noop = self.log.last().index.saturating_add(1);
        self.announce();
        self.end_transfer(TransferOutcome::Failed);
        self.append_own(EntryKind::Noop, Bytes::new());
        self.begin_round();
    }

    /// Gives up everything that only a leader has. Does nothing on other nodes.
    pub(crate) fn leave_leadership(&mut self) {
        if self.state != State::Leader {
            return;
        }
        self.serving = false;
        while let Some(progress) = self.progress.pop() {
            let stream = progress.open_stream();
            self.close_stream(stream);
        }
        self.uncommitted.clear();
        self.uncommitted_bytes = 0;
        self.heard_at = None;
        self.fail_reads();
    }

    /// The latest time at which a quorum (this node counts as answering now) had answered.
    pub(crate) fn quorum_contact(&self) -> u64 {
        let configuration: &Configuration = self.configurations.current();
        configuration.quorum_reached(|id| {
            if id == self.options.id {
                self.now
            } else {
                self.progress_of(id)
                    .map_or(0, |progress| progress.contact_at)
            }
        })
    }

    /// CheckQuorum: a leader that no quorum answers stops leading, so that its clients look elsewhere.
    pub(crate) fn check_quorum(&mut self) {
        let limit = self
            .quorum_contact()
            .saturating_add(self.options.election_timeout_max_ms);
        if self.now > limit {
            self.metrics.quorum_lost = self.metrics.quorum_lost.saturating_add(1);
            self.become_follower(self.hard.term, None);
        }
    }
}
