//! A replicated database inside an application: three nodes here in one process, each of which would be
//! one of the application's processes on its own machine.
//!
//! Run it with `cargo run --release -p ferrolite-node --example embed`.

use std::time::Instant;

use ferrolite_client::{Client, params};
use ferrolite_node::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = |id: u64| directory.path().join(format!("node-{id}"));

    // The first founds the cluster, the others join it. In an application the address is fixed and reachable
    // by the other machines; port 0 lets the system choose one for this example.
    let first = Node::builder(1, "127.0.0.1:0", path(1))
        .bootstrap()
        .start()
        .await?;
    let second = Node::builder(2, "127.0.0.1:0", path(2))
        .join([first.address()])
        .start()
        .await?;
    let third = Node::builder(3, "127.0.0.1:0", path(3))
        .join([first.address()])
        .start()
        .await?;
    let servers = [first.address(), second.address(), third.address()].map(str::to_owned);
    println!("three nodes: {}", servers.join(", "));

    let client = Client::connect(servers).await?.with_database("readings");
    client
        .execute(
            "CREATE TABLE reading(sensor TEXT, at TEXT, value REAL)",
            params![],
        )
        .await?;
    for nth in 0..100 {
        let sql = "INSERT INTO reading VALUES (?, datetime('now'), ?)";
        client
            .execute(sql, params!["boiler", f64::from(nth) / 10.0])
            .await?;
    }

    // The leader goes away; the others elect another one, and the client finds it.
    let gone = Instant::now();
    first.shutdown().await?;
    let count: i64 = client
        .query_one("SELECT count(*) FROM reading", params![])
        .await?;
    println!(
        "{count} readings, {:.0?} after the leader began to stop",
        gone.elapsed()
    );

    second.stop().await;
    third.stop().await;
    Ok(())
}
