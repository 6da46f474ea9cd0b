//! A Ferrolite node: a member of a cluster that holds the same SQLite databases on every node.
//!
//! Most users embed one: the application links this crate, starts a [`Node`] in its own process, and talks
//! to the cluster with `ferrolite-client` or any dqlite client. The program `ferrolite` is the same node
//! with a command line.
//!
//! # The path of a write
//!
//! ```text
//! client ─► gateway ─► engine (sql) ─► pages ─► replica ─► log (wal) on this disk ─┐
//!                                                  └─────► peers, their disks ─────┤ a quorum
//! client ◄─ gateway ◄──────────────────────────────────────────────────────────────┘
//! ```
//!
//! - [`Node`] puts the parts together and runs them; its module draws the threads.
//! - The *replica* owns the consensus core, and decides when databases may be open.
//! - The *gateway* speaks the client protocol and holds back every answer until a quorum has what it says.
//! - The *store* is the data directory; the *log writer* and the *checkpointer* are the two threads that
//!   write to it.
//!
//! # Example
//!
//! A cluster of one node, in this process. A second and a third node would
//! [join](NodeBuilder::join) it.
//!
//! ```
//! use ferrolite_client::{Client, params};
//! use ferrolite_node::Node;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let node = Node::builder(1, "127.0.0.1:0", directory.path()).bootstrap().start().await?;
//! let client = Client::connect([node.address()]).await?.with_database("app");
//! client.execute("CREATE TABLE sensor(name TEXT, value REAL)", params![]).await?;
//! client.execute("INSERT INTO sensor VALUES (?, ?)", params!["boiler", 71.5]).await?;
//! let (name, value): (String, f64) =
//!     client.query_one("SELECT name, value FROM sensor", params![]).await?;
//! assert_eq!((name.as_str(), value), ("boiler", 71.5));
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a node logs
//!
//! goes through the crate [`log`], with keys and values, under targets that begin with `ferrolite_`. The application
//! decides where that ends up; nothing here installs a logger. The SQL engine has much of its own to say, as
//! traces of the crate `tracing`. Nobody needs it to look after a node, and `ferrolite` itself is compiled without it.

mod anchors;
mod assembly;
mod buffers;
mod checkpoint;
mod environment;
mod errands;
mod error;
mod following;
mod framing;
mod freshness;
mod gateway;
mod handle;
mod images;
pub mod inspection;
mod leading;
mod lease;
mod listener;
mod log_writer;
mod membership;
mod node;
mod options;
mod outgoing;
mod pages;
mod peers;
pub mod recovery;
mod redo;
mod replica;
mod room;
mod scrub;
#[cfg(feature = "simulation")]
pub mod simulation;
mod snapshot;
mod store;

pub use error::Error;
pub use node::{Node, NodeBuilder};
pub use options::Options;
