//! Readers that go on while leaders come and go, nodes are killed, and snapshots take the place of the files.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ferrolite_client::{ErrorCode, Value};
use ferrolite_wire::{Request, Response};
use tokio::task::JoinHandle;

use super::{assert_end, integer, is_done, reader, run};
use crate::harness::raw::query;
use crate::harness::{Cluster, Load, RawConnection, eventually};
use crate::rot::verify;

/// Readers that each go on as long as they can, and see time pass in one direction.
struct Readers {
    ends: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Readers of the tables of a [`Load`], some with a bound, one of them each on a connection of its own to each node.
    async fn start(cluster: &mut Cluster, ids: &[u64]) -> Self {
        let mut readers = Self {
            ends: Arc::default(),
            reads: Arc::default(),
            tasks: Vec::new(),
        };
        for id in ids {
            for vfs in ["stale", "stale:60000", "stale:0"] {
                let address = cluster.node(*id).address.clone();
                let connection = RawConnection::open_with(&address, "main", vfs).await;
                let (ends, reads) = (Arc::clone(&readers.ends), Arc::clone(&readers.reads));
                let read = read_on(connection, format!("node {id}, {vfs}"), ends, reads);
                readers.tasks.push(tokio::spawn(read));
            }
        }
        readers
    }

    /// Waits until so many more reads were answered.
    async fn proceed(&self, reads: u64) {
        let goal = self.reads.load(Ordering::Relaxed) + reads;
        eventually("readers go on", async || {
            (self.reads.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// How many rows there are, and how many that have only half of their transaction.
const ROWS: &str = "SELECT (SELECT count(*) FROM single), (SELECT count(*) FROM single WHERE id % 2 = 1) - \
                    (SELECT count(*) FROM paired)";

async fn read_on(
    mut connection: RawConnection,
    who: String,
    ends: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
) {
    let request = Request::Prepare {
        db: 0,
        sql: ROWS.to_owned(),
        with_tail: false,
    };
    let Response::Statement { id: stmt, .. } = connection.call(&request).await else {
        panic!("{who}: the statement cannot be prepared");
    };
    let mut seen = 0;
    let mut is_prepared = false;
    while !ends.load(Ordering::Relaxed) {
        is_prepared = !is_prepared;
        let request = if is_prepared {
            Request::Query {
                db: 0,
                stmt,
                params: Vec::new(),
            }
        } else {
            query(ROWS)
        };
        connection.send(&request).await;
        let row = match connection.rows().await {
            Ok(rows) => rows.into_iter().next().unwrap(),
            // A node that does not know how far the cluster is, or is about to lead it, says so.
            Err(ErrorCode::BUSY_TOO_STALE | ErrorCode::BUSY) => continue,
            Err(code) => panic!("{who}: {code}"),
        };
        let [Value::Integer(count), Value::Integer(halves)] = row[..] else {
            panic!("{who}: {row:?}");
        };
        assert_eq!(halves, 0, "{who}: half of a transaction");
        assert!(count >= seen, "{who}: {count} rows after {seen}");
        seen = count;
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Protects: readers through every change of leadership. Each has one connection and one prepared statement; it sees whole
/// transactions, never goes back, and needs to know nothing of who leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_outlast_leaders() {
    let mut cluster = Cluster::with_options(3, &["--log-mib", "1"]).await;
    let load = Load::start(&cluster.builder(), 0, 3).await;
    load.proceed(20).await;
    for id in 1..=3 {
        cluster.caught_up(id).await;
    }
    let readers = Readers::start(&mut cluster, &[1, 2, 3]).await;
    for _ in 0..2 {
        readers.proceed(100).await;
        let next = cluster.follower().await;
        cluster.transfer(next).await;
        load.proceed(50).await;
        readers.proceed(100).await;

        let old = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        cluster.node(old).suspend().await;
        cluster.leader_among(&others).await;
        load.proceed(50).await;
        cluster.node(old).resume();
        cluster.caught_up(old).await;
        readers.proceed(100).await;
    }
    readers.end().await;
    let tally = load.end().await;
    tally.check(&cluster.client().await).await;
    assert_end(&mut cluster).await;
}

/// Protects: the files of a node that is read from. It is killed again and again, at moments at which its engine is on the way
/// from the log into the file; each time it has the same as the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_read_from_is_killed() {
    let mut cluster = Cluster::with_options(3, &["--log-mib", "1"]).await;
    let load = Load::start(&cluster.builder(), 0, 3).await;
    load.proceed(20).await;
    for round in 0..4 {
        let killed = cluster.follower().await;
        cluster.caught_up(killed).await;
        let mut reader = reader(&mut cluster, killed).await;
        assert!(is_done(&reader.exec("BEGIN").await));
        assert!(reader.query(ROWS).await.is_ok());
        let client = cluster.client().await;
        // Checkpoints happen, as far as the reader lets them.
        for _ in 0..6 {
            run(&client, "CREATE TABLE IF NOT EXISTS large(body)").await;
            run(&client, "INSERT INTO large VALUES (randomblob(300000))").await;
            run(&client, "DELETE FROM large WHERE rowid % 2 = 0").await;
            load.proceed(20).await;
        }
        if round % 2 == 0 {
            assert!(is_done(&reader.exec("COMMIT").await));
            assert!(reader.query(ROWS).await.is_ok());
        }
        cluster.node(killed).kill();
        let directory = cluster.node(killed).directory.clone();
        let (status, said) = verify(&directory).await;
        assert_eq!(status, Some(0), "round {round}: {said}");
        load.proceed(20).await;
        cluster.node(killed).start(&[]).await;
    }
    let tally = load.end().await;
    tally.check(&cluster.client().await).await;
    assert_end(&mut cluster).await;
}

/// Protects: a reader of a node that was away for longer than the log reaches. Its files are replaced under it; it goes on with
/// what the node has then, and never goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_readers() {
    const INSERT: &str = "INSERT INTO t VALUES (randomblob(60000))";
    const IN_SOCKETS: u64 = 300;
    let mut cluster = Cluster::with_options(3, &["--latency-ms", "50", "--log-mib", "1"]).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(body)").await;
    run(&client, INSERT).await;
    let away = cluster.follower().await;
    cluster.caught_up(away).await;
    let mut current = reader(&mut cluster, away).await;
    let mut in_transaction = reader(&mut cluster, away).await;
    let sql = "SELECT count(*) FROM t";
    assert_eq!(current.query(sql).await, Ok(integer(1)));
    assert!(is_done(&in_transaction.exec("BEGIN").await));
    assert_eq!(in_transaction.query(sql).await, Ok(integer(1)));
    let has = cluster.status(away).await.unwrap().last;
    cluster.node(away).suspend().await;
    let mut rows = 1;
    eventually("the log lets go of what the node needs", async || {
        for _ in 0..20 {
            run(&client, INSERT).await;
            rows += 1;
        }
        for id in (1..=3).filter(|id| *id != away) {
            // Some of it may have reached the sleeping node's sockets.
            if cluster.status(id).await?.first <= has + IN_SOCKETS {
                return None;
            }
        }
        Some(())
    })
    .await;
    cluster.node(away).resume();
    let mut seen = 1;
    eventually("the reader sees all rows", async || {
        let answer = match current.query(sql).await {
            Ok(rows) => rows[0][0].clone(),
            Err(ErrorCode::BUSY) => return None,
            Err(code) => panic!("the reader is refused: {code}"),
        };
        let Value::Integer(count) = answer else {
            panic!("{answer:?} is no number");
        };
        assert!(count >= seen, "{count} after {seen}");
        seen = count;
        (count == rows).then_some(())
    })
    .await;
    let log = cluster.node(away).log();
    assert!(log.contains("a snapshot was installed"), "{log}");
    let refused = in_transaction.query(sql).await;
    assert_eq!(
        refused,
        Err(ErrorCode::BUSY_SNAPSHOT),
        "its snapshot is gone"
    );
    assert_eq!(in_transaction.query(sql).await, Ok(integer(rows)));
    run(&client, INSERT).await;
    cluster.caught_up(away).await;
    assert_end(&mut cluster).await;
}
