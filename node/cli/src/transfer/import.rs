//! `ferrolite import`, which is `ferrolite restore` as well.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use clap::Args;
use ferrolite_client::{Client, ImportOptions};
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

use super::{header, rate};
use crate::cluster;
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::progress;
use crate::servers::Servers;

/// The arguments of `ferrolite import`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite import shop.sqlite --database shop --servers db1:9001,db2:9001
  ferrolite restore /backup/shop.sqlite --database shop --replace

The file must be complete: if a shop.sqlite-wal lies beside it, close the programs that use the database
and run: sqlite3 shop.sqlite 'PRAGMA wal_checkpoint(TRUNCATE)'")]
pub struct ImportArgs {
    /// The SQLite file
    pub file: PathBuf,
    /// The database's name in the cluster
    #[arg(long, short = 'd', value_name = "NAME")]
    pub database: String,
    /// Replace a database of that name
    #[arg(long)]
    pub replace: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
}

/// Runs `ferrolite import`.
///
/// # Errors
/// When the file is no complete database, changes meanwhile, or the cluster cannot be reached or refuses.
pub async fn run(args: ImportArgs) -> Result<()> {
    Interrupts::listen().or_interrupt(import(args)).await
}

async fn import(args: ImportArgs) -> Result<()> {
    let path = args.file.as_path();
    let (file, found) = header::open(path)?;
    let client = cluster::connect(&args.servers).await?;
    refuse_existing(&client, &args).await?;
    let options = ImportOptions {
        database: args.database.clone(),
        page_size: found.page_size.into(),
        pages: found.pages.into(),
        replace: args.replace,
    };
    let mut file = tokio::fs::File::from_std(file);
    file.rewind()
        .await
        .map_err(Error::file("cannot read", path))?;
    let source = Unchanging {
        file,
        path,
        header: found,
        left_bytes: found.total_bytes(),
    };

    let started = Instant::now();
    let bar = progress::bytes_bar(found.total_bytes(), "importing");
    let advance = |done: ferrolite_client::TransferProgress| {
        bar.set_position(done.pages_done.saturating_mul(done.page_size));
    };
    let imported = client.import(&options, source, advance).await;
    drop(bar);
    imported.map_err(|error| refused(error, &args))?;
    println!(
        "{} imported into {}: {}",
        path.display(),
        args.database,
        rate(found.total_bytes(), started.elapsed())
    );
    Ok(())
}

/// Sees to it that a mistake is noticed before a gigabyte was sent; the server decides in the end.
async fn refuse_existing(client: &Client, args: &ImportArgs) -> Result<()> {
    let listed = cluster::databases(client).await?;
    if args.replace || listed.iter().all(|database| database.name != args.database) {
        return Ok(());
    }
    Err(Error::Input {
        message: format!("the cluster has a database {} already", args.database),
        advice: Some("choose another name, or replace it with --replace".to_owned()),
    })
}

fn refused(error: ferrolite_client::Error, args: &ImportArgs) -> Error {
    let file = args.file.display();
    match error {
        ferrolite_client::Error::LocalIo(source) => {
            Error::file("cannot import", &args.file)(source)
        }
        other => Error::client(format!("cannot import {file} into {}", args.database))(other),
    }
}

/// A database file that fails to be read to its end if somebody wrote to it meanwhile: its pages would not
/// belong together.
struct Unchanging<'p> {
    file: tokio::fs::File,
    path: &'p Path,
    header: header::DatabaseHeader,
    left_bytes: u64,
}

impl AsyncRead for Unchanging<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.file).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        let was_left = self.left_bytes;
        self.left_bytes = was_left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        if was_left > 0 && self.left_bytes == 0 {
            let unchanged = matches!(header::open(self.path), Ok((_, now)) if now == self.header);
            if !unchanged {
                return Poll::Ready(Err(io::Error::other(
                    "the file was changed while it was read; nothing was imported",
                )));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use std::io::Write;
    use tokio::io::AsyncReadExt;

    fn database(change_counter: u8) -> Vec<u8> {
        let mut bytes = vec![0u8; 1024];
        bytes[..16].copy_from_slice(b"SQLite format 3\0");
        bytes[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
        bytes[27] = change_counter;
        bytes[31] = 2;
        bytes[95] = change_counter;
        bytes
    }

    async fn read(path: &Path, write_between: Option<&[u8]>) -> io::Result<Vec<u8>> {
        let (file, found) = header::open(path).unwrap();
        let mut file = tokio::fs::File::from_std(file);
        file.rewind().await.unwrap();
        let mut source = Unchanging {
            file,
            path,
            header: found,
            left_bytes: found.total_bytes(),
        };
        let mut bytes = vec![0; 1024];
        source.read_exact(&mut bytes[..512]).await.unwrap();
        if let Some(content) = write_between {
            std::fs::File::create(path)
                .unwrap()
                .write_all(content)
                .unwrap();
        }
        source.read_exact(&mut bytes[512..]).await.map(|_| bytes)
    }

    /// Protects: an import from pages of two different transactions.
    #[tokio::test]
    async fn a_file_that_changes_is_not_imported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        std::fs::write(&path, database(1)).unwrap();
        assert_eq!(read(&path, None).await.unwrap(), database(1));
        let error = read(&path, Some(&database(2))).await.unwrap_err();
        assert!(error.to_string().contains("changed while it was read"));
    }
}
