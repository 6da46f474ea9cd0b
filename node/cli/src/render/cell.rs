//! One value as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use ferrolite_wire::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::sql::literal;

/// A value as people read it: numbers as SQLite prints them, blobs as `X'…'` literals, booleans and
/// times as they are stored. NULL is `null_value`.
pub fn text<'v>(value: &'v Value, null_value: &'v str) -> Cow<'v, str> {
    match value {
        Value::Null => Cow::Borrowed(null_value),
        Value::Integer(number) | Value::UnixTime(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(literal::format_real(*number)),
        Value::Text(text) | Value::Iso8601(text) => Cow::Borrowed(text),
        Value::Blob(bytes) => Cow::Owned(literal::blob(bytes)),
        Value::Boolean(truth) => Cow::Borrowed(if *truth { "1" } else { "0" }),
    }
}

/// Whether a value's text is aligned to the right.
pub fn is_number(value: &Value) -> bool {
    matches!(
        value,
        Value::Integer(_) | Value::Float(_) | Value::UnixTime(_) | Value::Boolean(_)
    )
}

/// How many columns of a terminal a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Replaces control characters by escapes (`\n`, `\t`, `\x1b`), so that the text is one line and cannot
/// command a terminal. With `keep_lines`, newlines and tabs stay.
pub fn escape_controls(text: Cow<'_, str>, keep_lines: bool) -> Cow<'_, str> {
    let escaped = |c: char| c.is_control() && !(keep_lines && matches!(c, '\n' | '\t'));
    if !text.contains(escaped) {
        return text;
    }
    let mut safe = String::with_capacity(text.len().saturating_add(8));
    for c in text.chars() {
        match c {
            _ if !escaped(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(safe, "\\x{:02x}", u32::from(c));
            }
        }
    }
    Cow::Owned(safe)
}

/// Cuts a text to at most `limit` columns of a terminal; `…` stands for what was cut off.
pub fn truncate(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || columns(&text) <= limit {
        return text;
    }
    let mut width = 0usize;
    let mut kept = String::new();
    for c in text.chars() {
        width = width.saturating_add(c.width().unwrap_or(0));
        if width > limit.saturating_sub(1) {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a cut text never exceeds its limit, not even by half of a wide character.
    #[test]
    fn truncation_counts_terminal_columns() {
        assert_eq!(truncate("abcdef".into(), 6), "abcdef");
        assert_eq!(truncate("abcdef".into(), 5), "abcd…");
        assert_eq!(truncate("漢字漢字".into(), 5), "漢字…");
        assert_eq!(truncate("漢字漢字".into(), 4), "漢…");
        assert_eq!(truncate("größe".into(), 5), "größe");
    }

    /// Protects: escapes of what is not printable, and only of that.
    #[test]
    fn controls_are_escaped() {
        assert_eq!(escape_controls("a\n\tb\x1b".into(), false), "a\\n\\tb\\x1b");
        assert_eq!(escape_controls("a\n\tb\x1b".into(), true), "a\n\tb\\x1b");
        assert_eq!(escape_controls("äß漢".into(), false), "äß漢");
    }
}
