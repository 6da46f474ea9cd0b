//! The scrubber: every page is looked at in every round, however small the steps, while databases come, go and grow.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::{CheckpointMark, Directory, PageFile, Scrubber, write_transaction_at};
use ferrolite_wal::backend::{Backend, FaultBackend, FaultKind, Operation};

type Files = Vec<(String, Arc<PageFile>)>;

fn mark(disk: &FaultBackend) -> Arc<CheckpointMark> {
    Arc::new(CheckpointMark::open(disk).unwrap())
}

fn open(disk: &FaultBackend, name: &str) -> Arc<PageFile> {
    let directory = Directory::on(
        Arc::new(disk.directory("databases")),
        Path::new("databases"),
    );
    Arc::new(PageFile::open_checked_in(&directory, name, 512, mark(disk)).unwrap())
}

fn fill(file: &PageFile, pages: u32) {
    let images: Vec<_> = (1..=pages)
        .map(|no| (no, [no.to_le_bytes()[0]; 512]))
        .collect();
    let images = images.iter().map(|(no, image)| (*no, &image[..]));
    write_transaction_at(file, 512, images, pages, 1).unwrap();
    file.sync().unwrap();
}

/// A disk with three databases of so many pages, the names not in order.
fn node(pages: [u32; 3]) -> (FaultBackend, Files) {
    let disk = FaultBackend::new();
    let files = ["m", "a", "z"].into_iter().zip(pages);
    let files = files.map(|(name, pages)| {
        let file = open(&disk, name);
        if pages > 0 {
            fill(&file, pages);
        }
        (name.to_owned(), file)
    });
    let files = files.collect();
    (disk, files)
}

/// Calls until a round has ended; rot by database and page, and the number of pages.
fn round(scrubber: &mut Scrubber, files: &Files, budget: u32) -> (BTreeSet<(String, u32)>, u32) {
    let (mut rot, mut pages) = (BTreeSet::new(), 0);
    let before = scrubber.rounds();
    loop {
        let found = scrubber.next(files, budget).unwrap();
        assert!(found.pages <= budget);
        rot.extend(found.rot.into_iter().map(|(name, rot)| (name, rot.page_no)));
        pages += found.pages;
        if found.ends_round {
            assert_eq!(scrubber.rounds(), before + 1);
            return (rot, pages);
        }
        assert_eq!(found.pages, budget);
    }
}

/// All rot is found in one round and again in the next, with steps of any size; a page put back is good.
#[test]
fn every_page_is_looked_at_in_every_round() {
    let (disk, files) = node([3, 0, 50]);
    let mut scrubber = Scrubber::new();
    assert_eq!(round(&mut scrubber, &files, 7), (BTreeSet::new(), 53));
    for (name, page_no) in [("m", 1_u32), ("m", 3), ("z", 1), ("z", 41), ("z", 50)] {
        let bit = (u64::from(page_no) - 1) * 512 * 8 + 123;
        disk.directory("databases").flip_bit(name, bit);
    }
    let all: BTreeSet<_> = [("m", 1), ("m", 3), ("z", 1), ("z", 41), ("z", 50)]
        .map(|(name, page_no)| (name.to_owned(), page_no))
        .into();
    for budget in [1, 2, 52, 53, 54, 1000] {
        assert_eq!(
            round(&mut scrubber, &files, budget),
            (all.clone(), 53),
            "{budget}"
        );
    }
    files[2].1.repair(41, &[41; 512], 1).unwrap();
    assert_eq!(round(&mut scrubber, &files, 10).0.len(), 4);
}

/// Databases that appear, vanish, grow and shrink under way neither stop it nor hide the others.
#[test]
fn databases_may_change_under_way() {
    let (disk, mut files) = node([5, 5, 5]);
    let mut scrubber = Scrubber::new();
    assert_eq!(scrubber.next(&files, 7).unwrap().pages, 7); // within "m"
    files.retain(|(name, _)| name != "m");
    let added = open(&disk, "n");
    fill(&added, 4);
    files.push(("n".to_owned(), added));
    fill(&files[1].1, 8); // "z"
    disk.directory("databases").flip_bit("z", 7 * 512 * 8);
    let (rot, pages) = round(&mut scrubber, &files, 3);
    assert_eq!((rot, pages), (BTreeSet::from([("z".to_owned(), 8)]), 12));
    assert_eq!(scrubber.next(&files, 3).unwrap().pages, 3);
    fill(&files[0].1, 2); // "a", of which three pages are done
    assert_eq!(round(&mut scrubber, &files, 100).1, 12);
    assert!(scrubber.next(&Vec::new(), 5).unwrap().ends_round);
}

/// Pages that an older program wrote are adopted once, and watched from then on.
#[test]
fn unknown_pages_are_adopted() {
    let disk = FaultBackend::new();
    let bare = disk.directory("databases").open("old", true).unwrap();
    bare.write_at(0, &[5; 512 * 45]).unwrap();
    bare.sync().unwrap();
    disk.directory("databases").sync().unwrap();
    let files = vec![("old".to_owned(), open(&disk, "old"))];
    let mut scrubber = Scrubber::new();
    let found = scrubber.next(&files, 100).unwrap();
    assert_eq!((found.pages, found.adopted, found.rot.len()), (45, 45, 0));
    assert_eq!(scrubber.next(&files, 100).unwrap().adopted, 0);
    files[0].1.sync().unwrap();
    disk.directory("databases").flip_bit("old", 8 * 600);
    disk.crash(|_| false);
    let files = vec![("old".to_owned(), open(&disk, "old"))];
    let (rot, _) = round(&mut scrubber, &files, 8);
    assert_eq!(rot, BTreeSet::from([("old".to_owned(), 2)]));
    assert!(files[0].1.page_sum(1).unwrap().unwrap().adopted);
}

/// A page that the disk does not give back, and one behind the end of a file that lost it, are as good as rotten.
#[test]
fn unreadable_pages_are_rot() {
    let (disk, files) = node([3, 3, 3]);
    let mut scrubber = Scrubber::new();
    disk.inject(
        Operation::Read,
        1,
        FaultKind::Fails(std::io::ErrorKind::Other),
    );
    let bare = disk.directory("databases").open("z", false).unwrap();
    bare.set_len(512).unwrap();
    let (rot, _) = round(&mut scrubber, &files, 100);
    let unreadable = rot.iter().filter(|(name, _)| name != "z").count();
    assert!(unreadable <= 1, "{rot:?}");
    assert_eq!(
        rot.iter().filter(|(name, _)| name == "z").count(),
        2,
        "{rot:?}"
    );
}
