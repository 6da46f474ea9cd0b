//! Stale reads, as far as the replica has to do with them: whether a database may be opened for them now, and how far the
//! cluster is.

use ferrolite_consensus::{Event as Input, Index, NodeId};
use tokio::sync::oneshot;

use super::{Phase, Replica};
use crate::checkpoint::Job;
use crate::following::{Attached, Follow, Unopened};
use crate::freshness::FreshnessMessage;

impl Replica {
    /// A client wants to read a database here, though this node does not lead.
    pub(super) fn follow_database(
        &mut self,
        name: String,
        wanted_by: oneshot::Sender<Result<Attached, Unopened>>,
    ) {
        let generation = self.following.generation();
        let Some(generation) = generation.filter(|_| self.can_be_followed()) else {
            // If nobody waits any more, that is as good.
            drop(wanted_by.send(Err(Unopened::NotNow)));
            return;
        };
        self.send_job(Job::Follow(Follow {
            name,
            to: self.applied_in_log(),
            generation,
            wanted_by,
        }));
    }

    /// Whether the database files, with what is applied, are a state that the cluster was in, and none that this node has
    /// been ahead of.
    fn can_be_followed(&self) -> bool {
        self.phase == Phase::Following
            && self.halted.is_none()
            // After a snapshot the files hold more than is applied, until that has come too.
            && self.store.mark.target() <= self.applied_in_log()
            && self.store.unexamined().is_none()
            // What was read here while this node led is not to be gone when it follows.
            && self.read_through <= self.applied
    }

    /// This node leads no more: it goes on as one that follows.
    pub(super) fn admit_followers(&mut self) {
        self.read_through = self.read_through.max(self.committed);
        if self.halted.is_none() && !self.stopping {
            self.following.admit();
        }
    }

    /// Nothing more will be applied.
    pub(super) fn end_following(&mut self) {
        self.following.close_all();
        self.following.end();
    }

    /// An engine has failed: if it was one of those for stale reads, they all begin anew.
    pub(super) fn reopen_followed(&mut self) {
        if self.phase == Phase::Following {
            self.following.close_all();
            self.admit_followers();
        }
    }

    /// What a leader knows it need not ask anybody; nor need it when it leads no more.
    pub(super) fn note_freshness(&mut self) {
        let confirmed = self.raft.confirmed_at();
        if let Some(at) = confirmed.filter(|_| confirmed != self.confirmed_at) {
            let at = self.lease.instant(at);
            self.freshness.note(at, self.raft.commit());
        }
        self.confirmed_at = confirmed;
    }

    /// A reader wants to know how far the cluster is.
    pub(super) fn ask_freshness(&mut self, number: u64) {
        let leader = self.leader.filter(|leader| *leader != self.id);
        if let Some(leader) = leader.filter(|leader| self.freshness.can_ask(*leader)) {
            self.freshness_messages
                .push((leader, FreshnessMessage::Question { number }));
        }
    }

    /// A peer has asked the same, or answered.
    pub(super) fn peer_freshness(&mut self, now: u64, from: NodeId, message: FreshnessMessage) {
        match message {
            FreshnessMessage::Question { number } => {
                self.next_token += 1;
                self.questions.insert(self.next_token, (from, number));
                // To answer it takes what a read here takes: to be certain that this node leads.
                let token = self.next_token;
                self.step(now, Input::Read { token });
            }
            FreshnessMessage::Answer { number, commit } => self.freshness.answered(number, commit),
        }
    }

    /// It was certain, at a moment after the question with this token, that this node leads; or it was not.
    pub(super) fn answer_question(&mut self, token: u64, commit: Option<Index>) {
        if let Some((to, number)) = self.questions.remove(&token)
            && let Some(commit) = commit
        {
            // A follower hears of a commit with the next message, which may take until the next heartbeat.
            self.raft.tell_commit(to);
            self.freshness_messages
                .push((to, FreshnessMessage::Answer { number, commit }));
        }
    }
}
