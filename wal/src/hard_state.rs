//! What a node must never forget: who it is, and whom it voted for.
//!
//! A vote that is forgotten is a vote given twice, and then two leaders. So term and vote are durable before the
//! answer goes out, in a [slot file](crate::slot) that survives a torn write and a rotten sector. The same file says
//! whose directory this is: a node started on another's directory is turned away before it speaks.

use crate::backend::Backend;
use crate::bytes_le::{get_u64, get_u128};
use crate::error::Error;
use crate::slot::{SlotFile, SlotKind};

const STATE: SlotKind = SlotKind {
    name: "state",
    magic: *b"FLNODEST",
    version: 1,
};

/// Whose data directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node's id, not 0.
    pub node: u64,
    /// The cluster's id; 0 while the node belongs to none.
    pub cluster: u128,
    /// How often a node of this id has begun with an empty directory; tells a node that lost its log from one that
    /// was away.
    pub incarnation: u64,
}

/// Raft's hard state, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardState {
    /// Whose it is.
    pub identity: Identity,
    /// The latest term seen.
    pub term: u64,
    /// Whom the node voted for in that term.
    pub vote: Option<u64>,
    /// An index that was known to be committed, if the caller keeps one; 0 otherwise. Only a hint.
    pub commit: u64,
}

/// Keeps the [`HardState`] of one node.
///
/// ```
/// use ferrolite_wal::backend::MemBackend;
/// use ferrolite_wal::hard_state::{HardState, Identity, VoteStore};
///
/// # fn main() -> Result<(), ferrolite_wal::Error> {
/// let disk = MemBackend::new();
/// assert!(VoteStore::open(&disk)?.is_none()); // a fresh directory
/// let identity = Identity { node: 1, cluster: 7, incarnation: 1 };
/// let state = HardState { identity, term: 0, vote: None, commit: 0 };
/// let votes = VoteStore::create(&disk, &state)?;
/// votes.save(&HardState { term: 3, vote: Some(2), ..state })?;
///
/// let (_, found) = VoteStore::open(&disk)?.unwrap();
/// assert_eq!((found.term, found.vote), (3, Some(2)));
/// found.identity.check(1, Some(7))?;
/// assert!(found.identity.check(2, None).unwrap_err().is_wrong_directory());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VoteStore {
    slots: SlotFile,
}

impl VoteStore {
    /// Opens what is there; `None` in a fresh directory.
    ///
    /// # Errors
    /// [`Error::NewerFormat`]; [`Error::Damaged`] when nothing readable is left of it, and then the node must not take
    /// part under this id and incarnation any more; otherwise [`Error::Io`].
    pub fn open(backend: &dyn Backend) -> Result<Option<(VoteStore, HardState)>, Error> {
        let Some((slots, payload)) = SlotFile::open(backend, STATE)? else {
            return Ok(None);
        };
        let Some(state) = decode(&payload) else {
            return Err(Error::Damaged {
                file: STATE.name.to_owned(),
                offset: 0,
                index: None,
                term: None,
            });
        };
        // What was read may be in the system's memory only; nobody may act on it before it is on the disk.
        slots.save(&payload)?;
        Ok(Some((VoteStore { slots }, state)))
    }

    /// Makes the file in a fresh directory; durable on return.
    ///
    /// # Errors
    /// What the backend answered.
    pub fn create(backend: &dyn Backend, state: &HardState) -> Result<VoteStore, Error> {
        Ok(VoteStore {
            slots: SlotFile::create(backend, STATE, &encode(state))?,
        })
    }

    /// Replaces the state; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`]; the same for ever after the first.
    pub fn save(&self, state: &HardState) -> Result<(), Error> {
        self.slots.save(&encode(state))
    }
}

impl Identity {
    /// Checks that the directory is node `node`'s, and, where both are known, of cluster `cluster`.
    ///
    /// # Errors
    /// [`Error::WrongNode`] or [`Error::WrongCluster`].
    pub fn check(&self, node: u64, cluster: Option<u128>) -> Result<(), Error> {
        if self.node != node {
            return Err(Error::WrongNode {
                found: self.node,
                expected: node,
            });
        }
        match cluster {
            Some(expected) if self.cluster != 0 && self.cluster != expected => {
                Err(Error::WrongCluster {
                    found: self.cluster,
                    expected,
                })
            }
            _ => Ok(()),
        }
    }
}

fn encode(state: &HardState) -> Vec<u8> {
    let mut payload = Vec::with_capacity(56);
    payload.extend_from_slice(&state.identity.node.to_le_bytes());
    payload.extend_from_slice(&state.identity.cluster.to_le_bytes());
    payload.extend_from_slice(&state.identity.incarnation.to_le_bytes());
    payload.extend_from_slice(&state.term.to_le_bytes());
    payload.extend_from_slice(&state.vote.unwrap_or(0).to_le_bytes());
    payload.extend_from_slice(&state.commit.to_le_bytes());
    payload
}

fn decode(payload: &[u8]) -> Option<HardState> {
    Some(HardState {
        identity: Identity {
            node: get_u64(payload, 0)?,
            cluster: get_u128(payload, 8)?,
            incarnation: get_u64(payload, 24)?,
        },
        term: get_u64(payload, 32)?,
        vote: Some(get_u64(payload, 40)?).filter(|vote| *vote != 0),
        commit: get_u64(payload, 48)?,
    })
}
