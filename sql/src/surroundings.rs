//! What the engine asks of the world beside its files: the time, and random numbers.
//!
//! They come from the system, unless a simulation opens a database with its own: then `random()`, `CURRENT_TIMESTAMP` and all
//! that the engine decides by chance are the same each time that the simulation runs from the same seed.

use std::time::Duration;

/// Where an engine's time and random numbers come from.
pub trait Surroundings: Send + Sync {
    /// Time since some moment before the first call; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Time since 1970-01-01 00:00 UTC, as the wall clock has it.
    fn wall_clock(&self) -> Duration;

    /// The next random number.
    fn random(&self) -> u64;
}
