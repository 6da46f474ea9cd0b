//! `.import`: rows of a CSV file into a table.
//!
//! A thread reads the file ahead; rows go to the server in batches, each a transaction of several
//! INSERTs of many rows. So nothing ever waits for a whole file, the writer's turn is given back between
//! batches, and a batch that failed because the leader changed is simply run again. When a row is
//! refused, its batch is undone and searched for the row, so that the message names its line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread;

use ferrolite_client::Session;
use ferrolite_wire::Value;
use tokio::sync::mpsc;

use super::catalog;
use super::dot::ImportOptions;
use super::follow::Following;
use super::runner::counted;
use crate::error::{Error, Result};
use crate::progress::{self, Bar};
use crate::sql::literal;

/// Rows in a transaction.
const BATCH_ROWS: usize = 5_000;
/// Bytes of fields in a transaction, which ends with the row that reaches it.
const BATCH_BYTES: usize = 4 << 20;
/// Parameters in a statement: what every version of the protocol can carry.
const STATEMENT_PARAMS: usize = 255;
/// How often a batch is run again after it failed for a reason that passes.
const MOST_ATTEMPTS: u32 = 5;

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Rows that are in the table now.
    pub rows: u64,
    /// Rows that had fewer fields than the table has columns.
    pub short_rows: u64,
}

/// A row of the file.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    line: u64,
    fields: Vec<Value>,
}

/// Rows that are committed together.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<Row>,
    /// How far the file is read with them.
    file_bytes: u64,
}

/// Loads a CSV file.
///
/// # Errors
/// When the file cannot be read or is no CSV, or a row is refused. Batches before that stay in the table,
/// and the message says how many rows that are.
pub async fn import(following: &mut Following, options: &ImportOptions) -> Result<Imported> {
    let path = PathBuf::from(&options.file);
    let file = File::open(&path).map_err(Error::file("cannot read", &path))?;
    let file_bytes = file
        .metadata()
        .map_err(Error::file("cannot read", &path))?
        .len();
    let mut rows = Rows::new(BufReader::new(file), options)?;
    let columns = prepare_table(following, options, &mut rows).await?;

    let mut queue = read_ahead(rows, columns.len())?;
    let insert = Insert::new(&options.table, &columns);
    let mut underway = Underway {
        bar: progress::bytes_bar(file_bytes, "importing"),
        table: &options.table,
        imported: Imported {
            rows: 0,
            short_rows: 0,
        },
        is_over: false,
    };
    let loaded = load(following, &mut queue, &insert, &mut underway).await;
    underway.is_over = true;
    let imported = underway.imported;
    loaded
        .map(|()| imported)
        .map_err(|error| after_rows(error, imported.rows, options))
}

/// An import that has begun. When Ctrl-C drops it, it says what is in the table already.
struct Underway<'o> {
    bar: Bar,
    table: &'o str,
    imported: Imported,
    is_over: bool,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let rows = counted(self.imported.rows, "row");
            self.bar.note(&format!(
                "-- {rows} imported into {} before that",
                self.table
            ));
        }
    }
}

/// The table's columns; the table is created from the first row if it does not exist.
async fn prepare_table(
    following: &mut Following,
    options: &ImportOptions,
    rows: &mut Rows<impl BufRead>,
) -> Result<Vec<String>> {
    let columns = catalog::columns(following, &options.table).await?;
    if !columns.is_empty() {
        return Ok(columns);
    }
    let Some(header) = rows.next_row()? else {
        return Err(Error::input(format!(
            "{} has no header line to create {} from",
            options.file, options.table
        )));
    };
    let names: Vec<String> = header
        .fields
        .into_iter()
        .map(|field| match field {
            Value::Text(name) => name,
            _ => String::new(),
        })
        .collect();
    if names.iter().any(String::is_empty) {
        return Err(Error::input(format!(
            "{} line {}: a column has no name",
            options.file, header.line
        )));
    }
    // ANY keeps numbers numbers and all else text, as sqlite3's import does.
    let definitions: Vec<String> = names
        .iter()
        .map(|name| format!("{} ANY", literal::identifier(name)))
        .collect();
    let create = format!(
        "CREATE TABLE {} ({})",
        literal::identifier(&options.table),
        definitions.join(", ")
    );
    following.fetch(&create).await?;
    Ok(names)
}

async fn load(
    following: &mut Following,
    queue: &mut mpsc::Receiver<Result<Batch>>,
    insert: &Insert,
    underway: &mut Underway<'_>,
) -> Result<()> {
    while let Some(batch) = queue.recv().await {
        let mut batch = batch?;
        for row in &mut batch.rows {
            if row.fields.len() < insert.columns {
                underway.imported.short_rows = underway.imported.short_rows.saturating_add(1);
                row.fields.resize(insert.columns, Value::Null);
            }
        }
        commit(following, insert, &batch).await?;
        underway.imported.rows = underway
            .imported
            .rows
            .saturating_add(u64::try_from(batch.rows.len()).unwrap_or(u64::MAX));
        underway.bar.set_position(batch.file_bytes);
    }
    Ok(())
}

/// Runs a batch as one transaction, again if that is safe.
async fn commit(following: &mut Following, insert: &Insert, batch: &Batch) -> Result<()> {
    let mut attempt = 1;
    loop {
        let session = following.session().await?;
        let committed = insert.commit(session, &batch.rows).await;
        if let Err(error) = &committed {
            following.note(error);
        }
        match committed {
            Ok(()) => return Ok(()),
            Err(error) if error.is_retryable() && attempt < MOST_ATTEMPTS => attempt += 1,
            Err(error) if error.sqlite_code().is_some() && !error.is_outcome_unknown() => {
                return Err(find_refused(following, insert, batch, error).await);
            }
            Err(error) => return Err(Error::Statement(error)),
        }
    }
}

/// Runs the rows of a refused batch one by one, all of which is undone, to learn which one it was.
async fn find_refused(
    following: &mut Following,
    insert: &Insert,
    batch: &Batch,
    refusal: ferrolite_client::Error,
) -> Error {
    let Ok(session) = following.session().await else {
        return Error::Statement(refusal);
    };
    match insert.first_refused(session, &batch.rows).await {
        Ok(Some((line, refusal))) => {
            let source = Box::new(Error::Statement(refusal));
            Error::Script {
                script: "the file".to_owned(),
                line,
                source,
            }
        }
        Ok(None) | Err(_) => Error::Statement(refusal),
    }
}

/// Adds to an error what became of the rows before it.
fn after_rows(error: Error, rows: u64, options: &ImportOptions) -> Error {
    let ImportOptions { file, table, .. } = options;
    let advice = match rows {
        0 => format!("nothing was imported into {table}"),
        _ => format!(
            "{} before that are in {table} already",
            counted(rows, "row")
        ),
    };
    match error {
        Error::Interrupted => error,
        Error::Script { line, source, .. } => Error::Input {
            message: format!("{file} line {line}: {source}"),
            advice: Some(advice),
        },
        Error::Statement(source) if source.is_outcome_unknown() => Error::Input {
            message: format!("{file}: {source}"),
            advice: Some(format!(
                "{advice}; whether the batch after them is too, is not known: count the rows"
            )),
        },
        other => Error::Input {
            message: format!("{file}: {other}"),
            advice: Some(advice),
        },
    }
}

/// The INSERT statements of an import.
struct Insert {
    prefix: String,
    columns: usize,
    rows_per_statement: usize,
}

impl Insert {
    fn new(table: &str, columns: &[String]) -> Self {
        let names: Vec<String> = columns
            .iter()
            .map(|name| literal::identifier(name))
            .collect();
        Self {
            prefix: format!(
                "INSERT INTO {} ({}) VALUES ",
                literal::identifier(table),
                names.join(",")
            ),
            columns: columns.len(),
            rows_per_statement: (STATEMENT_PARAMS / columns.len().max(1)).max(1),
        }
    }

    fn sql(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        format!("{}{}", self.prefix, vec![row; rows].join(","))
    }

    async fn commit(&self, session: &mut Session, rows: &[Row]) -> ferrolite_client::Result<()> {
        let mut transaction = session.transaction().await?;
        let full = self.sql(self.rows_per_statement);
        for chunk in rows.chunks(self.rows_per_statement) {
            let params: Vec<Value> = chunk
                .iter()
                .flat_map(|row| row.fields.iter().cloned())
                .collect();
            if chunk.len() == self.rows_per_statement {
                transaction.execute_prepared(&full, params).await?;
            } else {
                transaction.execute(&self.sql(chunk.len()), params).await?;
            }
        }
        transaction.commit().await
    }

    async fn first_refused(
        &self,
        session: &mut Session,
        rows: &[Row],
    ) -> ferrolite_client::Result<Option<(u64, ferrolite_client::Error)>> {
        let mut transaction = session.transaction().await?;
        let single = self.sql(1);
        let mut refused = None;
        for row in rows {
            if let Err(error) = transaction.execute_prepared(&single, &row.fields).await {
                refused = Some((row.line, error));
                break;
            }
        }
        transaction.rollback().await?;
        Ok(refused)
    }
}

/// Reads a CSV file row by row.
struct Rows<R> {
    reader: csv::Reader<R>,
    record: csv::ByteRecord,
    file: String,
    skipped: u64,
    skipped_bytes: u64,
    null_text: Option<String>,
}

impl<R: BufRead> Rows<R> {
    fn new(mut source: R, options: &ImportOptions) -> Result<Self> {
        let mut skipped_bytes = 0u64;
        for _ in 0..options.skip_lines {
            let mut line = Vec::new();
            let read = source
                .read_until(b'\n', &mut line)
                .map_err(Error::file("cannot read", &options.file))?;
            skipped_bytes = skipped_bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(options.separator)
            .from_reader(source);
        Ok(Self {
            reader,
            record: csv::ByteRecord::new(),
            file: options.file.clone(),
            skipped: options.skip_lines,
            skipped_bytes,
            null_text: options.null_text.clone(),
        })
    }

    /// The next row, or none at the end.
    fn next_row(&mut self) -> Result<Option<Row>> {
        let read = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(|error| self.broken(error))?;
        if !read {
            return Ok(None);
        }
        let line = self
            .record
            .position()
            .map_or(0, csv::Position::line)
            .saturating_add(self.skipped);
        let mut fields = Vec::with_capacity(self.record.len());
        for (index, field) in self.record.iter().enumerate() {
            let text = std::str::from_utf8(field).map_err(|_| Error::Input {
                message: format!(
                    "{} line {line}: field {} is not UTF-8",
                    self.file,
                    index.saturating_add(1)
                ),
                advice: Some("convert the file, for instance with iconv -t UTF-8".to_owned()),
            })?;
            if text.contains('\0') {
                return Err(Error::input(format!(
                    "{} line {line}: field {} contains a NUL character",
                    self.file,
                    index.saturating_add(1)
                )));
            }
            let is_null = self.null_text.as_deref() == Some(text);
            fields.push(if is_null { Value::Null } else { text.into() });
        }
        if line == 1
            && let Some(Value::Text(first)) = fields.first_mut()
            && first.starts_with('\u{feff}')
        {
            // A byte order mark is no part of the first field.
            first.remove(0);
        }
        Ok(Some(Row { line, fields }))
    }

    /// How far the file is read, in bytes.
    fn position_bytes(&self) -> u64 {
        self.reader
            .position()
            .byte()
            .saturating_add(self.skipped_bytes)
    }

    fn broken(&self, error: csv::Error) -> Error {
        let path = Path::new(&self.file);
        match error.into_kind() {
            csv::ErrorKind::Io(source) => Error::file("cannot read", path)(source),
            other => Error::input(format!("{}: not readable as CSV: {other:?}", self.file)),
        }
    }
}

/// Collects rows into batches on a thread of its own.
fn read_ahead<R: BufRead + Send + 'static>(
    mut rows: Rows<R>,
    columns: usize,
) -> Result<mpsc::Receiver<Result<Batch>>> {
    let (sender, queue) = mpsc::channel(2);
    let read_all = move || {
        loop {
            let batch = next_batch(&mut rows, columns);
            let ends = !matches!(&batch, Ok(Some(_)));
            if let Some(batch) = batch.transpose()
                && sender.blocking_send(batch).is_err()
            {
                return;
            }
            if ends {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("csv-reader".to_owned())
        .spawn(read_all)
        .map_err(|source| Error::Terminal {
            doing: "cannot start a thread to read the file",
            source,
        })?;
    Ok(queue)
}

fn next_batch(rows: &mut Rows<impl BufRead>, columns: usize) -> Result<Option<Batch>> {
    let mut batch = Batch::default();
    let mut bytes = 0usize;
    while batch.rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let Some(row) = rows.next_row()? else { break };
        if row.fields.len() > columns {
            return Err(Error::input(format!(
                "{} line {}: {} where the table has {}",
                rows.file,
                row.line,
                counted(u64::try_from(row.fields.len()).unwrap_or(u64::MAX), "field"),
                counted(u64::try_from(columns).unwrap_or(u64::MAX), "column"),
            )));
        }
        let row_bytes = |field: &Value| match field {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        bytes = row
            .fields
            .iter()
            .map(row_bytes)
            .fold(bytes, usize::saturating_add);
        batch.rows.push(row);
    }
    batch.file_bytes = rows.position_bytes();
    Ok((!batch.rows.is_empty()).then_some(batch))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn options(skip_lines: u64, null_text: Option<&str>) -> ImportOptions {
        ImportOptions {
            file: "f.csv".into(),
            table: "t".into(),
            skip_lines,
            separator: b',',
            null_text: null_text.map(str::to_owned),
        }
    }

    fn read(csv: &str, options: &ImportOptions) -> Vec<(u64, Vec<Value>)> {
        let mut rows = Rows::new(std::io::Cursor::new(csv.to_owned()), options).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            all.push((row.line, row.fields));
        }
        all
    }

    /// Protects: fields with quotes, newlines and blanks, and the line that an error would name.
    #[test]
    fn rows_know_their_line() {
        let csv = "\u{feff}a,\"b \"\"x\"\"\"\n\"two\nlines\",\n last,NA\n";
        assert_eq!(
            read(csv, &options(0, Some("NA"))),
            [
                (1, vec!["a".into(), "b \"x\"".into()]),
                (2, vec!["two\nlines".into(), "".into()]),
                (4, vec![" last".into(), Value::Null]),
            ]
        );
        assert_eq!(
            read("x\ny\n1,2\n", &options(2, None)),
            [(3, vec!["1".into(), "2".into()])]
        );
    }

    /// Protects: a row that does not fit the table is refused with its line, and not cut.
    #[test]
    fn too_many_fields_are_refused() {
        let mut rows = Rows::new(std::io::Cursor::new("1,2\n1,2,3\n"), &options(0, None)).unwrap();
        let message = next_batch(&mut rows, 2).unwrap_err().to_string();
        assert_eq!(
            message,
            "f.csv line 2: 3 fields where the table has 2 columns"
        );
        let mut rows = Rows::new(
            std::io::Cursor::new(b"ok\n\xff\n".to_vec()),
            &options(0, None),
        )
        .unwrap();
        assert!(
            next_batch(&mut rows, 1)
                .unwrap_err()
                .to_string()
                .contains("line 2: field 1 is not UTF-8")
        );
    }

    /// Protects: memory, and that batches neither lose nor repeat a row.
    #[test]
    fn batches_are_bounded() {
        let csv: String = (0..BATCH_ROWS + 3).map(|n| format!("{n}\n")).collect();
        let length = csv.len();
        let mut rows = Rows::new(std::io::Cursor::new(csv), &options(0, None)).unwrap();
        let first = next_batch(&mut rows, 1).unwrap().unwrap();
        let second = next_batch(&mut rows, 1).unwrap().unwrap();
        assert_eq!((first.rows.len(), second.rows.len()), (BATCH_ROWS, 3));
        assert_eq!(second.rows[0].fields, [Value::from(BATCH_ROWS.to_string())]);
        assert_eq!(second.file_bytes, u64::try_from(length).unwrap());
        assert!(next_batch(&mut rows, 1).unwrap().is_none());
    }

    /// Protects: the statement's size, for any number of columns.
    #[test]
    fn statements_stay_within_the_protocols_parameters() {
        let columns = |n: usize| (0..n).map(|i| format!("c{i}")).collect::<Vec<_>>();
        for n in [1, 3, 255, 300] {
            let insert = Insert::new("t", &columns(n));
            let params = insert.sql(insert.rows_per_statement).matches('?').count();
            assert!(params <= STATEMENT_PARAMS.max(n), "{n} columns: {params}");
        }
        assert_eq!(
            Insert::new("a\"b", &columns(2)).sql(2),
            "INSERT INTO \"a\"\"b\" (\"c0\",\"c1\") VALUES (?,?),(?,?)"
        );
    }
}
