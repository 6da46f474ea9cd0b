//! Changes of the members, one after the other, each in as many steps as it takes.
//!
//! What a client asks for in one request may be several changes to the consensus: a spare that shall vote
//! gets the log as a standby first, and becomes a voter when it has caught up. A request is answered when
//! the last of its steps is committed, or when the consensus refuses one for good, or when time is up.

use ferrolite_consensus::{Change, Configuration, Error as Refusal, Index, NodeId, Role};
use tokio::sync::oneshot;

use super::{Answer, Replica, reply};
use crate::error::Error;

/// How long a change may take; a node that is to catch up may need most of it.
const CHANGE_TIMEOUT_MS: u64 = 600_000;
/// How many changes may wait for each other.
const MAX_CHANGES: usize = 256;

#[derive(Debug)]
pub(super) struct PendingChange {
    goal: Change,
    answer: Answer,
    deadline_ms: u64,
    /// The entry of the step under way.
    waits_for: Option<Index>,
    /// A step has been made: what the goal names may be gone already.
    begun: bool,
}

/// A transfer of leadership that has not begun.
#[derive(Debug)]
pub(super) struct WantedTransfer {
    target: Option<NodeId>,
    answer: Answer,
    deadline_ms: u64,
}

impl Replica {
    pub(super) fn queue_change(&mut self, now: u64, goal: Change, answer: Answer) {
        if self.changes.len() >= MAX_CHANGES {
            reply(answer, Err(Refusal::ChangeInProgress.into()));
            return;
        }
        let deadline_ms = now.saturating_add(CHANGE_TIMEOUT_MS);
        self.changes.push_back(PendingChange {
            goal,
            answer,
            deadline_ms,
            waits_for: None,
            begun: false,
        });
    }

    /// A member is to be found at `address`: if the cluster knows it under another one, it shall learn. Only
    /// the data directory that the cluster knows under that number may say so.
    pub(super) fn readdress(&mut self, now: u64, id: NodeId, incarnation: u64, address: String) {
        let Some(member) = self
            .raft
            .configuration()
            .and_then(|members| members.member(id))
        else {
            return;
        };
        let moved = member.address != address && member.accepts(incarnation);
        if moved && self.raft.is_leader() {
            log::info!(node = id, address:%; "a node has moved");
            let (answer, _) = tokio::sync::oneshot::channel();
            self.queue_change(now, Change::SetAddress { id, address }, answer);
        }
    }

    /// Goes on with the first change as far as it goes now.
    pub(super) fn pursue_changes(&mut self, now: u64) {
        while let Some(change) = self.changes.front_mut() {
            if !self.raft.is_leader() {
                self.fail_changes();
                return;
            }
            let in_effect = self.raft.configuration_index();
            let settled = in_effect <= self.raft.commit()
                && !self
                    .raft
                    .configuration()
                    .is_some_and(Configuration::is_joint);
            if change.waits_for.is_some() || !settled {
                return;
            }
            let step = match next_step(self.raft.configuration(), &change.goal, change.begun) {
                Ok(Some(step)) => step,
                Ok(None) => {
                    if let Some(change) = self.changes.pop_front() {
                        reply(change.answer, Ok(()));
                    }
                    continue;
                }
                Err(refusal) => {
                    if let Some(change) = self.changes.pop_front() {
                        reply(change.answer, Err(refusal.into()));
                    }
                    continue;
                }
            };
            match self.raft.change_membership(now, &[step]) {
                Ok(position) => {
                    change.waits_for = Some(position.index);
                    change.begun = true;
                    return;
                }
                Err(refusal) if refusal.is_retryable() && now < change.deadline_ms => return,
                Err(refusal) => {
                    if let Some(change) = self.changes.pop_front() {
                        reply(change.answer, Err(refusal.into()));
                    }
                }
            }
        }
    }

    /// The configuration of entry `index` is committed.
    pub(super) fn configuration_committed(&mut self, index: Index) {
        if self
            .raft
            .configuration()
            .is_some_and(Configuration::is_joint)
        {
            // The second half of the change is still to come.
            return;
        }
        if let Some(change) = self.changes.front_mut()
            && change.waits_for.is_some_and(|waits_for| waits_for <= index)
        {
            change.waits_for = None;
        }
    }

    /// Leadership is gone: what was asked for but not begun goes to the new leader, what was begun is open.
    pub(super) fn fail_changes(&mut self) {
        for change in self.changes.drain(..) {
            let error = match change.waits_for {
                Some(_) => Error::LeadershipLost,
                None => Refusal::NotLeader { leader: None }.into(),
            };
            reply(change.answer, Err(error));
        }
    }

    /// A node that has just come back may not have answered yet: a transfer to it waits a moment for that.
    pub(super) fn queue_transfer(&mut self, now: u64, target: Option<NodeId>, answer: Answer) {
        let deadline_ms = now.saturating_add(self.raft.options().transfer_timeout_ms);
        self.wanted_transfers.push(WantedTransfer {
            target,
            answer,
            deadline_ms,
        });
    }

    /// Lets another node lead, if one can: this one has lost what those that are behind need.
    pub(super) fn hand_over(&mut self, now: u64) {
        if self.wanted_transfers.is_empty() && self.transfers.is_empty() {
            // Nobody waits for it; what becomes of it is logged where it is done.
            let (answer, _) = oneshot::channel();
            self.queue_transfer(now, None, answer);
        }
    }

    pub(super) fn pursue_transfers(&mut self, now: u64) {
        for wanted in std::mem::take(&mut self.wanted_transfers) {
            match self.raft.transfer(now, wanted.target) {
                Ok(target) => {
                    self.transfers.push((target, wanted.answer));
                    // The core takes no proposals from here on, so the engines must not commit any: what is
                    // submitted is still answered, and nothing comes after it.
                    self.stop_serving();
                }
                Err(refusal) => {
                    let known = wanted.target.is_none_or(|id| {
                        self.raft
                            .configuration()
                            .is_some_and(|members| members.is_voter(id))
                    });
                    let later =
                        refusal.is_retryable() || matches!(refusal, Refusal::InvalidTarget(_));
                    if known && later && now < wanted.deadline_ms {
                        self.wanted_transfers.push(wanted);
                    } else {
                        reply(wanted.answer, Err(refusal.into()));
                    }
                }
            }
        }
    }

    /// The consensus has handed leadership over, or has given up. A transfer that succeeded is answered once
    /// this node knows the target as the leader, so that whoever asks it next is sent there.
    pub(super) fn transfer_ended(&mut self, target: NodeId, done: bool) {
        if !done {
            for (_, answer) in self.transfers.extract_if(.., |(to, _)| *to == target) {
                reply(answer, Err(Error::TransferFailed));
            }
        }
    }

    /// Answers the transfers whose outcome shows in who leads.
    pub(super) fn answer_transfers(&mut self) {
        let Some(leader) = self.leader else { return };
        if self.raft.is_leader() {
            return;
        }
        for (target, answer) in self.transfers.drain(..) {
            let arrived = target == leader;
            reply(
                answer,
                if arrived {
                    Ok(())
                } else {
                    Err(Error::TransferFailed)
                },
            );
        }
    }
}

/// What has to be changed next on the way to `goal`; nothing if it is reached.
fn next_step(
    now: Option<&Configuration>,
    goal: &Change,
    begun: bool,
) -> Result<Option<Change>, Refusal> {
    let member = |id: NodeId| now.and_then(|now| now.member(id));
    Ok(match goal {
        Change::Add(new) => match member(new.id) {
            // Asked again, after an answer that was lost.
            Some(known) if known.address == new.address => None,
            Some(_) => return Err(Refusal::InvalidChange("another node has this id")),
            None if now
                .is_some_and(|now| now.members().iter().any(|m| m.address == new.address)) =>
            {
                return Err(Refusal::InvalidChange("another node has this address"));
            }
            None => Some(goal.clone()),
        },
        Change::SetRole { id, role } => {
            let known = member(*id).ok_or(Refusal::UnknownMember(*id))?;
            match (known.role, *role) {
                (is, wanted) if is == wanted => None,
                (Role::Spare, Role::Voter) => Some(Change::SetRole {
                    id: *id,
                    role: Role::Standby,
                }),
                _ => Some(goal.clone()),
            }
        }
        Change::SetAddress { id, address } => {
            let known = member(*id).ok_or(Refusal::UnknownMember(*id))?;
            (known.address != *address).then(|| goal.clone())
        }
        Change::Remove { id } if begun => member(*id).map(|_| goal.clone()),
        Change::Remove { id } => {
            member(*id).ok_or(Refusal::UnknownMember(*id))?;
            Some(goal.clone())
        }
        _ => Some(goal.clone()),
    })
}
