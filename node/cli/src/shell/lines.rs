//! Lines of a script, from standard input or a file.
//!
//! Reading blocks, so a thread reads ahead by a bounded number of lines. The thread is not waited for at
//! the end: a shell that stops at an error must not hang until somebody closes its standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// Lines read ahead.
const AHEAD: usize = 64;

/// A source of lines.
pub struct Lines {
    /// What messages call it.
    pub name: String,
    queue: mpsc::Receiver<io::Result<Vec<u8>>>,
    number: u64,
}

impl Lines {
    /// The lines of standard input.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn of_stdin() -> Result<Self> {
        Self::read_ahead("standard input".to_owned(), BufReader::new(io::stdin()))
    }

    /// The lines of a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of_file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::file("cannot read", path))?;
        Self::read_ahead(path.display().to_string(), BufReader::new(file))
    }

    /// The lines of a text.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn of_text(name: &str, text: String) -> Result<Self> {
        Self::read_ahead(name.to_owned(), io::Cursor::new(text))
    }

    fn read_ahead(name: String, mut reader: impl BufRead + Send + 'static) -> Result<Self> {
        let (sender, queue) = mpsc::channel(AHEAD);
        let read_all = move || {
            loop {
                let mut line = Vec::new();
                let read = reader.read_until(b'\n', &mut line);
                let last = !matches!(read, Ok(1..));
                if !matches!(read, Ok(0)) && sender.blocking_send(read.map(|_| line)).is_err() {
                    return;
                }
                if last {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("script-reader".to_owned())
            .spawn(read_all)
            .map_err(|source| Error::Terminal {
                doing: "cannot start a thread to read the script",
                source,
            })?;
        Ok(Self {
            name,
            queue,
            number: 0,
        })
    }

    /// The next line with its newline, and its number, counted from 1; `None` at the end.
    ///
    /// # Errors
    /// When reading fails, or the line is not UTF-8.
    pub async fn next(&mut self) -> Result<Option<(u64, String)>> {
        let Some(line) = self.queue.recv().await else {
            return Ok(None);
        };
        self.number = self.number.saturating_add(1);
        let bytes = line.map_err(|source| Error::Terminal {
            doing: "cannot read the script",
            source,
        })?;
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let column = error.utf8_error().valid_up_to().saturating_add(1);
            Error::Input {
                message: format!(
                    "{} line {}: byte {column} is not UTF-8",
                    self.name, self.number
                ),
                advice: Some("convert the file, for instance with iconv -t UTF-8".to_owned()),
            }
        })?;
        if self.number == 1 && text.starts_with('\u{feff}') {
            // A byte order mark is no part of the script.
            text.remove(0);
        }
        Ok(Some((self.number, text)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Protects: line numbers, the last line without a newline, and an error instead of mangled text.
    #[tokio::test]
    async fn lines_are_numbered() {
        let mut lines = Lines::of_text("x", "\u{feff}a\n\nb".to_owned()).unwrap();
        assert_eq!(lines.next().await.unwrap(), Some((1, "a\n".to_owned())));
        assert_eq!(lines.next().await.unwrap(), Some((2, "\n".to_owned())));
        assert_eq!(lines.next().await.unwrap(), Some((3, "b".to_owned())));
        assert_eq!(lines.next().await.unwrap(), None);
        let mut bad =
            Lines::read_ahead("x".to_owned(), io::Cursor::new(b"ok\n\xff\n".to_vec())).unwrap();
        bad.next().await.unwrap();
        assert!(
            bad.next()
                .await
                .unwrap_err()
                .to_string()
                .contains("line 2: byte 1")
        );
    }
}
