//! Three nodes, and what they say about themselves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ferrolite_client::{Builder, Client};
use ferrolite_processes::{Node, Place, Result, Status, eventually, stop_all};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// How long a node may take to say how it is; a suspended one never does.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
const NODES: u64 = 3;

/// The nodes. Their processes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    watcher: Watcher,
    /// Bound, and not listening: they keep the nodes' ports while no process has them.
    _ports: Vec<TcpSocket>,
}

/// Looks at the nodes, whatever else is done to them meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    /// Number, address and process of each.
    nodes: Vec<(u64, String, Arc<AtomicU32>)>,
    /// Asks single nodes; it is of no importance whom it takes for the leader.
    asker: Client,
}

impl Watcher {
    /// What the nodes say about themselves that answer, and the memory that they have in use, in KiB.
    pub(crate) async fn look(&self) -> Vec<(Status, u64)> {
        let mut seen = Vec::new();
        for (id, address, pid) in &self.nodes {
            let Some(kib) = resident_kib(pid.load(Ordering::Relaxed)) else {
                continue;
            };
            let asked = timeout(STATUS_TIMEOUT, async {
                self.asker.node(address).await?.status().await
            });
            if let Ok(Ok(said)) = asked.await {
                seen.extend(Status::parse(*id, &said).map(|status| (status, kib)));
            }
        }
        seen
    }
}

/// The memory that a process has in use, in KiB, by the system's account (`VmRSS`).
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl Cluster {
    /// Starts nodes that keep what they have below `root`: the first founds the cluster, the others join it.
    ///
    /// # Errors
    /// When that does not come about.
    pub(crate) async fn start(program: &Path, root: &Path) -> Result<Self> {
        let (mut nodes, mut ports) = (Vec::new(), Vec::new());
        for id in 1..=NODES {
            let port = TcpSocket::new_v4()?;
            port.set_reuseaddr(true)?;
            port.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            nodes.push(Node::new(Place {
                id,
                address: port.local_addr()?.to_string(),
                directory: root.join(format!("node-{id}")),
                logs: root.to_owned(),
                program: vec![program.into()],
                arguments: Vec::new(),
            }));
            ports.push(port);
        }
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        for node in &mut nodes {
            let join = addresses.join(",");
            match node.id {
                1 => node.spawn(&["--bootstrap"])?,
                _ => node.spawn(&["--join", &join])?,
            }
            node.ready().await?;
        }
        let watched = nodes.iter();
        let watched = watched.map(|node| (node.id, node.address.clone(), Arc::clone(&node.pid)));
        let watcher = Watcher {
            nodes: watched.collect(),
            asker: builder(&addresses).connect().await?,
        };
        let cluster = Self {
            nodes,
            watcher,
            _ports: ports,
        };
        eventually("all nodes are voters", async || {
            let known = cluster.statuses().await;
            let voters = known.iter().filter(|status| status.is_voter).count();
            Ok((voters == cluster.nodes.len()).then_some(()))
        })
        .await?;
        Ok(cluster)
    }

    /// A client of the cluster, in the making.
    pub(crate) fn builder(&self) -> Builder {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address.clone()).collect();
        builder(&addresses)
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that number.
    pub(crate) fn node(&mut self, id: u64) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        found.ok_or_else(|| format!("there is no node {id}").into())
    }

    /// Looks at the nodes, whatever else is done to them meanwhile.
    pub(crate) fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    async fn statuses(&self) -> Vec<Status> {
        let seen = self.watcher.look().await.into_iter();
        seen.map(|(status, _)| status).collect()
    }

    /// Waits until one of the nodes, and not `except`, serves as the leader; returns what it says about itself.
    ///
    /// # Errors
    /// When that does not come about.
    pub(crate) async fn leader(&self, except: Option<u64>) -> Result<Status> {
        eventually("a leader that serves", async || {
            let known = self.statuses().await.into_iter();
            let serving = known.filter(|status| status.serves && Some(status.id) != except);
            Ok(serving.max_by_key(|status| status.term))
        })
        .await
    }

    /// Starts a node again that was killed, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn restart(&mut self, id: u64) -> Result<()> {
        let node = self.node(id)?;
        node.spawn(&[])?;
        node.ready().await
    }

    /// Sees to it that all nodes are at work, whatever a failover that was broken off has left behind.
    ///
    /// # Errors
    /// When a node does not start.
    pub(crate) async fn revive(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.resume()?;
            if !node.runs() {
                node.spawn(&[])?;
            }
            node.ready().await?;
        }
        Ok(())
    }

    /// Waits until all nodes have applied the same, when nobody writes any more.
    ///
    /// # Errors
    /// When that does not come about.
    pub(crate) async fn settled(&self) -> Result<()> {
        eventually("all nodes have applied everything", async || {
            let leader = self.leader(None).await?;
            let known = self.statuses().await;
            let even = known.iter().filter(|status| status.applied == leader.last);
            Ok((even.count() == self.nodes.len()).then_some(()))
        })
        .await
    }

    /// Stops all nodes as an operator would, the leader last, so that all have the same.
    ///
    /// # Errors
    /// When one does not end as it should.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.settled().await?;
        let leader = self.leader(None).await?.id;
        stop_all(&mut self.nodes, leader).await
    }

    /// The nodes whose processes have ended, though nobody asked them to.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn ended_by_themselves(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for node in &mut self.nodes {
            if let Some(status) = node.exited()? {
                ended.push(format!("node {} ended by itself with {status}", node.id));
            }
        }
        Ok(ended)
    }
}

fn builder(addresses: &[String]) -> Builder {
    // Where an answer does not come by then, it is not waited for: its outcome is unknown.
    Client::builder()
        .servers(addresses)
        .answer_timeout(Duration::from_secs(2))
        .connect_timeout(Duration::from_secs(1))
        .retry_deadline(Duration::from_secs(30))
}
