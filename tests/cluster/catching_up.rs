//! A node that was away, or that is new, gets what it missed.

use ferrolite_client::{Client, NodeInfo, params};

use crate::harness::{Cluster, Load, eventually, files};

/// What a node logs when it gets the pages and not the entries.
const RECEIVES: &str = "receiving a snapshot";
/// So many rows are written at a time, one an entry, until the log has let go of what a node missed.
const ROWS: i64 = 1000;
/// Large enough that checkpoints happen, without which the log would keep everything.
const ROW_BYTES: i64 = 4000;
/// So many times at most; a checkpoint may be late.
const WRITTEN_AT_MOST: i64 = 40;
const WRITERS: i64 = 8;

/// Little log is kept, so that a node soon misses some. The leader says what it hears of the files of others.
const OPTIONS: [&str; 6] = [
    "--latency-ms",
    "50",
    "--log-mib",
    "4",
    "--log-level",
    "info,ferrolite_node::store=debug",
];

async fn contents(client: &Client) -> (i64, i64, i64) {
    let sql = "SELECT count(*), sum(id), sum(length(body)) FROM t";
    client.query_one(sql, params![]).await.unwrap()
}

async fn write(client: &Client, first: i64, rows: i64, row_bytes: i64) {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.push(tokio::spawn(async move {
            let insert = client
                .prepare("INSERT INTO t VALUES (?, randomblob(?))")
                .await
                .unwrap();
            for id in (first + writer..first + rows).step_by(WRITERS as usize) {
                insert.execute(params![id, row_bytes]).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Protects: a node that was away for a while gets the entries that it missed, and can lead with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_log() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    create(&client).await;
    write(&client, 0, 100, 100).await;
    let away = cluster.follower().await;
    cluster.node(away).kill();
    write(&client, 100, 400, 100).await;
    let expected = contents(&client).await;
    assert_eq!(expected.0, 500);
    cluster.node(away).start(&[]).await;
    cluster.caught_up(away).await;
    cluster.transfer(away).await;
    assert_eq!(contents(&client).await, expected);
    assert!(
        !cluster.node(away).log().contains(RECEIVES),
        "the log reached far enough"
    );
}

/// Protects: a node that was away for longer than the log reaches gets the pages that have changed since, and a node that is
/// new all pages; both can lead with them, and end with the same files as all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_snapshot() {
    let mut cluster = Cluster::with_options(3, &OPTIONS).await;
    let client = cluster.client().await;
    create(&client).await;
    write(&client, 0, ROWS, ROW_BYTES).await;
    let away = cluster.follower().await;
    cluster.caught_up(away).await;
    let leader = cluster.leader().await;
    eventually("the leader knows that the node has files", async || {
        let log = cluster.node(leader).log();
        let said = format!("a peer said how far its files are peer={away} done=");
        let (_, done) = log.rsplit_once(&said)?;
        (!done.starts_with('0')).then_some(())
    })
    .await;
    let has = eventually("a node says how it is", async || cluster.status(away).await)
        .await
        .last;
    cluster.node(away).kill();
    let mut rows = ROWS;
    while !all_begin_after(&cluster, has).await {
        assert!(
            rows < WRITTEN_AT_MOST * ROWS,
            "the log keeps {rows} rows and more"
        );
        write(&client, rows, ROWS, ROW_BYTES).await;
        rows += ROWS;
    }
    let expected = contents(&client).await;
    assert_eq!(expected.0, rows);

    cluster.node(away).start(&[]).await;
    cluster.caught_up(away).await;
    assert!(
        cluster.node(away).log().contains(RECEIVES),
        "node {away} got everything from the log"
    );
    found_sound(&mut cluster, away).await;
    let log = cluster.node(leader).log();
    let since = |base: &str| {
        log.lines()
            .any(|line| line.contains("sending a snapshot") && line.contains(base))
    };
    assert!(
        since("base=") && !since("base=0 "),
        "all pages were sent to node {away}"
    );
    cluster.transfer(away).await;
    assert_eq!(contents(&client).await, expected);

    cluster.join(4).await;
    cluster.promote(4).await;
    cluster.caught_up(4).await;
    assert!(
        cluster.node(4).log().contains(RECEIVES),
        "node 4 got everything from the log"
    );
    found_sound(&mut cluster, 4).await;
    cluster.transfer(4).await;
    assert_eq!(contents(&client).await, expected);
    client
        .execute("DELETE FROM t WHERE id % 2 = 0", params![])
        .await
        .unwrap();

    assert_same_files(&mut cluster).await;
}

/// Protects: nodes that are sent pages in the middle of small changes, of which the log has only what differs from what
/// was there before. The log of such a node begins behind most of it, and still tells all that the node needs: it goes on
/// with it, starts again with it after a crash, and leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_snapshot_under_small_changes() {
    let options = ["--latency-ms", "50", "--log-mib", "1"];
    let mut cluster = Cluster::with_options(3, &options).await;
    let load = Load::start(&cluster.builder(), 0, WRITERS).await;
    load.proceed(500).await;
    let away = cluster.follower().await;
    let has = eventually("a node says how it is", async || cluster.status(away).await)
        .await
        .last;
    cluster.node(away).kill();
    let mut rounds = 0;
    while !all_begin_after(&cluster, has).await {
        rounds += 1;
        assert!(rounds < WRITTEN_AT_MOST, "the log keeps everything");
        load.proceed(500).await;
    }
    cluster.node(away).start(&[]).await;
    cluster.caught_up(away).await;
    cluster.join(4).await;
    cluster.promote(4).await;
    cluster.caught_up(4).await;
    for id in [away, 4] {
        assert!(cluster.node(id).log().contains(RECEIVES), "node {id}");
        found_sound(&mut cluster, id).await;
        cluster.node(id).kill();
        load.proceed(100).await;
        cluster.node(id).start(&[]).await;
        cluster.caught_up(id).await;
        cluster.transfer(id).await;
        load.proceed(500).await;
    }
    let tally = load.end().await;
    tally.check(&cluster.client().await).await;
    cluster.settled().await;
    let ids = cluster.running();
    cluster.stop().await;
    let first = cluster.node(ids[0]).database("main");
    files::assert_sound(&first);
    tally.check_file(&first);
    for id in &ids {
        assert!(!cluster.node(*id).log().contains(" ERROR "), "node {id}");
        files::assert_same(&first, &cluster.node(*id).database("main"));
    }
}

/// Protects: a new node that dies in the middle of a snapshot that is larger than what may be on its way at once. What it had
/// is no use to it, and what was on its way is for a process that is gone; it gets all of it once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_snapshot_that_is_cut_off() {
    const FILL: &str = "INSERT INTO t(body) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) \
         SELECT randomblob(4000) FROM n";
    const ENOUGH_BYTES: u64 = 1 << 20;
    let mut cluster = Cluster::with_options(1, &OPTIONS).await;
    let client = cluster.client().await;
    create(&client).await;
    for _ in 0..8 {
        client.execute(FILL, params![]).await.unwrap();
    }
    let expected = contents(&client).await;
    eventually("the log lets go of its beginning", async || {
        all_begin_after(&cluster, 2).await.then_some(())
    })
    .await;
    let servers = cluster.addresses().join(",");
    cluster.add(2).spawn(&["--join", &servers]);
    let incoming = cluster.node(2).directory.join("incoming/main.sqlite");
    let live = cluster.node(2).database("main");
    eventually("pages arrive", async || {
        let len = std::fs::metadata(&incoming).map_or(0, |found| found.len());
        (len >= ENOUGH_BYTES || live.exists()).then_some(())
    })
    .await;
    cluster.node(2).kill();
    cluster.node(2).start(&[]).await;
    cluster.caught_up(2).await;
    assert!(cluster.node(2).log().contains(RECEIVES));
    found_sound(&mut cluster, 2).await;
    assert_eq!(contents(&client).await, expected);
    assert_same_files(&mut cluster).await;
}

/// Waits until a node has looked at what came with a snapshot.
async fn found_sound(cluster: &mut Cluster, id: u64) {
    eventually("the databases of a snapshot are looked at", async || {
        let log = cluster.node(id).log();
        log.contains("the databases of the snapshot are sound")
            .then_some(())
    })
    .await;
}

/// Whether the logs of all running nodes begin after this index.
async fn all_begin_after(cluster: &Cluster, index: u64) -> bool {
    for id in cluster.running() {
        let status = eventually("a node says how it is", async || cluster.status(id).await).await;
        if status.first <= index + 1 {
            return false;
        }
    }
    true
}

/// Protects: a node whose disk has damaged what it once wrote down. It says so, takes that part from its peers again, and
/// is as good as before; what it has lost is lost to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_has_damaged() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    create(&client).await;
    write(&client, 0, 300, 1000).await;
    let damaged = cluster.follower().await;
    cluster.caught_up(damaged).await;
    cluster.node(damaged).kill();
    let log = cluster.node(damaged).directory.join("log");
    let segment = std::fs::read_dir(log)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the middle of what was written, and so neither at the file's beginning nor in a write that did not finish.
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2] ^= 0x40;
    std::fs::write(&segment, bytes).unwrap();
    write(&client, 300, 100, 1000).await;
    let expected = contents(&client).await;

    cluster.node(damaged).start(&[]).await;
    cluster.caught_up(damaged).await;
    let log = cluster.node(damaged).log();
    assert!(log.contains("the log is damaged"), "{log}");
    cluster.transfer(damaged).await;
    assert_eq!(contents(&client).await, expected);
    assert_same_files(&mut cluster).await;
}

/// Protects: a node that comes back under another address. It tells the cluster, which then finds it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_another_address() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    create(&client).await;
    for moves in [cluster.leader().await, cluster.follower().await] {
        cluster.node(moves).kill();
        // A client of before may still talk to the one that was killed, and lose an answer.
        let client = cluster.client().await;
        write(&client, moves as i64 * 100, 100, 100).await;
        cluster.node(moves).relocate();
        cluster.node(moves).start(&[]).await;
        cluster.caught_up(moves).await;
        let address = cluster.node(moves).address.clone();
        eventually("the cluster knows the new address", async || {
            let members = client.cluster().await.ok()?;
            let there = |member: &&NodeInfo| member.id == moves && member.address == address;
            members.iter().find(there).map(drop)
        })
        .await;
        cluster.transfer(moves).await;
    }
    let client = cluster.client().await;
    assert_eq!(contents(&client).await.0, 200);
    assert_same_files(&mut cluster).await;
}

async fn create(client: &Client) {
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)";
    client.execute(sql, params![]).await.unwrap();
}

/// Stops the nodes and holds their files against each other.
async fn assert_same_files(cluster: &mut Cluster) {
    let ids = cluster.running();
    cluster.stop().await;
    let first = cluster.node(ids[0]).database("main");
    files::assert_sound(&first);
    for id in &ids[1..] {
        files::assert_same(&first, &cluster.node(*id).database("main"));
    }
}
