//! What a workload needs of the cluster and of the world around it.
//!
//! Futures need not be [`Send`]: whoever runs workloads does so on one thread, simulated or not.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::value::Value;

/// Somebody's connection to the database.
///
/// After a failure of any [kind](FailureKind) but [`Statement`](FailureKind::Statement) a workload drops the connection, and the
/// server has to undo the transaction that was open on it.
#[allow(async_fn_in_trait)] // the futures stay on their thread
pub trait Connection {
    /// Runs a statement that returns no rows, and says how many rows it changed.
    ///
    /// # Errors
    /// What went wrong, and what is known of the statement's effect.
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, Failure>;

    /// Runs a statement that returns rows.
    ///
    /// # Errors
    /// What went wrong, and what is known of the statement's effect.
    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, Failure>;
}

/// What is around a workload: time, and a cluster to connect to.
#[allow(async_fn_in_trait)] // the futures stay on their thread
pub trait World {
    /// What [`connect`](World::connect) makes.
    type Connection: Connection;

    /// The time since the world's beginning. It is written into histories for those who read them; no checker looks at it.
    fn now(&self) -> Duration;

    /// Lets so much time pass.
    async fn pause(&self, time: Duration);

    /// Makes a connection for a client, to whichever server leads.
    ///
    /// # Errors
    /// When there is none to be had. It is tried again later.
    async fn connect(&self, client: u64) -> Result<Self::Connection, Failure>;
}

/// A statement that was not answered with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is known of its effect.
    pub kind: FailureKind,
    /// What was said.
    pub message: String,
}

/// What is known of the effect of a statement that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It was answered with an error of SQL's, such as a constraint: it certainly had no effect, and the connection, with the
    /// transaction on it, goes on.
    Statement,
    /// It was refused before it was run, as busy or by a server that does not lead: it certainly had no effect.
    Refused,
    /// It may have been done or not, now or later: the connection broke, time ran out, or leadership was lost.
    Unknown,
}

impl Failure {
    /// A failure.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FailureKind::Statement => "error",
            FailureKind::Refused => "refused",
            FailureKind::Unknown => "outcome unknown",
        };
        write!(f, "{kind}: {}", self.message)
    }
}

impl Error for Failure {}
