//! The client protocol on one connection to one server, whether it leads or not.
//!
//! `ferrolite-client` goes to the leader by itself and takes its requests back when it is dropped. Here a test
//! says to whom it talks, sends requests without waiting for answers, and vanishes without a word.

use bytes::BytesMut;
use ferrolite_client::{ErrorCode, Value};
use ferrolite_wire::{Progress, Request, Response, Version, decode_response, take_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// A connection that has said which protocol it speaks.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    received: BytesMut,
}

impl RawConnection {
    /// Connects.
    pub async fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&Version::One.encode()).await.unwrap();
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    /// Connects and opens a database, which becomes the connection's number 0.
    pub async fn open_database(address: &str, name: &str) -> Self {
        Self::open_with(address, name, "").await
    }

    /// Likewise, with a VFS: `stale` or `stale:MILLISECONDS` for reads that may be stale.
    pub async fn open_with(address: &str, name: &str, vfs: &str) -> Self {
        let mut connection = Self::open(address).await;
        let answer = connection.call(&open(name, vfs)).await;
        assert!(matches!(answer, Response::Database { id: 0 }), "{answer:?}");
        connection
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) {
        let mut out = BytesMut::new();
        request.encode(&mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next answer.
    ///
    /// # Errors
    /// When the server closes the connection.
    pub async fn next(&mut self) -> std::io::Result<Response> {
        loop {
            match take_message(&mut self.received, MAX_ANSWER_BYTES).unwrap() {
                Progress::Message(header, body) => {
                    return Ok(decode_response(header, body).unwrap());
                }
                Progress::Partial { .. } => {}
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            if read.expect("the server answers in time")? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends a request and returns its first answer.
    pub async fn call(&mut self, request: &Request) -> Response {
        self.send(request).await;
        self.next().await.unwrap()
    }

    /// Runs statements on the open database.
    pub async fn exec(&mut self, sql: &str) -> Response {
        self.call(&exec(sql)).await
    }

    /// Runs a query on the open database for its first rows.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>, ErrorCode> {
        self.send(&query(sql)).await;
        self.rows().await
    }

    /// The rows that the next answer holds, or why there are none.
    pub async fn rows(&mut self) -> Result<Vec<Vec<Value>>, ErrorCode> {
        match self.next().await.unwrap() {
            Response::Rows(batch) => Ok(batch.rows),
            Response::Failure { code, .. } => Err(code),
            other => panic!("rows were asked for, and came {other:?}"),
        }
    }
}

/// The request that opens a database.
pub fn open(name: &str, vfs: &str) -> Request {
    Request::Open {
        name: name.to_owned(),
        flags: 0,
        vfs: vfs.to_owned(),
    }
}

/// The request that runs statements.
pub fn exec(sql: &str) -> Request {
    Request::ExecSql {
        db: 0,
        sql: sql.to_owned(),
        params: Vec::new(),
    }
}

/// The request for rows.
pub fn query(sql: &str) -> Request {
    Request::QuerySql {
        db: 0,
        sql: sql.to_owned(),
        params: Vec::new(),
    }
}
