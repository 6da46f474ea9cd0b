//! A socket on which one can look out for what comes next.
//!
//! A thread that sleeps until something arrives is woken late: often that takes longer than a small statement. Where others wait
//! for what a connection does, in the middle of a write transaction, both of its ends therefore look out for some
//! microseconds before they sleep, as long as that pays off: the server for the next request, the client for the answer.
//!
//! Meanwhile the socket is *apart* from the runtime, which would wake another of its threads for each message, to tell it of what
//! this one has seen already. It stays apart until somebody has to sleep.
//!
//! This is public for the server's sake, and no part of what a client needs.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// So long somebody looks out.
const LOOK_OUT: Duration = Duration::from_micros(60);
/// After nothing came in time, so many messages are waited for asleep.
const ASLEEP: u32 = 32;
/// Bytes that are read at once while looking out.
const LOOK_OUT_BYTES: usize = 4096;

/// See the [module](self). It may be shared by one that reads and one that writes, in one task.
#[derive(Debug)]
pub struct Socket {
    place: Mutex<Place>,
    /// So many messages are still to be waited for asleep.
    asleep: AtomicU32,
}

#[derive(Debug)]
enum Place {
    Runtime(Arc<TcpStream>),
    Apart(std::net::TcpStream),
    /// It could not be moved.
    Lost,
}

impl Socket {
    /// Takes a socket that is with the runtime.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self {
            place: Mutex::new(Place::Runtime(Arc::new(stream))),
            asleep: AtomicU32::new(0),
        }
    }

    /// Reads what comes next to the end of `into`, and returns how many bytes that were; 0 at the end. May be dropped while it
    /// waits.
    ///
    /// # Errors
    /// The system's.
    pub async fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        let stream = self.with_runtime()?;
        loop {
            match read_at_once(&stream, into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_fn(|context| stream.poll_read_ready(context)).await?;
                }
                done => return done,
            }
        }
    }

    /// Reads what comes within a moment to the end of `into`, without sleeping, and says whether anything came. The end, and
    /// errors, show in the next [`read`](Self::read).
    pub fn look_out(&self, into: &mut BytesMut) -> bool {
        let sleeps = |asleep: u32| asleep.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        if self.asleep.fetch_update(relaxed, relaxed, sleeps).is_ok() {
            return false;
        }
        let Some(_lookout) = Lookout::begin() else {
            return false;
        };
        let mut place = self.place();
        place.leave_runtime();
        let Place::Apart(stream) = &mut *place else {
            return false;
        };
        let mut bytes = [0; LOOK_OUT_BYTES];
        let begun = Instant::now();
        while begun.elapsed() < LOOK_OUT {
            match stream.read(&mut bytes) {
                Ok(len @ 1..) => {
                    into.extend_from_slice(bytes.get(..len).unwrap_or_default());
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Ok(0) | Err(_) => return false,
            }
        }
        self.asleep.store(ASLEEP, Ordering::Relaxed);
        false
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.try_write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => left = left.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stream = self.with_runtime()?;
                    poll_fn(|context| stream.poll_write_ready(context)).await?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes as much of `bytes` as the socket takes at once.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when it takes nothing now; the system's.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.place() {
            Place::Runtime(stream) => stream.try_write(bytes),
            Place::Apart(stream) => stream.write(bytes),
            Place::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Whether nothing has arrived and nothing has ended, as far as can be seen without waiting. What has arrived is lost.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        let read = match &mut *self.place() {
            // The runtime may not have noticed yet.
            Place::Runtime(stream) => (&*SockRef::from(&**stream)).read(&mut byte),
            Place::Apart(stream) => stream.read(&mut byte),
            Place::Lost => Ok(0),
        };
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket, with the runtime again.
    fn with_runtime(&self) -> io::Result<Arc<TcpStream>> {
        let mut place = self.place();
        if let Place::Apart(_) = &*place
            && let Place::Apart(stream) = std::mem::replace(&mut *place, Place::Lost)
        {
            *place = Place::Runtime(Arc::new(TcpStream::from_std(stream)?));
        }
        match &*place {
            Place::Runtime(stream) => Ok(Arc::clone(stream)),
            Place::Apart(_) | Place::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// Reads what has arrived. If that was all, the runtime is told that there is nothing more, so that whoever reads next need not
/// ask the system in vain before it waits: whatever comes later, and the end, makes the runtime try again.
fn read_at_once(stream: &TcpStream, into: &mut BytesMut) -> io::Result<usize> {
    let mut drained = None;
    let read = stream.try_io(Interest::READABLE, || {
        let room = into.capacity() - into.len();
        match stream.try_read_buf(into) {
            Ok(len) if len > 0 && len < room => {
                drained = Some(len);
                Err(ErrorKind::WouldBlock.into())
            }
            other => other,
        }
    });
    drained.map_or(read, Ok)
}

impl Place {
    /// Takes the socket from the runtime, unless somebody waits for it there.
    fn leave_runtime(&mut self) {
        if let Place::Runtime(_) = self
            && let Place::Runtime(stream) = std::mem::replace(self, Place::Lost)
        {
            *self = match Arc::try_unwrap(stream).map(TcpStream::into_std) {
                Ok(Ok(stream)) => Place::Apart(stream),
                Ok(Err(_)) => Place::Lost,
                Err(stream) => Place::Runtime(stream),
            };
        }
    }
}

impl Drop for Socket {
    /// Says that nothing more will be sent, before what was not read any more makes the system reset the connection.
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        place.leave_runtime();
        if let Place::Apart(stream) = place {
            // It may have ended already.
            drop(stream.shutdown(Shutdown::Write));
        }
    }
}

/// Somebody in this process who looks out. Half of the processors are left to others.
struct Lookout;

static LOOKOUTS: AtomicUsize = AtomicUsize::new(0);
static MOST_LOOKOUTS: LazyLock<usize> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism();
    (processors.map_or(1, usize::from) / 2).max(1)
});

impl Lookout {
    fn begin() -> Option<Self> {
        let relaxed = Ordering::Relaxed;
        let one_more = |others: usize| (others < *MOST_LOOKOUTS).then_some(others + 1);
        let begun = LOOKOUTS.fetch_update(relaxed, relaxed, one_more);
        begun.ok().map(|_| Self)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        LOOKOUTS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Socket::new(one.unwrap()), Socket::new(accepted.unwrap().0))
    }

    async fn answer(socket: &Socket, bytes: &mut BytesMut) {
        if !socket.look_out(bytes) {
            assert!(socket.read(bytes).await.unwrap() > 0);
        }
    }

    /// Protects: messages of any size in both directions, whether they come at once, late, or while nobody looks out, and wherever
    /// the socket is meanwhile.
    #[tokio::test]
    async fn messages_arrive_apart_and_with_the_runtime() {
        let (one, other) = pair().await;
        let mut received = BytesMut::new();
        for round in 0..200_usize {
            let sent = vec![u8::try_from(round % 251).unwrap(); 1 + (round % 7) * 3000];
            let (from, to) = if round % 2 == 0 {
                (&one, &other)
            } else {
                (&other, &one)
            };
            // Some are looked out for in vain first.
            if round % 3 == 0 {
                assert!(!to.look_out(&mut received));
            }
            from.write_all(&sent).await.unwrap();
            while received.len() < sent.len() {
                answer(to, &mut received).await;
            }
            assert!(received.split() == sent);
            assert!(to.is_quiet());
        }
    }

    /// Protects: what is larger than the system's buffers, from a socket that is apart.
    #[tokio::test]
    async fn a_socket_that_is_apart_waits_for_room() {
        let (one, other) = pair().await;
        let mut received = BytesMut::new();
        other.write_all(b"a").await.unwrap();
        answer(&one, &mut received).await;
        let sent = vec![7; 32 << 20];
        let (written, ()) = tokio::join!(one.write_all(&sent), async {
            received.clear();
            while received.len() < sent.len() {
                assert!(other.read(&mut received).await.unwrap() > 0);
            }
        });
        written.unwrap();
        assert!(received == sent);
    }

    /// Protects: an answer that was sent in parts, of which none is left at its end.
    #[tokio::test]
    async fn nothing_can_be_written() {
        let (one, other) = pair().await;
        one.write_all(b"").await.unwrap();
        assert!(other.is_quiet());
    }

    /// Protects: nobody waits for ever for the end of a connection because all that had arrived before it was read at once, whether
    /// it ended before that or after it.
    #[tokio::test]
    async fn the_end_is_seen_behind_the_last_message() {
        for ends_before in [false, true] {
            let (one, other) = pair().await;
            let mut received = BytesMut::with_capacity(4096);
            other.write_all(b"last").await.unwrap();
            let mut other = Some(other);
            if ends_before {
                other = None;
            }
            while received.len() < 4 {
                assert!(one.read(&mut received).await.unwrap() > 0);
            }
            drop(other);
            // Whoever asks is told before the runtime has noticed.
            assert!(!one.is_quiet());
            assert_eq!(one.read(&mut received).await.unwrap(), 0);
            assert!(received == b"last"[..]);
        }
    }

    /// Protects: the end of a connection is seen, by whoever looks out too, and by whoever only asks.
    #[tokio::test]
    async fn the_end_is_seen() {
        let (one, other) = pair().await;
        let mut received = BytesMut::new();
        drop(other);
        assert!(!one.look_out(&mut received));
        assert_eq!(one.read(&mut received).await.unwrap(), 0);
        assert!(!one.is_quiet());
        assert!(received.is_empty());
    }
}
