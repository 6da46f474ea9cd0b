//! A first program: `cargo run --example quickstart -- 127.0.0.1:9001 127.0.0.1:9002 127.0.0.1:9003`.
//!
//! It works against any Ferrolite or dqlite cluster and leaves a table `quickstart` in the database `main`.

use ferrolite_client::{Client, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let mut servers: Vec<String> = std::env::args().skip(1).collect();
    if servers.is_empty() {
        servers.push("127.0.0.1:9001".to_owned());
    }
    let client = Client::connect(servers).await?;
    let leader = client.leader().await?;
    println!("node {:x} at {} leads", leader.id, leader.address);
    for node in client.cluster().await? {
        println!("  {:x} {} {}", node.id, node.address, node.role);
    }

    client
        .execute(
            "CREATE TABLE IF NOT EXISTS quickstart (id INTEGER PRIMARY KEY, name TEXT, score REAL)",
            (),
        )
        .await?;
    let insert = client
        .prepare("INSERT INTO quickstart (name, score) VALUES (?, ?)")
        .await?;
    for (name, score) in [("Ada", 9.5), ("Grace", 9.75), ("Edsger", 9.25)] {
        let done = insert.execute((name, score)).await?;
        println!("{name} is row {}", done.last_insert_id);
    }

    let mut transaction = client.transaction().await?;
    transaction
        .execute(
            "UPDATE quickstart SET score = score + 0.25 WHERE name = ?",
            params!["Ada"],
        )
        .await?;
    transaction.commit().await?;

    let best: Option<(String, f64)> = client
        .query_optional("SELECT name, score FROM quickstart ORDER BY score DESC", ())
        .await?;
    println!("best: {best:?}");

    let mut rows = client
        .query_stream("SELECT id, name FROM quickstart ORDER BY id", ())
        .await?;
    while let Some((id, name)) = rows.next_as::<(i64, String)>().await? {
        println!("{id}: {name}");
    }
    Ok(())
}
