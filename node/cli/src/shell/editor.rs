//! The prompt of an interactive shell.
//!
//! Line editing blocks, so it runs on a thread of its own, and the shell asks it for one input after the
//! other. An input is a dot command, or SQL up to the end of a statement: Enter goes on to another line
//! while the statement is not finished, so that the whole of it can be edited and comes back from the
//! history as one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use ferrolite_client::Client;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Context, Event, EventContext, EventHandler,
    Helper, KeyEvent, RepeatCount,
};
use tokio::sync::oneshot;

use super::complete::{Completion, Names, TableNames};
use super::history;
use crate::cluster;
use crate::error::{Error, Result};
use crate::sql::Splitter;

/// Inputs that the history keeps.
const HISTORY_ENTRIES: usize = 10_000;

/// What came from the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// An input, of one or several lines.
    Text(String),
    /// Ctrl-C while something was typed: it is thrown away.
    Cancelled,
    /// Ctrl-C at the empty prompt, or Ctrl-D.
    Leave,
}

/// A line editor on a thread of its own.
pub struct Editor {
    requests: mpsc::Sender<Request>,
    names: Arc<Mutex<Names>>,
}

struct Request {
    prompt: String,
    answer: oneshot::Sender<Result<Typed>>,
}

impl Editor {
    /// Starts the editor. A history that cannot be read or written is reported in the second value; the
    /// editor works without it.
    ///
    /// # Errors
    /// When there is no terminal to edit on, or no thread.
    pub fn start() -> Result<(Self, Option<String>)> {
        let names = Arc::new(Mutex::new(Names::default()));
        let interrupted_empty = Arc::new(AtomicBool::new(false));
        let config = rustyline::Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(HISTORY_ENTRIES)
            .map_err(terminal_error)?
            .build();
        let mut line_editor = rustyline::Editor::<SqlHelper, FileHistory>::with_config(config)
            .map_err(terminal_error)?;
        line_editor.set_helper(Some(SqlHelper {
            names: Arc::clone(&names),
            files: FilenameCompleter::new(),
        }));
        let on_interrupt = NoteInterrupt {
            was_empty: Arc::clone(&interrupted_empty),
        };
        line_editor.bind_sequence(
            KeyEvent::ctrl('C'),
            EventHandler::Conditional(Box::new(on_interrupt)),
        );

        let path = history::path();
        let mut warning = None;
        if let Some(path) = &path {
            let loaded = history::prepare(path).map_err(ReadlineError::from);
            if let Err(error) = loaded.and_then(|()| line_editor.load_history(path)) {
                warning = Some(format!(
                    "cannot use the history {}: {error}",
                    path.display()
                ));
            }
        }
        let history_path = path.filter(|_| warning.is_none());

        let (requests, queue) = mpsc::channel();
        let prompt_loop = PromptLoop {
            line_editor,
            interrupted_empty,
            history_path,
        };
        thread::Builder::new()
            .name("line-editor".to_owned())
            .spawn(move || prompt_loop.run(&queue))
            .map_err(|source| Error::Terminal {
                doing: "cannot start the line editor",
                source,
            })?;
        Ok((Self { requests, names }, warning))
    }

    /// Asks for the next input.
    ///
    /// # Errors
    /// When the terminal fails.
    pub async fn read(&self, prompt: &str) -> Result<Typed> {
        let (answer, typed) = oneshot::channel();
        let request = Request {
            prompt: prompt.to_owned(),
            answer,
        };
        let gone = || Error::Terminal {
            doing: "cannot read from the terminal",
            source: std::io::Error::other("the line editor has ended"),
        };
        self.requests.send(request).map_err(|_| gone())?;
        typed.await.map_err(|_| gone())?
    }

    /// Replaces the names of tables and columns that can be completed.
    pub fn set_tables(&self, tables: TableNames) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tables = tables;
    }

    /// Fetches the names of databases, at leisure: a dqlite server lets us wait for the answer for ever.
    pub fn fetch_databases(&self, client: &Client) {
        let (client, names) = (client.clone(), Arc::clone(&self.names));
        tokio::spawn(async move {
            // Without an answer, completion knows less; `.databases` would tell why.
            if let Ok(listed) = cluster::databases(&client).await {
                let listed = listed.into_iter().map(|database| database.name).collect();
                names
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .databases = listed;
            }
        });
    }
}

/// What the editor's thread owns.
struct PromptLoop {
    line_editor: rustyline::Editor<SqlHelper, FileHistory>,
    interrupted_empty: Arc<AtomicBool>,
    /// None when the history cannot be kept in a file.
    history_path: Option<PathBuf>,
}

impl PromptLoop {
    fn run(mut self, queue: &mpsc::Receiver<Request>) {
        for request in queue {
            let typed = self.read(&request.prompt);
            if request.answer.send(typed).is_err() {
                return;
            }
        }
    }

    fn read(&mut self, prompt: &str) -> Result<Typed> {
        self.interrupted_empty.store(false, Ordering::Relaxed);
        match self.line_editor.readline(prompt) {
            Ok(text) => {
                self.remember(&text)?;
                Ok(Typed::Text(text))
            }
            Err(ReadlineError::Eof) => Ok(Typed::Leave),
            Err(ReadlineError::Interrupted) if self.interrupted_empty.load(Ordering::Relaxed) => {
                Ok(Typed::Leave)
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Cancelled),
            Err(error) => Err(terminal_error(error)),
        }
    }

    /// Writes each input at once, so that a shell that is killed has lost none.
    fn remember(&mut self, text: &str) -> Result<()> {
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(());
        }
        self.line_editor
            .add_history_entry(text)
            .map_err(terminal_error)?;
        if let Some(path) = &self.history_path {
            self.line_editor
                .append_history(path)
                .map_err(terminal_error)?;
        }
        Ok(())
    }
}

fn terminal_error(error: ReadlineError) -> Error {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    Error::Terminal {
        doing: "cannot edit lines on this terminal",
        source,
    }
}

/// Remembers whether Ctrl-C came at an empty prompt: the editor itself does not tell.
struct NoteInterrupt {
    was_empty: Arc<AtomicBool>,
}

impl ConditionalEventHandler for NoteInterrupt {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        self.was_empty
            .store(context.line().is_empty(), Ordering::Relaxed);
        Some(Cmd::Interrupt)
    }
}

/// Completion, and the decision whether Enter ends the input.
struct SqlHelper {
    names: Arc<Mutex<Names>>,
    files: FilenameCompleter,
}

impl Helper for SqlHelper {}
impl Hinter for SqlHelper {
    type Hint = String;
}
impl Highlighter for SqlHelper {}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match names.complete(line, cursor) {
            Completion::FileName => self.files.complete(line, cursor, context),
            Completion::Words { start, words } => {
                let pair = |word: String| Pair {
                    display: word.clone(),
                    replacement: word,
                };
                Ok((start, words.into_iter().map(pair).collect()))
            }
        }
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_finished(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// Whether Enter ends this input: a dot command, or SQL without an unfinished statement.
fn is_finished(input: &str) -> bool {
    if input.trim_start().starts_with('.') {
        return true;
    }
    let mut splitter = Splitter::new();
    splitter.push(input);
    while splitter.next_statement().is_some() {}
    !splitter.is_pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: Enter neither sends half a statement nor holds back a whole one.
    #[test]
    fn enter_ends_whole_statements() {
        for (input, finished) in [
            ("", true),
            (".tables", true),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT 1; SELECT", false),
            ("SELECT ';", false),
            (
                "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b;",
                false,
            ),
            (
                "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END;",
                true,
            ),
        ] {
            assert_eq!(is_finished(input), finished, "{input:?}");
        }
    }
}
