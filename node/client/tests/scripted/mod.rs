//! A server that does what a test tells it: it speaks the protocol, and for every request asks a closure what to
//! do. What the closure leaves open is answered as a leader would that knows nothing but itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "every test file uses a part of it"
)]

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use ferrolite_wire::{
    DEFAULT_MAX_BODY_BYTES, ErrorCode, NodeInfo, NodesFormat, Progress, Request, Response, Role,
    RowsBatch, Value, Version, decode_request, take_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the server does about a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers.
    Answer(Response),
    /// Sends these bytes, whatever they are.
    Raw(Vec<u8>),
    /// Sends batches of rows without end, until an INTERRUPT comes; answers that.
    StreamUntilInterrupt,
    /// Says nothing until an INTERRUPT comes; answers the request with a failure and the INTERRUPT with EMPTY.
    HangUntilInterrupt,
    /// Closes the connection.
    Close,
}

type Script = dyn Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync;

/// Who leads, as all servers of a test say.
#[derive(Debug, Clone, Default)]
pub struct Leadership(Arc<Mutex<(String, Vec<String>)>>);

impl Leadership {
    pub fn set(&self, leader: &str) {
        leader.clone_into(&mut self.0.lock().unwrap().0);
    }

    pub fn leader(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }

    /// The address of the server that was started as this one, from 0.
    pub fn member(&self, number: usize) -> String {
        self.0.lock().unwrap().1.get(number).unwrap().clone()
    }

    fn answer(&self, request: &Request) -> Response {
        let state = self.0.lock().unwrap();
        match request {
            Request::Leader => Response::Leader {
                id: 1,
                address: state.0.clone(),
            },
            Request::Cluster { .. } => Response::Nodes {
                format: NodesFormat::V1,
                nodes: (1..)
                    .zip(&state.1)
                    .map(|(id, address)| NodeInfo {
                        id,
                        address: address.clone(),
                        role: Role::Voter,
                    })
                    .collect(),
            },
            Request::Open { .. } => Response::Database { id: 0 },
            Request::Prepare { .. } => Response::Statement {
                db: 0,
                id: 0,
                params: 0,
                tail_bytes: None,
            },
            Request::Exec { .. } | Request::ExecSql { .. } => Response::Result {
                last_insert_id: 0,
                rows_affected: 0,
            },
            Request::Query { .. } | Request::QuerySql { .. } => rows(&[], false),
            _ => Response::Empty,
        }
    }
}

/// A server on a port of the system's choice; dropping it ends it and its connections.
pub struct Server {
    pub address: String,
    /// Every request, with the number of its connection.
    log: Arc<Mutex<Vec<(usize, Request)>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that becomes a member; the first one leads.
    pub async fn start(
        leadership: &Leadership,
        script: impl Fn(usize, &Request) -> Option<Vec<Act>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        {
            let mut state = leadership.0.lock().unwrap();
            if state.1.is_empty() {
                state.0.clone_from(&address);
            }
            state.1.push(address.clone());
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let (leadership, seen) = (leadership.clone(), log.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(
                    number,
                    stream,
                    leadership.clone(),
                    script.clone(),
                    seen.clone(),
                ));
            }
        });
        Self { address, log, task }
    }

    /// Every request but those about who leads and what is open.
    pub fn log(&self) -> Vec<(usize, Request)> {
        let log = self.log.lock().unwrap();
        let housekeeping = |request: &Request| {
            matches!(
                request,
                Request::Leader | Request::Cluster { .. } | Request::Open { .. }
            )
        };
        log.iter()
            .filter(|(_, request)| !housekeeping(request))
            .cloned()
            .collect()
    }

    /// The databases that were opened: their names, and how.
    pub fn opened(&self) -> Vec<(String, String)> {
        let log = self.log.lock().unwrap();
        let opened = log.iter().filter_map(|(_, request)| match request {
            Request::Open { name, vfs, .. } => Some((name.clone(), vfs.clone())),
            _ => None,
        });
        opened.collect()
    }

    /// The texts of all statements, with the number of their connection.
    pub fn sql(&self) -> Vec<(usize, String)> {
        let text = |(number, request)| match request {
            Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => Some((number, sql)),
            Request::Interrupt { .. } => Some((number, "<interrupt>".to_owned())),
            _ => None,
        };
        self.log().into_iter().filter_map(text).collect()
    }

    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(
    number: usize,
    stream: TcpStream,
    leadership: Leadership,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<(usize, Request)>>>,
) {
    let (read, mut write) = stream.into_split();
    let (sender, mut requests) = mpsc::unbounded_channel();
    // Aborted with this connection; an INTERRUPT is seen while rows are being sent.
    let mut reader = tokio::task::JoinSet::new();
    reader.spawn(read_requests(number, read, sender, log));
    while let Some(request) = requests.recv().await {
        let acts = script(number, &request)
            .unwrap_or_else(|| vec![Act::Answer(leadership.answer(&request))]);
        for act in acts {
            let sent = match act {
                Act::Answer(response) => send(&mut write, &response).await,
                Act::Raw(bytes) => write.write_all(&bytes).await,
                Act::StreamUntilInterrupt => loop {
                    if let Ok(Request::Interrupt { .. }) = requests.try_recv() {
                        break send(&mut write, &Response::Empty).await;
                    }
                    let sent = send(&mut write, &rows(&[1, 2, 3], true)).await;
                    if sent.is_err() {
                        break sent;
                    }
                    tokio::task::yield_now().await;
                },
                Act::HangUntilInterrupt => match requests.recv().await {
                    Some(Request::Interrupt { .. }) => {
                        let interrupted = failure(ErrorCode::INTERRUPT, "interrupted");
                        send(&mut write, &interrupted).await.ok();
                        send(&mut write, &Response::Empty).await
                    }
                    _ => return,
                },
                Act::Close => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

async fn read_requests(
    number: usize,
    mut read: OwnedReadHalf,
    sender: mpsc::UnboundedSender<Request>,
    log: Arc<Mutex<Vec<(usize, Request)>>>,
) {
    let mut word = [0; 8];
    if read.read_exact(&mut word).await.is_err() {
        return;
    }
    assert_eq!(Version::decode(word).unwrap(), Version::One);
    let mut buffer = BytesMut::new();
    loop {
        while let Progress::Message(header, body) =
            take_message(&mut buffer, DEFAULT_MAX_BODY_BYTES).unwrap()
        {
            let request = decode_request(header, body).unwrap();
            log.lock().unwrap().push((number, request.clone()));
            if sender.send(request).is_err() {
                return;
            }
        }
        if !matches!(read.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, response: &Response) -> std::io::Result<()> {
    let mut message = BytesMut::new();
    response.encode(&mut message).unwrap();
    write.write_all(&message).await
}

/// A batch of one column of integers.
pub fn rows(values: &[i64], more: bool) -> Response {
    let rows = values
        .iter()
        .map(|value| vec![Value::Integer(*value)])
        .collect();
    Response::Rows(RowsBatch {
        columns: vec!["n".to_owned()],
        rows,
        more,
    })
}

pub fn failure(code: ErrorCode, message: &str) -> Response {
    Response::Failure {
        code,
        message: message.to_owned(),
    }
}

pub fn not_leader() -> Vec<Act> {
    vec![Act::Answer(failure(
        ErrorCode::IOERR_NOT_LEADER,
        "not leader",
    ))]
}
