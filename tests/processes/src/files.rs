//! The files of nodes that have stopped: whether they are the same, and in order.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::Result;
use crate::node::Node;

const PAGE_BYTES: usize = 4096;

/// The file of a database on a node.
#[must_use]
pub fn database(node: &Node, name: &str) -> PathBuf {
    node.directory
        .join("databases")
        .join(format!("{name}.sqlite"))
}

/// Checks that the files of two nodes are the same, page for page. Returns how many pages they have.
///
/// # Errors
/// When a file cannot be read, or differs.
pub fn same_pages(one: &Path, other: &Path) -> Result<usize> {
    let (mut left, mut right) = (pages(one)?, pages(other)?);
    let mut page_no = 0;
    loop {
        let (a, b) = (next_page(&mut left)?, next_page(&mut right)?);
        if a.is_empty() && b.is_empty() {
            return Ok(page_no);
        }
        page_no += 1;
        if a != b {
            return Err(format!(
                "page {page_no} differs between {} and {}",
                one.display(),
                other.display()
            )
            .into());
        }
    }
}

fn pages(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufReader::with_capacity(64 * PAGE_BYTES, file))
}

fn next_page(file: &mut BufReader<File>) -> Result<Vec<u8>> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    file.take(PAGE_BYTES as u64).read_to_end(&mut page)?;
    Ok(page)
}

/// Has the program check a node's directory.
///
/// # Errors
/// When it finds something.
pub async fn verify(program: &Path, node: &Node) -> Result<()> {
    let mut command = Command::new(program);
    let done = command
        .arg("verify")
        .arg(&node.directory)
        .stdin(Stdio::null())
        .output()
        .await?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(format!(
        "ferrolite verify ends with {}: {}",
        done.status,
        String::from_utf8_lossy(&said).trim()
    )
    .into())
}

/// Has stock SQLite, if it is installed, check a file. Returns its version.
///
/// # Errors
/// What it finds wrong.
pub async fn integrity_check(path: &Path) -> Result<Option<String>> {
    let Ok(version) = sqlite(path, "SELECT sqlite_version()").await else {
        return Ok(None);
    };
    let checked = sqlite(path, "PRAGMA integrity_check").await?;
    match checked.trim() {
        "ok" => Ok(Some(version.trim().to_owned())),
        wrong => Err(format!("integrity_check: {wrong}").into()),
    }
}

async fn sqlite(path: &Path, sql: &str) -> Result<String> {
    let mut child = Command::new("sqlite3")
        .arg("-readonly")
        .arg(path)
        .arg(sql)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said).await?;
    }
    match child.wait().await?.success() {
        true => Ok(said),
        false => Err("sqlite3 failed".into()),
    }
}
