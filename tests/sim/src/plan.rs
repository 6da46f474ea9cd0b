//! What is to happen in a simulation: all of it drawn from a seed.
//!
//! Every part of a simulation has random numbers of its own, drawn from the seed and the part's name. So a part that is left out,
//! when a failure is being [made smaller](crate::minimise), changes nothing of what the others draw.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use ferrolite_workloads::Name;

/// A kind of mishap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages between nodes are lost.
    Loss,
    /// Messages between nodes come twice.
    Duplication,
    /// Messages between nodes come late, and in another order.
    Delay,
    /// Some nodes do not hear others, in one direction or both.
    Partition,
    /// A machine loses its power between two operations of its disk.
    Crash,
    /// A machine loses its power in the middle of what it does with its disk.
    TornCrash,
    /// All machines lose their power.
    Blackout,
    /// A disk is slow for a while.
    SlowDisk,
    /// A disk is full for a while.
    FullDisk,
    /// Bits of a database file rot, on one machine.
    Rot,
    /// A page is written over another one, on one machine.
    Misdirected,
    /// Clocks run at different rates.
    Drift,
    /// Clocks jump.
    Jump,
    /// Leadership is handed over.
    Transfer,
    /// Nodes join and leave.
    Members,
    /// Programs are stopped and started again, one after the other.
    Restart,
    /// The connections of clients break.
    Clients,
    /// A process is suspended, and goes on later.
    Suspension,
    /// Bits of the log rot, on one machine.
    LogRot,
    /// A leader's checkpoint takes long, and the leader is alone meanwhile.
    Stall,
}

impl Fault {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::FIRST.iter().chain(Self::LATER).copied()
    }

    /// Those that came later. They are drawn after everything else, so that a seed still says what it said before them.
    const LATER: &[Self] = &[Self::Suspension, Self::LogRot, Self::Stall];

    const FIRST: &[Self] = &[
        Self::Loss,
        Self::Duplication,
        Self::Delay,
        Self::Partition,
        Self::Crash,
        Self::TornCrash,
        Self::Blackout,
        Self::SlowDisk,
        Self::FullDisk,
        Self::Rot,
        Self::Misdirected,
        Self::Drift,
        Self::Jump,
        Self::Transfer,
        Self::Members,
        Self::Restart,
        Self::Clients,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Delay => "delay",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::TornCrash => "torn crash",
            Self::Blackout => "blackout",
            Self::SlowDisk => "slow disk",
            Self::FullDisk => "full disk",
            Self::Rot => "rot",
            Self::Misdirected => "misdirected write",
            Self::Drift => "clock drift",
            Self::Jump => "clock jump",
            Self::Transfer => "transfer",
            Self::Members => "members",
            Self::Restart => "restart",
            Self::Clients => "clients",
            Self::Suspension => "suspension",
            Self::LogRot => "log rot",
            Self::Stall => "stall",
        })
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let written = |fault: &Self| fault.to_string().replace(' ', "-");
        Self::all()
            .find(|fault| written(fault) == name)
            .ok_or_else(|| {
                let all: Vec<_> = Self::all().map(|fault| written(&fault)).collect();
                format!("there are {}", all.join(", "))
            })
    }
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// A workload with a checker of its own.
    Workload(Name),
    /// SQL from a grammar, any number of clients; what it comes to has to be the same on all nodes.
    Grammar,
    /// SQL from a grammar in transactions whose order the database tells; one engine alone has to answer the same.
    Replay,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) => name.fmt(f),
            Self::Grammar => f.write_str("grammar"),
            Self::Replay => f.write_str("replay"),
        }
    }
}

impl std::str::FromStr for Load {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "grammar" => Ok(Self::Grammar),
            "replay" => Ok(Self::Replay),
            other => other
                .parse()
                .map(Self::Workload)
                .map_err(|why: String| format!("{why}, grammar, replay")),
        }
    }
}

/// A simulation, as it is to go.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// How many nodes the cluster has at first.
    pub nodes: u64,
    /// What clients do.
    pub loads: Vec<Load>,
    /// How many clients there are of each load.
    pub clients: u64,
    /// For how long clients and faults go on.
    pub time: Duration,
    /// What goes wrong.
    pub faults: BTreeSet<Fault>,
    /// How often it does, on average.
    pub pause: Duration,
    /// The least and the most milliseconds that a message takes.
    pub latency_ms: (u64, u64),
    /// The most milliseconds that the disk takes for what is to be durable.
    pub sync_ms: u64,
    /// One in so many unsynced parts is lost in a crash; 0 for none, 1 for all.
    pub lost_in: u64,
    /// Bytes of log that nodes keep.
    pub log_bytes: u64,
    /// Bytes of log that gather before a checkpoint.
    pub checkpoint_bytes: u64,
    /// Whether reads rest on leases.
    pub lease: bool,
    /// Statements that are not sent: the client, and the how manieth of its statements.
    pub left_out: BTreeSet<(u64, u64)>,
}

/// Random numbers for a part of the simulation with this seed.
#[must_use]
pub fn dice(seed: u64, part: &str, number: u64) -> Rng {
    let mut mixed = Rng::with_seed(seed ^ u64::from(crc32fast::hash(part.as_bytes())) << 20);
    let salt = mixed.u64(..);
    Rng::with_seed(salt ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Plan {
    /// The simulation of a seed, with all loads to choose from, or this one.
    #[must_use]
    pub fn draw(seed: u64, load: Option<Load>) -> Self {
        let mut rng = dice(seed, "plan", 0);
        let faults = Fault::FIRST
            .iter()
            .copied()
            .filter(|_| rng.u8(..100) < 35)
            .collect();
        let mut plan = Self {
            seed,
            nodes: *rng.choice(&[3, 3, 3, 3, 5, 1]).unwrap_or(&3),
            loads: Vec::new(),
            clients: rng.u64(2..=5),
            time: Duration::from_millis(rng.u64(4_000..16_000)),
            faults,
            pause: Duration::from_millis(rng.u64(300..3_000)),
            latency_ms: (1, *rng.choice(&[1, 2, 4, 20]).unwrap_or(&2)),
            sync_ms: *rng.choice(&[0, 1, 3, 10]).unwrap_or(&1),
            lost_in: *rng.choice(&[0, 1, 2, 2, 3, 10]).unwrap_or(&2),
            log_bytes: *rng
                .choice(&[64 << 10, 256 << 10, 1 << 20])
                .unwrap_or(&(1 << 20)),
            checkpoint_bytes: *rng
                .choice(&[16 << 10, 64 << 10, 512 << 10])
                .unwrap_or(&(64 << 10)),
            lease: rng.bool(),
            left_out: BTreeSet::new(),
        };
        let drawn = match rng.u8(..10) {
            0..=2 => Load::Grammar,
            3..=4 => Load::Replay,
            _ => Load::Workload(*rng.choice(Name::ALL).unwrap_or(&Name::Append)),
        };
        plan.loads.push(load.unwrap_or(drawn));
        if load.is_none() && rng.u8(..3) == 0 {
            let other = *rng.choice(Name::ALL).unwrap_or(&Name::Bank);
            if plan.loads.first() != Some(&Load::Workload(other)) {
                plan.loads.push(Load::Workload(other));
            }
        }
        let mut later = dice(seed, "plan", 1);
        let drawn = Fault::LATER.iter().filter(|_| later.u8(..100) < 35);
        plan.faults.extend(drawn);
        plan
    }

    /// Whether this goes wrong.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Random numbers for a part of it.
    #[must_use]
    pub fn dice(&self, part: &str, number: u64) -> Rng {
        dice(self.seed, part, number)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loads: Vec<_> = self.loads.iter().map(ToString::to_string).collect();
        let faults: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        write!(
            f,
            "seed {}: {} nodes, {} clients each of {}, {} ms, {}, faults every {} ms: {}{}",
            self.seed,
            self.nodes,
            self.clients,
            loads.join(" and "),
            self.time.as_millis(),
            if self.lease { "leases" } else { "no leases" },
            self.pause.as_millis(),
            if faults.is_empty() {
                "none".to_owned()
            } else {
                faults.join(", ")
            },
            match self.left_out.len() {
                0 => String::new(),
                statements => format!("; {statements} statements are not sent"),
            },
        )
    }
}
