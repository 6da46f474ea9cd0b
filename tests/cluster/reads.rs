//! Who answers a query, and with what.

use std::time::Duration;

use ferrolite_client::{Client, ErrorCode, Value, params};
use ferrolite_wire::{Request, Response};

use crate::harness::raw::{exec, query};
use crate::harness::{Cluster, RawConnection, Register, eventually};

/// Protects: a node that does not lead refuses SQL in the words that every dqlite client knows, names the leader,
/// and goes on answering on the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_send_clients_to_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let leads_at = cluster.node(leader).address.clone();
    for id in (1..=3).filter(|id| *id != leader) {
        let address = cluster.node(id).address.clone();
        let mut connection = RawConnection::open(&address).await;
        let open = Request::Open {
            name: "main".to_owned(),
            flags: 0,
            vfs: String::new(),
        };
        for request in [open, Request::Databases] {
            let answer = connection.call(&request).await;
            assert!(
                matches!(&answer, Response::Failure { code, .. } if *code == ErrorCode::IOERR_NOT_LEADER),
                "node {id}: {answer:?}"
            );
        }
        let answer = connection.call(&Request::Leader).await;
        assert_eq!(
            answer,
            Response::Leader {
                id: leader,
                address: leads_at.clone()
            }
        );
    }
}

/// Protects: linearizability. A leader that was cut off while another was elected does not answer from what it
/// remembers: not the query that waited for it, and none that comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_gives_no_stale_answer() {
    const NEW: i64 = 2;
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(v INTEGER)", params![])
        .await
        .unwrap();
    client
        .execute("INSERT INTO t VALUES (1)", params![])
        .await
        .unwrap();
    let old = cluster.leader().await;
    let address = cluster.node(old).address.clone();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut connection = RawConnection::open_database(&address, "main").await;
        assert_eq!(
            connection.query("SELECT v FROM t").await,
            Ok(vec![vec![Value::from(1)]])
        );
        waiting.push(connection);
    }
    let mut writer = RawConnection::open_database(&address, "main").await;

    cluster.node(old).suspend().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    // A client of its own, which no connection to the old leader keeps waiting.
    let address = cluster.node(new).address.clone();
    let client = Client::connect([address]).await.unwrap();
    client
        .execute("UPDATE t SET v = ?", params![NEW])
        .await
        .unwrap();
    for connection in &mut waiting {
        connection.send(&query("SELECT v FROM t")).await;
    }
    writer.send(&exec("INSERT INTO t VALUES (3)")).await;
    cluster.node(old).resume();

    let allowed = |answer: &Result<Vec<Vec<Value>>, ErrorCode>| match answer {
        Ok(rows) => rows.contains(&vec![Value::from(NEW)]),
        Err(code) => [
            ErrorCode::IOERR_NOT_LEADER,
            ErrorCode::IOERR_LEADERSHIP_LOST,
        ]
        .contains(code),
    };
    for connection in &mut waiting {
        let first = connection.rows().await;
        assert!(allowed(&first), "the query that waited: {first:?}");
    }
    let written = writer.next().await.unwrap();
    for _ in 0..20 {
        for connection in &mut waiting {
            let later = connection.query("SELECT v FROM t").await;
            assert!(allowed(&later), "a later query: {later:?}");
        }
    }
    eventually("the old leader follows the new one", async || {
        let status = cluster.status(old).await?;
        (!status.leads && status.term > 0 && cluster.leader().await == new).then_some(())
    })
    .await;
    cluster.caught_up(old).await;
    let count = "SELECT count(*) FROM t WHERE v = 3";
    let there: i64 = client.query_one(count, params![]).await.unwrap();
    match written {
        Response::Result { .. } => assert_eq!(there, 1, "the old leader acknowledged a row"),
        Response::Failure { code, .. } if code == ErrorCode::IOERR_NOT_LEADER => {
            assert_eq!(there, 0, "the old leader refused a row");
        }
        Response::Failure { code, .. } => assert_eq!(code, ErrorCode::IOERR_LEADERSHIP_LOST),
        other => panic!("the answer to a write is {other:?}"),
    }
}

/// Protects: linearizability through every way in which leadership moves: handed over, offered to a node that does not
/// take it, lost by a leader that dies, and lost by one that sleeps and does not know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_never_go_back() {
    let mut cluster = Cluster::with_options(3, &[]).await;
    let register = Register::start(&cluster.builder(), 4).await;
    for _ in 0..3 {
        register.proceed().await;
        let next = cluster.follower().await;
        cluster.transfer(next).await;
        register.proceed().await;

        let sleeps = cluster.follower().await;
        let short = cluster.builder().retry_deadline(Duration::from_secs(1));
        let client = short.connect().await.unwrap();
        cluster.node(sleeps).suspend().await;
        let offered = client.transfer(sleeps).await;
        cluster.node(sleeps).resume();
        assert!(offered.is_err(), "a node that sleeps does not take over");
        register.proceed().await;

        let old = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        cluster.node(old).suspend().await;
        cluster.leader_among(&others).await;
        cluster.node(old).resume();
        register.proceed().await;

        let old = cluster.leader().await;
        cluster.node(old).kill();
        register.proceed().await;
        cluster.node(old).start(&[]).await;
    }
    register.proceed().await;
    register.end().await;
}

/// Protects: linearizability. A transaction that may write and only reads is a read: a node that leads no more does not answer it
/// from what its engine remembers, neither the query nor the COMMIT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_commits_no_stale_transaction() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    for sql in ["CREATE TABLE t(v INTEGER)", "INSERT INTO t VALUES (1)"] {
        client.execute(sql, params![]).await.unwrap();
    }
    let old = cluster.leader().await;
    let address = cluster.node(old).address.clone();
    let mut before = RawConnection::open_database(&address, "main").await;
    let mut within = RawConnection::open_database(&address, "main").await;
    for connection in [&mut before, &mut within] {
        for sql in ["BEGIN IMMEDIATE", "COMMIT"] {
            // Twice, so that the statements are known and nothing of them is read anew.
            let answer = connection.exec(sql).await;
            assert!(matches!(answer, Response::Result { .. }), "{answer:?}");
            let one = connection.query("SELECT v FROM t").await;
            assert_eq!(one, Ok(vec![vec![Value::from(1)]]));
        }
    }
    // One that has begun already, and has read nothing.
    let begun = within.exec("BEGIN IMMEDIATE").await;
    assert!(matches!(begun, Response::Result { .. }), "{begun:?}");
    let new = (1..=3).find(|id| *id != old).unwrap();
    cluster.transfer(new).await;
    client
        .execute("UPDATE t SET v = 2", params![])
        .await
        .unwrap();

    let is_refused = |answer: &Response| matches!(answer, Response::Failure { .. });
    for _ in 0..3 {
        let begun = before.exec("BEGIN IMMEDIATE").await;
        let read = before.query("SELECT v FROM t").await;
        assert!(read.is_err(), "{begun:?}: {read:?}");
        let committed = before.exec("COMMIT").await;
        assert!(is_refused(&committed), "{committed:?}");
    }
    let read = within.query("SELECT v FROM t").await;
    assert!(read.is_err(), "{read:?}");
    let committed = within.exec("COMMIT").await;
    assert!(is_refused(&committed), "{committed:?}");
}
