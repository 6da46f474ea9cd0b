//! What the client must know about a statement's text before it may send it a second time.
//!
//! It is no parser: where it cannot tell, it takes a statement for a write, and a text for several statements,
//! which costs a retry and never correctness.

/// What a text is, as far as sending it again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// One statement that changes nothing, for certain.
    Read,
    /// One statement that may change something.
    Write,
    /// One statement that begins or ends a transaction or a savepoint.
    Transaction,
    /// Maybe several statements, of which the first ones may take effect before a later one fails.
    Script,
}

/// Classifies a text.
pub(crate) fn effect(sql: &str) -> Effect {
    if !is_single(sql) {
        return Effect::Script;
    }
    let keyword = first_keyword(sql).to_ascii_uppercase();
    match keyword.as_str() {
        "SELECT" | "VALUES" | "EXPLAIN" => Effect::Read,
        "WITH" if !may_write(sql) => Effect::Read,
        "BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" => Effect::Transaction,
        _ => Effect::Write,
    }
}

/// Whether nothing but space follows the first semicolon. A semicolon inside a string counts too.
fn is_single(sql: &str) -> bool {
    sql.split_once(';')
        .is_none_or(|(_, rest)| rest.trim_matches([' ', '\t', '\r', '\n', ';']).is_empty())
}

/// Whether any of the words that a writing WITH statement needs stands anywhere in the text.
fn may_write(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    ["insert", "update", "delete", "replace"]
        .iter()
        .any(|word| lower.contains(word))
}

/// The first word of a text, past spaces and comments.
fn first_keyword(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start();
        let comment = |open: &str, close: &str| {
            rest.strip_prefix(open)
                .map(|r| r.split_once(close).map_or("", |(_, r)| r))
        };
        match comment("--", "\n").or_else(|| comment("/*", "*/")) {
            Some(after) => rest = after,
            None => break,
        }
    }
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is called a read must be one: a wrong answer here would let a write be sent twice.
    #[test]
    fn only_certain_reads_are_reads() {
        for (sql, expected) in [
            ("SELECT 1", Effect::Read),
            ("  -- x; y\n select 1 ;; \n", Effect::Script),
            ("  -- x\n /* y */ select 1 ;; \n", Effect::Read),
            ("VALUES (1)", Effect::Read),
            ("EXPLAIN QUERY PLAN DELETE FROM t", Effect::Read),
            ("WITH a AS (SELECT 1) SELECT * FROM a", Effect::Read),
            (
                "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
                Effect::Write,
            ),
            ("INSERT INTO t VALUES (1) RETURNING a", Effect::Write),
            ("PRAGMA user_version = 3", Effect::Write),
            ("SELECT 1; DELETE FROM t", Effect::Script),
            ("INSERT INTO t VALUES (';x')", Effect::Script),
            ("begin immediate", Effect::Transaction),
            ("END", Effect::Transaction),
            ("BEGIN; INSERT INTO t VALUES (1); COMMIT", Effect::Script),
            ("", Effect::Write),
            ("/* never closed", Effect::Write),
            ("SELECTED", Effect::Write),
        ] {
            assert_eq!(effect(sql), expected, "{sql}");
        }
    }
}
