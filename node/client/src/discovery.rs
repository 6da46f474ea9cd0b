//! Finding the leader, or a server to read from.
//!
//! Every server knows who leads, or knows that it does not know. A search asks the server that led last, then
//! the others, each a moment after the one before it, so that a dead host costs that moment and not its
//! timeout; whoever is named as the leader is asked at once whether it agrees. The search ends with a
//! connection to a server that says of itself, under the address it was reached at, that it leads. Rounds are
//! repeated with growing pauses until the deadline.
//!
//! The list of servers follows the cluster: a new leader is asked who its members are, so a client survives the
//! servers that it was first told about.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrolite_wire::{NodesFormat, Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::connection::{Connection, unexpected};
use crate::error::CallError;
use crate::{Error, Result};

/// How long after one server the next one is asked.
const STAGGER: Duration = Duration::from_millis(50);
/// The first pause between two rounds; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_millis(300);
/// How long other servers may take to answer once the leader has, of which one is rather read from.
const OTHERS: Duration = Duration::from_millis(200);
/// How many servers are remembered.
const MOST_SERVERS: usize = 64;

/// A growing pause with jitter, so that many clients do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// Waits, unless that would pass the deadline: then it returns false at once.
    pub(crate) async fn pause(&mut self, deadline: Instant) -> bool {
        // Between half and all of the pause.
        let jitter_percent = 50 + RandomState::new().hash_one(0) % 51;
        let pause = self
            .0
            .mul_f64(f64::from(u32::try_from(jitter_percent).unwrap_or(100)) / 100.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        if Instant::now() + pause >= deadline {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// The servers that a client knows.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    /// Those the client was given: never forgotten.
    seeds: Vec<String>,
    /// Those the cluster named last.
    members: Vec<String>,
    /// The one that led last.
    leader: Option<String>,
}

impl Servers {
    pub(crate) fn new(seeds: Vec<String>) -> Self {
        Self {
            list: Mutex::new(List {
                seeds,
                members: Vec::new(),
                leader: None,
            }),
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // The list is whole between any two of its assignments.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All servers, the most promising first, each once.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let list = self.list();
        let mut seen = HashSet::new();
        let all = list.leader.iter().chain(&list.members).chain(&list.seeds);
        all.filter(|address| seen.insert(address.as_str()))
            .cloned()
            .collect()
    }

    /// Forgets that this server leads.
    pub(crate) fn not_leader(&self, address: &str) {
        let mut list = self.list();
        if list.leader.as_deref() == Some(address) {
            list.leader = None;
        }
    }

    /// Notes who leads; true if it is another one than before.
    fn leads(&self, address: &str) -> bool {
        let mut list = self.list();
        let changed = list.leader.as_deref() != Some(address);
        list.leader = Some(address.to_owned());
        changed
    }

    /// Connects to the leader.
    ///
    /// # Errors
    /// [`Error::NoLeader`] once the deadline has passed.
    pub(crate) async fn find_leader(
        &self,
        config: &Config,
        deadline: Instant,
    ) -> Result<Connection> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        // What the last round learned; a round that the deadline cuts short adds to it what it did learn.
        let mut attempts = Vec::new();
        loop {
            let mut learned = Vec::new();
            let left = deadline.saturating_duration_since(Instant::now());
            let found = timeout(left, self.ask_all(config, &mut learned)).await;
            if !learned.is_empty() {
                attempts = learned;
            }
            match found {
                Ok(Some(mut connection)) => {
                    if !self.leads(connection.address()) {
                        return Ok(connection);
                    }
                    match self.refresh(&mut connection).await {
                        Ok(()) => return Ok(connection),
                        Err(error) => attempts.push(format!("{}: {error}", connection.address())),
                    }
                }
                Ok(None) => {}
                Err(_) => {
                    attempts.push("the deadline passed before all servers had answered".to_owned())
                }
            }
            if !backoff.pause(deadline).await {
                return Err(Error::NoLeader {
                    waited: started.elapsed(),
                    attempts,
                });
            }
        }
    }

    /// One round over all servers.
    async fn ask_all(&self, config: &Config, attempts: &mut Vec<String>) -> Option<Connection> {
        let mut asked: HashSet<String> = HashSet::new();
        let mut probes = JoinSet::new();
        for (n, address) in (0u32..).zip(self.addresses()) {
            asked.insert(address.clone());
            probes.spawn(probe(address, STAGGER * n, config.clone()));
        }
        // Dropping the set ends the probes that are still under way.
        while let Some(joined) = probes.join_next().await {
            match joined {
                Ok(Probe {
                    connection: Ok(connection),
                    leader,
                    address,
                }) if leader == address => {
                    return Some(connection);
                }
                Ok(Probe {
                    connection: Ok(_),
                    leader,
                    address,
                }) if leader.is_empty() => {
                    attempts.push(format!("{address} knows of no leader"));
                }
                Ok(Probe {
                    connection: Ok(_),
                    leader,
                    address,
                }) => {
                    attempts.push(format!("{address} says that {leader} leads"));
                    // A server that was asked at its turn may have answered before it was elected.
                    if asked.insert(format!("again {leader}")) {
                        probes.spawn(probe(leader, Duration::ZERO, config.clone()));
                    }
                }
                Ok(Probe {
                    connection: Err(error),
                    address,
                    ..
                }) => attempts.push(match error {
                    named @ Error::Connect { .. } => named.to_string(),
                    other => format!("{address}: {other}"),
                }),
                Err(error) => attempts.push(format!("a probe failed: {error}")),
            }
        }
        None
    }

    /// Connects to a server that can be read from: to `preferred` if it answers, else to one that does not lead if there is a
    /// choice, and to none of those that were `tried`.
    ///
    /// # Errors
    /// [`Error::NoServer`] once the deadline has passed, or if there is none but those.
    pub(crate) async fn find_reader(
        &self,
        config: &Config,
        preferred: Option<String>,
        tried: &HashSet<String>,
        deadline: Instant,
    ) -> Result<Connection> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let mut servers = self.addresses();
            shuffle(&mut servers);
            let first = preferred.iter().cloned();
            let mut seen = tried.clone();
            let others = servers.into_iter();
            let round: Vec<_> = first
                .chain(others)
                .filter(|address| seen.insert(address.clone()))
                .collect();
            let mut attempts = Vec::new();
            let left = deadline.saturating_duration_since(Instant::now());
            let is_left = !round.is_empty();
            let asked = self.ask_readers(config, round, preferred.as_deref(), &mut attempts);
            if let Ok(Some(mut connection)) = timeout(left, asked).await {
                let knows_members = !self.list().members.is_empty();
                if knows_members || self.refresh(&mut connection).await.is_ok() {
                    return Ok(connection);
                }
            }
            if !is_left || !backoff.pause(deadline).await {
                return Err(Error::NoServer {
                    waited: started.elapsed(),
                    attempts,
                });
            }
        }
    }

    /// One round over these servers. The leader's answer is taken if no other comes soon.
    async fn ask_readers(
        &self,
        config: &Config,
        servers: Vec<String>,
        preferred: Option<&str>,
        attempts: &mut Vec<String>,
    ) -> Option<Connection> {
        let mut probes = JoinSet::new();
        for (n, address) in (0u32..).zip(servers) {
            probes.spawn(probe(address, STAGGER * n, config.clone()));
        }
        let mut leading: Option<Connection> = None;
        loop {
            let next = async {
                match &leading {
                    None => probes.join_next().await,
                    Some(_) => timeout(OTHERS, probes.join_next()).await.ok().flatten(),
                }
            };
            match next.await {
                Some(Ok(Probe {
                    address,
                    connection: Ok(connection),
                    leader,
                })) => {
                    if leader != address || preferred == Some(address.as_str()) {
                        return Some(connection);
                    }
                    leading = Some(connection);
                }
                Some(Ok(Probe {
                    address,
                    connection: Err(error),
                    ..
                })) => attempts.push(match error {
                    named @ Error::Connect { .. } => named.to_string(),
                    other => format!("{address}: {other}"),
                }),
                Some(Err(error)) => attempts.push(format!("a probe failed: {error}")),
                None => return leading,
            }
        }
    }

    /// Asks a new leader who the members are. A leader that refuses to say is a leader all the same.
    async fn refresh(&self, connection: &mut Connection) -> Result<()> {
        let request = Request::Cluster {
            format: NodesFormat::V1,
        };
        match connection
            .call(&request)
            .await
            .map_err(CallError::harmless)?
        {
            Response::Nodes { mut nodes, .. } => {
                nodes.sort_by_key(|node| node.role);
                let members = nodes
                    .into_iter()
                    .map(|node| node.address)
                    .take(MOST_SERVERS)
                    .collect();
                self.list().members = members;
                Ok(())
            }
            Response::Failure { .. } => Ok(()),
            other => Err(unexpected(&request, &other)),
        }
    }
}

/// Another order each time, so that readers are spread over the servers.
fn shuffle(servers: &mut [String]) {
    for end in (1..servers.len()).rev() {
        let random = RandomState::new().hash_one(end);
        let upto = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        let other = usize::try_from(random % upto).unwrap_or(0);
        servers.swap(end, other);
    }
}

/// What became of asking one server.
struct Probe {
    address: String,
    connection: Result<Connection>,
    /// Who leads, by its word; empty if it does not know.
    leader: String,
}

async fn probe(address: String, delay: Duration, config: Config) -> Probe {
    sleep(delay).await;
    let ask = async {
        let mut connection = Connection::open(&address, &config).await?;
        let request = Request::Leader;
        match connection
            .call(&request)
            .await
            .map_err(CallError::harmless)?
        {
            Response::Leader {
                address: leader, ..
            } => Ok((connection, leader)),
            other => Err(unexpected(&request, &other)),
        }
    };
    let asked = timeout(config.connect_timeout, ask)
        .await
        .unwrap_or_else(|_| {
            Err(Error::Connect {
                address: address.clone(),
                source: std::io::ErrorKind::TimedOut.into(),
            })
        });
    match asked {
        Ok((connection, leader)) => Probe {
            address,
            connection: Ok(connection),
            leader,
        },
        Err(error) => Probe {
            address,
            connection: Err(error),
            leader: String::new(),
        },
    }
}
