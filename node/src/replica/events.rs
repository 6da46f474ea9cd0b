//! What happens, told to the core.

use ferrolite_consensus::Event as Input;

use super::{Phase, Replica};
use crate::checkpoint::{Job, Outcome};
use crate::handle::Event;
use crate::log_writer::Stored;
use crate::scrub::PageMessage;
use crate::snapshot::ChunkWritten;

impl Replica {
    pub(super) fn step(&mut self, now: u64, input: Input) {
        self.raft.step(now, input);
    }

    pub(super) fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Peer(message) => self.step(now, Input::Message(message)),
            Event::PeerPage { from, message } => match message {
                PageMessage::Question(page) => self.send_job(Job::ReadPage {
                    to: from,
                    page,
                    applied: self.applied,
                }),
                PageMessage::Answer(page) => self.send_job(Job::RepairPage { from, page }),
                PageMessage::Progress(done) => self.store.note_peer(from, done),
            },
            Event::PeerFreshness { from, message } => self.peer_freshness(now, from, message),
            Event::AskFreshness(number) => self.ask_freshness(number),
            Event::Follow { name, wanted_by } => self.follow_database(name, wanted_by),
            Event::PeerAt {
                id,
                incarnation,
                address,
            } => self.readdress(now, id, incarnation, address),
            Event::Unreachable(peer) => self.step(now, Input::PeerUnreachable { peer }),
            Event::Submit(submission) => self.submit(now, submission),
            Event::Import(part) => self.import(now, part),
            Event::Confirm(answer) => {
                self.next_token += 1;
                self.confirms.insert(self.next_token, answer);
                self.step(
                    now,
                    Input::Read {
                        token: self.next_token,
                    },
                );
            }
            Event::Change(change, answer) => self.queue_change(now, change, answer),
            Event::Transfer(target, answer) => self.queue_transfer(now, target, answer),
            Event::Weight(weight) => self.raft.set_weight(weight),
            Event::Stored(stored) => self.stored(now, stored),
            Event::Checkpointed(outcome) => self.checkpointed(now, outcome),
            Event::EngineFailed(reason) => {
                log::error!(
                    reason:%;
                    "the SQL engine failed; all databases are closed and opened anew"
                );
                self.stop_serving();
                self.reopen_followed();
            }
            Event::Stop => self.stopping = true,
        }
    }

    fn stored(&mut self, now: u64, stored: Stored) {
        match stored {
            Stored::Appended { seq, index, term } => {
                self.step(now, Input::Persisted { seq, index, term })
            }
            Stored::HardState { seq } => self.step(now, Input::HardStateSaved { seq }),
            Stored::Purged { first } => {
                self.drop_configurations(first);
                self.step(now, Input::LogPurged { first });
            }
            Stored::Reset { token } => {
                self.log_anew_after = None;
                self.admit_followers();
                self.step(now, Input::SnapshotWritten { token });
            }
            Stored::Failed(reason) => self.halt(now, reason),
        }
    }

    fn checkpointed(&mut self, now: u64, outcome: Outcome) {
        match outcome {
            Outcome::TakenOver { term } => {
                self.checkpointing = false;
                if self.phase == Phase::TakingOver && term == self.term {
                    self.start_serving(now);
                }
            }
            Outcome::Redone { done, keep } | Outcome::Checkpointed { done, keep } => {
                self.checkpointing = false;
                self.tell_peers(&PageMessage::Progress(done));
                self.purge(done, keep);
            }
            Outcome::RedoneOne { name, token } => {
                self.registry.release(&name);
                if let Some(answer) = self.imports.remove(&token) {
                    super::reply(answer, Ok(()));
                }
            }
            Outcome::Read(chunk) => match self.raft.snapshot_meta(chunk.id, chunk.index) {
                Some(meta) => {
                    self.sending.insert(chunk.id, chunk.index);
                    self.step(
                        now,
                        Input::SnapshotRead {
                            token: chunk.token,
                            meta,
                            offset: chunk.offset,
                            data: chunk.data,
                            done: chunk.done,
                        },
                    );
                }
                None => self.step(now, Input::SnapshotUnavailable { token: chunk.token }),
            },
            Outcome::Unavailable { token } => {
                // A page that has rotted need not be as it was in anybody's hands any more; but where the log has it anew, a
                // checkpoint writes it.
                if self.fresh_bytes > 0 {
                    self.checkpoint();
                }
                self.step(now, Input::SnapshotUnavailable { token });
            }
            Outcome::Wanted(page) => self.tell_peers(&PageMessage::Question(page)),
            Outcome::Given { to, pages } => {
                let answers = pages.into_iter().map(PageMessage::Answer);
                self.page_messages
                    .extend(answers.map(|answer| (to, answer)));
            }
            Outcome::Written(written) => match written {
                ChunkWritten::Kept { token } => self.step(now, Input::SnapshotWritten { token }),
                ChunkWritten::Refused { token } => {
                    // It may have been the last one, for which all was closed.
                    self.admit_followers();
                    self.step(now, Input::SnapshotRefused { token });
                }
                ChunkWritten::Ready { token, install } => self.begin_log_anew(token, install),
            },
            Outcome::Failed(reason) => self.halt(now, reason),
        }
    }

    /// Says something to all other members that keep data.
    fn tell_peers(&mut self, message: &PageMessage) {
        let Some(configuration) = self.raft.configuration() else {
            return;
        };
        let own = self.id;
        let others = configuration
            .replicating()
            .map(|member| member.id)
            .filter(|id| *id != own);
        self.page_messages
            .extend(others.map(|id| (id, message.clone())));
    }

    /// The last thing: databases closed, everything committed in the files, both threads done.
    pub(super) fn close(mut self) {
        self.lose_leadership();
        self.end_following();
        if self.halted.is_none() {
            self.send_job(Job::Redo {
                to: self.applied_in_log(),
            });
        }
        // With their senders gone both threads finish what they have, and end.
        drop(self);
    }
}
