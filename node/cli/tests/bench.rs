//! `ferrolite bench` against servers that do what the test tells them: what is sent, what is sent again, and which
//! tables are there afterwards. All is a bulk load, which ends when its rows are there and not after some time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../client/tests/scripted/mod.rs"]
mod scripted;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use clap::Parser;
use ferrolite_cli::Command;
use ferrolite_client::{ErrorCode, Value};
use ferrolite_wire::Request;
use scripted::{Act, Leadership, Server, failure, not_leader};

const ROWS: i64 = 2_345;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

async fn bench(server: &Server, html: &Path) -> ferrolite_cli::Result<()> {
    let rows = ROWS.to_string();
    let words = [
        "ferrolite",
        "bench",
        "--servers",
        &server.address,
        "--phases",
        "load",
        "--clients",
        "1,3",
        "--rows",
        &rows,
        "--duration",
        "600",
        "--backoff-ms",
        "1",
        "--html",
    ];
    let mut words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
    words.push(html.as_os_str());
    ferrolite_cli::run(Line::parse_from(words).command).await
}

/// The rows that are committed, by number, and how often.
type Committed = Arc<Mutex<BTreeMap<i64, u32>>>;

/// A server that remembers what is committed.
fn table_server(
    committed: &Committed,
) -> impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync + 'static {
    let committed = Arc::clone(committed);
    let open: Mutex<BTreeMap<usize, Vec<i64>>> = Mutex::default();
    move |connection, request| {
        let mut open = open.lock().unwrap();
        let rows = open.entry(connection).or_default();
        match request {
            Request::ExecSql { sql, .. } if sql.starts_with("BEGIN") => rows.clear(),
            Request::ExecSql { sql, .. } if sql == "COMMIT" => {
                for row in rows.drain(..) {
                    *committed.lock().unwrap().entry(row).or_default() += 1;
                }
            }
            Request::Exec { params, .. } => {
                let numbers = params.iter().step_by(2).map(|value| match value {
                    Value::Integer(number) => *number,
                    other => panic!("{other:?}"),
                });
                rows.extend(numbers);
            }
            _ => {}
        }
        None
    }
}

/// Each number of clients loads all rows once.
fn assert_loaded_twice(committed: &Committed) {
    let committed = committed.lock().unwrap();
    let wrong: Vec<_> = committed.iter().filter(|(_, times)| **times != 2).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(committed.keys().copied().eq(1..=ROWS));
}

/// The names in statements that begin with this.
fn tables(server: &Server, verb: &str) -> Vec<String> {
    let of = |(_, sql): (usize, String)| {
        let rest = sql.strip_prefix(verb)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    server.sql().into_iter().filter_map(of).collect()
}

/// Protects: a bulk load has every row once, however many clients share it; the tables go; the report is written.
#[tokio::test]
async fn a_load_is_whole_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let html = directory.path().join("report.html");
    let committed = Committed::default();
    let server = Server::start(&Leadership::default(), table_server(&committed)).await;
    bench(&server, &html).await.unwrap();
    assert_loaded_twice(&committed);
    let made = tables(&server, "CREATE TABLE IF NOT EXISTS ");
    let dropped = tables(&server, "DROP TABLE IF EXISTS ");
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(
        made.iter().all(|name| name.starts_with("ferrolite_bench_")),
        "{made:?}"
    );
    let last = server.sql().last().unwrap().1.clone();
    assert_eq!(last, format!("DROP TABLE IF EXISTS {}", made[1]));
    assert!(
        dropped.iter().all(|name| made.contains(name)),
        "{dropped:?}"
    );
    let page = std::fs::read_to_string(&html).unwrap();
    for part in ["Bulk load", "1 client", "3 clients", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
}

/// Protects: what is refused as busy, wherever in the transaction, is made again as a whole.
#[tokio::test]
async fn busy_transactions_are_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let committed = Committed::default();
    let (table, count) = (table_server(&committed), AtomicU64::new(0));
    let server = Server::start(&Leadership::default(), move |connection, request| {
        let writes = matches!(request, Request::Exec { .. })
            || matches!(request, Request::ExecSql { sql, .. } if sql.starts_with("BEGIN"));
        // At a BEGIN, and within transactions; not for ever.
        if writes && [0, 5, 13, 40].contains(&count.fetch_add(1, Ordering::SeqCst)) {
            return Some(vec![Act::Answer(failure(
                ErrorCode::BUSY,
                "database is locked",
            ))]);
        }
        table(connection, request)
    })
    .await;
    bench(&server, &directory.path().join("report.html"))
        .await
        .unwrap();
    assert_loaded_twice(&committed);
}

/// Protects: the clients, and the dropping of the tables, follow the leader.
#[tokio::test]
async fn the_clients_follow_the_leader() {
    let directory = tempfile::tempdir().unwrap();
    let committed = Committed::default();
    let leadership = Leadership::default();
    let (table, shared, count) = (
        table_server(&committed),
        leadership.clone(),
        AtomicU64::new(0),
    );
    let first = Server::start(&leadership, move |connection, request| {
        // Within the second transaction.
        if matches!(request, Request::Exec { .. }) && count.fetch_add(1, Ordering::SeqCst) == 15 {
            shared.set(&shared.member(1));
        }
        let runs_sql = matches!(
            request,
            Request::Exec { .. } | Request::ExecSql { .. } | Request::QuerySql { .. }
        );
        match runs_sql && shared.leader() != shared.member(0) {
            true => Some(not_leader()),
            false => table(connection, request),
        }
    })
    .await;
    let second = Server::start(&leadership, table_server(&committed)).await;
    bench(&first, &directory.path().join("report.html"))
        .await
        .unwrap();
    assert_loaded_twice(&committed);
    let last = second.sql().last().unwrap().1.clone();
    assert!(
        last.starts_with("DROP TABLE IF EXISTS ferrolite_bench_"),
        "{last}"
    );
}

/// Protects: a run whose report could not be written is not begun.
#[tokio::test]
async fn a_report_without_a_place_is_noticed_first() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Leadership::default(), |_, _| None).await;
    let error = bench(&server, &directory.path().join("none/report.html"))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(server.log().is_empty());
}

/// Protects: an error that does not pass ends the run with the server's words, and the tables are dropped.
#[tokio::test]
async fn a_refusal_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Leadership::default(), |_, request| {
        let creates = matches!(request, Request::ExecSql { sql, .. } if sql.starts_with("CREATE"));
        creates.then(|| vec![Act::Answer(failure(ErrorCode::FULL, "disk is full"))])
    })
    .await;
    let error = bench(&server, &directory.path().join("report.html"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    let last = server.sql().last().unwrap().1.clone();
    assert!(
        last.starts_with("DROP TABLE IF EXISTS ferrolite_bench_"),
        "{last}"
    );
}
