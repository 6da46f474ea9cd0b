//! Raft as a pure state machine: events in, actions out.
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
pub use raft::Raft;
pub use recovery::{Recovered, bootstrap, force_configuration};
pub use replication::Proposed;
