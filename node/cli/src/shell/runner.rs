//! Runs what was typed or read: statements one by one, and dot commands between them.

use std::path::Path;
use std::time::{Duration, Instant};

use ferrolite_wire::Value;

use super::catalog;
use super::dot::{self, DotCommand};
use super::editor::{Editor, Typed};
use super::follow::{Done, Following, RowSink, Target};
use super::lines::Lines;
use super::output::Output;
use super::{ShellOptions, dump, import, staleness};
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::render::{Format, Mode, Renderer};
use crate::sql::{Splitter, classify};

/// A statement may not be longer: the server would refuse it anyway.
const MOST_STATEMENT_BYTES: usize = 512 << 20;
/// `.read` inside of a file read by `.read`, and so on.
const MOST_NESTED_READS: u32 = 16;

/// Whether the shell goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Quit,
}

/// A shell that is connected. See the [module](super).
pub struct Shell {
    following: Following,
    output: Output,
    mode: Mode,
    /// None until the user says: then it goes by mode and output.
    headers: Option<bool>,
    null_value: String,
    timer: bool,
    /// Whether a person types.
    is_interactive: bool,
    continue_on_error: bool,
    failures: u64,
    nested_reads: u32,
    interrupts: Interrupts,
}

/// Renders rows to the shell's output.
struct ToOutput<'s> {
    output: &'s mut Output,
    format: Format,
    renderer: Option<Renderer>,
}

impl RowSink for ToOutput<'_> {
    fn columns(&mut self, columns: &[String]) -> Result<()> {
        self.renderer = Some(Renderer::new(&self.format, columns));
        Ok(())
    }

    fn row(&mut self, values: Vec<Value>) -> Result<()> {
        let Some(renderer) = &mut self.renderer else {
            return Ok(());
        };
        let written = renderer.row(self.output.writer(), &values);
        written.map_err(|source| self.output.error(source))
    }
}

impl ToOutput<'_> {
    /// Ends the result, also one that an error cut short: its rows are shown, and JSON is closed.
    fn finish(self) -> Result<()> {
        if let Some(renderer) = self.renderer {
            let written = renderer.finish(self.output.writer());
            written.map_err(|source| self.output.error(source))?;
        }
        self.output.flush()
    }
}

impl Shell {
    /// Connects to the leader, or to any server if reads may be stale.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(options: &ShellOptions, is_interactive: bool) -> Result<Self> {
        let mut interrupts = Interrupts::listen();
        let notify = |text: &str| eprintln!("-- {text}");
        let target = Target {
            servers: options.servers.clone(),
            database: options.database.clone(),
            staleness: options.staleness,
        };
        let connecting = Following::connect(target, notify);
        let following = interrupts.or_interrupt(connecting).await?;
        let output = Output::standard();
        let default_mode = if output.is_terminal() {
            Mode::Box
        } else {
            Mode::List
        };
        Ok(Self {
            following,
            mode: options.mode.unwrap_or(default_mode),
            output,
            headers: options.headers,
            null_value: options.null_value.clone(),
            timer: options.timer || is_interactive,
            is_interactive,
            continue_on_error: options.continue_on_error,
            failures: 0,
            nested_reads: 0,
            interrupts,
        })
    }

    /// Reads from the prompt until the user leaves.
    ///
    /// # Errors
    /// When the terminal fails.
    pub async fn prompt(&mut self) -> Result<()> {
        let (editor, warning) = Editor::start()?;
        if let Some(warning) = warning {
            eprintln!("-- {warning}");
        }
        let from = match self.following.staleness() {
            None => "leader",
            Some(_) => "stale reads from",
        };
        self.output.print(&format!(
            "Ferrolite shell. Database {}, {from} {}. Type .help for help.\n",
            self.following.database(),
            self.following.server()
        ))?;
        self.output.flush()?;
        let mut names_are_stale = true;
        loop {
            if std::mem::take(&mut names_are_stale) {
                let fetched = self
                    .interrupts
                    .or_interrupt(catalog::table_names(&mut self.following))
                    .await;
                // Without the names only completion knows less; whatever is wrong shows with the next statement.
                editor.set_tables(fetched.unwrap_or_default());
                if let Some(client) = self.following.known_client() {
                    editor.fetch_databases(client);
                }
            }
            let mark = if self.following.in_transaction() {
                "*"
            } else {
                ""
            };
            let prompt = format!("{}{mark}> ", self.following.database());
            let text = match editor.read(&prompt).await? {
                Typed::Text(text) => text,
                Typed::Cancelled => continue,
                Typed::Leave => break,
            };
            self.interrupts.forget();
            let database = self.following.database().to_owned();
            let flow = self.run_text("input", &text, &mut names_are_stale).await;
            self.output.flush()?;
            names_are_stale |= database != self.following.database();
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => break,
                // A result that goes nowhere is not the prompt's end, but a terminal that is gone is.
                Err(error @ Error::Terminal { .. }) => return Err(error),
                Err(error) => eprintln!("{}", error.report()),
            }
        }
        if self.following.in_transaction() {
            eprintln!("-- the open transaction is rolled back");
        }
        Ok(())
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// The first error, with its line; or, with `continue_on_error`, how many there were.
    pub async fn run_script(&mut self, lines: Lines) -> Result<()> {
        let ran = self.run_lines(lines).await;
        self.output.flush()?;
        ran?;
        match self.failures {
            0 => Ok(()),
            failures => Err(Error::ScriptFailures { failures }),
        }
    }

    async fn run_lines(&mut self, mut lines: Lines) -> Result<Flow> {
        let mut splitter = Splitter::new();
        while let Some((number, line)) = lines.next().await? {
            if self
                .feed(&lines.name, &mut splitter, number, &line, &mut false)
                .await?
                == Flow::Quit
            {
                return Ok(Flow::Quit);
            }
        }
        if let Some(last) = splitter.finish() {
            let ran = self.run_statement(&last.text).await;
            self.judge(&lines.name, last.line, ran)?;
        }
        Ok(Flow::Continue)
    }

    /// Runs an input from the prompt. An error ends it: what was meant to follow a failed statement may not
    /// be meant any more.
    async fn run_text(&mut self, name: &str, text: &str, changes_names: &mut bool) -> Result<Flow> {
        let mut splitter = Splitter::new();
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let flow = self
                .feed(name, &mut splitter, number, line, changes_names)
                .await;
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => return Ok(Flow::Quit),
                // What was just typed needs no line number.
                Err(Error::Script { source, .. }) => return Err(*source),
                Err(error) => return Err(error),
            }
        }
        if let Some(last) = splitter.finish() {
            self.run_statement(&last.text).await?;
        }
        Ok(Flow::Continue)
    }

    /// Takes one line: a dot command, or a piece of SQL of which the whole statements are run.
    async fn feed(
        &mut self,
        name: &str,
        splitter: &mut Splitter,
        number: u64,
        line: &str,
        changes_names: &mut bool,
    ) -> Result<Flow> {
        if !splitter.is_pending() && line.trim_start().starts_with('.') {
            // The splitter counts lines too.
            splitter.push("\n");
            while splitter.next_statement().is_some() {}
            let ran = self.run_command(line).await;
            // `.import` may create a table, `.read` do anything; commands are rare enough to be asked about.
            *changes_names = true;
            return match ran {
                Ok(flow) => Ok(flow),
                Err(error) => self
                    .judge(name, number, Err(error))
                    .map(|()| Flow::Continue),
            };
        }
        splitter.push(line);
        while let Some(statement) = splitter.next_statement() {
            *changes_names |= classify(&statement.text).changes_schema;
            let ran = self.run_statement(&statement.text).await;
            self.judge(name, statement.line, ran)?;
        }
        if splitter.pending_bytes() > MOST_STATEMENT_BYTES {
            return Err(Error::input(format!(
                "{name} line {number}: a statement is longer than 512 MiB"
            )));
        }
        Ok(Flow::Continue)
    }

    /// Decides whether an error ends a script.
    fn judge(&mut self, name: &str, line: u64, ran: Result<()>) -> Result<()> {
        let Err(error) = ran else {
            return Ok(());
        };
        let located = match error {
            // A script read by a script has named its line already.
            located @ Error::Script { .. } => located,
            source => Error::Script {
                script: name.to_owned(),
                line,
                source: Box::new(source),
            },
        };
        let ends = located.is_interrupted() || located.is_output_error();
        if !self.continue_on_error || self.is_interactive || ends {
            return Err(located);
        }
        self.failures = self.failures.saturating_add(1);
        self.output.flush()?;
        eprintln!("{}", located.report());
        Ok(())
    }

    /// The format of a result that goes to the output as it is now.
    fn format(&self) -> Format {
        let terminal_columns = self.output.terminal_columns();
        Format {
            mode: self.mode,
            headers: self.headers.unwrap_or(match self.mode {
                Mode::List => terminal_columns.is_some(),
                _ => true,
            }),
            null_value: self.null_value.clone(),
            terminal_columns,
        }
    }

    async fn run_statement(&mut self, sql: &str) -> Result<()> {
        let started = Instant::now();
        let format = self.format();
        let mut sink = ToOutput {
            output: &mut self.output,
            format,
            renderer: None,
        };
        let running = self.following.run(sql, &mut sink);
        let ran = self.interrupts.or_interrupt(running).await;
        let elapsed = started.elapsed();
        let finished = sink.finish();
        let done = ran?;
        finished?;
        self.summarise(sql, done, elapsed)
    }

    /// The line below a result.
    fn summarise(&mut self, sql: &str, done: Done, elapsed: Duration) -> Result<()> {
        if !self.timer && !self.is_interactive {
            return Ok(());
        }
        let what = match done {
            Done::Rows(rows) => Some(counted(rows, "row")),
            Done::Changed(result) if classify(sql).counts_changes => {
                Some(format!("{} changed", counted(result.rows_affected, "row")))
            }
            Done::Changed(_) => None,
        };
        let time = self.timer.then(|| duration(elapsed));
        let parts: Vec<String> = what.into_iter().chain(time).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let line = format!("({})\n", parts.join(", "));
        if self.output.is_terminal() {
            self.output.print(&line)
        } else {
            // The output is for a program, the time for a person.
            eprint!("{line}");
            Ok(())
        }
    }

    async fn run_command(&mut self, line: &str) -> Result<Flow> {
        let command = dot::parse(line).map_err(Error::input)?;
        if command == DotCommand::Quit {
            return Ok(Flow::Quit);
        }
        let mut interrupts = self.interrupts.clone();
        let running = Box::pin(self.obey(command));
        let ran = interrupts.or_interrupt(running).await;
        self.interrupts.forget();
        ran
    }

    async fn obey(&mut self, command: DotCommand) -> Result<Flow> {
        match command {
            DotCommand::Quit => return Ok(Flow::Quit),
            DotCommand::Read(file) => return self.read(&file).await,
            DotCommand::Help(about) => {
                let text = dot::help(about.as_deref()).map_err(Error::input)?;
                self.output.print(&text)?;
            }
            DotCommand::Mode(None) => self.output.print(&format!("{}\n", self.mode.name()))?,
            DotCommand::Mode(Some(mode)) => self.mode = mode,
            DotCommand::Headers(on) => self.headers = Some(on),
            DotCommand::NullValue(text) => self.null_value = text,
            DotCommand::Timer(on) => self.timer = on,
            DotCommand::Show => self.show()?,
            DotCommand::Output(file) => {
                self.output.flush()?;
                self.output = match file.as_deref() {
                    None | Some("stdout" | "-") => Output::standard(),
                    Some(path) => Output::file(path)?,
                };
            }
            DotCommand::Use(database) => {
                if self.following.in_transaction() {
                    return Err(transaction_is_open());
                }
                self.following.use_database(&database).await?;
            }
            DotCommand::Stale(None) => {
                let shown = staleness::show(self.following.staleness());
                self.output.print(&format!("{shown}\n"))?;
            }
            DotCommand::Stale(Some(staleness)) => {
                if self.following.in_transaction() {
                    return Err(transaction_is_open());
                }
                self.following.set_staleness(staleness).await?;
            }
            DotCommand::Tables(pattern) => {
                let names = catalog::tables(&mut self.following, pattern.as_deref()).await?;
                self.output
                    .print(&catalog::in_columns(&names, self.output.terminal_columns()))?;
            }
            DotCommand::Indexes(table) => {
                let names = catalog::indexes(&mut self.following, table.as_deref()).await?;
                self.output
                    .print(&catalog::in_columns(&names, self.output.terminal_columns()))?;
            }
            DotCommand::Schema(table) => {
                let schema = catalog::schema(&mut self.following, table.as_deref()).await?;
                self.output.print(&schema)?;
            }
            DotCommand::Databases => {
                let report = catalog::databases(&self.following.client().await?).await?;
                self.print_report(&report)?;
            }
            DotCommand::Cluster => {
                let report = crate::cluster::nodes_report(&self.following.client().await?).await?;
                self.print_report(&report)?;
            }
            DotCommand::Leader => {
                let leader = crate::cluster::leader(&self.following.client().await?).await?;
                self.output
                    .print(&format!("{} (id {})\n", leader.address, leader.id))?;
            }
            DotCommand::Dump(table) => {
                dump::dump(&mut self.following, table.as_deref(), &mut self.output).await?
            }
            DotCommand::Import(options) => {
                if self.following.in_transaction() {
                    return Err(transaction_is_open());
                }
                let imported = import::import(&mut self.following, &options).await?;
                let text = format!(
                    "{} imported into {}\n",
                    counted(imported.rows, "row"),
                    options.table
                );
                if self.is_interactive {
                    self.output.print(&text)?;
                } else {
                    eprint!("{text}");
                }
                if imported.short_rows > 0 {
                    let short = counted(imported.short_rows, "row");
                    eprintln!("-- {short} had too few fields; the rest is NULL");
                }
            }
        }
        self.output.flush()?;
        Ok(Flow::Continue)
    }

    async fn read(&mut self, file: &str) -> Result<Flow> {
        if self.nested_reads >= MOST_NESTED_READS {
            return Err(Error::input(format!(
                "{file}: .read is nested more than {MOST_NESTED_READS} deep"
            )));
        }
        self.nested_reads += 1;
        let ran = match Lines::of_file(Path::new(file)) {
            Ok(lines) => self.run_lines(lines).await,
            Err(error) => Err(error),
        };
        self.nested_reads -= 1;
        // `.quit` in a file ends that file.
        ran.map(|_| Flow::Continue)
    }

    fn show(&mut self) -> Result<()> {
        let on_off = |on: bool| if on { "on" } else { "off" };
        let format = self.format();
        let staleness = self.following.staleness();
        let text = format!(
            "  database: {}\n{:>10}: {}\n     stale: {}\n      mode: {}\n   headers: {}\n nullvalue: {:?}\n     timer: {}\n    output: {}\n",
            self.following.database(),
            if staleness.is_none() {
                "leader"
            } else {
                "server"
            },
            self.following.server(),
            staleness::show(staleness),
            self.mode.name(),
            on_off(format.headers),
            self.null_value,
            on_off(self.timer),
            self.output.name(),
        );
        self.output.print(&text)
    }

    /// Writes a small table of the shell's own, in the user's mode.
    fn print_report(&mut self, report: &crate::report::Report) -> Result<()> {
        let format = self.format();
        let written = report.write(&format, self.output.writer());
        written.map_err(|source| self.output.error(source))
    }
}

fn transaction_is_open() -> Error {
    Error::Input {
        message: "a transaction is open".to_owned(),
        advice: Some("COMMIT or ROLLBACK it first".to_owned()),
    }
}

/// `1 row`, `2 rows`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A time with three digits: `0.12 ms`, `3.2 ms`, `1.25 s`.
fn duration(elapsed: Duration) -> String {
    let ms = elapsed.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{ms:.2} ms"),
        _ if ms < 100.0 => format!("{ms:.1} ms"),
        _ if ms < 1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: the words below a result.
    #[test]
    fn summaries_read_well() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!(duration(Duration::from_micros(123)), "0.12 ms");
        assert_eq!(duration(Duration::from_micros(3210)), "3.2 ms");
        assert_eq!(duration(Duration::from_millis(345)), "345 ms");
        assert_eq!(duration(Duration::from_millis(1250)), "1.25 s");
    }
}
