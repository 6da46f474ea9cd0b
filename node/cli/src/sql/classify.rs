//! What a statement does, as far as its client has to know.
//!
//! The protocol has one request for statements that return rows and another for those that report how
//! many rows they changed, and the client chooses. The choice is made from keywords alone; a wrong
//! guess costs a count or a header line, never data.

use super::lexer::{Token, TokenKind, tokens};

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementKind {
    /// It answers with rows: `SELECT`, `VALUES`, `PRAGMA`, `EXPLAIN`, and writes with `RETURNING`.
    pub returns_rows: bool,
    /// It reports how many rows it changed: `INSERT`, `REPLACE`, `UPDATE`, `DELETE`. For other statements
    /// the server's count is left over from an earlier one.
    pub counts_changes: bool,
    /// It cannot change anything, so it may be sent again after a lost connection.
    pub is_read_only: bool,
    /// It may add, drop or rename tables, columns and other names.
    pub changes_schema: bool,
    /// Whether it opens or closes a transaction.
    pub transaction: TransactionEffect,
}

/// What a statement does to the transaction of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEffect {
    /// Nothing.
    None,
    /// `BEGIN`, or a `SAVEPOINT` outside of a transaction.
    Opens,
    /// `COMMIT`, `END`, or `ROLLBACK` of the whole transaction.
    Closes,
}

/// Looks at a statement's keywords. See [`StatementKind`].
pub fn classify(sql: &str) -> StatementKind {
    let mut words = OuterWords::new(sql);
    let first = words.next().unwrap_or_default();
    let mut kind = StatementKind {
        returns_rows: false,
        counts_changes: false,
        is_read_only: false,
        changes_schema: false,
        transaction: TransactionEffect::None,
    };
    match first.as_str() {
        "SELECT" | "VALUES" | "EXPLAIN" => {
            kind.returns_rows = true;
            kind.is_read_only = true;
        }
        "PRAGMA" => kind.returns_rows = true,
        "WITH" => {
            // The verb is the first one outside of the parentheses that hold the table expressions.
            let verb = words.by_ref().find(|word| {
                matches!(
                    word.as_str(),
                    "SELECT" | "VALUES" | "INSERT" | "REPLACE" | "UPDATE" | "DELETE"
                )
            });
            kind.is_read_only = matches!(verb.as_deref(), Some("SELECT" | "VALUES"));
            kind.counts_changes = verb.is_some() && !kind.is_read_only;
            kind.returns_rows = kind.is_read_only || words.any(|word| word == "RETURNING");
        }
        "INSERT" | "REPLACE" | "UPDATE" | "DELETE" => {
            kind.counts_changes = true;
            kind.returns_rows = words.any(|word| word == "RETURNING");
        }
        "CREATE" | "DROP" | "ALTER" => kind.changes_schema = true,
        "BEGIN" | "SAVEPOINT" => kind.transaction = TransactionEffect::Opens,
        "COMMIT" | "END" => kind.transaction = TransactionEffect::Closes,
        // `ROLLBACK TO name` undoes work and leaves the transaction open.
        "ROLLBACK" if !words.any(|word| word == "TO") => {
            kind.transaction = TransactionEffect::Closes;
        }
        _ => {}
    }
    kind
}

/// The words outside of all parentheses, in upper case.
struct OuterWords<'t, I> {
    text: &'t str,
    tokens: I,
    depth: u32,
}

impl<'t> OuterWords<'t, ()> {
    fn new(text: &'t str) -> OuterWords<'t, impl Iterator<Item = Token>> {
        OuterWords {
            text,
            tokens: tokens(text),
            depth: 0,
        }
    }
}

impl<I: Iterator<Item = Token>> Iterator for OuterWords<'_, I> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let token = self.tokens.next()?;
            match token.kind {
                TokenKind::Punctuation(b'(') => self.depth = self.depth.saturating_add(1),
                TokenKind::Punctuation(b')') => self.depth = self.depth.saturating_sub(1),
                TokenKind::Word if self.depth == 0 => {
                    return Some(token.text(self.text).to_ascii_uppercase());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: the choice between the protocol's two requests.
    #[test]
    fn rows_are_expected_where_there_are_some() {
        for (sql, rows) in [
            ("SELECT 1", true),
            ("-- c\n select 1", true),
            ("VALUES (1)", true),
            ("PRAGMA table_info(t)", true),
            ("EXPLAIN QUERY PLAN DELETE FROM t", true),
            ("INSERT INTO t VALUES ('RETURNING')", false),
            ("INSERT INTO t SELECT returning_x FROM u", false),
            ("INSERT INTO t VALUES (1) RETURNING a", true),
            ("WITH c AS (SELECT 1) SELECT * FROM c", true),
            ("WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c", false),
            ("WITH c(a) AS (SELECT 1) DELETE FROM t RETURNING *", true),
            ("CREATE TABLE t AS SELECT 1", false),
            ("BEGIN", false),
        ] {
            assert_eq!(classify(sql).returns_rows, rows, "{sql}");
        }
    }

    /// Protects: nothing that writes is ever taken for a read and sent twice.
    #[test]
    fn a_write_is_never_read_only() {
        for sql in [
            "WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c",
            "WITH c AS (SELECT 1) UPDATE t SET a = (SELECT 1) RETURNING a",
            "PRAGMA user_version = 3",
            "REPLACE INTO t SELECT 1",
        ] {
            assert!(!classify(sql).is_read_only, "{sql}");
        }
        assert!(classify("WITH c AS (SELECT 1) SELECT * FROM c").is_read_only);
    }

    /// Protects: the shell's picture of whether a transaction is open.
    #[test]
    fn transactions_open_and_close() {
        use TransactionEffect::{Closes, None, Opens};
        for (sql, effect) in [
            ("BEGIN IMMEDIATE;", Opens),
            ("COMMIT;", Closes),
            ("end transaction;", Closes),
            ("ROLLBACK;", Closes),
            ("ROLLBACK TO s;", None),
            ("ROLLBACK TRANSACTION TO SAVEPOINT s;", None),
            ("RELEASE s;", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(classify(sql).transaction, effect, "{sql}");
        }
    }
}
