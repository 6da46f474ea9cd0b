//! What a page file promises, bare and checked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::BTreeMap;

use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};
use proptest::prelude::*;

use super::*;
use crate::rot::Rot;
use crate::sums::PageSum;

fn open(dir: &tempfile::TempDir) -> PageFile {
    PageFile::open(&dir.path().join("a.sqlite")).unwrap()
}

/// Reads tell how much there was; a file keeps its bytes over a reopening.
#[test]
fn reads_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = open(&dir);
    assert_eq!(file.len().unwrap(), 0);
    file.write_at(10, b"abc").unwrap();
    file.sync().unwrap();
    drop(file);
    let file = open(&dir);
    let mut buf = [9; 8];
    assert_eq!(file.read_at(8, &mut buf).unwrap(), 5);
    assert_eq!(&buf, b"\0\0abc\x09\x09\x09");
    assert_eq!(file.read_at(1 << 40, &mut buf).unwrap(), 0);
    file.truncate(11).unwrap();
    assert_eq!(file.read_at(10, &mut buf).unwrap(), 1);
    assert!(
        PageFile::open(&dir.path().join("none/a.sqlite"))
            .unwrap_err()
            .is_io()
    );
}

/// A disk with a mark, and the directory in which its databases are.
fn disk() -> (FaultBackend, Arc<CheckpointMark>, Directory) {
    let disk = FaultBackend::new();
    let mark = Arc::new(CheckpointMark::open(&disk).unwrap());
    let databases = databases(&disk);
    (disk, mark, databases)
}

fn databases(disk: &FaultBackend) -> Directory {
    Directory::on(
        Arc::new(disk.directory("databases")),
        Path::new("databases"),
    )
}

fn open_checked(databases: &Directory, mark: &Arc<CheckpointMark>) -> PageFile {
    PageFile::open_checked_in(databases, "a.sqlite", 512, Arc::clone(mark)).unwrap()
}

fn page(byte: u8) -> Vec<u8> {
    vec![byte; 512]
}

/// Writes pages, by number and content, as entry `index`.
fn commit(file: &PageFile, index: u64, pages: &[(u32, u8)], db_size: u32) {
    let images: Vec<_> = pages.iter().map(|(no, byte)| (*no, page(*byte))).collect();
    let images = images.iter().map(|(no, image)| (*no, image.as_slice()));
    write_transaction_at(file, 512, images, db_size, index).unwrap();
}

/// After a failure nothing is promised any more, although the system would: reads go on, all else repeats the
/// first error.
#[test]
fn a_failure_latches() {
    for operation in [Operation::Write, Operation::SetLen, Operation::Sync] {
        let (disk, mark, databases) = disk();
        for file in [
            PageFile::open_in(&databases, "bare").unwrap(),
            open_checked(&databases, &mark),
        ] {
            file.write_at(0, &page(1)).unwrap();
            disk.inject(operation, 0, FaultKind::Fails(io::ErrorKind::Other));
            let attempt = |operation| match operation {
                Operation::Write => file.write_at(512, &page(2)),
                Operation::SetLen => file.truncate(1024),
                _ => file.sync(),
            };
            let first = attempt(operation).unwrap_err();
            for later in [file.sync(), file.write_at(0, b"x"), file.truncate(0)] {
                let later = later.unwrap_err();
                assert_eq!(later.kind(), first.kind());
                assert_eq!(later.to_string(), first.to_string());
            }
            let mut buf = page(9);
            assert_eq!(file.read_at(0, &mut buf).unwrap(), 512);
            assert_eq!(buf, page(1));
        }
    }
}

/// A full disk is waited out: what was written is read, and writing goes on once there is room.
#[test]
fn a_full_disk_does_not_latch() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 1, &[(1, 1)], 1);
    file.sync().unwrap();
    disk.set_capacity(Some(disk.used() + 100));
    let error = file.write_at(512, &page(2)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.read_page(1).unwrap().bytes, page(1));
    // Room for pages, not for their sums.
    disk.set_capacity(Some(disk.used() + 512 * 49));
    let many: Vec<_> = (1..=50).map(|no| (no, 3)).collect();
    commit(&file, 2, &many, 50);
    let error = file.sync().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.read_page(50).unwrap().bytes, page(3));
    disk.set_capacity(None);
    file.sync().unwrap();
    let file = open_checked(&databases, &mark);
    assert_eq!(file.read_page(50).unwrap().sum.unwrap().index, 2);
}

/// A transaction leaves exactly its pages and its length, and can be repeated.
#[test]
fn transactions_leave_pages_and_length() {
    let dir = tempfile::tempdir().unwrap();
    let file = open(&dir);
    let (one, two, three) = (page(1), page(2), page(3));
    for _ in 0..2 {
        let grown = [(2, two.as_slice()), (1, &one), (5, &one), (2, &three)];
        write_transaction(&file, 512, grown.into_iter(), 7).unwrap();
        let mut buf = vec![9; 8 * 512];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 7 * 512);
        for (n, byte) in [1, 3, 0, 0, 1, 0, 0].into_iter().enumerate() {
            assert_eq!(buf[n * 512..(n + 1) * 512], page(byte), "page {}", n + 1);
        }
        // Page 3 was written and then cut off by the same transaction.
        let shrunk = [(3, three.as_slice()), (2, &two)];
        write_transaction(&file, 512, shrunk.into_iter(), 2).unwrap();
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 2 * 512);
        assert_eq!(buf[512..1024], page(2));
    }
}

proptest! {
    /// What some transactions come to is the same, written at once, as they are one after the other: bytes, length, sums
    /// and log indexes. Also over what a crash left of a longer file.
    #[test]
    fn an_outcome_is_its_transactions(
        before in proptest::collection::vec((1..9_u32, any::<u8>()), 0..6),
        transactions in proptest::collection::vec(
            (proptest::collection::vec((1..9_u32, any::<u8>()), 0..4), 1..9_u32),
            1..6,
        ),
    ) {
        let (_, mark, databases) = disk();
        let (single, once) = (open_checked(&databases, &mark), {
            PageFile::open_checked_in(&databases, "b.sqlite", 512, Arc::clone(&mark)).unwrap()
        });
        for file in [&single, &once] {
            commit(file, 1, &before, 9);
        }
        let mut last: BTreeMap<u32, (Vec<u8>, u64)> = BTreeMap::new();
        for ((pages, db_size), index) in transactions.iter().zip(2..) {
            commit(&single, index, pages, *db_size);
            last.extend(pages.iter().map(|(no, byte)| (*no, (page(*byte), index))));
            last.retain(|no, _| no <= db_size);
        }
        let least = transactions.iter().map(|(_, db_size)| *db_size).min().unwrap();
        let db_size = transactions.last().unwrap().1;
        let pages = last.iter().map(|(no, (image, index))| (*no, image.as_slice(), *index));
        write_outcome(&once, 512, pages, least, db_size).unwrap();
        prop_assert_eq!(once.len().unwrap(), single.len().unwrap());
        for page_no in 1..=db_size {
            let (a, b) = (single.read_page(page_no).unwrap(), once.read_page(page_no).unwrap());
            prop_assert_eq!((a.bytes, a.sum), (b.bytes, b.sum));
        }
        prop_assert_eq!(once.known_pages().unwrap(), single.known_pages().unwrap());
    }
}

/// What no committed transaction of SQLite says is refused before it does harm.
#[test]
fn impossible_transactions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = open(&dir);
    let page = [0; 512];
    for (page_size, page_no, db_size, len) in [
        (512, 0, 1, 512),
        (512, 1, 0, 512),
        (512, 1, 1, 511),
        (0, 1, 1, 0),
        (500, 1, 1, 500),
        (1 << 17, 1, 1, 512),
    ] {
        let pages = [(page_no, &page[..len])];
        let error = write_transaction(&file, page_size, pages.into_iter(), db_size).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(file.len().unwrap(), 0);
    file.write_at(0, &page).unwrap(); // and nothing latched
}

/// Sums and indexes outlive a sync and a reopening, and say what wrote each page last.
#[test]
fn pages_are_known_by_sum_and_index() {
    let (_, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1), (2, 2)], 4);
    commit(&file, 5, &[(2, 7)], 4);
    mark.begin(9).unwrap();
    file.write_at(3 * 512, &page(4)).unwrap(); // as an engine's checkpoint does
    file.sync().unwrap();
    mark.finish(9).unwrap();
    let file = open_checked(&databases, &mark);
    let index = |no| file.page_sum(no).unwrap().map(|known| known.index);
    assert_eq!(
        [index(1), index(2), index(3), index(4), index(5)],
        [Some(3), Some(5), None, Some(9), None]
    );
    assert_eq!(file.changed_since(4).unwrap(), [2..=4]);
    assert_eq!(file.changed_since(5).unwrap(), [3..=4]);
    assert_eq!(file.read_page(2).unwrap().bytes, page(7));
    assert!(
        file.read_page(5).unwrap_err().is_refused() && file.read_page(0).unwrap_err().is_refused()
    );
    // What was never written is taken as it is, once, and known as that.
    assert!(file.adopt(3).unwrap() && !file.adopt(3).unwrap() && !file.adopt(5).unwrap());
    assert!(file.page_sum(3).unwrap().unwrap().adopted);
    // What is cut off is forgotten, and does not come back with the length.
    commit(&file, 10, &[(1, 8)], 1);
    file.truncate(4 * 512).unwrap();
    assert_eq!([index(1), index(2), index(4)], [Some(10), None, None]);
}

/// Writes that are not of whole pages, and reads of parts of pages, are checked as well.
#[test]
fn odd_lengths_are_checked() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    file.write_at(0, &[page(1), page(2), page(3)].concat())
        .unwrap();
    file.write_at(500, &[9; 20]).unwrap();
    let mut expected = [page(1), page(2), page(3)].concat();
    expected[500..520].fill(9);
    for (pos, len) in [
        (0, 100),
        (490, 40),
        (100, 1200),
        (1530, 6),
        (1530, 60),
        (1536, 5),
        (0, 5000),
    ] {
        let mut buf = vec![0; len];
        let read = file.read_at(pos, &mut buf).unwrap();
        let end = expected.len().min(pos as usize + len);
        assert_eq!(buf[..read], expected[pos as usize..end], "{len} from {pos}");
    }
    file.write_at(1536, &[5; 100]).unwrap(); // no whole page: nothing can be known of it
    assert_eq!(file.page_sum(4).unwrap(), None);
    let mut buf = [0; 200];
    assert_eq!(file.read_at(1500, &mut buf).unwrap(), 136);
    assert_eq!(file.read_at(u64::MAX - 10, &mut buf).unwrap(), 0);
    assert!(file.write_at(1 << 45, &buf).is_err());
    disk.directory("databases").flip_bit("a.sqlite", 8 * 1000);
    let error = file.read_at(520, &mut [0; 4]).unwrap_err();
    assert_eq!(Rot::of(&error).unwrap().page_no, 2);
}

/// Rot is an error, never data; every such page is remembered; the bytes of before put it right, and no others do, however
/// new they say they are.
#[test]
fn rot_is_found_and_repaired() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1), (2, 2), (3, 3)], 3);
    file.sync().unwrap();
    disk.directory("databases")
        .flip_bit("a.sqlite", 512 * 8 + 77);
    assert_eq!(file.read_page(1).unwrap().bytes, page(1));
    let error = file.read_page(2).unwrap_err();
    assert!(error.is_rot() && error.is_damaged(), "{error}");
    let error = file.read_at(0, &mut [0; 3 * 512]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let [rot] = &file.rotten()[..] else {
        panic!("one page")
    };
    assert_eq!((rot.page_no, rot.index), (2, 3));
    for (bytes, index) in [(page(9), 3), (page(9), 4), (page(2)[1..].to_vec(), 3)] {
        assert!(file.repair(2, &bytes, index).unwrap_err().is_refused());
    }
    file.repair(2, &page(2), 0).unwrap();
    assert_eq!(file.read_page(2).unwrap().sum.unwrap().index, 3);
    assert!(file.rotten().is_empty());
    disk.crash(|_| false);
    let mark = Arc::new(CheckpointMark::open(&disk).unwrap());
    let file = open_checked(&databases, &mark);
    assert_eq!(file.read_page(2).unwrap().bytes, page(2));
    assert!(file.repair(7, &page(9), 4).unwrap_err().is_refused());
}

/// A file that a disk made shorter is rotten where it ends.
#[test]
fn a_lost_end_is_rot() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1), (2, 2)], 2);
    file.sync().unwrap();
    let bare = disk.directory("databases").open("a.sqlite", false).unwrap();
    bare.set_len(600).unwrap();
    let error = file.read_at(512, &mut [0; 512]).unwrap_err();
    assert_eq!(Rot::of(&error).unwrap().found, None);
}

/// While a checkpoint may have been cut short, what differs is not called rot; afterwards it is.
#[test]
fn an_interrupted_checkpoint_proves_nothing() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1), (2, 2)], 2);
    file.sync().unwrap();
    mark.finish(3).unwrap();
    mark.begin(5).unwrap();
    commit(&file, 5, &[(1, 7)], 2);
    drop(file);
    disk.crash(|_| true); // the page, but not its sum, which was in memory
    let mark = Arc::new(CheckpointMark::open(&disk).unwrap());
    let file = open_checked(&databases, &mark);
    assert!(mark.is_interrupted());
    assert_eq!(file.read_page(1).unwrap().bytes, page(7));
    commit(&file, 5, &[(1, 7)], 2);
    file.sync().unwrap();
    disk.directory("databases").flip_bit("a.sqlite", 512 * 8);
    assert!(file.read_page(2).is_ok());
    mark.finish(5).unwrap();
    assert!(!mark.is_interrupted());
    assert!(file.read_page(2).unwrap_err().is_rot());
    assert_eq!(file.read_page(1).unwrap().sum.unwrap().index, 5);
}

/// The sums of a database that is gone are not those of the next one of its name.
#[test]
fn sums_without_a_database_do_not_count() {
    let (disk, mark, databases) = disk();
    commit(&open_checked(&databases, &mark), 3, &[(1, 1)], 1);
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1)], 1);
    file.sync().unwrap();
    drop(file);
    disk.directory("databases").remove("a.sqlite").unwrap();
    let file = open_checked(&databases, &mark);
    assert_eq!(file.page_sum(1).unwrap(), None);
    assert_eq!(file.read_at(0, &mut [0; 512]).unwrap(), 0);
}

/// A program that writes without sums does not leave wrong ones behind; one that only reads leaves them.
#[test]
fn bare_writes_drop_the_sums() {
    let (_, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1)], 1);
    file.sync().unwrap();
    let bare = PageFile::open_in(&databases, "a.sqlite").unwrap();
    bare.read_at(0, &mut [0; 512]).unwrap();
    assert_eq!(
        open_checked(&databases, &mark)
            .page_sum(1)
            .unwrap()
            .unwrap()
            .index,
        3
    );
    bare.write_at(0, &page(2)).unwrap();
    let file = open_checked(&databases, &mark);
    assert_eq!(file.page_sum(1).unwrap(), None);
    assert_eq!(file.read_page(1).unwrap().bytes, page(2));
}

/// Sums of a newer format, or of other pages, are not overwritten.
#[test]
fn foreign_sums_are_refused() {
    let (disk, mark, databases) = disk();
    drop(open_checked(&databases, &mark));
    let other = PageFile::open_checked_in(&databases, "a.sqlite", 4096, Arc::clone(&mark));
    assert!(other.unwrap_err().is_damaged());
    let other = PageFile::open_checked_in(&databases, "a.sqlite", 1000, Arc::clone(&mark));
    assert!(other.unwrap_err().is_refused());
    let mut newer = b"FERRSUMS\x02\0\0\0".to_vec();
    newer.extend_from_slice(&crc32fast::hash(&newer).to_le_bytes());
    let sums = disk
        .directory("databases")
        .open("a.sqlite-sums", false)
        .unwrap();
    sums.write_at(0, &newer).unwrap();
    let newer = PageFile::open_checked_in(&databases, "a.sqlite", 512, Arc::clone(&mark));
    assert!(newer.unwrap_err().is_newer_format());
}

/// Any one bit of the database or of its sums: what is read is what was written, or it is an error.
#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let (disk, mark, databases) = disk();
    let file = open_checked(&databases, &mark);
    commit(&file, 3, &[(1, 1), (2, 2), (3, 3)], 3);
    file.sync().unwrap();
    drop(file);
    for (name, bytes) in [("a.sqlite", 3 * 512), ("a.sqlite-sums", 2 * 512)] {
        for bit in 0..bytes * 8_u64 {
            let disk = disk.fork();
            disk.directory("databases").flip_bit(name, bit);
            let file = open_checked(&self::databases(&disk), &mark);
            let rotten = (1..=3)
                .filter(|no| match file.read_page(*no) {
                    Ok(found) => {
                        assert_eq!(found.bytes, page(*no as u8), "bit {bit} of {name}");
                        false
                    }
                    Err(error) => {
                        assert!(error.is_rot(), "{error}");
                        true
                    }
                })
                .count();
            let in_database = name == "a.sqlite";
            assert_eq!(rotten, usize::from(in_database), "bit {bit} of {name}");
            // Rot of the sums takes nothing away, and is seen as what it is.
            let sector = [bit / 8 / 512 * 512];
            let damaged: &[u64] = if in_database { &[] } else { &sector };
            assert_eq!(file.damaged_sums(), damaged, "bit {bit} of {name}");
        }
    }
}

/// A reader beside a writer sees one of the contents that the page had, never an error: the sum and the page are not
/// changed at one instant.
#[test]
fn readers_beside_a_writer_see_no_rot() {
    let dir = tempfile::tempdir().unwrap();
    let mark = Arc::new(CheckpointMark::open(&FaultBackend::new()).unwrap());
    let path = dir.path().join("a.sqlite");
    let file = PageFile::open_checked(&path, 4096, mark).unwrap();
    file.write_at(0, &[0; 4096]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u32;
            while !done.load(std::sync::atomic::Ordering::SeqCst) || reads == 0 {
                let page = file.read_page(1).unwrap().bytes;
                assert!(page.iter().all(|byte| *byte == page[0]));
                reads += 1;
            }
        });
        for round in 0..2000_u32 {
            file.write_at(0, &[round as u8; 4096]).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        reader.join().unwrap();
    });
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u32, u8)>, u32),
    Write(u64, Vec<u8>),
    Truncate(u64),
    Sync,
    Reopen,
    Adopt(u32),
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let page_no = 1..100_u32;
    prop_oneof![
        4 => (prop::collection::vec((page_no.clone(), any::<u8>()), 0..5), page_no.clone())
            .prop_map(|(pages, size)| Step::Commit(pages, size)),
        2 => (0..40_000_u64, prop::collection::vec(any::<u8>(), 0..1500))
            .prop_map(|(pos, bytes)| Step::Write(pos, bytes)),
        1 => (0..60_000_u64).prop_map(Step::Truncate),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => page_no.prop_map(Step::Adopt),
        4 => (0..60_000_u64, 0..3000_usize).prop_map(|(pos, len)| Step::Read(pos, len)),
    ]
}

proptest! {
    /// A checked file holds what a vector of bytes would, and knows of every page its sum and the index that wrote it, or
    /// nothing; never something wrong.
    #[test]
    fn equals_its_twin(steps in prop::collection::vec(step(), 0..60)) {
        let (_, mark, databases) = disk();
        let mut file = open_checked(&databases, &mark);
        let (mut bytes, mut indexes) = (Vec::<u8>::new(), BTreeMap::<u32, u64>::new());
        for (index, step) in (1_u64..).zip(steps) {
            match step {
                Step::Commit(pages, size) => {
                    commit(&file, index, &pages, size);
                    bytes.resize(size as usize * 512, 0);
                    for (no, byte) in pages.into_iter().filter(|(no, _)| *no <= size) {
                        bytes[(no as usize - 1) * 512..no as usize * 512].fill(byte);
                        indexes.insert(no, index);
                    }
                }
                Step::Write(pos, data) => {
                    file.write_at(pos, &data).unwrap();
                    let end = pos as usize + data.len();
                    if !data.is_empty() {
                        bytes.resize(bytes.len().max(end), 0);
                        bytes[pos as usize..end].copy_from_slice(&data);
                        for no in pos / 512 + 1..=(end as u64 - 1) / 512 + 1 {
                            indexes.insert(no as u32, mark.target());
                        }
                    }
                }
                Step::Truncate(len) => {
                    file.truncate(len).unwrap();
                    bytes.resize(len as usize, 0);
                }
                Step::Sync => file.sync().unwrap(),
                Step::Reopen => {
                    file.sync().unwrap();
                    file = open_checked(&databases, &mark);
                }
                Step::Adopt(no) => {
                    if file.adopt(no).unwrap() {
                        prop_assert!(indexes.insert(no, mark.target()).is_none());
                    }
                }
                Step::Read(pos, len) => {
                    let mut buf = vec![0; len];
                    let read = file.read_at(pos, &mut buf).unwrap();
                    let begin = bytes.len().min(pos as usize);
                    let end = bytes.len().min(pos as usize + len);
                    prop_assert_eq!(&buf[..read], &bytes[begin..end]);
                }
            }
            indexes.retain(|no, _| *no as usize * 512 <= bytes.len());
            prop_assert_eq!(file.len().unwrap(), bytes.len() as u64);
            for no in 1..=file.pages().unwrap() {
                let found = file.read_page(no).unwrap();
                let image = &bytes[(no as usize - 1) * 512..no as usize * 512];
                prop_assert_eq!(&found.bytes, image);
                prop_assert_eq!(found.sum.map(|PageSum { index, .. }| index), indexes.get(&no).copied());
            }
        }
    }
}
