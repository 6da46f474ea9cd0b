//! The log: transactions in entries, the files on disk, the small values beside them, and the engine's view.

mod files;
mod frames;
mod log;
mod slot;
mod view;

pub use frames::wal_frames;
pub use log::wal_log;
pub use slot::wal_slot;
pub use view::wal_view;

use crate::Target;

/// The targets of this layer.
pub const TARGETS: &[(&str, Target)] = &[
    ("wal_frames", wal_frames),
    ("wal_log", wal_log),
    ("wal_slot", wal_slot),
    ("wal_view", wal_view),
];
