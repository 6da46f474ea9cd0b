//! Reads that may be stale: what a node that follows shows, what it never shows, and what becomes of its readers when the
//! cluster changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferrolite_client::{Client, ErrorCode, StaleClient, Staleness, Value, params};
use ferrolite_wire::{Request, Response};
use tokio::task::JoinHandle;

use crate::harness::raw::{exec, open, query};
use crate::harness::{Cluster, Load, RawConnection, eventually, files, finished, program, text};
use crate::rot::verify;

fn integer(value: i64) -> Vec<Vec<Value>> {
    vec![vec![Value::from(value)]]
}

fn is_done(answer: &Response) -> bool {
    matches!(answer, Response::Result { .. })
}

fn failure(answer: Response) -> (ErrorCode, String) {
    match answer {
        Response::Failure { code, message } => (code, message),
        other => panic!("a failure was expected, and came {other:?}"),
    }
}

async fn run(client: &Client, sql: &str) {
    client.execute(sql, params![]).await.unwrap();
}

/// A reader of a node, however old what it reads may be.
async fn reader(cluster: &mut Cluster, id: u64) -> RawConnection {
    let address = cluster.node(id).address.clone();
    RawConnection::open_with(&address, "main", "stale").await
}

/// Protects: what is committed can be read on a node that follows, however a client says that it wants to; with a bound of
/// nothing at all it is the newest. Who does not say so is sent to the leader as ever, and so are all writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_answers() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let address = cluster.node(follower).address.clone();
    for (name, vfs) in [
        ("main", "stale"),
        ("main", "stale:60000"),
        ("main?stale", "volatile"),
        ("main?stale=60000", ""),
    ] {
        let mut reader = RawConnection::open_with(&address, name, vfs).await;
        let rows = reader.query("SELECT a FROM t").await;
        assert_eq!(rows, Ok(integer(1)), "{name} {vfs}");
    }
    let mut newest = RawConnection::open_with(&address, "main", "stale:0").await;
    for number in 2..50 {
        let update = "UPDATE t SET a = ?";
        client.execute(update, params![number]).await.unwrap();
        let rows = newest.query("SELECT a FROM t").await;
        assert_eq!(rows, Ok(integer(number)), "a bound of nothing");
    }

    let mut other = RawConnection::open(&address).await;
    let refusals = [
        (open("main", ""), ErrorCode::IOERR_NOT_LEADER),
        (open("main?", ""), ErrorCode::MISUSE),
        (open("main?stale=soon", ""), ErrorCode::MISUSE),
        (open("missing", "stale"), ErrorCode::DQLITE_NOTFOUND),
        (open("missing", "stale:0"), ErrorCode::DQLITE_NOTFOUND),
    ];
    for (request, code) in refusals {
        let answer = other.call(&request).await;
        assert_eq!(failure(answer).0, code, "{request:?}");
    }
    assert!(!cluster.node(follower).database("missing").exists());

    let leads_at = cluster.leader().await;
    let leads_at = cluster.node(leads_at).address.clone();
    for sql in [
        "INSERT INTO t VALUES (7)",
        "BEGIN IMMEDIATE",
        "CREATE TABLE u(a)",
        "CREATE TEMP TABLE u(a)",
        "VACUUM",
        "PRAGMA user_version = 7",
    ] {
        let (code, message) = failure(newest.exec(sql).await);
        assert_eq!(code, ErrorCode::IOERR_NOT_LEADER, "{sql}: {message}");
        assert!(message.contains(&leads_at), "{sql}: {message}");
    }
    assert!(is_done(&newest.exec("BEGIN").await));
    let rows = newest.query("SELECT a FROM t").await;
    assert_eq!(rows, Ok(integer(49)));
    let (code, _) = failure(newest.exec("DELETE FROM t").await);
    assert_eq!(code, ErrorCode::IOERR_NOT_LEADER);
    run(&client, "UPDATE t SET a = 50").await;
    assert_eq!(
        newest.query("SELECT a FROM t").await,
        Ok(integer(49)),
        "a snapshot"
    );
    assert!(is_done(&newest.exec("COMMIT").await));
    assert_eq!(newest.query("SELECT a FROM t").await, Ok(integer(50)));
}

/// Protects: the setting as a statement, on a node that follows and on the leader; what it is set to is what holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setting() {
    const ASK: &str = "PRAGMA ferrolite_staleness";
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    cluster.caught_up(follower).await;
    let mut reader = reader(&mut cluster, follower).await;
    let text = |value: &str| Ok(vec![vec![Value::from(value)]]);
    assert_eq!(reader.query(ASK).await, text("unlimited"));
    assert_eq!(
        reader.query("PRAGMA ferrolite_staleness = 500; ").await,
        Ok(integer(500))
    );
    assert!(is_done(
        &reader
            .exec("PRAGMA ferrolite_staleness(700); SELECT 1")
            .await
    ));
    assert_eq!(reader.query(ASK).await, Ok(integer(700)));
    let (code, message) = failure(reader.exec("PRAGMA ferrolite_staleness = soon").await);
    assert_eq!(code, ErrorCode::MISUSE, "{message}");
    assert!(is_done(&reader.exec("BEGIN").await));
    let (code, message) = failure(reader.exec("PRAGMA ferrolite_staleness = off").await);
    assert_eq!(code, ErrorCode::ERROR, "{message}");
    assert!(is_done(&reader.exec("COMMIT").await));

    // As a prepared statement, and what was prepared before goes on.
    let mut prepared = Vec::new();
    for sql in [
        "SELECT count(*) FROM t",
        "PRAGMA ferrolite_staleness = off",
        ASK,
    ] {
        let request = Request::Prepare {
            db: 0,
            sql: sql.to_owned(),
            with_tail: false,
        };
        match reader.call(&request).await {
            Response::Statement { id, params: 0, .. } => prepared.push(id),
            other => panic!("{sql}: {other:?}"),
        }
    }
    let run = |stmt| Request::Query {
        db: 0,
        stmt,
        params: Vec::new(),
    };
    reader.send(&run(prepared[0])).await;
    assert_eq!(reader.rows().await, Ok(integer(0)));
    reader.send(&run(prepared[1])).await;
    assert_eq!(reader.rows().await, text("off"));
    reader.send(&run(prepared[2])).await;
    assert_eq!(reader.rows().await, text("off"));
    reader.send(&run(prepared[0])).await;
    assert_eq!(reader.rows().await, Err(ErrorCode::IOERR_NOT_LEADER));
    assert!(is_done(
        &reader.exec("PRAGMA ferrolite_staleness = unlimited").await
    ));
    reader.send(&run(prepared[0])).await;
    assert_eq!(reader.rows().await, Ok(integer(0)));

    // On the leader it is a connection like any other, but for what its reads wait for.
    let address = cluster.node(leader).address.clone();
    let mut on_leader = RawConnection::open_database(&address, "main").await;
    assert_eq!(on_leader.query(ASK).await, text("off"));
    assert_eq!(
        on_leader.query("PRAGMA ferrolite_staleness = 0").await,
        Ok(integer(0))
    );
    assert!(is_done(&on_leader.exec("INSERT INTO t VALUES (1)").await));
    assert_eq!(
        on_leader.query("SELECT count(*) FROM t").await,
        Ok(integer(1))
    );
    assert!(is_done(
        &on_leader.exec("PRAGMA ferrolite_staleness = off").await
    ));
    assert!(is_done(&on_leader.exec("INSERT INTO t VALUES (1)").await));
    assert_eq!(
        on_leader.query("SELECT count(*) FROM t").await,
        Ok(integer(2))
    );
}

/// Protects: everybody from what no quorum holds. A leader that is cut off takes a write that it cannot commit; no reader of
/// any kind is shown that, neither as long as it takes itself for the leader nor afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_no_quorum_holds() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    let leader = cluster.leader().await;
    let address = cluster.node(leader).address.clone();
    let mut readers = Vec::new();
    for vfs in ["stale", "stale:100000"] {
        readers.push(RawConnection::open_with(&address, "main", vfs).await);
    }
    let mut set_later = RawConnection::open_database(&address, "main").await;
    assert!(is_done(
        &set_later
            .exec("PRAGMA ferrolite_staleness = unlimited")
            .await
    ));
    readers.push(set_later);
    let mut writer = RawConnection::open_database(&address, "main").await;
    assert!(is_done(&writer.exec("INSERT INTO t VALUES (1)").await));
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &others {
        cluster.node(*id).suspend().await;
    }
    let before = cluster.status(leader).await.unwrap().last;
    writer.send(&exec("INSERT INTO t VALUES (2)")).await;
    eventually("the write is in the log", async || {
        let status = cluster.status(leader).await?;
        (status.last > before && status.committed <= before).then_some(())
    })
    .await;
    for reader in &mut readers {
        reader.send(&query("SELECT count(*) FROM t")).await;
    }
    let mut steps_down = false;
    for round in 0.. {
        for reader in &mut readers {
            let rows = reader.rows().await;
            assert_eq!(rows, Ok(integer(2)), "round {round}");
        }
        if steps_down && round > 10 {
            break;
        }
        for reader in &mut readers {
            reader.send(&query("SELECT count(*) FROM t")).await;
        }
        steps_down = cluster
            .status(leader)
            .await
            .is_some_and(|status| !status.leads);
    }
    assert_eq!(cluster.status(leader).await.unwrap().open, ["main"]);
    let (code, _) = failure(writer.next().await.unwrap());
    assert_eq!(code, ErrorCode::IOERR_LEADERSHIP_LOST);
    for id in &others {
        cluster.node(*id).resume();
    }
    // The next leader has the entry, or has not.
    let client = cluster.client().await;
    let count: i64 = client
        .query_one("SELECT count(*) FROM t", params![])
        .await
        .unwrap();
    for reader in &mut readers {
        eventually("all nodes have the same", async || {
            let rows = reader.query("SELECT count(*) FROM t").await;
            (rows == Ok(integer(count))).then_some(())
        })
        .await;
    }
}

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

/// Stops the nodes, and holds their files against each other.
async fn assert_end(cluster: &mut Cluster) {
    let ids = cluster.running();
    cluster.stop().await;
    let first = cluster.node(ids[0]).database("main");
    files::assert_sound(&first);
    for id in &ids {
        files::assert_same(&first, &cluster.node(*id).database("main"));
        let directory = cluster.node(*id).directory.clone();
        let (status, said) = verify(&directory).await;
        assert_eq!(status, Some(0), "node {id}: {said}");
    }
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

/// Protects: a bound is kept or said to be broken, in time. With no leader nobody can tell how old a node's state is: with a
/// bound reads fail by then, without one they go on. Once there is a leader again, so do all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_kept() {
    let mut cluster =
        Cluster::with_options(3, &["--latency-ms", "20", "--busy-timeout-ms", "700"]).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    let follower = cluster.follower().await;
    cluster.caught_up(follower).await;
    let address = cluster.node(follower).address.clone();
    let sql = "SELECT a FROM t";
    let mut bounded = RawConnection::open_with(&address, "main", "stale:300").await;
    let mut patient = RawConnection::open_with(&address, "main", "stale:600000").await;
    let mut unlimited = RawConnection::open_with(&address, "main", "stale").await;
    for reader in [&mut bounded, &mut patient, &mut unlimited] {
        assert_eq!(reader.query(sql).await, Ok(integer(1)));
    }
    // A state that is young enough is read without asking anybody.
    assert!(is_done(
        &patient.exec("PRAGMA ferrolite_staleness = 500000").await
    ));
    for id in (1..=3).filter(|id| *id != follower) {
        cluster.node(id).suspend().await;
    }
    let began = Instant::now();
    let refused = eventually("what is known becomes too old", async || {
        let answer = bounded.call(&query(sql)).await;
        matches!(answer, Response::Failure { .. }).then_some(answer)
    })
    .await;
    let (code, message) = failure(refused);
    assert_eq!(code, ErrorCode::BUSY_TOO_STALE, "{message}");
    assert!(
        message.contains("ms behind the cluster, and 300 ms were allowed"),
        "{message}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    let began = Instant::now();
    assert_eq!(bounded.query(sql).await, Err(ErrorCode::BUSY_TOO_STALE));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(650),
        "it waits for the busy timeout: {took:?}"
    );
    for reader in [&mut unlimited, &mut patient] {
        assert_eq!(reader.query(sql).await, Ok(integer(1)));
    }
    for id in (1..=3).filter(|id| *id != follower) {
        cluster.node(id).resume();
    }
    cluster.leader().await;
    eventually("the bound is kept again", async || {
        let rows = bounded.query(sql).await;
        (rows == Ok(integer(1))).then_some(())
    })
    .await;
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

/// Protects: the Rust client, which finds a server to read from whoever leads, and whether or not anybody does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_finds_somebody() {
    let mut cluster = Cluster::with_options(3, &["--busy-timeout-ms", "300"]).await;
    let client = cluster.client().await;
    run(&client, "CREATE TABLE t(a INTEGER)").await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    for id in 1..=3 {
        cluster.caught_up(id).await;
    }
    async fn read(client: &StaleClient) -> ferrolite_client::Result<i64> {
        client.query_one("SELECT sum(a) FROM t", params![]).await
    }
    let leader = cluster.leader().await;
    let leads_at = cluster.node(leader).address.clone();
    let newest = client.stale(Duration::ZERO);
    assert_eq!(read(&newest).await.unwrap(), 1);
    assert_ne!(newest.server(), Some(leads_at.clone()), "there are others");
    run(&client, "INSERT INTO t VALUES (2)").await;
    assert_eq!(read(&newest).await.unwrap(), 3);
    let refused = newest
        .session()
        .await
        .unwrap()
        .execute("DELETE FROM t", params![])
        .await;
    let refused = refused.unwrap_err();
    assert!(refused.is_not_leader(), "{refused}");

    // Its server dies, and then everybody but one.
    let address = newest.server().unwrap();
    let used = (1..=3)
        .find(|id| cluster.node(*id).address == address)
        .unwrap();
    cluster.node(used).kill();
    assert_eq!(read(&newest).await.unwrap(), 3);
    cluster.node(used).start(&[]).await;
    cluster.caught_up(used).await;
    for id in (1..=3).filter(|id| *id != used) {
        cluster.node(id).kill();
    }
    let builder = cluster.builder().retry_deadline(Duration::from_secs(3));
    let any = builder
        .clone()
        .connect_stale(Staleness::Unlimited)
        .await
        .unwrap();
    assert_eq!(read(&any).await.unwrap(), 3);
    let bounded = builder
        .connect_stale(Duration::from_millis(100))
        .await
        .unwrap();
    let refused = read(&bounded).await.unwrap_err();
    assert!(
        refused.is_too_stale() && refused.is_retryable(),
        "{refused}"
    );

    let mut shell = program();
    let servers = cluster.addresses().join(",");
    let output = finished(shell.args([
        "shell",
        "--servers",
        &servers,
        "--stale",
        "main",
        "SELECT sum(a) FROM t",
        ".stale",
        ".show",
    ]))
    .await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.starts_with("3\nunlimited\n"), "{said}");
    assert!(
        said.contains(&format!("    server: {address}\n     stale: unlimited\n")),
        "{said}"
    );
    let mut shell = program();
    let output = finished(shell.args([
        "shell",
        "--servers",
        &servers,
        "--stale=100",
        "main",
        "SELECT sum(a) FROM t",
    ]))
    .await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("too stale") && said.contains("--stale"),
        "{said}"
    );
}
