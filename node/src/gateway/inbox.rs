//! What a client sends: messages cut off its socket, in order.
//!
//! A connection answers one request at a time, and reads the next only when it is done. While a request takes longer, somebody
//! has to look out for the two things that cannot wait in the queue, an INTERRUPT and the end of the connection; both make
//! the statement that runs end soon. That is [`Inbox::watch`], which runs beside the request and keeps what else it reads.
//!
//! To wake a thread for a request costs more than to run a small statement. Where others wait for what this client does, in
//! the middle of a write transaction, [`Inbox::next_soon`] looks out for the next request before it sleeps, as
//! [`Socket`] says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use ferrolite_client::socket::Socket;
use ferrolite_wire::{Header, Progress, Request, take_message};

use super::failure::Failure;

/// Requests that a client may send ahead of the answers.
const QUEUED_REQUESTS: usize = 64;

/// Tells a running statement to end.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    asked: AtomicUsize,
    answered: AtomicUsize,
    gone: AtomicBool,
}

impl Interrupts {
    /// Whether the statement that runs is to end.
    pub(super) fn pending(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
            || self.asked.load(Ordering::Relaxed) > self.answered.load(Ordering::Relaxed)
    }

    /// An INTERRUPT was answered: it has had its effect.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A message, or why there will be no more.
pub(super) type Received = Result<(Header, Bytes), Failure>;

/// See the [module](self).
pub(super) struct Inbox {
    socket: Arc<Socket>,
    /// Bytes that are no whole message yet.
    buffer: BytesMut,
    limit_bytes: u64,
    waiting: VecDeque<Received>,
    ended: bool,
    interrupts: Arc<Interrupts>,
}

impl Inbox {
    /// Messages of at most `limit_bytes` from `socket`, of which `received` has come already.
    pub(super) fn new(socket: Arc<Socket>, received: BytesMut, limit_bytes: u64) -> Self {
        Self {
            socket,
            buffer: received,
            limit_bytes,
            waiting: VecDeque::new(),
            ended: false,
            interrupts: Arc::default(),
        }
    }

    /// Says when the statement that runs is to end.
    pub(super) fn interrupts(&self) -> Arc<Interrupts> {
        Arc::clone(&self.interrupts)
    }

    /// The next message; none when there will be no more. It may be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if self.ended {
                return None;
            }
            self.read().await;
        }
    }

    /// The next message, as [`next`](Self::next), from a client that others wait for.
    pub(super) async fn next_soon(&mut self) -> Option<Received> {
        if self.waiting.is_empty() && !self.ended {
            // What came is in the buffer, if anything did.
            self.socket.look_out(&mut self.buffer);
        }
        self.next().await
    }

    /// Reads on while a request is being answered, for as long as the caller likes.
    pub(super) async fn watch(&mut self) -> Infallible {
        while !self.ended && self.waiting.len() < QUEUED_REQUESTS {
            self.read().await;
        }
        pending().await
    }

    /// Reads the next message.
    async fn read(&mut self) {
        let received = loop {
            match take_message(&mut self.buffer, self.limit_bytes) {
                Ok(Progress::Message(header, body)) => {
                    if header.kind == Request::INTERRUPT {
                        self.interrupts.asked.fetch_add(1, Ordering::Relaxed);
                    }
                    break Ok((header, body));
                }
                Ok(Progress::Partial { reserve_bytes }) => {
                    self.buffer.reserve(reserve_bytes);
                    match self.socket.read(&mut self.buffer).await {
                        Ok(1..) => {}
                        // The end, orderly or not: nobody waits for an answer any more.
                        Ok(0) | Err(_) => {
                            self.interrupts.gone.store(true, Ordering::Relaxed);
                            self.ended = true;
                            return;
                        }
                    }
                }
                Err(error) => {
                    self.ended = true;
                    break Err(Failure::from(error));
                }
            }
        };
        self.waiting.push_back(received);
    }
}
