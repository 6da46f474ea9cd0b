//! Query results as text, in the formats people and programs want.
//!
//! A result is written while it arrives. The formats that need no look ahead (CSV, JSON, list, line)
//! write each row at once; those that draw columns ([`grid`]) hold the first rows back to learn how wide
//! the columns are, up to a bound, and keep to these widths afterwards. So a SELECT of a million rows
//! needs the memory of a thousand.
//!
//! What is written is meant for one of two readers. A *terminal* gets values cut to the window's width
//! and never gets a control character, whatever the database holds: a stored escape sequence must not
//! repaint somebody's screen. A *file or pipe* gets every value whole.

pub mod cell;
pub mod grid;
mod plain;

use std::io::{self, Write};

use ferrolite_wire::Value;

pub use grid::GridStyle;

/// How a result is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Columns between lines of `-`, `|` and `+`.
    Table,
    /// Columns between lines drawn with box characters.
    Box,
    /// A table as Markdown writes it.
    Markdown,
    /// Comma-separated values, quoted where needed (RFC 4180, lines end with a newline).
    Csv,
    /// An array of objects, one row a line. Blobs are texts of hexadecimal digits.
    Json,
    /// One `column = value` a line, rows apart by an empty line.
    Line,
    /// Values separated by `|`, the way of sqlite3.
    List,
}

impl Mode {
    /// All modes, in the order in which they are offered.
    pub const ALL: [Self; 7] = [
        Self::Table,
        Self::Box,
        Self::Markdown,
        Self::Csv,
        Self::Json,
        Self::Line,
        Self::List,
    ];

    /// The mode's name, as `.mode` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Box => "box",
            Self::Markdown => "markdown",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Line => "line",
            Self::List => "list",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    fn grid_style(self) -> Option<GridStyle> {
        match self {
            Self::Table => Some(GridStyle::ASCII),
            Self::Box => Some(GridStyle::BOX),
            Self::Markdown => Some(GridStyle::MARKDOWN),
            Self::Csv | Self::Json | Self::Line | Self::List => None,
        }
    }
}

/// Everything that decides how a result looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The layout.
    pub mode: Mode,
    /// Whether column names are written, in the modes that can do without.
    pub headers: bool,
    /// What stands for NULL. JSON writes `null` whatever this is.
    pub null_value: String,
    /// The width of the terminal that the result goes to, in columns; none for a file or a pipe.
    pub terminal_columns: Option<usize>,
}

/// Writes one result. Made when the column names are known, given each row, and finished.
pub struct Renderer {
    layout: Layout,
}

enum Layout {
    Grid(Box<grid::Grid>),
    Plain(plain::Plain),
}

impl Renderer {
    /// Begins a result with these columns.
    pub fn new(format: &Format, columns: &[String]) -> Self {
        let layout = match format.mode.grid_style() {
            Some(style) => Layout::Grid(Box::new(grid::Grid::new(style, format, columns))),
            None => Layout::Plain(plain::Plain::new(format, columns)),
        };
        Self { layout }
    }

    /// Writes a row, or holds it back until the widths are known.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn row(&mut self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        match &mut self.layout {
            Layout::Grid(grid) => grid.row(out, values),
            Layout::Plain(plain) => plain.row(out, values),
        }
    }

    /// Ends the result.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        match self.layout {
            Layout::Grid(grid) => grid.finish(out),
            Layout::Plain(plain) => plain.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    pub(super) fn format(mode: Mode) -> Format {
        Format {
            mode,
            headers: true,
            null_value: String::new(),
            terminal_columns: None,
        }
    }

    pub(super) fn render(format: &Format, columns: &[&str], rows: &[Vec<Value>]) -> String {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        let mut out = Vec::new();
        let mut renderer = Renderer::new(format, &columns);
        for row in rows {
            renderer.row(&mut out, row).unwrap();
        }
        renderer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn sample() -> Vec<Vec<Value>> {
        vec![
            vec![1.into(), "Ann, \"A\"".into(), Value::Null],
            vec![
                20.into(),
                "größe 漢".into(),
                Value::Blob(vec![1, 255].into()),
            ],
        ]
    }

    /// Protects: what each mode looks like, values of every width and kind of character included.
    #[test]
    fn every_mode_has_its_look() {
        let columns = ["id", "name", "x"];
        let golden = [
            (
                Mode::Table,
                "+----+----------+---------+\n\
                 | id | name     | x       |\n\
                 +----+----------+---------+\n\
                 |  1 | Ann, \"A\" |         |\n\
                 | 20 | größe 漢 | X'01FF' |\n\
                 +----+----------+---------+\n",
            ),
            (
                Mode::Box,
                "┌────┬──────────┬─────────┐\n\
                 │ id │ name     │ x       │\n\
                 ├────┼──────────┼─────────┤\n\
                 │  1 │ Ann, \"A\" │         │\n\
                 │ 20 │ größe 漢 │ X'01FF' │\n\
                 └────┴──────────┴─────────┘\n",
            ),
            (
                Mode::Markdown,
                "| id | name     | x       |\n\
                 |----|----------|---------|\n\
                 |  1 | Ann, \"A\" |         |\n\
                 | 20 | größe 漢 | X'01FF' |\n",
            ),
            (
                Mode::Csv,
                "id,name,x\n1,\"Ann, \"\"A\"\"\",\n20,größe 漢,X'01FF'\n",
            ),
            (
                Mode::Json,
                "[{\"id\":1,\"name\":\"Ann, \\\"A\\\"\",\"x\":null},\n{\"id\":20,\"name\":\"größe 漢\",\"x\":\"01FF\"}]\n",
            ),
            (
                Mode::Line,
                "  id = 1\nname = Ann, \"A\"\n   x = \n\n  id = 20\nname = größe 漢\n   x = X'01FF'\n",
            ),
            (
                Mode::List,
                "id|name|x\n1|Ann, \"A\"|\n20|größe 漢|X'01FF'\n",
            ),
        ];
        for (mode, expected) in golden {
            assert_eq!(
                render(&format(mode), &columns, &sample()),
                expected,
                "{mode:?}"
            );
        }
    }

    /// Protects: scripts that read an empty result.
    #[test]
    fn an_empty_result_is_well_formed() {
        assert_eq!(render(&format(Mode::Json), &["a"], &[]), "[]\n");
        assert_eq!(render(&format(Mode::Csv), &["a"], &[]), "a\n");
        assert_eq!(render(&format(Mode::Line), &["a"], &[]), "");
        assert_eq!(
            render(&format(Mode::Table), &["a"], &[]),
            "+---+\n| a |\n+---+\n+---+\n"
        );
    }

    /// Protects: JSON stays JSON for numbers that it has no word for, and keeps types apart.
    #[test]
    fn json_numbers() {
        let row = vec![
            Value::Float(f64::INFINITY),
            Value::Float(1.0),
            Value::Integer(i64::MIN),
            Value::Boolean(true),
        ];
        let text = render(&format(Mode::Json), &["a", "b", "c", "d"], &[row]);
        assert_eq!(
            text,
            "[{\"a\":9.0e+999,\"b\":1.0,\"c\":-9223372036854775808,\"d\":true}]\n"
        );
    }

    /// Protects: a terminal from what is stored in a database.
    #[test]
    fn a_terminal_gets_no_control_characters() {
        for mode in Mode::ALL {
            let on_terminal = Format {
                terminal_columns: Some(80),
                ..format(mode)
            };
            let text = render(&on_terminal, &["a"], &[vec!["\x1b[2J\u{9b}x\x07\r".into()]]);
            let bad = text.chars().find(|c| c.is_control() && *c != '\n');
            // JSON escapes what JSON calls control characters; the others are escaped like everywhere.
            assert_eq!(bad, None, "{mode:?}: {text:?}");
        }
    }
}
