//! What a database contains, by its schema table, and what databases there are.

use ferrolite_client::Client;
use ferrolite_wire::Value;
use serde_json::json;

use super::complete::TableNames;
use super::follow::Following;
use crate::cluster;
use crate::error::Result;
use crate::render::cell;
use crate::report::Report;
use crate::sql::literal;

/// Tables whose columns are fetched one table at a time, where one statement cannot fetch all.
const MOST_TABLES_ONE_BY_ONE: usize = 100;
/// Names that are fetched for completion.
const MOST_NAMES: usize = 20_000;

/// Leaves out what belongs to SQLite and to the engine themselves: names that no user can choose.
const USERS: &str = "tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                     AND tbl_name NOT LIKE '\\_\\_turso\\_internal\\_%' ESCAPE '\\'";

/// `AND column LIKE 'pattern'`, or nothing.
fn and_like(column: &str, pattern: Option<&str>) -> String {
    pattern.map_or_else(String::new, |pattern| {
        format!(" AND {column} LIKE {}", literal::text(pattern))
    })
}

/// The names of tables and views, without SQLite's own.
///
/// # Errors
/// As [`Following::run`].
pub async fn tables(following: &mut Following, pattern: Option<&str>) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type IN ('table','view') AND {USERS}{} \
         ORDER BY name",
        and_like("name", pattern)
    );
    texts(following, &sql).await
}

/// The names of indexes.
///
/// # Errors
/// As [`Following::run`].
pub async fn indexes(following: &mut Following, table: Option<&str>) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND {USERS}{} ORDER BY name",
        and_like("tbl_name", table)
    );
    texts(following, &sql).await
}

/// The CREATE statements, in the order in which they were made.
///
/// # Errors
/// As [`Following::run`].
pub async fn schema(following: &mut Following, table: Option<&str>) -> Result<String> {
    let sql = format!(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND {USERS}{} ORDER BY rowid",
        and_like("tbl_name", table)
    );
    let statements = texts(following, &sql).await?;
    Ok(statements
        .iter()
        .map(|statement| format!("{statement};\n"))
        .collect())
}

/// The databases and their sizes.
///
/// # Errors
/// As [`cluster::databases`].
pub async fn databases(client: &Client) -> Result<Report> {
    let listed = cluster::databases(client).await?;
    let mut report = Report::new(&["database", "bytes"]);
    for database in listed {
        report.push(vec![json!(database.name), json!(database.size_bytes)]);
    }
    Ok(report)
}

/// The tables and columns that completion offers. It asks as little as possible: one statement, or where the engine has no
/// table-valued pragmas, one per table.
///
/// # Errors
/// As [`Following::run`].
pub async fn table_names(following: &mut Following) -> Result<TableNames> {
    let mut names = TableNames::new();
    let all = format!(
        "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_info(m.name) AS c \
         WHERE m.type IN ('table','view') AND m.{USERS} LIMIT {MOST_NAMES}"
    );
    if let Ok(rows) = following.fetch(&all).await {
        for row in rows {
            if let [Value::Text(table), Value::Text(column)] = row.as_slice() {
                names.entry(table.clone()).or_default().push(column.clone());
            }
        }
    } else {
        for (index, table) in tables(following, None).await?.into_iter().enumerate() {
            let columns = if index < MOST_TABLES_ONE_BY_ONE {
                columns(following, &table).await?
            } else {
                Vec::new()
            };
            names.insert(table, columns);
        }
    }
    Ok(names)
}

/// The columns of a table that can be written, in order; none if there is no such table.
///
/// # Errors
/// As [`Following::run`].
pub async fn columns(following: &mut Following, table: &str) -> Result<Vec<String>> {
    let rows = following
        .fetch(&format!(
            "PRAGMA table_info({})",
            literal::identifier(table)
        ))
        .await?;
    let name = |row: Vec<Value>| match row.into_iter().nth(1) {
        Some(Value::Text(name)) => Some(name),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(name).collect())
}

/// The first column of a result, as far as it is text.
async fn texts(following: &mut Following, sql: &str) -> Result<Vec<String>> {
    let rows = following.fetch(sql).await?;
    let first = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(first).collect())
}

/// Lays names out in columns as `ls` does; one a line where there is no terminal.
pub fn in_columns(names: &[String], terminal_columns: Option<usize>) -> String {
    let names: Vec<_> = match terminal_columns {
        None => names.iter().map(|name| name.as_str().into()).collect(),
        Some(_) => names
            .iter()
            .map(|name| cell::escape_controls(name.as_str().into(), false))
            .collect(),
    };
    let width = names
        .iter()
        .map(|name| cell::columns(name))
        .max()
        .unwrap_or(0)
        .saturating_add(2);
    let per_line = terminal_columns.map_or(1, |window| (window / width).max(1));
    let lines = names.len().div_ceil(per_line);
    let mut text = String::new();
    for line in 0..lines {
        let mut row = String::new();
        for name in names.iter().skip(line).step_by(lines.max(1)) {
            let padding = width.saturating_sub(cell::columns(name));
            row.push_str(name);
            row.push_str(&" ".repeat(padding));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: names are all shown, down the columns, and one a line for a pipe.
    #[test]
    fn names_in_columns() {
        let names: Vec<String> = ["aa", "b", "cc", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(in_columns(&names, Some(8)), "aa  d\nb   e\ncc\n");
        assert_eq!(in_columns(&names, Some(1)), "aa\nb\ncc\nd\ne\n");
        assert_eq!(in_columns(&names, None), "aa\nb\ncc\nd\ne\n");
        assert_eq!(in_columns(&[], Some(80)), "");
    }
}
