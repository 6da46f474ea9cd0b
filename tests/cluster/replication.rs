//! What the leader computed is what every node has.

use ferrolite_client::{Row, Value, params};

use crate::harness::{Cluster, files};

/// Protects: replication of pages and not of statements. What depends on chance, on the clock and on the connection
/// comes out once, and every node's file has that, page for page, when a stock program could open it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_the_same_rows() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let mut session = client.session().await.unwrap();
    session
        .execute(
            "CREATE TABLE event(id INTEGER PRIMARY KEY, chance INTEGER, at TEXT, day REAL, noise BLOB);
             CREATE TABLE note(event INTEGER, chance INTEGER);
             CREATE INDEX note_event ON note(event)",
            params![],
        )
        .await
        .unwrap();
    for _ in 0..60 {
        let event = "INSERT INTO event(chance, at, day, noise)
                     VALUES (random(), datetime('now'), julianday('now'), randomblob(100))";
        let made = session.execute(event, params![]).await.unwrap();
        let note = "INSERT INTO note VALUES (last_insert_rowid(), random())";
        session.execute(note, params![]).await.unwrap();
        let sql = "SELECT count(*) FROM note WHERE event = ?";
        let noted: i64 = session
            .query_one(sql, params![made.last_insert_id])
            .await
            .unwrap();
        assert_eq!(noted, 1, "last_insert_rowid() is what the answer said");
    }
    session
        .execute("DELETE FROM event WHERE chance % 3 = 0", params![])
        .await
        .unwrap();
    let other = client.with_database("a second one");
    other
        .execute(
            "CREATE TABLE t AS SELECT random() AS a, randomblob(9000) AS b",
            params![],
        )
        .await
        .unwrap();

    let everything = [
        ("main", "SELECT * FROM event ORDER BY id"),
        ("main", "SELECT * FROM note ORDER BY event"),
        ("a second one", "SELECT * FROM t"),
    ];
    let mut expected = Vec::new();
    for (database, sql) in everything {
        let client = client.with_database(database);
        let rows: Vec<Row> = client.query(sql, params![]).await.unwrap();
        assert!(!rows.is_empty());
        expected.push(
            rows.into_iter()
                .map(Row::into_values)
                .collect::<Vec<Vec<Value>>>(),
        );
    }
    drop(session);
    cluster.stop().await;

    for ((database, sql), expected) in everything.iter().zip(&expected) {
        let first = cluster.node(1).database(database);
        files::assert_sound(&first);
        for id in 1..=3 {
            let file = cluster.node(id).database(database);
            assert_eq!(&files::query(&file, sql), expected, "node {id}: {sql}");
            files::assert_same(&first, &file);
        }
    }
}
