//! SQL that fails, is too large, never ends, or whose client vanishes.

use std::time::Duration;

use ferrolite_client::{ErrorCode, Value, params};
use ferrolite_wire::{Request, Response};

use crate::harness::raw::{exec, query};
use crate::harness::{Cluster, RawConnection, eventually};

/// A query that never ends.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
/// A write that never ends.
const ENDLESS_WRITE: &str = "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

fn is_done(answer: &Response) -> bool {
    matches!(answer, Response::Result { .. })
}

fn failure(answer: Response) -> (ErrorCode, String) {
    match answer {
        Response::Failure { code, message } => (code, message),
        other => panic!("a failure was expected, and came {other:?}"),
    }
}

/// Protects: a statement that fails costs its client nothing but that statement: not the connection, not an open
/// transaction, and it leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_leave_connection_and_transaction_intact() {
    let mut cluster = Cluster::start(1).await;
    let mut connection = RawConnection::open_database(&cluster.node(1).address, "main").await;
    assert!(is_done(
        &connection
            .exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b NOT NULL)")
            .await
    ));
    let failing = [
        "INSERT INTO nowhere VALUES (1)",
        "INSERT INTO t VALUES (1, NULL)",
        "INSERT INTO t VALUES (1, 'x'), (1, 'y')",
        "INSERT INTO t VALUES (1)",
        "SELECT * FROM",
        "CREATE TABLE t(a)",
        "SELECT no_such_function()",
    ];
    for sql in failing {
        let (code, message) = failure(connection.exec(sql).await);
        assert_ne!(code, ErrorCode::INTERNAL, "{sql}: {message}");
        assert!(!message.is_empty(), "{sql}");
    }
    assert!(is_done(&connection.exec("BEGIN").await));
    assert!(is_done(
        &connection.exec("INSERT INTO t VALUES (2, 'two')").await
    ));
    for sql in failing {
        failure(connection.exec(sql).await);
    }
    assert!(is_done(
        &connection.exec("INSERT INTO t VALUES (3, 'three')").await
    ));
    assert!(is_done(&connection.exec("COMMIT").await));
    let rows = connection.query("SELECT a FROM t ORDER BY a").await;
    assert_eq!(rows, Ok(vec![vec![Value::from(2)], vec![Value::from(3)]]));
}

/// Protects: the disk, and the memory of the leader, from a reader that never ends. It keeps the log from being shortened, up to a
/// bound; then it is told to begin again, and the log is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_snapshots_are_given_up() {
    let mut cluster = Cluster::with_options(1, &["--log-mib", "1", "--reader-log-mib", "2"]).await;
    let address = cluster.node(1).address.clone();
    let mut reader = RawConnection::open_database(&address, "main").await;
    let mut writer = RawConnection::open_database(&address, "main").await;
    assert!(is_done(&writer.exec("CREATE TABLE t(a)").await));
    assert!(is_done(&reader.exec("BEGIN").await));
    assert_eq!(
        reader.query("SELECT count(*) FROM t").await,
        Ok(vec![vec![Value::from(0)]])
    );
    let seen = cluster.status(1).await.unwrap().last;
    let mut rows = 0;
    let what = "the log lets go of what the reader has seen";
    eventually(what, async || {
        let insert = "INSERT INTO t VALUES (randomblob(100000))";
        assert!(is_done(&writer.exec(insert).await));
        rows += 1;
        let status = cluster.status(1).await?;
        // The reader is idle; its next statement tells it, and only then is its snapshot given up.
        if cluster.node(1).log().contains("snapshots are given up") {
            let refused = reader.query("SELECT count(*) FROM t").await;
            if refused == Err(ErrorCode::BUSY_SNAPSHOT) {
                assert!(rows > 10, "after {rows} rows already");
            }
        }
        (status.first > seen).then_some(())
    })
    .await;
    // It is in no transaction any more, and reads what there is now.
    assert_eq!(
        reader.query("SELECT count(*) FROM t").await,
        Ok(vec![vec![Value::from(rows)]])
    );
    failure(reader.exec("COMMIT").await);
}

/// Protects: all clients from one that has begun a transaction and says nothing more. It is disconnected after a while, what it
/// wrote is rolled back, and the next writer gets its turn; clients that keep nothing from others may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_transactions_are_ended() {
    let mut cluster = Cluster::with_options(1, &["--idle-transaction-ms", "200"]).await;
    let address = cluster.node(1).address.clone();
    let mut silent = RawConnection::open_database(&address, "main").await;
    assert!(is_done(&silent.exec("CREATE TABLE t(a)").await));
    let mut stuck = RawConnection::open_database(&address, "main").await;
    let begun = stuck
        .exec("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
        .await;
    assert!(is_done(&begun));
    assert!(stuck.next().await.is_err(), "an answer to nothing");
    eventually("it is said that a client was disconnected", async || {
        let log = cluster.node(1).log();
        log.contains("left a transaction open").then_some(())
    })
    .await;
    assert!(is_done(&silent.exec("INSERT INTO t VALUES (2)").await));
    let rows = silent.query("SELECT a FROM t").await;
    assert_eq!(rows, Ok(vec![vec![Value::from(2)]]));
}

/// Protects: a transaction larger than the limit is refused with words that say so and name the limit; nothing of it
/// stays, and the writer's turn is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_a_transaction_leaves_nothing() {
    let mut cluster = Cluster::with_options(
        3,
        &[
            "--latency-ms",
            "50",
            "--max-transaction-mib",
            "1",
            "--busy-timeout-ms",
            "3000",
        ],
    )
    .await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a INTEGER, b BLOB)", params![])
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let address = cluster.node(leader).address.clone();
    let mut connection = RawConnection::open_database(&address, "main").await;

    let (_, message) = failure(
        connection
            .exec("INSERT INTO t VALUES (1, randomblob(3000000))")
            .await,
    );
    assert!(message.contains("transaction"), "{message}");
    client
        .execute("INSERT INTO t VALUES (2, randomblob(500000))", params![])
        .await
        .unwrap();

    assert!(is_done(&connection.exec("BEGIN IMMEDIATE").await));
    let mut refused = None;
    for _ in 0..20 {
        if let Response::Failure { message, .. } = connection
            .exec("INSERT INTO t VALUES (3, randomblob(200000))")
            .await
        {
            refused = Some(message);
            break;
        }
    }
    // What the engine keeps in memory until the end is too much at the end.
    let message = match refused {
        Some(message) => message,
        None => failure(connection.exec("COMMIT").await).1,
    };
    assert!(message.contains("transaction"), "{message}");
    client
        .execute("INSERT INTO t VALUES (4, NULL)", params![])
        .await
        .unwrap();
    assert!(
        is_done(&connection.exec("INSERT INTO t VALUES (5, NULL)").await),
        "the connection is of use"
    );

    let left: Vec<i64> = client
        .query("SELECT a FROM t ORDER BY a", params![])
        .await
        .unwrap();
    assert_eq!(left, [2, 4, 5]);
    let check: String = client
        .query_one("PRAGMA integrity_check", params![])
        .await
        .unwrap();
    assert_eq!(check, "ok");
    let other = (1..=3).find(|id| *id != leader).unwrap();
    cluster.caught_up(other).await;
    cluster.transfer(other).await;
    let left: Vec<i64> = client
        .query("SELECT a FROM t ORDER BY a", params![])
        .await
        .unwrap();
    assert_eq!(left, [2, 4, 5], "on another node");
}

/// Protects: the writer's turn against clients that vanish with it, between two statements and in the middle of one.
/// The next writer would wait longer than it may, if the turn were not given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vanished_clients_give_the_turn_back() {
    let mut cluster = Cluster::with_options(1, &["--busy-timeout-ms", "4000"]).await;
    let address = cluster.node(1).address.clone();
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a INTEGER)", params![])
        .await
        .unwrap();
    for _ in 0..3 {
        let mut vanishes = RawConnection::open_database(&address, "main").await;
        assert!(is_done(&vanishes.exec("BEGIN IMMEDIATE").await));
        assert!(is_done(&vanishes.exec("INSERT INTO t VALUES (13)").await));
        drop(vanishes);
        client
            .execute("INSERT INTO t VALUES (1)", params![])
            .await
            .unwrap();
    }
    for _ in 0..3 {
        let mut vanishes = RawConnection::open_database(&address, "main").await;
        assert!(is_done(&vanishes.exec("BEGIN IMMEDIATE").await));
        assert!(is_done(&vanishes.exec("INSERT INTO t VALUES (13)").await));
        vanishes.send(&exec(ENDLESS_WRITE)).await;
        drop(vanishes);
        client
            .execute("INSERT INTO t VALUES (1)", params![])
            .await
            .unwrap();
    }
    let rows: Vec<i64> = client.query("SELECT a FROM t", params![]).await.unwrap();
    assert_eq!(
        rows, [1; 6],
        "nothing of what they had not committed is there"
    );
}

/// Protects: INTERRUPT ends what runs, the answer says so, and the connection goes on; a transaction in which it only read as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupts_end_statements() {
    let mut cluster = Cluster::with_options(1, &["--busy-timeout-ms", "4000"]).await;
    let address = cluster.node(1).address.clone();
    let mut connection = RawConnection::open_database(&address, "main").await;
    assert!(is_done(&connection.exec("CREATE TABLE t(a INTEGER)").await));
    for request in [query(ENDLESS), exec(ENDLESS_WRITE)] {
        assert!(is_done(&connection.exec("INSERT INTO t VALUES (1)").await));
        connection.send(&request).await;
        let answer = connection.call(&Request::Interrupt { db: 0 }).await;
        assert_eq!(failure(answer).0, ErrorCode::INTERRUPT, "{request:?}");
        assert_eq!(connection.next().await.unwrap(), Response::Empty);
    }
    let rows = connection.query("SELECT a FROM t").await;
    assert_eq!(rows, Ok(vec![vec![Value::from(1)]; 2]));
    assert!(is_done(&connection.exec("BEGIN").await));
    assert!(is_done(&connection.exec("INSERT INTO t VALUES (1)").await));
    connection.send(&query(ENDLESS)).await;
    let answer = connection.call(&Request::Interrupt { db: 0 }).await;
    assert_eq!(failure(answer).0, ErrorCode::INTERRUPT);
    assert_eq!(connection.next().await.unwrap(), Response::Empty);
    assert!(is_done(&connection.exec("COMMIT").await));
    let rows = connection.query("SELECT a FROM t").await;
    assert_eq!(rows, Ok(vec![vec![Value::from(1)]; 3]));

    // Many rows in batches, given up after the first.
    let many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c";
    let client = cluster.client().await;
    let mut rows = client.query_stream(many, params![]).await.unwrap();
    assert_eq!(rows.next_as::<i64>().await.unwrap(), Some(1));
    rows.interrupt().await.unwrap();
    client
        .execute("INSERT INTO t VALUES (2)", params![])
        .await
        .unwrap();
}

/// Protects: the processor. A query that never ends does, when nobody waits for it any more, and it does not keep the
/// node from stopping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_end_with_their_clients() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.node(1).address.clone();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = RawConnection::open_database(&address, "main").await;
        client.send(&query(ENDLESS)).await;
        clients.push(client);
    }
    let node = cluster.node(1);
    let busy = async || node.processor_share(Duration::from_millis(300)).await > 0.08;
    eventually("the queries run", async || busy().await.then_some(())).await;
    drop(clients);
    eventually("the queries end", async || (!busy().await).then_some(())).await;

    let mut client = RawConnection::open_database(&address, "main").await;
    client.send(&query(ENDLESS)).await;
    eventually("the query runs", async || busy().await.then_some(())).await;
    assert!(cluster.node(1).terminate().await.success());
}
