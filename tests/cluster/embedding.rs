//! Nodes inside a program of one's own.

use ferrolite_client::{Client, params};
use ferrolite_node::Node;

use crate::harness::eventually;

/// Protects: what most users do. Three nodes in one process form a cluster, and it outlives the loss of its leader,
/// which is dropped without a farewell and comes back later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_one_process_survives_its_leader() {
    let root = tempfile::tempdir().unwrap();
    let directory = |id: u64| root.path().join(id.to_string());
    let first = Node::builder(1, "127.0.0.1:0", directory(1))
        .bootstrap()
        .start()
        .await
        .unwrap();
    let servers = vec![first.address().to_owned()];
    let mut nodes = vec![first];
    for id in 2..=3 {
        let builder = Node::builder(id, "127.0.0.1:0", directory(id)).join(servers.clone());
        nodes.push(builder.start().await.unwrap());
    }
    let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_owned()).collect();
    // A write whose answer is lost with the leader is sent again; the key sees to it that it counts once.
    let builder = Client::builder().servers(addresses).database("app");
    let client = builder.retry_writes(true).connect().await.unwrap();
    let insert = "INSERT OR IGNORE INTO t VALUES (?)";
    let create = "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY)";
    client.execute(create, params![]).await.unwrap();
    client.execute(insert, params![1]).await.unwrap();

    let leads = eventually("a leader", async || nodes.iter().position(Node::is_serving)).await;
    let leader = nodes.remove(leads);
    let (id, address) = (leader.id(), leader.address().to_owned());
    drop(leader);
    client.execute(insert, params![2]).await.unwrap();
    let sum: i64 = client
        .query_one("SELECT sum(a) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(sum, 3);

    // The dropped node lets go of its directory and its port a moment later.
    let again = eventually("the dropped node starts again", async || {
        Node::builder(id, address.clone(), directory(id))
            .start()
            .await
            .ok()
    })
    .await;
    assert!(
        again.is_member(),
        "it knows its cluster from its own directory"
    );
    eventually("it follows", async || {
        again.leader().filter(|(leader, _)| *leader != id)
    })
    .await;
    eventually("it leads", async || {
        // Asked for again: the leader may not have heard from it yet.
        client.transfer(id).await.ok();
        again.is_serving().then_some(())
    })
    .await;
    let sum: i64 = client
        .query_one("SELECT sum(a) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(sum, 3);

    nodes.push(again);
    for node in nodes.into_iter().rev() {
        node.stop().await;
    }
}
