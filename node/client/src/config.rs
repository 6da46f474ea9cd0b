//! How a client behaves: a builder with defaults that suit a cluster on a local network.

use std::time::Duration;

use crate::stale::Staleness;
use crate::{Client, Error, Result, StaleClient};

/// The database that a client uses unless told otherwise.
pub const DEFAULT_DATABASE: &str = "main";

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) retry_deadline: Duration,
    pub(crate) retry_writes: bool,
    pub(crate) max_connections: usize,
    pub(crate) max_answer_bytes: u64,
}

/// Collects the settings of a [`Client`] and connects it.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct Builder {
    servers: Vec<String>,
    database: String,
    config: Config,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            database: DEFAULT_DATABASE.to_owned(),
            config: Config {
                connect_timeout: Duration::from_secs(2),
                answer_timeout: Duration::from_secs(60),
                retry_deadline: Duration::from_secs(10),
                retry_writes: false,
                max_connections: 16,
                max_answer_bytes: 1024 * 1024 * 1024,
            },
        }
    }
}

impl Builder {
    /// Adds servers to ask for the leader, as `HOST:PORT`. One that lives is enough: the others are learned.
    pub fn servers<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers.extend(servers.into_iter().map(Into::into));
        self
    }

    /// The database to use; it is created when it is first opened. Default: [`DEFAULT_DATABASE`].
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// How long one server may take to accept a connection and to say who leads. Default: 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a server may stay silent while an answer is due. A connection on which this passes is given up;
    /// set it above the longest statement. Default: 60 s.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.config.answer_timeout = timeout;
        self
    }

    /// How long a call goes on looking for a leader and retrying what is safe to retry. Default: 10 s.
    pub fn retry_deadline(mut self, deadline: Duration) -> Self {
        self.config.retry_deadline = deadline;
        self
    }

    /// Whether a single write whose outcome is unknown is sent again. It may then take effect twice: for
    /// writes that are idempotent. Transactions and scripts are never sent again. Default: no.
    pub fn retry_writes(mut self, retry: bool) -> Self {
        self.config.retry_writes = retry;
        self
    }

    /// How many connections the client may hold at once, at least 1; further calls wait for one. Default: 16.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections.max(1);
        self
    }

    /// The largest single message that is accepted from a server, in bytes: a bound for a row, and for the whole
    /// database in a dump. Default: 1 GiB.
    pub fn max_answer_bytes(mut self, bytes: u64) -> Self {
        self.config.max_answer_bytes = bytes;
        self
    }

    /// Finds the leader and connects to it.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if none is found within the retry deadline, [`Error::Misuse`] without any server.
    pub async fn connect(self) -> Result<Client> {
        if self.servers.is_empty() {
            return Err(Error::Misuse("name at least one server to connect to"));
        }
        Client::start(self.servers, self.database, self.config).await
    }

    /// Connects to any server, for reads that may be stale. That takes no leader, unlike [`Client::stale`] of a client that
    /// had to find one first.
    ///
    /// # Errors
    /// [`Error::NoServer`] if none is found within the retry deadline, [`Error::Misuse`] without any server.
    pub async fn connect_stale(self, staleness: impl Into<Staleness>) -> Result<StaleClient> {
        if self.servers.is_empty() {
            return Err(Error::Misuse("name at least one server to connect to"));
        }
        StaleClient::start(self.servers, self.database, self.config, staleness.into()).await
    }
}
