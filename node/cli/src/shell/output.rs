//! Where results go: standard output or a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::render::cell;

/// The place that results are written to.
pub struct Output {
    sink: Sink,
}

enum Sink {
    Standard {
        out: BufWriter<io::Stdout>,
        is_terminal: bool,
    },
    File {
        out: BufWriter<File>,
        path: PathBuf,
    },
}

impl Default for Output {
    fn default() -> Self {
        Self::standard()
    }
}

impl Output {
    /// Standard output.
    pub fn standard() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            sink: Sink::Standard {
                out: BufWriter::new(io::stdout()),
                is_terminal,
            },
        }
    }

    /// A file, made anew.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::create(&path).map_err(Error::file("cannot create", &path))?;
        Ok(Self {
            sink: Sink::File {
                out: BufWriter::new(file),
                path,
            },
        })
    }

    /// Whether a person watches.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self.sink,
            Sink::Standard {
                is_terminal: true,
                ..
            }
        )
    }

    /// The width of the terminal, if this is one. A terminal that does not tell has 80 columns.
    pub fn terminal_columns(&self) -> Option<usize> {
        self.is_terminal()
            .then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)))
    }

    /// The file's name, or `stdout`.
    pub fn name(&self) -> String {
        match &self.sink {
            Sink::File { path, .. } => path.display().to_string(),
            _ => "stdout".to_owned(),
        }
    }

    /// The writer itself.
    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.sink {
            Sink::Standard { out, .. } => out,
            Sink::File { out, .. } => out,
        }
    }

    /// Writes a text; to a terminal without the control characters that may be in it, since even a CREATE
    /// statement can contain some.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn print(&mut self, text: &str) -> Result<()> {
        let text = match self.is_terminal() {
            true => cell::escape_controls(text.into(), true),
            false => text.into(),
        };
        let written = self.writer().write_all(text.as_bytes());
        written.map_err(|source| self.error(source))
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.writer().flush();
        flushed.map_err(|source| self.error(source))
    }

    /// An error of this output.
    pub fn error(&self, source: io::Error) -> Error {
        match &self.sink {
            Sink::File { path, .. } => Error::File {
                doing: "cannot write",
                path: path.clone(),
                source,
            },
            _ => Error::output(source),
        }
    }
}
