//! Transfer of leadership (dissertation §3.10).
//!
//! The leader stops taking proposals, waits until the target holds its whole log, and tells it to stand for election at
//! once. The target's request says so, and voters then do not insist on their loyalty to the leader. If the target has
//! not been elected in time the leader goes on as before, except that it has released its voters and therefore
//! forgoes leases for the rest of its term: a `TimeoutNow` that is delivered late may still depose it.

use crate::action::{Action, State, TransferOutcome};
use crate::entry::{Index, NodeId};
use crate::error::Error;
use crate::message::Body;
use crate::progress::Progress;
use crate::raft::Raft;

/// A transfer under way. It outlives the leadership, until it is known who leads next.
#[derive(Debug)]
pub(crate) struct Transfer {
    target: NodeId,
    /// When it is given up.
    pub(crate) deadline: u64,
}

impl Raft {
    /// Begins to hand leadership to `target`, or to the voter that wishes it most (the lowest weight, then the one
    /// furthest ahead). [`Action::TransferEnded`] tells how it ended.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; [`Error::Transferring`] while another transfer is under way; [`Error::InvalidTarget`] if the
    /// target is no other voter that answers.
    pub fn transfer(&mut self, now: u64, target: Option<NodeId>) -> Result<NodeId, Error> {
        self.now = self.now.max(now);
        self.require_leader()?;
        if self.transfer.is_some() {
            return Err(Error::Transferring);
        }
        let chosen = match target {
            Some(id) => self
                .progress_of(id)
                .filter(|progress| self.may_succeed(progress))
                .map(|progress| progress.id),
            None => self.best_successor(0),
        };
        let target = chosen.ok_or(Error::InvalidTarget(target))?;
        let deadline = self.now.saturating_add(self.options.transfer_timeout_ms);
        self.transfer = Some(Transfer { target, deadline });
        self.metrics.transfers = self.metrics.transfers.saturating_add(1);
        self.push_transfer();
        Ok(target)
    }

    /// Whether the peer could lead in this leader's place: a voter to come, and in touch.
    fn may_succeed(&self, progress: &Progress) -> bool {
        self.configurations
            .current()
            .voter_ids()
            .contains(&progress.id)
            && self.is_in_touch(progress)
    }

    /// The best voter to lead next among those that hold the log up to `least`.
    pub(crate) fn best_successor(&self, least: Index) -> Option<NodeId> {
        let willing = self
            .progress
            .iter()
            .filter(|progress| progress.matched >= least && self.may_succeed(progress));
        willing
            .min_by_key(|progress| (progress.weight, core::cmp::Reverse(progress.matched)))
            .map(|progress| progress.id)
    }

    /// Tells the target to go once it holds everything. Repeated with every heartbeat, since the message may be lost.
    pub(crate) fn push_transfer(&mut self) {
        let Some(transfer) = self
            .transfer
            .as_ref()
            .filter(|_| self.state == State::Leader)
        else {
            return;
        };
        let target = transfer.target;
        if self
            .progress_of(target)
            .is_some_and(|progress| progress.matched == self.log.last().index)
        {
            self.reads.forfeit_lease();
            self.send(target, Body::TimeoutNow);
        }
    }

    pub(crate) fn tick_transfer(&mut self) {
        if self
            .transfer
            .as_ref()
            .is_some_and(|transfer| self.now >= transfer.deadline)
        {
            self.end_transfer(TransferOutcome::Failed);
        }
    }

    /// A leader has become known: was it the target?
    pub(crate) fn check_transfer_outcome(&mut self) {
        let (Some(transfer), Some(leader)) = (self.transfer.as_ref(), self.leader) else {
            return;
        };
        if leader == transfer.target {
            self.end_transfer(TransferOutcome::Done);
        } else if leader != self.options.id {
            self.end_transfer(TransferOutcome::Failed);
        }
    }

    pub(crate) fn end_transfer(&mut self, outcome: TransferOutcome) {
        if let Some(transfer) = self.transfer.take() {
            let count = match outcome {
                TransferOutcome::Done => &mut self.metrics.transfers_done,
                TransferOutcome::Failed => &mut self.metrics.transfers_failed,
            };
            *count = count.saturating_add(1);
            self.actions.push(Action::TransferEnded {
                target: transfer.target,
                outcome,
            });
        }
    }

    /// The leader wants this node to take over.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId) {
        if self.state == State::Leader || self.leader.is_some_and(|leader| leader != from) {
            self.violation();
        } else if self.can_campaign() {
            self.campaign(true);
        }
    }
}
