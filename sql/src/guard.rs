//! Which statements a replicated database refuses, and which need the writer's turn from the start.
//!
//! Some statements would step outside of what is replicated (another file), or would take the log or
//! the file out of the node's hands (journal mode, checkpoints, page size). They are refused by what
//! they begin with, before the engine sees them. The scan reads only as many tokens as it needs and
//! understands SQL's comments and quotes, so neither hides a statement.

use crate::error::Error;

/// What a statement's first words say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `BEGIN IMMEDIATE` or `BEGIN EXCLUSIVE`: takes the write lock without writing yet.
    BeginWrite,
    /// `VACUUM`.
    Vacuum,
    /// A query as far as its first word says: only a common table expression can still write.
    Query,
    /// Begins, ends or marks a transaction.
    Control,
    /// Anything else that is allowed.
    Other,
}

/// Settings that belong to the cluster, not to a client.
const FIXED_PRAGMAS: &[(&str, &str)] = &[
    (
        "journal_mode",
        "the databases of a cluster are always in WAL mode",
    ),
    ("page_size", "all databases of a cluster have one page size"),
    ("wal_autocheckpoint", "checkpoints are made by the node"),
    ("synchronous", "commits are always durable on a quorum"),
    ("locking_mode", "the node arbitrates between writers"),
    (
        "auto_vacuum",
        "the file layout of a replicated database is fixed",
    ),
    ("writable_schema", "writing to the schema table is unsafe"),
    (
        "temp_store_directory",
        "a client cannot choose files on a node",
    ),
    (
        "mvcc_checkpoint_threshold",
        "checkpoints are made by the node",
    ),
];

/// Looks at the first words of the statement that `sql` begins with.
pub(crate) fn inspect(sql: &str) -> Result<Kind, Error> {
    let mut words = Words { rest: sql };
    let mut first = words.next().unwrap_or_default();
    let explained = first.eq_ignore_ascii_case("explain");
    if explained {
        first = words.next().unwrap_or_default();
        if first.eq_ignore_ascii_case("query") {
            words.next();
            first = words.next().unwrap_or_default();
        }
    }
    let allow = |kind| Ok(if explained { Kind::Query } else { kind });
    let refuse =
        |what: &str, why: &str| Err(Error::Refused(format!("{what} is not allowed: {why}")));
    match first.to_ascii_lowercase().as_str() {
        "attach" | "detach" => refuse(
            "ATTACH",
            "another file would not be replicated; open the other database by its name instead",
        ),
        "vacuum" => {
            let into = words.any(|word| word.eq_ignore_ascii_case("into"));
            if into {
                refuse(
                    "VACUUM INTO",
                    "a client cannot write files on a node; use ferrolite export",
                )
            } else {
                allow(Kind::Vacuum)
            }
        }
        "select" | "values" | "with" => allow(Kind::Query),
        "begin" => match words.next() {
            Some(word)
                if ["immediate", "exclusive"]
                    .iter()
                    .any(|w| word.eq_ignore_ascii_case(w)) =>
            {
                allow(Kind::BeginWrite)
            }
            Some(word) if word.eq_ignore_ascii_case("concurrent") => refuse(
                "BEGIN CONCURRENT",
                "writers of a replicated database take turns",
            ),
            _ => allow(Kind::Control),
        },
        "commit" | "end" | "rollback" | "savepoint" | "release" => allow(Kind::Control),
        "pragma" => {
            let mut name = words.next().unwrap_or_default();
            let mut then = words.next();
            if then == Some(".") {
                name = words.next().unwrap_or_default();
                then = words.next();
            }
            let sets = matches!(then, Some("=" | "("));
            if name.eq_ignore_ascii_case("wal_checkpoint") {
                return refuse("PRAGMA wal_checkpoint", "checkpoints are made by the node");
            }
            for (fixed, why) in FIXED_PRAGMAS {
                if sets && name.eq_ignore_ascii_case(fixed) {
                    return refuse(&format!("setting PRAGMA {fixed}"), why);
                }
            }
            Ok(Kind::Other)
        }
        _ => allow(Kind::Other),
    }
}

/// Words and punctuation of a SQL text, without quotes, spaces and comments, to the first `;`.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn skip_blank(&mut self) {
        loop {
            let before = self.rest.len();
            self.rest = self
                .rest
                .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
            if let Some(comment) = self.rest.strip_prefix("--") {
                self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
            }
            if self.rest.len() == before {
                return;
            }
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.skip_blank();
        let first = self.rest.chars().next().filter(|first| *first != ';')?;
        let (word, rest) = match first {
            '"' | '\'' | '`' | '[' => {
                let close = if first == '[' { ']' } else { first };
                let inner = self.rest.get(1..)?;
                inner.split_once(close).unwrap_or((inner, ""))
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = self
                    .rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                    .unwrap_or(self.rest.len());
                self.rest.split_at_checked(end)?
            }
            c => self.rest.split_at_checked(c.len_utf8())?,
        };
        self.rest = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What must never reach the engine, in the disguises that SQL allows.
    #[test]
    fn refuses_what_leaves_the_replicated_world() {
        for sql in [
            "ATTACH 'x.db' AS x",
            "  -- hi\n /* there */ attach database ':memory:' as y",
            "explain attach 'x' as y",
            "EXPLAIN QUERY PLAN ATTACH 'x' AS y",
            "PRAGMA journal_mode=delete",
            "pragma main.journal_mode = mvcc",
            "PRAGMA \"journal_mode\"('delete')",
            "PRAGMA [page_size] /* c */ = 512",
            "PRAGMA wal_checkpoint",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "VACUUM main INTO 'x'",
            "BEGIN CONCURRENT",
            "detach x",
        ] {
            assert!(matches!(inspect(sql), Err(Error::Refused(_))), "{sql}");
        }
    }

    /// Reading a fixed setting, and everything ordinary, is allowed.
    #[test]
    fn allows_the_rest() {
        for sql in [
            "PRAGMA journal_mode",
            "pragma page_size;",
            "PRAGMA foreign_keys=off",
            "",
            "-- nothing",
            "/* unterminated",
            "'",
            ";ATTACH",
            "INSERT INTO attach VALUES (1)",
        ] {
            assert_eq!(inspect(sql).unwrap(), Kind::Other, "{sql}");
        }
        assert_eq!(inspect("begin immediate").unwrap(), Kind::BeginWrite);
        assert_eq!(
            inspect("BEGIN  EXCLUSIVE TRANSACTION;").unwrap(),
            Kind::BeginWrite
        );
        assert_eq!(inspect("begin").unwrap(), Kind::Control);
        assert_eq!(inspect("ROLLBACK TO x").unwrap(), Kind::Control);
        assert_eq!(inspect("SELECT 'attach'").unwrap(), Kind::Query);
        assert_eq!(inspect("/* all */ VACUUM").unwrap(), Kind::Vacuum);
        assert_eq!(inspect("EXPLAIN VACUUM").unwrap(), Kind::Query);
    }
}
