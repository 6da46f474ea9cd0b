//! What becomes of the databases that are open for readers: closed when nobody reads, changed by others, given up.
use std::time::Duration;

use ferrolite_client::{ErrorCode, Value, params};
use ferrolite_wire::{Request, Response};

use super::{assert_end, failure, integer, is_done, reader, run};
use crate::harness::raw::query;
use crate::harness::{Cluster, RawConnection, eventually, files, finished, program, text};

/// Protects: the memory of nodes that nobody reads from any more, also where connections stay open; those go on later, with
/// what they have prepared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_closed() {
    let options = ["--latency-ms", "50", "--stale-idle-ms", "300"];
    let mut cluster = Cluster::with_options(3, &options).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let mut quiet = reader(&mut cluster, follower).await;
    let sql = "SELECT count(*) FROM t".to_owned();
    let request = Request::Prepare {
        db: 0,
        sql,
        with_tail: false,
    };
    let Response::Statement { id: stmt, .. } = quiet.call(&request).await else {
        panic!("the statement cannot be prepared");
    };
    let mut busy = reader(&mut cluster, follower).await;
    assert!(is_done(&busy.exec("BEGIN").await));
    assert_eq!(busy.query("SELECT count(*) FROM t").await, Ok(integer(0)));
    for count in 1..4 {
        run(&client, "INSERT INTO t VALUES (1)").await;
        cluster.caught_up(follower).await;
        let run = Request::Query {
            db: 0,
            stmt,
            params: Vec::new(),
        };
        quiet.send(&run).await;
        assert_eq!(quiet.rows().await, Ok(integer(count)));
        if count == 1 {
            // A transaction is not left alone.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(cluster.status(follower).await.unwrap().open, ["main"]);
            assert_eq!(busy.query("SELECT count(*) FROM t").await, Ok(integer(0)));
            assert!(is_done(&busy.exec("COMMIT").await));
        }
        eventually("the database is closed", async || {
            let status = cluster.status(follower).await?;
            status.open.is_empty().then_some(())
        })
        .await;
    }
    assert_eq!(busy.query("SELECT count(*) FROM t").await, Ok(integer(3)));
}

/// Protects: what changes a whole database, seen by readers with prepared statements: its schema, its pages' order, and all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_vacuum_and_import() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a); CREATE TABLE u(a)").await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let address = cluster.node(follower).address.clone();
    let mut newest = RawConnection::open_with(&address, "main", "stale:0").await;
    let sql = "SELECT * FROM t".to_owned();
    let request = Request::Prepare {
        db: 0,
        sql,
        with_tail: false,
    };
    let Response::Statement { id: stmt, .. } = newest.call(&request).await else {
        panic!("the statement cannot be prepared");
    };
    let again = Request::Query {
        db: 0,
        stmt,
        params: Vec::new(),
    };
    let row = |values: &[i64]| {
        Ok(vec![
            values.iter().map(|value| Value::from(*value)).collect(),
        ])
    };
    newest.send(&again).await;
    assert_eq!(newest.rows().await, row(&[1]));
    run(&client, "ALTER TABLE t ADD COLUMN b DEFAULT 2").await;
    newest.send(&again).await;
    assert_eq!(newest.rows().await, row(&[1, 2]));
    // A transaction of several parts, given up and committed, and the table's pages at other places.
    for end in ["ROLLBACK", "COMMIT"] {
        let mut transaction = client.transaction().await.unwrap();
        for _ in 0..3 {
            let insert = "INSERT INTO u SELECT randomblob(900) FROM generate_series(1, 2000)";
            transaction.execute(insert, params![]).await.unwrap();
        }
        if end == "COMMIT" {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let count = if end == "COMMIT" { 6000 } else { 0 };
        let rows = newest.query("SELECT count(*) FROM u").await;
        assert_eq!(rows, Ok(integer(count)), "{end}");
    }
    run(&client, "DROP TABLE u").await;
    run(&client, "VACUUM").await;
    newest.send(&again).await;
    assert_eq!(newest.rows().await, row(&[1, 2]));
    let (code, _) = failure(newest.call(&query("SELECT * FROM u")).await);
    assert_eq!(code, ErrorCode::ERROR);
    let checked = newest.query("PRAGMA integrity_check").await;
    assert_eq!(checked, Ok(vec![vec![Value::from("ok")]]));

    // Another database in its place, whose tables have the same names and other pages.
    let file = cluster.root().join("import.sqlite");
    files::create(
        &file,
        &[
            "CREATE TABLE filler(a)",
            "CREATE TABLE t(a, b, c)",
            "INSERT INTO t VALUES (5, 6, 7)",
        ],
    );
    let servers = cluster.addresses().join(",");
    let mut import = program();
    import.args([
        "import",
        "--servers",
        &servers,
        "--database",
        "main",
        "--replace",
    ]);
    let output = finished(import.arg(&file)).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    newest.send(&again).await;
    assert_eq!(newest.rows().await, row(&[5, 6, 7]));
    run(&client, "UPDATE t SET c = 8").await;
    newest.send(&again).await;
    assert_eq!(newest.rows().await, row(&[5, 6, 8]));
    assert_end(&mut cluster).await;
}

/// Protects: the log, and so the disk, from readers of a node that follows. Their snapshots are given up when they keep too much,
/// and other databases of the node are written on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_snapshots_are_given_up() {
    let options = [
        "--latency-ms",
        "50",
        "--log-mib",
        "1",
        "--reader-log-mib",
        "2",
    ];
    let mut cluster = Cluster::with_options(3, &options).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a)").await;
    let other = client.with_database("other");
    run(&other, "CREATE TABLE t(a)").await;
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let mut reader = reader(&mut cluster, follower).await;
    assert!(is_done(&reader.exec("BEGIN").await));
    assert_eq!(reader.query("SELECT count(*) FROM t").await, Ok(integer(0)));
    let seen = cluster.status(follower).await.unwrap().last;
    let mut rows = 0;
    eventually("the log lets go of what the reader has seen", async || {
        run(&client, "INSERT INTO t VALUES (randomblob(100000))").await;
        run(&other, "INSERT INTO t VALUES (randomblob(100000))").await;
        rows += 1;
        let status = cluster.status(follower).await?;
        if cluster
            .node(follower)
            .log()
            .contains("snapshots are given up")
        {
            match reader.query("SELECT count(*) FROM t").await {
                Err(code) => assert_eq!(code, ErrorCode::BUSY_SNAPSHOT),
                Ok(found) => assert!(found == integer(0) || rows > 10, "{found:?}"),
            }
        }
        (status.first > seen).then_some(())
    })
    .await;
    cluster.caught_up(follower).await;
    assert_eq!(
        reader.query("SELECT count(*) FROM t").await,
        Ok(integer(rows))
    );
    assert_end(&mut cluster).await;
}
