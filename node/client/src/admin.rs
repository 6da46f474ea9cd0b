//! The cluster: its members, their roles, its databases.
//!
//! Calls on [`Client`] go to the leader. A [`Node`] is one server of the caller's choice, for what a server says
//! about itself.

use ferrolite_wire::{DatabaseFile, DatabaseInfo, NodeInfo, NodesFormat, Request, Response, Role};

use crate::client::Client;
use crate::connection::{Connection, check, is_not_leader, unexpected};
use crate::discovery::Backoff;
use crate::error::CallError;
use crate::{Error, Result};

/// The leader of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub id: u64,
    /// Its address.
    pub address: String,
}

/// What a node says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMetadata {
    /// The failure domain it stands in: nodes that share one are likely to fail together.
    pub failure_domain: u64,
    /// Its weight: among equals, the lightest is promoted first.
    pub weight: u64,
}

/// How a request of this module may be repeated.
#[derive(Clone, Copy, PartialEq)]
enum Repeat {
    /// It changes nothing.
    Always,
    /// It changes something: only while it was not sent.
    Unsent,
}

impl Client {
    /// Who leads.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if none is found within the retry deadline.
    pub async fn leader(&self) -> Result<Leader> {
        match self.ask(Request::Leader, Repeat::Always).await? {
            (_, Response::Leader { id, address }) => Ok(Leader { id, address }),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// The members.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no leader is found within the retry deadline.
    pub async fn cluster(&self) -> Result<Vec<NodeInfo>> {
        match self
            .ask(
                Request::Cluster {
                    format: NodesFormat::V1,
                },
                Repeat::Always,
            )
            .await?
        {
            (_, Response::Nodes { nodes, .. }) => Ok(nodes),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// Adds a node, as a spare: [`assign`](Self::assign) gives it a role.
    ///
    /// # Errors
    /// [`Error::Server`] if the cluster refuses, [`Error::OutcomeUnknown`] if its answer never came.
    pub async fn add(&self, id: u64, address: &str) -> Result<()> {
        self.change(Request::Add {
            id,
            address: address.to_owned(),
        })
        .await
    }

    /// Gives a node a role, and returns once that is committed.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn assign(&self, id: u64, role: Role) -> Result<()> {
        self.change(Request::Assign { id, role }).await
    }

    /// Removes a node.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn remove(&self, id: u64) -> Result<()> {
        self.change(Request::Remove { id }).await
    }

    /// Hands leadership to a node, and returns once it leads. Id 0 leaves the choice to the leader.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn transfer(&self, id: u64) -> Result<()> {
        let before = self.pool.servers.addresses();
        self.change(Request::Transfer { id }).await?;
        if let Some(leader) = before.first() {
            self.pool.not_leader(leader);
        }
        Ok(())
    }

    /// A database's files: the main file, then its write-ahead log. They are held in memory whole; see
    /// [`export`](Self::export) for large ones.
    ///
    /// # Errors
    /// [`Error::Server`] if there is no such database, [`Error::Protocol`] if the answer exceeds
    /// [`max_answer_bytes`](crate::Builder::max_answer_bytes).
    pub async fn dump(&self, database: &str) -> Result<Vec<DatabaseFile>> {
        match self
            .ask(
                Request::Dump {
                    name: database.to_owned(),
                },
                Repeat::Always,
            )
            .await?
        {
            (_, Response::Files(files)) => Ok(files),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// The databases of the cluster. A Ferrolite extension: a dqlite server answers with a failure.
    ///
    /// # Errors
    /// [`Error::Server`] if the server knows no such request.
    pub async fn databases(&self) -> Result<Vec<DatabaseInfo>> {
        match self.ask(Request::Databases, Repeat::Always).await? {
            (_, Response::Databases(databases)) => Ok(databases),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// The leader's state as a JSON object. A Ferrolite extension.
    ///
    /// # Errors
    /// [`Error::Server`] if the server knows no such request.
    pub async fn status(&self) -> Result<String> {
        match self.ask(Request::Status, Repeat::Always).await? {
            (_, Response::Status { json }) => Ok(json),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// What a node says about itself.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub async fn describe(&self, address: &str) -> Result<NodeMetadata> {
        self.node(address).await?.describe().await
    }

    /// Sets a node's weight.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub async fn set_weight(&self, address: &str, weight: u64) -> Result<()> {
        self.node(address).await?.set_weight(weight).await
    }

    /// Connects to one server, whether it leads or not.
    ///
    /// # Errors
    /// [`Error::Connect`] if it cannot be reached.
    pub async fn node(&self, address: &str) -> Result<Node> {
        let connection = Connection::open(address, &self.pool.config).await?;
        Ok(Node { connection })
    }

    async fn change(&self, request: Request) -> Result<()> {
        match self.ask(request, Repeat::Unsent).await? {
            (_, Response::Empty) => Ok(()),
            (request, other) => Err(unexpected(&request, &other)),
        }
    }

    /// Asks the leader, again after a change of the leader where that is safe.
    async fn ask(&self, request: Request, repeat: Repeat) -> Result<(Request, Response)> {
        let deadline = self.deadline();
        let mut backoff = Backoff::new();
        loop {
            let mut session = self.pool.checkout(deadline).await?;
            let error = match session.connection.call(&request).await {
                Ok(answer) if is_not_leader(&answer) => {
                    self.forget(&mut session);
                    unexpected(&request, &answer)
                }
                Ok(answer) => return Ok((request, check(answer)?)),
                Err(CallError::Sent(error)) if repeat == Repeat::Unsent => {
                    return Err(error.outcome_unknown());
                }
                Err(error) => error.harmless(),
            };
            drop(session);
            if !error.is_retryable() || !backoff.pause(deadline).await {
                return Err(error);
            }
        }
    }
}

/// A connection to one server, whether it leads or not.
#[derive(Debug)]
pub struct Node {
    connection: Connection,
}

impl Node {
    /// The server's address.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// Who leads, as far as this server knows.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`] and [`Error::Server`], as all calls here.
    pub async fn leader(&mut self) -> Result<Option<Leader>> {
        let request = Request::Leader;
        match self.ask(&request).await? {
            Response::Leader { address, .. } if address.is_empty() => Ok(None),
            Response::Leader { id, address } => Ok(Some(Leader { id, address })),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// The members, as far as this server knows.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn cluster(&mut self) -> Result<Vec<NodeInfo>> {
        let request = Request::Cluster {
            format: NodesFormat::V1,
        };
        match self.ask(&request).await? {
            Response::Nodes { nodes, .. } => Ok(nodes),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// What the server says about itself.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn describe(&mut self) -> Result<NodeMetadata> {
        let request = Request::Describe { format: 0 };
        match self.ask(&request).await? {
            Response::Metadata {
                failure_domain,
                weight,
            } => Ok(NodeMetadata {
                failure_domain,
                weight,
            }),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// Sets the server's weight.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn set_weight(&mut self, weight: u64) -> Result<()> {
        let request = Request::Weight { weight };
        match self.ask(&request).await? {
            Response::Empty => Ok(()),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// The server's state as a JSON object. A Ferrolite extension.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn status(&mut self) -> Result<String> {
        let request = Request::Status;
        match self.ask(&request).await? {
            Response::Status { json } => Ok(json),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// Introduces this client by a number, as clients of dqlite do; returns the heartbeat timeout that a client of
    /// old had to keep, in milliseconds.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn introduce(&mut self, client_id: u64) -> Result<u64> {
        let request = Request::Client { id: client_id };
        match self.ask(&request).await? {
            Response::Welcome {
                heartbeat_timeout_ms,
            } => Ok(heartbeat_timeout_ms),
            other => Err(unexpected(&request, &other)),
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        self.connection
            .call(request)
            .await
            .map_err(CallError::harmless)
            .and_then(check)
    }
}
