//! Who belongs to the cluster, and what each member does.
//!
//! A [`Configuration`] is a value: it is encoded into an entry of kind [`Config`](crate::EntryKind::Config) and is in
//! effect on a node from the moment that entry is appended there, committed or not (paper §6). While it is *joint* it
//! names two sets of voters, and every election and every commit needs a majority of both.
//!
//! | role | gets the log | votes | counts for commit |
//! |---|---|---|---|
//! | voter | yes | yes | yes |
//! | standby | yes | if asked | no |
//! | spare | no | if asked | no |
//!
//! A node answers a vote request whatever its own configuration says of it, because its configuration may be older
//! than the candidate's; only the candidate's configuration decides which answers count.

use alloc::{string::String, vec::Vec};
use bytes::{BufMut, Bytes};
use core::fmt;

use crate::codec::{DecodeError, Reader};
use crate::entry::{Incarnation, NodeId};
use crate::quorum::{self, VoteResult};

/// What a member does for the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// Holds the log, votes, and counts for commit.
    Voter,
    /// Holds the log, so that it can become a voter at once (a learner in the dissertation's words, §4.2.1).
    Standby,
    /// Is known by number and address only.
    Spare,
}

impl Role {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Voter => 0,
            Self::Standby => 1,
            Self::Spare => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Voter),
            1 => Some(Self::Standby),
            2 => Some(Self::Spare),
            _ => None,
        }
    }
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// The member's number, not zero.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// Where its peers reach it; opaque here.
    pub address: String,
    /// The incarnation of its data directory, or zero while it is not known. Answers of another incarnation do not
    /// count once it is known; it always is for a member that was promoted to voter.
    pub incarnation: Incarnation,
}

impl Member {
    /// A member of the given role whose incarnation is not known yet.
    #[must_use]
    pub fn new(id: NodeId, role: Role, address: impl Into<String>) -> Self {
        Self {
            id,
            role,
            address: address.into(),
            incarnation: 0,
        }
    }

    /// The same member with a known incarnation.
    #[must_use]
    pub fn with_incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// Whether an answer from `incarnation` comes from this member and not from one that was wiped.
    #[must_use]
    pub const fn accepts(&self, incarnation: Incarnation) -> bool {
        self.incarnation == 0 || self.incarnation == incarnation
    }
}

/// Why some members do not make a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// There is no voter.
    NoVoter,
    /// Two members have one number.
    DuplicateId(NodeId),
    /// A member has the number zero.
    ZeroId,
    /// More members than [`Configuration::MAX_MEMBERS`].
    TooManyMembers,
    /// An address is longer than [`Configuration::MAX_ADDRESS_BYTES`].
    AddressTooLong(NodeId),
    /// A member that is left behind, and was no voter.
    OutgoingNotVoter(NodeId),
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVoter => f.write_str("a configuration needs at least one voter"),
            Self::DuplicateId(id) => write!(f, "two members have the number {id}"),
            Self::ZeroId => f.write_str("a member cannot have the number 0"),
            Self::TooManyMembers => write!(f, "more than {} members", Configuration::MAX_MEMBERS),
            Self::AddressTooLong(id) => {
                write!(
                    f,
                    "the address of member {id} is longer than {} bytes",
                    Configuration::MAX_ADDRESS_BYTES
                )
            }
            Self::OutgoingNotVoter(id) => write!(f, "outgoing member {id} is no voter"),
        }
    }
}

impl core::error::Error for ConfigurationError {}

/// The members of a cluster, and while it changes its voters also the voters it is leaving behind.
///
/// Invariants, kept by every constructor and by decoding: there is a voter, numbers are unique and not zero, members
/// and outgoing voters are sorted by number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "Parts", try_from = "Parts"))]
pub struct Configuration {
    members: Vec<Member>,
    outgoing: Vec<Member>,
    /// Numbers of the voters among `members`, sorted: kept beside them because every quorum question needs it.
    voter_ids: Vec<NodeId>,
    /// Numbers of `outgoing`, sorted.
    outgoing_ids: Vec<NodeId>,
}

impl Configuration {
    /// The most members that a configuration may have.
    pub const MAX_MEMBERS: usize = 1024;
    /// The longest address, in bytes.
    pub const MAX_ADDRESS_BYTES: usize = 1024;
    const VERSION: u8 = 1;
    /// The least bytes that a member takes when encoded; see [`encode`](Self::encode).
    const LEAST_MEMBER_BYTES: usize = 19;

    /// The plain configuration of these members.
    ///
    /// # Errors
    /// [`ConfigurationError`] if they break one of the invariants.
    pub fn new(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        Self::build(members, Vec::new())
    }

    fn build(
        mut members: Vec<Member>,
        mut outgoing: Vec<Member>,
    ) -> Result<Self, ConfigurationError> {
        for list in [&mut members, &mut outgoing] {
            list.sort_by_key(|member| member.id);
            Self::check(list)?;
        }
        let voter_ids: Vec<_> = members
            .iter()
            .filter(|m| m.role == Role::Voter)
            .map(|m| m.id)
            .collect();
        if voter_ids.is_empty() {
            return Err(ConfigurationError::NoVoter);
        }
        if let Some(other) = outgoing.iter().find(|m| m.role != Role::Voter) {
            return Err(ConfigurationError::OutgoingNotVoter(other.id));
        }
        let outgoing_ids = outgoing.iter().map(|m| m.id).collect();
        Ok(Self {
            members,
            outgoing,
            voter_ids,
            outgoing_ids,
        })
    }

    /// No members at all: what a node knows before it has a configuration. Never encoded, never in a log.
    pub(crate) const fn none() -> Self {
        Self {
            members: Vec::new(),
            outgoing: Vec::new(),
            voter_ids: Vec::new(),
            outgoing_ids: Vec::new(),
        }
    }

    fn check(sorted: &[Member]) -> Result<(), ConfigurationError> {
        if sorted.len() > Self::MAX_MEMBERS {
            return Err(ConfigurationError::TooManyMembers);
        }
        let mut before = 0;
        for member in sorted {
            match member.id {
                0 => return Err(ConfigurationError::ZeroId),
                id if id == before => return Err(ConfigurationError::DuplicateId(id)),
                id if member.address.len() > Self::MAX_ADDRESS_BYTES => {
                    return Err(ConfigurationError::AddressTooLong(id));
                }
                id => before = id,
            }
        }
        Ok(())
    }

    /// The members, sorted by number.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The voters that are being left behind, with their addresses; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[Member] {
        &self.outgoing
    }

    /// Numbers of the (incoming) voters.
    #[must_use]
    pub fn voter_ids(&self) -> &[NodeId] {
        &self.voter_ids
    }

    /// Numbers of the outgoing voters.
    #[must_use]
    pub fn outgoing_ids(&self) -> &[NodeId] {
        &self.outgoing_ids
    }

    /// Whether two sets of voters must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The member of that number; while joint also an outgoing voter that is no member any more.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        find(&self.members, id).or_else(|| find(&self.outgoing, id))
    }

    /// Whether the node votes in either set of voters.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voter_ids.binary_search(&id).is_ok() || self.outgoing_ids.binary_search(&id).is_ok()
    }

    /// Whether the node is to be sent the log: voters of either set, and standbys.
    #[must_use]
    pub fn replicates_to(&self, id: NodeId) -> bool {
        find(&self.members, id).is_some_and(|m| m.role != Role::Spare)
            || self.outgoing_ids.binary_search(&id).is_ok()
    }

    /// Every node that is to be sent the log, each once, in no particular order.
    pub fn replicating(&self) -> impl Iterator<Item = &Member> {
        let only_outgoing = self
            .outgoing
            .iter()
            .filter(|m| find(&self.members, m.id).is_none_or(|member| member.role == Role::Spare));
        self.members
            .iter()
            .filter(|m| m.role != Role::Spare)
            .chain(only_outgoing)
    }

    /// Counts votes in this configuration.
    pub fn vote_result(&self, answer: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        quorum::joint_vote(&self.voter_ids, &self.outgoing_ids, answer)
    }

    /// The greatest value that a quorum of this configuration has reached.
    pub fn quorum_reached(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        quorum::joint_reached(&self.voter_ids, &self.outgoing_ids, value)
    }

    /// Whether this node alone is a quorum.
    #[must_use]
    pub fn is_only_voter(&self, id: NodeId) -> bool {
        let alone = |ids: &[NodeId]| ids.iter().all(|&voter| voter == id);
        alone(&self.voter_ids) && alone(&self.outgoing_ids)
    }

    /// The configuration on the way from this one to one with `members`: joint if the voters differ, else plain.
    ///
    /// # Errors
    /// [`ConfigurationError`] if `members` are no configuration.
    pub fn towards(&self, members: Vec<Member>) -> Result<Self, ConfigurationError> {
        let target = Self::new(members)?;
        let voters = |c: &Self| -> Vec<(NodeId, Incarnation)> {
            c.members
                .iter()
                .filter(|m| m.role == Role::Voter)
                .map(|m| (m.id, m.incarnation))
                .collect()
        };
        if voters(self) == voters(&target) {
            return Ok(target);
        }
        let outgoing = self
            .members
            .iter()
            .filter(|m| m.role == Role::Voter)
            .cloned()
            .collect();
        Self::build(target.members, outgoing)
    }

    /// The plain configuration that a joint one leads to.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self {
            members: self.members.clone(),
            outgoing: Vec::new(),
            voter_ids: self.voter_ids.clone(),
            outgoing_ids: Vec::new(),
        }
    }

    /// The configuration as bytes, the payload of a [`Config`](crate::EntryKind::Config) entry.
    ///
    /// ```text
    /// u8 version = 1, u32 members, members…, u32 outgoing, outgoing…
    /// member: u64 id, u8 role (0 voter, 1 standby, 2 spare), u64 incarnation, u16 length, address in UTF-8
    /// ```
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        out.put_u8(Self::VERSION);
        for list in [&self.members, &self.outgoing] {
            // Both casts are exact: the invariants bound the lists and the addresses.
            out.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
            for member in list {
                out.put_u64_le(member.id);
                out.put_u8(member.role.to_byte());
                out.put_u64_le(member.incarnation);
                out.put_u16_le(u16::try_from(member.address.len()).unwrap_or(u16::MAX));
                out.put_slice(member.address.as_bytes());
            }
        }
        Bytes::from(out)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no configuration; nothing is allocated beyond the length of the input.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        reader.version(Self::VERSION)?;
        let members = Self::decode_members(&mut reader)?;
        let outgoing = Self::decode_members(&mut reader)?;
        reader.finish()?;
        Self::build(members, outgoing).map_err(|_| DecodeError::Invalid("members"))
    }

    fn decode_members(reader: &mut Reader) -> Result<Vec<Member>, DecodeError> {
        let count = reader.count(Self::LEAST_MEMBER_BYTES)?;
        if count > Self::MAX_MEMBERS {
            return Err(DecodeError::Invalid("members"));
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let id = reader.u64()?;
            let role = Role::from_byte(reader.u8()?).ok_or(DecodeError::Invalid("role"))?;
            let incarnation = reader.u64()?;
            let address = reader.text()?;
            members.push(Member {
                id,
                role,
                address,
                incarnation,
            });
        }
        Ok(members)
    }
}

/// What is serialised of a configuration: what its invariants can be checked by when it comes back.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Parts {
    members: Vec<Member>,
    outgoing: Vec<Member>,
}

#[cfg(feature = "serde")]
impl From<Configuration> for Parts {
    fn from(configuration: Configuration) -> Self {
        Self {
            members: configuration.members,
            outgoing: configuration.outgoing,
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for Configuration {
    type Error = ConfigurationError;

    fn try_from(parts: Parts) -> Result<Self, ConfigurationError> {
        Self::build(parts.members, parts.outgoing)
    }
}

fn find(sorted: &[Member], id: NodeId) -> Option<&Member> {
    sorted
        .binary_search_by_key(&id, |member| member.id)
        .ok()
        .and_then(|at| sorted.get(at))
}

/// One wish about the membership, as [`Raft::change_membership`](crate::Raft::change_membership) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Add a member, as standby or spare. A voter is added as standby first and promoted once it has caught up. What is a
    /// member already is removed by a change of its own before.
    Add(Member),
    /// Give a member another role.
    SetRole {
        /// Which member.
        id: NodeId,
        /// Its new role.
        role: Role,
    },
    /// Tell the cluster that a member is reached elsewhere now.
    SetAddress {
        /// Which member.
        id: NodeId,
        /// Its new address.
        address: String,
    },
    /// Remove a member.
    Remove {
        /// Which member.
        id: NodeId,
    },
}
