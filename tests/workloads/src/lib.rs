//! What clients do to a cluster under test, what they saw of it, and whether that can be.
//!
//! A *workload* ([`work`]) is a kind of client: it creates tables, runs transactions of its kind on whatever
//! [`Connection`] it is given, and writes down in a [`History`] what it asked for and what it was told. A *checker*
//! ([`check`]) is given such a history, knows nothing of SQL, and says whether a database that keeps its promises
//! can have answered so: every transaction as if at one moment between its invocation and its completion (strict
//! serializability), nothing acknowledged ever lost, and nothing that failed for certain ever seen. The manner is that of
//! [Jepsen](https://jepsen.io).
//!
//! ```text
//!   World ──► Connection ◄── Workload ──► History ──► checker ──► Summary or Violation
//!   simulated or real            SQL        questions, answers, doubts
//! ```
//!
//! Two kinds of program use it: a simulator of whole clusters, in which time is virtual, and runs against real processes. So
//! nothing here knows a runtime, a clock, a thread or a random number but those that a [`World`] and a caller hand
//! over, and nothing depends on the order in which a hash table is iterated: the same seed in the same
//! world is the same history.
//!
//! A run is a setup, clients at once, and the last reads when all of them have ended:
//!
//! ```
//! # use ferrolite_workloads::*;
//! async fn run<W: World>(world: &W, name: Name, seed: u64) -> Result<Scenario, Failure> {
//!     let scenario = Scenario::new(name);
//!     // When it fails: again, on a new connection.
//!     scenario.setup(&mut world.connect(FINISH).await?).await?;
//!     // One after another here; elsewhere tasks of one thread.
//!     for number in 0..5 {
//!         let mut rng = fastrand::Rng::with_seed(seed ^ number);
//!         scenario.client(world, number, &mut rng, Length::Operations(100)).await;
//!     }
//!     // When it fails: again, on a new connection.
//!     scenario.finish(world, &mut world.connect(FINISH).await?).await?;
//!     Ok(scenario) // and then: `scenario.check()`, and `println!("{scenario}")` to see the history
//! }
//! ```
//!
//! What is between *done* and *not done* decides everything. A client whose connection breaks while its COMMIT is on its way
//! does not know what became of it, and a checker has to allow for both, for ever after. Whoever takes such a doubt for a
//! failure accuses a correct database; whoever takes a failure for a doubt lets faults pass. So each
//! [`Failure`] says which it is, and [`Transaction`](transaction::Transaction) draws the line where it belongs: what has not
//! sent its COMMIT has not committed.

pub mod check;
pub mod connection;
pub mod history;
#[cfg(test)]
mod model;
pub mod transaction;
pub mod value;
pub mod work;

pub use check::{Anomaly, Violation};
pub use connection::{Connection, Failure, FailureKind, World};
pub use history::{FINISH, History, Moment, Operation, Outcome};
pub use value::Value;
pub use work::{Length, Name, Scenario, Summary, Workload};
