//! `ferrolite bench` and Ctrl-C. Alone in its file: the signal goes to the whole process.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../client/tests/scripted/mod.rs"]
mod scripted;

use std::time::Duration;

use clap::Parser;
use ferrolite_cli::Command;
use ferrolite_wire::Request;
use scripted::{Leadership, Server};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Protects: Ctrl-C in the midst of a phase ends the run, drops the tables, and writes the report.
#[tokio::test]
async fn ctrl_c_drops_the_tables_and_reports() {
    let directory = tempfile::tempdir().unwrap();
    let html = directory.path().join("report.html");
    let server = Server::start(&Leadership::default(), |_, _| None).await;
    let words = [
        "ferrolite",
        "bench",
        "--servers",
        &server.address,
        "--phases",
        "insert",
        "--clients",
        "2",
        "--duration",
        "600",
        "--html",
    ];
    let mut words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
    words.push(html.as_os_str());
    let running = tokio::spawn(ferrolite_cli::run(Line::parse_from(words).command));

    let inserted = async {
        while !server
            .log()
            .iter()
            .any(|(_, request)| matches!(request, Request::Exec { .. }))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), inserted)
        .await
        .expect("an insert");
    let signal = format!("kill -INT {}", std::process::id());
    let sent = tokio::task::spawn_blocking(|| {
        std::process::Command::new("sh")
            .arg("-c")
            .arg(signal)
            .status()
    });
    assert!(sent.await.unwrap().unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(60), running)
        .await
        .expect("an end");
    let error = ended.unwrap().unwrap_err();
    assert!(error.is_interrupted(), "{error}");
    assert_eq!(error.exit_status(), 130);

    let last = server.sql().last().unwrap().1.clone();
    assert!(
        last.starts_with("DROP TABLE IF EXISTS ferrolite_bench_"),
        "{last}"
    );
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("Single-row inserts") && page.contains("interrupted"));
}
