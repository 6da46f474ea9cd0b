//! What can go wrong in a command, said so that a person can act on it.
//!
//! Every error has up to three parts: what failed and why (its `Display`), and what to do about it
//! ([`Error::advice`]). [`Error::report`] joins them for standard error.

use std::io;
use std::path::PathBuf;

use crate::render::cell;

/// The result of a command or a part of it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster, or the way there.
    #[error("{doing}: {source}")]
    Client {
        /// What was being done, for instance "cannot list the nodes".
        doing: String,
        /// What the client reported.
        source: ferrolite_client::Error,
    },
    /// A statement of the user's: the server's own words say it all.
    #[error("{0}")]
    Statement(#[source] ferrolite_client::Error),
    /// A statement of a script.
    #[error("{script} line {line}: {source}")]
    Script {
        /// The script's name.
        script: String,
        /// The line on which the statement begins, from 1.
        line: u64,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A local file.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done, for instance "cannot read".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// Standard input or output, or the terminal.
    #[error("{doing}: {source}")]
    Terminal {
        /// What was being done.
        doing: &'static str,
        /// What the system reported.
        source: io::Error,
    },
    /// The command as given makes no sense, or its input does not.
    #[error("{message}")]
    Input {
        /// What is wrong.
        message: String,
        /// What to do instead, if that is known.
        advice: Option<String>,
    },
    /// A script went on after errors, each of which was reported.
    #[error("{failures} of the script's statements failed")]
    ScriptFailures {
        /// How many.
        failures: u64,
    },
    /// Too few nodes answer.
    #[error("{agreeing} of {voters} voters answer and agree on the leader: no majority")]
    Unhealthy {
        /// Voters that answer and name the same leader.
        agreeing: usize,
        /// Voters in all.
        voters: usize,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An error of the client, with what was being done.
    pub fn client(doing: impl Into<String>) -> impl FnOnce(ferrolite_client::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Client { doing, source }
    }

    /// An error of a local file, with what was being done to it.
    pub fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// An error of standard output.
    pub fn output(source: io::Error) -> Self {
        Self::Terminal {
            doing: "cannot write the output",
            source,
        }
    }

    /// Input that cannot be used, without advice.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            advice: None,
        }
    }

    /// Whether the reader of the output has gone (`ferrolite shell … | head`), which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Terminal { source, .. } => source.kind() == io::ErrorKind::BrokenPipe,
            Self::Script { source, .. } => source.is_broken_pipe(),
            _ => false,
        }
    }

    /// Whether standard output, or the terminal, failed.
    pub fn is_output_error(&self) -> bool {
        match self {
            Self::Terminal { .. } => true,
            Self::Script { source, .. } => source.is_output_error(),
            _ => false,
        }
    }

    /// Whether the user stopped the command.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Script { source, .. } => source.is_interrupted(),
            _ => false,
        }
    }

    /// The exit status that belongs to the error: 130 after Ctrl-C as shells have it, 0 for a closed
    /// pipe, 2 for a command that makes no sense, else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            _ if self.is_interrupted() => 130,
            _ if self.is_broken_pipe() => 0,
            Self::Input { .. } => 2,
            _ => 1,
        }
    }

    /// What the user can do, where something is known that the message does not say already.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Input { advice, .. } => advice.clone(),
            Self::Client { source, .. } | Self::Statement(source) => {
                client_advice(source).map(str::to_owned)
            }
            Self::Script { source, .. } => source.advice(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space on that file system, or choose another".to_owned())
            }
            _ => None,
        }
    }

    /// The whole story, for standard error. Control characters are escaped: the server's words quote
    /// statements and data.
    pub fn report(&self) -> String {
        let text = match self.advice() {
            Some(advice) => format!("error: {self}\n  hint: {advice}"),
            None => format!("error: {self}"),
        };
        cell::escape_controls(text.into(), true).into_owned()
    }
}

fn client_advice(error: &ferrolite_client::Error) -> Option<&'static str> {
    use ferrolite_client::Error as E;
    match error {
        E::NoLeader { .. } | E::Connect { .. } => Some(
            "check that the addresses in --servers (or FERROLITE_SERVERS) are those of running nodes, and that a \
             majority of the cluster's voters runs",
        ),
        _ if error.is_outcome_unknown() => {
            Some("look whether the change is there before making it again")
        }
        E::NoServer { .. } => Some(
            "check that the addresses in --servers (or FERROLITE_SERVERS) are those of running nodes",
        ),
        _ if error.is_too_stale() => {
            Some("try again, or allow more milliseconds with --stale or .stale")
        }
        _ if error.is_busy() => {
            Some("another connection is writing; try again, or raise the busy timeout")
        }
        E::Protocol { .. } | E::UnexpectedAnswer { .. } => {
            Some("check that a Ferrolite or dqlite node listens at that address")
        }
        _ => None,
    }
}
