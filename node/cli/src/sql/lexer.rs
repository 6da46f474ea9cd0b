//! Words, quotes and comments of SQL, resumable at any byte.
//!
//! The lexer runs over a text that may still grow. When the text ends inside a string or a comment it
//! remembers that and goes on from the same byte once there is more, so that a statement that arrives
//! in a million lines is still read once. It follows the tokenizer of SQLite: `'…'`, `"…"`, `` `…` ``
//! and `[…]` quote (a doubled quote stands for itself), `--` comments out the rest of a line, `/*` all
//! up to `*/`, and every byte above 127 belongs to a word.

use std::ops::Range;

/// What a token is. White space and comments are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword, an identifier without quotes, or a number.
    Word,
    /// A string literal or a quoted identifier, with its quotes.
    Quoted,
    /// `;`
    Semicolon,
    /// Any other single byte.
    Punctuation(u8),
}

/// A token and where it stands in the text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// The bytes it covers.
    pub range: Range<usize>,
}

impl Token {
    /// The token's bytes within `text`, the text that it was read from.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.range.clone()).unwrap_or("")
    }

    /// Whether this is the given keyword, in upper or lower case.
    pub fn is_keyword(&self, text: &str, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text(text).eq_ignore_ascii_case(keyword)
    }
}

/// What the lexer is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A quoted token that began at `start` and ends at the byte `close`.
    Quote {
        start: usize,
        close: u8,
    },
    LineComment,
    BlockComment,
}

/// A resumable reader of tokens. See the module's introduction.
#[derive(Debug, Clone)]
pub struct Lexer {
    /// The next byte to look at. Never beyond the end of the text.
    position: usize,
    inside: Inside,
}

impl Default for Lexer {
    fn default() -> Self {
        Self::new()
    }
}

impl Lexer {
    /// A lexer at the start of a text.
    pub fn new() -> Self {
        Self {
            position: 0,
            inside: Inside::Nothing,
        }
    }

    /// Whether the text read so far ends inside a string, a quoted name or a block comment.
    pub fn is_open(&self) -> bool {
        matches!(self.inside, Inside::Quote { .. } | Inside::BlockComment)
    }

    /// Tells the lexer that the first `bytes` bytes of the text were removed. They must lie before every
    /// token that is still to come.
    pub fn rebase(&mut self, bytes: usize) {
        self.position = self.position.saturating_sub(bytes);
        if let Inside::Quote { start, .. } = &mut self.inside {
            *start = start.saturating_sub(bytes);
        }
    }

    /// The next token of `text`, or `None` when the text is used up.
    ///
    /// `text` must be the text of the calls before, longer by any amount. It must not have been cut
    /// inside a word or between the two characters of `--`, `/*` or `*/`: feed whole lines. The second
    /// quote of a doubled one is read as the start of another quoted token, which changes nothing for
    /// what this lexer is used for.
    pub fn next_token(&mut self, text: &str) -> Option<Token> {
        let bytes = text.as_bytes();
        loop {
            match self.inside {
                Inside::Nothing => {}
                Inside::Quote { start, close } => {
                    if !self.skip_past(bytes, &[close]) {
                        return None;
                    }
                    return Some(self.token(TokenKind::Quoted, start));
                }
                Inside::LineComment => {
                    if !self.skip_past(bytes, b"\n") {
                        return None;
                    }
                }
                Inside::BlockComment => {
                    if !self.skip_past(bytes, b"*/") {
                        return None;
                    }
                }
            }
            let start = self.position;
            let byte = *bytes.get(start)?;
            self.position += 1;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => {}
                b'\'' | b'"' | b'`' => self.inside = Inside::Quote { start, close: byte },
                b'[' => self.inside = Inside::Quote { start, close: b']' },
                b'-' if bytes.get(self.position) == Some(&b'-') => {
                    self.inside = Inside::LineComment;
                }
                b'/' if bytes.get(self.position) == Some(&b'*') => {
                    self.position += 1;
                    self.inside = Inside::BlockComment;
                }
                b';' => return Some(self.token(TokenKind::Semicolon, start)),
                _ if is_word(byte) => {
                    while bytes.get(self.position).copied().is_some_and(is_word) {
                        self.position += 1;
                    }
                    return Some(self.token(TokenKind::Word, start));
                }
                _ => return Some(self.token(TokenKind::Punctuation(byte), start)),
            }
        }
    }

    /// Goes behind the next `end`, which closes whatever the lexer is inside of; or, if there is none
    /// yet, to the end of the text.
    fn skip_past(&mut self, bytes: &[u8], end: &[u8]) -> bool {
        let rest = bytes.get(self.position..).unwrap_or(&[]);
        let found = match end {
            [byte] => rest.iter().position(|b| b == byte),
            _ => rest.windows(end.len()).position(|window| window == end),
        };
        match found {
            Some(offset) => {
                self.position += offset + end.len();
                self.inside = Inside::Nothing;
                true
            }
            None => {
                self.position = bytes.len();
                false
            }
        }
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token {
            kind,
            range: start..self.position,
        }
    }
}

/// SQLite's `IdChar`: what a word is made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// All tokens of a text that does not grow.
pub fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut lexer = Lexer::new();
    std::iter::from_fn(move || lexer.next_token(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn texts(sql: &str) -> Vec<&str> {
        let ranges: Vec<_> = tokens(sql).map(|token| token.range).collect();
        ranges.into_iter().map(|range| &sql[range]).collect()
    }

    /// Protects: comments and spaces vanish, quotes hide what is inside them.
    #[test]
    fn quotes_hide_and_comments_vanish() {
        assert_eq!(
            texts("a-- x;\n b /* ; */ 'c;--' [d;] \"e\" `f` ;-1"),
            ["a", "b", "'c;--'", "[d;]", "\"e\"", "`f`", ";", "-", "1"]
        );
        assert_eq!(texts("/*/ still a comment */ x"), ["x"]);
        assert_eq!(texts("größe"), ["größe"]);
    }

    proptest! {
        /// Protects: a text fed line by line gives the tokens of the whole text.
        #[test]
        fn feeding_lines_changes_nothing(text in "[a';\"\\[\\]*/\n -]{0,80}") {
            let whole: Vec<_> = tokens(&text).collect();
            let mut lexer = Lexer::new();
            let mut fed = String::new();
            let mut pieces = Vec::new();
            for line in text.split_inclusive('\n') {
                fed.push_str(line);
                while let Some(token) = lexer.next_token(&fed) {
                    pieces.push(token);
                }
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
