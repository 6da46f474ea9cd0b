//! The words every other module speaks: node, term, index, position, entry, hard state.
//!
//! A log is a sequence of [`Entry`] values numbered from 1. The pair of an entry's index and term is its
//! [`Position`]; Raft's Log Matching property (paper §5.3) says that two logs holding the same position hold the
//! same entries up to it, which is why a position is all that is ever compared.

use alloc::vec::Vec;
use bytes::{BufMut, Bytes};

use crate::codec::{DecodeError, Reader};

/// A node's number in its cluster. Zero is never a node.
pub type NodeId = u64;
/// A term: the logical clock of elections (paper §5.1). Zero is before the first election.
pub type Term = u64;
/// The place of an entry in the log. Entries start at 1; zero is "before the first entry".
pub type Index = u64;
/// Which cluster a node belongs to; drawn at random when a cluster is founded. Zero is "none yet".
pub type ClusterId = u128;
/// Drawn at random when a data directory is made, so that a wiped node is not taken for its former self.
/// Zero is "not known".
pub type Incarnation = u64;

/// A place in some node's log: an index and the term of the entry there.
///
/// The order is the one by which voters compare logs (paper §5.4.1): the higher term wins, then the higher index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Position {
    /// Term of the entry; compared first.
    pub term: Term,
    /// Index of the entry.
    pub index: Index,
}

impl Position {
    /// The position before the first entry of every log.
    pub const ZERO: Self = Self { term: 0, index: 0 };

    /// The position of the entry of `term` at `index`.
    #[must_use]
    pub const fn new(index: Index, term: Term) -> Self {
        Self { term, index }
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EntryKind {
    /// The empty entry by which a new leader commits what it inherited (paper §5.4.2, §8).
    Noop,
    /// The application's bytes.
    Normal,
    /// An encoded [`Configuration`](crate::Configuration), in effect from the moment it is appended.
    Config,
}

impl EntryKind {
    /// The byte that stands for this kind on the wire and on disk.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Noop => 0,
            Self::Normal => 1,
            Self::Config => 2,
        }
    }

    /// The kind that a byte stands for, or `None` for a byte of no known kind.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Noop),
            1 => Some(Self::Normal),
            2 => Some(Self::Config),
            _ => None,
        }
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// Its place in the log, from 1.
    pub index: Index,
    /// The term of the leader that made it.
    pub term: Term,
    /// What it is for.
    pub kind: EntryKind,
    /// The application's bytes, or an encoded configuration; empty for [`EntryKind::Noop`].
    pub payload: Bytes,
}

impl Entry {
    /// Bytes that an entry costs beside its payload, in caches and messages.
    pub(crate) const OVERHEAD_BYTES: u64 = 32;

    /// Index and term together.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position::new(self.index, self.term)
    }

    /// What the entry counts for in every limit that is stated in bytes.
    pub(crate) fn cost_bytes(&self) -> u64 {
        Self::OVERHEAD_BYTES.saturating_add(self.payload.len() as u64)
    }
}

/// A stretch of entries of one term: it starts at `first` and ends before the next run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TermRun {
    /// Index of the run's first entry.
    pub first: Index,
    /// The term of every entry in the run.
    pub term: Term,
}

/// What a node must find again after a crash, beside its log (paper §5.1, figure 2, "persistent state").
///
/// It is saved as a whole by [`Action::SaveHardState`](crate::Action::SaveHardState).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HardState {
    /// The latest term the node has seen.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub vote: Option<NodeId>,
    /// An index known to be committed *and* durable on this node when the state was saved. A hint: recovery may
    /// apply up to it at once; nothing depends on its being recent.
    pub commit: Index,
    /// The cluster this node belongs to; zero until a leader has adopted it. Messages of another cluster are refused.
    pub cluster: ClusterId,
    /// Set while part of the log is lost to damage: the last position that the log had. Until the log has reached
    /// that position again (in the order of [`Position`]) the node votes as though it still held everything, and does
    /// not campaign.
    pub claim: Option<Position>,
}

impl HardState {
    const VERSION: u8 = 1;

    /// The state as bytes, little-endian, led by a version, for a driver that keeps it as an opaque record.
    ///
    /// ```text
    /// 0      version = 1
    /// 1..9   term            9  1 = a vote follows     10..18 vote
    /// 18..26 commit          26..42 cluster            42     1 = a claim follows
    /// 43..51 claim index     51..59 claim term
    /// ```
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(59);
        out.put_u8(Self::VERSION);
        out.put_u64_le(self.term);
        out.put_u8(u8::from(self.vote.is_some()));
        out.put_u64_le(self.vote.unwrap_or(0));
        out.put_u64_le(self.commit);
        out.put_u128_le(self.cluster);
        out.put_u8(u8::from(self.claim.is_some()));
        let claim = self.claim.unwrap_or(Position::ZERO);
        out.put_u64_le(claim.index);
        out.put_u64_le(claim.term);
        Bytes::from(out)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are of another version, too short, too long, or hold an impossible flag.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        reader.version(Self::VERSION)?;
        let term = reader.u64()?;
        let (voted, vote) = (reader.flag()?, reader.u64()?);
        let commit = reader.u64()?;
        let cluster = reader.u128()?;
        let (claimed, index, claim_term) = (reader.flag()?, reader.u64()?, reader.u64()?);
        reader.finish()?;
        Ok(Self {
            term,
            vote: voted.then_some(vote),
            commit,
            cluster,
            claim: claimed.then_some(Position::new(index, claim_term)),
        })
    }
}
