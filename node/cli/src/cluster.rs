//! `ferrolite cluster`: the nodes, their roles, and which one leads.
//!
//! Every command goes to the leader, except what a node says about itself, for which that node is asked.
//! A node is named by its id or by its address.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ferrolite_client::{Builder, Client, DatabaseInfo, Leader, NodeInfo, Role};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::report::{Report, ReportFormat};
use crate::servers::{Servers, parse_address};

/// How long to wait for an answer that only Ferrolite nodes give.
pub const EXTENSION_TIMEOUT: Duration = Duration::from_secs(2);

/// The arguments of `ferrolite cluster`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite cluster list --servers db1:9001
  ferrolite cluster add 4 db4:9001 --role voter
  ferrolite cluster assign 4 standby
  ferrolite cluster transfer db2:9001
  ferrolite cluster list --format json | jq '.[] | select(.leader).address'

A voter counts for the majority that every write needs; a standby has the data
and no vote; a spare has neither.")]
pub struct ClusterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What every cluster command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// The commands of `ferrolite cluster`.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// List the nodes and their roles
    List {
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Show which node leads
    Leader {
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Add a node: it must run, and wait to be added
    Add {
        /// The node's id, as it was started with
        id: u64,
        /// The node's address, HOST:PORT, as the other nodes reach it
        #[arg(value_parser = parse_address)]
        address: String,
        /// The role to give it
        #[arg(long, value_enum, default_value_t = RoleName::Spare)]
        role: RoleName,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Remove a node
    Remove {
        /// Its id or address
        node: String,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Give a node a role
    Assign {
        /// Its id or address
        node: String,
        /// The role
        #[arg(value_enum)]
        role: RoleName,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Hand leadership over to a voter
    Transfer {
        /// Its id or address
        node: String,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Show the failure domain and weight of a node, or of all
    Describe {
        /// Its id or address
        node: Option<String>,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
    /// Set a node's weight: among equals the lightest is promoted first
    Weight {
        /// Its id or address
        node: String,
        /// The weight
        weight: u64,
        /// Where the cluster is, and how to answer.
        #[command(flatten)]
        common: Common,
    },
}

/// A role, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Replicates and votes
    Voter,
    /// Replicates without a vote
    Standby,
    /// Does neither
    Spare,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Voter => Self::Voter,
            RoleName::Standby => Self::Standby,
            RoleName::Spare => Self::Spare,
        }
    }
}

impl ClusterCommand {
    fn common(&self) -> &Common {
        match self {
            Self::List { common }
            | Self::Leader { common }
            | Self::Add { common, .. }
            | Self::Remove { common, .. }
            | Self::Assign { common, .. }
            | Self::Transfer { common, .. }
            | Self::Describe { common, .. }
            | Self::Weight { common, .. } => common,
        }
    }
}

/// Runs a command of `ferrolite cluster`.
///
/// # Errors
/// When the cluster cannot be reached or refuses, or no such node exists.
pub async fn run(args: ClusterArgs) -> Result<()> {
    Interrupts::listen().or_interrupt(obey(args.command)).await
}

async fn obey(command: ClusterCommand) -> Result<()> {
    let Common { servers, format } = command.common().clone();
    let client = connect(&servers).await?;
    let report = match command {
        ClusterCommand::List { .. } => nodes_report(&client).await?,
        ClusterCommand::Leader { .. } => {
            let leader = leader(&client).await?;
            let mut report = Report::new(&["id", "address"]);
            report.push(vec![json!(leader.id), json!(leader.address)]);
            report
        }
        ClusterCommand::Add {
            id, address, role, ..
        } => {
            let failed = Error::client(format!("cannot add node {id} ({address})"));
            client.add(id, &address).await.map_err(failed)?;
            if role != RoleName::Spare {
                assign(&client, id, role.into()).await?;
            }
            node_report(&client, id).await?
        }
        ClusterCommand::Assign { node, role, .. } => {
            let id = find(&client, &node).await?.id;
            assign(&client, id, role.into()).await?;
            node_report(&client, id).await?
        }
        ClusterCommand::Remove { node, .. } => {
            let id = find(&client, &node).await?.id;
            client
                .remove(id)
                .await
                .map_err(Error::client(format!("cannot remove node {node}")))?;
            nodes_report(&client).await?
        }
        ClusterCommand::Transfer { node, .. } => {
            let id = find(&client, &node).await?.id;
            let failed = Error::client(format!("cannot hand leadership over to node {node}"));
            client.transfer(id).await.map_err(failed)?;
            node_report(&client, id).await?
        }
        ClusterCommand::Describe { node, .. } => {
            let nodes = match node {
                Some(node) => vec![find(&client, &node).await?],
                None => nodes(&client).await?,
            };
            describe(&client, &nodes).await
        }
        ClusterCommand::Weight { node, weight, .. } => {
            let node = find(&client, &node).await?;
            let failed = Error::client(format!("cannot set the weight of node {}", node.id));
            client
                .set_weight(&node.address, weight)
                .await
                .map_err(failed)?;
            describe(&client, &[node]).await
        }
    };
    report.print(format)
}

/// A client for requests that need no database.
///
/// # Errors
/// When no leader is found.
pub async fn connect(servers: &Servers) -> Result<Client> {
    let builder = Builder::default()
        .servers(servers.addresses.iter().cloned())
        .retry_deadline(Duration::from_secs(10));
    builder
        .connect()
        .await
        .map_err(Error::client("cannot connect"))
}

/// The databases of the cluster: a request that only Ferrolite knows. dqlite leaves such requests without any
/// answer, so that this is also the way to find out with whom one speaks.
///
/// # Errors
/// When the leader cannot be reached, or does not know the request.
pub async fn databases(client: &Client) -> Result<Vec<DatabaseInfo>> {
    match timeout(EXTENSION_TIMEOUT, client.databases()).await {
        Ok(listed) => listed.map_err(Error::client("cannot list the databases")),
        Err(_) => Err(Error::Input {
            message: "the leader does not answer the request for its databases".to_owned(),
            advice: Some(
                "dqlite does not know it, nor import and export: this needs Ferrolite nodes"
                    .to_owned(),
            ),
        }),
    }
}

/// Who leads.
///
/// # Errors
/// When nobody does, or it cannot be reached.
pub async fn leader(client: &Client) -> Result<Leader> {
    client
        .leader()
        .await
        .map_err(Error::client("cannot ask for the leader"))
}

/// The nodes, by their ids.
///
/// # Errors
/// When the leader cannot be reached.
pub async fn nodes(client: &Client) -> Result<Vec<NodeInfo>> {
    let mut nodes = client
        .cluster()
        .await
        .map_err(Error::client("cannot list the nodes"))?;
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

/// The nodes as a table.
///
/// # Errors
/// As [`nodes`].
pub async fn nodes_report(client: &Client) -> Result<Report> {
    let nodes = nodes(client).await?;
    let leader = leader(client).await?;
    Ok(rows_of(&nodes, &leader))
}

async fn node_report(client: &Client, id: u64) -> Result<Report> {
    let mut nodes = nodes(client).await?;
    nodes.retain(|node| node.id == id);
    let leader = leader(client).await?;
    Ok(rows_of(&nodes, &leader))
}

fn rows_of(nodes: &[NodeInfo], leader: &Leader) -> Report {
    let mut report = Report::new(&["id", "address", "role", "leader"]);
    for node in nodes {
        report.push(vec![
            json!(node.id),
            json!(node.address),
            json!(node.role.name()),
            json!(node.id == leader.id),
        ]);
    }
    report
}

async fn assign(client: &Client, id: u64, role: Role) -> Result<()> {
    let failed = Error::client(format!("cannot make node {id} a {role}"));
    client.assign(id, role).await.map_err(failed)
}

/// The node with this id or address.
async fn find(client: &Client, name: &str) -> Result<NodeInfo> {
    let nodes = nodes(client).await?;
    let id = name.parse::<u64>().ok();
    let found = nodes
        .iter()
        .find(|node| Some(node.id) == id || node.address == name);
    found.cloned().ok_or_else(|| {
        let known: Vec<String> = nodes
            .iter()
            .map(|node| format!("{} ({})", node.id, node.address))
            .collect();
        Error::Input {
            message: format!("no node of the cluster has the id or address {name}"),
            advice: Some(format!("the nodes are {}", known.join(", "))),
        }
    })
}

/// What the nodes say about themselves. One that cannot be reached is listed with the reason.
async fn describe(client: &Client, nodes: &[NodeInfo]) -> Report {
    let mut report = Report::new(&["id", "address", "role", "failure_domain", "weight", "error"]);
    for node in nodes {
        let (failure_domain, weight, error) = match client.describe(&node.address).await {
            Ok(metadata) => (
                json!(metadata.failure_domain),
                json!(metadata.weight),
                Json::Null,
            ),
            Err(error) => (Json::Null, Json::Null, json!(error.to_string())),
        };
        report.push(vec![
            json!(node.id),
            json!(node.address),
            json!(node.role.name()),
            failure_domain,
            weight,
            error,
        ]);
    }
    report
}
