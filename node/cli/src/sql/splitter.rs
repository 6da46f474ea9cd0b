//! Cuts a stream of SQL text into statements.
//!
//! A statement ends at a semicolon that stands outside of quotes and comments, except inside the body
//! of a trigger: there `;` only separates the body's own statements, and the trigger ends at
//! `; END ;`. This is the automaton of SQLite's `sqlite3_complete()`, extended to say *where* a
//! statement begins and ends. A `CASE … END` in a trigger needs no care of its own, since its `END` never
//! follows a semicolon.
//!
//! The splitter promises that every token comes out in exactly one statement and in order, that
//! comments and blank lines between statements are left out, and that its work is linear in the text.

use super::lexer::{Lexer, Token, TokenKind};

/// One statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text from the first token to the semicolon, both included.
    pub text: String,
    /// The line of the script on which it begins, counted from 1.
    pub line: u64,
}

/// How far the words at a statement's start look like those of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing but `EXPLAIN` so far.
    Start,
    /// After `EXPLAIN`; `QUERY PLAN` may follow.
    Explain,
    /// After `CREATE`, and `TEMP` or `TEMPORARY`.
    Create,
    /// No trigger: the first semicolon ends it.
    Plain,
    /// Inside a trigger, where a semicolon ends nothing.
    Trigger,
    /// Inside a trigger, just behind a semicolon.
    TriggerSemicolon,
    /// Inside a trigger, behind `; END`.
    TriggerEnd,
}

/// Cuts text into statements. See the module's introduction.
#[derive(Debug, Clone)]
pub struct Splitter {
    /// Text that was not handed out yet, behind `done` bytes that were.
    text: String,
    done: usize,
    lexer: Lexer,
    /// Where the statement in work begins, once its first token was seen.
    start: Option<usize>,
    shape: Shape,
    /// Lines are counted up to this byte of `text`, which lies on line `line`.
    counted: usize,
    line: u64,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// An empty splitter, at line 1.
    pub fn new() -> Self {
        Self {
            text: String::new(),
            done: 0,
            lexer: Lexer::new(),
            start: None,
            shape: Shape::Start,
            counted: 0,
            line: 1,
        }
    }

    /// Adds text: one or several whole lines, or all there is.
    pub fn push(&mut self, text: &str) {
        if self.done > 0 {
            self.text.drain(..self.done);
            self.lexer.rebase(self.done);
            self.start = self.start.map(|start| start.saturating_sub(self.done));
            self.counted = self.counted.saturating_sub(self.done);
            self.done = 0;
        }
        self.text.push_str(text);
    }

    /// The next whole statement, if there is one.
    pub fn next_statement(&mut self) -> Option<Statement> {
        while let Some(token) = self.lexer.next_token(&self.text) {
            if self.start.is_none() {
                if token.kind == TokenKind::Semicolon {
                    // An empty statement.
                    self.discard_to(token.range.end);
                    continue;
                }
                self.discard_to(token.range.start);
                self.start = Some(token.range.start);
            }
            if self.advance(&token) {
                return self.take(token.range.end);
            }
        }
        if self.start.is_none() && !self.lexer.is_open() {
            // Only blanks and comments: nothing that a later line could still need.
            self.discard_to(self.text.len());
        }
        None
    }

    /// Whether a statement was begun and not finished: a prompt would show that more is expected.
    /// Meaningful once [`next_statement`](Self::next_statement) has returned `None`.
    pub fn is_pending(&self) -> bool {
        self.start.is_some() || self.lexer.is_open()
    }

    /// Bytes of text that wait for the rest of their statement.
    pub fn pending_bytes(&self) -> usize {
        self.text.len().saturating_sub(self.done)
    }

    /// What remains at the end of the input: a last statement without its semicolon. The splitter is
    /// empty afterwards.
    pub fn finish(&mut self) -> Option<Statement> {
        if let Some(statement) = self.next_statement() {
            return Some(statement);
        }
        let end = self.text.len();
        let rest = match (self.start, self.lexer.is_open()) {
            (Some(_), _) => self.take(end),
            // An unclosed quote or comment at the very start; a comment is nothing, a quote an error that
            // the server words best.
            (None, true) => {
                let rest = self.text.get(self.done..end).unwrap_or("").trim();
                let is_comment =
                    rest.is_empty() || rest.starts_with("/*") || rest.starts_with("--");
                (!is_comment).then(|| Statement {
                    text: rest.to_owned(),
                    line: self.line,
                })
            }
            (None, false) => None,
        };
        let mut fresh = Self::new();
        fresh.line = self.line;
        *self = fresh;
        rest
    }

    /// Moves the trigger automaton; true when `token` ends the statement.
    fn advance(&mut self, token: &Token) -> bool {
        let is = |keyword: &str| token.is_keyword(&self.text, keyword);
        let semicolon = token.kind == TokenKind::Semicolon;
        let next = match self.shape {
            Shape::Start if is("EXPLAIN") => Shape::Explain,
            Shape::Explain if is("QUERY") || is("PLAN") => Shape::Explain,
            Shape::Start | Shape::Explain if is("CREATE") => Shape::Create,
            Shape::Create if is("TEMP") || is("TEMPORARY") => Shape::Create,
            Shape::Create if is("TRIGGER") => Shape::Trigger,
            Shape::Start | Shape::Explain | Shape::Create | Shape::Plain => {
                self.shape = Shape::Plain;
                return semicolon;
            }
            Shape::TriggerEnd if semicolon => return true,
            Shape::Trigger | Shape::TriggerSemicolon | Shape::TriggerEnd if semicolon => {
                Shape::TriggerSemicolon
            }
            Shape::TriggerSemicolon if is("END") => Shape::TriggerEnd,
            Shape::Trigger | Shape::TriggerSemicolon | Shape::TriggerEnd => Shape::Trigger,
        };
        self.shape = next;
        false
    }

    /// Hands out the statement in work, which ends at the byte `end`.
    fn take(&mut self, end: usize) -> Option<Statement> {
        let start = self.start.take()?;
        let line = self.line;
        let text = self.text.get(start..end)?.trim_end().to_owned();
        self.discard_to(end);
        self.shape = Shape::Start;
        Some(Statement { text, line })
    }

    /// Counts the lines up to the byte `end` and forgets the text before it.
    fn discard_to(&mut self, end: usize) {
        let passed = self.text.as_bytes().get(self.counted..end).unwrap_or(&[]);
        let newlines = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u64::try_from(newlines).unwrap_or(u64::MAX));
        self.counted = self.counted.max(end);
        self.done = self.done.max(end);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<(u64, String)> {
        let mut splitter = Splitter::new();
        let mut found = Vec::new();
        for line in text.split_inclusive('\n') {
            splitter.push(line);
            while let Some(statement) = splitter.next_statement() {
                found.push((statement.line, statement.text));
            }
        }
        found.extend(splitter.finish().map(|s| (s.line, s.text)));
        found
    }

    /// Protects: the lines that error messages name, over comments, blank lines and several
    /// statements on a line.
    #[test]
    fn statements_know_their_line() {
        let script = "-- a; comment\n\nSELECT 1; SELECT\n 2;\n;;\n/* x;\n y */ INSERT INTO t VALUES('a;\nb');\nlast";
        let expected = [
            (3, "SELECT 1;"),
            (3, "SELECT\n 2;"),
            (7, "INSERT INTO t VALUES('a;\nb');"),
            (9, "last"),
        ];
        assert_eq!(split(script), expected.map(|(l, t)| (l, t.to_owned())));
    }

    /// Protects: a trigger's body stays in one statement, whatever it holds, and what follows is apart.
    #[test]
    fn a_trigger_is_one_statement() {
        for head in [
            "CREATE TRIGGER",
            "create temp trigger",
            "EXPLAIN CREATE TEMPORARY TRIGGER",
        ] {
            let trigger = format!(
                "{head} tr AFTER INSERT ON t BEGIN\n UPDATE t SET a = CASE WHEN 1 THEN 2 END;\n DELETE FROM u; -- END;\nEND;"
            );
            let script = format!("{trigger}\nSELECT 1;");
            assert_eq!(split(&script), [(1, trigger), (5, "SELECT 1;".to_owned())]);
        }
    }

    /// Protects: BEGIN and END of a transaction are statements of their own, and so is a table that is
    /// named after a keyword.
    #[test]
    fn begin_and_end_of_a_transaction_split() {
        let found =
            split("BEGIN; INSERT INTO t VALUES(1); END; CREATE TABLE trigger_log(a); SELECT 2;");
        assert_eq!(found.len(), 5);
    }

    /// Protects: an open string or comment at the end of the input neither hangs nor vanishes.
    #[test]
    fn an_open_end_is_reported_once() {
        assert_eq!(split("SELECT 'abc\n"), [(1, "SELECT 'abc".to_owned())]);
        assert_eq!(split("SELECT 1; /* open\n"), [(1, "SELECT 1;".to_owned())]);
        assert_eq!(split("'open"), [(1, "'open".to_owned())]);
        assert_eq!(split("  \n-- nothing\n"), []);
    }

    /// Protects: the prompt's answer to "is more expected?".
    #[test]
    fn pending_follows_the_statement() {
        let mut splitter = Splitter::new();
        for (line, pending) in [
            ("-- c\n", false),
            ("SELECT\n", true),
            ("1;\n", false),
            ("/* \n", true),
        ] {
            splitter.push(line);
            while splitter.next_statement().is_some() {}
            assert_eq!(splitter.is_pending(), pending, "after {line:?}");
        }
    }

    proptest! {
        /// Protects: no token is lost, doubled or moved, for any text and any division into lines.
        #[test]
        fn every_token_comes_out_once(text in "(CREATE |TRIGGER |BEGIN |END|;|'|\"|--|/\\*|\\*/|\n| |x){0,40}") {
            let normal = |sql: &str| super::super::lexer::tokens(sql)
                .map(|token| token.text(sql).to_owned())
                .filter(|token| token != ";")
                .collect::<Vec<_>>();
            let out: Vec<String> = split(&text).iter().flat_map(|(_, s)| normal(s)).collect();
            prop_assert_eq!(out, normal(&text));
        }
    }
}
