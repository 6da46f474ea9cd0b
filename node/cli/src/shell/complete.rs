//! What the Tab key offers: keywords, names of tables and columns, dot commands, their arguments.
//!
//! Completion must never wait for the network, so it works from a copy of the names that the shell
//! fetches when it connects and again after a change of the schema.

use std::collections::BTreeMap;

use super::dot;

/// Tables and views, each with its columns.
pub type TableNames = BTreeMap<String, Vec<String>>;

/// The names that can be completed besides SQL's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables and views, each with its columns.
    pub tables: TableNames,
    /// Databases of the cluster.
    pub databases: Vec<String>,
}

/// What may stand in place of the word at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// These words, for the text from byte `start` up to the cursor.
    Words {
        /// Where the word begins.
        start: usize,
        /// What may stand there instead.
        words: Vec<String>,
    },
    /// The name of a file.
    FileName,
}

/// More than anybody reads.
const MOST_WORDS: usize = 200;

/// Keywords that begin or join the parts of statements. The rarer half of SQLite's list is left out: it
/// would bury the names one is looking for.
const KEYWORDS: &[&str] = &[
    "ABORT",
    "ADD",
    "AFTER",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "AUTOINCREMENT",
    "BEFORE",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "CONFLICT",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "DEFAULT",
    "DEFERRED",
    "DELETE",
    "DESC",
    "DISTINCT",
    "DO",
    "DROP",
    "EACH",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXCLUSIVE",
    "EXISTS",
    "EXPLAIN",
    "FILTER",
    "FOR",
    "FOREIGN",
    "FROM",
    "FULL",
    "GENERATED",
    "GLOB",
    "GROUP",
    "HAVING",
    "IF",
    "IGNORE",
    "IMMEDIATE",
    "IN",
    "INDEX",
    "INNER",
    "INSERT",
    "INSTEAD",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "KEY",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "NATURAL",
    "NOT",
    "NOTHING",
    "NOTNULL",
    "NULL",
    "NULLS",
    "OF",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PLAN",
    "PRAGMA",
    "PRECEDING",
    "PRIMARY",
    "QUERY",
    "RAISE",
    "RANGE",
    "RECURSIVE",
    "REFERENCES",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "RESTRICT",
    "RETURNING",
    "RIGHT",
    "ROLLBACK",
    "ROW",
    "ROWS",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "STRICT",
    "TABLE",
    "TEMP",
    "THEN",
    "TO",
    "TRANSACTION",
    "TRIGGER",
    "UNBOUNDED",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VACUUM",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHOUT",
];

impl Names {
    /// What the text `line` with the cursor at byte `cursor` may be completed to.
    pub fn complete(&self, line: &str, cursor: usize) -> Completion {
        let before = line.get(..cursor).unwrap_or(line);
        if before.trim_start().starts_with('.') {
            return self.complete_command(before);
        }
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || *c == '_' || *c == '$')
            .last()
            .map_or(before.len(), |(index, _)| index);
        let prefix = before.get(start..).unwrap_or("");
        let words = match before.get(..start).and_then(|text| text.strip_suffix('.')) {
            // Behind `name.`: the columns of that table, or of all if the name is an alias.
            Some(qualifier) => self.columns_behind(qualifier, prefix),
            None if prefix.is_empty() => Vec::new(),
            None => self.words(prefix),
        };
        Completion::Words { start, words }
    }

    fn words(&self, prefix: &str) -> Vec<String> {
        let lower = prefix.chars().next().is_some_and(char::is_lowercase);
        let names = self.tables.keys().chain(self.tables.values().flatten());
        let mut words: Vec<String> = names
            .filter(|name| begins_with(name, prefix))
            .map(|name| quoted(name))
            .collect();
        words.sort_unstable();
        words.dedup();
        let keywords = KEYWORDS
            .iter()
            .filter(|keyword| begins_with(keyword, prefix));
        words.extend(keywords.map(|keyword| {
            if lower {
                keyword.to_lowercase()
            } else {
                (*keyword).to_owned()
            }
        }));
        words.truncate(MOST_WORDS);
        words
    }

    fn columns_behind(&self, qualifier: &str, prefix: &str) -> Vec<String> {
        let table = qualifier
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .find(|word| !word.is_empty())
            .unwrap_or("");
        let named = self
            .tables
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(table));
        let mut words: Vec<String> = match named {
            Some((_, columns)) => columns.clone(),
            None => self.tables.values().flatten().cloned().collect(),
        };
        words.retain(|name| begins_with(name, prefix));
        words.sort_unstable();
        words.dedup();
        words.truncate(MOST_WORDS);
        words.iter().map(|name| quoted(name)).collect()
    }

    fn complete_command(&self, before: &str) -> Completion {
        let start = before.rfind(char::is_whitespace).map_or(0, |index| {
            index.saturating_add(
                before
                    .get(index..)
                    .and_then(|s| s.chars().next())
                    .map_or(1, char::len_utf8),
            )
        });
        let prefix = before.get(start..).unwrap_or("");
        let mut earlier = before.get(..start).unwrap_or("").split_whitespace();
        let words: Vec<String> = match earlier.next() {
            None => dot::names().collect(),
            Some(".schema" | ".dump" | ".indexes" | ".tables") => {
                self.tables.keys().cloned().collect()
            }
            Some(".mode") => dot::mode_names().into_iter().map(str::to_owned).collect(),
            Some(".headers" | ".timer") => vec!["on".to_owned(), "off".to_owned()],
            Some(".stale") => vec!["off".to_owned(), "unlimited".to_owned()],
            Some(".use" | ".open") => self.databases.clone(),
            Some(".help") => dot::names().collect(),
            Some(".import") if earlier.any(|word| !word.starts_with('-')) => {
                self.tables.keys().cloned().collect()
            }
            Some(".read" | ".import" | ".output") => return Completion::FileName,
            Some(_) => Vec::new(),
        };
        let words = words
            .into_iter()
            .filter(|word| begins_with(word, prefix))
            .take(MOST_WORDS)
            .collect();
        Completion::Words { start, words }
    }
}

fn begins_with(word: &str, prefix: &str) -> bool {
    word.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The name as SQL takes it: in quotes if it is no plain word.
fn quoted(name: &str) -> String {
    let plain = name.chars().enumerate().all(|(index, c)| {
        c == '_' || c.is_alphabetic() || (index > 0 && (c.is_ascii_digit() || c == '$'))
    });
    let keyword = KEYWORDS
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(name));
    if plain && !keyword {
        name.to_owned()
    } else {
        crate::sql::literal::identifier(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn names() -> Names {
        let table = |name: &str, columns: &[&str]| {
            (
                name.to_owned(),
                columns.iter().map(|&c| c.to_owned()).collect(),
            )
        };
        Names {
            tables: BTreeMap::from([
                table("users", &["id", "email"]),
                table("Orders", &["id", "user_id", "order"]),
            ]),
            databases: vec!["main".to_owned(), "metrics".to_owned()],
        }
    }

    fn offered(line: &str) -> (usize, Vec<String>) {
        match names().complete(line, line.len()) {
            Completion::Words { start, words } => (start, words),
            Completion::FileName => panic!("a file name"),
        }
    }

    /// Protects: what Tab offers at each kind of place.
    #[test]
    fn each_place_offers_its_words() {
        assert_eq!(offered("sel"), (0, vec!["select".to_owned()]));
        assert_eq!(
            offered("SELECT * FROM us"),
            (14, vec!["user_id".into(), "users".into(), "using".into()])
        );
        assert_eq!(offered("SELECT orders.u"), (14, vec!["user_id".to_owned()]));
        assert_eq!(
            offered("SELECT orders.o"),
            (14, vec!["\"order\"".to_owned()])
        );
        assert_eq!(offered("SELECT x.e"), (9, vec!["email".to_owned()]));
        assert_eq!(offered("SELECT "), (7, vec![]));
        assert_eq!(offered(".ta"), (0, vec![".tables".to_owned()]));
        assert_eq!(offered(".schema O"), (8, vec!["Orders".to_owned()]));
        assert_eq!(offered(".use me"), (5, vec!["metrics".to_owned()]));
        assert_eq!(offered(".mode j"), (6, vec!["json".to_owned()]));
        assert_eq!(offered(".import x.csv us"), (14, vec!["users".to_owned()]));
        assert_eq!(names().complete(".read a", 7), Completion::FileName);
    }

    /// Protects: the editor, which passes whatever was typed.
    #[test]
    fn no_text_is_too_odd() {
        for line in [
            "ä",
            "größe.ß",
            ".\u{2003}",
            ".mode\u{2003}j",
            "é.",
            "\"",
            "漢字.漢",
        ] {
            for cursor in 0..=line.len() {
                names().complete(line, cursor);
            }
        }
    }
}
