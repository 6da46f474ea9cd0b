//! The phases, and the operations they are made of.

use clap::ValueEnum;

/// How many rows a transaction of the phases `transaction` and `load` inserts.
pub const TRANSACTION_ROWS: u64 = 1000;
/// How many rows one INSERT of the phase `load` has. Two parameters each: a request of dqlite's has room for 255.
pub const STATEMENT_ROWS: u64 = 100;
/// How many rows a range scan reads.
pub const SCAN_ROWS: u64 = 100;
/// Of how many operations of the phase `mixed` one is an update.
pub const MIXED_PERIOD: u64 = 5;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Single-row inserts, each committed by itself
    Insert,
    /// Explicit transactions of 1,000 single-row inserts
    Transaction,
    /// Four reads by primary key to each update
    Mixed,
    /// Reads by primary key, by a statement that each connection has prepared
    Read,
    /// Reads by primary key, each sent as text, as drivers do for a query that nobody has prepared
    Query,
    /// Range scans of 100 rows
    Scan,
    /// Bulk load: transactions of 1,000 rows in INSERTs of 100
    Load,
}

/// What a client does over and over within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Inserts a row.
    Insert,
    /// Inserts [`TRANSACTION_ROWS`] rows one by one, in a transaction.
    Transaction,
    /// Changes a row.
    Update,
    /// Reads a row.
    Read,
    /// Reads a row, with a statement that is sent as text.
    Query,
    /// Reads up to [`SCAN_ROWS`] rows.
    Scan,
    /// Inserts up to [`TRANSACTION_ROWS`] rows, [`STATEMENT_ROWS`] a statement, in a transaction.
    Load,
}

impl Phase {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Transaction => "transaction",
            Self::Mixed => "mixed",
            Self::Read => "read",
            Self::Query => "query",
            Self::Scan => "scan",
            Self::Load => "load",
        }
    }

    /// What the phase is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Insert => "Single-row inserts",
            Self::Transaction => "Transactions of 1,000 inserts",
            Self::Mixed => "Reads and updates, four to one",
            Self::Read => "Reads by primary key, prepared",
            Self::Query => "Reads by primary key, as text",
            Self::Scan => "Range scans of 100 rows",
            Self::Load => "Bulk load, 1,000 rows a transaction",
        }
    }

    /// The operations that it is made of.
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::Insert => &[Operation::Insert],
            Self::Transaction => &[Operation::Transaction],
            Self::Mixed => &[Operation::Read, Operation::Update],
            Self::Read => &[Operation::Read],
            Self::Query => &[Operation::Query],
            Self::Scan => &[Operation::Scan],
            Self::Load => &[Operation::Load],
        }
    }

    /// Whether it needs a table full of rows.
    pub fn reads_rows(self) -> bool {
        matches!(self, Self::Mixed | Self::Read | Self::Query | Self::Scan)
    }

    /// The name of an operation in reports: the phase's own, unless it has several.
    pub fn label(self, operation: Operation) -> String {
        match self.operations() {
            [_] => self.name().to_owned(),
            _ => format!("{}: {}", self.name(), operation.name()),
        }
    }
}

impl Operation {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Transaction => "transaction",
            Self::Update => "update",
            Self::Read => "read",
            Self::Query => "query",
            Self::Scan => "scan",
            Self::Load => "load",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: the names that scripts read are those that are typed.
    #[test]
    fn names_are_those_of_the_command_line() {
        for phase in Phase::value_variants() {
            let typed = phase
                .to_possible_value()
                .map(|value| value.get_name().to_owned());
            assert_eq!(typed.as_deref(), Some(phase.name()));
        }
    }
}
