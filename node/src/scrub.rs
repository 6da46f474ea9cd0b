//! Pages that have rotted on this node's disk: found, and put back.
//!
//! The thread that writes the database files reads all of them as well, a little at a time, when it has nothing else
//! to do. A page that is not what was written comes back from the log, if the log still has it, and else from any
//! other node, from its log or its file: it is asked for by name, and whatever comes is taken only if it has the checksum that the page must
//! have, or is of a later entry that this node is about to write anyway. So a wrong answer, or a late one, does no harm.
//! Who reads the page in the meantime gets an error, never the rotten bytes.
//!
//! ```text
//! question  u8 'P' · u8 version = 1 · u8 0 · u32 page number · the database's name in UTF-8
//! answer    u8 'P' · u8 version = 1 · u8 1 · u32 page number · u64 log index · u16 length of the name · name · page
//! progress  u8 'P' · u8 version = 1 · u8 2 · u64 log index up to which the sender's database files hold everything
//! ```
//!
//! The last is for whoever may have to send this node the pages that it lacks. All travel between nodes in frames of their own, among those of the consensus; `docs/formats-node.md`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ferrolite_consensus::{Entry, EntryKind, Index, NodeId};
use ferrolite_pager::{PageFile, Rot, Scrubber};
use ferrolite_wal::frames::{self, Part};
use tokio::time::Instant;

use crate::error::Error;
use crate::store::Store;

/// First byte of both messages; no message of the consensus begins with it.
pub(crate) const TAG: u8 = b'P';
const VERSION: u8 = 1;
const QUESTION: u8 = 0;
const ANSWER: u8 = 1;
const PROGRESS: u8 = 2;
/// So many images of a page are tried at most.
const MOST_IMAGES: usize = 256;

/// So many images of a page a peer is given out of the log, at most.
const IMAGES_GIVEN: usize = 32;

/// Pages that are looked at in one go, and how often that happens: with pages of 4 KiB, four MiB a second.
const PAGES_AT_ONCE: u32 = 256;
const STEP_PAUSE: Duration = Duration::from_millis(250);
/// Between two rounds through everything.
const ROUND_PAUSE: Duration = Duration::from_secs(3600);
/// A page that nobody had is asked for again after so long.
const ASK_PAUSE: Duration = Duration::from_secs(2);
/// So many pages are repaired in one step, at most.
const REPAIRS_AT_ONCE: usize = 64;

/// A page of a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PageName {
    pub(crate) database: String,
    pub(crate) page_no: u32,
}

/// What a node has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenPage {
    pub(crate) name: PageName,
    /// The log index that wrote it, or a later one.
    pub(crate) index: u64,
    pub(crate) bytes: Bytes,
}

/// What peers say to each other about pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageMessage {
    Question(PageName),
    Answer(GivenPage),
    /// The sender's database files hold everything up to this log index.
    Progress(Index),
}

impl PageMessage {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(TAG);
        out.put_u8(VERSION);
        match self {
            Self::Question(name) => {
                out.put_u8(QUESTION);
                out.put_u32_le(name.page_no);
                out.put_slice(name.database.as_bytes());
            }
            Self::Answer(page) => {
                out.put_u8(ANSWER);
                out.put_u32_le(page.name.page_no);
                out.put_u64_le(page.index);
                let name = page.name.database.as_bytes();
                // Names have at most 255 bytes; see `ferrolite_wal::frames`.
                out.put_u16_le(u16::try_from(name.len()).unwrap_or(u16::MAX));
                out.put_slice(name);
                out.put_slice(&page.bytes);
            }
            Self::Progress(done) => {
                out.put_u8(PROGRESS);
                out.put_u64_le(*done);
            }
        }
        out.freeze()
    }

    /// Reads a message, which begins with [`TAG`]; `None` if it makes no sense, or is of a later version.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let head = [bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?];
        if head != [TAG, VERSION] {
            return None;
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let kind = bytes.try_get_u8().ok()?;
        if kind == PROGRESS {
            let done = bytes.try_get_u64_le().ok()?;
            return bytes.is_empty().then_some(Self::Progress(done));
        }
        let page_no = bytes.try_get_u32_le().ok()?;
        match kind {
            QUESTION => Some(Self::Question(PageName {
                database: text(&bytes)?,
                page_no,
            })),
            ANSWER => {
                let index = bytes.try_get_u64_le().ok()?;
                let len = usize::from(bytes.try_get_u16_le().ok()?);
                let database = text(bytes.get(..len)?)?;
                bytes.advance(len);
                Some(Self::Answer(GivenPage {
                    name: PageName { database, page_no },
                    index,
                    bytes,
                }))
            }
            _ => None,
        }
    }
}

/// Where the walk is, and what was asked for.
#[derive(Debug)]
pub(crate) struct Scrub {
    scrubber: Scrubber,
    due: Instant,
    next_round: Instant,
    asked: HashMap<PageName, Instant>,
}

impl Scrub {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            scrubber: Scrubber::new(),
            due: now + STEP_PAUSE,
            next_round: now,
            asked: HashMap::new(),
        }
    }

    /// Has all pages looked at from now on, and once more those that this round has passed.
    #[cfg(feature = "simulation")]
    pub(crate) fn begin_round(&mut self) {
        self.next_round = Instant::now();
    }

    /// Whether the round is over, and nothing has been found that is not put back.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_done(&self, store: &Store) -> bool {
        let files = store.open_files();
        self.next_round > Instant::now() && files.iter().all(|(_, file)| file.rotten().is_empty())
    }

    /// How long until the next step.
    pub(crate) fn due_in(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Looks at some pages, puts back what the log has of those that have rotted, and returns the others, which peers
    /// are to be asked for.
    pub(crate) fn step(&mut self, store: &Store) -> Vec<PageName> {
        let now = Instant::now();
        self.due = now + STEP_PAUSE;
        let files = store.open_files();
        if now >= self.next_round {
            match self.scrubber.next(&files, PAGES_AT_ONCE) {
                Ok(found) if found.ends_round => self.next_round = now + ROUND_PAUSE,
                Ok(_) => {}
                Err(error) => log::error!(error:%; "a page cannot be looked at"),
            }
        }
        let mut wanted = Vec::new();
        self.asked.retain(|_, asked| *asked + ASK_PAUSE > now);
        for (database, file) in files {
            for rot in file.rotten().into_iter().take(REPAIRS_AT_ONCE) {
                let name = PageName {
                    database: database.clone(),
                    page_no: rot.page_no,
                };
                if self.asked.contains_key(&name) {
                    continue;
                }
                log::error!(
                    database,
                    page = rot.page_no,
                    entry = rot.index;
                    "a page has rotted on the disk; it is fetched again"
                );
                self.asked.insert(name.clone(), now);
                match repair_from_log(store, &file, &name, &rot) {
                    Ok(true) => {}
                    Ok(false) => wanted.push(name),
                    Err(error) => {
                        log::error!(error:%; "a rotten page was not put back from the log");
                        wanted.push(name);
                    }
                }
            }
        }
        wanted
    }
}

/// Gives the images of a page in the entries up to `last` that this node still has to `take`, the newest first and not more
/// than [`MOST_IMAGES`], with the entries that they are in, until it says that it has what it wanted.
fn images_in_log(
    store: &Store,
    name: &PageName,
    last: Index,
    mut take: impl FnMut(Index, Vec<u8>) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let mut found = VecDeque::new();
    let last = last.min(store.log.last_index());
    scan_undamaged(store, store.log.first_index(), last, |entry| {
        if entry.kind != EntryKind::Normal {
            return Ok(());
        }
        let part = Part::decode(entry.payload)?;
        if part.database() != name.database {
            return Ok(());
        }
        // That of a transaction that was given up does no harm: nobody wants its checksum.
        let mut frames = part.frames();
        if let Some(frame) = frames.rfind(|frame| frame.page_no() == name.page_no) {
            if found.len() == MOST_IMAGES {
                found.pop_front();
            }
            found.push_back((entry.index, frame.clone(), part.page_size()));
        }
        Ok(())
    })?;
    for (index, frame, page_size) in found.into_iter().rev() {
        match frames::resolve(&store.log, index, &frame, page_size) {
            Ok(bytes) => {
                if take(index, bytes)? {
                    return Ok(true);
                }
            }
            // It is a difference, and the log begins after its base.
            Err(error) if error.is_compacted() => return Ok(false),
            // Nor can its base be read; another one may do.
            Err(error) if error.is_damaged() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Gives the entries from `first` to `last` to `visit`, but for those that are damaged.
fn scan_undamaged(
    store: &Store,
    first: Index,
    last: Index,
    mut visit: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let end = last.saturating_add(1);
    let (mut next, mut stop) = (first, end);
    loop {
        let scanned = store.scan(next, stop, |entry| {
            next = entry.index.saturating_add(1);
            visit(entry)
        });
        match scanned {
            Ok(()) if stop == end => return Ok(()),
            Ok(()) => (next, stop) = (stop.saturating_add(1), end),
            // What is before it comes first.
            Err(Error::Storage(ferrolite_wal::Error::Damaged {
                index: Some(damaged),
                ..
            })) if (next..stop).contains(&damaged) => stop = damaged,
            Err(error) => return Err(error),
        }
    }
}

/// Looks for the page as it has to be in the entries that this node still has. The log index that is known of it may be higher
/// than that of the entry which it is of, so what it has to be need not be the newest.
fn repair_from_log(
    store: &Store,
    file: &Arc<PageFile>,
    name: &PageName,
    rot: &Rot,
) -> Result<bool, Error> {
    let repaired = images_in_log(store, name, rot.index, |index, bytes| {
        match file.repair(name.page_no, &bytes, index) {
            Ok(_) => Ok(true),
            Err(error) if error.is_refused() => Ok(false),
            Err(error) => Err(error.into()),
        }
    })?;
    if repaired {
        log::warn!(
            database = name.database,
            page = name.page_no;
            "a rotten page was put back from the log"
        );
    }
    Ok(repaired)
}

/// This node's copies of a page for a peer: the newest of its log, up to `applied`, which may not be in its file yet, and that of
/// its file. The peer takes the one that it has lost.
pub(crate) fn read(store: &Store, name: &PageName, applied: Index) -> Vec<GivenPage> {
    let mut given = Vec::new();
    let unable = |error: &dyn std::fmt::Display| {
        log::debug!(
            error:%;
            "a page for a peer cannot be given"
        )
    };
    let newest = images_in_log(store, name, applied, |index, bytes| {
        given.push(GivenPage {
            name: name.clone(),
            index,
            bytes: Bytes::from(bytes),
        });
        // The newest may be of a transaction that was given up, or newer than what the peer knows of.
        Ok(given.len() == IMAGES_GIVEN)
    });
    if let Err(error) = newest {
        unable(&error);
    }
    let mut files = store.open_files().into_iter();
    if let Some((_, file)) = files.find(|(database, _)| *database == name.database) {
        match file.read_page(name.page_no) {
            Ok(page) => given.extend(page.sum.map(|sum| GivenPage {
                name: name.clone(),
                index: sum.index,
                bytes: Bytes::from(page.bytes),
            })),
            Err(error) => unable(&error),
        }
    }
    given
}

/// Puts a page back that a peer has given, if it is the one that was lost.
pub(crate) fn repair(store: &Store, from: NodeId, given: &GivenPage) -> Result<(), Error> {
    let name = &given.name;
    let file = store
        .open_files()
        .into_iter()
        .find(|(database, _)| *database == name.database)
        .map(|(_, file)| file);
    // It may have been put back, or written anew, since it was asked for.
    let is_rotten =
        |file: &Arc<PageFile>| file.rotten().iter().any(|rot| rot.page_no == name.page_no);
    let Some(file) = file.filter(is_rotten) else {
        return Ok(());
    };
    match file.repair(name.page_no, &given.bytes, given.index) {
        Ok(_) => log::warn!(
            database = name.database,
            page = name.page_no,
            peer = from;
            "a rotten page was put back from a peer"
        ),
        Err(error) if error.is_refused() => {
            log::debug!(error:%, peer = from; "a peer's page is not the one that was lost");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt;

    use ferrolite_wal::Record;
    use ferrolite_wal::frames::TransactionId;
    use ferrolite_wal::view::StagedPage;
    use proptest::prelude::*;

    use super::*;
    use crate::images::Images;
    use crate::options::Options;
    use crate::pages::SmallTransaction;

    fn message() -> impl Strategy<Value = PageMessage> {
        let name = (".{0,60}", any::<u32>())
            .prop_map(|(database, page_no)| PageName { database, page_no });
        let page = proptest::collection::vec(any::<u8>(), 0..600);
        prop_oneof![
            name.clone().prop_map(PageMessage::Question),
            any::<u64>().prop_map(PageMessage::Progress),
            (name, any::<u64>(), page).prop_map(|(name, index, bytes)| {
                PageMessage::Answer(GivenPage {
                    name,
                    index,
                    bytes: Bytes::from(bytes),
                })
            }),
        ]
    }

    const PAGE: u32 = 4096;

    /// Appends an entry of a transaction that changes page 2 of the database `a`, and returns its payload.
    fn append(
        store: &Store,
        images: &Images,
        index: u64,
        page: Vec<u8>,
        reach: Option<u64>,
    ) -> Bytes {
        let small = SmallTransaction {
            id: TransactionId(1, index),
            page_size: PAGE,
            pages: vec![StagedPage {
                frame: index,
                page_no: 2,
                image: Bytes::from(page),
            }],
        };
        let small = small.encode("a", 2, index, reach, images).unwrap();
        for (page_no, image) in small.images {
            images.put("a", page_no, image);
        }
        let payload = small.encoded.payloads.first().unwrap().clone();
        let record = Record {
            index,
            term: 1,
            kind: EntryKind::Normal.to_byte(),
            payload: payload.clone(),
        };
        store.log.append(&[record]).unwrap();
        payload
    }

    fn page_two() -> PageName {
        PageName {
            database: "a".to_owned(),
            page_no: 2,
        }
    }

    /// A byte of page 2 changes on the disk.
    fn rot(file: &PageFile) -> Rot {
        let on_disk = std::fs::File::options().write(true).open(file.path());
        on_disk.unwrap().write_all_at(&[8], 5000).unwrap();
        assert!(file.read_page(2).unwrap_err().is_rot());
        file.rotten().pop().unwrap()
    }

    /// A page whose last image is a difference comes back from the log, as long as the log has what it stands on.
    #[test]
    fn pages_come_back_from_differences() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), 1, &Options::default()).unwrap();
        let images = Images::default();
        let mut page = vec![7; PAGE as usize];
        for index in 1..=3_u64 {
            page.splice(0..8, index.to_le_bytes()).for_each(drop);
            let reach = (index > 1).then_some(1);
            append(&store, &images, index, page.clone(), reach);
        }
        store.redo(3).unwrap();
        let (file, name) = (store.file("a").unwrap(), page_two());
        assert!(repair_from_log(&store, &file, &name, &rot(&file)).unwrap());
        assert_eq!(file.read_page(2).unwrap().bytes, page);

        // The last entry is all that is left.
        let last = store.log.entry(3).unwrap();
        store.log.reset(2, 1).unwrap();
        store.log.append(&[last]).unwrap();
        assert!(!repair_from_log(&store, &file, &name, &rot(&file)).unwrap());
        assert!(file.read_page(2).unwrap_err().is_rot());
    }

    /// An entry that is damaged keeps nobody from the page in a later one: neither this node nor a peer that asks, which is
    /// given older images of the page as well.
    #[test]
    fn damaged_entries_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), 1, &Options::default()).unwrap();
        let images = Images::default();
        let mut payloads = Vec::new();
        for index in 1..=4 {
            let page = vec![u8::try_from(index).unwrap(); PAGE as usize];
            payloads.push(append(&store, &images, index, page, None));
        }
        store.redo(3).unwrap();
        let log = directory.path().join("log");
        let files = std::fs::read_dir(log)
            .unwrap()
            .map(|file| file.unwrap().path());
        for path in files.filter(|path| path.extension().is_some_and(|end| end == "log")) {
            let bytes = std::fs::read(&path).unwrap();
            let payload = payloads.get(1).unwrap();
            let found = bytes.windows(payload.len()).position(|at| at == payload);
            if let Some(offset) = found {
                let file = std::fs::File::options().write(true).open(path).unwrap();
                let flipped = !*payload.first().unwrap();
                file.write_all_at(&[flipped], offset as u64).unwrap();
            }
        }
        assert!(store.log.entry(2).unwrap_err().is_damaged());

        let name = page_two();
        let given = read(&store, &name, 4);
        let of: Vec<_> = given
            .iter()
            .map(|page| (page.index, page.bytes.first().copied()))
            .collect();
        assert_eq!(of, [(4, Some(4)), (3, Some(3)), (1, Some(1)), (3, Some(3))]);

        let file = store.file("a").unwrap();
        assert!(repair_from_log(&store, &file, &name, &rot(&file)).unwrap());
    }

    proptest! {
        /// What is said is what is understood.
        #[test]
        fn messages_come_back(message in message()) {
            prop_assert_eq!(PageMessage::decode(message.encode()), Some(message));
        }

        /// Nothing that a peer sends does harm.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let framed = [&[TAG, VERSION][..], &bytes].concat();
            if let Some(message) = PageMessage::decode(Bytes::from(framed)) {
                prop_assert_eq!(PageMessage::decode(message.encode()), Some(message));
            }
            prop_assert_eq!(PageMessage::decode(Bytes::from_static(&[TAG, VERSION + 1, 0, 0, 0, 0, 0])), None);
        }
    }
}
