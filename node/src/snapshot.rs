//! Snapshots: the database files, sent while they are in use, and installed by one switch.
//!
//! A snapshot is of the files as they are when it is begun, and while it is sent: checkpoints go on, so that some of its
//! pages are newer than others. It claims to be of an earlier log index, that before the last [anchor](crate::anchors) of
//! which everything is in the files. That is where the receiver's log will begin, so all that entries may refer to is in
//! it. And that the files are newer than was claimed does no harm, because pages are images: the receiver gets the
//! entries from that index on anyway, and writing what they come to over the files brings every page to one state. It only
//! has to be far enough in the log before it opens the files, and how far that is, the end of the stream says.
//!
//! ```text
//! stream    the page store's stream of database files, then one last chunk:
//! trailer   "FRLTSNAP" · u64 index up to which pages may be newer · u32 CRC-32 of the sixteen bytes before
//! ```
//!
//! Several chunks are handed out before the first is answered; how many, the consensus decides. The end of a stream is read
//! when everything before it has arrived: a page that is sent again is read again, and may be newer than an end allows
//! that was read before.
//!
//! A node that has been away has most of the pages: it said how far its files are when it connected, and gets the pages
//! that have changed since. The receiver collects the files aside. Once all are there and on disk, a durable note says so, and from
//! then on the snapshot *will* be installed, by this process or the next: the files are moved into place,
//! the members and the mark are saved, the log begins anew after the snapshot, the note is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use ferrolite_consensus::{Configuration, Index, NodeId, Position, SnapshotMeta};
use ferrolite_pager::{PendingInstall, SnapshotSink, SnapshotSource};
use serde::{Deserialize, Serialize};

use crate::buffers::Buffers;
use crate::error::Error;
use crate::membership;
use crate::store::Store;

const TRAILER_MAGIC: &[u8; 8] = b"FRLTSNAP";
const TRAILER_BYTES: usize = 20;
/// Snapshots that are sent at one time; the oldest gives way.
const MAX_SENDING: usize = 4;

/// How long to wait for room on a full disk before a snapshot is begun again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A chunk that a peer wants.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) token: u64,
    pub(crate) peer: NodeId,
    pub(crate) id: Option<u64>,
    pub(crate) offset: u64,
    pub(crate) max_bytes: u64,
}

/// The chunk.
#[derive(Debug)]
pub(crate) struct ChunkRead {
    pub(crate) token: u64,
    pub(crate) id: u64,
    /// The log index that the snapshot is of.
    pub(crate) index: Index,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) done: bool,
}

/// A chunk that the leader sent.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) token: u64,
    pub(crate) meta: SnapshotMeta,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) done: bool,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum ChunkWritten {
    /// It is kept.
    Kept { token: u64 },
    /// It makes no sense.
    Refused { token: u64 },
    /// It was the last; the files are in place, and the log is to begin anew after the snapshot.
    Ready { token: u64, install: Box<Install> },
}

#[derive(Debug)]
struct Sending {
    index: Index,
    source: SnapshotSource,
}

/// The snapshots under way.
#[derive(Debug)]
pub(crate) struct Snapshots {
    store: Arc<Store>,
    sending: BTreeMap<u64, Sending>,
    next_id: u64,
    receiving: Option<(u64, SnapshotSink)>,
    /// A complete one that is to be put in place, with the token of its last chunk. The work on that chunk is done again
    /// when there was no room for the files, and must then find it.
    arrived: Option<(u64, Install)>,
    buffers: Arc<Buffers>,
}

impl Snapshots {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        // Ids of this process must not be those of the one before it, whose streams a peer may remember.
        let next_id = store.process_id() << 20;
        Self {
            store,
            sending: BTreeMap::new(),
            next_id,
            receiving: None,
            arrived: None,
            buffers: Buffers::new(),
        }
    }

    /// Reads a chunk; `None` where the stream has none, which is what a peer wants that makes no sense.
    pub(crate) fn read(&mut self, read: &Read) -> Result<Option<ChunkRead>, Error> {
        let known = read.id.filter(|id| self.sending.contains_key(id));
        let (id, offset) = match known {
            Some(id) => (id, read.offset),
            None => (self.begin(read.peer)?, 0),
        };
        let Some(sending) = self.sending.get(&id) else {
            return Err(Error::Stopped);
        };
        let index = sending.index;
        if offset > sending.source.len() {
            return Ok(None);
        }
        if offset == sending.source.len() {
            let mut trailer = Vec::with_capacity(TRAILER_BYTES);
            trailer.put_slice(TRAILER_MAGIC);
            trailer.put_u64_le(self.store.mark.target());
            trailer.put_u32_le(crc32fast::hash(&trailer));
            let data = Bytes::from(trailer);
            return Ok(Some(ChunkRead {
                token: read.token,
                id,
                index,
                offset,
                data,
                done: true,
            }));
        }
        let max = usize::try_from(read.max_bytes).unwrap_or(usize::MAX);
        let mut data = self.buffers.take(max);
        match sending.source.read_into(offset, max, &mut data) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Ok(None),
            Err(error) => {
                return Err(Error::io("reading a database file for a snapshot", error));
            }
        }
        Ok(Some(ChunkRead {
            token: read.token,
            id,
            index,
            offset,
            data: self.buffers.lend(data),
            done: false,
        }))
    }

    fn begin(&mut self, peer: NodeId) -> Result<u64, Error> {
        if self.sending.len() >= MAX_SENDING
            && let Some(oldest) = self.sending.keys().min().copied()
        {
            self.sending.remove(&oldest);
        }
        let done = self.store.mark.done();
        let Some(anchor) = self.store.anchor(done)? else {
            return Err(Error::NoAnchor { done });
        };
        // The receiver's log begins with the anchor. That it writes some of what the files hold already once more changes
        // nothing.
        let index = anchor.saturating_sub(1);
        // A node that was away for a while has most of the pages.
        let base = Some(self.store.peer_done(peer)).filter(|base| *base <= done);
        let base = base.unwrap_or(0);
        let mut files = Vec::new();
        for (name, _) in self.store.list()? {
            files.push((name.clone(), self.store.file(&name)?));
        }
        let source = SnapshotSource::since(files, self.store.page_size, base)?;
        self.next_id += 1;
        log::info!(peer, index, done, base, bytes = source.len(); "sending a snapshot");
        self.sending.insert(self.next_id, Sending { index, source });
        Ok(self.next_id)
    }

    pub(crate) fn close(&mut self, id: u64) {
        self.sending.remove(&id);
        if self.sending.is_empty() {
            self.buffers.shrink();
        }
    }

    pub(crate) fn write(&mut self, write: &Write) -> Result<ChunkWritten, Error> {
        let (token, id) = (write.token, write.meta.id);
        if write.done {
            return self.write_last(write);
        }
        if write.offset == 0 {
            log::info!(index = write.meta.position.index; "receiving a snapshot");
            let own = self.store.mark.done();
            let sink = SnapshotSink::begin_in(&self.store.incoming, id, own)?;
            self.receiving = Some((id, sink));
        }
        let Some((_, sink)) = self
            .receiving
            .as_mut()
            .filter(|(receiving, _)| *receiving == id)
        else {
            return Ok(ChunkWritten::Refused { token });
        };
        match sink.write(write.offset, &write.data) {
            Ok(()) => Ok(ChunkWritten::Kept { token }),
            Err(error) if error.is_corrupt() => {
                log::warn!(error:%; "a chunk of a snapshot makes no sense; it starts over");
                self.receiving = None;
                Ok(ChunkWritten::Refused { token })
            }
            Err(error) if error.is_full() => {
                log::error!(error:%; "there is no room for a snapshot; it starts over");
                self.receiving = None;
                if self.store.workers.may_wait() {
                    std::thread::sleep(FULL_PAUSE);
                }
                Ok(ChunkWritten::Refused { token })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_last(&mut self, write: &Write) -> Result<ChunkWritten, Error> {
        let token = write.token;
        let is_there = |(arrived, _): &(u64, Install)| *arrived == token;
        if !self.arrived.as_ref().is_some_and(is_there) {
            self.arrived = self.complete(write)?.map(|install| (token, install));
        }
        let Some((_, install)) = &self.arrived else {
            return Ok(ChunkWritten::Refused { token });
        };
        install.put_in_place(&self.store)?;
        // What this node was sending is of files that are no more.
        self.sending.clear();
        let (_, install) = self.arrived.take().ok_or(Error::Stopped)?;
        Ok(ChunkWritten::Ready {
            token,
            install: Box::new(install),
        })
    }

    /// Notes durably that the snapshot of which this is the last chunk will be installed, if it is whole.
    fn complete(&mut self, write: &Write) -> Result<Option<Install>, Error> {
        let receiving = self.receiving.take();
        let receiving = receiving.filter(|(id, _)| *id == write.meta.id);
        let (Some(newest), Some((_, sink))) = (trailer(&write.data), receiving) else {
            return Ok(None);
        };
        let note = Note {
            meta: write.meta.clone(),
            newest,
        };
        match sink.finish(&note.encode()?) {
            Ok(()) => Install::pending(&self.store),
            Err(error) if error.is_corrupt() => {
                log::warn!(error:%; "a snapshot is not complete; it starts over");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn trailer(mut bytes: &[u8]) -> Option<Index> {
    let checked = bytes.get(..16)?;
    let crc = crc32fast::hash(checked);
    bytes = bytes.strip_prefix(TRAILER_MAGIC)?;
    let newest = bytes.try_get_u64_le().ok()?;
    (bytes.try_get_u32_le().ok()? == crc && bytes.is_empty()).then_some(newest)
}

/// What is noted about a snapshot that will be installed.
#[derive(Debug)]
struct Note {
    meta: SnapshotMeta,
    newest: Index,
}

/// The note as it stands on disk, encoded by postcard. A later version begins with another number.
#[derive(Serialize, Deserialize)]
struct NoteOnDisk {
    version: u32,
    id: u64,
    index: Index,
    term: u64,
    newest: Index,
    configuration_index: Index,
    configuration: Vec<u8>,
}

const NOTE_VERSION: u32 = 1;

impl Note {
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let note = NoteOnDisk {
            version: NOTE_VERSION,
            id: self.meta.id,
            index: self.meta.position.index,
            term: self.meta.position.term,
            newest: self.newest,
            configuration_index: self.meta.configuration_index,
            configuration: self.meta.configuration.encode().to_vec(),
        };
        postcard::to_allocvec(&note)
            .map_err(|error| Error::io("noting a snapshot", std::io::Error::other(error)))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let note: NoteOnDisk = postcard::from_bytes(bytes).ok()?;
        if note.version != NOTE_VERSION {
            return None;
        }
        let meta = SnapshotMeta {
            id: note.id,
            position: Position::new(note.index, note.term),
            configuration_index: note.configuration_index,
            configuration: Configuration::decode(&note.configuration).ok()?,
        };
        Some(Self {
            meta,
            newest: note.newest,
        })
    }
}

/// A complete snapshot that waits for its installation to be finished.
#[derive(Debug)]
pub(crate) struct Install {
    pending: PendingInstall,
    note: Note,
}

impl Install {
    /// The one that there is, if there is one.
    pub(crate) fn pending(store: &Store) -> Result<Option<Self>, Error> {
        let Some(pending) = ferrolite_pager::pending_install_in(&store.incoming)? else {
            return Ok(None);
        };
        let note = Note::decode(pending.meta()).ok_or_else(|| ferrolite_wal::Error::Damaged {
            file: store.incoming.path().display().to_string(),
            offset: 0,
            index: None,
            term: None,
        })?;
        Ok(Some(Self { pending, note }))
    }

    /// Moves the files into place, and saves members and mark. Doing it again changes nothing.
    pub(crate) fn put_in_place(&self, store: &Store) -> Result<(), Error> {
        self.pending.apply_in(&store.databases)?;
        let meta = &self.note.meta;
        // Files that changed in part may hold what this node had written beyond its own mark.
        let newest = self
            .note
            .newest
            .max(meta.position.index)
            .max(store.mark.target());
        membership::save(
            store.directory(),
            &[(meta.configuration_index, meta.configuration.clone())],
        )?;
        store.mark.install(meta.position.index, newest)?;
        store.files_replaced(newest)
    }

    /// The log index that the snapshot is of.
    pub(crate) fn index(&self) -> Index {
        self.note.meta.position.index
    }

    /// The members at that index, and the index of their entry.
    pub(crate) fn configuration(&self) -> (Index, Configuration) {
        (
            self.note.meta.configuration_index,
            self.note.meta.configuration.clone(),
        )
    }

    /// Begins the log anew after the snapshot, and forgets the note. If there is no room for the log, nothing happened.
    pub(crate) fn finish(&self, store: &Store) -> Result<(), Error> {
        let position = self.note.meta.position;
        store.log.reset(position.index, position.term)?;
        self.pending.clear()?;
        log::info!(index = position.index; "a snapshot was installed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ferrolite_consensus::{Member, Role};

    /// A note comes back as it was; one of a later version is not mistaken for it.
    #[test]
    fn notes() {
        let configuration = Configuration::new(vec![Member::new(1, Role::Voter, "a:1")]).unwrap();
        let position = Position::new(7, 3);
        let meta = SnapshotMeta {
            id: 9,
            position,
            configuration_index: 5,
            configuration,
        };
        let note = Note { meta, newest: 8 };
        let bytes = note.encode().unwrap();
        let back = Note::decode(&bytes).unwrap();
        assert_eq!((back.meta, back.newest), (note.meta, note.newest));
        let mut later = bytes.clone();
        if let Some(version) = later.first_mut() {
            *version = 2;
        }
        assert!(Note::decode(&later).is_none());
        assert!(Note::decode(bytes.get(..bytes.len() - 1).unwrap()).is_none());
    }

    /// The end of a stream is known by its checksum.
    #[test]
    fn trailers() {
        let mut bytes = TRAILER_MAGIC.to_vec();
        bytes.put_u64_le(42);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        assert_eq!(trailer(&bytes), Some(42));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 1;
            }
            assert_eq!(trailer(&bad), None);
        }
        assert_eq!(trailer(b""), None);
    }
}
