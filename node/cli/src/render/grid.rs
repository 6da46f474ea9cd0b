//! Results in columns.
//!
//! The widths of the columns are learned from the first rows: a thousand of them, or fewer if they are
//! large. Later rows are written at once in the widths learned; what does not fit there pushes the rest
//! of its row to the right, which looks ragged and loses nothing. Only for a terminal, columns of text are
//! cut: the widest first, until a row fits into the window. Numbers are never cut, since a number
//! without its end is a different number.

use std::io::{self, Write};

use ferrolite_wire::Value;

use super::{Format, cell};

/// Rows held back to learn the widths.
const HELD_ROWS: usize = 1_000;
/// Bytes of text held back to learn the widths.
const HELD_BYTES: usize = 4 << 20;
/// A column of text is not cut narrower than this for a terminal's sake.
const LEAST_COLUMNS: usize = 6;

/// The characters that the lines of a grid are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridStyle {
    top: Option<[&'static str; 4]>,
    middle: [&'static str; 4],
    bottom: Option<[&'static str; 4]>,
    bar: &'static str,
    /// The header belongs to the format and is always written.
    needs_header: bool,
}

impl GridStyle {
    /// `+---+`
    pub const ASCII: Self = Self {
        top: Some(["+", "-", "+", "+"]),
        middle: ["+", "-", "+", "+"],
        bottom: Some(["+", "-", "+", "+"]),
        bar: "|",
        needs_header: false,
    };
    /// `┌───┐`
    pub const BOX: Self = Self {
        top: Some(["┌", "─", "┬", "┐"]),
        middle: ["├", "─", "┼", "┤"],
        bottom: Some(["└", "─", "┴", "┘"]),
        bar: "│",
        needs_header: false,
    };
    /// `|---|`
    pub const MARKDOWN: Self = Self {
        top: None,
        middle: ["|", "-", "|", "|"],
        bottom: None,
        bar: "|",
        needs_header: true,
    };
}

struct Cell {
    text: String,
    columns: usize,
    is_number: bool,
}

/// A column's shape, once it is known.
#[derive(Clone, Copy)]
struct Shape {
    width: usize,
    /// Texts longer than this are cut; none where nothing is cut.
    limit: Option<usize>,
    right: bool,
}

/// Writes one result in columns. See the module's introduction.
pub struct Grid {
    style: GridStyle,
    header: Vec<Cell>,
    shows_header: bool,
    null_value: String,
    terminal_columns: Option<usize>,
    held: Vec<Vec<Cell>>,
    held_bytes: usize,
    /// Empty while rows are held back.
    shapes: Vec<Shape>,
}

impl Grid {
    /// A grid with these column names.
    pub fn new(style: GridStyle, format: &Format, columns: &[String]) -> Self {
        Self {
            style,
            header: columns
                .iter()
                .map(|name| cell_of(name.as_str().into(), false))
                .collect(),
            shows_header: format.headers || style.needs_header,
            null_value: format.null_value.clone(),
            terminal_columns: format.terminal_columns,
            held: Vec::new(),
            held_bytes: 0,
            shapes: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn row(&mut self, out: &mut dyn Write, values: &[Value]) -> io::Result<()> {
        let cells: Vec<Cell> = values
            .iter()
            .map(|value| cell_of(cell::text(value, &self.null_value), cell::is_number(value)))
            .collect();
        if !self.shapes.is_empty() {
            return self.write_row(out, &cells);
        }
        self.held_bytes = cells.iter().fold(self.held_bytes, |sum, cell| {
            sum.saturating_add(cell.text.len())
        });
        self.held.push(cells);
        if self.held.len() >= HELD_ROWS || self.held_bytes >= HELD_BYTES {
            self.release(out)?;
        }
        Ok(())
    }

    /// Writes what is held back, and the last line.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.shapes.is_empty() {
            self.release(out)?;
        }
        match self.style.bottom {
            Some(line) => self.write_line(out, line),
            None => Ok(()),
        }
    }

    /// Learns the widths and writes all that was held back.
    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.shapes = self.learn_shapes();
        if let Some(line) = self.style.top {
            self.write_line(out, line)?;
        }
        if self.shows_header {
            let header = std::mem::take(&mut self.header);
            self.write_row(out, &header)?;
            self.write_line(out, self.style.middle)?;
        }
        for row in std::mem::take(&mut self.held) {
            self.write_row(out, &row)?;
        }
        Ok(())
    }

    fn learn_shapes(&self) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = self
            .header
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let cells = || self.held.iter().filter_map(|row| row.get(index));
                let header_columns = if self.shows_header { name.columns } else { 0 };
                let widest = cells().map(|cell| cell.columns).max().unwrap_or(0);
                Shape {
                    width: widest.max(header_columns).max(1),
                    limit: None,
                    right: cells().any(|cell| cell.is_number)
                        && cells().all(|cell| cell.is_number || cell.text == self.null_value),
                }
            })
            .collect();
        if let Some(window) = self.terminal_columns {
            // Each column costs a bar and two blanks, and the row one more bar; numbers are not cut.
            let frame = shapes.len().saturating_mul(3).saturating_add(1);
            let numbers: usize = shapes.iter().filter(|s| s.right).map(|s| s.width).sum();
            let texts: Vec<usize> = shapes
                .iter()
                .filter(|s| !s.right)
                .map(|s| s.width)
                .collect();
            let room = window.saturating_sub(frame).saturating_sub(numbers);
            let limit = column_limit(&texts, room);
            for shape in &mut shapes {
                shape.limit = Some(limit);
                if !shape.right {
                    shape.width = shape.width.min(limit);
                }
            }
        }
        shapes
    }

    fn write_row(&self, out: &mut dyn Write, cells: &[Cell]) -> io::Result<()> {
        for (cell, shape) in cells.iter().zip(&self.shapes) {
            let (text, columns) = match shape.limit {
                Some(limit) if !cell.is_number && cell.columns > limit => {
                    let cut = cell::truncate(cell.text.as_str().into(), limit).into_owned();
                    let columns = cell::columns(&cut);
                    (cut.into(), columns)
                }
                _ => (std::borrow::Cow::Borrowed(cell.text.as_str()), cell.columns),
            };
            let padding = shape.width.saturating_sub(columns);
            let (left, right) = if shape.right {
                (padding, 0)
            } else {
                (0, padding)
            };
            write!(out, "{} {:left$}{text}{:right$} ", self.style.bar, "", "")?;
        }
        writeln!(out, "{}", self.style.bar)
    }

    fn write_line(&self, out: &mut dyn Write, line: [&str; 4]) -> io::Result<()> {
        let [start, dash, cross, end] = line;
        for (index, shape) in self.shapes.iter().enumerate() {
            let joint = if index == 0 { start } else { cross };
            write!(out, "{joint}{}", dash.repeat(shape.width.saturating_add(2)))?;
        }
        writeln!(out, "{end}")
    }
}

fn cell_of(text: std::borrow::Cow<'_, str>, is_number: bool) -> Cell {
    let text = cell::escape_controls(text, false).into_owned();
    Cell {
        columns: cell::columns(&text),
        text,
        is_number,
    }
}

/// The largest limit with which columns of these widths fit into `room` when none is wider than it.
fn column_limit(widths: &[usize], room: usize) -> usize {
    let needed = |limit: usize| widths.iter().map(|width| *width.min(&limit)).sum::<usize>();
    let mut low = LEAST_COLUMNS;
    let mut high = widths.iter().copied().max().unwrap_or(0);
    let left_over = room.saturating_sub(needed(high));
    if needed(high) <= room {
        return high.saturating_add(left_over).max(low);
    }
    while low < high {
        let middle = low.saturating_add(high).saturating_add(1) / 2;
        if needed(middle) <= room {
            low = middle;
        } else {
            high = middle.saturating_sub(1);
        }
    }
    low
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::super::Mode;
    use super::super::tests::{format, render};
    use super::*;

    /// Protects: a window's width; the widest columns give way first and numbers stay whole.
    #[test]
    fn a_terminal_row_fits_its_window() {
        let narrow = Format {
            terminal_columns: Some(30),
            ..format(Mode::Table)
        };
        let row = vec![
            1_234_567_890_123i64.into(),
            "short".into(),
            "x".repeat(100).into(),
        ];
        let text = render(&narrow, &["n", "s", "long"], &[row]);
        assert_eq!(
            text,
            "+---------------+-------+--------+\n\
             |             n | s     | long   |\n\
             +---------------+-------+--------+\n\
             | 1234567890123 | short | xxxxx… |\n\
             +---------------+-------+--------+\n"
        );
        let fitting = Format {
            terminal_columns: Some(30),
            ..format(Mode::Table)
        };
        let text = render(
            &fitting,
            &["a", "b"],
            &[vec!["x".repeat(50).into(), "y".repeat(8).into()]],
        );
        assert!(text.lines().all(|line| cell::columns(line) == 30), "{text}");
    }

    /// Protects: memory, and that no row and no byte is lost, when a result outgrows what is held back.
    #[test]
    fn rows_beyond_the_bound_stream_in_fixed_widths() {
        let columns = vec!["n".to_owned(), "t".to_owned()];
        let mut grid = Grid::new(GridStyle::ASCII, &format(Mode::Table), &columns);
        let mut out = Vec::new();
        for n in 0..HELD_ROWS {
            grid.row(&mut out, &[i64::try_from(n).unwrap().into(), "a".into()])
                .unwrap();
            assert_eq!(out.is_empty(), n + 1 < HELD_ROWS);
        }
        let before = out.len();
        grid.row(&mut out, &[1000.into(), "wide value".into()])
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out[before..]),
            "| 1000 | wide value |\n"
        );
        assert!(grid.held.is_empty());
        grid.finish(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().lines().count(),
            3 + HELD_ROWS + 1 + 1
        );
    }
}
