//! Reads that may be stale: what a node that follows shows, what it never shows, and what becomes of its readers when the
//! cluster changes.

mod answers;
mod changes;
mod readers;

use ferrolite_client::{Client, ErrorCode, Value, params};
use ferrolite_wire::Response;

use crate::harness::{Cluster, RawConnection, files};
use crate::rot::verify;

fn integer(value: i64) -> Vec<Vec<Value>> {
    vec![vec![Value::from(value)]]
}

fn is_done(answer: &Response) -> bool {
    matches!(answer, Response::Result { .. })
}

fn failure(answer: Response) -> (ErrorCode, String) {
    match answer {
        Response::Failure { code, message } => (code, message),
        other => panic!("a failure was expected, and came {other:?}"),
    }
}

async fn run(client: &Client, sql: &str) {
    client.execute(sql, params![]).await.unwrap();
}

/// A reader of a node, however old what it reads may be.
async fn reader(cluster: &mut Cluster, id: u64) -> RawConnection {
    let address = cluster.node(id).address.clone();
    RawConnection::open_with(&address, "main", "stale").await
}

/// Stops the nodes, and holds their files against each other.
async fn assert_end(cluster: &mut Cluster) {
    let ids = cluster.running();
    cluster.stop().await;
    let first = cluster.node(ids[0]).database("main");
    files::assert_sound(&first);
    for id in &ids {
        files::assert_same(&first, &cluster.node(*id).database("main"));
        let directory = cluster.node(*id).directory.clone();
        let (status, said) = verify(&directory).await;
        assert_eq!(status, Some(0), "node {id}: {said}");
    }
}
