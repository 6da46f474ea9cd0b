//! What kind of run it is: which faults it has and how often, and the nodes' settings.

use ferrolite_consensus::{Lease, Options};

use super::tape::Tape;

/// The most that the clock of a node drifts, either way, in parts per million.
pub const DRIFT_PPM: i64 = 20_000;
/// The most that a clock jumps within one election timeout, in milliseconds.
pub const JUMP_MS: u64 = 20;

/// How rough this run is; drawn once, so that runs differ in kind and not only in detail.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub drop: u8,
    pub duplicate: u8,
    pub slow_message: u8,
    pub slow_disk: u8,
    pub crash: u8,
    pub partition: u8,
    pub damage: u8,
    pub disk_failure: u8,
    pub wipe: u8,
    pub jump: u8,
    pub membership: u8,
    pub transfer: u8,
    pub propose: u8,
    pub read: u8,
    pub compact: u8,
    pub batch: u8,
    pub mishap: u8,
    /// Misfortunes that are timed; runs that have them are quick ones, with clocks at their limits.
    pub ambush: u8,
}

impl Profile {
    pub fn draw(tape: &mut Tape) -> Self {
        // Each fault is absent in a third of the runs, rare in a third, frequent in a third.
        let mut level = |rare: u8, frequent: u8| match tape.below(3) {
            0 => 0,
            1 => rare,
            _ => frequent,
        };
        let mut profile = Self {
            drop: level(8, 50),
            duplicate: level(8, 50),
            slow_message: level(8, 60),
            slow_disk: level(8, 80),
            crash: level(3, 14),
            partition: level(3, 14),
            damage: level(60, 160),
            disk_failure: level(10, 60),
            wipe: level(1, 4),
            jump: level(4, 20),
            membership: level(4, 24),
            transfer: level(3, 30),
            propose: 20 + level(20, 80),
            read: level(8, 40),
            compact: level(12, 60),
            batch: level(20, 120),
            mishap: level(4, 40),
            ambush: 0,
        };
        // A zero byte says no.
        profile.ambush = [0, 0, 0, 8][tape.below(4) as usize];
        profile
    }
}

/// The settings of all nodes of a run, small enough that every limit is met.
pub fn draw_options(tape: &mut Tape) -> Options {
    let mut options = Options::new(1, 1);
    options.election_timeout_min_ms = 200;
    options.election_timeout_max_ms = 400;
    options.heartbeat_ms = 50;
    options.transfer_timeout_ms = 500;
    options.max_message_bytes = [1, 90, 300, 1 << 20][tape.below(4) as usize];
    options.max_inflight_messages = [1, 2, 64][tape.below(3) as usize];
    options.max_inflight_bytes = [1, 400, 1 << 20][tape.below(3) as usize];
    options.tail_cache_bytes = [0, 200, 1 << 20][tape.below(3) as usize];
    options.max_uncommitted_bytes = [100, 1 << 20][tape.below(2) as usize];
    options.trailing_entries = [0, 3, 100][tape.below(3) as usize];
    options.promotion_lag_entries = [0, 2, 100][tape.below(3) as usize];
    let snapshots = tape.below(48) as usize;
    let chunk_bytes = [7, 16, 1 << 16][snapshots % 3];
    options.snapshot_chunk_bytes = chunk_bytes;
    options.snapshot_window_chunks = [1, 2, 3, 16][snapshots / 3 % 4];
    options.snapshot_window_bytes =
        [1 << 20, chunk_bytes, chunk_bytes * 2, 30.max(chunk_bytes)][snapshots / 12];
    options.eager_commit = tape.below(2) == 1;
    if tape.below(2) == 1 {
        // Two clocks differ by twice what one drifts, and a little for the quotient.
        options.lease = Some(Lease {
            drift_ppm: 2 * DRIFT_PPM as u64 + 2000,
            jump_ms: JUMP_MS,
        });
    }
    options
}
