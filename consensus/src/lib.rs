//! Raft as a pure state machine: events in, actions out.
//!
//! # The problem
//!
//! Several machines are to agree on one sequence of commands, so that each of them, doing the commands in order, comes
//! to the same state, and so that what was agreed once stays agreed while any minority of the machines is dead, slow or
//! cut off. Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014; "the paper" in this
//! crate, and Ongaro's dissertation of the same year) solves it by letting one machine decide the order while it can.
//!
//! # The idea, in the order in which the files tell it
//!
//! *Terms* (`entry.rs`). Time is cut into numbered terms. In each at most one node **leads**; when terms meet, the higher
//! one wins. Term and vote are on disk before anyone hears of them ([`HardState`]).
//!
//! *Elections* (`election.rs`). A node that hears of no leader asks the others whether they would elect it, then whether
//! they do. A voter votes once a term, and only for a candidate whose log is at least as good as its own
//! ([`Position`]). So a leader's log holds everything that a quorum has ever held: that is the heart of the proof. A
//! voter that hears from a leader elects no other, and a leader that no quorum answers gives up.
//!
//! *Replication* (`replication.rs`; `progress.rs` is what the leader knows of one peer). The leader appends commands to
//! its log and sends them on, without waiting for answers, within a window. A follower takes entries only behind a
//! position that both logs share, which by induction makes the logs equal up to there. What a quorum has on disk, up
//! to an entry of the leader's own term, is **committed**: it will be in every later leader's log.
//!
//! *Quorums* ([`quorum`]) are majorities; while the membership changes, majorities of both the old and the new voters
//! (`configuration.rs` is the value, [`Configuration`]; `membership.rs` is how it changes). A configuration is in effect
//! from the moment it is appended. The one rule that makes this safe: any two quorums that could decide the same thing
//! have a node in common.
//!
//! *Reads* (`reads.rs`) need no log entry, only the certainty that nobody else has led meanwhile: a quorum that answers
//! a question asked after the read began, or a [`Lease`].
//!
//! *Snapshots* (`snapshot.rs`) replace a log that has been dropped; *transfer* (`transfer.rs`) replaces a leader that is
//! alive. *Storage* (`storage.rs`; `log.rs` is the log as the core sees it) completes later than it is asked for, and
//! everything that must wait for it waits here, not in the driver. *Recovery* (`recovery.rs`) is how a node starts, also
//! with a damaged log ([`Recovered::damaged_from`]) or as the last of its cluster ([`force_configuration`]).
//!
//! The rest is the frame: [`message`] is what nodes say to each other and how that looks in bytes, [`Event`] and
//! [`Action`] are the way in and the way out, `raft.rs` holds the state they meet in, `status.rs` and [`Metrics`] what can
//! be asked about it.
//!
//! # One entry's way
//!
//! ```text
//!   leader                                  follower
//!   propose ── Append ──► disk
//!      │                   │
//!      ├── Send ───────────┼───────────────► Append ──► disk
//!      │   (at once)       ▼                              │
//!      │               Persisted                      Persisted
//!      │                   │                              │
//!      └──────► a quorum holds it ◄──── Send ─────────────┘
//!                          │            (only now)
//!                          ▼
//!                    Commit, Apply ─── the next message says so ───► Commit, Apply
//! ```
//!
//! # What is deliberately absent
//!
//! There is no clock, no thread, no socket, no file and no randomness in this crate: time comes with each event, seeds
//! with [`Raft::new`], and what is to be done goes out as [`Action`]s. A cluster of these nodes is therefore a function
//! of its inputs, and any history that was ever seen can be replayed. The crate needs `alloc` but not `std`.
//! The application's commands are opaque bytes.
//!
//! # Promises
//!
//! - *Safety*: with any loss, delay, doubling and reordering of messages, any crashes, and any clocks, all nodes apply the
//!   same entries in the same order, and no read that was confirmed misses an entry that was committed before the read
//!   began. Two things are assumed: what the driver reported as written survives a crash or is reported as damaged; and
//!   for reads under a [`Lease`], that clocks keep to its bounds.
//! - *Liveness*: whenever a quorum of undamaged voters can talk among themselves for a few election timeouts, they elect
//!   a leader and commit.
//! - *Robustness*: no message and no event makes it panic, and everything that can grow has a bound in [`Options`].
//!
//! # Driving it
//!
//! A driver loops: wait for a message, a completion, a request or [`Raft::deadline`]; hand it to [`Raft::step`],
//! [`Raft::propose`] or another method; take the actions; do them. Several events may be handed in before the actions
//! are taken; that makes larger batches. The driver's duties:
//!
//! 1. start storage actions in order; report each one that has become durable ([`Event::Persisted`],
//!    [`Event::HardStateSaved`]), and [`Event::StorageFailed`] if one has failed;
//! 2. an [`Action::Append`] whose first index is not after the log's last supersedes the suffix, atomically;
//! 3. send messages, each at most once if it can; keep none for later;
//! 4. apply what [`Action::Apply`] hands out, in order, and say [`Event::Applied`];
//! 5. answer [`Action::ReadLog`] and [`Action::ReadSnapshot`];
//! 6. drop a prefix of the log when it likes, guided by [`Raft::purge_limit`], and say [`Event::LogPurged`].
//!
//! # Example
//!
//! A cluster of one node, on a "disk" that is done at once.
//!
//! ```
//! use bytes::Bytes;
//! use ferrolite_consensus::{
//!     Action, Configuration, Entry, Event, Member, Options, Raft, Recovered, Role, bootstrap,
//! };
//!
//! # fn main() -> Result<(), ferrolite_consensus::Error> {
//! // Found the cluster: the configuration is the first entry of the log.
//! let voter = Member::new(1, Role::Voter, "127.0.0.1:9001").with_incarnation(77);
//! let (hard_state, first) = bootstrap(0xC1, &Configuration::new(vec![voter])?);
//! let mut disk: Vec<Entry> = vec![first];
//!
//! // Start from what is on disk.
//! let recovered = Recovered::from_entries(hard_state, &disk, 0)?;
//! let mut raft = Raft::new(0, Options::new(1, 77), recovered, 42)?;
//! let mut applied: Vec<Entry> = Vec::new();
//!
//! let mut run = |raft: &mut Raft, now: u64| {
//!     loop {
//!         let actions = raft.take_actions();
//!         if actions.is_empty() {
//!             break;
//!         }
//!         for action in actions {
//!             match action {
//!                 Action::SaveHardState { seq, .. } => raft.step(now, Event::HardStateSaved { seq }),
//!                 Action::Append { seq, entries } => {
//!                     let end = entries.last().map(Entry::position).unwrap_or_default();
//!                     disk.extend(entries);
//!                     raft.step(now, Event::Persisted { seq, index: end.index, term: end.term });
//!                 }
//!                 Action::Apply { first, last, .. } => {
//!                     applied.extend(disk.iter().filter(|e| (first..=last).contains(&e.index)).cloned());
//!                     raft.step(now, Event::Applied { index: last });
//!                 }
//!                 _ => {}
//!             }
//!         }
//!     }
//!     applied.len()
//! };
//!
//! // The only voter need not wait for anyone: it leads at the first tick.
//! raft.step(0, Event::Tick);
//! run(&mut raft, 0);
//! assert!(raft.is_serving());
//!
//! let proposed = raft.propose(1, [Bytes::from("hello")])?;
//! assert_eq!(run(&mut raft, 1), 3); // the configuration, the leader's no-op, and "hello"
//! assert_eq!(raft.commit(), proposed.last);
//! # Ok(())
//! # }
//! ```
#![no_std]

extern crate alloc;

mod action;
mod codec;
mod configuration;
mod election;
mod entry;
mod error;
mod event;
mod log;
mod membership;
pub mod message;
mod metrics;
mod options;
mod progress;
pub mod quorum;
mod raft;
mod random;
mod reads;
mod recovery;
mod replication;
mod snapshot;
mod status;
mod storage;
mod transfer;

pub use action::{Action, ReadError, RefusedReason, State, TransferOutcome};
pub use codec::DecodeError;
pub use configuration::{Change, Configuration, ConfigurationError, Member, Role};
pub use entry::{
    ClusterId, Entry, EntryKind, HardState, Incarnation, Index, NodeId, Position, Term, TermRun,
};
pub use error::Error;
pub use event::Event;
pub use message::{AppendOutcome, Body, Message, SnapshotMeta};
pub use metrics::Metrics;
pub use options::{Lease, Options};
pub use progress::{PeerMode, PeerStatus};
pub use quorum::VoteResult;
pub use raft::Raft;
pub use recovery::{Recovered, bootstrap, force_configuration};
pub use replication::Proposed;
