//! Connections between nodes: one from each node to every other, for what it has to say.
//!
//! A node dials each member that it has messages for, and writes them ([`outgoing`](crate::outgoing)); answers come on the
//! connection that the other side dialled. Consensus takes lost messages in its stride, so nothing here waits or retries: a
//! queue that is full drops what comes, a broken connection drops what was in it, and says so, because then
//! the leader looks again where its follower stands.
//!
//! The first bytes are those of the client protocol (its version, then CONNECT), because both arrive at one
//! port. Then come frames, here as everywhere little-endian:
//!
//! ```text
//! frame    u32 length of the body · u32 CRC-32 of the body · the body
//! hello    (first frame, from the one that dials)
//!          "FRLP" · u16 version = 1 · u16 abilities · u128 cluster (0: none yet) · u64 from · u64 to · u64 incarnation
//!          · u64 log index up to which its database files hold everything
//! answer   (first frame back) u8 1: welcome, or u8 0 and a reason in UTF-8; nothing else comes back
//! message  (every further frame) as `ferrolite_consensus::message::codec` has it, or about a page, as `scrub` has it, or
//!          about how far the cluster is, as `freshness` has it
//! ```
//!
//! The abilities are a set of bits. What a node sends only to those that understand it has one
//! ([`SPEAKS_OF_FRESHNESS`]); a node that does not know a bit ignores it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ferrolite_consensus::message::codec;
use ferrolite_consensus::{ClusterId, Index, Message, NodeId};
use ferrolite_wire::{Request, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::buffers::Buffers;
use crate::framing::{holds_frame, put_frame, read_frame};
use crate::freshness::{self, FreshnessMessage, SPEAKS_OF_FRESHNESS};
use crate::handle::{Event, Handle};
use crate::outgoing::Outgoing;
use crate::scrub::{self, PageMessage};

const MAGIC: &[u8; 4] = b"FRLP";
const VERSION: u16 = 1;
const HELLO_BYTES: usize = 56;
/// So much is read from a peer at once, if its messages are small; a large one is read straight to where it is kept.
const READ_BYTES: usize = 16 << 10;
/// After so many small messages in a row memory for large ones is let go of.
const SMALL_MESSAGES: u32 = 256;
const SMALL_BYTES: usize = 64 << 10;
/// How long a peer may take to accept a connection and to answer the greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer is not read from while the replica has enough to do.
const BEHIND_PAUSE: Duration = Duration::from_millis(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Who this node is, as its peers are told.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) incarnation: u64,
    /// The cluster, once it is known.
    pub(crate) cluster: watch::Receiver<ClusterId>,
}

/// Where what a node has to say to others leaves it.
pub(crate) trait Outlet: Send {
    /// Sends a message if there is a way to its receiver, and forgets it otherwise. It leaves with the next
    /// [`flush`](Self::flush).
    fn send(&mut self, message: &Message);

    /// Likewise, for a message about a page.
    fn send_page(&mut self, to: NodeId, message: &PageMessage);

    /// Likewise, for a message about how far the cluster is.
    fn send_freshness(&mut self, to: NodeId, message: FreshnessMessage);

    /// Writes out what was said.
    fn flush(&mut self);
}

/// The outgoing connections of a node.
#[derive(Debug)]
pub(crate) struct Peers {
    identity: Arc<Identity>,
    handle: Handle,
    runtime: tokio::runtime::Handle,
    links: HashMap<NodeId, Link>,
    /// Addresses that peers have told when they connected: a node that is not yet a member knows no other.
    heard: Arc<Mutex<HashMap<NodeId, String>>>,
}

#[derive(Debug)]
struct Link {
    address: String,
    outgoing: Arc<Outgoing>,
    /// Something was put into the queue since it was last written out.
    dirty: bool,
    task: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peers {
    pub(crate) fn new(
        identity: Arc<Identity>,
        handle: Handle,
        runtime: tokio::runtime::Handle,
        heard: Arc<Mutex<HashMap<NodeId, String>>>,
    ) -> Self {
        Self {
            identity,
            handle,
            runtime,
            links: HashMap::new(),
            heard,
        }
    }

    fn post(&mut self, to: NodeId, head: Bytes, data: Bytes) {
        let Some(address) = self.address(to) else {
            log::debug!(to; "no address is known for this node; a message to it is dropped");
            return;
        };
        let known = self
            .links
            .get(&to)
            .is_some_and(|link| link.address == address);
        if !known {
            let outgoing = Arc::<Outgoing>::default();
            let line = Line {
                identity: Arc::clone(&self.identity),
                handle: self.handle.clone(),
                to,
                address: address.clone(),
                outgoing: Arc::clone(&outgoing),
            };
            let task = self.runtime.spawn(line.run()).abort_handle();
            let link = Link {
                address,
                outgoing,
                dirty: false,
                task,
            };
            self.links.insert(to, link);
        }
        if let Some(link) = self.links.get_mut(&to) {
            link.dirty = true;
            if !link.outgoing.push(head, data) {
                log::trace!(to; "the queue to this node is full; a message is dropped");
            }
        }
    }

    fn address(&self, to: NodeId) -> Option<String> {
        let status = self.handle.status.borrow();
        let member = status
            .configuration
            .as_ref()
            .and_then(|members| members.member(to));
        match member {
            Some(member) => Some(member.address.clone()),
            None => self
                .heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&to)
                .cloned(),
        }
    }
}

impl Outlet for Peers {
    fn send(&mut self, message: &Message) {
        let (head, data) = codec::encode_in_two(message);
        self.post(message.to, head, data);
    }

    fn send_page(&mut self, to: NodeId, message: &PageMessage) {
        self.post(to, message.encode(), Bytes::new());
    }

    fn send_freshness(&mut self, to: NodeId, message: FreshnessMessage) {
        self.post(to, message.encode(), Bytes::new());
    }

    fn flush(&mut self) {
        for link in self.links.values_mut().filter(|link| link.dirty) {
            link.dirty = false;
            link.outgoing.flush();
        }
    }
}

/// The connection to one peer, made again and again.
struct Line {
    identity: Arc<Identity>,
    handle: Handle,
    to: NodeId,
    address: String,
    outgoing: Arc<Outgoing>,
}

impl Line {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut said = String::new();
        loop {
            match self.connect().await {
                Ok(stream) => {
                    log::info!(peer = self.to, address:% = self.address; "connected to a peer");
                    pause = FIRST_PAUSE;
                    said.clear();
                    let error = self.attend(stream).await;
                    log::info!(peer = self.to, error:%; "the connection to a peer broke");
                }
                Err(error) => {
                    // Once for each reason, not once for each attempt.
                    if said != error {
                        log::warn!(
                            peer = self.to,
                            address:% = self.address,
                            error:%;
                            "cannot connect to a peer"
                        );
                        said = error;
                    }
                }
            }
            self.outgoing.disconnected();
            self.handle.send(Event::Unreachable(self.to));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // What waits is out of date by now.
            self.outgoing.disconnected();
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        timeout(GREETING_TIMEOUT, self.greet())
            .await
            .unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
    }

    async fn greet(&self) -> Result<TcpStream, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(&self.address).await.map_err(said)?;
        stream.set_nodelay(true).map_err(said)?;
        let mut out = BytesMut::new();
        out.put_slice(&Version::One.encode());
        let connect = Request::Connect {
            id: self.identity.id,
            address: self.identity.address.clone(),
        };
        connect
            .encode(&mut out)
            .map_err(|error| error.to_string())?;
        let mut hello = BytesMut::with_capacity(HELLO_BYTES);
        hello.put_slice(MAGIC);
        hello.put_u16_le(VERSION);
        hello.put_u16_le(SPEAKS_OF_FRESHNESS);
        hello.put_u128_le(*self.identity.cluster.borrow());
        hello.put_u64_le(self.identity.id);
        hello.put_u64_le(self.to);
        hello.put_u64_le(self.identity.incarnation);
        hello.put_u64_le(self.handle.store.mark.done());
        put_frame(&mut out, &hello).map_err(said)?;
        stream.write_all(&out).await.map_err(said)?;
        let answer = read_frame(&mut stream, &Buffers::new())
            .await
            .map_err(said)?;
        match answer.split_first() {
            Some((1, _)) => Ok(stream),
            Some((0, reason)) => Err(format!("it refused: {}", String::from_utf8_lossy(reason))),
            _ => Err("its answer makes no sense".to_owned()),
        }
    }

    /// Sees to the connection for as long as it lasts, and returns why it has ended.
    async fn attend(&self, stream: TcpStream) -> std::io::Error {
        let stream = Arc::new(stream);
        self.outgoing.connected(Arc::clone(&stream));
        let ended = tokio::select! {
            ended = self.outgoing.attend(&stream) => ended,
            ended = closed(&stream) => ended,
        };
        ended
            .err()
            .unwrap_or_else(|| std::io::ErrorKind::ConnectionReset.into())
    }
}

/// Waits until the peer has gone: it never writes on this connection.
async fn closed(stream: &TcpStream) -> std::io::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) => {
                let closed = "closed by the peer";
                return Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionReset,
                    closed,
                ));
            }
            Ok(_) => {
                let odd = "the peer wrote where it never does";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, odd));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a peer says of itself.
struct Hello {
    abilities: u16,
    cluster: ClusterId,
    from: NodeId,
    to: NodeId,
    incarnation: u64,
    files_done: Index,
}

impl Hello {
    fn decode(mut bytes: Bytes) -> Result<Self, String> {
        if bytes.len() < HELLO_BYTES || !bytes.starts_with(MAGIC) {
            return Err("this is not the greeting of a peer".to_owned());
        }
        bytes.advance(MAGIC.len());
        let version = bytes.get_u16_le();
        if version != VERSION {
            return Err(format!(
                "peer protocol version {version} is not spoken here, only {VERSION}"
            ));
        }
        let abilities = bytes.get_u16_le();
        let cluster = bytes.get_u128_le();
        let (from, to) = (bytes.get_u64_le(), bytes.get_u64_le());
        Ok(Self {
            abilities,
            cluster,
            from,
            to,
            incarnation: bytes.get_u64_le(),
            files_done: bytes.get_u64_le(),
        })
    }

    fn check(&self, identity: &Identity, announced: NodeId) -> Result<(), String> {
        let cluster = *identity.cluster.borrow();
        if self.from == identity.id {
            return Err(format!("node {} is this node itself", self.from));
        }
        if self.from != announced {
            return Err(format!(
                "node {announced} announced itself as node {}",
                self.from
            ));
        }
        if self.to != identity.id {
            return Err(format!(
                "you want node {}, but this is node {}",
                self.to, identity.id
            ));
        }
        if cluster != 0 && self.cluster != 0 && self.cluster != cluster {
            return Err(format!(
                "you belong to cluster {:032x}, this node to {cluster:032x}",
                self.cluster
            ));
        }
        Ok(())
    }
}

/// Takes messages from a peer that has connected; CONNECT was read and said who it is.
pub(crate) async fn accept(
    identity: Arc<Identity>,
    handle: Handle,
    heard: Arc<Mutex<HashMap<NodeId, String>>>,
    announced: (NodeId, String),
    received: BytesMut,
    mut stream: TcpStream,
) {
    let (from, address) = announced;
    let (reader, mut writer) = stream.split();
    let buffers = Buffers::new();
    let mut reader = BufReader::with_capacity(
        READ_BYTES,
        AsyncReadExt::chain(std::io::Cursor::new(received.freeze()), reader),
    );
    let hello = match timeout(GREETING_TIMEOUT, read_frame(&mut reader, &buffers)).await {
        Ok(Ok(bytes)) => Hello::decode(bytes),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no greeting came in time".to_owned()),
    };
    let checked = hello.and_then(|hello| hello.check(&identity, from).map(|()| hello));
    let mut answer = BytesMut::new();
    let framed = match &checked {
        Ok(_) => put_frame(&mut answer, &[1]),
        Err(reason) => {
            log::warn!(peer = from, address:%, reason:%; "refused a peer");
            put_frame(&mut answer, &[&[0], reason.as_bytes()].concat())
        }
    };
    if framed.is_err() || writer.write_all(&answer).await.is_err() || checked.is_err() {
        return;
    }
    heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(from, address.clone());
    if let Ok(hello) = checked {
        handle.store.note_peer(from, hello.files_done);
        handle.freshness.note_peer(from, hello.abilities);
        handle.send(Event::PeerAt {
            id: from,
            incarnation: hello.incarnation,
            address,
        });
    }
    let mut small = 0;
    loop {
        // What has arrived together is taken together, up to what the replica keeps up with.
        if !holds_frame(reader.buffer()) || handle.driver.is_behind() {
            handle.driver.drive();
            while handle.driver.is_behind() {
                tokio::time::sleep(BEHIND_PAUSE).await;
            }
        }
        let frame = read_frame(&mut reader, &buffers).await;
        match &frame {
            Ok(bytes) if bytes.len() < SMALL_BYTES => small += 1,
            _ => small = 0,
        }
        if small == SMALL_MESSAGES {
            small = 0;
            buffers.shrink();
        }
        let event = match frame {
            Ok(bytes) => event(from, bytes),
            Err(error) => {
                log::debug!(peer = from, error:%; "a peer's connection ended");
                return;
            }
        };
        match event {
            Ok(event) => handle.driver.post(event),
            Err(reason) => {
                log::warn!(peer = from, reason; "a peer is not listened to any more");
                return;
            }
        }
    }
}

/// What a frame of the peer `from` says.
pub(crate) fn event(from: NodeId, frame: Bytes) -> Result<Event, String> {
    match frame.first() {
        Some(&scrub::TAG) => PageMessage::decode(frame)
            .map(|message| Event::PeerPage { from, message })
            .ok_or_else(|| "its word about a page makes no sense".to_owned()),
        Some(&freshness::TAG) => FreshnessMessage::decode(&frame)
            .map(|message| Event::PeerFreshness { from, message })
            .ok_or_else(|| "its word about how far the cluster is makes no sense".to_owned()),
        _ => match codec::decode_shared(frame) {
            Ok(message) if message.from == from => Ok(Event::Peer(message)),
            Ok(message) => Err(format!("it spoke for node {}", message.from)),
            Err(error) => Err(format!("it sent what makes no sense: {error}")),
        },
    }
}
