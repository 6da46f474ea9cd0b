//! What a node that follows answers: which statements, how old, what of it no quorum holds, and how a client finds one.
use std::time::{Duration, Instant};

use ferrolite_client::{ErrorCode, StaleClient, Staleness, Value, params};
use ferrolite_wire::{Request, Response};

use super::{failure, integer, is_done, reader, run};
use crate::harness::raw::{exec, open, query};
use crate::harness::{Cluster, RawConnection, eventually, finished, program, text};

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
