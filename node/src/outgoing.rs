//! What is to be sent to one peer, and who sends it.
//!
//! Whoever runs the replica writes what it has to say straight to the socket: that wakes no other thread. Only what the
//! socket does not take at once is left to the connection's task, which waits until there is room.
//!
//! Messages are frames of the peer protocol ([`peers`](crate::peers)). Small ones are put together, so that they go out in
//! one write and, as far as that goes, in one packet; the bytes of a large one are not copied again, but handed to the system
//! beside the others.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::framing::{FRAME_HEADER_BYTES, put_prefix};

/// Bytes that may wait for one peer; a message on top is dropped, unless nothing waits. Consensus keeps less than that on
/// its way, so this is for a peer that does not read.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// A message that is longer is not copied.
const COPIED_BYTES: usize = 4096;
/// So many pieces go into one write.
const PIECES_AT_ONCE: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: Mutex<Queue>,
    /// The socket takes no more, or has failed: the connection's task shall see to it.
    stuck: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    stream: Option<Arc<TcpStream>>,
    pieces: VecDeque<Bytes>,
    /// Small messages behind them.
    tail: BytesMut,
    waiting_bytes: usize,
}

impl Outgoing {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into the queue, whose body is `head` and then `data`. Says whether there was room for it.
    pub(crate) fn push(&self, head: Bytes, data: Bytes) -> bool {
        let mut queue = self.queue();
        let len = head.len() + data.len();
        if queue.waiting_bytes > 0 && queue.waiting_bytes + len > MAX_WAITING_BYTES {
            return false;
        }
        if let Err(error) = put_prefix(&mut queue.tail, &head, &data) {
            log::error!(bytes = len, error:%; "a message for a peer is dropped");
            return false;
        }
        queue.waiting_bytes += FRAME_HEADER_BYTES + len;
        for piece in [head, data] {
            if piece.len() <= COPIED_BYTES {
                queue.tail.put_slice(&piece);
            } else {
                queue.close_tail();
                queue.pieces.push_back(piece);
            }
        }
        true
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&self) {
        if self.queue().write() {
            self.stuck.notify_one();
        }
    }

    /// There is a connection.
    pub(crate) fn connected(&self, stream: Arc<TcpStream>) {
        self.queue().stream = Some(stream);
        self.flush();
    }

    /// There is none any more; what waited is out of date.
    pub(crate) fn disconnected(&self) {
        *self.queue() = Queue::default();
    }

    /// Writes what is left behind, for as long as the connection lasts.
    ///
    /// # Errors
    /// Why it has ended.
    pub(crate) async fn attend(&self, stream: &TcpStream) -> io::Result<()> {
        loop {
            self.stuck.notified().await;
            if self.queue().stream.is_none() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            stream.writable().await?;
            self.flush();
        }
    }
}

impl Queue {
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.pieces.push_back(tail);
        }
    }

    /// Writes what the socket takes. Says whether somebody has to see to what is left, or to the socket.
    fn write(&mut self) -> bool {
        let Some(stream) = self.stream.clone() else {
            return false;
        };
        self.close_tail();
        while !self.pieces.is_empty() {
            let slices: Vec<IoSlice<'_>> = self
                .pieces
                .iter()
                .take(PIECES_AT_ONCE)
                .map(|piece| IoSlice::new(piece))
                .collect();
            match stream.try_write_vectored(&slices) {
                Ok(0) => break,
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::debug!(error:%; "writing to a peer failed");
                    break;
                }
            }
        }
        if self.pieces.is_empty() {
            return false;
        }
        self.stream = None;
        true
    }

    fn advance(&mut self, mut written: usize) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(written);
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (Arc::new(stream), listener.accept().await.unwrap().0)
    }

    /// Messages of all sizes arrive whole and in order, also when there is far more of them than the socket takes at once.
    #[tokio::test]
    async fn arrives_in_order() {
        let (stream, mut peer) = pair().await;
        let outgoing = Arc::new(Outgoing::default());
        let mut sent = Vec::new();
        for nth in 0..200_u32 {
            let len = if nth % 7 == 0 { 200_000 } else { 40 };
            let head = Bytes::from_static(&[1, 2, 3]);
            let data = Bytes::from(vec![nth.to_le_bytes()[0]; len]);
            assert!(outgoing.push(head.clone(), data.clone()));
            sent.push([&head[..], &data[..]].concat());
            if nth == 20 {
                outgoing.connected(Arc::clone(&stream));
            }
            outgoing.flush();
        }
        let attending = Arc::clone(&outgoing);
        let task = tokio::spawn(async move { attending.attend(&stream).await });
        for body in sent {
            let len = peer.read_u32_le().await.unwrap();
            let crc = peer.read_u32_le().await.unwrap();
            let mut read = vec![0; usize::try_from(len).unwrap()];
            peer.read_exact(&mut read).await.unwrap();
            assert_eq!(crc, crc32fast::hash(&read));
            assert_eq!(read, body);
        }
        task.abort();
    }

    /// A peer that reads nothing costs a bounded amount of memory, and what did not get through is forgotten with its
    /// connection.
    #[tokio::test]
    async fn is_bounded() {
        let outgoing = Outgoing::default();
        let body = Bytes::from(vec![0; 1 << 20]);
        let taken = (0..100)
            .filter(|_| outgoing.push(Bytes::new(), body.clone()))
            .count();
        assert_eq!(taken, (MAX_WAITING_BYTES >> 20) - 1);
        outgoing.disconnected();
        assert!(outgoing.push(Bytes::new(), body));
    }
}
