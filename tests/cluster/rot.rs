//! Disks that change what they were given.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ferrolite_client::{Client, params};

use crate::harness::{Cluster, eventually, files, finished, program, text};

const PAGE_BYTES: u64 = 4096;
const PUT_BACK: &str = "a rotten page was put back";

async fn rows(client: &Client) -> (i64, i64) {
    client
        .query_one("SELECT count(*), sum(length(body)) FROM t", params![])
        .await
        .unwrap()
}

async fn insert(client: &Client, rows: i64) {
    client
        .execute(
            "INSERT INTO t(body) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
             SELECT randomblob(3000) FROM n",
            params![rows],
        )
        .await
        .unwrap();
}

/// Changes a bit in the middle of a page.
fn rot(path: &Path, page_no: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let at = (page_no - 1) * PAGE_BYTES + 2000;
    let mut byte = [0; 1];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

pub async fn verify(directory: &Path) -> (Option<i32>, String) {
    let mut command = program();
    command.arg("verify").arg(directory);
    let output = finished(&mut command).await;
    (output.status.code(), text(&output.stdout))
}

/// Protects: databases from disks that rot. A page of one node changes on the disk; `verify` names it, and once the node
/// runs it finds it by itself, gets the page from its log or from another node, and is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_put_back() {
    let mut cluster = Cluster::with_options(3, &["--latency-ms", "50", "--log-mib", "1"]).await;
    let client = cluster.client().await;
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)";
    client.execute(sql, params![]).await.unwrap();
    insert(&client, 200).await;
    // More than the logs keep, so that the first of the pages are nowhere but in the files.
    let follower = cluster.follower().await;
    eventually("the log lets go of the first pages", async || {
        insert(&client, 100).await;
        cluster
            .status(follower)
            .await
            .filter(|status| status.first > 8)
            .map(drop)
    })
    .await;
    let expected = rows(&client).await;
    cluster.caught_up(follower).await;
    assert!(cluster.node(follower).terminate().await.success());
    let directory = cluster.node(follower).directory.clone();
    let database = cluster.node(follower).database("main");
    assert_eq!(verify(&directory).await.0, Some(0));
    let pages = fs::metadata(&database).unwrap().len() / PAGE_BYTES;
    let rotten = [5, pages / 2, pages];
    for page_no in rotten {
        rot(&database, page_no);
    }
    let (status, said) = verify(&directory).await;
    assert_eq!(status, Some(1), "{said}");
    for page_no in rotten {
        assert!(said.contains(&format!("page {page_no}:")), "{said}");
    }

    cluster.node(follower).start(&[]).await;
    eventually("the rotten pages are put back", async || {
        let log = cluster.node(follower).log();
        (log.matches(PUT_BACK).count() >= rotten.len()).then_some(())
    })
    .await;
    assert!(
        cluster.node(follower).log().contains("from a peer"),
        "no page came from a peer"
    );
    cluster.caught_up(follower).await;
    cluster.transfer(follower).await;
    assert_eq!(rows(&client).await, expected);
    cluster.stop().await;
    let (status, said) = verify(&directory).await;
    assert_eq!(status, Some(0), "{said}");
    let other = (1..=3).find(|id| *id != follower).unwrap();
    files::assert_same(&database, &cluster.node(other).database("main"));
}

/// Protects: clients from wrong answers. The page of a node that is alone cannot be put back; what needs it fails, and
/// says that the disk is the reason, and everything else works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_nobody_has_is_an_error() {
    let mut cluster = Cluster::with_options(1, &["--log-mib", "1"]).await;
    let client = cluster.client().await;
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)";
    client.execute(sql, params![]).await.unwrap();
    insert(&client, 200).await;
    eventually("the log lets go of the first pages", async || {
        insert(&client, 100).await;
        let status = cluster.status(1).await?;
        (status.first > 8).then_some(())
    })
    .await;
    assert!(cluster.node(1).terminate().await.success());
    rot(&cluster.node(1).database("main"), 5);
    cluster.node(1).start(&[]).await;
    let client = cluster.client().await;
    // A page of blobs: counting the rows may do without, reading all of them does not.
    let whole = "SELECT sum(instr(body, x'00')) FROM t";
    let failed = client
        .query_one::<(i64,)>(whole, params![])
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("I/O error"), "{failed}");
    let newest: i64 = client
        .query_one("SELECT max(id) FROM t", params![])
        .await
        .unwrap();
    assert!(newest >= 300);
}
