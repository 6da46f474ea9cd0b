//! The nodes' networks: a network namespace for each, and a bridge between them that the clients are on as well.
//!
//! Whoever is to reach whom is decided by the tables of neighbours, which take no module of the kernel's. Each namespace
//! knows the hardware address of every other one by a permanent entry. Where one is not to reach another, its entry gives an
//! address that nobody has: what is sent is lost on the bridge without a word, in this direction alone, and what was under
//! way is sent again by TCP until it comes through or is given up. So links can be cut in one direction or both, between
//! any two, and between nodes and clients.
//!
//! Where the kernel has `netem` a link can be slow and lose packets; where it has only `tbf`, little comes through, late,
//! and what does not fit into a small queue is lost. What is not there is left out, and named at the start.

use std::collections::BTreeSet;
use std::process::Stdio;

use ferrolite_processes::Result;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The clients' end of links.
pub(crate) const CLIENTS: u64 = 0;
/// The most nodes that there may be.
pub(crate) const MOST_NODES: u64 = 9;
/// The port of every node.
const PORT: u16 = 9001;
const BRIDGE: &str = "ferrolite0";
/// The one link in each namespace of a node.
const LINK: &str = "eth0";
/// Nobody has it.
const NOBODY: &str = "02:00:00:00:ff:ff";

/// Ends of a link in one direction: from, to.
pub(crate) type Direction = (u64, u64);

/// What links can be made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shaping {
    /// Delay and loss.
    Netem,
    /// A low rate and a short queue.
    Bucket,
    /// Nothing.
    None,
}

/// The namespaces. They are gone when the namespace is in which they were made.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: u64,
    blocked: BTreeSet<Direction>,
    pub(crate) shaping: Shaping,
}

fn namespace(node: u64) -> String {
    format!("node{node}")
}

/// The bridge's end of a node's link.
fn veth(node: u64) -> String {
    format!("veth{node}")
}

fn host(end: u64) -> String {
    format!("10.77.0.{}", if end == CLIENTS { 254 } else { end })
}

fn hardware(end: u64) -> String {
    format!("02:00:00:00:00:{end:02x}")
}

/// Where a node serves.
pub(crate) fn address(node: u64) -> String {
    format!("{}:{PORT}", host(node))
}

/// The arguments that have a program started in a node's namespace.
pub(crate) fn inside(node: u64) -> [String; 4] {
    let words = ["ip", "netns", "exec"].map(str::to_owned);
    let [ip, netns, exec] = words;
    [ip, netns, exec, namespace(node)]
}

/// Has `ip` do several things, in a node's namespace or in that of the clients.
async fn ip(end: u64, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if end != CLIENTS {
        command.args(["-n", &namespace(end)]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("ip has no input")?;
    input.write_all(lines.as_bytes()).await?;
    drop(input);
    said("ip", child.wait_with_output().await?)
}

fn said(program: &str, done: std::process::Output) -> Result<()> {
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{program}: {}", said.trim()).into())
}

/// Has `tc` do something to a node's link.
async fn tc(node: u64, arguments: &str) -> Result<()> {
    let mut command = Command::new("tc");
    command.args(["-n", &namespace(node), "qdisc"]);
    let done = command.args(arguments.split_whitespace()).output().await?;
    said("tc", done)
}

impl Network {
    /// Makes namespaces for so many nodes, in place of those that there were.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn make(nodes: u64) -> Result<Self> {
        for link in (1..=MOST_NODES).map(veth).chain([BRIDGE.to_owned()]) {
            // There is none to delete, mostly. One end gone, the other one goes.
            let _ = ip(CLIENTS, &format!("link del {link}\n")).await;
        }
        let mut lines = String::from("link set lo up\n");
        lines += &format!(
            "link add {BRIDGE} type bridge\nlink set {BRIDGE} address {} up\naddr add {}/24 dev {BRIDGE}\n",
            hardware(CLIENTS),
            host(CLIENTS),
        );
        ip(CLIENTS, &lines).await?;
        for node in 1..=nodes {
            let (namespace, veth) = (namespace(node), veth(node));
            if std::path::Path::new("/run/netns").join(&namespace).exists() {
                ip(CLIENTS, &format!("netns del {namespace}\n")).await?;
            }
            ip(
                CLIENTS,
                &format!(
                    "netns add {namespace}\n\
                     link add {veth} type veth peer name {LINK} netns {namespace}\n\
                     link set {veth} master {BRIDGE} up\n"
                ),
            )
            .await?;
            ip(
                node,
                &format!(
                    "link set lo up\nlink set {LINK} address {} up\naddr add {}/24 dev {LINK}\n",
                    hardware(node),
                    host(node),
                ),
            )
            .await?;
        }
        let mut network = Self {
            nodes,
            blocked: BTreeSet::new(),
            shaping: Shaping::None,
        };
        network.heal().await?;
        for (shaping, attempt) in [
            (Shaping::Bucket, "tbf rate 1mbit burst 8k limit 16k"),
            (Shaping::Netem, "netem delay 1ms loss 1%"),
        ] {
            let tried = tc(1, &format!("add dev {LINK} root {attempt}")).await;
            if tried.is_ok() {
                network.shaping = shaping;
                tc(1, &format!("del dev {LINK} root")).await?;
            }
        }
        Ok(network)
    }

    fn ends(&self) -> std::ops::RangeInclusive<u64> {
        CLIENTS..=self.nodes
    }

    /// Cuts links in these directions, and no others.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn block(&mut self, blocked: BTreeSet<Direction>) -> Result<()> {
        for from in self.ends() {
            self.set_neighbours(from, &blocked, false).await?;
        }
        self.blocked = blocked;
        Ok(())
    }

    async fn set_neighbours(
        &self,
        from: u64,
        blocked: &BTreeSet<Direction>,
        all: bool,
    ) -> Result<()> {
        let device = if from == CLIENTS { BRIDGE } else { LINK };
        let mut lines = String::new();
        for to in self.ends().filter(|to| *to != from) {
            let is = blocked.contains(&(from, to));
            if all || is != self.blocked.contains(&(from, to)) {
                let hardware = if is { NOBODY.to_owned() } else { hardware(to) };
                let host = host(to);
                lines +=
                    &format!("neigh replace {host} lladdr {hardware} dev {device} nud permanent\n");
            }
        }
        match lines.is_empty() {
            true => Ok(()),
            false => ip(from, &lines).await,
        }
    }

    /// Takes a node's link down: whatever it sends fails at once.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn link_down(&self, node: u64) -> Result<()> {
        ip(node, &format!("link set {LINK} down\n")).await
    }

    /// Takes it up again.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn link_up(&self, node: u64) -> Result<()> {
        ip(node, &format!("link set {LINK} up\n")).await?;
        // What was known of neighbours is gone.
        self.set_neighbours(node, &self.blocked, true).await
    }

    /// Makes what a node sends slow: `severity` is from 0 to 1.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn slow_down(&self, node: u64, severity: f64) -> Result<()> {
        let shape = match self.shaping {
            Shaping::Netem => format!(
                "netem delay {:.0}ms {:.0}ms loss {:.0}%",
                5.0 + 150.0 * severity,
                20.0 * severity,
                1.0 + 20.0 * severity
            ),
            Shaping::Bucket => format!(
                "tbf rate {:.0}kbit burst 4k limit 12k",
                4000.0 - 3800.0 * severity
            ),
            Shaping::None => return Ok(()),
        };
        tc(node, &format!("replace dev {LINK} root {shape}")).await
    }

    /// Ends that.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn speed_up(&self, node: u64) -> Result<()> {
        // It is an error if there is nothing to end.
        let _ = tc(node, &format!("del dev {LINK} root")).await;
        Ok(())
    }

    /// Ends everything that was done to links.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.blocked.clear();
        for node in 1..=self.nodes {
            self.speed_up(node).await?;
            ip(node, &format!("link set {LINK} up\n")).await?;
        }
        for end in self.ends() {
            self.set_neighbours(end, &self.blocked, true).await?;
        }
        Ok(())
    }
}
