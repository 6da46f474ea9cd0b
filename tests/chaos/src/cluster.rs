//! The cluster: nodes in their networks and on their disks.

use std::path::Path;
use std::time::Duration;

use ferrolite_client::{Builder, Client, Role};
use ferrolite_processes::{Node, Place, Result, Status, eventually, stop_all};
use tokio::time::timeout;

use crate::disk::Disk;
use crate::network::{self, Network};

/// How long a node may take to say how it is; a suspended one never does.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// Where the nodes' file systems are: in a file system of this run's own.
const DISKS: &str = "/run/ferrolite-chaos";
/// How nodes are started. A client that is cut off in a transaction must not keep the others for long; little log is kept, so
/// that nodes which were away are brought up with snapshots.
const ARGUMENTS: [&str; 6] = [
    "--busy-timeout-ms",
    "1000",
    "--idle-transaction-ms",
    "2000",
    "--log-mib",
    "8",
];

/// Nodes. Their processes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) disks: Vec<Disk>,
    /// Asks single nodes; it is of no importance whom it takes for the leader.
    asker: Client,
}

impl Cluster {
    /// Starts nodes that log below `root`: the first founds the cluster, the others join it. The last of
    /// an even number is a standby, all others vote.
    ///
    /// # Errors
    /// When that does not come about.
    pub(crate) async fn start(
        program: &Path,
        root: &Path,
        count: u64,
        disk_mib: u32,
    ) -> Result<Self> {
        let network = Network::make(count).await?;
        let (mut nodes, mut disks) = (Vec::new(), Vec::new());
        for id in 1..=count {
            let disk = Disk::mount(&Path::new(DISKS).join(id.to_string()), disk_mib).await?;
            let inside = network::inside(id).map(Into::into);
            let mut node = Node::new(Place {
                id,
                address: network::address(id),
                directory: disk.data(),
                logs: root.to_owned(),
                program: inside.into_iter().chain([program.into()]).collect(),
                arguments: ARGUMENTS.map(str::to_owned).to_vec(),
            });
            match id {
                1 => node.spawn(&["--bootstrap"])?,
                _ => node.spawn(&["--join", &network::address(1)])?,
            }
            disks.push(disk);
            node.ready().await?;
            nodes.push(node);
        }
        let asker = builder(count).connect().await?;
        let cluster = Self {
            nodes,
            network,
            disks,
            asker,
        };
        // The first three are made voters when they join.
        for id in 4..=count {
            let role = match count % 2 {
                0 if id == count => Role::Standby,
                _ => Role::Voter,
            };
            let what = format!("node {id} is what it is to be");
            eventually(&what, async || {
                Ok(cluster.asker.assign(id, role).await.ok())
            })
            .await?;
        }
        eventually("all nodes are what they are to be", async || {
            let known = cluster.statuses().await;
            let voters = known.iter().filter(|status| status.is_voter).count();
            Ok((voters == (cluster.nodes.len() - 1) / 2 * 2 + 1).then_some(()))
        })
        .await?;
        Ok(cluster)
    }

    /// What the nodes say about themselves that answer.
    pub(crate) async fn statuses(&self) -> Vec<Status> {
        let mut asked = tokio::task::JoinSet::new();
        for node in self.nodes.iter().filter(|node| node.runs()) {
            let (asker, id, address) = (self.asker.clone(), node.id, node.address.clone());
            asked.spawn(timeout(STATUS_TIMEOUT, async move {
                let said = asker.node(&address).await.ok()?.status().await.ok()?;
                Status::parse(id, &said)
            }));
        }
        let said = asked.join_all().await.into_iter();
        said.flatten().flatten().collect()
    }

    /// The node that says it leads, if one does.
    pub(crate) async fn leader(&self) -> Option<u64> {
        let known = self.statuses().await.into_iter();
        let serving = known.filter(|status| status.serves);
        Some(serving.max_by_key(|status| status.term)?.id)
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that number.
    pub(crate) fn node(&mut self, id: u64) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        found.ok_or_else(|| format!("there is no node {id}").into())
    }

    /// A node's disk.
    ///
    /// # Errors
    /// When there is none of that number.
    pub(crate) fn disk(&self, id: u64) -> Result<&Disk> {
        let place = usize::try_from(id)?.checked_sub(1);
        let found = place.and_then(|place| self.disks.get(place));
        found.ok_or_else(|| format!("there is no node {id}").into())
    }

    /// Ends all that was done to the cluster, and waits until all nodes are ready.
    ///
    /// # Errors
    /// When that does not come about.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.network.heal().await?;
        for disk in &self.disks {
            disk.free();
        }
        for node in &mut self.nodes {
            node.resume()?;
            node.exited()?;
            if !node.runs() {
                node.spawn(&[])?;
            }
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// Stops all nodes as an operator would, when all have applied everything; the leader last, so that all have the same.
    ///
    /// # Errors
    /// When one does not end as it should.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let count = self.nodes.len();
        let leader = eventually("all nodes have applied everything", async || {
            let known = self.statuses().await;
            let Some(leader) = known.iter().find(|status| status.serves) else {
                return Ok(None);
            };
            let even = known.iter().filter(|status| status.applied == leader.last);
            Ok((even.count() == count).then_some(leader.id))
        })
        .await?;
        stop_all(&mut self.nodes, leader).await
    }
}

/// A client in the making that gives up soon: what does not come by then has an unknown outcome.
pub(crate) fn builder(nodes: u64) -> Builder {
    Client::builder()
        .servers((1..=nodes).map(network::address))
        .answer_timeout(Duration::from_secs(3))
        .connect_timeout(Duration::from_millis(500))
        .retry_deadline(Duration::from_secs(1))
}
