//! Finding the leader, following it, and making again what is safe to make again, and only that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrolite_client::{Builder, Client, Error, ErrorCode};
use ferrolite_wire::Request;
use scripted::{Act, Leadership, Server, failure, not_leader, rows};

fn builder(server: &Server) -> Builder {
    Client::builder()
        .servers([&server.address])
        .retry_deadline(Duration::from_secs(20))
}

fn sql(request: &Request) -> &str {
    match request {
        Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => sql,
        _ => "",
    }
}

/// Answers the first request with this text so, and all others as usual.
fn first_time(
    text: &'static str,
    acts: Vec<Act>,
) -> impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync {
    let seen = AtomicUsize::new(0);
    move |_, request| {
        (sql(request) == text && seen.fetch_add(1, Ordering::SeqCst) == 0).then(|| acts.clone())
    }
}

/// A client that knows one server reaches the leader it names, and learns all members from that.
#[tokio::test]
async fn follows_the_name_of_the_leader() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, |_, _| None).await;
    let b = Server::start(&leadership, |_, _| None).await;
    let c = Server::start(&leadership, |_, _| None).await;
    leadership.set(&b.address);
    let client = builder(&a).connect().await.unwrap();
    client.execute("INSERT", ()).await.unwrap();
    assert_eq!(b.sql().len(), 1);
    assert_eq!(a.sql().len(), 0);
    assert_eq!(
        client.servers(),
        [b.address.clone(), a.address.clone(), c.address.clone()]
    );
    assert_eq!(client.leader().await.unwrap().address, b.address);
}

/// A search goes on past servers that are gone and rounds in which nobody leads.
#[tokio::test]
async fn waits_for_an_election() {
    let leadership = Leadership::default();
    let asked = AtomicUsize::new(0);
    let moving = leadership.clone();
    let a = Server::start(&leadership, move |_, request| {
        if *request == Request::Leader && asked.fetch_add(1, Ordering::SeqCst) == 2 {
            moving.set(&moving.member(0));
        }
        None
    })
    .await;
    leadership.set("");
    // Nothing listens on this port any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let servers = [gone, a.address.clone()];
    Client::builder().servers(servers).connect().await.unwrap();
}

/// Without a leader the search ends with an error that says what every server answered.
#[tokio::test]
async fn gives_up_at_the_deadline() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, |_, _| None).await;
    leadership.set("");
    let error = builder(&a)
        .retry_deadline(Duration::from_millis(50))
        .connect()
        .await
        .unwrap_err();
    assert!(error.is_retryable());
    assert!(error.to_string().contains("knows of no leader"), "{error}");
    assert!(matches!(
        Client::builder().connect().await,
        Err(Error::Misuse(_))
    ));
}

/// A server that lost its office says so before it does anything: the write goes to the new leader, once.
#[tokio::test]
async fn a_refused_write_goes_to_the_new_leader() {
    let leadership = Leadership::default();
    let moving = leadership.clone();
    let a = Server::start(&leadership, move |_, request| {
        (sql(request) == "INSERT").then(|| {
            moving.set(&moving.member(1));
            not_leader()
        })
    })
    .await;
    let b = Server::start(&leadership, |_, _| None).await;
    let client = builder(&a).connect().await.unwrap();
    client.execute("INSERT", ()).await.unwrap();
    assert_eq!((a.sql().len(), b.sql().len()), (1, 1));
    client.execute("UPDATE", ()).await.unwrap();
    assert_eq!((a.sql().len(), b.sql().len()), (1, 2));
}

/// A write whose connection broke after it was sent is not sent again: whether it took effect is unknown.
#[tokio::test]
async fn a_lost_write_is_not_repeated() {
    for lost in [
        Act::Close,
        Act::Answer(failure(ErrorCode::IOERR_LEADERSHIP_LOST, "disk I/O error")),
    ] {
        let leadership = Leadership::default();
        let a = Server::start(&leadership, first_time("INSERT", vec![lost])).await;
        let client = builder(&a).connect().await.unwrap();
        let error = client.execute("INSERT", ()).await.unwrap_err();
        assert!(
            error.is_outcome_unknown() && !error.is_retryable(),
            "{error}"
        );
        assert_eq!(a.sql().len(), 1);
        client.execute("INSERT", ()).await.unwrap();
    }
}

/// Whoever says that writes may be repeated has them repeated.
#[tokio::test]
async fn a_lost_write_is_repeated_if_allowed() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, first_time("INSERT", vec![Act::Close])).await;
    let client = builder(&a).retry_writes(true).connect().await.unwrap();
    client.execute("INSERT", ()).await.unwrap();
    assert_eq!(a.sql().len(), 2);
}

/// A read changes nothing, so it is made again, even when it broke after its first batch.
#[tokio::test]
async fn a_lost_read_is_repeated() {
    for lost in [
        vec![Act::Close],
        vec![Act::Answer(rows(&[1, 2], true)), Act::Close],
    ] {
        let leadership = Leadership::default();
        let first = first_time("SELECT n", lost);
        let a = Server::start(&leadership, move |number, request| {
            first(number, request).or_else(|| {
                (sql(request) == "SELECT n").then(|| {
                    vec![
                        Act::Answer(rows(&[1, 2], true)),
                        Act::Answer(rows(&[3], false)),
                    ]
                })
            })
        })
        .await;
        let client = builder(&a).connect().await.unwrap();
        let found: Vec<i64> = client.query("SELECT n", ()).await.unwrap();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(a.sql().len(), 2);
    }
}

/// A stream is not begun again once its rows have been seen, and its loss is no unknown outcome.
#[tokio::test]
async fn a_lost_stream_says_so() {
    let leadership = Leadership::default();
    let a = Server::start(
        &leadership,
        first_time("SELECT n", vec![Act::Answer(rows(&[1], true)), Act::Close]),
    )
    .await;
    let client = builder(&a).connect().await.unwrap();
    let mut stream = client.query_stream("SELECT n", ()).await.unwrap();
    assert_eq!(stream.next_as::<i64>().await.unwrap(), Some(1));
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }) && !error.is_outcome_unknown());
    assert!(
        stream.next().await.unwrap().is_none(),
        "an error ends the stream"
    );
}

/// An idle connection that the server closed is replaced before anything is sent over it. The server closes in
/// the same breath as it answers, so the client can know by its next call.
#[tokio::test]
async fn a_dead_idle_connection_is_replaced() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, |_, request| {
        (sql(request) == "CREATE").then(|| {
            let done = ferrolite_wire::Response::Result {
                last_insert_id: 0,
                rows_affected: 0,
            };
            vec![Act::Answer(done), Act::Close]
        })
    })
    .await;
    let client = builder(&a).connect().await.unwrap();
    for _ in 0..5 {
        client.execute("CREATE", ()).await.unwrap();
    }
    assert_eq!(a.sql().len(), 5);
}

/// The first statements of a script may have taken effect before it was refused: it is not sent again.
#[tokio::test]
async fn a_refused_script_is_not_repeated() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, first_time("INSERT; INSERT", not_leader())).await;
    let client = builder(&a).retry_writes(true).connect().await.unwrap();
    let error = client.execute("INSERT; INSERT", ()).await.unwrap_err();
    assert!(
        error.is_outcome_unknown() && error.server_code() == Some(ErrorCode::IOERR_NOT_LEADER),
        "{error}"
    );
    assert_eq!(a.sql().len(), 1);
}

/// A failed statement is an error with SQLite's code, made once, on a connection that lives on.
#[tokio::test]
async fn a_failed_statement_keeps_the_connection() {
    let leadership = Leadership::default();
    let unique = Act::Answer(failure(
        ErrorCode::CONSTRAINT_UNIQUE,
        "UNIQUE constraint failed: t.a",
    ));
    let a = Server::start(&leadership, first_time("INSERT", vec![unique])).await;
    let client = builder(&a).connect().await.unwrap();
    let error = client.execute("INSERT", ()).await.unwrap_err();
    assert!(error.is_constraint() && !error.is_retryable() && !error.is_outcome_unknown());
    assert_eq!(error.sqlite_code(), Some(2067));
    client.execute("INSERT", ()).await.unwrap();
    assert_eq!(
        a.sql(),
        [(0, "INSERT".to_owned()), (0, "INSERT".to_owned())]
    );
}

/// A server that says nothing is given up after the answer timeout.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let leadership = Leadership::default();
    let a = Server::start(&leadership, first_time("INSERT", vec![])).await;
    let client = builder(&a)
        .answer_timeout(Duration::from_millis(500))
        .connect()
        .await
        .unwrap();
    let error = client.execute("INSERT", ()).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    client.execute("INSERT", ()).await.unwrap();
    assert_eq!(
        a.sql()
            .iter()
            .map(|(number, _)| *number)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

/// Nonsense and announced lengths beyond the limit end the connection, not the program.
#[tokio::test]
async fn a_broken_server_is_an_error() {
    let huge = [0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0];
    let unknown = [0, 0, 0, 0, 99, 0, 0, 0];
    for bytes in [huge, unknown] {
        let leadership = Leadership::default();
        let a = Server::start(
            &leadership,
            first_time("SELECT", vec![Act::Raw(bytes.to_vec())]),
        )
        .await;
        let client = builder(&a).connect().await.unwrap();
        let error = client.query::<i64>("SELECT", ()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        assert_eq!(client.query::<i64>("SELECT", ()).await.unwrap(), []);
    }
}

/// Membership changes are sent again only where the server refused them for not leading.
#[tokio::test]
async fn a_lost_membership_change_is_not_repeated() {
    let leadership = Leadership::default();
    let seen = AtomicUsize::new(0);
    let a = Server::start(&leadership, move |_, request| match request {
        Request::Add { .. } => match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Some(not_leader()),
            1 => Some(vec![Act::Close]),
            _ => None,
        },
        _ => None,
    })
    .await;
    let client = builder(&a).connect().await.unwrap();
    let error = client.add(7, "127.0.0.1:7").await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(a.log().len(), 2);
}
