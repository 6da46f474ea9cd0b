//! One simulated machine: a clock, a disk, an application, and the core while the process runs.

use std::collections::HashMap;

use ferrolite_consensus::{Configuration, Incarnation, NodeId, Options, Position, Raft};

use super::disk::{AppState, Disk};
use super::snapshots::{Receiver, Stream};

/// A machine's clock: it drifts, and it jumps forward now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Parts per million that it runs fast (or, negative, slow).
    pub drift_ppm: i64,
    /// What it is ahead, in microseconds.
    pub ahead_us: u64,
    /// When it jumped last, in real time.
    pub jumped_at_us: u64,
}

impl Clock {
    /// What the clock shows at a moment of real time, in milliseconds.
    pub fn read_ms(&self, real_us: u64) -> u64 {
        let scaled = i128::from(real_us) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        (scaled as u64 + self.ahead_us) / 1000
    }

    /// The earliest moment of real time at which it shows at least `ms`.
    pub fn real_us(&self, ms: u64) -> u64 {
        let target = i128::from(ms.saturating_mul(1000).saturating_sub(self.ahead_us));
        let scale = i128::from(1_000_000 + self.drift_ppm);
        ((target * 1_000_000 + scale - 1) / scale) as u64
    }
}

pub struct Node {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub options: Options,
    pub clock: Clock,
    pub disk: Disk,
    /// The core; `None` while the process is down.
    pub raft: Option<Raft>,
    /// Counts starts, so that what was meant for an earlier process is not given to a later one.
    pub boot: u64,
    /// The application's state in memory.
    pub app: AppState,
    /// Snapshot streams that were begun, by id.
    pub streams: HashMap<u64, Stream>,
    /// The snapshot that is being received.
    pub receiver: Receiver,
    /// Its driver hands in further events before it takes the actions.
    pub gathers: bool,
    /// What earlier incarnations held when they were lost. They count as dead, not as never having held it.
    pub lost: HashMap<Incarnation, Disk>,
}

impl Node {
    pub fn new(id: NodeId, incarnation: Incarnation, options: Options) -> Self {
        Self {
            id,
            incarnation,
            options,
            clock: Clock::default(),
            disk: Disk::default(),
            raft: None,
            boot: 0,
            app: AppState::default(),
            streams: HashMap::new(),
            receiver: Receiver::default(),
            gathers: false,
            lost: HashMap::new(),
        }
    }

    pub fn now_ms(&self, real_us: u64) -> u64 {
        self.clock.read_ms(real_us)
    }

    /// Whether a configuration that names this node means this data directory, and not one that was lost.
    pub fn is_meant_by(&self, configuration: &Configuration) -> bool {
        configuration
            .member(self.id)
            .is_none_or(|member| member.accepts(self.incarnation))
    }

    /// The end of the log that the node votes by.
    pub fn vote_position(&self) -> Position {
        let claim = self
            .raft
            .as_ref()
            .map_or(self.disk.hard, Raft::hard_state)
            .claim;
        let last = match &self.raft {
            Some(raft) => Position::new(
                raft.last_index(),
                raft.term_at(raft.last_index()).unwrap_or(0),
            ),
            None => self.disk.durable.last(),
        };
        last.max(claim.unwrap_or_default())
    }

    pub fn is_leader(&self) -> bool {
        self.raft.as_ref().is_some_and(Raft::is_leader)
    }

    /// Starts the process from what the disk holds.
    pub fn start(&mut self, real_us: u64, seed: u64) -> Result<(), ferrolite_consensus::Error> {
        self.boot += 1;
        self.app = self.disk.checkpoint;
        self.streams.clear();
        self.receiver = Receiver::default();
        self.gathers = false;
        let now = self.now_ms(real_us);
        self.raft = Some(Raft::new(
            now,
            self.options.clone(),
            self.disk.recovered(),
            seed,
        )?);
        Ok(())
    }
}
