//! Database files with sums beside them that say anything.

use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::verify::{self, Files};
use ferrolite_pager::{CheckpointMark, Directory, PageFile, Scrubber, write_transaction_at};
use ferrolite_wal::backend::{Backend, FaultBackend};

use crate::tape::Tape;

const PAGE: u32 = 512;
const PAGE_BYTES: usize = 512;
/// Bytes of a block of the sums, with the checksum at its end.
const BLOCK_BYTES: usize = 512;
const NAME: &str = "a.sqlite";
const SUMS: &str = "a.sqlite-sums";

/// A database is written, then pages and sums are damaged and forged as the input says.
///
/// Whatever stands in the sums, nothing panics, and what is read is what stands in the file, or an error. As long as only
/// the database is damaged, or only the sums, nothing is read that was not written. What is damaged is reported by whoever looks,
/// awake or asleep, and the file can be written to as before.
pub fn pager_sums(data: &[u8]) {
    let mut tape = Tape::new(data);
    let disk = FaultBackend::new();
    let mark = Arc::new(CheckpointMark::open(&disk).expect("an empty disk"));
    let databases = disk.directory("databases");
    let directory = Directory::on(Arc::new(databases.clone()), Path::new("databases"));
    let open = || PageFile::open_checked_in(&directory, NAME, PAGE, Arc::clone(&mark));

    let pages = 1 + u32::from(tape.byte() % 90);
    let file = open().expect("an empty disk");
    let images: Vec<_> = (1..=pages).map(|no| (no, image(no, tape.byte()))).collect();
    let index = u64::from(tape.long());
    mark.begin(index).expect("the disk works");
    let written = images.iter().map(|(no, image)| (*no, image.as_slice()));
    write_transaction_at(&file, PAGE, written, pages, index).expect("the disk works");
    file.sync().expect("the disk works");
    mark.finish(index).expect("the disk works");
    drop(file);

    let (mut pages_changed, mut sums_changed) = (false, false);
    for _ in 0..tape.byte() % 6 {
        let name = if tape.byte().is_multiple_of(2) {
            NAME
        } else {
            SUMS
        };
        let changed = change(&databases, name, &mut tape);
        *(if name == NAME {
            &mut pages_changed
        } else {
            &mut sums_changed
        }) |= changed;
    }
    let files = Files::new(
        Directory::on(Arc::new(disk.clone()), Path::new("root")),
        directory.clone(),
        directory.subdirectory("incoming"),
    );
    let mut seen = 0;
    let verified = verify::verify_in(&files, &mut |damage| {
        assert!(!damage.to_string().is_empty());
        seen += 1;
    });
    let inspected = verify::inspect_in(&files);
    if let Ok(verified) = &verified {
        assert_eq!(verified.damaged, seen);
        assert!(verified.unverified_pages <= verified.pages);
    }
    let file = match open() {
        Ok(file) => Arc::new(file),
        Err(error) => {
            assert!(error.is_newer_format() || error.is_damaged(), "{error}");
            assert!(sums_changed && inspected.is_err() || error.is_damaged());
            return;
        }
    };
    let bare = databases.open(NAME, false).expect("it was made");
    for no in 1..=file.pages().expect("the disk works") {
        match file.read_page(no) {
            Ok(page) => {
                let mut there = [0; PAGE_BYTES];
                let position = u64::from(no - 1) * u64::from(PAGE);
                bare.read_at(position, &mut there).expect("the disk works");
                assert_eq!(page.bytes, there);
                if !sums_changed {
                    let written = images.get(no as usize - 1).map(|(_, image)| image);
                    assert!(
                        written.is_none_or(|image| *image == page.bytes),
                        "rot was read"
                    );
                }
            }
            Err(error) => assert!(error.is_rot(), "{error}"),
        }
    }
    let list = [("a".to_owned(), Arc::clone(&file))];
    let found = Scrubber::new().next(&list, 1000).expect("the disk works");
    assert!(pages_changed || sums_changed || found.rot.is_empty());
    assert!(pages_changed || sums_changed || seen == 0 || verified.is_ok());
    for (_, rot) in found.rot {
        // The bytes that were written put it right, unless the sum itself was forged.
        let image = images.get(rot.page_no as usize - 1).map(|(_, image)| image);
        let Some(image) = image else { continue };
        let repaired = file.repair(rot.page_no, image, index);
        assert!(repaired.is_ok() || sums_changed);
    }
    let again = images.iter().map(|(no, image)| (*no, image.as_slice()));
    write_transaction_at(&file, PAGE, again, pages, index + 1).expect("the disk works");
    file.sync().expect("the disk works");
    drop((file, list));
    let file = open().expect("it was just written");
    for (no, image) in &images {
        let page = file.read_page(*no).expect("it was just written");
        assert_eq!(
            (&page.bytes, page.sum.map(|sum| sum.index)),
            (image, Some(index + 1))
        );
    }
}

fn image(no: u32, byte: u8) -> Vec<u8> {
    let mut image = vec![byte; PAGE_BYTES];
    image[..4].copy_from_slice(&no.to_le_bytes());
    image
}

/// Changes a file: a bit, any bytes, its length, or a block that is forged with the checksum that it should have. Says
/// whether it did.
fn change(databases: &FaultBackend, name: &str, tape: &mut Tape<'_>) -> bool {
    let file = databases.open(name, false).expect("it was made");
    let len = usize::try_from(file.len().expect("the disk works")).expect("it is small");
    let at = tape.place(len);
    match tape.byte() % 4 {
        0 => databases.flip_bit(name, at as u64 * 8 + u64::from(tape.byte() % 8)),
        1 => {
            let bytes = tape.piece(64);
            file.write_at(at as u64, bytes).expect("the disk works");
        }
        2 => file
            .set_len(at as u64 + u64::from(tape.byte()))
            .expect("the disk works"),
        _ => {
            let number = at / BLOCK_BYTES;
            let mut block = [0; BLOCK_BYTES];
            let position = (number * BLOCK_BYTES) as u64;
            file.read_at(position, &mut block).expect("the disk works");
            let piece = tape.piece(64);
            let to = tape.place(BLOCK_BYTES - 64);
            block[to..to + piece.len()].copy_from_slice(piece);
            let mut hasher = crc32fast::Hasher::new();
            let number = u32::try_from(number).expect("it is small");
            for field in [1, PAGE, number.wrapping_sub(1)] {
                hasher.update(&field.to_le_bytes());
            }
            hasher.update(&block[..508]);
            block[508..].copy_from_slice(&hasher.finalize().to_le_bytes());
            file.write_at(position, &block).expect("the disk works");
        }
    }
    true
}
