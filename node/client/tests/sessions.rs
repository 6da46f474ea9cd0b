//! Streams, interrupts, transactions and dropped futures: a connection never hands out an answer that belongs to
//! somebody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod scripted;

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ferrolite_client::{Client, Error, ErrorCode, ImportOptions, Session, Transaction};
use ferrolite_wire::{Request, Response};
use scripted::{Act, Leadership, Server, failure, rows};

/// A server that knows a few statements.
fn script(_: usize, request: &Request) -> Option<Vec<Act>> {
    let sql = match request {
        Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => sql.as_str(),
        Request::Prepare { sql, .. } => {
            let id = sql.trim_start_matches("SELECT ").parse().unwrap_or(0);
            return Some(vec![Act::Answer(Response::Statement {
                db: 0,
                id,
                params: 1,
                tail_bytes: None,
            })]);
        }
        Request::Query { stmt, .. } => {
            return Some(vec![Act::Answer(rows(&[i64::from(*stmt)], false))]);
        }
        _ => return None,
    };
    Some(match sql {
        "SELECT 42" => vec![Act::Answer(rows(&[42], false))],
        "SELECT forever" => vec![Act::StreamUntilInterrupt],
        "SELECT slow" | "UPDATE slow" => vec![Act::HangUntilInterrupt],
        "SELECT failing" => vec![
            Act::Answer(rows(&[1, 2], true)),
            Act::Answer(rows(&[3], true)),
            Act::Answer(failure(ErrorCode::TOOBIG, "too big")),
        ],
        "SELECT close" | "UPDATE close" => vec![Act::Close],
        _ => return None,
    })
}

async fn start() -> (Server, Client) {
    let server = Server::start(&Leadership::default(), script).await;
    let builder = Client::builder()
        .servers([&server.address])
        .retry_deadline(Duration::from_secs(20));
    let client = builder.connect().await.unwrap();
    (server, client)
}

/// Polls a future until this text has reached the server, then drops it.
async fn drop_when_running<T>(server: &Server, text: &str, future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    while !server.sql().iter().any(|(_, sql)| sql == text) {
        assert!(matches!(
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop())),
            Poll::Pending
        ));
        tokio::task::yield_now().await;
    }
}

/// Rows come batch by batch; a failure after rows is an error after those rows.
#[tokio::test]
async fn a_stream_fails_after_its_rows() {
    let (server, client) = start().await;
    let mut stream = client.query_stream("SELECT failing", ()).await.unwrap();
    assert_eq!(stream.columns(), ["n"]);
    for expected in 1..=3 {
        assert_eq!(stream.next_as::<i64>().await.unwrap(), Some(expected));
    }
    assert_eq!(
        stream.next().await.unwrap_err().server_code(),
        Some(ErrorCode::TOOBIG)
    );
    drop(stream);
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    assert_eq!(
        server.sql().last().unwrap().0,
        0,
        "the connection lives on, without an interrupt"
    );
    assert_eq!(server.sql().len(), 2);
}

/// A dropped stream interrupts its query; the connection goes on with the right answers.
#[tokio::test]
async fn a_dropped_stream_is_interrupted() {
    let (server, client) = start().await;
    let mut stream = client.query_stream("SELECT forever", ()).await.unwrap();
    assert_eq!(stream.next_as::<i64>().await.unwrap(), Some(1));
    drop(stream);
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    let expected = [(0, "SELECT forever"), (0, "<interrupt>"), (0, "SELECT 42")];
    assert_eq!(
        server.sql(),
        expected.map(|(number, sql)| (number, sql.to_owned()))
    );
}

/// An explicit interrupt returns once the server has let go.
#[tokio::test]
async fn an_interrupt_ends_a_stream() {
    let (server, client) = start().await;
    let stream = client.query_stream("SELECT forever", ()).await.unwrap();
    stream.interrupt().await.unwrap();
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    assert_eq!(
        server.sql().iter().map(|(number, _)| *number).max(),
        Some(0)
    );
}

/// The future of a statement may be dropped before any answer came: the statement is interrupted, and the next
/// answer belongs to the next question.
#[tokio::test]
async fn a_dropped_call_is_interrupted() {
    let (server, client) = start().await;
    drop_when_running(
        &server,
        "SELECT slow",
        client.query::<i64>("SELECT slow", ()),
    )
    .await;
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    drop_when_running(&server, "UPDATE slow", client.execute("UPDATE slow", ())).await;
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    let interrupts = server
        .sql()
        .iter()
        .filter(|(_, sql)| sql == "<interrupt>")
        .count();
    assert_eq!(interrupts, 2);
    assert_eq!(
        server.sql().iter().map(|(number, _)| *number).max(),
        Some(0),
        "one connection did it all"
    );
}

/// A statement of a transaction that nobody waits for stops at once, not with the next statement.
#[tokio::test]
async fn a_dropped_call_stops_at_once() {
    let (server, client) = start().await;
    let mut transaction = client.transaction().await.unwrap();
    drop_when_running(
        &server,
        "UPDATE slow",
        transaction.execute("UPDATE slow", ()),
    )
    .await;
    let interrupted = async {
        while !server.sql().contains(&(0, "<interrupt>".to_owned())) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), interrupted)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// Dropping the future of `next` loses no row.
#[tokio::test]
async fn next_may_be_dropped() {
    let (_server, client) = start().await;
    let mut stream = client.query_stream("SELECT forever", ()).await.unwrap();
    for n in 0..300i64 {
        // Mostly too short for a batch to arrive.
        let mut next = Box::pin(stream.next());
        let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(next);
        let row = match polled {
            Poll::Ready(row) => row.unwrap(),
            Poll::Pending => stream.next().await.unwrap(),
        };
        assert_eq!(row.unwrap().get::<i64>(0).unwrap(), n % 3 + 1);
    }
}

/// A transaction that is dropped is rolled back, before anything else is done on its connection.
#[tokio::test]
async fn a_dropped_transaction_rolls_back() {
    let (server, client) = start().await;
    let mut transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT", ()).await.unwrap();
    drop(transaction);
    assert_eq!(client.query_one::<i64>("SELECT 42", ()).await.unwrap(), 42);
    let mut transaction = client.transaction().await.unwrap();
    assert_eq!(
        transaction.query_one::<i64>("SELECT 42", ()).await.unwrap(),
        42
    );
    transaction.commit().await.unwrap();
    client
        .transaction()
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    let expected = [
        "BEGIN IMMEDIATE",
        "INSERT",
        "ROLLBACK",
        "SELECT 42",
        "BEGIN IMMEDIATE",
        "SELECT 42",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "ROLLBACK",
    ];
    assert_eq!(server.sql(), expected.map(|sql| (0, sql.to_owned())));
}

/// A stream that is dropped inside a transaction leaves the transaction open.
#[tokio::test]
async fn a_dropped_stream_keeps_its_transaction() {
    let (server, client) = start().await;
    let mut transaction = client.transaction().await.unwrap();
    drop(
        transaction
            .query_stream("SELECT forever", ())
            .await
            .unwrap(),
    );
    assert_eq!(
        transaction.query_one::<i64>("SELECT 42", ()).await.unwrap(),
        42
    );
    transaction.commit().await.unwrap();
    assert_eq!(server.sql().last().unwrap(), &(0, "COMMIT".to_owned()));
}

/// A transaction whose connection is lost took no effect, whatever was sent of it: it may be run again. Its
/// server rolls it back, so nothing more is sent.
#[tokio::test]
async fn a_lost_transaction_may_be_run_again() {
    let (server, client) = start().await;
    let mut transaction = client.transaction().await.unwrap();
    let error = transaction.execute("UPDATE close", ()).await.unwrap_err();
    assert!(
        error.is_retryable() && !error.is_outcome_unknown(),
        "{error}"
    );
    assert!(matches!(
        transaction.execute("UPDATE", ()).await,
        Err(Error::Closed)
    ));
    transaction.rollback().await.unwrap();
    assert_eq!(server.sql().len(), 2);
}

/// Only a commit that was sent and never answered leaves the outcome open.
#[tokio::test]
async fn a_lost_commit_is_unknown() {
    let close_on_commit = |_: usize, request: &Request| {
        matches!(request, Request::ExecSql { sql, .. } if sql == "COMMIT").then(|| vec![Act::Close])
    };
    let server = Server::start(&Leadership::default(), close_on_commit).await;
    let client = Client::connect([&server.address]).await.unwrap();
    let error = client
        .transaction()
        .await
        .unwrap()
        .commit()
        .await
        .unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
}

/// A session keeps its connection for whatever SQLite ties to one, and says when it is gone.
#[tokio::test]
async fn a_session_is_one_connection() {
    let (server, client) = start().await;
    let mut session = client.session().await.unwrap();
    session.execute("BEGIN", ()).await.unwrap();
    client.execute("INSERT", ()).await.unwrap();
    session.execute("COMMIT", ()).await.unwrap();
    let expected = [(0, "BEGIN"), (1, "INSERT"), (0, "COMMIT")];
    assert_eq!(
        server.sql(),
        expected.map(|(number, sql)| (number, sql.to_owned()))
    );
    assert!(matches!(
        client.execute("BEGIN", ()).await,
        Err(Error::Misuse(_))
    ));

    let error = session.query::<i64>("SELECT close", ()).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(session.is_closed());
}

/// A statement is prepared once per connection; when too many are kept, the one unused for longest goes.
#[tokio::test]
async fn statements_stay_prepared() {
    let (server, client) = start().await;
    let first = client.prepare("SELECT 1").await.unwrap();
    assert_eq!(first.parameters(), 1);
    for _ in 0..3 {
        assert_eq!(first.query_one::<i64>((0,)).await.unwrap(), 1);
    }
    let prepared = |server: &Server| {
        server
            .log()
            .iter()
            .filter(|(_, request)| matches!(request, Request::Prepare { .. }))
            .count()
    };
    assert_eq!(prepared(&server), 1);
    for n in 2..=65 {
        let statement = client.prepare(&format!("SELECT {n}")).await.unwrap();
        assert_eq!(statement.query_one::<i64>((0,)).await.unwrap(), n);
    }
    assert_eq!(prepared(&server), 65);
    assert!(
        server
            .log()
            .iter()
            .any(|(_, request)| matches!(request, Request::Finalize { stmt: 1, .. }))
    );
    assert_eq!(
        first.query_one::<i64>((0,)).await.unwrap(),
        1,
        "prepared anew"
    );
    assert!(matches!(
        client.prepare("SELECT 1; SELECT 2").await,
        Err(Error::Misuse(_))
    ));
}

/// Calls beyond the maximum of connections wait for one to come free.
#[tokio::test]
async fn calls_share_the_connections() {
    let server = Server::start(&Leadership::default(), script).await;
    let client = Client::builder()
        .servers([&server.address])
        .max_connections(1)
        .connect()
        .await
        .unwrap();
    let held = client.transaction().await.unwrap();
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.query_one::<i64>("SELECT 42", ()).await });
    tokio::task::yield_now().await;
    held.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 42);
    assert_eq!(server.sql().last().unwrap(), &(0, "SELECT 42".to_owned()));
}

/// An import sends whole pages in order and reports how far it is; a source that ends early commits nothing.
#[tokio::test]
async fn an_import_sends_all_pages() {
    let (server, client) = start().await;
    let options = ImportOptions {
        database: "shop".to_owned(),
        page_size: 512,
        pages: 5000,
        replace: true,
    };
    let file: Vec<u8> = (0..512 * 5000).map(|n: u32| n.to_le_bytes()[0]).collect();
    let mut progress = Vec::new();
    client
        .import(&options, file.as_slice(), |step| {
            progress.push(step.pages_done)
        })
        .await
        .unwrap();
    assert_eq!(progress, [2048, 4096, 5000]);
    let mut received = Vec::new();
    for (_, request) in server.log() {
        if let Request::ImportPages { first_page, pages } = request {
            assert_eq!(first_page, received.len() as u64 / 512 + 1);
            received.extend_from_slice(&pages);
        }
    }
    assert!(received == file, "the pages arrive as they were");
    assert_eq!(server.log().last().unwrap().1, Request::ImportCommit);

    let error = client
        .import(&options, &file[..1000], |_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LocalIo(_)));
    assert_eq!(
        server
            .log()
            .iter()
            .filter(|(_, request)| *request == Request::ImportCommit)
            .count(),
        1
    );
    let odd = ImportOptions {
        page_size: 1000,
        ..options
    };
    assert!(matches!(
        client.import(&odd, &file[..], |_| ()).await,
        Err(Error::Misuse(_))
    ));
}

/// An export hands out pages in order, and notices if the server leaves some out.
#[tokio::test]
async fn an_export_is_complete_or_an_error() {
    let pages = |first_page: u64, count: usize, more: bool| {
        let pages = vec![7; 512 * count].into();
        Act::Answer(Response::ExportPages {
            page_size: 512,
            total_pages: 3,
            first_page,
            more,
            pages,
        })
    };
    let server = Server::start(&Leadership::default(), move |_, request| match request {
        Request::Export { name } => Some(match name.as_str() {
            "whole" => vec![pages(1, 2, true), pages(3, 1, false)],
            "gap" => vec![pages(1, 1, true), pages(3, 1, false)],
            "twice" => vec![pages(1, 1, true), pages(1, 2, false)],
            "short" => vec![pages(1, 2, false)],
            _ => vec![pages(1, 1, true), Act::Close],
        }),
        _ => None,
    })
    .await;
    let client = Client::connect([&server.address]).await.unwrap();
    let (mut file, mut steps) = (Vec::new(), Vec::new());
    client
        .export_to("whole", &mut file, |step| {
            steps.push((step.pages_done, step.pages_total))
        })
        .await
        .unwrap();
    assert_eq!((file.len(), steps), (3 * 512, vec![(2, 3), (3, 3)]));
    for broken in ["gap", "twice", "short", "lost"] {
        let error = client
            .export_to(broken, tokio::io::sink(), |_| ())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::UnexpectedAnswer { .. } | Error::ConnectionLost { .. }
            ),
            "{broken}: {error}"
        );
    }
}

/// All handles and futures may move between threads.
#[test]
fn everything_is_send() {
    fn sends<T: Send>(_: &T) {}
    fn check(client: &Client, session: &mut Session, transaction: &mut Transaction<'static>) {
        sends(&client.execute("", (1, "a")));
        sends(&client.query::<(i64, String)>("", ()));
        sends(&client.query_stream("", ()));
        sends(&client.transaction());
        sends(&client.cluster());
        sends(&client.export_to("", tokio::io::sink(), |_| ()));
        sends(&session.query_one::<i64>("", ()));
        sends(&transaction.query_stream("", ()));
    }
    let _ = check;
}
