//! Strangers at the port.
//!
//! Whatever comes, its sender is told what is wrong or shown out, and others are served as before.

use std::time::Duration;

use ferrolite_client::{Client, ErrorCode, params};
use ferrolite_wire::{Request, Response, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Cluster, PATIENCE, RawConnection};

/// Sends bytes and returns everything that comes back until the server closes the connection.
async fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may hang up before it has heard everything.
    stream.write_all(bytes).await.ok();
    let mut heard = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    // A reset is an end like any other.
    end.expect("the server ends the connection").ok();
    heard
}

async fn assert_serves(client: &Client, expected: &mut i64) {
    client
        .execute("INSERT INTO t VALUES (1)", params![])
        .await
        .unwrap();
    *expected += 1;
    let rows: i64 = client
        .query_one("SELECT count(*) FROM t", params![])
        .await
        .unwrap();
    assert_eq!(rows, *expected);
}

/// Protects: a node from what is no client: a browser, noise, a length that nobody has memory for, a greeting that
/// breaks off, a peer that is none, and crowds that say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_disturb_nobody() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.node(1).address.clone();
    let client = cluster.client().await;
    client
        .execute("CREATE TABLE t(a)", params![])
        .await
        .unwrap();
    let mut rows = 0;

    let answer = say(&address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("not HTTP"), "{answer}");
    assert_serves(&client, &mut rows).await;

    // Noise, and noise behind a greeting that is in order.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..40 {
        let mut noise = Vec::new();
        if round % 2 == 0 {
            noise.extend_from_slice(&Version::One.encode());
        }
        for _ in 0..256 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        // Sent in full and ended, since noise may be the beginning of a long message.
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&noise).await.ok();
        stream.shutdown().await.ok();
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        end.expect("the server ends the connection").ok();
    }
    assert_serves(&client, &mut rows).await;

    // The longest body that a header can announce, for a request that exists.
    let mut endless = Version::One.encode().to_vec();
    endless.extend_from_slice(&u32::MAX.to_le_bytes());
    endless.extend_from_slice(&[3, 0, 0, 0]);
    endless.extend_from_slice(&[0; 4096]);
    let answer = say(&address, &endless).await;
    assert!(
        String::from_utf8_lossy(&answer).contains("limit"),
        "{}",
        answer.escape_ascii()
    );
    assert_serves(&client, &mut rows).await;

    // A peer that greets as one and then is none.
    let mut peer = bytes::BytesMut::from(&Version::One.encode()[..]);
    Request::Connect {
        id: 9,
        address: "127.0.0.1:9".to_owned(),
    }
    .encode(&mut peer)
    .unwrap();
    peer.extend_from_slice(&[0xff; 64]);
    say(&address, &peer).await;
    assert_serves(&client, &mut rows).await;

    // Crowds that say nothing, half a greeting, or half a request.
    let mut silent = Vec::new();
    for count in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let words = [
            &Version::One.encode()[..],
            &[200, 0, 0, 0, 3, 0, 0, 0, 1, 1],
        ]
        .concat();
        stream
            .write_all(&words[..count % words.len()])
            .await
            .unwrap();
        silent.push(stream);
    }
    assert_serves(&client, &mut rows).await;
    drop(silent);
    assert_serves(&client, &mut rows).await;
    assert!(cluster.node(1).exited().is_none());
    let log = cluster.node(1).log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Protects: requests that are in order but make no sense get an answer, and the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_requests_are_answered() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.node(1).address.clone();
    let mut connection = RawConnection::open_database(&address, "main").await;
    let senseless = [
        Request::ExecSql {
            db: 77,
            sql: "SELECT 1".to_owned(),
            params: Vec::new(),
        },
        Request::Exec {
            db: 0,
            stmt: 12,
            params: Vec::new(),
        },
        Request::Finalize { db: 0, stmt: 12 },
        Request::Open {
            name: "../../etc/passwd\u{7}".to_owned() + &"x".repeat(5000),
            flags: 0,
            vfs: String::new(),
        },
        Request::Dump {
            name: "there is none".to_owned(),
        },
        Request::Remove { id: 404 },
        Request::Transfer { id: 404 },
        Request::Add {
            id: 0,
            address: "127.0.0.1:1".to_owned(),
        },
        Request::ImportCommit,
    ];
    for request in senseless {
        let answer = timeout(Duration::from_secs(20), connection.call(&request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{request:?} is not answered"));
        let idempotent = matches!(request, Request::Remove { .. });
        match answer {
            Response::Failure { message, .. } => assert!(!message.is_empty(), "{request:?}"),
            Response::Empty if idempotent => {}
            other => panic!("{request:?} is answered with {other:?}"),
        }
    }
    let answer = connection.exec("SELEC 1").await;
    assert!(
        matches!(&answer, Response::Failure { code, .. } if *code == ErrorCode::ERROR),
        "{answer:?}"
    );
    assert!(matches!(
        connection.exec("CREATE TABLE t(a)").await,
        Response::Result { .. }
    ));
}
