//! The shell's own commands: lines that begin with a dot.
//!
//! A line is split into words at blanks; `'…'` and `"…"` keep blanks in a word. The first word names the
//! command and may be shortened as long as only one command begins so, as in sqlite3.

use ferrolite_client::Staleness;

use super::staleness;
use crate::render::Mode;

/// A parsed dot command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DotCommand {
    /// `.cluster`: the nodes and their roles.
    Cluster,
    /// `.databases`: the databases of the cluster.
    Databases,
    /// `.dump [TABLE]`: SQL that makes this database, or one table, again.
    Dump(Option<String>),
    /// `.headers on|off`
    Headers(bool),
    /// `.help [COMMAND]`
    Help(Option<String>),
    /// `.import FILE TABLE`, with its options.
    Import(ImportOptions),
    /// `.indexes [TABLE]`
    Indexes(Option<String>),
    /// `.leader`
    Leader,
    /// `.mode MODE`, or nothing: which mode it is.
    Mode(Option<Mode>),
    /// `.nullvalue TEXT`
    NullValue(String),
    /// `.output [FILE]`: nothing means standard output.
    Output(Option<String>),
    /// `.quit`
    Quit,
    /// `.read FILE`
    Read(String),
    /// `.schema [TABLE]`
    Schema(Option<String>),
    /// `.show`: the settings.
    Show,
    /// `.stale [MS|off]`; nothing means to say what it is.
    Stale(Option<Option<Staleness>>),
    /// `.tables [PATTERN]`
    Tables(Option<String>),
    /// `.timer on|off`
    Timer(bool),
    /// `.use NAME`: another database.
    Use(String),
}

/// What `.import` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The CSV file.
    pub file: String,
    /// The table, which is created from the first line if it does not exist.
    pub table: String,
    /// Lines of the file to leave out at its start.
    pub skip_lines: u64,
    /// The byte between fields.
    pub separator: u8,
    /// The text that means NULL, if any does.
    pub null_text: Option<String>,
}

/// A command's name, its arguments as written in the help, and what it does.
struct Entry {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    /// More for `.help NAME`.
    details: &'static str,
}

const fn entry(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    details: &'static str,
) -> Entry {
    Entry {
        name,
        arguments,
        about,
        details,
    }
}

const ENTRIES: &[Entry] = &[
    entry(
        "cluster",
        "",
        "List the nodes, their roles and which one leads",
        "",
    ),
    entry("databases", "", "List the cluster's databases", ""),
    entry(
        "dump",
        "[TABLE]",
        "Write the database, or one table, as SQL",
        "The SQL makes the same schema and data again, read by this shell or by sqlite3.\n\
         All of it is one consistent state. To a file: .output FILE, .dump, .output",
    ),
    entry("exit", "", "Leave the shell (also .quit and Ctrl-D)", ""),
    entry("headers", "on|off", "Show column names", ""),
    entry(
        "help",
        "[COMMAND]",
        "Show this list, or more about one command",
        "",
    ),
    entry(
        "import",
        "FILE TABLE",
        "Load a CSV file into a table",
        "Options before FILE:\n\
         \x20 --skip N         leave out the first N lines\n\
         \x20 --separator C    the character between fields (default a comma; \\t for tab)\n\
         \x20 --null TEXT      store NULL where a field is TEXT\n\
         A table that does not exist is created with the names in the file's first line.\n\
         Rows are committed in batches; after an error the message says how many are in.",
    ),
    entry("indexes", "[TABLE]", "List indexes", ""),
    entry("leader", "", "Show which node leads", ""),
    entry(
        "mode",
        "[MODE]",
        "Set how results look: table box markdown csv json line list",
        "",
    ),
    entry("nullvalue", "TEXT", "Show TEXT for NULL", ""),
    entry("open", "NAME", "The same as .use", ""),
    entry(
        "output",
        "[FILE]",
        "Write results to FILE; without FILE to the screen again",
        "",
    ),
    entry("quit", "", "Leave the shell", ""),
    entry(
        "read",
        "FILE",
        "Run the statements and commands in FILE",
        "",
    ),
    entry(
        "schema",
        "[TABLE]",
        "Show the CREATE statements",
        "TABLE may be a LIKE pattern: .schema 'order%'",
    ),
    entry("show", "", "Show the settings and the connection", ""),
    entry(
        "stale",
        "[MS|off]",
        "Read from any node what may be MS milliseconds old",
        "Such reads need no leader. MS may be unlimited; off reads from the leader again, and so\n\
         do writes. A node whose state is older than MS waits until it is not, or says so.",
    ),
    entry(
        "tables",
        "[PATTERN]",
        "List tables and views, all or those LIKE PATTERN",
        "",
    ),
    entry("timer", "on|off", "Show how long statements take", ""),
    entry(
        "use",
        "NAME",
        "Go to the database NAME, which is created if it does not exist",
        "",
    ),
];

/// The names of all commands, with their dots.
pub fn names() -> impl Iterator<Item = String> {
    ENTRIES.iter().map(|entry| format!(".{}", entry.name))
}

/// The text of `.help`, or of `.help COMMAND`.
///
/// # Errors
/// When there is no such command.
pub fn help(command: Option<&str>) -> Result<String, String> {
    if let Some(command) = command {
        let entry = lookup(command.trim_start_matches('.'))?;
        let details = if entry.details.is_empty() {
            String::new()
        } else {
            format!("\n{}", entry.details)
        };
        return Ok(format!("{}\n{}{details}\n", usage(entry), entry.about));
    }
    let mut text = String::new();
    for entry in ENTRIES {
        text.push_str(&format!("{:22} {}\n", usage(entry), entry.about));
    }
    text.push_str("\nEverything else is SQL and ends with a semicolon.\n");
    text.push_str(
        "Tab completes, Ctrl-R searches the history, Ctrl-C stops a running statement.\n",
    );
    Ok(text)
}

fn usage(entry: &Entry) -> String {
    format!(".{} {}", entry.name, entry.arguments)
        .trim_end()
        .to_owned()
}

fn lookup(name: &str) -> Result<&'static Entry, String> {
    if let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) {
        return Ok(entry);
    }
    let candidates: Vec<&Entry> = ENTRIES
        .iter()
        .filter(|entry| entry.name.starts_with(name))
        .collect();
    match candidates.as_slice() {
        [entry] if !name.is_empty() => Ok(entry),
        [] | [_] => Err(format!("unknown command .{name}; .help lists all")),
        _ if name.is_empty() => {
            Err("a command is missing behind the dot; .help lists all".to_owned())
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|entry| format!(".{}", entry.name))
                .collect();
            Err(format!(
                ".{name} is short for several commands: {}",
                names.join(", ")
            ))
        }
    }
}

/// Reads a line that begins with a dot.
///
/// # Errors
/// A message for the user: no such command, or arguments that it does not take.
pub fn parse(line: &str) -> Result<DotCommand, String> {
    let words = split_words(line.trim().trim_start_matches('.'))?;
    let Some((name, arguments)) = words.split_first() else {
        return Err("a command is missing behind the dot; .help lists all".to_owned());
    };
    let entry = lookup(name)?;
    let wrong = || format!("usage: {}", usage(entry));
    let none = |command: DotCommand| match arguments {
        [] => Ok(command),
        _ => Err(wrong()),
    };
    let optional = || match arguments {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(wrong()),
    };
    let required = || match arguments {
        [one] => Ok(one.clone()),
        _ => Err(wrong()),
    };
    let switch = || match arguments {
        [word] if ["on", "yes", "1"].contains(&word.as_str()) => Ok(true),
        [word] if ["off", "no", "0"].contains(&word.as_str()) => Ok(false),
        _ => Err(wrong()),
    };
    match entry.name {
        "cluster" => none(DotCommand::Cluster),
        "databases" => none(DotCommand::Databases),
        "dump" => optional().map(DotCommand::Dump),
        "headers" => switch().map(DotCommand::Headers),
        "help" => optional().map(DotCommand::Help),
        "import" => parse_import(arguments).map(DotCommand::Import),
        "indexes" => optional().map(DotCommand::Indexes),
        "leader" => none(DotCommand::Leader),
        "mode" => match optional()? {
            None => Ok(DotCommand::Mode(None)),
            Some(name) => match Mode::from_name(&name) {
                Some(mode) => Ok(DotCommand::Mode(Some(mode))),
                None => Err(format!(
                    "unknown mode {name:?}: take one of {}",
                    mode_names().join(" ")
                )),
            },
        },
        "nullvalue" => required().map(DotCommand::NullValue),
        "output" => optional().map(DotCommand::Output),
        "read" => required().map(DotCommand::Read),
        "schema" => optional().map(DotCommand::Schema),
        "show" => none(DotCommand::Show),
        "stale" => {
            let staleness = optional()?.map(|text| staleness::parse(&text));
            staleness.transpose().map(DotCommand::Stale)
        }
        "tables" => optional().map(DotCommand::Tables),
        "timer" => switch().map(DotCommand::Timer),
        "open" | "use" => required().map(DotCommand::Use),
        // "exit" and "quit".
        _ => none(DotCommand::Quit),
    }
}

/// The names that `.mode` takes.
pub fn mode_names() -> Vec<&'static str> {
    Mode::ALL.iter().map(|mode| mode.name()).collect()
}

fn parse_import(arguments: &[String]) -> Result<ImportOptions, String> {
    let mut options = ImportOptions {
        file: String::new(),
        table: String::new(),
        skip_lines: 0,
        separator: b',',
        null_text: None,
    };
    let mut names = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            // sqlite3 wants it said; here it is the only format.
            "--csv" => {}
            "--skip" => {
                let text = value()?;
                options.skip_lines = text
                    .parse()
                    .map_err(|_| format!("--skip {text}: not a number of lines"))?;
            }
            "--separator" => {
                let text = value()?;
                options.separator = match text.as_bytes() {
                    [byte] => *byte,
                    b"\\t" => b'\t',
                    _ => return Err(format!("--separator {text}: not a single ASCII character")),
                };
            }
            "--null" => options.null_text = Some(value()?.clone()),
            other if other.starts_with("--") => {
                return Err(format!("unknown option {other}; see .help import"));
            }
            _ => names.push(word.clone()),
        }
    }
    match <[String; 2]>::try_from(names) {
        Ok([file, table]) => Ok(ImportOptions {
            file,
            table,
            ..options
        }),
        Err(_) => {
            Err("usage: .import [--skip N] [--separator C] [--null TEXT] FILE TABLE".to_owned())
        }
    }
}

/// Splits at blanks; quotes keep blanks, and two quotes are an empty word.
fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    // A semicolon at the end is a habit from SQL.
    if let Some(last) = words.last_mut()
        && last.len() > 1
        && last.ends_with(';')
    {
        last.pop();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// Protects: arguments with blanks, short names, and that a wrong line is explained and not guessed at.
    #[test]
    fn commands_are_read() {
        assert_eq!(parse(".tables"), Ok(DotCommand::Tables(None)));
        assert_eq!(
            parse("  .tab user%  "),
            Ok(DotCommand::Tables(Some("user%".into())))
        );
        assert_eq!(parse(".q"), Ok(DotCommand::Quit));
        assert_eq!(parse(".exit;"), Ok(DotCommand::Quit));
        assert_eq!(parse(".mode JSON"), Ok(DotCommand::Mode(Some(Mode::Json))));
        assert_eq!(
            parse(".nullvalue ''"),
            Ok(DotCommand::NullValue(String::new()))
        );
        assert_eq!(
            parse(".read 'a b.sql'"),
            Ok(DotCommand::Read("a b.sql".into()))
        );
        assert_eq!(parse(".timer on"), Ok(DotCommand::Timer(true)));
        assert!(parse(".s").unwrap_err().contains(".schema, .show, .stale"));
        assert_eq!(parse(".stale"), Ok(DotCommand::Stale(None)));
        assert_eq!(parse(".stale off"), Ok(DotCommand::Stale(Some(None))));
        let unlimited = Some(Staleness::Unlimited);
        assert_eq!(
            parse(".stale unlimited"),
            Ok(DotCommand::Stale(Some(unlimited)))
        );
        assert!(parse(".stale soon").unwrap_err().contains("milliseconds"));
        assert!(
            parse(".frob")
                .unwrap_err()
                .contains("unknown command .frob")
        );
        assert!(parse(".").unwrap_err().contains("missing"));
        assert!(parse(".mode xml").unwrap_err().contains("markdown"));
        assert!(
            parse(".timer maybe")
                .unwrap_err()
                .contains("usage: .timer on|off")
        );
        assert!(parse(".read 'a").unwrap_err().contains("quote"));
        assert!(parse(".quit now").is_err());
    }

    /// Protects: the options of `.import`.
    #[test]
    fn import_takes_options() {
        let parsed =
            parse(".import --csv --skip 1 --separator \\t --null NA 'my file.csv' people").unwrap();
        let DotCommand::Import(options) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(
            options,
            ImportOptions {
                file: "my file.csv".into(),
                table: "people".into(),
                skip_lines: 1,
                separator: b'\t',
                null_text: Some("NA".into()),
            }
        );
        assert!(parse(".import a.csv").unwrap_err().contains("usage"));
        assert!(
            parse(".import --skip x a b")
                .unwrap_err()
                .contains("number")
        );
        assert!(parse(".import --what a b").unwrap_err().contains("--what"));
    }

    /// Protects: every command that help names can be typed, and has help of its own.
    #[test]
    fn help_and_parser_agree() {
        for entry in ENTRIES {
            assert!(help(Some(entry.name)).unwrap().contains(entry.about));
            assert!(lookup(entry.name).is_ok());
        }
        assert!(help(Some("nope")).is_err());
        assert_eq!(
            help(None).unwrap().matches("\n.").count() + 1,
            ENTRIES.len()
        );
    }
}
