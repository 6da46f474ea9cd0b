//! What a generator makes: steps of statements, with their parameters.

use crate::production::Production;

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// An integer.
    Integer(i64),
    /// A real; never NaN, which SQLite does not store.
    Real(f64),
    /// A text.
    Text(String),
    /// A blob.
    Blob(Vec<u8>),
}

/// What a statement is to whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// May change rows. With RETURNING it also has some.
    Write,
    /// Begins, ends or marks a transaction, or sets something for its session.
    Control,
    /// May change the schema, or the file as a whole.
    Schema,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its text, without a semicolon at its end.
    pub sql: String,
    /// The parameters, for its `?` in their order.
    pub params: Vec<Value>,
    /// What it is.
    pub kind: Kind,
    /// Whether its rows, if it has any, come in an order that the contents of the database determine.
    pub ordered: bool,
    /// What of the grammar is in it.
    pub productions: Vec<Production>,
}

/// What a client does without a pause.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// In this order.
    pub statements: Vec<Statement>,
    /// Whether they begin a transaction, and end it.
    pub transactional: bool,
}
