//! `ferrolite inspect` and `ferrolite verify`: the data directory of a node that does not run.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ferrolite_cli::progress::bytes;
use ferrolite_cli::render::{Format, Mode};
use ferrolite_cli::report::{Report, ReportFormat};
use ferrolite_node::inspection::{self, Inspection, Verified};
use serde_json::{Value as Json, json};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite inspect /var/lib/ferrolite
  ferrolite inspect /var/lib/ferrolite --format json | jq .log.last

The node must not run. Nothing is changed. Pages and records are not checked: see ferrolite verify.")]
pub(crate) struct InspectArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  ferrolite verify /var/lib/ferrolite && echo sound

The node must not run. Nothing is changed. Every record of the log and every page of every database is read and held
against its checksum, and the structure of every database is checked. The exit status is 0 if all is as it was
written, 1 if something is damaged, 2 if it cannot be looked at.")]
pub(crate) struct VerifyArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

pub(crate) fn inspect(args: &InspectArgs) -> ExitCode {
    let found = match inspection::inspect(&args.directory) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("ferrolite inspect: {error}");
            return ExitCode::FAILURE;
        }
    };
    let out = &mut io::stdout().lock();
    let said = match args.format {
        ReportFormat::Table => describe(&found, out),
        ReportFormat::Json => writeln!(out, "{:#}", to_json(&found)),
    };
    after_saying(
        "inspect",
        said.and_then(|()| out.flush()),
        ExitCode::SUCCESS,
    )
}

/// The exit status of a command, once it has said what it had to say to whoever is still there to read it.
fn after_saying(command: &str, said: io::Result<()>, status: ExitCode) -> ExitCode {
    match said {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("ferrolite {command}: writing to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => status,
    }
}

fn write_table(table: &Report, out: &mut dyn Write) -> io::Result<()> {
    let format = Format {
        mode: Mode::Table,
        headers: true,
        null_value: String::new(),
        terminal_columns: None,
    };
    table.write(&format, out)
}

fn describe(found: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    match found.node {
        Some((id, incarnation)) => writeln!(out, "node {id}, incarnation {incarnation:016x}")?,
        None => writeln!(out, "node unknown: the file that says it is damaged")?,
    }
    match &found.hard_state {
        Some(state) if state.cluster != 0 => {
            let vote = state
                .vote
                .map_or("for nobody".to_owned(), |id| format!("for node {id}"));
            writeln!(
                out,
                "cluster {:032x}, term {}, voted {vote}, committed at least up to {}",
                state.cluster, state.term, state.commit
            )?;
        }
        Some(_) => writeln!(out, "belongs to no cluster yet")?,
        None => writeln!(out, "votes unknown")?,
    }
    if let Some((index, members)) = &found.members {
        writeln!(
            out,
            "members from entry {index} on, if the log says nothing later:"
        )?;
        for member in members.members() {
            writeln!(
                out,
                "  node {} at {} ({:?})",
                member.id, member.address, member.role
            )?;
        }
    }
    let log = &found.log;
    writeln!(
        out,
        "\nlog: entries {} to {}, last term {}, {} used of {} on disk{}",
        log.first_index,
        log.last_index,
        log.terms.last().map_or(log.base.1, |run| run.term),
        bytes(log.used_bytes),
        bytes(log.allocated_bytes),
        if log.is_sound() {
            ""
        } else {
            "; parts of it are damaged, see ferrolite verify"
        }
    )?;
    let mut table = Report::new(&[
        "segment", "state", "first", "last", "records", "used", "size",
    ]);
    for segment in &log.segments {
        table.push(vec![
            json!(segment.file),
            json!(format!("{:?}", segment.state).to_lowercase()),
            json!(segment.first_index),
            json!(segment.last_index),
            json!(segment.records),
            json!(bytes(segment.used_bytes)),
            json!(bytes(segment.allocated_bytes)),
        ]);
    }
    write_table(&table, out)?;
    match found.files.mark {
        Some((done, target)) if done < target => writeln!(
            out,
            "\ndatabases: everything up to entry {done}; pages up to {target} were being written"
        )?,
        Some((done, _)) => writeln!(out, "\ndatabases: everything up to entry {done}")?,
        None => writeln!(out, "\ndatabases:")?,
    }
    let mut table = Report::new(&[
        "database",
        "pages",
        "size",
        "newest entry",
        "unverified pages",
    ]);
    for database in &found.files.databases {
        table.push(vec![
            json!(database.name),
            json!(database.pages),
            json!(bytes(database.bytes)),
            json!(database.newest_index),
            json!(
                database
                    .pages
                    .map(|pages| pages.saturating_sub(database.known_pages))
            ),
        ]);
    }
    write_table(&table, out)?;
    match &found.files.incoming {
        ferrolite_pager::verify::Incoming::Nothing => {}
        ferrolite_pager::verify::Incoming::Partial { bytes: amount } => writeln!(
            out,
            "\na snapshot was being received ({}); the next start throws it away",
            bytes(*amount)
        )?,
        _ => writeln!(out, "\na snapshot is complete; the next start installs it")?,
    }
    Ok(())
}

fn to_json(found: &Inspection) -> Json {
    let log = &found.log;
    let segments: Vec<Json> = log
        .segments
        .iter()
        .map(|segment| {
            json!({
                "file": segment.file,
                "number": segment.number,
                "state": format!("{:?}", segment.state).to_lowercase(),
                "first": segment.first_index,
                "last": segment.last_index,
                "records": segment.records,
                "used_bytes": segment.used_bytes,
                "allocated_bytes": segment.allocated_bytes,
            })
        })
        .collect();
    let databases: Vec<Json> = found
        .files
        .databases
        .iter()
        .map(|database| {
            json!({
                "name": database.name,
                "file": database.file,
                "bytes": database.bytes,
                "page_size": database.page_size,
                "pages": database.pages,
                "known_pages": database.known_pages,
                "newest_entry": database.newest_index,
            })
        })
        .collect();
    let members = found.members.as_ref().map(|(index, members)| {
        let list: Vec<Json> = members
            .members()
            .iter()
            .map(|m| {
                json!({
                    "id": m.id,
                    "address": m.address,
                    "role": format!("{:?}", m.role).to_lowercase(),
                })
            })
            .collect();
        json!({ "from": index, "members": list })
    });
    json!({
        "node": found.node.map(|(id, _)| id),
        "incarnation": found.node.map(|(_, incarnation)| format!("{incarnation:016x}")),
        "hard_state": found.hard_state.as_ref().map(|state| json!({
            "cluster": format!("{:032x}", state.cluster),
            "term": state.term,
            "vote": state.vote,
            "commit": state.commit,
        })),
        "membership": members,
        "log": {
            "first": log.first_index,
            "last": log.last_index,
            "last_term": log.terms.last().map_or(log.base.1, |run| run.term),
            "used_bytes": log.used_bytes,
            "allocated_bytes": log.allocated_bytes,
            "torn_bytes": log.torn_bytes,
            "sound": log.is_sound(),
            "segments": segments,
        },
        "checkpoint": found.files.mark.map(|(done, target)| json!({ "done": done, "target": target })),
        "databases": databases,
        "snapshot": match &found.files.incoming {
            ferrolite_pager::verify::Incoming::Nothing => "none",
            ferrolite_pager::verify::Incoming::Partial { .. } => "partial",
            _ => "complete",
        },
    })
}

/// The exit status of `ferrolite verify` when it cannot look.
const CANNOT_LOOK: u8 = 2;

pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let out = &mut io::stdout().lock();
    let mut said = Ok(());
    let mut list = Vec::new();
    let verified = inspection::verify(&args.directory, |damage| match args.format {
        // A directory that is nothing but damage must not take memory before it says so.
        ReportFormat::Table if said.is_ok() => said = writeln!(out, "{damage}"),
        ReportFormat::Table => {}
        ReportFormat::Json => list.push(json!(damage.to_string())),
    });
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => {
            eprintln!("ferrolite verify: {error}");
            return ExitCode::from(CANNOT_LOOK);
        }
    };
    let said = said.and_then(|()| match args.format {
        ReportFormat::Table => summarise(&verified, out),
        ReportFormat::Json => {
            let whole = json!({
                "records": verified.records,
                "torn_bytes": verified.torn_bytes,
                "databases": verified.files.databases,
                "pages": verified.files.pages,
                "unverified_pages": verified.files.unverified_pages,
                "unsettled_pages": verified.files.unsettled_pages,
                "damage": list,
            });
            writeln!(out, "{whole:#}")
        }
    });
    let status = ExitCode::from(u8::from(verified.damaged > 0));
    after_saying("verify", said.and_then(|()| out.flush()), status)
}

fn summarise(verified: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let files = &verified.files;
    writeln!(
        out,
        "{} records; {} pages in {} database files: {}",
        verified.records,
        files.pages,
        files.databases,
        match verified.damaged {
            0 => "all is as it was written".to_owned(),
            1 => "1 place is damaged".to_owned(),
            many => format!("{many} places are damaged"),
        }
    )?;
    if verified.torn_bytes > 0 {
        writeln!(
            out,
            "{} of a write that a crash cut short are at the log's end; nobody was told that it was done",
            bytes(verified.torn_bytes)
        )?;
    }
    if files.unverified_pages > 0 {
        writeln!(out, "{} pages have no checksum yet", files.unverified_pages)?;
    }
    if files.unsettled_pages > 0 {
        writeln!(
            out,
            "{} pages are of a checkpoint that a crash cut short; the next start writes them again",
            files.unsettled_pages
        )?;
    }
    if verified.damaged > 0 {
        writeln!(
            out,
            "What other nodes have is fetched again when the node runs; see \"Damage\" in docs/operations.md."
        )?;
    }
    Ok(())
}
