//! Which uniqueness was hurt: that of the primary key, or another.
//!
//! To the engine a primary key is one more unique constraint, and several columns are `t.(a, b)`. SQLite
//! has another code for the primary key and says `t.a, t.b`; clients compare both. The message names the
//! columns, and the schema knows whether they are the key.

use std::sync::Arc;

use limbo_core::{Connection, Numeric, Value};

use crate::error::{Error, code};

const START: &str = "UNIQUE constraint failed: ";

/// The error as SQLite gives it.
pub(crate) fn refine(connection: &Arc<Connection>, error: Error) -> Error {
    let Error::Statement {
        code: code::CONSTRAINT_UNIQUE,
        message,
    } = &error
    else {
        return error;
    };
    let Some((table, mut columns)) = message.strip_prefix(START).and_then(named) else {
        return error;
    };
    let listed: Vec<String> = columns
        .iter()
        .map(|column| format!("{table}.{column}"))
        .collect();
    let message = format!("{START}{}", listed.join(", "));
    let mut key = primary_key(connection, table).unwrap_or_default();
    columns.sort_unstable();
    key.sort_unstable();
    let is_key = !key.is_empty() && key == columns;
    let code = if is_key {
        code::CONSTRAINT_PRIMARYKEY
    } else {
        code::CONSTRAINT_UNIQUE
    };
    Error::Statement { code, message }
}

/// Table and columns of a list in either form.
fn named(list: &str) -> Option<(&str, Vec<&str>)> {
    if let Some((table, columns)) = list
        .strip_suffix(')')
        .and_then(|list| list.split_once(".("))
    {
        return Some((table, columns.split(", ").collect()));
    }
    let (table, _) = list.split(", ").next()?.rsplit_once('.')?;
    let columns = list
        .split(", ")
        .map(|column| Some(column.rsplit_once('.')?.1));
    Some((table, columns.collect::<Option<_>>()?))
}

/// The columns of the table's primary key, as far as the engine tells.
fn primary_key(connection: &Arc<Connection>, table: &str) -> Option<Vec<String>> {
    let sql = format!("PRAGMA table_info(\"{}\")", table.replace('"', "\"\""));
    let rows = connection.prepare(sql).ok()?.run_collect_rows().ok()?;
    let key = rows.iter().filter_map(|row| match row.as_slice() {
        [
            _,
            Value::Text(name),
            ..,
            Value::Numeric(Numeric::Integer(1..)),
        ] => Some(name.as_str().to_owned()),
        _ => None,
    });
    Some(key.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to name columns are understood.
    #[test]
    fn columns() {
        assert_eq!(named("t.a"), Some(("t", vec!["a"])));
        assert_eq!(named("t.a, t.b"), Some(("t", vec!["a", "b"])));
        assert_eq!(named("t.(a, b)"), Some(("t", vec!["a", "b"])));
        assert_eq!(named("nothing"), None);
    }
}
