//! Nodes as the protocol describes them.

use bytes::BytesMut;

use crate::WireError;
use crate::field::{Reader, put_text, put_u64};

/// What a node does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Replicates, votes, and may lead.
    Voter,
    /// Replicates and has no vote.
    Standby,
    /// Neither replicates nor votes.
    Spare,
}

impl Role {
    /// The role's number on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::Voter => 0,
            Self::Standby => 1,
            Self::Spare => 2,
        }
    }

    /// The role with this number.
    ///
    /// # Errors
    /// [`WireError::UnknownRole`] for any number above 2.
    pub fn from_code(code: u64) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::Voter),
            1 => Ok(Self::Standby),
            2 => Ok(Self::Spare),
            other => Err(WireError::UnknownRole(other)),
        }
    }

    /// The role's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Standby => "standby",
            Self::Spare => "spare",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// One node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeInfo {
    /// The id that the node was added with.
    pub id: u64,
    /// The address at which its peers and clients reach it, as `HOST:PORT`.
    pub address: String,
    /// Its role. Format 0 does not carry it: a node decoded from that format is taken for a voter.
    pub role: Role,
}

/// The layout of a list of nodes, chosen by the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodesFormat {
    /// Id and address.
    V0,
    /// Id, address and role.
    V1,
}

impl NodesFormat {
    /// The format's number on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }

    /// The format with this number.
    ///
    /// # Errors
    /// [`WireError::UnknownFormat`] for any number above 1.
    pub fn from_code(code: u64) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::V0),
            1 => Ok(Self::V1),
            other => Err(WireError::UnknownFormat(other)),
        }
    }

    pub(crate) fn decode_nodes(self, reader: &mut Reader) -> Result<Vec<NodeInfo>, WireError> {
        let least_bytes = match self {
            Self::V0 => 16,
            Self::V1 => 24,
        };
        let count = reader.count("nodes", least_bytes)?;
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            let id = reader.u64("a node id")?;
            let address = reader.text()?;
            let role = match self {
                Self::V0 => Role::Voter,
                Self::V1 => Role::from_code(reader.u64("a role")?)?,
            };
            nodes.push(NodeInfo { id, address, role });
        }
        Ok(nodes)
    }

    pub(crate) fn encode_nodes(
        self,
        nodes: &[NodeInfo],
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        put_u64(out, crate::field::len_u64(nodes.len()));
        for node in nodes {
            put_u64(out, node.id);
            put_text(out, &node.address)?;
            if self == Self::V1 {
                put_u64(out, node.role.code());
            }
        }
        Ok(())
    }
}
