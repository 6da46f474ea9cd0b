//! A majority is gone for good, and an operator goes on with what is left.

use std::path::Path;
use std::process::Output;

use ferrolite_client::{Client, params};

use crate::harness::{Cluster, eventually, files, finished, program, text};

async fn recover(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("recover").arg(directory).args(arguments);
    finished(&mut command).await
}

async fn rows(client: &Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM t", params![])
        .await
        .unwrap()
}

/// Protects: the way out after a disaster. One of three nodes is left; it goes on as a cluster of its own with everything
/// that it held, takes new nodes, and is disturbed by none of the old ones, should they come back after all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_is_left() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    for sql in ["CREATE TABLE t(a)", "INSERT INTO t VALUES (1), (2), (3)"] {
        client.execute(sql, params![]).await.unwrap();
    }
    let left = cluster.follower().await;
    cluster.caught_up(left).await;
    let gone: Vec<u64> = (1..=3).filter(|id| *id != left).collect();
    for &id in &gone {
        cluster.node(id).kill();
    }
    let voters = format!("{left}={}", cluster.node(left).address);
    let directory = cluster.node(left).directory.clone();

    let said = recover(&directory, &["--voters", &voters, "--yes"]).await;
    assert!(text(&said.stderr).contains("in use by a live process"));
    cluster.node(left).kill();
    let said = recover(&directory, &["--voters", &voters]).await;
    assert!(
        text(&said.stderr).contains("--yes"),
        "nobody was there to be asked"
    );
    assert_eq!(said.status.code(), Some(1));
    let said = recover(&directory, &["--voters", "9=127.0.0.1:9", "--yes"]).await;
    assert!(text(&said.stderr).contains("which --voters does not name"));

    let voters = format!("{voters},4=127.0.0.1:9004");
    let said = recover(&directory, &["--voters", &voters, "--yes"]).await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    let said = text(&said.stdout);
    for step in [
        format!("serve --id {left} --address {}", cluster.node(left).address),
        format!("--join {}", cluster.node(left).address),
    ] {
        assert!(said.contains(&step), "{said}");
    }

    cluster.node(left).start(&[]).await;
    let client = Client::connect([cluster.node(left).address.clone()])
        .await
        .unwrap();
    assert_eq!(rows(&client).await, 3);
    assert_eq!(client.cluster().await.unwrap().len(), 1);
    client
        .execute("INSERT INTO t VALUES (4)", params![])
        .await
        .unwrap();

    // The others, with what they had. They are a majority of the old cluster, and elect a leader of their own.
    for &id in &gone {
        cluster.node(id).spawn(&[]);
    }
    for &id in &gone {
        cluster.node(id).ready().await;
    }
    cluster.leader_among(&gone).await;
    let address = cluster.node(left).address.clone();
    eventually(
        "the old cluster is told that this is another one",
        async || {
            gone.iter()
                .any(|id| {
                    let log = cluster.node(*id).log();
                    log.lines()
                        .any(|line| line.contains(&address) && line.contains("cluster"))
                })
                .then_some(())
        },
    )
    .await;
    assert_eq!(rows(&client).await, 4);
    for &id in &gone {
        cluster.discard(id);
    }

    // New nodes join, and one of them can go on alone with what it was given.
    for id in [4, 5] {
        cluster.join(id).await;
        cluster.promote(id).await;
    }
    cluster.caught_up(4).await;
    cluster.transfer(4).await;
    cluster.node(left).kill();
    assert_eq!(rows(&cluster.client().await).await, 4);
    cluster.node(left).start(&[]).await;
    cluster.stop().await;
    files::assert_same(
        &cluster.node(4).database("main"),
        &cluster.node(left).database("main"),
    );
}

/// Protects: directories that are none, or hold nothing, from being made into clusters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_recover() {
    let root = tempfile::tempdir().unwrap();
    let absent = root.path().join("absent");
    for directory in [root.path(), &absent] {
        let said = recover(directory, &["--voters", "1=127.0.0.1:9", "--yes"]).await;
        assert_eq!(said.status.code(), Some(1));
        let said = text(&said.stderr);
        assert!(said.contains("not the data directory of a node"), "{said}");
    }
    assert!(!absent.exists());

    let mut cluster = Cluster::start(1).await;
    cluster.add(2).start(&[]).await;
    cluster.node(2).kill();
    let directory = cluster.node(2).directory.clone();
    let said = recover(&directory, &["--voters", "2=127.0.0.1:9", "--yes"]).await;
    assert!(text(&said.stderr).contains("never held data"));
}
