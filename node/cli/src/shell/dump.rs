//! `.dump`: SQL that makes the same database again.
//!
//! The text is laid out like the one of sqlite3: tables with their rows in the order in which they were
//! created, the counters of AUTOINCREMENT, then indexes, triggers and views, all in one transaction with foreign keys off, so that
//! neither the order of rows nor a trigger matters when it is read. All statements read one transaction,
//! hence one state of the database. Should the dump break off, it ends in ROLLBACK, so that nobody loads
//! half of it unaware.
//!
//! Values come back as they were, with their types. Two things need care. Columns declared BOOLEAN or
//! DATETIME arrive as types of the protocol's own, so each column is selected as an expression, which has
//! no declared type. And the protocol ends a text at its first NUL character, so that one with a NUL
//! inside is selected as a blob; so that it comes back as a text, the storage classes are selected along
//! with the row. (They also tell a text that is not UTF-8, which arrives as a blob too.)

use ferrolite_client::{RowStream, Transaction, TransactionMode};
use ferrolite_wire::Value;

use super::follow::Following;
use super::output::Output;
use crate::error::{Error, Result};
use crate::sql::literal;

/// How the names of the engine's own tables begin. What they hold is also in tables that SQLite knows.
const ENGINES_OWN: &str = "__turso_internal_";

/// An entry of the schema table.
struct Entry {
    kind: String,
    name: String,
    sql: Option<String>,
}

/// Writes the whole database, or the tables whose names are like `table`, with what belongs to them.
///
/// # Errors
/// When the database cannot be read or the output not be written.
pub async fn dump(
    following: &mut Following,
    table: Option<&str>,
    output: &mut Output,
) -> Result<()> {
    if following.in_transaction() {
        return Err(Error::Input {
            message: "a transaction is open".to_owned(),
            advice: Some(
                "COMMIT or ROLLBACK it first; a dump reads a transaction of its own".to_owned(),
            ),
        });
    }
    let session = following.session().await?;
    let begun = session.transaction_with(TransactionMode::Deferred).await;
    let mut transaction = begun.map_err(Error::Statement)?;
    output.print("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")?;
    let dumped = write_all(&mut transaction, table, output).await;
    if dumped.is_err() {
        output.print("ROLLBACK; -- the dump is not complete\n")?;
        return dumped;
    }
    output.print("COMMIT;\n")?;
    transaction.rollback().await.map_err(Error::Statement)
}

async fn write_all(
    transaction: &mut Transaction<'_>,
    table: Option<&str>,
    output: &mut Output,
) -> Result<()> {
    let filter = table.map_or_else(String::new, |table| {
        format!(" WHERE tbl_name LIKE {}", literal::text(table))
    });
    let sql = format!(
        "SELECT type, name, sql FROM sqlite_schema{filter} ORDER BY tbl_name='sqlite_sequence', rowid"
    );
    let read: Vec<(String, String, Option<String>)> = transaction
        .query(&sql, ())
        .await
        .map_err(Error::Statement)?;
    let entries: Vec<Entry> = read
        .into_iter()
        .map(|(kind, name, sql)| Entry { kind, name, sql })
        .collect();
    if let (Some(table), true) = (table, entries.is_empty()) {
        return Err(Error::Input {
            message: format!("no table is named like {table}"),
            advice: Some(".tables lists all".to_owned()),
        });
    }

    let mut writable_schema = false;
    for entry in entries.iter().filter(|entry| entry.kind == "table") {
        match (entry.name.as_str(), &entry.sql) {
            ("sqlite_sequence", _) => output.print("DELETE FROM sqlite_sequence;\n")?,
            ("sqlite_stat1", _) => output.print("ANALYZE sqlite_schema;\n")?,
            (name, _) if name.starts_with("sqlite_") || name.starts_with(ENGINES_OWN) => continue,
            (name, Some(sql)) if is_virtual(sql) => {
                // Creating it would create its shadow tables too, which are dumped as the tables they are.
                if !std::mem::replace(&mut writable_schema, true) {
                    output.print("PRAGMA writable_schema=ON;\n")?;
                }
                let [name, sql] = [name, sql].map(literal::text);
                output.print(&format!(
                    "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',{name},{name},0,{sql});\n"
                ))?;
                continue;
            }
            (_, Some(sql)) => output.print(&format!("{sql};\n"))?,
            (_, None) => continue,
        }
        write_rows(transaction, &entry.name, output).await?;
    }
    for kind in ["index", "trigger", "view"] {
        for entry in entries.iter().filter(|entry| entry.kind == kind) {
            if let Some(sql) = &entry.sql {
                output.print(&format!("{sql};\n"))?;
            }
        }
    }
    if writable_schema {
        output.print("PRAGMA writable_schema=OFF;\n")?;
    }
    Ok(())
}

fn is_virtual(sql: &str) -> bool {
    crate::sql::lexer::tokens(sql)
        .nth(1)
        .is_some_and(|word| word.is_keyword(sql, "VIRTUAL"))
}

/// Writes an INSERT for every row.
async fn write_rows(
    transaction: &mut Transaction<'_>,
    table: &str,
    output: &mut Output,
) -> Result<()> {
    let table_name = literal::identifier(table);
    let columns = stored_columns(transaction, &table_name).await?;
    let names: Vec<String> = columns
        .names
        .iter()
        .map(|name| literal::identifier(name))
        .collect();
    let classes: Vec<String> = names
        .iter()
        .map(|name| format!("substr(typeof({name}),1,1)"))
        .collect();
    let values: Vec<String> = names.iter().map(|name| whole_value(name)).collect();
    let sql = format!(
        "SELECT {}, {} FROM {table_name}",
        classes.join("||"),
        values.join(", ")
    );
    let list = if columns.some_generated {
        format!("({})", names.join(","))
    } else {
        String::new()
    };
    let prefix = format!("INSERT INTO {table_name}{list} VALUES(");

    let mut rows: RowStream<'_> = transaction
        .query_stream(&sql, ())
        .await
        .map_err(Error::Statement)?;
    while let Some(row) = rows.next().await.map_err(Error::Statement)? {
        let mut values = row.into_values().into_iter();
        let classes = match values.next() {
            Some(Value::Text(classes)) => classes,
            _ => String::new(),
        };
        let mut line = prefix.clone();
        for (index, (value, class)) in values.zip(classes.chars()).enumerate() {
            if index > 0 {
                line.push(',');
            }
            line.push_str(&sql_literal(&value, class));
        }
        line.push_str(");\n");
        output.print(&line)?;
    }
    Ok(())
}

/// An expression for a column's value that survives the protocol.
fn whole_value(name: &str) -> String {
    format!(
        "CASE WHEN typeof({name})='text' AND instr(CAST({name} AS BLOB),x'00')>0 \
         THEN CAST({name} AS BLOB) ELSE {name} END"
    )
}

struct StoredColumns {
    names: Vec<String>,
    /// Generated columns are not among the names: nothing can be inserted into them.
    some_generated: bool,
}

async fn stored_columns(
    transaction: &mut Transaction<'_>,
    table_name: &str,
) -> Result<StoredColumns> {
    // `table_xinfo` also lists generated columns, which `table_info` leaves out.
    let info = format!("PRAGMA table_info({table_name})");
    let stored = transaction
        .query::<Vec<Value>>(&info, ())
        .await
        .map_err(Error::Statement)?;
    let extended = format!("PRAGMA table_xinfo({table_name})");
    let all = transaction
        .query::<Vec<Value>>(&extended, ())
        .await
        .map_err(Error::Statement)?;
    let name = |row: &Vec<Value>| match row.get(1) {
        Some(Value::Text(name)) => Some(name.clone()),
        _ => None,
    };
    Ok(StoredColumns {
        names: stored.iter().filter_map(name).collect(),
        some_generated: all.len() > stored.len(),
    })
}

/// A value as an SQL literal. `class` is the first letter of its storage class.
fn sql_literal(value: &Value, class: char) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) | Value::UnixTime(number) => number.to_string(),
        Value::Boolean(truth) => if *truth { "1" } else { "0" }.to_owned(),
        Value::Float(number) => literal::real(*number),
        Value::Text(text) | Value::Iso8601(text) => text_literal(text),
        Value::Blob(bytes) if class == 't' => format!("CAST({} AS TEXT)", literal::blob(bytes)),
        Value::Blob(bytes) => literal::blob(bytes),
    }
}

/// A text. sqlite3 drops a carriage return at the end of a line that it reads, also inside a literal, so
/// that carriage returns are written as something else and put back when the statement is run.
fn text_literal(text: &str) -> String {
    if !text.contains('\r') {
        return literal::text(text);
    }
    let mut stand_in = "\\r".to_owned();
    while text.contains(&stand_in) {
        stand_in.push('_');
    }
    let masked = literal::text(&text.replace('\r', &stand_in));
    format!("replace({masked},'{stand_in}',char(13))")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: the type of every value in a dump.
    #[test]
    fn values_keep_their_types() {
        for (value, class, expected) in [
            (Value::Null, 'n', "NULL"),
            (i64::MIN.into(), 'i', "-9223372036854775808"),
            (1.0.into(), 'r', "1.0"),
            ("1".into(), 't', "'1'"),
            ("it's\n".into(), 't', "'it''s\n'"),
            ("a\r\nb".into(), 't', "replace('a\\r\nb','\\r',char(13))"),
            ("\\r\r".into(), 't', "replace('\\r\\r_','\\r_',char(13))"),
            (Value::Blob(vec![0x31, 0].into()), 'b', "X'3100'"),
            (
                Value::Blob(vec![0x31, 0].into()),
                't',
                "CAST(X'3100' AS TEXT)",
            ),
            (Value::Boolean(true), 'i', "1"),
        ] {
            assert_eq!(sql_literal(&value, class), expected);
        }
    }

    /// Protects: virtual tables are told from tables that are named so.
    #[test]
    fn virtual_tables_are_recognised() {
        assert!(is_virtual("CREATE VIRTUAL TABLE t USING fts5(a)"));
        assert!(!is_virtual("CREATE TABLE virtual(a)"));
    }
}
