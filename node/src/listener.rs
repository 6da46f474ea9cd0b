//! The port: who is at the door.
//!
//! Clients and peers come to one port and begin alike, with a protocol version and a message. If that
//! message is CONNECT, a peer speaks; anything else is a client's first request. What begins in no such way
//! is told so in a form that a person who mistook the port can read, and is shown out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use ferrolite_consensus::NodeId;
use ferrolite_wire::{
    ErrorCode, Header, Progress, Request, Response, Version, WORD_BYTES, decode_request,
    take_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::gateway::{self, Context};
use crate::peers::{self, Identity};

/// Connections that a node serves at one time.
const MAX_CONNECTIONS: usize = 8192;
/// How long a stranger may take to say what it speaks.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// CONNECT holds an id and an address.
const MAX_CONNECT_BYTES: u64 = 4096;
/// Pause after the system refused to hand out another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection may turn out to need.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) context: Arc<Context>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) heard: Arc<Mutex<HashMap<NodeId, String>>>,
}

/// Accepts connections until the task is dropped.
pub(crate) async fn listen(listener: TcpListener, door: Door) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Those beyond the limit wait in the system's queue, and then time out there.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    if let Err(error) = door.welcome(stream).await {
                        log::debug!(error:%; "a connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!(error:%; "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn welcome(self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut word = [0; WORD_BYTES];
        match timeout(HANDSHAKE_TIMEOUT, stream.read_exact(&mut word)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        let version = match Version::decode(word) {
            Ok(version) => version,
            Err(error) => return show_out(stream, word, &error.to_string()).await,
        };
        let mut received = BytesMut::with_capacity(1024);
        while received.len() < Header::LEN_BYTES {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let is_peer = received
            .first_chunk::<{ Header::LEN_BYTES }>()
            .is_some_and(|word| Header::decode(*word).kind == Request::CONNECT);
        if !is_peer {
            gateway::serve(self.context, version, received, stream).await;
            return Ok(());
        }
        match timeout(HANDSHAKE_TIMEOUT, read_connect(&mut stream, &mut received)).await {
            Ok(announced) => {
                let handle = self.context.handle.clone();
                peers::accept(
                    self.identity,
                    handle,
                    self.heard,
                    announced?,
                    received,
                    stream,
                )
                .await;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}

async fn read_connect(
    stream: &mut TcpStream,
    received: &mut BytesMut,
) -> std::io::Result<(NodeId, String)> {
    let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    loop {
        match take_message(received, MAX_CONNECT_BYTES).map_err(invalid)? {
            Progress::Message(header, body) => {
                match decode_request(header, body).map_err(invalid)? {
                    Request::Connect { id, address } => return Ok((id, address)),
                    _ => return Err(std::io::ErrorKind::InvalidData.into()),
                }
            }
            Progress::Partial { .. } => {
                if stream.read_buf(received).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// Answers what is not our protocol: in HTTP to what looks like it, and else with a FAILURE.
async fn show_out(
    mut stream: TcpStream,
    word: [u8; WORD_BYTES],
    reason: &str,
) -> std::io::Result<()> {
    let http = [
        &b"GET "[..],
        b"POST ",
        b"HEAD ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
    ];
    let mut answer = BytesMut::new();
    if http.iter().any(|method| word.starts_with(method)) {
        let text = "This port speaks the dqlite wire protocol, not HTTP. Use ferrolite shell or a dqlite client.\n";
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        answer.extend_from_slice(head.as_bytes());
    } else {
        let failure = Response::Failure {
            code: ErrorCode::PROTO,
            message: reason.to_owned(),
        };
        failure
            .encode(&mut answer)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    }
    while answer.has_remaining() {
        stream.write_all_buf(&mut answer).await?;
    }
    // Read what was still coming, a little, so that the answer is not lost to a reset.
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    for _ in 0..64 {
        match timeout(Duration::from_millis(200), stream.read(&mut rest)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    Ok(())
}
