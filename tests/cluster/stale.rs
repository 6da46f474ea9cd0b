//! Reads that may be stale: what a node that follows shows, and what it never shows.

use std::time::{Duration, Instant};

use ferrolite_client::{ErrorCode, Value, params};
use ferrolite_wire::Response;

use crate::harness::raw::open;
use crate::harness::{Cluster, RawConnection, eventually};

fn integer(value: i64) -> Vec<Vec<Value>> {
    vec![vec![Value::from(value)]]
}

/// Protects: what is committed can be read on a node that follows, whoever asks and however it asks for it; nothing else
/// than reading is done there, and clients that do not ask for it are sent to the leader as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_does() {
    let mut cluster = Cluster::with_options(
        3,
        &[
            "--latency-ms",
            "50",
            "--log-level",
            "info,ferrolite_node=trace,ferrolite_consensus=trace",
        ],
    )
    .await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a INTEGER)", params![])
        .await
        .unwrap();
    client
        .execute("INSERT INTO t VALUES (1)", params![])
        .await
        .unwrap();
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let address = cluster.node(follower).address.clone();
    for (name, vfs) in [
        ("main", "stale"),
        ("main", "stale:5000"),
        ("main?stale", ""),
        ("main?stale=5000", "volatile"),
    ] {
        let began = Instant::now();
        let mut reader = RawConnection::open_with(&address, name, vfs).await;
        eprintln!("{name} {vfs} open {:?}", began.elapsed());
        assert_eq!(
            reader.query("SELECT a FROM t").await,
            Ok(integer(1)),
            "{name} {vfs}"
        );
        eprintln!("{name} {vfs} {:?}", began.elapsed());
    }
    let mut reader = RawConnection::open_with(&address, "main", "stale:0").await;
    for number in 2..50 {
        client
            .execute("UPDATE t SET a = ?", params![number])
            .await
            .unwrap();
        let began = Instant::now();
        assert_eq!(
            reader.query("SELECT a FROM t").await,
            Ok(integer(number)),
            "a bound of nothing"
        );
        eprintln!("{number} {:?}", began.elapsed());
    }
    let mut other = RawConnection::open(&address).await;
    let answer = other.call(&open("main", "")).await;
    assert!(
        matches!(&answer, Response::Failure { code, .. } if *code == ErrorCode::IOERR_NOT_LEADER)
    );
    let answer = other.call(&open("missing", "stale")).await;
    assert!(
        matches!(&answer, Response::Failure { code, .. } if *code == ErrorCode::DQLITE_NOTFOUND)
    );
    let _ = (
        Duration::ZERO,
        Instant::now(),
        eventually("", async || Some(())).await,
    );
}
