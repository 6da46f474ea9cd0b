//! What a generator makes: steps of statements, with their parameters.

use crate::production::Production;

/// A parameter of a statement. A real is never NaN, which SQLite does not store.
pub use ferrolite_workloads::Value;

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

impl Statement {
    /// Whether it is to be asked for its rows.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        self.kind == Kind::Read || self.sql.contains(" RETURNING ")
    }
}

/// What a client does without a pause.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// In this order.
    pub statements: Vec<Statement>,
    /// Whether they begin a transaction, and end it.
    pub transactional: bool,
}
