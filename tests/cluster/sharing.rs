//! Writes that share transactions, and do not show it; and what is shown of what no quorum holds: nothing.

use ferrolite_client::{Client, Error, ErrorCode, Session, Value, params};
use ferrolite_wire::Response;

use crate::harness::raw::{exec, query};
use crate::harness::{Cluster, RawConnection};

const INSERT: &str = "INSERT INTO t(id, writer) VALUES (?, ?)";

/// SQLite's extended result codes.
const CHECK: ErrorCode = ErrorCode(275);
const FOREIGN_KEY: ErrorCode = ErrorCode(787);
const PRIMARY_KEY: ErrorCode = ErrorCode(1555);

fn code_of(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::Server { code, .. } => Some(*code),
        _ => None,
    }
}

async fn sessions(client: &Client, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(client.session().await.unwrap());
    }
    sessions
}

/// What a session says of its earlier writes, in SQL.
async fn said(session: &mut Session) -> (i64, i64, i64) {
    let sql = "SELECT last_insert_rowid(), changes(), total_changes()";
    session.query_one(sql, params![]).await.unwrap()
}

/// Protects: everybody's own outcome. Many write at once, every third what hurts a constraint. Whoever was told of success
/// has its rows there, once; whoever was told of a failure has none, and of the failure that was its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_has_its_own_outcome() {
    const WRITERS: i64 = 24;
    const ROUNDS: i64 = 40;
    let cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let schema =
        "CREATE TABLE t(id INTEGER PRIMARY KEY, writer INTEGER NOT NULL CHECK (writer <> 13));
                  INSERT INTO t VALUES (0, 0)";
    client.execute(schema, params![]).await.unwrap();
    let mut tasks = Vec::new();
    for (writer, mut session) in (1..).zip(sessions(&client, 24).await) {
        tasks.push(tokio::spawn(async move {
            let own = if writer == 13 { 113 } else { writer };
            for round in 0..ROUNDS {
                let id = writer * 1000 + round;
                let (id, by, expected) = match round % 6 {
                    1 => (Some(0), own, Some(PRIMARY_KEY)),
                    3 => (Some(id), 13, Some(CHECK)),
                    _ => (Some(id), own, None),
                };
                let written = session.execute(INSERT, params![id, by]).await;
                match (written, expected) {
                    (Ok(done), None) => {
                        assert_eq!((Some(done.last_insert_id), done.rows_affected), (id, 1));
                    }
                    (Err(error), Some(code)) => assert_eq!(code_of(&error), Some(code), "{error}"),
                    (written, expected) => panic!("{written:?}, not {expected:?}"),
                }
            }
            // Its own last row, whoever has inserted since.
            let none = session.execute("UPDATE t SET writer = writer WHERE id = -1", params![]);
            none.await.unwrap().last_insert_id
        }));
    }
    let last_good = (0..ROUNDS)
        .rev()
        .find(|round| ![1, 3].contains(&(round % 6)));
    for (writer, task) in (1..).zip(tasks) {
        assert_eq!(task.await.unwrap(), writer * 1000 + last_good.unwrap());
    }
    let good = (0..ROUNDS)
        .filter(|round| ![1, 3].contains(&(round % 6)))
        .count() as i64;
    let counted: Vec<(i64, i64)> = client
        .query(
            "SELECT id / 1000, count(*) FROM t WHERE id > 0 GROUP BY 1 ORDER BY 1",
            params![],
        )
        .await
        .unwrap();
    assert_eq!(
        counted,
        (1..=WRITERS)
            .map(|writer| (writer, good))
            .collect::<Vec<_>>()
    );
}

/// Protects: sessions. What one is asked about its earlier writes, in SQL, is about its own, though others have run them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_know_their_own_writes() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, writer INTEGER);
                  CREATE TABLE log(id INTEGER PRIMARY KEY, text TEXT);
                  CREATE TABLE w(k TEXT PRIMARY KEY) WITHOUT ROWID;
                  CREATE TRIGGER logs AFTER INSERT ON t WHEN new.writer = 2 BEGIN
                      INSERT INTO log VALUES (new.id + 7000, 'x');
                      INSERT INTO log VALUES (new.id + 8000, 'y');
                  END";
    client.execute(schema, params![]).await.unwrap();
    let [mut one, mut two, mut three] =
        <[Session; 3]>::try_from(sessions(&client, 3).await).unwrap();
    for round in 1..=20 {
        let (a, b) = tokio::join!(
            one.execute(INSERT, params![round, 1]),
            two.execute(INSERT, params![100 + round, 2]),
        );
        assert_eq!(a.unwrap().last_insert_id, round);
        assert_eq!(b.unwrap().last_insert_id, 100 + round);
        let c = three.execute("INSERT INTO w VALUES (?)", params![format!("{round}")]);
        assert_eq!(c.await.unwrap().last_insert_id, 0, "there is no rowid");
    }
    assert_eq!(said(&mut one).await, (20, 1, 20));
    assert_eq!(
        said(&mut two).await,
        (120, 1, 60),
        "rows by triggers count in all"
    );
    assert_eq!(said(&mut three).await, (0, 1, 20));
    // And after it has been asked.
    let many = "INSERT INTO t(writer) VALUES (1), (1), (1)";
    assert_eq!(one.execute(many, params![]).await.unwrap().rows_affected, 3);
    assert_eq!(said(&mut one).await, (123, 3, 23));
    let temporary = "CREATE TEMP TABLE t(id INTEGER PRIMARY KEY, writer INTEGER)";
    two.execute(temporary, params![]).await.unwrap();
    two.execute(INSERT, params![5000, 2]).await.unwrap();
    let there: i64 = client
        .query_one("SELECT count(*) FROM t WHERE id = 5000", params![])
        .await
        .unwrap();
    assert_eq!(there, 0, "a temporary table is its session's");
}

/// Protects: constraints that are checked when a transaction ends. Several writes may share one; whose write hurts such a
/// constraint is told, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_takes_nobody_with_it() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let schema = "CREATE TABLE parent(id INTEGER PRIMARY KEY);
                  INSERT INTO parent VALUES (1);
                  CREATE TABLE t(id INTEGER PRIMARY KEY,
                                 writer INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)";
    client.execute(schema, params![]).await.unwrap();
    let mut tasks = Vec::new();
    for (writer, mut session) in (1..).zip(sessions(&client, 8).await) {
        tasks.push(tokio::spawn(async move {
            let mut written = 0;
            for round in 0..25 {
                let parent = if (round + writer) % 5 == 0 { 2 } else { 1 };
                let id = writer * 1000 + round;
                match session.execute(INSERT, params![id, parent]).await {
                    Ok(_) if parent == 1 => written += 1,
                    Err(error) if parent == 2 => {
                        assert_eq!(code_of(&error), Some(FOREIGN_KEY));
                    }
                    other => panic!("parent {parent}: {other:?}"),
                }
            }
            written
        }));
    }
    let mut written = 0;
    for task in tasks {
        written += task.await.unwrap();
    }
    let there: i64 = client
        .query_one("SELECT count(*) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(there, written);
}

/// Protects: the promise that nobody is shown what may yet be undone. A leader that has lost its quorum answers no write,
/// shared or not, and no read, on any connection, that could have seen one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shown_that_no_quorum_holds() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(v INTEGER)", params![])
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let address = cluster.node(leader).address.clone();
    let count = "SELECT count(*) FROM t";
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut writer = RawConnection::open_database(&address, "main").await;
        // The second time it is known, and may be shared.
        for _ in 0..2 {
            let answer = writer.exec("INSERT INTO t VALUES (1)").await;
            assert!(matches!(answer, Response::Result { .. }), "{answer:?}");
        }
        writers.push(writer);
        let mut reader = RawConnection::open_database(&address, "main").await;
        reader.query(count).await.unwrap();
        readers.push(reader);
    }
    let held: i64 = client.query_one(count, params![]).await.unwrap();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.node(id).kill();
    }
    for writer in &mut writers {
        writer.send(&exec("INSERT INTO t VALUES (1)")).await;
    }
    for _ in 0..50 {
        for reader in &mut readers {
            reader.send(&query(count)).await;
            match reader.rows().await {
                Ok(rows) => assert_eq!(rows, vec![vec![Value::from(held)]]),
                Err(code) => assert!(
                    [
                        ErrorCode::IOERR_NOT_LEADER,
                        ErrorCode::IOERR_LEADERSHIP_LOST
                    ]
                    .contains(&code),
                    "{code:?}"
                ),
            }
        }
    }
    for writer in &mut writers {
        let answer = writer.next().await.unwrap();
        assert!(
            matches!(&answer, Response::Failure { code, .. }
                if [ErrorCode::IOERR_NOT_LEADER, ErrorCode::IOERR_LEADERSHIP_LOST].contains(code)),
            "{answer:?}"
        );
    }
}
