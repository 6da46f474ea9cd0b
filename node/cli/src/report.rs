//! Small tables of the program's own: the nodes of a cluster, its databases.
//!
//! They are shown like results, in any [`Format`]; JSON keeps numbers and truth values as such.

use std::io::{self, Write};

use ferrolite_wire::Value;
use serde_json::{Map, Value as Json};

use crate::render::{Format, Mode, Renderer};

/// How a command writes what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ReportFormat {
    /// A table, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
}

/// Named columns and rows of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

impl Report {
    /// An empty table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: a value per column.
    pub fn push(&mut self, row: Vec<Json>) {
        self.rows.push(row);
    }

    /// The rows as JSON objects.
    pub fn to_json(&self) -> Vec<Json> {
        let object = |row: &Vec<Json>| {
            self.columns
                .iter()
                .cloned()
                .zip(row.iter().cloned())
                .collect::<Map<_, _>>()
        };
        self.rows
            .iter()
            .map(|row| Json::Object(object(row)))
            .collect()
    }

    /// Writes the table.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write(&self, format: &Format, out: &mut dyn Write) -> io::Result<()> {
        if format.mode == Mode::Json {
            let rows: Vec<String> = self.to_json().iter().map(Json::to_string).collect();
            return writeln!(out, "[{}]", rows.join(",\n"));
        }
        let mut renderer = Renderer::new(format, &self.columns);
        // A node's id may need all 64 bits, which a value has not; such a column is text, all of it.
        let fits = |json: &Json| !json.is_u64() || json.is_i64();
        let numeric: Vec<bool> = (0..self.columns.len())
            .map(|index| self.rows.iter().filter_map(|row| row.get(index)).all(fits))
            .collect();
        for row in &self.rows {
            let cells = row.iter().zip(&numeric);
            let values: Vec<Value> = cells.map(|(json, numeric)| cell(json, *numeric)).collect();
            renderer.row(out, &values)?;
        }
        renderer.finish(out)
    }

    /// Writes the table to standard output, as a command's answer.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn print(&self, format: ReportFormat) -> crate::Result<()> {
        let mut output = crate::shell::output::Output::standard();
        let format = Format {
            mode: match format {
                ReportFormat::Table => Mode::Table,
                ReportFormat::Json => Mode::Json,
            },
            headers: true,
            null_value: String::new(),
            terminal_columns: output.terminal_columns(),
        };
        let written = self.write(&format, output.writer());
        written.map_err(|source| output.error(source))?;
        output.flush()
    }
}

fn cell(json: &Json, numeric: bool) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => if *truth { "yes" } else { "no" }.into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) if numeric => number.into(),
            _ => number.to_string().into(),
        },
        Json::String(text) => text.as_str().into(),
        nested => nested.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// Protects: ids of 64 bits, and what scripts read.
    #[test]
    fn both_formats() {
        let mut report = Report::new(&["id", "leader", "note"]);
        report.push(vec![json!(u64::MAX), json!(true), Json::Null]);
        let mut format = Format {
            mode: Mode::Json,
            headers: true,
            null_value: String::new(),
            terminal_columns: None,
        };
        let mut out = Vec::new();
        report.write(&format, &mut out).unwrap();
        format.mode = Mode::List;
        report.write(&format, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "[{\"id\":18446744073709551615,\"leader\":true,\"note\":null}]\nid|leader|note\n18446744073709551615|yes|\n"
        );
    }
}
