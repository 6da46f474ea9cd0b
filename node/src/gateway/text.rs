//! Where a statement of a text ends, and whether anything follows.

use std::sync::Arc;

/// Which statement to run.
#[derive(Debug, Clone)]
pub(super) enum Text {
    /// One that was prepared, by its number.
    Prepared(u32),
    /// The first of a text, from this offset.
    Sql { sql: Arc<str>, at: usize },
}

/// Whether a text holds anything but blanks, comments and semicolons.
pub(super) fn has_statement(mut sql: &str) -> bool {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = sql.strip_prefix("--") {
            sql = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = sql.strip_prefix("/*") {
            sql = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            return !sql.is_empty();
        }
    }
}

/// Whether anything follows the first statement of a text.
pub(super) fn has_tail(sql: &str, tail: usize) -> bool {
    has_statement(sql.get(tail..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts as "nothing more" after a statement, as for SQLite's own tail.
    #[test]
    fn statements_in_a_text() {
        for sql in ["", "  ;\n; ", "-- x", "/* x */ ; -- y\n", "/* open"] {
            assert!(!has_statement(sql), "{sql}");
        }
        for sql in ["SELECT 1", " ; /* x */ -- y\n x"] {
            assert!(has_statement(sql), "{sql}");
        }
    }
}
