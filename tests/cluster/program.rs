//! The program, as it is typed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use ferrolite_client::{ImportOptions, Row, Value, params};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

use crate::harness::{Cluster, files, finished, program, text};

/// Runs a command with text on its standard input.
async fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let pid = Pid::from_child(&child);
    let output = tokio::task::spawn_blocking(move || {
        // A program that has read enough closes its end.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output()
    });
    match tokio::time::timeout(crate::harness::PATIENCE, output).await {
        Ok(output) => output.unwrap().unwrap(),
        Err(_) => {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("{command:?} did not end");
        }
    }
}

/// Runs a command that must succeed, and returns what it writes.
async fn succeeds(command: &mut Command) -> String {
    let output = finished(command).await;
    assert!(
        output.status.success(),
        "{command:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Protects: the README's first command. SQL on standard input is run on a cluster that appears and disappears, the
/// status says whether all of it succeeded, and with --data-dir the data is there the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn playground_runs_sql_from_standard_input() {
    let mut playground = program();
    playground.arg("playground");
    let sql = "CREATE TABLE t(a, b);\nINSERT INTO t VALUES (1, 'one'),\n  (2, 'two');\nSELECT * FROM t;\n";
    let output = with_input(playground, sql).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "1|one\n2|two\n");

    let mut playground = program();
    playground.args(["playground", "--nodes", "1"]);
    let output = with_input(playground, "SELECT 1;\nSELECT * FROM nowhere;\nSELECT 2;\n").await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "1\n");
    assert!(
        text(&output.stderr).contains("nowhere"),
        "{}",
        text(&output.stderr)
    );

    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("play");
    let again = || {
        let mut playground = program();
        playground
            .args(["playground", "--data-dir"])
            .arg(&directory);
        playground
    };
    let output = with_input(again(), "CREATE TABLE t(a); INSERT INTO t VALUES (42);").await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = with_input(again(), "SELECT a FROM t;").await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "42\n");
    let output = with_input(
        {
            let mut wrong = again();
            wrong.args(["--nodes", "5"]);
            wrong
        },
        "",
    )
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("--nodes 3"),
        "{}",
        text(&output.stderr)
    );
}

/// Protects: an orderly stop. The leader hands over before it goes, ends with status 0, and writing goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_hands_leadership_over() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a)", params![])
        .await
        .unwrap();
    let leader = cluster.leader().await;
    assert!(cluster.node(leader).terminate().await.success());
    let log = cluster.node(leader).log();
    assert!(log.contains("leadership was handed over"), "{log}");
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    client
        .execute("INSERT INTO t VALUES (1)", params![])
        .await
        .unwrap();
    let line = cluster.node(leader).start(&[]).await;
    let address = cluster.node(leader).address.clone();
    assert!(
        line.starts_with(&format!("ready: node {leader} on {address} ")),
        "{line}"
    );
    cluster.caught_up(leader).await;
}

/// Protects: the commands that an operator has, with answers that programs can read. A node that was started without a
/// word about a cluster waits to be added, gets each role, leads, and others leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_commands_change_the_members() {
    let mut cluster = Cluster::start(3).await;
    let servers = cluster.addresses().join(",");
    let run = async |words: &[&str]| -> Json {
        let mut command = program();
        command
            .arg("cluster")
            .args(words)
            .args(["--format", "json", "--servers", &servers]);
        serde_json::from_str(&succeeds(&mut command).await).unwrap()
    };
    let members = run(&["list"]).await;
    let members = members.as_array().unwrap();
    assert_eq!(members.len(), 3);
    assert!(
        members.iter().all(|member| member["role"] == "voter"),
        "{members:?}"
    );
    assert_eq!(
        members
            .iter()
            .filter(|member| member["leader"] == true)
            .count(),
        1
    );
    assert_eq!(run(&["leader"]).await[0]["id"], cluster.leader().await);

    let line = cluster.add(4).start(&[]).await;
    assert!(line.contains("waits to be added"), "{line}");
    let address = cluster.node(4).address.clone();
    let added = run(&["add", "4", &address]).await;
    assert_eq!(
        added,
        json!([{ "id": 4, "address": address, "role": "spare", "leader": false }])
    );
    for role in ["standby", "spare", "voter"] {
        assert_eq!(run(&["assign", "4", role]).await[0]["role"], role);
    }
    assert_eq!(run(&["transfer", &address]).await[0]["leader"], true);
    assert_eq!(cluster.leader().await, 4);
    assert_eq!(run(&["weight", "2", "9"]).await[0]["weight"], 9);
    let described = run(&["describe"]).await;
    let weights: Vec<&Json> = described
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["weight"])
        .collect();
    assert_eq!(weights, [0, 9, 0, 0]);
    let left = run(&["remove", "3"]).await;
    let ids: Vec<&Json> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["id"])
        .collect();
    assert_eq!(ids, [1, 2, 4]);

    let wrong = finished(program().args(["cluster", "remove", "77", "--servers", &servers])).await;
    assert!(!wrong.status.success());
    assert!(
        text(&wrong.stderr).contains("77"),
        "{}",
        text(&wrong.stderr)
    );
    succeeds(program().args(["status", "--servers", &servers])).await;
}

/// Protects: the address of port 0, for a program that starts nodes and has to find them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_zero_is_told() {
    let root = tempfile::tempdir().unwrap();
    let mut node = crate::harness::Node::new(root.path(), 1, &[]);
    node.address = "127.0.0.1:0".to_owned();
    let line = node.start(&["--bootstrap"]).await;
    let address = line.split_whitespace().nth(4).unwrap();
    assert!(!address.ends_with(":0"), "{line}");
    let client = ferrolite_client::Client::connect([address]).await.unwrap();
    let one: i64 = client.query_one("SELECT 1", params![]).await.unwrap();
    assert_eq!(one, 1);
    node.signal(Signal::INT);
    assert!(node.ended().await.success());
}

/// Protects: a system without a place for temporary files, where the engine wants one for all that it sorts. They go below the
/// data directory; what a run that was killed has left there goes with the next one, and an orderly end leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_files_have_a_place_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let mut node = crate::harness::Node::new(root.path(), 1, &[]);
    node.set_temporary(&root.path().join("missing"));
    let temporary = node.directory.join("temporary");
    let count = || std::fs::read_dir(&temporary).unwrap().count();
    node.start(&["--bootstrap"]).await;
    node.kill();
    assert_eq!(count(), 1);
    node.start(&[]).await;
    assert_eq!(count(), 1);
    let client = ferrolite_client::Client::connect([&node.address])
        .await
        .unwrap();
    let statement =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000)
        SELECT count(*) FROM (SELECT DISTINCT x % 1000 AS y FROM n ORDER BY y DESC)";
    let sorted: i64 = client.query_one(statement, params![]).await.unwrap();
    assert_eq!(sorted, 1000);
    node.signal(Signal::INT);
    assert!(node.ended().await.success());
    assert_eq!(count(), 0);
}

/// Protects: the way in and the way out. What comes out is what went in, by rows, and by bytes when it goes round
/// again; all nodes have it; and an import that cannot succeed says why and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_and_export_keep_everything() {
    let mut cluster = Cluster::start(3).await;
    let servers = cluster.addresses().join(",");
    let source = cluster.root().join("source.sqlite");
    files::create(
        &source,
        &[
            "CREATE TABLE city(name TEXT PRIMARY KEY, people INTEGER, area REAL, arms BLOB)",
            "CREATE INDEX by_people ON city(people)",
            "INSERT INTO city VALUES ('Zürich', 443037, 87.88, x'00ff'), ('\u{1f3d4}', NULL, -0.5, NULL)",
            "INSERT INTO city WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000)
             SELECT 'city ' || x, x, x / 7.0, randomblob(x % 900) FROM c",
        ],
    );
    let import = |file: &std::path::Path, name: &str| {
        let mut command = program();
        command
            .arg("import")
            .arg(file)
            .args(["--database", name, "--servers", &servers]);
        command
    };
    let export = |name: &str, file: &std::path::Path| {
        let mut command = program();
        command
            .args(["export", name])
            .arg(file)
            .args(["--servers", &servers]);
        command
    };
    succeeds(&mut import(&source, "atlas")).await;
    let all = "SELECT * FROM city ORDER BY name";
    let client = cluster.client().await.with_database("atlas");
    let rows: Vec<Row> = client.query(all, params![]).await.unwrap();
    let rows: Vec<Vec<Value>> = rows.into_iter().map(Row::into_values).collect();
    assert_eq!(rows.len(), 3002);
    assert_eq!(rows, files::query(&source, all));

    let first = cluster.root().join("first.sqlite");
    succeeds(&mut export("atlas", &first)).await;
    files::assert_sound(&first);
    assert_eq!(files::query(&first, all), rows);
    succeeds(&mut import(&first, "again")).await;
    let second = cluster.root().join("second.sqlite");
    succeeds(&mut export("again", &second)).await;
    files::assert_same(&first, &second);

    let output = finished(&mut import(&source, "atlas")).await;
    assert!(
        !output.status.success(),
        "a database was replaced that nobody said may be replaced"
    );
    let output = finished(&mut export("atlas", &first)).await;
    assert!(
        !output.status.success(),
        "a file was replaced that nobody said may be replaced"
    );
    let text_file = cluster.root().join("words.txt");
    std::fs::write(&text_file, "words\n".repeat(1000)).unwrap();
    let output = finished(&mut import(&text_file, "words")).await;
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("words.txt"),
        "{}",
        text(&output.stderr)
    );
    let names: Vec<String> = client
        .databases()
        .await
        .unwrap()
        .into_iter()
        .map(|known| known.name)
        .collect();
    assert!(!names.contains(&"words".to_owned()), "{names:?}");

    client
        .execute("DELETE FROM city WHERE people > 100", params![])
        .await
        .unwrap();
    cluster.stop().await;
    let file = cluster.node(1).database("atlas");
    files::assert_sound(&file);
    assert_eq!(
        files::query(&file, "SELECT count(*) FROM city"),
        vec![vec![Value::from(101)]]
    );
    // A node's file differs from what is exported in two bytes, which say that it belongs to a log.
    let mut bytes = std::fs::read(&second).unwrap();
    bytes[18..20].fill(2);
    std::fs::write(&second, bytes).unwrap();
    for id in 1..=3 {
        files::assert_same(&file, &cluster.node(id).database("atlas"));
        files::assert_same(&second, &cluster.node(id).database("again"));
    }
}

/// Protects: an import is there as a whole or not at all. The leader dies in the middle of one; nothing of it is to be
/// seen, and the next attempt succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_import_leaves_nothing() {
    let mut cluster = Cluster::start(3).await;
    let source = cluster.root().join("source.sqlite");
    let rows =
        "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 8000)
                SELECT x, randomblob(1000) FROM c";
    files::create(
        &source,
        &["CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", rows],
    );
    let bytes = std::fs::read(&source).unwrap();
    let options = ImportOptions {
        database: "atlas".to_owned(),
        page_size: 4096,
        pages: bytes.len() as u64 / 4096,
        replace: false,
    };
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE other(a)", params![])
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let mut killed = false;
    let imported = client
        .import(&options, bytes.as_slice(), |progress| {
            if progress.pages_done * 2 > progress.pages_total && !killed {
                killed = true;
                node.kill();
            }
        })
        .await;
    assert!(imported.is_err(), "the import goes on without its leader");
    cluster.leader().await;
    let names: Vec<String> = client
        .databases()
        .await
        .unwrap()
        .into_iter()
        .map(|known| known.name)
        .collect();
    assert_eq!(names, ["main"]);

    client
        .import(&options, bytes.as_slice(), |_| {})
        .await
        .unwrap();
    let atlas = client.with_database("atlas");
    let count: i64 = atlas
        .query_one("SELECT count(*) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(count, 8000);
    atlas
        .execute("INSERT INTO t VALUES (0, NULL)", params![])
        .await
        .unwrap();
    cluster.node(leader).start(&[]).await;
    cluster.stop().await;
    let file = cluster.node(1).database("atlas");
    files::assert_sound(&file);
    for id in 2..=3 {
        files::assert_same(&file, &cluster.node(id).database("atlas"));
    }
}
