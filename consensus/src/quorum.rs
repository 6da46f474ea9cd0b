//! Quorum arithmetic, and nothing else.
//!
//! A majority decides in a plain configuration; in a joint one (paper §6) both majorities must agree. Everything Raft
//! asks of a quorum is one of two questions: *has it voted?* ([`vote`]) and *what is the greatest value that it has
//! reached?* ([`reached`]), where the value is a log index, a read round or a moment of last contact.
//!
//! The functions borrow the voters and ask a closure for each voter's value; they allocate nothing. With n voters they
//! take n² steps, which for the handful that a cluster has is less than a sort.

use crate::entry::NodeId;

/// What the votes counted so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// A quorum has said yes.
    Won,
    /// A quorum of yes can no longer come about.
    Lost,
    /// Undecided.
    Pending,
}

/// The number of voters that make a majority of `voters`.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Counts one majority: `answer` gives a voter's vote, or `None` if it has not answered.
///
/// No voters at all is [`VoteResult::Won`], the neutral element of [`joint_vote`]. Callers never ask about a
/// configuration without any voter: [`Configuration`](crate::Configuration) refuses to be one.
pub fn vote(voters: &[NodeId], answer: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    if voters.is_empty() {
        return VoteResult::Won;
    }
    let needed = majority(voters.len());
    let mut yes = 0;
    let mut open = 0;
    for &voter in voters {
        match answer(voter) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => open += 1,
        }
    }
    if yes >= needed {
        VoteResult::Won
    } else if yes + open >= needed {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

/// Counts both majorities of a joint configuration; `outgoing` is empty when it is not joint.
pub fn joint_vote(
    incoming: &[NodeId],
    outgoing: &[NodeId],
    answer: impl Fn(NodeId) -> Option<bool>,
) -> VoteResult {
    match (vote(incoming, &answer), vote(outgoing, &answer)) {
        (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
        (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        _ => VoteResult::Pending,
    }
}

/// The greatest value that a majority has reached, where `value` gives what each voter has reached.
///
/// No voters at all have reached everything (`u64::MAX`), the neutral element of [`joint_reached`].
pub fn reached(voters: &[NodeId], value: impl Fn(NodeId) -> u64) -> u64 {
    if voters.is_empty() {
        return u64::MAX;
    }
    let needed = majority(voters.len());
    let mut best = 0;
    for &voter in voters {
        let candidate = value(voter);
        if candidate > best
            && voters
                .iter()
                .filter(|&&other| value(other) >= candidate)
                .count()
                >= needed
        {
            best = candidate;
        }
    }
    best
}

/// The greatest value that both majorities of a joint configuration have reached.
pub fn joint_reached(
    incoming: &[NodeId],
    outgoing: &[NodeId],
    value: impl Fn(NodeId) -> u64,
) -> u64 {
    reached(incoming, &value).min(reached(outgoing, &value))
}
