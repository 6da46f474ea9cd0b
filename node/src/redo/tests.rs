//! Redo against a model: whatever is in the log, the files hold what committed, after any crash, on any node, and out of no
//! more of the log than has to be kept.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrolite_consensus::Term;
use ferrolite_wal::Record;
use ferrolite_wal::frames::{MAX_DEPTH, PartWriter};
use ferrolite_wal::view::StagedPage;
use proptest::prelude::*;

use super::*;
use crate::anchors::Reach;
use crate::checkpoint::OpenTransactions;
use crate::images::Images;
use crate::options::Options;
use crate::pages::SmallTransaction;

const PAGE: u32 = 4096;
const NAMES: [&str; 2] = ["a", "b"];
const PAGES: u32 = 9;

/// A change of a page: its number, and what is written over it where.
type Edit = (u32, usize, usize, u8);

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A small transaction, as a leader proposes it.
    Small {
        database: usize,
        edits: Vec<Edit>,
        db_size: u32,
    },
    /// A part of the large transaction that is open for this database, or of a new one; perhaps its last.
    Part {
        database: usize,
        edits: Vec<Edit>,
        db_size: Option<u32>,
    },
    /// The open transaction is given up, with a word or (its leader being gone) without.
    Abandon { database: usize, said: bool },
    /// Another leader.
    NewLeader,
    /// The files are written up to here.
    Redo,
    /// The files are written, some of the way, and the node crashes and starts again.
    Crash { percent: u64 },
    /// The log lets go of what is done.
    Purge,
    /// The files are copied, for a node whose log begins where it has to.
    Copy,
    /// That node has caught up.
    CaughtUp,
}

fn step() -> impl Strategy<Value = Step> {
    let edit = (1..=PAGES, 0..4000_usize, 1..90_usize, any::<u8>());
    let edits = proptest::collection::vec(edit, 1..4);
    let large = edits.clone();
    prop_oneof![
        24 => (0..2_usize, edits, 4..=PAGES)
            .prop_map(|(database, edits, db_size)| Step::Small { database, edits, db_size }),
        6 => (0..2_usize, large, proptest::option::of(4..=PAGES))
            .prop_map(|(database, edits, db_size)| Step::Part { database, edits, db_size }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(database, said)| Step::Abandon { database, said }),
        1 => Just(Step::NewLeader),
        2 => Just(Step::Redo),
        1 => (0..=100_u64).prop_map(|percent| Step::Crash { percent }),
        1 => Just(Step::Purge),
        1 => Just(Step::Copy),
        1 => Just(Step::CaughtUp),
    ]
}

/// A database as it has to be.
#[derive(Debug, Clone, Default)]
struct Expected {
    db_size: u32,
    pages: BTreeMap<u32, Bytes>,
}

impl Expected {
    fn page(&self, page_no: u32) -> Bytes {
        let zeros = || Bytes::from(vec![0; PAGE as usize]);
        self.pages.get(&page_no).cloned().unwrap_or_else(zeros)
    }

    fn commit(&mut self, pages: impl IntoIterator<Item = (u32, Bytes)>, db_size: u32) {
        self.pages.extend(pages);
        self.pages.retain(|page_no, _| *page_no <= db_size);
        self.db_size = db_size;
    }
}

/// A large transaction in the making: its id, the number of parts so far, and its pages.
type Making = (u64, u32, Vec<(u32, Bytes)>);

struct Model {
    directory: tempfile::TempDir,
    store: Option<Store>,
    index: Index,
    term: Term,
    reach: Reach,
    images: Images,
    next_id: u64,
    making: [Option<Making>; 2],
    databases: [Expected; 2],
    open: OpenTransactions,
    /// First entry of the open transaction of each database.
    firsts: [Option<Index>; 2],
    /// Where the files were copied to, the index that the copy claims, and up to where its pages may be newer.
    copy: Option<(tempfile::TempDir, Index, Index)>,
}

impl Model {
    fn new(reach: Reach) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(open(directory.path()));
        Self {
            directory,
            store,
            index: 0,
            term: 1,
            reach,
            images: Images::default(),
            next_id: 0,
            making: [None, None],
            databases: Default::default(),
            open: OpenTransactions::default(),
            firsts: [None, None],
            copy: None,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn append(&mut self, kind: EntryKind, payload: Bytes) {
        self.index += 1;
        match kind {
            EntryKind::Noop => self.open.new_leader(),
            _ => self.open.follow(self.index, &payload).unwrap(),
        }
        let record = Record {
            index: self.index,
            term: self.term,
            kind: kind.to_byte(),
            payload,
        };
        self.store().log.append(&[record]).unwrap();
    }

    fn next_id(&mut self) -> TransactionId {
        self.next_id += 1;
        TransactionId(7, self.next_id)
    }

    /// The pages that edits make out of what a database is now.
    fn edited(&self, database: usize, edits: &[Edit]) -> BTreeMap<u32, Bytes> {
        let mut pages: BTreeMap<u32, Bytes> = BTreeMap::new();
        for (page_no, at, len, fill) in edits {
            let last = pages.get(page_no).cloned();
            let last = last.unwrap_or_else(|| self.databases[database].page(*page_no));
            let mut image = last.to_vec();
            image[*at..*at + *len].fill(*fill);
            pages.insert(*page_no, Bytes::from(image));
        }
        pages
    }

    fn small(&mut self, database: usize, edits: &[Edit], db_size: u32) {
        let pages = self.edited(database, edits);
        self.small_of(database, pages, db_size);
    }

    fn small_of(&mut self, database: usize, pages: BTreeMap<u32, Bytes>, db_size: u32) {
        let staged = pages.iter().map(|(page_no, image)| StagedPage {
            frame: 1,
            page_no: *page_no,
            image: image.clone(),
        });
        let small = SmallTransaction {
            id: self.next_id(),
            page_size: PAGE,
            pages: staged.collect(),
        };
        let (name, index) = (NAMES[database], self.index + 1);
        let reach = self.reach.back_to(self.term, index);
        let encoded = small.encode(name, db_size, index, reach, &self.images);
        let encoded = encoded.unwrap();
        let payload = encoded.encoded.payloads[0].clone();
        self.reach.proposed(self.term, index, payload.len());
        for (page_no, logged) in encoded.images {
            self.images.put(name, page_no, logged);
        }
        self.append(EntryKind::Normal, payload);
        // Whatever large one was open has not happened.
        self.making[database] = None;
        self.firsts[database] = None;
        self.databases[database].commit(pages, db_size);
    }

    fn part(&mut self, database: usize, pages: BTreeMap<u32, Bytes>, db_size: Option<u32>) {
        let mut making = match self.making[database].take() {
            Some(making) => making,
            None => (self.next_id().1, 0, Vec::new()),
        };
        let id = TransactionId(7, making.0);
        let mut writer = PartWriter::continued(NAMES[database], PAGE, id, making.1).unwrap();
        for (page_no, image) in &pages {
            writer.push(*page_no, image).unwrap();
        }
        let payload = match db_size {
            Some(db_size) => writer.finish(db_size),
            None => writer.cut(),
        };
        self.append(EntryKind::Normal, payload);
        making.1 += 1;
        making.2.extend(pages);
        match db_size {
            Some(db_size) => {
                self.databases[database].commit(making.2, db_size);
                self.firsts[database] = None;
            }
            None => {
                // A new id takes the place of one that was given up without a word.
                if making.1 == 1 {
                    self.firsts[database] = Some(self.index);
                }
                self.making[database] = Some(making);
            }
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Small {
                database,
                edits,
                db_size,
            } => self.small(*database, edits, *db_size),
            Step::Part {
                database,
                edits,
                db_size,
            } => {
                let pages = self.edited(*database, edits);
                self.part(*database, pages, *db_size);
            }
            Step::Abandon { database, said } => {
                let Some((id, _, _)) = self.making[*database].take() else {
                    return;
                };
                if *said {
                    let id = TransactionId(7, id);
                    let writer = PartWriter::new(NAMES[*database], PAGE, id).unwrap();
                    self.append(EntryKind::Normal, writer.abandon());
                    self.firsts[*database] = None;
                }
            }
            Step::NewLeader => {
                self.term += 1;
                self.append(EntryKind::Noop, Bytes::new());
                self.images.clear();
                self.making = [None, None];
                self.firsts = [None, None];
            }
            Step::Redo => {
                self.store().redo(self.index).unwrap();
                self.check(self.store(), self.index);
            }
            Step::Crash { percent } => {
                let store = self.store.take().unwrap();
                let done = store.mark.done();
                store.mark.begin(self.index).unwrap();
                let some = done + (self.index - done) * percent / 100;
                store.write_pages(done, some, |_| true).unwrap();
                drop(store);
                let store = open(self.directory.path());
                self.check(&store, self.index);
                self.store = Some(store);
            }
            Step::Purge => {
                let store = self.store();
                let keep = store.anchor(store.mark.done()).unwrap().unwrap();
                store.log.drop_prefix(keep).unwrap();
            }
            Step::Copy => self.copy(),
            Step::CaughtUp => self.catch_up(),
        }
        assert_eq!(self.open.first(), self.firsts.into_iter().flatten().min());
    }

    /// The files as they are, which may be at any state of a checkpoint.
    fn copy(&mut self) {
        let store = self.store();
        let anchor = store.anchor(store.mark.done()).unwrap().unwrap();
        let to = tempfile::tempdir().unwrap();
        for database in NAMES {
            let file = ferrolite_pager::file_name(database).unwrap();
            let (from, to) = (store.databases.path().join(&file), to.path().join(&file));
            if from.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        self.copy = Some((to, anchor - 1, store.mark.target()));
    }

    /// A node that has nothing but the copy, and the log from where the copy says.
    fn catch_up(&mut self) {
        let Some((copy, claimed, newest)) = self.copy.take() else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        for item in std::fs::read_dir(copy.path()).unwrap() {
            let from: PathBuf = item.unwrap().path();
            std::fs::copy(
                &from,
                store.databases.path().join(from.file_name().unwrap()),
            )
            .unwrap();
        }
        store.mark.install(claimed, newest).unwrap();
        store.log.reset(claimed, 1).unwrap();
        let entries = self.store().log.read(claimed + 1, u64::MAX, usize::MAX);
        store.log.append(&entries.unwrap()).unwrap();
        store.redo(self.index).unwrap();
        self.check(&store, self.index);
        // And the same once more, when all of it is there already.
        store.mark.install(claimed, self.index).unwrap();
        store.redo(self.index).unwrap();
        self.check(&store, self.index);
    }

    /// The files are those of the transactions that have committed.
    fn check(&self, store: &Store, to: Index) {
        let open = self.firsts.into_iter().flatten().min();
        assert_eq!(store.mark.done(), open.map_or(to, |open| open - 1));
        for (name, expected) in NAMES.into_iter().zip(&self.databases) {
            let file = store.file(name).unwrap();
            assert_eq!(file.pages().unwrap(), expected.db_size, "{name}");
            for page_no in 1..=expected.db_size {
                let mut page = vec![0x33; PAGE as usize];
                let at = u64::from(page_no - 1) * u64::from(PAGE);
                assert_eq!(file.read_at(at, &mut page).unwrap(), page.len());
                assert!(page == expected.page(page_no), "page {page_no} of {name}");
            }
        }
    }

    /// No difference reaches behind an anchor, none is too deep, and each is found by itself as well. Returns how many
    /// there are.
    fn check_log(&self) -> usize {
        let store = self.store();
        let (mut anchor, mut differences) = (0, 0);
        let first = store.log.first_index();
        for record in store.log.read(first, u64::MAX, usize::MAX).unwrap() {
            if record.kind != EntryKind::Normal.to_byte() {
                anchor = record.index;
                continue;
            }
            let part = Part::decode(record.payload).unwrap();
            if !part.leans() {
                anchor = record.index;
            }
            for frame in part.frames() {
                if let Some(difference) = frame.difference(PAGE).unwrap()
                    && anchor > 0
                {
                    differences += 1;
                    assert!(difference.root(record.index).unwrap() >= anchor);
                    assert!(difference.depth() <= MAX_DEPTH);
                    frames::resolve(&store.log, record.index, frame, PAGE).unwrap();
                }
            }
        }
        differences
    }
}

fn open(directory: &Path) -> Store {
    // Small segments, so that some can be dropped.
    let options = Options {
        log_bytes: 1,
        ..Options::default()
    };
    Store::open(directory, 1, &options).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However often and wherever the files are brought up to date, whatever crashes in between, and on a node that was
    /// sent a copy of them as well, they hold exactly the transactions that committed; and the mark never passes the
    /// beginning of one that is still open.
    #[test]
    fn redo_writes_what_committed(
        steps in proptest::collection::vec(step(), 1..70),
        max_entries in 1..40_u64,
        max_bytes in 100..20_000_u64,
    ) {
        let mut model = Model::new(Reach::within(max_entries, max_bytes));
        for step in &steps {
            model.run(step);
        }
        model.run(&Step::Redo);
        model.run(&Step::CaughtUp);
        model.run(&Step::Copy);
        model.run(&Step::CaughtUp);
        model.check_log();
    }
}

/// A page that is changed a little by very many transactions: chains end, the log stays small, and any node can begin at
/// an anchor.
#[test]
fn one_page_again_and_again() {
    let mut model = Model::new(Reach::within(150, u64::MAX));
    model.run(&Step::NewLeader);
    for nth in 0..500_u32 {
        let at = (nth * 7 % 4000) as usize;
        let edits = [(3, at, 20, nth.to_le_bytes()[0]), (4, at / 2, 2, 7)];
        model.small(0, &edits, 5);
        if nth % 90 == 17 {
            model.run(&Step::Redo);
        }
        if nth % 110 == 33 {
            model.run(&Step::Copy);
        }
        if nth % 110 == 80 {
            model.run(&Step::CaughtUp);
        }
        if nth % 100 == 50 {
            model.run(&Step::Crash { percent: 50 });
        }
    }
    // Four times, and the first, an anchor; and every 65th image of a page is whole.
    assert!(model.check_log() > 2 * 500 - 4 * 2 - 2 - 2 * 500 / 65 - 10);
    let bytes = model.store().log.bytes_from(1);
    assert!(bytes < 500 * 250, "{bytes} bytes of log");
}

/// More pages than are held in memory: what was written out is no base in memory any more, and is found in the log.
#[test]
fn more_pages_than_fit_into_memory() {
    let mut model = Model::new(Reach::within(1 << 40, 1 << 40));
    let pages = |first: u32, version: u8| {
        let image = |page_no: u32| {
            let mut page: Vec<u8> = (0..PAGE).map(|at| (at * page_no % 251) as u8).collect();
            page[100..150].fill(version);
            Bytes::from(page)
        };
        (first..first + 3)
            .map(|page_no| (page_no, image(page_no)))
            .collect()
    };
    for first in (1..=58).step_by(3) {
        model.small_of(0, pages(first, 1), 60);
        if first > 12 {
            model.small_of(0, pages(first - 12, 2), 60);
        }
    }
    assert_eq!(model.check_log(), 48);
    model.run(&Step::Redo);
    // A crash in the middle, with everything still to be written.
    model.store().mark.install(0, model.index).unwrap();
    model.run(&Step::Crash { percent: 70 });
    // One transaction of many parts.
    for first in (1..=58).step_by(3) {
        model.part(0, pages(first, 3), (first == 58).then_some(60));
    }
    model.run(&Step::Redo);
}

/// A log that lacks what a difference stands on says so, and makes nothing of it.
#[test]
fn without_its_base_a_difference_is_an_error() {
    let mut model = Model::new(Reach::within(100, 1 << 20));
    model.run(&Step::NewLeader);
    for nth in 0..10 {
        model.small(0, &[(2, nth * 10, 5, 9)], 3);
    }
    let entries = model.store().log.read(6, u64::MAX, usize::MAX).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.mark.install(5, 5).unwrap();
    store.log.reset(5, 1).unwrap();
    store.log.append(&entries).unwrap();
    let error = store.redo(model.index).unwrap_err();
    assert!(
        error.to_string().contains("no longer in the log"),
        "{error}"
    );
    assert_eq!(store.file("a").unwrap().len().unwrap(), 0);
}

/// A node whose log was damaged below what its checkpoint was at starts all the same: the entries will come again.
#[test]
fn a_damaged_base_does_not_keep_a_node_from_starting() {
    let mut model = Model::new(Reach::within(100, 1 << 20));
    model.run(&Step::NewLeader);
    for nth in 0..10 {
        model.small(0, &[(2, nth * 10, 5, 9)], 3);
    }
    let store = model.store.take().unwrap();
    store.redo(6).unwrap();
    store.mark.begin(model.index).unwrap();
    store.log.sync().unwrap();
    drop(store);
    let log = model.directory.path().join("log");
    let segment = std::fs::read_dir(log)
        .unwrap()
        .map(|item| item.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // The second record, in which the first image of the page is: behind the headers of the segment and of the no-op.
    bytes[4096 + 48 + 48 + 20] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let store = open(model.directory.path());
    assert_eq!(store.log.damaged().len(), 1);
    assert!(store.mark.is_interrupted());
    assert_eq!(store.mark.done(), 6);
}
