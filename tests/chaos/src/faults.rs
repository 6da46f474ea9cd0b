//! Faults: what is done to nodes, links and disks while there is load, as a seed decides.
//!
//! They are of three classes, which take their turns independently of each other: of each class there is at most one fault at
//! a time, with a pause behind it, so a partition may hit a cluster of which a node was just killed and another one's disk
//! is full. Nothing keeps a quorum alive: what must hold must hold without one, too, and in the end everything is healed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ferrolite_processes::Result;
use tokio::time::sleep_until;

use crate::cluster::Cluster;
use crate::network::{CLIENTS, Direction, Shaping};

/// How often a flapping link changes, in milliseconds.
const FLAPPING_MS: Range<u64> = 20..300;
/// The pause behind a fault of a class, and before the first, in milliseconds.
const PAUSE_MS: Range<u64> = 500..4_000;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A node is killed, and started again.
    Kill,
    /// All nodes are killed at once, and started again.
    KillAll,
    /// A node is asked to end, and started again.
    Stop,
    /// A node is suspended, and goes on.
    Suspend,
    /// Two groups of nodes do not reach each other.
    Partition,
    /// Some nodes do not reach the others, which reach them.
    OneWay,
    /// Some pairs of nodes do not reach each other; others reach both.
    Partial,
    /// Clients and a node do not reach each other, in one direction or both.
    ClientsCut,
    /// A link is down, and a node knows it.
    LinkDown,
    /// A node is cut off and joined again, several times a second.
    Flapping,
    /// A node's link is slow and loses packets.
    Slow,
    /// A node's disk is full.
    FullDisk,
    /// All nodes' disks are full.
    FullDisks,
}

impl Kind {
    /// The classes, and how often each kind is drawn.
    const CLASSES: [&'static [(Self, u32)]; 3] = [
        &[
            (Self::Kill, 10),
            (Self::Suspend, 8),
            (Self::Stop, 3),
            (Self::KillAll, 1),
        ],
        &[
            (Self::Partition, 6),
            (Self::OneWay, 6),
            (Self::Partial, 6),
            (Self::ClientsCut, 3),
            (Self::LinkDown, 3),
            (Self::Flapping, 3),
            (Self::Slow, 5),
        ],
        &[(Self::FullDisk, 5), (Self::FullDisks, 1)],
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill all",
            Self::Stop => "stop",
            Self::Suspend => "suspend",
            Self::Partition => "partition",
            Self::OneWay => "one-way partition",
            Self::Partial => "partial partition",
            Self::ClientsCut => "clients cut off",
            Self::LinkDown => "link down",
            Self::Flapping => "flapping link",
            Self::Slow => "slow link",
            Self::FullDisk => "full disk",
            Self::FullDisks => "all disks full",
        }
    }

    /// How long it lasts, in milliseconds.
    fn lasts_ms(self) -> Range<u64> {
        match self {
            Self::Kill | Self::KillAll | Self::Stop => 0..3_000,
            Self::Suspend => 200..6_000,
            Self::FullDisk | Self::FullDisks => 1_000..5_000,
            _ => 500..8_000,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What was done, and is being done: for those who show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: BTreeMap<Kind, u64>,
    active: BTreeMap<Kind, Vec<u64>>,
    log: Vec<String>,
    ended: Vec<String>,
}

impl Record {
    /// How often what was done.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, u64> {
        self.shared.borrow().counts.clone()
    }

    /// What is being done, in words.
    pub(crate) fn active(&self) -> String {
        let shared = self.shared.borrow();
        let words: Vec<String> = shared.active.iter().map(words).collect();
        words.join(", ")
    }

    /// All that was done, a line each.
    pub(crate) fn log(&self) -> String {
        self.shared.borrow().log.join("\n") + "\n"
    }

    /// Nodes that have ended though nobody asked them to.
    pub(crate) fn ended_by_themselves(&self) -> Vec<String> {
        self.shared.borrow().ended.clone()
    }

    /// Notes nodes that have ended though nobody asked them to, and starts them again as whoever runs nodes would.
    ///
    /// # Errors
    /// When the system does not allow something.
    pub(crate) fn restart_ended(&self, at: Duration, cluster: &mut Cluster) -> Result<()> {
        let mut shared = self.shared.borrow_mut();
        let stopped = shared.active.get(&Kind::Stop).cloned().unwrap_or_default();
        let nodes = cluster.nodes.iter_mut();
        for node in nodes.filter(|node| !stopped.contains(&node.id)) {
            if let Some(status) = node.exited()? {
                let (at, id) = (at.as_secs_f64(), node.id);
                let last = node.last_line();
                let line = format!("{at:8.3} s  node {id} ended by itself with {status}: {last}");
                shared.log.push(line.clone());
                shared.ended.push(line.trim_start().to_owned());
                node.spawn(&[])?;
            }
        }
        Ok(())
    }

    fn begin(&self, at: Duration, kind: Kind, targets: Vec<u64>) {
        let mut shared = self.shared.borrow_mut();
        *shared.counts.entry(kind).or_default() += 1;
        let line = format!("{:8.3} s  {}", at.as_secs_f64(), words((&kind, &targets)));
        shared.log.push(line);
        shared.active.insert(kind, targets);
    }

    fn end(&self, at: Duration, kind: Kind) {
        let mut shared = self.shared.borrow_mut();
        shared.active.remove(&kind);
        let line = format!("{:8.3} s  end of {kind}", at.as_secs_f64());
        shared.log.push(line);
    }
}

fn words((kind, targets): (&Kind, &Vec<u64>)) -> String {
    let targets: Vec<String> = targets.iter().map(u64::to_string).collect();
    format!("{kind} {}", targets.join(" "))
}

/// What a class of faults does next.
#[derive(Debug, Clone)]
enum Next {
    /// It begins a fault.
    Begin,
    /// It changes a link that flaps until then. Whether it is cut now.
    Flap(Vec<u64>, Instant, bool),
    /// It ends a fault.
    End(Kind, Vec<u64>),
}

/// Makes faults.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) rng: Rng,
    pub(crate) record: Record,
    pub(crate) begun: Instant,
}

impl Faults<'_> {
    /// Makes one after the other, without an end.
    ///
    /// # Errors
    /// When the system does not allow something, or a node does not start.
    pub(crate) async fn run(&mut self) -> Result<()> {
        let now = Instant::now();
        let mut plan = Vec::new();
        for class in Kind::CLASSES {
            let pause = Duration::from_millis(self.rng.u64(PAUSE_MS));
            plan.push((now + pause, class, Next::Begin));
        }
        loop {
            let Some((due, class, next)) = plan.iter_mut().min_by_key(|(due, ..)| *due) else {
                return Ok(());
            };
            sleep_until((*due).into()).await;
            self.record
                .restart_ended(self.begun.elapsed(), self.cluster)?;
            let (after, then) = match next.clone() {
                Next::Begin => self.begin(class).await?,
                Next::Flap(nodes, until, cut) => self.flap(nodes, until, cut).await?,
                Next::End(kind, targets) => self.end(kind, &targets).await?,
            };
            (*due, *next) = (Instant::now() + after, then);
        }
    }

    fn draw(&mut self, class: &[(Kind, u32)]) -> Kind {
        let mut at = self
            .rng
            .u32(0..class.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in class {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Kind::Kill
    }

    fn all(&self) -> Vec<u64> {
        self.cluster.nodes.iter().map(|node| node.id).collect()
    }

    /// A node: every second time the one that leads.
    async fn victim(&mut self) -> u64 {
        let any = self.rng.choice(self.all()).unwrap_or(1);
        match self.rng.bool() {
            true => self.cluster.leader().await.unwrap_or(any),
            false => any,
        }
    }

    /// Some nodes, but not all.
    fn some(&mut self) -> Vec<u64> {
        let mut nodes = self.all();
        self.rng.shuffle(&mut nodes);
        nodes.truncate(self.rng.usize(1..nodes.len().max(2)));
        nodes
    }

    async fn begin(&mut self, class: &[(Kind, u32)]) -> Result<(Duration, Next)> {
        let mut kind = self.draw(class);
        if kind == Kind::Slow && self.cluster.network.shaping == Shaping::None {
            kind = Kind::Flapping;
        }
        let lasts = Duration::from_millis(self.rng.u64(kind.lasts_ms()));
        let targets = match kind {
            Kind::KillAll | Kind::FullDisks => self.all(),
            Kind::Partition | Kind::OneWay => self.some(),
            Kind::Partial => Vec::new(),
            _ => vec![self.victim().await],
        };
        self.record
            .begin(self.begun.elapsed(), kind, targets.clone());
        match kind {
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::ClientsCut => {
                let blocked = self.directions(kind, &targets);
                self.cluster.network.block(blocked).await?;
            }
            Kind::Flapping => {
                let until = Instant::now() + lasts;
                return Ok((Duration::ZERO, Next::Flap(targets, until, false)));
            }
            _ => {}
        }
        for target in &targets {
            match kind {
                Kind::Kill | Kind::KillAll => self.cluster.node(*target)?.kill()?,
                Kind::Stop => self.cluster.node(*target)?.terminate()?,
                Kind::Suspend => self.cluster.node(*target)?.suspend()?,
                Kind::LinkDown => self.cluster.network.link_down(*target).await?,
                Kind::Slow => {
                    let severity = self.rng.f64();
                    self.cluster.network.slow_down(*target, severity).await?;
                }
                Kind::FullDisk | Kind::FullDisks => self.cluster.disk(*target)?.fill().await?,
                _ => {}
            }
        }
        Ok((lasts, Next::End(kind, targets)))
    }

    /// Who does not reach whom.
    fn directions(&mut self, kind: Kind, some: &[u64]) -> BTreeSet<Direction> {
        let mut blocked = BTreeSet::new();
        let others = self.all().into_iter().filter(|node| !some.contains(node));
        let others: Vec<u64> = others.collect();
        match kind {
            Kind::ClientsCut => {
                let (there, back) = self
                    .rng
                    .choice([(true, true), (true, false), (false, true)])
                    .unwrap_or((true, true));
                for node in some {
                    blocked.extend(there.then_some((CLIENTS, *node)));
                    blocked.extend(back.then_some((*node, CLIENTS)));
                }
            }
            Kind::Partial => {
                let all = self.all();
                for (place, one) in all.iter().enumerate() {
                    for other in all.iter().skip(place + 1) {
                        if self.rng.u8(0..5) < 2 {
                            blocked.extend([(*one, *other), (*other, *one)]);
                        }
                    }
                }
            }
            _ => {
                // Clients stay with one side, or reach both.
                let clients_cut = self.rng.u8(0..3) == 0;
                for node in some {
                    for other in others.iter().copied().chain(clients_cut.then_some(CLIENTS)) {
                        blocked.insert((*node, other));
                        if kind == Kind::Partition {
                            blocked.insert((other, *node));
                        }
                    }
                }
            }
        }
        blocked
    }

    async fn flap(
        &mut self,
        nodes: Vec<u64>,
        until: Instant,
        cut: bool,
    ) -> Result<(Duration, Next)> {
        let now = Instant::now();
        if now >= until {
            return Ok((Duration::ZERO, Next::End(Kind::Flapping, nodes)));
        }
        let mut blocked = BTreeSet::new();
        if !cut {
            for node in &nodes {
                let others = self.all().into_iter().chain([CLIENTS]);
                for other in others.filter(|other| other != node) {
                    blocked.extend([(*node, other), (other, *node)]);
                }
            }
        }
        self.cluster.network.block(blocked).await?;
        let after = Duration::from_millis(self.rng.u64(FLAPPING_MS));
        Ok((after.min(until - now), Next::Flap(nodes, until, !cut)))
    }

    async fn end(&mut self, kind: Kind, targets: &[u64]) -> Result<(Duration, Next)> {
        match kind {
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::ClientsCut | Kind::Flapping => {
                self.cluster.network.block(BTreeSet::new()).await?;
            }
            _ => {}
        }
        for target in targets {
            match kind {
                Kind::Kill | Kind::KillAll | Kind::Stop => {
                    let node = self.cluster.node(*target)?;
                    if node.exited()?.is_none() {
                        // It was asked to end and has not yet: then it is not waited for.
                        node.kill()?;
                    }
                    node.spawn(&[])?;
                }
                Kind::Suspend => self.cluster.node(*target)?.resume()?,
                Kind::LinkDown => self.cluster.network.link_up(*target).await?,
                Kind::Slow => self.cluster.network.speed_up(*target).await?,
                Kind::FullDisk | Kind::FullDisks => self.cluster.disk(*target)?.free(),
                _ => {}
            }
        }
        self.record.end(self.begun.elapsed(), kind);
        let pause = Duration::from_millis(self.rng.u64(PAUSE_MS));
        Ok((pause, Next::Begin))
    }
}
