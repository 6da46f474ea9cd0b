//! Reads that may be stale: which server they go to, when another one is asked, and what is never sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod scripted;

use std::collections::HashSet;
use std::time::Duration;

use ferrolite_client::{Builder, Client, Error, ErrorCode, Staleness};
use ferrolite_wire::{Request, Response};
use scripted::{Act, Leadership, Server, failure, rows};

const BOUND: Duration = Duration::from_millis(500);

fn builder(servers: &[&Server]) -> Builder {
    Client::builder()
        .servers(servers.iter().map(|server| &server.address))
        .retry_deadline(Duration::from_secs(20))
}

/// Answers each query with the server's own number, and everything else as usual.
fn numbered(number: i64) -> impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync {
    move |_, request| {
        let is_query = matches!(request, Request::QuerySql { .. });
        is_query.then(|| vec![Act::Answer(rows(&[number], false))])
    }
}

/// Answers OPEN, or each query, with a failure.
fn failing(
    at_open: bool,
    answer: Response,
) -> impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync {
    move |_, request| {
        let fails = match request {
            Request::Open { .. } => at_open,
            Request::QuerySql { .. } => !at_open,
            _ => false,
        };
        fails.then(|| vec![Act::Answer(answer.clone())])
    }
}

fn too_stale() -> Response {
    failure(ErrorCode::BUSY_TOO_STALE, "too stale")
}

/// Reads go to a server that does not lead, and all to the same one; it is told how stale they may be.
#[tokio::test]
async fn reads_away_from_the_leader() {
    let leadership = Leadership::default();
    let mut servers = Vec::new();
    for number in 0..4 {
        servers.push(Server::start(&leadership, numbered(number)).await);
    }
    let client = builder(&[&servers[2]]).connect().await.unwrap();
    let mut seen = HashSet::new();
    for _ in 0..12 {
        let stale = client.with_database("app").stale(BOUND);
        assert_eq!((stale.database(), stale.staleness()), ("app", BOUND.into()));
        let first: i64 = stale.query_one("SELECT", ()).await.unwrap();
        for _ in 0..5 {
            assert_eq!(stale.query::<i64>("SELECT", ()).await.unwrap(), [first]);
        }
        let server = stale.server().unwrap();
        assert_eq!(server, servers[usize::try_from(first).unwrap()].address);
        seen.insert(first);
    }
    assert!(!seen.contains(&0), "the leader was read from");
    assert!(seen.len() > 1, "always the same server: {seen:?}");
    let opened = servers[1..].iter().flat_map(Server::opened);
    assert!(opened.eq(vec![("app".to_owned(), "stale:500".to_owned()); 12]));
}

/// Without any leader there is somebody to read from, and with nobody else the leader is.
#[tokio::test]
async fn reads_from_who_is_there() {
    let leadership = Leadership::default();
    let server = Server::start(&leadership, numbered(7)).await;
    for leader in ["", &server.address] {
        leadership.set(leader);
        let stale = builder(&[&server])
            .connect_stale(Staleness::Unlimited)
            .await;
        let stale = stale.unwrap();
        assert_eq!(stale.query_one::<i64>("SELECT", ()).await.unwrap(), 7);
    }
    assert_eq!(server.opened()[0].1, "stale");
    server.stop();
    let gone = builder(&[&server]).retry_deadline(Duration::from_millis(300));
    let error = gone.connect_stale(BOUND).await.unwrap_err();
    assert!(
        matches!(error, Error::NoServer { .. }) && error.is_retryable(),
        "{error}"
    );
}

/// A server that cannot answer is left for another, once; when none can, the reason is told.
#[tokio::test]
async fn asks_another_server() {
    for (at_open, answer) in [
        (false, too_stale()),
        (true, failure(ErrorCode::IOERR_NOT_LEADER, "not leader")),
        (true, failure(ErrorCode::BUSY, "being elected")),
        (
            true,
            failure(ErrorCode::DQLITE_NOTFOUND, "no such database"),
        ),
    ] {
        let leadership = Leadership::default();
        let leader = Server::start(&leadership, numbered(0)).await;
        let unable = Server::start(&leadership, failing(at_open, answer.clone())).await;
        let too = Server::start(&leadership, failing(at_open, answer.clone())).await;
        let client = builder(&[&leader]).connect().await.unwrap();
        let stale = client.stale(BOUND);
        for _ in 0..3 {
            let number: i64 = stale.query_one("SELECT", ()).await.unwrap();
            assert_eq!(number, 0, "{answer:?}: the leader can, in the end");
        }
        assert_eq!(
            unable.opened().len() + too.opened().len(),
            2,
            "{answer:?}: once each"
        );
        let mut session = client.stale(BOUND).session().await.unwrap();
        if at_open {
            assert_eq!(session.address(), leader.address);
        } else {
            let failed = session.query::<i64>("SELECT", ()).await.unwrap_err();
            assert!(failed.is_too_stale() && failed.is_retryable(), "{failed}");
        }
        leader.stop();
        let short = builder(&[&unable, &too]).retry_deadline(Duration::from_millis(500));
        let stale = short.connect_stale(BOUND).await.unwrap();
        let error = stale.query::<i64>("SELECT", ()).await.unwrap_err();
        let Response::Failure { code, .. } = answer else {
            panic!("{answer:?} is no failure");
        };
        assert_eq!(error.server_code(), Some(code), "{error}");
    }
}

/// A server that vanishes is replaced by another, also in the middle of a result that nobody has seen.
#[tokio::test]
async fn survives_its_server() {
    let leadership = Leadership::default();
    let leader = Server::start(&leadership, numbered(0)).await;
    let breaks = |_: usize, request: &Request| {
        let is_query = matches!(request, Request::QuerySql { .. });
        is_query.then(|| vec![Act::Answer(rows(&[1], true)), Act::Close])
    };
    let fragile = Server::start(&leadership, breaks).await;
    let stale = builder(&[&leader]).connect().await.unwrap().stale(BOUND);
    let first = stale.query_stream("SELECT", ()).await.unwrap();
    assert_eq!(stale.server().unwrap(), fragile.address);
    let seen = first.collect::<i64>().await.unwrap_err();
    assert!(matches!(seen, Error::ConnectionLost { .. }), "{seen}");
    fragile.stop();
    assert_eq!(stale.query::<i64>("SELECT", ()).await.unwrap(), [0]);
}

/// Only reads are sent, and what a server takes for more than that is an error, not a reason to ask elsewhere.
#[tokio::test]
async fn only_reads() {
    let leadership = Leadership::default();
    let leader = Server::start(&leadership, numbered(0)).await;
    let follower = Server::start(
        &leadership,
        failing(false, failure(ErrorCode::IOERR_NOT_LEADER, "not leader")),
    )
    .await;
    let client = builder(&[&leader]).connect().await.unwrap();
    let stale = client.stale(Staleness::Unlimited);
    for sql in ["INSERT", "BEGIN", "SELECT 1; DELETE", "PRAGMA x = 1"] {
        let error = stale.query::<i64>(sql, ()).await.unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{sql}: {error}");
    }
    assert!(leader.sql().is_empty() && follower.sql().is_empty());
    let error = stale.query::<i64>("SELECT", ()).await.unwrap_err();
    assert!(error.is_not_leader(), "{error}");
    assert_eq!(follower.sql().len(), 1);
    assert!(leader.sql().is_empty());
}
