//! The commands against servers that do what the test tells them: which statements are sent, which are
//! sent again after a failover, what ends a script, and which files exist afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../client/tests/scripted/mod.rs"]
mod scripted;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ferrolite_cli::shell::{self, Input, ShellOptions};
use ferrolite_cli::transfer::{export, import};
use ferrolite_cli::{Error, Servers};
use ferrolite_client::{DatabaseInfo, ErrorCode, Value};
use ferrolite_wire::{Request, Response, RowsBatch};
use scripted::{Act, Leadership, Server, failure, not_leader, rows};

fn options(server: &Server, sql: &[&str]) -> ShellOptions {
    ShellOptions {
        sql: sql.iter().map(|&text| text.to_owned()).collect(),
        input: Input::Script,
        ..ShellOptions::new([&server.address])
    }
}

/// The statements that a server saw, without the shell's own reads.
fn statements(server: &Server) -> Vec<String> {
    let seen = server.sql().into_iter().map(|(_, sql)| sql);
    seen.filter(|sql| sql != "SELECT 1").collect()
}

fn text_of(request: &Request) -> &str {
    match request {
        Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => sql,
        _ => "",
    }
}

/// Fails what contains the word "bad".
fn fails_bad(_: usize, request: &Request) -> Option<Vec<Act>> {
    let refusal = Act::Answer(failure(ErrorCode::ERROR, "no such table: bad"));
    text_of(request).contains("bad").then(|| vec![refusal])
}

/// Protects: a script stops at its first error and says where that is; nothing after it is run.
#[tokio::test]
async fn a_script_stops_at_the_first_error() {
    let server = Server::start(&Leadership::default(), fails_bad).await;
    let script = "INSERT INTO a VALUES (1);\n\n-- comment\nINSERT INTO bad\nVALUES (1);\nINSERT INTO c VALUES (1);";
    let error = shell::run(options(&server, &[script])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "SQL line 4: no such table: bad [SQLITE_ERROR (1)]"
    );
    assert_eq!(error.exit_status(), 1);
    assert_eq!(
        statements(&server),
        ["INSERT INTO a VALUES (1);", "INSERT INTO bad\nVALUES (1);"]
    );
}

/// Protects: `--continue-on-error` runs all, and still fails.
#[tokio::test]
async fn a_script_may_go_on_after_errors() {
    let server = Server::start(&Leadership::default(), fails_bad).await;
    let script = "DELETE FROM bad; DELETE FROM a;\n.nonsense\nDELETE FROM b";
    let mut options = options(&server, &[script]);
    options.continue_on_error = true;
    let error = shell::run(options).await.unwrap_err();
    assert!(
        matches!(error, Error::ScriptFailures { failures: 2, .. }),
        "{error}"
    );
    assert_eq!(
        statements(&server),
        ["DELETE FROM bad;", "DELETE FROM a;", "DELETE FROM b"]
    );
}

/// Protects: results reach the file whole, in the format asked for, also in several batches; the output goes
/// back; and `.read` runs a file.
#[tokio::test]
async fn results_go_to_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let script = |_: usize, request: &Request| match text_of(request) {
        "SELECT many;" => Some(vec![
            Act::Answer(rows(&[1, 2], true)),
            Act::Answer(rows(&[3], false)),
        ]),
        _ => None,
    };
    let server = Server::start(&Leadership::default(), script).await;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let inner = format!(
        ".mode csv\n.output '{}'\nSELECT many;\n.output\nUPDATE t SET a = 1;\n",
        path("out.csv")
    );
    std::fs::write(path("inner.sql"), inner).unwrap();
    shell::run(options(
        &server,
        &[&format!(".read '{}'", path("inner.sql"))],
    ))
    .await
    .unwrap();
    assert_eq!(
        std::fs::read_to_string(path("out.csv")).unwrap(),
        "n\n1\n2\n3\n"
    );
    assert_eq!(statements(&server), ["SELECT many;", "UPDATE t SET a = 1;"]);
}

/// Two servers, of which the first gives up leadership at a statement that contains `word`, once.
async fn failing_over(word: &'static str, act: fn() -> Vec<Act>) -> (Server, Server) {
    let leadership = Leadership::default();
    let (shared, lost) = (leadership.clone(), AtomicBool::new(false));
    let first = Server::start(&leadership, move |_, request| {
        if lost.load(Ordering::SeqCst) {
            return (!text_of(request).is_empty()).then(not_leader);
        }
        text_of(request).contains(word).then(|| {
            lost.store(true, Ordering::SeqCst);
            shared.set(&shared.member(1));
            act()
        })
    })
    .await;
    let second = Server::start(&leadership, |_, _| None).await;
    (first, second)
}

/// Protects: a statement that was refused because the leader changed is run at the new leader, once.
#[tokio::test]
async fn a_refused_statement_follows_the_leader() {
    let (first, second) = failing_over("t2", not_leader).await;
    let script = "INSERT INTO t1 VALUES (1); INSERT INTO t2 VALUES (1); INSERT INTO t3 VALUES (1);";
    shell::run(options(&first, &[script])).await.unwrap();
    assert_eq!(
        statements(&first),
        ["INSERT INTO t1 VALUES (1);", "INSERT INTO t2 VALUES (1);"]
    );
    assert_eq!(
        statements(&second),
        ["INSERT INTO t2 VALUES (1);", "INSERT INTO t3 VALUES (1);"]
    );
}

/// Protects: a write that may have taken effect is not sent a second time.
#[tokio::test]
async fn a_write_without_an_answer_is_not_repeated() {
    let (first, second) = failing_over("t2", || vec![Act::Close]).await;
    let script = "INSERT INTO t1 VALUES (1); INSERT INTO t2 VALUES (1); INSERT INTO t3 VALUES (1);";
    let error = shell::run(options(&first, &[script])).await.unwrap_err();
    assert!(error.to_string().contains("unknown"), "{error}");
    assert!(error.advice().unwrap().contains("look whether"), "{error}");
    assert_eq!(statements(&second), [""; 0]);
}

/// Protects: half of a transaction is never run at a new leader as if it were whole.
#[tokio::test]
async fn a_transaction_does_not_follow_the_leader() {
    let (first, second) = failing_over("t2", not_leader).await;
    let script = "BEGIN; INSERT INTO t1 VALUES (1); INSERT INTO t2 VALUES (1); COMMIT;";
    let error = shell::run(options(&first, &[script])).await.unwrap_err();
    assert!(
        error.to_string().contains("transaction was rolled back"),
        "{error}"
    );
    assert_eq!(statements(&second), [""; 0]);
}

/// A server that takes rows: it knows one table of two columns and remembers what is committed.
fn table_server(
    committed: Arc<Mutex<Vec<Value>>>,
) -> impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync {
    let open = Mutex::new(Vec::new());
    let prepared = Mutex::new(String::new());
    move |_, request| {
        match request {
            Request::Prepare { sql, .. } => prepared.lock().unwrap().clone_from(sql),
            Request::Exec { params, .. } if prepared.lock().unwrap().starts_with("INSERT") => {
                open.lock().unwrap().extend(params.iter().cloned());
            }
            Request::ExecSql { sql, params, .. } if sql.starts_with("INSERT") => {
                open.lock().unwrap().extend(params.iter().cloned());
            }
            Request::ExecSql { sql, .. } if sql.starts_with("BEGIN") => {
                open.lock().unwrap().clear()
            }
            Request::ExecSql { sql, .. } if sql == "COMMIT" => {
                committed.lock().unwrap().append(&mut open.lock().unwrap());
            }
            Request::QuerySql { sql, .. } if sql.starts_with("PRAGMA table_info") => {
                let column = |n: i64, name: &str| vec![Value::Integer(n), name.into()];
                return Some(vec![Act::Answer(Response::Rows(RowsBatch {
                    columns: vec!["cid".to_owned(), "name".to_owned()],
                    rows: vec![column(0, "a"), column(1, "b")],
                    more: false,
                }))]);
            }
            _ => {}
        }
        None
    }
}

fn write_csv(path: &Path, rows: u64) -> Vec<Value> {
    let lines: String = (0..rows).map(|n| format!("{n},\"t;{n}\"\n")).collect();
    std::fs::write(path, lines).unwrap();
    (0..rows)
        .flat_map(|n| [n.to_string().into(), format!("t;{n}").into()])
        .collect()
}

/// Protects: every row of a file arrives exactly once and in order, over several transactions.
#[tokio::test]
async fn a_csv_file_is_imported() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.csv");
    let expected = write_csv(&file, 12_345);
    let committed = Arc::default();
    let server = Server::start(&Leadership::default(), table_server(Arc::clone(&committed))).await;
    shell::run(options(
        &server,
        &[&format!(".import '{}' t", file.display())],
    ))
    .await
    .unwrap();
    assert_eq!(*committed.lock().unwrap(), expected);
}

/// Protects: a batch that the old leader refused half-way is imported by the new one, whole and once.
#[tokio::test]
async fn an_import_follows_the_leader() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.csv");
    let expected = write_csv(&file, 12_345);
    let committed: Arc<Mutex<Vec<Value>>> = Arc::default();
    let leadership = Leadership::default();
    let (shared, count) = (leadership.clone(), AtomicU64::new(0));
    let table = table_server(Arc::clone(&committed));
    let first = Server::start(&leadership, move |connection, request| {
        // The leader is lost within the second batch.
        if matches!(request, Request::Exec { .. }) && count.fetch_add(1, Ordering::SeqCst) == 50 {
            shared.set(&shared.member(1));
        }
        let leads = shared.leader() == shared.member(0);
        let runs_sql = matches!(
            request,
            Request::Exec { .. } | Request::ExecSql { .. } | Request::QuerySql { .. }
        );
        if runs_sql && !leads {
            Some(not_leader())
        } else {
            table(connection, request)
        }
    })
    .await;
    let second = Server::start(&leadership, table_server(Arc::clone(&committed))).await;
    shell::run(options(
        &first,
        &[&format!(".import '{}' t", file.display())],
    ))
    .await
    .unwrap();
    assert_eq!(*committed.lock().unwrap(), expected);
    assert!(
        second
            .log()
            .iter()
            .any(|(_, request)| matches!(request, Request::Exec { .. }))
    );
}

/// A server that exports three pages of 512 bytes, and breaks off before page `ends_before`.
/// A sound database of three pages: the schema, which is empty, and two free ones.
fn shop() -> Vec<[u8; 512]> {
    let mut pages = vec![[0; 512]; 3];
    let mut put = |page: usize, at: usize, bytes: &[u8]| {
        pages[page][at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, 0, b"SQLite format 3\0");
    put(0, 16, &[2, 0, 1, 1, 0, 64, 32, 32]);
    // Change counter, pages, the first page of the free list and its length.
    put(0, 24, &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2]);
    // Schema format 4, text in UTF-8, and the change counter for which the number of pages holds.
    put(0, 47, &[4]);
    put(0, 59, &[1]);
    put(0, 95, &[1]);
    // A leaf of a table without cells, whose content begins at the page's end.
    put(0, 100, &[13, 0, 0, 0, 0, 2, 0]);
    // The free list: no further trunk, one leaf, page 3.
    put(1, 4, &[0, 0, 0, 1, 0, 0, 0, 3]);
    pages
}

async fn exporter(ends_before: u64) -> Server {
    Server::start(&Leadership::default(), move |_, request| match request {
        Request::Databases => {
            let shop = DatabaseInfo {
                name: "shop".to_owned(),
                size_bytes: 1536,
            };
            Some(vec![Act::Answer(Response::Databases(vec![shop]))])
        }
        Request::Export { .. } => {
            let page = |number: u64| {
                Act::Answer(Response::ExportPages {
                    page_size: 512,
                    total_pages: 3,
                    first_page: number,
                    more: number < 3,
                    pages: shop()[usize::try_from(number).unwrap() - 1].to_vec().into(),
                })
            };
            let mut acts: Vec<Act> = (1..=3)
                .take_while(|number| *number < ends_before)
                .map(page)
                .collect();
            if ends_before <= 3 {
                acts.push(Act::Close);
            }
            Some(acts)
        }
        _ => None,
    })
    .await
}

fn export_args(server: &Server, database: &str, file: &Path, force: bool) -> export::ExportArgs {
    export::ExportArgs {
        database: database.to_owned(),
        file: file.to_owned(),
        force,
        servers: Servers {
            addresses: vec![server.address.clone()],
        },
    }
}

/// Protects: an export is whole under its name, or leaves nothing, and never takes a file away unasked.
#[tokio::test]
async fn an_export_is_whole_or_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.sqlite");
    let broken = exporter(3).await;
    let error = export::run(export_args(&broken, "shop", &file, false))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot export shop"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let whole = exporter(4).await;
    export::run(export_args(&whole, "shop", &file, false))
        .await
        .unwrap();
    let expected = shop().concat();
    assert_eq!(std::fs::read(&file).unwrap(), expected);
    assert!(
        export::run(export_args(&whole, "shop", &file, false))
            .await
            .is_err()
    );
    export::run(export_args(&whole, "shop", &file, true))
        .await
        .unwrap();
    let error = export::run(export_args(&whole, "shoe", &file, true))
        .await
        .unwrap_err();
    assert_eq!(error.advice().unwrap(), "it has shop");
    assert_eq!(std::fs::read(&file).unwrap(), expected);
}

/// Protects: the pages that an import sends, and a database that exists.
#[tokio::test]
async fn an_import_sends_every_page() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new.sqlite");
    let mut content: Vec<u8> = (0..5 * 512usize)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    content[..16].copy_from_slice(b"SQLite format 3\0");
    content[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
    content[24..28].copy_from_slice(&[0, 0, 0, 9]);
    content[28..32].copy_from_slice(&[0, 0, 0, 5]);
    content[92..96].copy_from_slice(&[0, 0, 0, 9]);
    std::fs::write(&file, &content).unwrap();
    let server = exporter(0).await;
    let args = |database: &str| import::ImportArgs {
        file: file.clone(),
        database: database.to_owned(),
        replace: false,
        servers: Servers {
            addresses: vec![server.address.clone()],
        },
    };
    let error = import::run(args("shop")).await.unwrap_err();
    assert!(error.advice().unwrap().contains("--replace"), "{error}");
    import::run(args("new")).await.unwrap();
    let mut sent = Vec::new();
    let mut ends = 0;
    for (_, request) in server.log() {
        match request {
            Request::Import {
                name,
                page_size,
                pages,
                replace,
            } => {
                assert_eq!(
                    (name.as_str(), page_size, pages, replace),
                    ("new", 512, 5, false)
                );
            }
            Request::ImportPages { pages, .. } => sent.extend_from_slice(&pages),
            Request::ImportCommit => ends += 1,
            _ => {}
        }
    }
    assert_eq!((sent, ends), (content, 1));
}
