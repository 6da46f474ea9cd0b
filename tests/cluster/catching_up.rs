//! A node that was away, or that is new, gets what it missed.

use ferrolite_client::{Client, params};

use crate::harness::Cluster;

/// What a node logs when it gets the pages and not the entries.
const RECEIVES: &str = "receiving a snapshot";
/// A node keeps some thousand entries for those who were away. So many rows, one an entry, are more than that,
/// and so large that checkpoints happen.
const ROWS: i64 = 7000;
const ROW_BYTES: i64 = 4000;
const WRITERS: i64 = 8;

async fn contents(client: &Client) -> (i64, i64, i64) {
    let sql = "SELECT count(*), sum(id), sum(length(body)) FROM t";
    client.query_one(sql, params![]).await.unwrap()
}

async fn write(client: &Client, first: i64, rows: i64, row_bytes: i64) {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.push(tokio::spawn(async move {
            let insert = client
                .prepare("INSERT INTO t VALUES (?, randomblob(?))")
                .await
                .unwrap();
            for id in (first + writer..first + rows).step_by(WRITERS as usize) {
                insert.execute(params![id, row_bytes]).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Protects: a node that was away for a while gets the entries that it missed, and can lead with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_log() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)",
            params![],
        )
        .await
        .unwrap();
    write(&client, 0, 100, 100).await;
    let away = cluster.follower().await;
    cluster.node(away).kill();
    write(&client, 100, 400, 100).await;
    let expected = contents(&client).await;
    assert_eq!(expected.0, 500);
    cluster.node(away).start(&[]).await;
    cluster.caught_up(away).await;
    cluster.transfer(away).await;
    assert_eq!(contents(&client).await, expected);
    assert!(
        !cluster.node(away).log().contains(RECEIVES),
        "the log reached far enough"
    );
}

/// Protects: a node that was away for longer than the log reaches, and a node that is new, get the pages, can lead
/// with them, and end with the same files as all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)",
            params![],
        )
        .await
        .unwrap();
    write(&client, 0, 100, ROW_BYTES).await;
    let away = cluster.follower().await;
    cluster.caught_up(away).await;
    cluster.node(away).kill();
    write(&client, 100, ROWS, ROW_BYTES).await;
    let expected = contents(&client).await;
    assert_eq!(expected.0, ROWS + 100);

    cluster.node(away).start(&[]).await;
    cluster.caught_up(away).await;
    assert!(
        cluster.node(away).log().contains(RECEIVES),
        "the log reached farther than this test assumes"
    );
    cluster.transfer(away).await;
    assert_eq!(contents(&client).await, expected);

    cluster.join(4).await;
    cluster.promote(4).await;
    cluster.caught_up(4).await;
    assert!(
        cluster.node(4).log().contains(RECEIVES),
        "node 4 got everything from the log"
    );
    cluster.transfer(4).await;
    assert_eq!(contents(&client).await, expected);
    client
        .execute("DELETE FROM t WHERE id % 2 = 0", params![])
        .await
        .unwrap();

    cluster.stop().await;
    let first = cluster.node(1).database("main");
    crate::harness::files::assert_sound(&first);
    for id in 2..=4 {
        crate::harness::files::assert_same(&first, &cluster.node(id).database("main"));
    }
}
