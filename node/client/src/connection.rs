//! One connection: requests out, answers in, and the certainty of which answer belongs to which request.
//!
//! Requests are answered in order, and an answer that was asked for will come, whether or not the future that
//! waited for it still exists. So a connection always knows what it is owed:
//!
//! | state | owed | when the waiting future is dropped |
//! |---|---|---|
//! | `Ready` | nothing | |
//! | `Sending` | half a request is out | the connection is closed |
//! | `Awaiting` a statement | its answer | INTERRUPT is sent: all up to its EMPTY is discarded later |
//! | `Awaiting` anything else | its answer | the connection is closed |
//! | `Discarding` | answers nobody wants | stays |
//! | `Closed` | nothing | |
//!
//! The next request first discards what is owed, within bounds. Closing is always a correct way out: the server
//! then rolls back and forgets the connection.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrolite_wire::{
    ErrorCode, Header, Progress, Request, Response, Version, decode_response, take_message,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::error::CallError;
use crate::patience::{OutOfPatience, Patience};
use crate::socket::Socket;
use crate::{Error, Result};

/// How long answers that nobody wants may take before the connection is rather closed.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How many such messages are read at most.
const DISCARD_MESSAGES: usize = 4096;
/// Memory of a request that is kept for the next one, at most.
const MOST_KEPT_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Sending,
    Awaiting { interruptible: bool },
    Discarding(Discard),
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Discard {
    /// Everything up to the EMPTY that answers an INTERRUPT.
    UntilEmpty,
    /// The answer to a ROLLBACK. A failure leaves the transaction in doubt, so it closes the connection.
    Rollback,
}

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Gone once the connection is closed.
    socket: Option<Socket>,
    address: String,
    /// What is being sent, or was sent last.
    sending: BytesMut,
    received: BytesMut,
    state: State,
    answer_timeout: Duration,
    max_answer_bytes: u64,
    patience: Patience,
    /// Others wait for what this connection does, so its answers are looked out for.
    is_awaited: bool,
}

impl Connection {
    /// Connects and says which protocol is spoken. The server says nothing yet.
    pub(crate) async fn open(address: &str, config: &Config) -> Result<Self> {
        let connect = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&Version::One.encode()).await?;
            Ok(stream)
        };
        let failed = |source| Error::Connect {
            address: address.to_owned(),
            source,
        };
        let stream = timeout(config.connect_timeout, connect)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(failed)?;
        Ok(Self {
            socket: Some(Socket::new(stream)),
            address: address.to_owned(),
            sending: BytesMut::new(),
            received: BytesMut::new(),
            state: State::Ready,
            answer_timeout: config.answer_timeout,
            max_answer_bytes: config.max_answer_bytes,
            patience: Patience::default(),
            is_awaited: false,
        })
    }

    /// A connection that was never open.
    pub(crate) fn closed() -> Self {
        Self {
            socket: None,
            address: String::new(),
            sending: BytesMut::new(),
            received: BytesMut::new(),
            state: State::Closed,
            answer_timeout: Duration::ZERO,
            max_answer_bytes: 0,
            patience: Patience::default(),
            is_awaited: false,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether another request can follow, after discarding at most what is owed.
    pub(crate) fn is_reusable(&self) -> bool {
        matches!(self.state, State::Ready | State::Discarding(_))
    }

    /// Closes the connection at once.
    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
        self.socket = None;
    }

    /// Says whether others wait for what this connection does.
    pub(crate) fn set_awaited(&mut self, is_awaited: bool) {
        self.is_awaited = is_awaited;
    }

    /// Whether the server has closed the connection, or says things unasked, as far as can be seen without
    /// waiting.
    pub(crate) fn looks_dead(&self) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        match self.state {
            // What is owed may be arriving.
            State::Discarding(_) => false,
            _ => !socket.is_quiet(),
        }
    }

    /// Sends a request and returns the first message of the answer.
    pub(crate) async fn call(&mut self, request: &Request) -> Result<Response, CallError> {
        self.send(request).await?;
        let mut receiving = Receiving {
            connection: self,
            armed: true,
        };
        let answer = receiving.connection.next_answer().await;
        receiving.armed = false;
        answer.map_err(CallError::Sent)
    }

    /// Sends a request whole; its answer is then due.
    async fn send(&mut self, request: &Request) -> Result<(), CallError> {
        self.settle().await.map_err(CallError::NotSent)?;
        self.sending.clear();
        request
            .encode(&mut self.sending)
            .map_err(|e| CallError::NotSent(e.into()))?;
        self.state = State::Sending;
        let Some(socket) = &self.socket else {
            return Err(CallError::NotSent(Error::Closed));
        };
        let writing = socket.write_all(&self.sending);
        let written = self.patience.wait(self.answer_timeout, writing).await;
        if self.sending.capacity() > MOST_KEPT_BYTES {
            self.sending = BytesMut::new();
        }
        match written.unwrap_or_else(|OutOfPatience| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                let interruptible = matches!(
                    request,
                    Request::Exec { .. }
                        | Request::Query { .. }
                        | Request::ExecSql { .. }
                        | Request::QuerySql { .. }
                );
                self.state = State::Awaiting { interruptible };
                Ok(())
            }
            // The last byte never left, so the server cannot have acted.
            Err(source) => Err(CallError::NotSent(self.lost(source))),
        }
    }

    /// The next message of the answer that is due. Afterwards nothing is due, unless the message itself says
    /// that another follows.
    ///
    /// Dropping this future loses nothing: what has arrived stays in the buffer.
    pub(crate) async fn next_answer(&mut self) -> Result<Response> {
        let (header, body) = self.receive().await?;
        let response = decode_response(header, body).map_err(|source| self.broken(source))?;
        let more = match &response {
            Response::Rows(batch) => batch.more,
            Response::ExportPages { more, .. } => *more,
            _ => false,
        };
        if !more {
            self.state = State::Ready;
        }
        Ok(response)
    }

    /// Whether (more of) an answer is due.
    pub(crate) fn is_awaiting(&self) -> bool {
        matches!(self.state, State::Awaiting { .. })
    }

    async fn receive(&mut self) -> Result<(Header, Bytes)> {
        loop {
            let reserve_bytes = match take_message(&mut self.received, self.max_answer_bytes) {
                Ok(Progress::Message(header, body)) => return Ok((header, body)),
                Ok(Progress::Partial { reserve_bytes }) => reserve_bytes,
                Err(source) => return Err(self.broken(source)),
            };
            self.received.reserve(reserve_bytes.max(4096));
            let Some(socket) = &self.socket else {
                return Err(Error::Closed);
            };
            if self.is_awaited && socket.look_out(&mut self.received) {
                continue;
            }
            let reading = socket.read(&mut self.received);
            let read = self.patience.wait(self.answer_timeout, reading).await;
            match read.unwrap_or_else(|OutOfPatience| Err(io::ErrorKind::TimedOut.into())) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
    }

    /// Reads away what is owed to nobody.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        self.abandon();
        match self.state {
            State::Discarding(discard) => {
                let settled = timeout(DISCARD_TIMEOUT, self.discard(discard)).await;
                settled.unwrap_or_else(|_| Err(self.lost(io::ErrorKind::TimedOut.into())))
            }
            State::Closed => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    async fn discard(&mut self, discard: Discard) -> Result<()> {
        for _ in 0..DISCARD_MESSAGES {
            let (header, body) = self.receive().await?;
            let response = decode_response(header, body).map_err(|source| self.broken(source))?;
            match (discard, response) {
                (Discard::UntilEmpty, Response::Empty)
                | (Discard::Rollback, Response::Result { .. }) => {
                    self.state = State::Ready;
                    return Ok(());
                }
                (Discard::UntilEmpty, _) => {}
                (Discard::Rollback, _) => break,
            }
        }
        Err(self.lost(io::Error::other("an abandoned answer did not end")))
    }

    /// Gives up the answer that is due, without waiting.
    pub(crate) fn abandon(&mut self) {
        match self.state {
            State::Awaiting {
                interruptible: true,
            } => {
                // A connection has at most one database open, and the server interrupts whatever runs.
                self.send_now(&Request::Interrupt { db: 0 }, Discard::UntilEmpty);
            }
            State::Sending | State::Awaiting { .. } => self.close(),
            State::Ready | State::Discarding(_) | State::Closed => {}
        }
    }

    /// Rolls the open transaction back, without waiting: by a ROLLBACK that is read off later, or by closing.
    pub(crate) fn roll_back_now(&mut self, db: u32) {
        match self.state {
            State::Ready => {
                let rollback = Request::ExecSql {
                    db: db.into(),
                    sql: "ROLLBACK".to_owned(),
                    params: Vec::new(),
                };
                self.send_now(&rollback, Discard::Rollback);
            }
            _ => self.close(),
        }
    }

    /// Writes a small request if the socket takes all of it at once, else closes the connection.
    fn send_now(&mut self, request: &Request, discard: Discard) {
        let mut message = BytesMut::new();
        let sent = match (request.encode(&mut message), &self.socket) {
            (Ok(()), Some(socket)) => {
                matches!(socket.try_write(&message), Ok(len) if len == message.len())
            }
            _ => false,
        };
        if sent {
            self.state = State::Discarding(discard);
        } else {
            self.close();
        }
    }

    fn lost(&mut self, source: io::Error) -> Error {
        self.close();
        Error::ConnectionLost {
            address: self.address.clone(),
            source,
        }
    }

    fn broken(&mut self, source: ferrolite_wire::WireError) -> Error {
        self.close();
        Error::Protocol {
            address: self.address.clone(),
            source,
        }
    }
}

/// Waits for the first message of an answer; dropped before that, it gives the answer up at once, so that a
/// statement nobody waits for stops running.
struct Receiving<'a> {
    connection: &'a mut Connection,
    armed: bool,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.connection.abandon();
        }
    }
}

/// Turns a FAILURE into an error.
pub(crate) fn check(response: Response) -> Result<Response> {
    match response {
        Response::Failure { code, message } => Err(Error::Server { code, message }),
        other => Ok(other),
    }
}

/// The error for an answer that the request does not have.
pub(crate) fn unexpected(request: &Request, response: &Response) -> Error {
    match response {
        Response::Failure { code, message } => Error::Server {
            code: *code,
            message: message.clone(),
        },
        other => Error::UnexpectedAnswer {
            request: request.name(),
            answer: other.name(),
        },
    }
}

/// Whether this answer says that the server does not lead.
pub(crate) fn is_not_leader(response: &Response) -> bool {
    matches!(response, Response::Failure { code, .. } if *code == ErrorCode::IOERR_NOT_LEADER)
}
