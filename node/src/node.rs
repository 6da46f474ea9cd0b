//! A node as a whole: its threads, its port, and its start and stop.
//!
//! ```text
//!   port ── clients ──► gateway ──┐ events          ┌──► log writer ──► log
//!        └─ peers ────────────────┼──► replica ─────┼──► checkpointer ──► database files
//!   other nodes ◄── peers ◄───────┘  (consensus)    └──► status, registry ──► gateway
//! ```
//!
//! The replica, the log writer, the checkpointer and the [feed](crate::following) are threads, because they block or must
//! never be held up; everything that talks to sockets runs in a runtime of the node's own, so that an application may
//! embed nodes in whatever runtime it has.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ferrolite_client::Client;
use ferrolite_consensus::Role;
use tokio::net::TcpListener;

use crate::assembly::{self, Assembly};
use crate::checkpoint::{self, Checkpointer};
use crate::environment::Environment;
use crate::errands::Errands;
use crate::error::Error;
use crate::following;
use crate::gateway::Context;
use crate::handle::{Event, Handle, Status};
use crate::listener::{self, Door};
use crate::log_writer;
use crate::options::Options;
use crate::peers::{Identity, Peers};

/// How long a stopping leader waits for another node to take over.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Stack of the threads that run SQL. Only what is used of it takes memory.
const SQL_STACK_BYTES: usize = 64 << 20;
/// How many voters a joining node helps to make up.
const WANTED_VOTERS: usize = 3;

/// A running node. It stops when [`shutdown`](Node::shutdown) is called, or, less gently, when it is
/// dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrolite_node::Node;
///
/// let node = Node::builder(1, "127.0.0.1:9001", "/var/lib/app").bootstrap().start().await?;
/// println!("serving on {}", node.address());
/// node.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Node {
    id: u64,
    address: String,
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// How a node is to start; see [`Node::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct NodeBuilder {
    id: u64,
    address: String,
    directory: PathBuf,
    bootstrap: bool,
    join: Vec<String>,
    options: Options,
}

impl NodeBuilder {
    /// Founds a new cluster of which this node is the only member so far. Has no effect on a directory that
    /// belongs to a cluster already, so it may stay in a program's start-up code.
    pub fn bootstrap(mut self) -> Self {
        self.bootstrap = true;
        self
    }

    /// Joins the cluster that any of `servers` belongs to, and becomes a voter while it has fewer than
    /// three. Has no effect on a node that is a member already.
    pub fn join<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.join = servers.into_iter().map(Into::into).collect();
        self
    }

    /// Settings beyond the defaults.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Starts the node and waits until it can be talked to: a founding node until it leads, a joining node
    /// until it is a member, any other until it listens.
    ///
    /// # Errors
    /// When the data directory is another node's or another cluster's, damaged, in use or not writable;
    /// when the port cannot be had; when the cluster to join does not answer or refuses.
    pub async fn start(self) -> Result<Node, Error> {
        if self.id == 0 {
            return Err(Error::Options("a node's id cannot be 0".to_owned()));
        }
        if self.bootstrap && !self.join.is_empty() {
            return Err(Error::Options(
                "a node either founds a cluster (bootstrap) or joins one, not both".to_owned(),
            ));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.options.network_threads.max(1))
            .thread_name("ferrolite-net")
            // SQL runs on these threads, and the engine calls itself for every level that SQL is nested.
            .thread_stack_size(SQL_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::io("starting the network threads", error))?;
        // A runtime must not be dropped where others run, so not by a `?` either.
        let node = match self.launch(runtime.handle()) {
            Ok(launched) => launched.with(runtime),
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let settled = node.settle_in(&self).await;
        match settled {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop_now().await;
                Err(error)
            }
        }
    }

    fn launch(&self, runtime: &tokio::runtime::Handle) -> Result<Node, Error> {
        // The port first: with port 0 the system chooses it, and the address is what members know.
        let unable = |source| Error::Listen {
            address: self.address.clone(),
            source,
        };
        let socket = std::net::TcpListener::bind(&self.address).map_err(unable)?;
        socket.set_nonblocking(true).map_err(unable)?;
        let address = actual_address(&self.address, &socket).map_err(unable)?;
        let (writes, to_write) = Errands::new();
        let (jobs, to_do) = Errands::new();
        let Assembly {
            handle,
            cluster,
            replica,
        } = Assembly::new(assembly::Parts {
            id: self.id,
            address: &address,
            options: &self.options,
            environment: Environment::system(&self.directory)?,
            founds: self.bootstrap,
            writes,
            jobs,
        })?;
        let store = Arc::clone(&handle.store);
        let driver = Arc::clone(&handle.driver);
        let following = Arc::clone(&handle.following);
        let identity = Arc::new(Identity {
            id: self.id,
            address: address.clone(),
            incarnation: store.incarnation(),
            cluster,
        });
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let peers = Peers::new(
            Arc::clone(&identity),
            handle.clone(),
            runtime.clone(),
            Arc::clone(&heard),
        );
        driver.start(replica, Box::new(peers));
        let mut threads = Vec::new();
        {
            let (store, driver) = (Arc::clone(&store), Arc::clone(&driver));
            threads.push(spawn("ferrolite-log", move || {
                log_writer::run(&store, &to_write, &driver)
            })?);
        }
        {
            let checkpointer = Checkpointer::new(Arc::clone(&store), Arc::clone(&following));
            let driver = Arc::clone(&driver);
            threads.push(spawn("ferrolite-pages", move || {
                checkpoint::run(checkpointer, &to_do, &driver)
            })?);
        }
        threads.push(spawn("ferrolite-feed", move || {
            following::run(&store, &following)
        })?);
        threads.push(spawn("ferrolite-raft", move || driver.run())?);
        let context = Arc::new(Context {
            handle: handle.clone(),
            max_body_bytes: self.options.max_message_bytes,
            busy_timeout: self.options.busy_timeout,
            idle_transaction: self.options.idle_transaction,
            heartbeat: self.options.heartbeat(),
            failure_domain: self.options.failure_domain,
            weight: AtomicU64::new(u64::from(self.options.weight)),
            page_size: self.options.page_size,
        });
        let door = Door {
            context,
            identity,
            heard,
        };
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(socket).map_err(unable)?
        };
        runtime.spawn(listener::listen(listener, door));
        Ok(Node {
            id: self.id,
            address,
            handle,
            threads,
            runtime: None,
        })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| Error::io(format!("starting the thread {name}"), error))
}

/// The address that others reach this node by: as it was given, with the real port in place of 0.
fn actual_address(given: &str, socket: &std::net::TcpListener) -> std::io::Result<String> {
    let port = socket.local_addr()?.port();
    Ok(match given.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{port}"),
        _ => given.to_owned(),
    })
}

impl Node {
    /// A builder for the node with this number (not 0, and no other node's), address (`HOST:PORT`, by which
    /// clients and other nodes reach it; port 0 lets the system choose) and data directory.
    pub fn builder(
        id: u64,
        address: impl Into<String>,
        directory: impl Into<PathBuf>,
    ) -> NodeBuilder {
        NodeBuilder {
            id,
            address: address.into(),
            directory: directory.into(),
            bootstrap: false,
            join: Vec::new(),
            options: Options::default(),
        }
    }

    /// The node's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address by which clients and other nodes reach this one.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The leader's number and address, if this node knows it.
    #[must_use]
    pub fn leader(&self) -> Option<(u64, String)> {
        self.handle.status().leader
    }

    /// Whether this node leads and answers clients.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.handle.status().serves
    }

    fn with(mut self, runtime: tokio::runtime::Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Whether the node belongs to a cluster, as far as it knows.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.handle.role().is_some()
    }

    /// Why the node has stopped taking part (its disk failed), if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.handle.status().halted
    }

    /// Waits until the node has stopped taking part because its disk failed, and says why.
    pub async fn failed(&self) -> String {
        let mut status = self.handle.status.clone();
        match status.wait_for(|status| status.halted.is_some()).await {
            Ok(status) => status.halted.clone().unwrap_or_default(),
            Err(_) => "the node has stopped".to_owned(),
        }
    }

    async fn settle_in(&self, builder: &NodeBuilder) -> Result<(), Error> {
        if builder.bootstrap {
            self.until(|status| status.serves || status.leader.is_some())
                .await?;
        }
        if !builder.join.is_empty() && !self.is_member() {
            self.join(&builder.join).await?;
        }
        Ok(())
    }

    async fn until(&self, reached: impl Fn(&Status) -> bool) -> Result<(), Error> {
        let mut status = self.handle.status.clone();
        let status = status
            .wait_for(|status| reached(status) || status.halted.is_some())
            .await
            .map_err(|_| Error::Stopped)?;
        match &status.halted {
            Some(reason) => Err(Error::Options(format!(
                "the node could not start: {reason}"
            ))),
            None => Ok(()),
        }
    }

    /// Adds this node to the cluster behind `servers`, and makes it a voter if voters are wanted.
    async fn join(&self, servers: &[String]) -> Result<(), Error> {
        let failed = |error: ferrolite_client::Error| Error::Join {
            servers: servers.join(", "),
            reason: error.to_string(),
        };
        let client = Client::connect(servers.iter().cloned())
            .await
            .map_err(failed)?;
        let members = client.cluster().await.map_err(failed)?;
        let known = members.iter().find(|member| member.id == self.id);
        if known.is_some_and(|known| known.role == ferrolite_wire::Role::Voter) {
            // It has voted, and this directory does not know for whom: it must not vote again.
            return Err(Error::Join {
                servers: servers.join(", "),
                reason: format!(
                    "node {id} is a voter of that cluster already, and this data directory is not the one it had; \
                     remove it first (ferrolite cluster remove {id}), or join under another id",
                    id = self.id
                ),
            });
        }
        if let Some(other) = members
            .iter()
            .find(|m| m.address == self.address && m.id != self.id)
        {
            return Err(Error::Join {
                servers: servers.join(", "),
                reason: format!(
                    "address {} belongs to node {} already",
                    self.address, other.id
                ),
            });
        }
        client.add(self.id, &self.address).await.map_err(failed)?;
        let voters = members
            .iter()
            .filter(|member| member.role == ferrolite_wire::Role::Voter && member.id != self.id)
            .count();
        if voters < WANTED_VOTERS {
            client
                .assign(self.id, ferrolite_wire::Role::Voter)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Stops the node: hands leadership to another voter if it leads, writes everything committed into the
    /// database files, and closes the data directory.
    ///
    /// # Errors
    /// When the last writes failed; the node has stopped all the same, and its next start recovers.
    pub async fn shutdown(self) -> Result<(), Error> {
        let status = self.handle.status();
        let others = status.configuration.as_ref().is_some_and(|configuration| {
            configuration
                .members()
                .iter()
                .any(|m| m.role == Role::Voter && m.id != self.id)
        });
        if status.leads && others {
            match tokio::time::timeout(HANDOVER_TIMEOUT, self.hand_over()).await {
                Ok(Ok(())) => log::info!("leadership was handed over"),
                Ok(Err(error)) => log::warn!(error:%; "leadership could not be handed over"),
                Err(_) => log::warn!("no other node took over leadership in time"),
            }
        }
        let failure = status.halted;
        self.stop_now().await;
        match failure {
            Some(reason) => Err(Error::Io {
                what: "stopping after a failure".to_owned(),
                source: std::io::Error::other(reason),
            }),
            None => Ok(()),
        }
    }

    /// Hands leadership to whichever node takes it. The first choice may have died a moment ago.
    async fn hand_over(&self) -> Result<(), Error> {
        loop {
            match self.handle.transfer(None).await {
                Err(Error::TransferFailed) if self.handle.status().leads => {}
                Err(error) if error.is_not_leader() => return Ok(()),
                other => return other,
            }
        }
    }

    /// Stops the node without handing leadership over: for when the whole cluster stops.
    pub async fn stop(self) {
        self.stop_now().await;
    }

    async fn stop_now(mut self) {
        self.handle.send(Event::Stop);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || join_all(threads)).await;
        if joined.is_err() {
            log::error!("waiting for the node's threads failed");
        }
    }
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            log::error!("one of the node's threads panicked");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.send(Event::Stop);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
