//! What a client has to know of SQL's grammar.
//!
//! The server parses SQL; a shell only has to answer four smaller questions. Where does a statement
//! end, so that it can be sent? ([`Splitter`]) Does it return rows, so that it is sent as a query?
//! Does it open or close a transaction, so that a failover in the middle can be reported? Does it
//! change the schema, so that completion learns the new names? ([`classify()`]) And, in the other
//! direction: how is a value written so that reading it gives the same value? ([`literal`])
//!
//! All of them stand on one small [`lexer`], which knows quotes, comments and words and nothing more.

pub mod classify;
pub mod lexer;
pub mod literal;
pub mod splitter;

pub use classify::{StatementKind, TransactionEffect, classify};
pub use splitter::{Splitter, Statement};
