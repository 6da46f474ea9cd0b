//! Whole clusters in one thread, from one seed.
//!
//! A replica is a state machine: what it does follows from the events that it is given, the time, its random numbers and what
//! its disk says ([`ferrolite_node::simulation`]). So here a cluster of them runs on an executor whose time is virtual, on
//! simulated [machines](plan::Fault), with the real log, page store and SQL engine; and clients, faults and the network are drawn
//! from one number. The same seed is the same simulation, byte for byte, and hundreds of them run in a minute.
//!
//! ```text
//!  seed ─► Plan ─┬─► clients (workloads, grammar, replay) ─► sessions ─┐
//!                ├─► faults ─► machines: disk, clock, node ◄───────────┘
//!                └─► weather ─► postman ─► frames between nodes
//!                                  │
//!                     heal, wait for progress, judge ─► Report
//! ```
//!
//! What is judged at the end of each: the histories of the workloads by their checkers, replayed SQL against one engine alone,
//! the databases of all members against each other page by page, and each by the validator (and, if asked for, by stock
//! SQLite); that no node has given up or panicked; and that a healed cluster gets on within a bound.
//!
//! # Example
//!
//! ```
//! use ferrolite_sim::{Extent, Plan, run};
//!
//! let mut plan = Plan::draw(7, Some("register".parse()?));
//! plan.time = std::time::Duration::from_millis(500);
//! let report = run(&plan, Extent::default());
//! assert_eq!(report.failure, None);
//! assert_eq!(report.sum, run(&plan, Extent::default()).sum, "the same seed is the same simulation");
//! # Ok::<(), String>(())
//! ```

mod clients;
mod faults;
mod free;
mod machine;
mod minimise;
mod network;
pub mod plan;
mod reference;
mod replay;
mod run;
mod says;
pub mod trace;
mod verdict;
mod world;

pub use minimise::minimise;
pub use plan::{Load, Plan};
pub use run::{Extent, Report, note_panics, run};
pub use says::print_log;
pub use world::Counts;
