//! Directories and ports that a node cannot have, or must not touch.
//!
//! Each attempt ends with a status that is not 0 and a sentence that says what is wrong; nothing is written, and
//! the node that the directory belongs to starts again with everything it had.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrolite_client::{Value, params};

use crate::harness::{Cluster, RawConnection, eventually, finished, program, text};

/// Every file of a node begins with a magic, a version and a checksum of these.
const PREFIX_BYTES: usize = 16;
/// Files of fixed values are so long, and hold copies of the prefix at multiples of a quarter of that.
const SLOT_FILE_BYTES: usize = 16384;

fn serve(id: u64, address: &str, directory: &Path) -> Command {
    let mut command = program();
    command
        .args([
            "serve",
            "--id",
            &id.to_string(),
            "--address",
            address,
            "--data-dir",
        ])
        .arg(directory);
    command
}

/// Runs a command that must fail, and returns what it says.
async fn refused(command: &mut Command) -> String {
    let output = finished(command).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{command:?} said: {said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(
        !text(&output.stdout).contains("ready"),
        "{command:?} said that it serves"
    );
    // The last line is the error; what comes before it is the log.
    said.lines().last().unwrap_or_default().to_owned()
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

async fn one_node_with_a_row() -> Cluster {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a)", params![])
        .await
        .unwrap();
    client
        .execute("INSERT INTO t VALUES (7)", params![])
        .await
        .unwrap();
    cluster
}

async fn assert_has_the_row(cluster: &Cluster) {
    let client = cluster.client().await;
    let value: i64 = client
        .query_one("SELECT a FROM t", params![])
        .await
        .unwrap();
    assert_eq!(value, 7);
}

/// Protects: two nodes never share a directory, at one time or one after the other; that would be one vote cast twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_another_node_or_in_use() {
    let mut cluster = one_node_with_a_row().await;
    let directory = cluster.node(1).directory.clone();
    let said = refused(&mut serve(1, "127.0.0.1:0", &directory)).await;
    assert_says(&said, &["in use"]);
    let said = refused(&mut serve(2, "127.0.0.1:0", &directory)).await;
    assert_says(&said, &["in use"]);
    assert_has_the_row(&cluster).await;

    assert!(cluster.node(1).terminate().await.success());
    let said = refused(&mut serve(2, "127.0.0.1:0", &directory)).await;
    assert_says(&said, &["node 1", "2"]);
    cluster.node(1).start(&[]).await;
    assert_has_the_row(&cluster).await;
}

/// Protects: a voter that lost its directory does not come back under its old id as if nothing had happened: it
/// has voted, and no longer knows for whom. It is told what to do, and after a removal it may join again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_voter_that_lost_it() {
    let mut cluster = Cluster::start(3).await;
    cluster.node(3).kill();
    let directory = cluster.node(3).directory.clone();
    fs::remove_dir_all(&directory).unwrap();
    let servers = cluster.addresses().join(",");
    let address = cluster.node(3).address.clone();
    let said = refused(serve(3, &address, &directory).args(["--join", &servers])).await;
    assert_says(&said, &["node 3", "cluster remove 3"]);

    let client = cluster.client().await;
    client.remove(3).await.unwrap();
    fs::remove_dir_all(&directory).unwrap();
    cluster.node(3).start(&["--join", &servers]).await;
    let members = client.cluster().await.unwrap();
    assert_eq!(members.len(), 3);
}

/// Protects: a directory that cannot be made or written is named, with the system's reason.
#[tokio::test]
async fn that_cannot_be_written() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a-file");
    fs::write(&file, "not a directory").unwrap();
    let said = refused(serve(1, "127.0.0.1:0", &file).arg("--bootstrap")).await;
    assert_says(&said, &["a-file"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
    let said = refused(serve(1, "127.0.0.1:0", &file.join("below")).arg("--bootstrap")).await;
    assert_says(&said, &["below"]);

    // Permissions do not hold for root; nobody makes directories here.
    let forbidden = Path::new("/proc/self/data");
    let said = refused(serve(1, "127.0.0.1:0", forbidden).arg("--bootstrap")).await;
    assert_says(&said, &["/proc/self/data"]);
    let locked = root.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        let said = refused(serve(1, "127.0.0.1:0", &locked).arg("--bootstrap")).await;
        assert_says(&said, &["locked", "ermission"]);
    }
}

/// Protects: a program that is older than the directory leaves it alone, and says that it is older; damage is told
/// apart from that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_newer_format_or_damaged() {
    let mut cluster = one_node_with_a_row().await;
    assert!(cluster.node(1).terminate().await.success());
    let directory = cluster.node(1).directory.clone();
    let mut tried = 0;
    for path in files_below(&directory) {
        let good = fs::read(&path).unwrap();
        let Some(newer) = of_next_version(&good) else {
            continue;
        };
        tried += 1;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(&path, &newer).unwrap();
        let said = refused(&mut serve(1, "127.0.0.1:0", &directory)).await;
        assert_says(&said, &[&name, "is newer than this program"]);
        assert_eq!(fs::read(&path).unwrap(), newer, "{name} was written to");
        if good.len() == SLOT_FILE_BYTES && !name.starts_with("log.") {
            fs::write(&path, vec![0xa5; SLOT_FILE_BYTES]).unwrap();
            let said = refused(&mut serve(1, "127.0.0.1:0", &directory)).await;
            assert_says(&said, &[&name, "damaged"]);
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(
        tried >= 4,
        "only {tried} files of {} have a version",
        directory.display()
    );
    cluster.node(1).start(&[]).await;
    assert_has_the_row(&cluster).await;
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The same file as the next version of the program would write it; nothing if the file has no version.
fn of_next_version(good: &[u8]) -> Option<Vec<u8>> {
    let prefix = good.get(..PREFIX_BYTES)?;
    let number = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().unwrap());
    if number(12) != crc32fast::hash(&prefix[..12]) {
        return None;
    }
    let mut next = prefix.to_vec();
    next[8..12].copy_from_slice(&(number(8) + 1).to_le_bytes());
    let crc = crc32fast::hash(&next[..12]);
    next[12..].copy_from_slice(&crc.to_le_bytes());
    let mut newer = good.to_vec();
    for at in (0..good.len()).step_by(SLOT_FILE_BYTES / 4) {
        if newer[at..].starts_with(prefix) {
            newer[at..at + PREFIX_BYTES].copy_from_slice(&next);
        }
    }
    Some(newer)
}

/// Protects: a port that somebody has is named, with what to do, and the directory stays usable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_port_in_use() {
    let mut cluster = one_node_with_a_row().await;
    assert!(cluster.node(1).terminate().await.success());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = cluster.node(1).directory.clone();
    let said = refused(&mut serve(1, &address, &directory)).await;
    assert_says(&said, &[&address, "another program"]);
    cluster.node(1).start(&[]).await;
    assert_has_the_row(&cluster).await;
}

/// Protects: a cluster against a node of another one that turns up at a member's address, as after a mistaken copy of
/// a directory: neither takes a word from the other, and both say why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_another_cluster() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a)", params![])
        .await
        .unwrap();
    let mut other = one_node_with_a_row().await;
    assert!(other.node(1).terminate().await.success());

    cluster.node(1).kill();
    let own = std::mem::replace(
        &mut cluster.node(1).directory,
        other.node(1).directory.clone(),
    );
    cluster.node(1).start(&[]).await;
    for id in [2, 3] {
        eventually("a node says that a peer refuses it", async || {
            cluster
                .node(id)
                .log()
                .contains("you belong to cluster")
                .then_some(())
        })
        .await;
    }
    assert!(
        cluster.node(1).log().contains("refused a peer"),
        "{}",
        cluster.node(1).log()
    );
    let leader = cluster.leader_among(&[2, 3]).await;
    let address = cluster.node(leader).address.clone();
    let client = ferrolite_client::Client::connect([address]).await.unwrap();
    client
        .execute("INSERT INTO t VALUES (1)", params![])
        .await
        .unwrap();

    cluster.node(1).kill();
    cluster.node(1).directory = own;
    cluster.node(1).start(&[]).await;
    cluster.caught_up(1).await;
    let rows: i64 = client
        .query_one("SELECT sum(a) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(rows, 1);

    // Its cluster knows it by the wrong address for a moment, and a client would be sent there.
    other.node(1).start(&[]).await;
    other.leader().await;
    let mut connection = RawConnection::open_database(&other.node(1).address, "main").await;
    let rows = connection.query("SELECT a FROM t").await;
    assert_eq!(rows, Ok(vec![vec![Value::from(7)]]));
}

/// Protects: options that make no sense are refused before anything is made.
#[tokio::test]
async fn with_options_that_make_no_sense() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("data");
    let wrong: [&[&str]; 5] = [
        &["--id", "0", "--address", "127.0.0.1:0"],
        &["--id", "1", "--address", "nowhere"],
        &[
            "--id",
            "1",
            "--address",
            "127.0.0.1:0",
            "--bootstrap",
            "--join",
            "127.0.0.1:1",
        ],
        &[
            "--id",
            "1",
            "--address",
            "127.0.0.1:0",
            "--log-level",
            "a,b=c=d",
        ],
        &[
            "--id",
            "1",
            "--address",
            "127.0.0.1:0",
            "--log-level",
            "loud",
        ],
    ];
    for options in wrong {
        let output = finished(
            program()
                .arg("serve")
                .args(options)
                .arg("--data-dir")
                .arg(&directory),
        )
        .await;
        assert!(!output.status.success(), "{options:?}");
        assert!(!output.stderr.is_empty(), "{options:?}");
        assert!(!directory.exists(), "{options:?}");
    }
}
