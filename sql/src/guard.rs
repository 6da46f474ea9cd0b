//! Which statements a replicated database refuses, and which need the writer's turn from the start.
//!
//! Some statements would step outside of what is replicated (another file), or would take the log or
//! the file out of the node's hands (journal mode, checkpoints, page size). They are refused by what
//! they begin with, before the engine sees them. The scan reads only as many tokens as it needs and
//! understands SQL's comments and quotes, so neither hides a statement.

use crate::error::{Error, code};

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
    /// `INSERT` or `REPLACE`.
    Insert,
    /// `UPDATE` or `DELETE`.
    Change,
    /// A `PRAGMA` that sets something.
    Pragma,
    /// Anything else that is allowed.
    Other,
}

/// Words that say something about a statement wherever they stand. One that is only a name says it as well, which costs
/// speed at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// It may look at what earlier statements of its session did: `last_insert_rowid()`, `changes()`, `total_changes()`.
    pub(crate) observes: bool,
    /// `RETURNING`.
    pub(crate) returning: bool,
    /// `ON CONFLICT`: an INSERT that may insert nothing and yet change rows.
    pub(crate) conflict: bool,
    /// `OR ROLLBACK`: an error may end the transaction.
    pub(crate) rollback: bool,
    /// `TEMP`, `TEMPORARY`: it may be about tables that its session alone has.
    pub(crate) temporary: bool,
}

impl Marks {
    fn note(&mut self, word: &str) {
        let mark = match word.len() {
            4 | 5 | 7 | 8 | 9 | 13 | 17 => word.to_ascii_lowercase(),
            _ => return,
        };
        match mark.as_str() {
            "last_insert_rowid" | "changes" | "total_changes" => self.observes = true,
            "returning" => self.returning = true,
            "conflict" => self.conflict = true,
            "rollback" => self.rollback = true,
            "temp" | "temporary" => self.temporary = true,
            _ => {}
        }
    }
}

/// What a statement's text says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) kind: Kind,
    pub(crate) marks: Marks,
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

/// Functions of the engine that read numbers in their bytes as the machine's own, whichever way round that is.
const VECTOR_FUNCTIONS: &[&str] = &[
    "vector",
    "vector32",
    "vector32_sparse",
    "vector64",
    "vector8",
    "vector1bit",
    "vector_extract",
    "vector_distance_cos",
    "vector_distance_l2",
    "vector_distance_jaccard",
    "vector_distance_dot",
    "vector_concat",
    "vector_slice",
];
/// So they are wrong on a big-endian machine, and a vector that one kind of machine stored is another on the other.
const VECTORS_ARE_WRONG: bool = cfg!(target_endian = "big");

/// How deep the parts of a statement may be nested: SQLite's own limit for expressions.
const MAX_DEPTH: usize = 1000;
/// How deep brackets may be nested: each may hold a query, which costs the engine far more of its stack.
const MAX_BRACKETS: usize = 100;
/// How many queries a UNION, INTERSECT or EXCEPT may put together: SQLite's own limit.
const MAX_COMPOUND: usize = 500;

/// Looks at the first words of the statement that `sql` begins with, and at how deep it is nested.
pub(crate) fn inspect(sql: &str) -> Result<Inspected, Error> {
    let nesting = Nesting::of(sql);
    let refuse = |message: String| Err(Error::statement(code::ERROR, message));
    if nesting.levels > MAX_DEPTH {
        return refuse(format!(
            "Expression tree is too large (maximum depth {MAX_DEPTH})"
        ));
    }
    if nesting.brackets > MAX_BRACKETS {
        return refuse(format!(
            "brackets are nested too deep (maximum depth {MAX_BRACKETS})"
        ));
    }
    if nesting.compound > MAX_COMPOUND {
        return refuse("too many terms in compound SELECT".to_owned());
    }
    if VECTORS_ARE_WRONG && nesting.vectors {
        return Err(Error::Refused(
            "a vector function is not allowed: the engine computes them wrongly on big-endian machines, as this node's is"
                .to_owned(),
        ));
    }
    Ok(Inspected {
        kind: inspect_words(sql)?,
        marks: nesting.marks,
    })
}

/// Upper bounds of how deep the parser has to descend.
///
/// The engine's parser and planner call themselves for every level, and a thread's stack ends at some
/// level. A level is an opening bracket, or an operator that the ones before it in the same list element
/// may be operands of; a comma begins anew. A long list is not deep.
#[derive(Debug, Default)]
struct Nesting {
    levels: usize,
    brackets: usize,
    compound: usize,
    /// A vector function is called.
    vectors: bool,
    marks: Marks,
}

/// Words that nest like operators do.
const NESTING: &[&str] = &[
    "and",
    "case",
    "collate",
    "else",
    "escape",
    "except",
    "explain",
    "from",
    "glob",
    "in",
    "intersect",
    "is",
    "isnull",
    "join",
    "like",
    "match",
    "not",
    "notnull",
    "or",
    "regexp",
    "union",
    "when",
];
const COMPOUND: &[&str] = &["except", "intersect", "union"];

impl Nesting {
    fn of(sql: &str) -> Self {
        let mut found = Self::default();
        let mut words = Words::of(sql);
        loop {
            found.add_statement(&mut words);
            // A trigger goes on behind its semicolons.
            match words.rest.strip_prefix(';') {
                Some(rest) => words.rest = rest,
                None => return found,
            }
        }
    }

    fn add_statement(&mut self, words: &mut Words<'_>) {
        // Levels in the present list element of each open bracket.
        let mut open = vec![0_usize];
        let (mut levels, mut compound) = (0_usize, 0_usize);
        let mut may_be_vector = false;
        while let Some(word) = words.next() {
            // A quoted name may be that of a function or a schema.
            self.marks.note(word);
            self.vectors |= may_be_vector && word == "(";
            may_be_vector = VECTOR_FUNCTIONS
                .iter()
                .any(|function| word.eq_ignore_ascii_case(function));
            if words.quoted {
                continue;
            }
            match word {
                "(" => {
                    open.push(0);
                    levels += 1;
                    self.brackets = self.brackets.max(open.len() - 1);
                }
                ")" if open.len() > 1 => levels -= 1 + open.pop().unwrap_or(0),
                "," => levels -= open.last_mut().map_or(0, std::mem::take),
                ")" | "." | "?" | ":" | "@" | "$" | "#" => {}
                word => {
                    let is = |listed: &[&str]| {
                        listed
                            .iter()
                            .any(|listed| word.eq_ignore_ascii_case(listed))
                    };
                    let is_name = word.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                    if (!is_name || is(NESTING))
                        && let Some(element) = open.last_mut()
                    {
                        *element += 1;
                        levels += 1;
                    }
                    compound += usize::from(is(COMPOUND));
                }
            }
            self.levels = self.levels.max(levels);
        }
        self.compound = self.compound.max(compound);
    }
}

fn inspect_words(sql: &str) -> Result<Kind, Error> {
    let mut words = Words::of(sql);
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
        "insert" | "replace" => allow(Kind::Insert),
        "update" | "delete" => allow(Kind::Change),
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
            let tells = [
                "table_",
                "index_",
                "foreign_key_",
                "integrity_",
                "quick_",
                "database_",
            ];
            let tells = tells
                .iter()
                .any(|start| name.to_ascii_lowercase().starts_with(start));
            allow(if sets && !tells {
                Kind::Pragma
            } else {
                Kind::Other
            })
        }
        _ => allow(Kind::Other),
    }
}

/// A PRAGMA statement, for whoever has settings of its own to offer in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pragma<'a> {
    /// The name of the setting, without that of a database before it.
    pub name: &'a str,
    /// What it is set to, if it is: a word without its quotes, or what else stands behind the `=` or the bracket.
    pub value: Option<&'a str>,
    /// Where the statement ends in the text.
    pub tail: usize,
}

/// Reads the first statement of `sql`, if it is a PRAGMA.
#[must_use]
pub fn pragma(sql: &str) -> Option<Pragma<'_>> {
    let mut words = Words::of(sql);
    let first = words.next()?;
    if words.quoted || !first.eq_ignore_ascii_case("pragma") {
        return None;
    }
    let mut name = words.next()?;
    let mut then = words.next();
    if then == Some(".") {
        name = words.next()?;
        then = words.next();
    }
    let behind = words.rest;
    let is_set = matches!(then, Some("=" | "("));
    let word = if is_set { words.next() } else { None };
    let mut further: Vec<&str> = words.by_ref().collect();
    if then == Some("(") && further.last() == Some(&")") {
        further.pop();
    }
    let value = if further.is_empty() {
        word
    } else {
        let end = behind.len() - words.rest.len();
        word.and(behind.get(..end)).map(str::trim)
    };
    let rest = words.rest.strip_prefix(';').unwrap_or(words.rest);
    Some(Pragma {
        name,
        value,
        tail: sql.len() - rest.len(),
    })
}

/// Words and punctuation of a SQL text, without quotes, spaces and comments, to the first `;`.
struct Words<'a> {
    rest: &'a str,
    /// Whether the last word stood in quotes.
    quoted: bool,
}

impl<'a> Words<'a> {
    fn of(sql: &'a str) -> Self {
        Self {
            rest: sql,
            quoted: false,
        }
    }

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
        self.quoted = matches!(first, '"' | '\'' | '`' | '[');
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
mod tests;
