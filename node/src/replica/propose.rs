//! From a session's transaction to an entry of the log, and back to whoever waits for its commit.
//!
//! A small transaction is encoded here and not by its session: only here it is known which entry it will be, and so which
//! images of its pages the log has before it.

use ferrolite_consensus::Index;
use ferrolite_wal::view::FramePlace;

use super::{Pending, Proposed, Replica, Unbound, reply};
use crate::error::Error;
use crate::handle::{Content, ImportPart, Submission, Then};
use crate::leading::{Committed, LeaderDatabase};
use crate::pages::{Encoded, EncodedSmall, Placed, SmallTransaction};

impl Replica {
    pub(super) fn submit(&mut self, now: u64, submission: Submission) {
        let Submission {
            database,
            content,
            then,
        } = submission;
        if database.sql.is_closed() {
            // Who waits for more learns it from the dropped sender.
            if let Then::Commit { number, .. } = then {
                database.commits.refuse_from(number);
            }
            return;
        }
        let proposed = match content {
            Content::Entries(encoded) => self.propose(now, encoded),
            Content::Small(small) => {
                let db_size = match &then {
                    Then::Commit { db_size, .. } => *db_size,
                    Then::More(_) => 0,
                };
                self.propose_small(now, &database, small, db_size)
            }
        };
        match proposed {
            Ok((first_index, last_index, first_part, placed)) => {
                let began = self.note_begun(&database.name, &then, first_index);
                self.pending.push_back(Pending {
                    first_index,
                    last_index,
                    what: Proposed::Transaction {
                        database,
                        began,
                        first_part,
                        placed,
                        then,
                    },
                });
            }
            Err(refusal) => {
                // The engine has committed what the log does not take: everything it has is to be forgotten.
                log::warn!(
                    refusal:%,
                    database:% = database.name;
                    "a transaction cannot be proposed; the databases are closed"
                );
                if let Then::Commit { number, .. } = then {
                    database.commits.refuse_from(number);
                }
                self.stop_serving();
            }
        }
    }

    /// Entries of a transaction were proposed, with this index at first: the index that the transaction began with.
    fn note_begun(&mut self, database: &str, then: &Then, first_index: Index) -> Index {
        match then {
            Then::More(_) => match self.begun.get(database) {
                Some(began) => *began,
                None => {
                    self.begun.insert(database.to_owned(), first_index);
                    first_index
                }
            },
            Then::Commit { .. } => self.begun.remove(database).unwrap_or(first_index),
        }
    }

    /// Proposes entries. Returns the indexes of the first and the last, and what is in them.
    fn propose(&mut self, now: u64, encoded: Encoded) -> Result<Accepted, Error> {
        let range = self.raft.propose(now, encoded.payloads)?;
        Ok((range.first, range.last, encoded.first_part, encoded.placed))
    }

    fn propose_small(
        &mut self,
        now: u64,
        database: &LeaderDatabase,
        small: SmallTransaction,
        db_size: u32,
    ) -> Result<Accepted, Error> {
        let (term, index) = (self.raft.term(), self.raft.last_index().saturating_add(1));
        let reach = self.reach.back_to(term, index);
        let EncodedSmall { encoded, images } =
            small.encode(&database.name, db_size, index, reach, &self.store.images)?;
        let bytes = encoded.payloads.iter().map(bytes::Bytes::len).sum();
        let accepted = self.propose(now, encoded)?;
        self.reach.proposed(term, index, bytes);
        for (page_no, logged) in images {
            self.store.images.put(&database.name, page_no, logged);
        }
        Ok(accepted)
    }

    pub(super) fn import(&mut self, now: u64, part: ImportPart) {
        let ImportPart {
            name,
            payload,
            last,
            done,
        } = part;
        match self.raft.propose(now, vec![payload]) {
            Ok(range) => self.pending.push_back(Pending {
                first_index: range.first,
                last_index: range.last,
                what: Proposed::Import {
                    name,
                    last,
                    answer: done,
                },
            }),
            Err(refusal) => reply(done, Err(refusal.into())),
        }
    }

    /// A quorum holds everything up to `index`.
    pub(super) fn commit(&mut self, index: Index) {
        self.committed = self.committed.max(index);
        while self
            .pending
            .front()
            .is_some_and(|pending| pending.last_index <= index)
        {
            let Some(Pending {
                first_index,
                last_index,
                what,
            }) = self.pending.pop_front()
            else {
                return;
            };
            match what {
                Proposed::Transaction {
                    database,
                    began,
                    first_part,
                    placed,
                    then,
                } => {
                    match then {
                        // If nobody waits any more, the rest does not come.
                        Then::More(committed) => drop(committed.send(())),
                        Then::Commit {
                            number,
                            last_frame,
                            db_size,
                        } => {
                            let last = Committed {
                                frame: last_frame,
                                index: last_index,
                            };
                            database.committed(number, last, began, db_size);
                        }
                    }
                    self.unbound.push_back(Unbound {
                        first_index,
                        last_index,
                        first_part,
                        database,
                        placed,
                    });
                }
                Proposed::Import {
                    answer,
                    last: false,
                    ..
                } => reply(answer, Ok(())),
                Proposed::Import {
                    name,
                    answer,
                    last: true,
                } => {
                    // The engine, if it has the database open, knows nothing of its new pages.
                    self.registry.block(&name);
                    self.imported.push_back((last_index, name, answer));
                }
            }
        }
    }

    /// Pages that are committed and in this node's log need not be in memory as well.
    pub(super) fn bind(&mut self) {
        while self
            .unbound
            .front()
            .is_some_and(|unbound| unbound.last_index <= self.applied)
        {
            let Some(unbound) = self.unbound.pop_front() else {
                return;
            };
            let place = |placed: Placed| FramePlace {
                index: unbound.first_index
                    + u64::from(placed.part.saturating_sub(unbound.first_part)),
                offset: placed.offset,
                len: placed.len,
                encoding: placed.encoding,
            };
            let places = unbound
                .placed
                .into_iter()
                .map(|(frame, placed)| (frame, place(placed)));
            unbound.database.sql.view().bind(places);
        }
    }
}

/// Indexes of the first and the last entry, number of the part that the first is, and where the pages are.
type Accepted = (Index, Index, u32, Vec<(u64, Placed)>);
