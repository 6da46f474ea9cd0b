//! Clusters of real processes.
//!
//! Every test here starts the program `ferrolite` as people do, several times on loopback, and does to it what
//! happens to programs: it is killed, stopped, suspended, started again, given the wrong directory and talked to
//! by strangers. What is checked afterwards is what a user was promised, through the client or in the database
//! files, never what a node has in memory.
//!
//! - [`harness`] starts and kills nodes, writes a load, and reads database files without a node.
//! - The other modules are the tests, one module to a subject.
//!
//! The tests wait for states, never for time to pass: a wait looks again and again until what it waits for is
//! there, and fails after a bound that a slow machine does not reach. When a test fails, it prints what its nodes
//! logged. The ports are the system's choice, and nothing leaves the loopback interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

mod catching_up;
mod connections;
mod data_directory;
mod disaster;
mod embedding;
mod endurance;
mod failures;
mod program;
mod reads;
mod replication;
mod rot;
mod sharing;
mod stale;
mod statements;
