//! The SQL shell.
//!
//! With a terminal on standard input it is a prompt with line editing, history and completion; without
//! one it runs a script and stops at the first error. Both go the same way: text comes in by lines
//! ([`lines`], [`editor`]), is cut into statements and dot commands ([`runner`]), a statement goes to
//! whichever node leads ([`follow`]), or if it may be [stale](staleness), to any, and the rows are written while they arrive
//! ([`render`](crate::render)).
//!
//! What it promises: a result never has to fit into memory; Ctrl-C always gives the prompt back; a
//! failover is reported and survived; a script that failed exits with a status that says so; and `.dump`
//! writes SQL that makes the same data again.
//!
//! Another program opens the shell with [`run`].

pub mod catalog;
pub mod complete;
pub mod dot;
pub mod dump;
pub mod editor;
pub mod follow;
pub mod history;
pub mod import;
pub mod lines;
pub mod output;
pub mod runner;
pub mod staleness;

use std::io::IsTerminal;

use clap::Args;
use ferrolite_client::Staleness;

use crate::error::Result;
use crate::render::Mode;
use crate::servers::Servers;
use lines::Lines;
use runner::Shell;

/// The database that a shell opens unless told otherwise.
pub const DEFAULT_DATABASE: &str = "main";

/// The arguments of `ferrolite shell`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite shell --servers db1:9001,db2:9001,db3:9001
  ferrolite shell orders 'SELECT count(*) FROM customer'
  ferrolite shell orders --mode json 'SELECT * FROM customer LIMIT 10' > customers.json
  ferrolite shell orders < schema.sql
  ferrolite shell orders .dump > orders.sql
  ferrolite shell orders --stale=500 'SELECT count(*) FROM customer'

In the shell, .help lists its own commands; everything else is SQL and ends with a semicolon.
The exit status is 0, 1 after a failed statement, or 130 after Ctrl-C.")]
pub struct ShellArgs {
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
    /// The database to open; it is created if it does not exist
    #[arg(default_value = DEFAULT_DATABASE, value_parser = parse_database)]
    pub database: String,
    /// SQL or dot commands to run instead of reading them from standard input
    #[arg(value_name = "SQL")]
    pub sql: Vec<String>,
    /// How results look [default: box on a terminal, else list]
    #[arg(long, short = 'm', value_enum)]
    pub mode: Option<Mode>,
    /// Show column names in every mode
    #[arg(long, overrides_with = "no_headers")]
    pub headers: bool,
    /// Show no column names where a mode can do without
    #[arg(long, overrides_with = "headers")]
    pub no_headers: bool,
    /// What to show for NULL
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub null_value: String,
    /// Show how long each statement takes
    #[arg(long)]
    pub timer: bool,
    /// Read from any node, also without a leader, what may be so many milliseconds old [without MS: as old as the node's
    /// state is]
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = "unlimited", value_parser = parse_staleness)]
    pub stale: Option<Staleness>,
    /// Go on with a script after a failed statement; the exit status is 1 all the same
    #[arg(long)]
    pub continue_on_error: bool,
}

/// Catches SQL in the place of the database, which would otherwise be created under that name.
fn parse_database(name: &str) -> Result<String, String> {
    let looks_like_sql =
        name.contains(|c: char| c.is_whitespace() || c == ';') || name.starts_with('.');
    match looks_like_sql {
        true => Err(format!(
            "the database comes before the SQL: ferrolite shell {DEFAULT_DATABASE} '{name}'"
        )),
        false => Ok(name.to_owned()),
    }
}

fn parse_staleness(text: &str) -> Result<Staleness, String> {
    staleness::parse(text)?.ok_or_else(|| "leave --stale out instead".to_owned())
}

/// Where a shell's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// The prompt if standard input is a terminal, else a script on standard input.
    #[default]
    Detect,
    /// The prompt.
    Prompt,
    /// A script on standard input.
    Script,
}

/// How a shell is to run. [`ShellOptions::new`] fills in the rest for an embedding program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellOptions {
    /// Addresses of nodes, `HOST:PORT`.
    pub servers: Vec<String>,
    /// The database to open.
    pub database: String,
    /// Texts to run; if there are any, `input` is not read.
    pub sql: Vec<String>,
    /// Where the input comes from.
    pub input: Input,
    /// How results look; none chooses by whether standard output is a terminal.
    pub mode: Option<Mode>,
    /// Whether column names are shown; none shows them on a terminal, and in CSV.
    pub headers: Option<bool>,
    /// What is shown for NULL.
    pub null_value: String,
    /// Whether times are shown from the start; the prompt always begins with it on.
    pub timer: bool,
    /// Whether a script goes on after an error.
    pub continue_on_error: bool,
    /// How stale reads may be, if they may.
    pub staleness: Option<Staleness>,
}

impl ShellOptions {
    /// A shell on these servers with everything else as by default.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            database: DEFAULT_DATABASE.to_owned(),
            sql: Vec::new(),
            input: Input::Detect,
            mode: None,
            headers: None,
            null_value: String::new(),
            timer: false,
            continue_on_error: false,
            staleness: None,
        }
    }
}

impl From<ShellArgs> for ShellOptions {
    fn from(args: ShellArgs) -> Self {
        Self {
            database: args.database,
            sql: args.sql,
            mode: args.mode,
            headers: (args.headers || args.no_headers).then_some(args.headers),
            null_value: args.null_value,
            timer: args.timer,
            continue_on_error: args.continue_on_error,
            staleness: args.stale,
            ..Self::new(args.servers.addresses)
        }
    }
}

/// Runs a shell until its input ends or the user leaves. From then on Ctrl-C does not end the program by
/// itself.
///
/// # Errors
/// When the cluster cannot be reached, the terminal or the output fails, or a statement of a script does;
/// with `continue_on_error`, the errors were reported on standard error and the last result counts them.
pub async fn run(options: ShellOptions) -> Result<()> {
    let prompt = options.sql.is_empty()
        && match options.input {
            Input::Detect => std::io::stdin().is_terminal(),
            Input::Prompt => true,
            Input::Script => false,
        };
    let mut shell = Shell::connect(&options, prompt).await?;
    if prompt {
        return shell.prompt().await;
    }
    if options.sql.is_empty() {
        return shell.run_script(Lines::of_stdin()?).await;
    }
    for (index, sql) in options.sql.iter().enumerate() {
        let name = if options.sql.len() == 1 {
            "SQL".to_owned()
        } else {
            format!("SQL {}", index.saturating_add(1))
        };
        shell
            .run_script(Lines::of_text(&name, sql.clone())?)
            .await?;
    }
    Ok(())
}
