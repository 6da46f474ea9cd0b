//! Several nodes, and what they say about themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ferrolite_client::{Builder, Client, Role};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Node, eventually};

/// How long a node may take to say how it is; a suspended one never does.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub role: String,
    pub leads: bool,
    pub serves: bool,
    pub term: u64,
    pub first: u64,
    pub last: u64,
    pub committed: u64,
    pub applied: u64,
    /// Databases that are open for stale reads.
    pub open: Vec<String>,
}

/// A cluster of processes. They are killed when it is dropped, and their files removed.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<u64, Node>,
    options: Vec<String>,
    /// Asks single nodes; it is of no importance whom it takes for the leader.
    asker: Option<Client>,
    root: TempDir,
}

impl Cluster {
    /// Starts `count` nodes: the first founds the cluster, the others join it. They are patient with each other, so that
    /// leadership stays where a test expects it on a machine that does much else.
    pub async fn start(count: u64) -> Self {
        Self::with_options(count, &["--latency-ms", "50"]).await
    }

    /// Starts `count` nodes with these options of `ferrolite serve`.
    pub async fn with_options(count: u64, options: &[&str]) -> Self {
        let root = tempfile::Builder::new()
            .prefix("ferrolite-cluster-")
            .tempdir()
            .unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            options,
            asker: None,
            root,
        };
        cluster.add(1);
        cluster.node(1).start(&["--bootstrap"]).await;
        cluster.asker = Some(cluster.client().await);
        for id in 2..=count {
            cluster.join(id).await;
        }
        cluster
    }

    /// Where a test may keep files of its own.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Makes a place for a node, and does not start it.
    pub fn add(&mut self, id: u64) -> &mut Node {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let node = Node::new(self.root.path(), id, &options);
        assert!(
            self.nodes.insert(id, node).is_none(),
            "there was a node {id} already"
        );
        self.node(id)
    }

    /// Starts a new node that joins the cluster.
    pub async fn join(&mut self, id: u64) {
        let servers = self.addresses().join(",");
        self.add(id).start(&["--join", &servers]).await;
    }

    /// A node.
    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("there is such a node")
    }

    /// Kills a node's process and forgets the node.
    pub fn discard(&mut self, id: u64) {
        drop(self.nodes.remove(&id));
    }

    /// The numbers of the nodes whose processes run.
    pub fn running(&self) -> Vec<u64> {
        self.nodes
            .values()
            .filter(|node| node.runs())
            .map(|node| node.id)
            .collect()
    }

    /// The addresses of the nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .values()
            .map(|node| node.address.clone())
            .collect()
    }

    /// A client of the cluster, in the making.
    pub fn builder(&self) -> Builder {
        Client::builder()
            .servers(self.addresses())
            .retry_deadline(super::PATIENCE)
    }

    /// A client of the cluster.
    pub async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// What a node says about itself, if it answers.
    pub async fn status(&self, id: u64) -> Option<Status> {
        let node = self.nodes.get(&id).filter(|node| node.runs())?;
        let asker = self.asker.as_ref()?;
        let asked = timeout(STATUS_TIMEOUT, async {
            asker.node(&node.address).await?.status().await
        });
        let json: serde_json::Value = serde_json::from_str(&asked.await.ok()?.ok()?).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        Some(Status {
            role: json["role"].as_str().unwrap().to_owned(),
            leads: json["leads"].as_bool().unwrap(),
            serves: json["serves"].as_bool().unwrap(),
            term: number(&json["term"]),
            first: number(&json["log"]["first"]),
            last: number(&json["log"]["last"]),
            committed: number(&json["log"]["committed"]),
            applied: number(&json["log"]["applied"]),
            open: serde_json::from_value(json["stale"]["open"].clone()).unwrap(),
        })
    }

    /// Waits until a node serves as the leader, and returns its number.
    pub async fn leader(&self) -> u64 {
        self.leader_among(&self.running()).await
    }

    /// Waits until one of these nodes serves as the leader, and returns its number.
    pub async fn leader_among(&self, ids: &[u64]) -> u64 {
        eventually("a leader that serves", async || {
            let mut leaders = Vec::new();
            for &id in ids {
                if let Some(status) = self.status(id).await.filter(|status| status.serves) {
                    leaders.push((status.term, id));
                }
            }
            leaders.into_iter().max().map(|(_, id)| id)
        })
        .await
    }

    /// A running voter that does not lead.
    pub async fn follower(&self) -> u64 {
        eventually("a voter that follows", async || {
            for id in self.running() {
                if self
                    .status(id)
                    .await
                    .is_some_and(|status| status.role == "voter" && !status.leads)
                {
                    return Some(id);
                }
            }
            None
        })
        .await
    }

    /// Waits until a node has applied everything that is committed now.
    pub async fn caught_up(&self, id: u64) {
        let leader = self.leader().await;
        let what = format!("node {id} catches up with node {leader}");
        // What a client has just been told of is committed; the leader may say so a moment later.
        let goal = eventually(&what, async || self.status(leader).await)
            .await
            .last;
        eventually(&what, async || {
            self.status(id)
                .await
                .filter(|status| status.applied >= goal)
        })
        .await;
    }

    /// Waits until all running members that keep data have applied the same, when nobody writes any more.
    pub async fn settled(&self) {
        eventually("all nodes have applied everything", async || {
            let leader = self.status(self.leader().await).await?;
            for id in self.running() {
                let status = self.status(id).await?;
                let keeps_data = status.role == "voter" || status.role == "standby";
                if keeps_data && status.applied != leader.last {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Hands leadership to a node, and waits until it serves.
    pub async fn transfer(&self, id: u64) {
        let client = self.client().await;
        eventually("leadership is handed over", async || {
            if self.leader().await == id {
                return Some(());
            }
            // A transfer may fail and be asked for again: nothing else depends on it.
            client.transfer(id).await.ok();
            None
        })
        .await;
    }

    /// Makes a node a voter, however often that has to be asked for while leaders come and go.
    pub async fn promote(&self, id: u64) {
        let client = self.client().await;
        eventually("a voter is made", async || {
            client.assign(id, Role::Voter).await.ok();
            self.status(id)
                .await
                .filter(|status| status.role == "voter")
                .map(drop)
        })
        .await;
    }

    /// Removes a node from the cluster, likewise.
    pub async fn remove(&self, id: u64) {
        let client = self.client().await;
        eventually("a node is removed", async || {
            client.remove(id).await.ok();
            let members = client.cluster().await.ok()?;
            members.iter().all(|member| member.id != id).then_some(())
        })
        .await;
    }

    /// Stops all nodes as an operator would, the leader last, so that all have the same.
    pub async fn stop(&mut self) {
        self.settled().await;
        let leader = self.leader().await;
        let mut ids = self.running();
        ids.sort_by_key(|&id| id == leader);
        for id in ids {
            let status = self.node(id).terminate().await;
            assert!(
                status.success(),
                "node {id} ended with {status}:\n{}",
                self.node(id).log()
            );
        }
    }
}
