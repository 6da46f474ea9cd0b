//! The formats that write each row as it comes: CSV, JSON, list and line.

use std::io::{self, Write};

use ferrolite_wire::Value;

use super::{Format, Mode, cell};
use crate::sql::literal;

/// Writes one result without looking ahead.
pub struct Plain {
    format: Format,
    columns: Vec<String>,
    /// The widest column name, for line mode.
    name_columns: usize,
    rows: u64,
}

impl Plain {
    pub fn new(format: &Format, columns: &[String]) -> Self {
        Self {
            format: format.clone(),
            columns: columns.to_vec(),
            name_columns: columns
                .iter()
                .map(|name| cell::columns(name))
                .max()
                .unwrap_or(0),
            rows: 0,
        }
    }

    pub fn row(&mut self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        self.begin(out)?;
        self.rows = self.rows.saturating_add(1);
        match self.format.mode {
            Mode::Csv => {
                let null_value = self.format.null_value.as_str();
                let fields = values
                    .iter()
                    .map(|value| self.safe(cell::text(value, null_value)));
                write_csv(out, fields.map(|field| field.into_owned()))
            }
            Mode::Json => self.write_json(out, values),
            Mode::Line => self.write_lines(out, values),
            Mode::List | Mode::Table | Mode::Box | Mode::Markdown => self.write_list(out, values),
        }
    }

    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.begin(out)?;
        match (self.format.mode, self.rows) {
            (Mode::Json, _) => out.write_all(b"]\n"),
            _ => Ok(()),
        }
    }

    /// What stands before the first row, or between this row and the one before.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows > 0 {
            return Ok(());
        }
        match self.format.mode {
            Mode::Json => out.write_all(b"["),
            Mode::Csv if self.format.headers => {
                let names = self
                    .columns
                    .iter()
                    .map(|name| self.safe(name.as_str().into()));
                write_csv(out, names.map(|name| name.into_owned()))
            }
            Mode::List if self.format.headers => {
                let names: Vec<_> = self
                    .columns
                    .iter()
                    .map(|name| self.safe(name.as_str().into()))
                    .collect();
                writeln!(out, "{}", names.join("|"))
            }
            _ => Ok(()),
        }
    }

    fn write_list(&self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        for (index, value) in values.iter().enumerate() {
            let separator = if index == 0 { "" } else { "|" };
            let text = self.safe(cell::text(value, &self.format.null_value));
            write!(out, "{separator}{text}")?;
        }
        out.write_all(b"\n")
    }

    fn write_lines(&self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        if self.rows > 1 {
            out.write_all(b"\n")?;
        }
        for (name, value) in self.columns.iter().zip(values) {
            let name = self.safe(name.as_str().into());
            let text = self.safe(cell::text(value, &self.format.null_value));
            let padding = self.name_columns.saturating_sub(cell::columns(&name));
            writeln!(out, "{:padding$}{name} = {text}", "")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        out.write_all(if self.rows > 1 { b",\n{" } else { b"{" })?;
        let mut separator = "";
        for (name, value) in self.columns.iter().zip(values) {
            write!(out, "{separator}{}:", self.json_text(name)?)?;
            separator = ",";
            match value {
                Value::Null => out.write_all(b"null"),
                Value::Boolean(truth) => write!(out, "{truth}"),
                Value::Integer(number) | Value::UnixTime(number) => write!(out, "{number}"),
                // A number that is too large for a double is what JSON has for infinity.
                Value::Float(number) if number.is_infinite() => {
                    out.write_all(literal::real(*number).as_bytes())
                }
                Value::Float(number) if number.is_nan() => out.write_all(b"null"),
                Value::Float(number) => out.write_all(literal::format_real(*number).as_bytes()),
                Value::Text(text) | Value::Iso8601(text) => {
                    write!(out, "{}", self.json_text(text)?)
                }
                Value::Blob(bytes) => {
                    let mut digits = String::new();
                    literal::push_hex(&mut digits, bytes);
                    write!(out, "\"{digits}\"")
                }
            }?;
        }
        out.write_all(b"}")
    }

    /// A JSON string. JSON itself allows the control characters from 0x7f to 0x9f unescaped; for a
    /// terminal they are escaped too.
    fn json_text(&self, text: &str) -> io::Result<String> {
        let json = serde_json::to_string(text)?;
        if self.format.terminal_columns.is_none() || !json.contains(char::is_control) {
            return Ok(json);
        }
        Ok(json
            .chars()
            .map(|c| {
                if c.is_control() {
                    format!("\\u{:04x}", u32::from(c))
                } else {
                    c.to_string()
                }
            })
            .collect())
    }

    /// The text itself, but for a terminal without control characters.
    fn safe<'t>(&self, text: std::borrow::Cow<'t, str>) -> std::borrow::Cow<'t, str> {
        match self.format.terminal_columns {
            Some(_) => cell::escape_controls(text, true),
            None => text,
        }
    }
}

fn write_csv(out: &mut dyn Write, fields: impl Iterator<Item = String>) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    writer.write_record(fields.map(String::into_bytes))?;
    writer.flush()
}
