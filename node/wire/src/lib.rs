//! The client protocol of dqlite and Ferrolite, as a codec without I/O.
//!
//! # The protocol in one page
//! A connection opens with one word, the protocol [`Version`]. Then messages go back and forth, each a
//! [`Header`] word and a body of whole words: requests from the client, and for every request one response, in
//! order; only ROWS and EXPORT_PAGES may take several messages to say it all. Everything is little-endian and
//! laid out in words of eight bytes, so a reader never meets a number across a word's edge.
//!
//! # The crate
//! Both directions are here, since a server decodes what a client encodes. Bytes become messages in two steps:
//! [`take_message`] cuts a message off a buffer of received bytes, and [`decode_request`] or [`decode_response`]
//! reads its body. [`Request::encode`] and [`Response::encode`] append to a buffer. A long result is encoded while
//! it is stepped through, by [`RowsEncoder`].
//!
//! What it promises: no bytes make it panic; it reserves no memory for what a message merely claims to hold;
//! it keeps no state between messages; a blob in a received message is a slice of that message, not a copy. What
//! is absent on purpose: sockets, clocks, limits of its own (they are arguments), and the protocol's *behaviour*,
//! which `docs/client-protocol.md` describes and the server and the client live up to.
//!
//! # Example
//! ```
//! use bytes::BytesMut;
//! use ferrolite_wire::{DEFAULT_MAX_BODY_BYTES, Progress, Request, decode_request, take_message};
//!
//! let request = Request::ExecSql {
//!     db: 0,
//!     sql: "INSERT INTO t VALUES (?)".into(),
//!     params: vec![42.into()],
//! };
//! let mut wire = BytesMut::new();
//! request.encode(&mut wire)?;
//!
//! let Progress::Message(header, body) = take_message(&mut wire, DEFAULT_MAX_BODY_BYTES)? else {
//!     panic!("the message is complete");
//! };
//! assert_eq!(decode_request(header, body)?, request);
//! # Ok::<(), ferrolite_wire::WireError>(())
//! ```

mod code;
mod error;
mod field;
mod frame;
mod node;
mod request;
mod response;
mod rows;
mod tuple;
mod value;

pub use code::ErrorCode;
pub use error::WireError;
pub use frame::{DEFAULT_MAX_BODY_BYTES, Header, Progress, Version, WORD_BYTES, take_message};
pub use node::{NodeInfo, NodesFormat, Role};
pub use request::{Request, decode_request};
pub use response::{DatabaseFile, DatabaseInfo, Response, decode_nodes_v0, decode_response};
pub use rows::{BATCH_BYTES, RowsBatch, RowsEncoder, RowsPreamble};
pub use value::{Value, ValueRef};
