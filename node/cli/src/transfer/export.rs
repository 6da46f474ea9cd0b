//! `ferrolite export`, which is `ferrolite backup` as well.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use ferrolite_client::Client;

use super::rate;
use crate::cluster;
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::progress;
use crate::servers::Servers;

/// The arguments of `ferrolite export`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite export shop shop.sqlite --servers db1:9001,db2:9001
  ferrolite backup shop /backup/shop.sqlite --force && sqlite3 /backup/shop.sqlite .tables

Writers are not stopped, and the file is one consistent state. It is written under another name, checked, and renamed
when it is complete: a file of that name is whole and sound.")]
pub struct ExportArgs {
    /// The database's name in the cluster
    #[arg(value_name = "NAME")]
    pub database: String,
    /// The SQLite file to write
    pub file: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short = 'f')]
    pub force: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
}

/// Runs `ferrolite export`.
///
/// # Errors
/// When the file exists or cannot be written, or the cluster cannot be reached or refuses.
pub async fn run(args: ExportArgs) -> Result<()> {
    // When Ctrl-C ends it, dropping the unfinished file removes it.
    Interrupts::listen().or_interrupt(export(args)).await
}

async fn export(args: ExportArgs) -> Result<()> {
    let target = Unfinished::create(&args.file, args.force)?;
    let client = cluster::connect(&args.servers).await?;
    refuse_unknown(&client, &args.database).await?;
    let started = Instant::now();
    let written_bytes = write_pages(&client, &args.database, &target).await?;
    let path = target.path.clone();
    let checked = tokio::task::spawn_blocking(move || ferrolite_pager::validate::file(&path));
    let checked = checked
        .await
        .map_err(|error| Error::input(format!("checking the file failed: {error}")))?;
    checked.map_err(|error| Error::Input {
        message: format!("the database {} is damaged: {error}", args.database),
        advice: Some("keep older backups; PRAGMA integrity_check lists what is wrong".to_owned()),
    })?;
    target.finish(args.force)?;
    println!(
        "{} exported to {}: {}",
        args.database,
        args.file.display(),
        rate(written_bytes, started.elapsed())
    );
    Ok(())
}

async fn refuse_unknown(client: &Client, database: &str) -> Result<()> {
    let listed = cluster::databases(client).await?;
    if listed.iter().any(|known| known.name == database) {
        return Ok(());
    }
    let names: Vec<String> = listed.into_iter().map(|known| known.name).collect();
    Err(Error::Input {
        message: format!("the cluster has no database {database}"),
        advice: Some(match names.as_slice() {
            [] => "it has none at all".to_owned(),
            names => format!("it has {}", names.join(", ")),
        }),
    })
}

async fn write_pages(client: &Client, database: &str, target: &Unfinished) -> Result<u64> {
    let failed = || Error::client(format!("cannot export {database}"));
    let mut export = client.export(database).await.map_err(failed())?;
    let bar = progress::bytes_bar(0, "exporting");
    let mut written_bytes = 0;
    loop {
        let Some(chunk) = export.next().await.map_err(failed())? else {
            return Ok(written_bytes);
        };
        let mut file = &target.file;
        file.write_all(&chunk.pages)
            .map_err(|source| target.failed("cannot write", source))?;
        let done = chunk.progress;
        written_bytes = done.pages_done.saturating_mul(done.page_size);
        bar.set_length(done.pages_total.saturating_mul(done.page_size));
        bar.set_position(written_bytes);
    }
}

/// A file that has its name only when it is finished. Dropped before that, it is removed.
struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// Begins a file beside its target.
    fn create(target: &Path, force: bool) -> Result<Self> {
        if !force && target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        for suffix in ["-wal", "-journal"] {
            let mut beside = target.as_os_str().to_owned();
            beside.push(suffix);
            if Path::new(&beside).symlink_metadata().is_ok() {
                return Err(Error::Input {
                    message: format!("{} exists", Path::new(&beside).display()),
                    advice: Some(format!(
                        "SQLite would apply it to the new file and damage that: remove it, or export to a name other \
                         than {}",
                        target.display()
                    )),
                });
            }
        }
        let name = target
            .file_name()
            .ok_or_else(|| Error::input(format!("{} is no file name", target.display())))?;
        let mut unfinished = std::ffi::OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".{}.unfinished", std::process::id()));
        let path = target.with_file_name(unfinished);
        let file = File::create_new(&path).map_err(Error::file("cannot create", &path))?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            is_finished: false,
        })
    }

    /// Puts the file on the disk and gives it its name.
    fn finish(mut self, force: bool) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|source| self.failed("cannot write", source))?;
        if force {
            fs::rename(&self.path, &self.target)
                .map_err(|source| self.failed("cannot rename to", source))?;
            self.is_finished = true;
        } else {
            // A link, unlike a rename, replaces nothing that has appeared meanwhile.
            match fs::hard_link(&self.path, &self.target) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(exists(&self.target));
                }
                // A file system without links.
                Err(_) => {
                    fs::rename(&self.path, &self.target)
                        .map_err(|source| self.failed("cannot rename to", source))?;
                    self.is_finished = true;
                }
            }
        }
        sync_directory(&self.target)
            .map_err(|source| self.failed("cannot sync the directory of", source))
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::file(doing, &self.target)(source)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            eprintln!("-- cannot remove {}: {error}", self.path.display());
        }
    }
}

fn exists(target: &Path) -> Error {
    Error::Input {
        message: format!("{} exists", target.display()),
        advice: Some("choose another name, or replace it with --force".to_owned()),
    }
}

/// Makes a new name durable.
fn sync_directory(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    /// Protects: the user's files, and that nothing unfinished stays behind.
    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.db");
        drop(Unfinished::create(&target, false).unwrap());
        assert_eq!(names(directory.path()), [""; 0]);

        for (force, content) in [(false, "one"), (true, "two")] {
            let unfinished = Unfinished::create(&target, force).unwrap();
            (&unfinished.file).write_all(content.as_bytes()).unwrap();
            assert_eq!(target.exists(), force);
            unfinished.finish(force).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
            assert_eq!(names(directory.path()), ["a.db"]);
        }
        assert!(
            Unfinished::create(&target, false).is_err_and(|e| e.to_string().contains("exists"))
        );

        // It appears between the check and the end.
        let late = directory.path().join("b.db");
        let unfinished = Unfinished::create(&late, false).unwrap();
        fs::write(&late, "theirs").unwrap();
        assert!(unfinished.finish(false).is_err());
        assert_eq!(fs::read_to_string(&late).unwrap(), "theirs");
        assert_eq!(names(directory.path()), ["a.db", "b.db"]);
    }

    /// Protects: a new database from an old one's log.
    #[test]
    fn a_log_of_another_file_is_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.db");
        fs::write(directory.path().join("a.db-wal"), "old").unwrap();
        assert!(
            Unfinished::create(&target, true)
                .is_err_and(|e| e.advice().unwrap().contains("damage"))
        );
    }
}
