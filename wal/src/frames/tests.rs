//! The codec against itself, and against bytes of any kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::difference::{get_varint, put_varint};
use super::*;
use crate::backend::MemBackend;
use crate::view::FramePlace;
use crate::{Error, Log, LogOptions, Record};

const PAGE: usize = 512;

fn image(seed: u64, dull: bool) -> Vec<u8> {
    let mut state = seed | 1;
    (0..PAGE)
        .map(|at| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            if dull && at > 40 {
                0
            } else {
                (state >> 33) as u8
            }
        })
        .collect()
}

fn encode(pages: &[(u32, Vec<u8>)], db_size: u32) -> (Vec<Bytes>, Vec<Placed>) {
    let mut writer = PartWriter::new("a database", PAGE as u32, TransactionId(1, 2)).unwrap();
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    for (page_no, image) in pages {
        let (placed, full) = writer.push(*page_no, image).unwrap();
        places.push(placed);
        parts.extend(full);
    }
    parts.push(writer.finish(db_size));
    (parts, places)
}

/// A transaction of any size comes back as it was, in parts of which only the last commits, and each
/// page can also be had from its place alone.
#[test]
fn large_transactions_come_in_parts() {
    let pages: Vec<_> = (1..6000)
        .map(|n| (n, image(u64::from(n), n % 3 == 0)))
        .collect();
    let (parts, places) = encode(&pages, 6000);
    assert!(parts.len() > 1);
    let decoded: Vec<_> = parts
        .iter()
        .map(|part| Part::decode(part.clone()).unwrap())
        .collect();
    for (number, part) in decoded.iter().enumerate() {
        let last = number + 1 == parts.len();
        assert_eq!((part.number() as usize, part.is_last()), (number, last));
        assert_eq!(part.db_size(), if last { 6000 } else { 0 });
        assert!(parts[number].len() < PART_BYTES + PAGE + FRAME_PREFIX_BYTES);
    }
    let back: Vec<_> = decoded
        .iter()
        .flat_map(Part::frames)
        .map(|frame| (frame.page_no(), frame.page(PAGE as u32).unwrap()))
        .collect();
    assert_eq!(back, pages);
    let found = decoded.iter().zip(7..).flat_map(|(part, index)| {
        let place = move |frame: &Frame| frame.place(index);
        part.frames().map(place)
    });
    let written = places.iter().map(|placed| FramePlace {
        index: 7 + u64::from(placed.part),
        offset: placed.offset,
        len: placed.len,
        encoding: placed.encoding,
    });
    assert!(
        found.eq(written),
        "a reader finds pages where the writer put them"
    );
    for (placed, (_, image)) in places.iter().zip(&pages) {
        let from = placed.offset as usize;
        let bytes = &parts[placed.part as usize][from..from + placed.len as usize];
        let mut page = vec![0; PAGE];
        decode_page(placed.encoding, bytes, &mut page).unwrap();
        assert_eq!(&page, image);
    }
    assert!(places.iter().any(|placed| placed.encoding == ENCODING_LZ4));
    assert!(
        places
            .iter()
            .any(|placed| placed.encoding == ENCODING_WHOLE)
    );
}

/// A transaction that will not be finished says so, and changes nothing.
#[test]
fn abandoned() {
    let mut writer = PartWriter::new("x", PAGE as u32, TransactionId(1, 2)).unwrap();
    assert!(writer.push(1, &image(1, false)).unwrap().1.is_none());
    let part = Part::decode(writer.abandon()).unwrap();
    assert!(part.is_abandoned() && !part.is_last() && part.frames().len() == 0);
}

/// A flipped bit is noticed, or hits a field that is part of no page (and then another check, the
/// record's, is there for it); it never makes a page wrong and never panics.
#[test]
fn every_flipped_bit_is_harmless() {
    let pages = vec![(1, image(1, true)), (2, image(2, false))];
    let part = encode(&pages, 2).0.remove(0);
    for bit in 0..part.len() * 8 {
        let mut bytes = part.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(part) = Part::decode(Bytes::from(bytes)) {
            for (frame, (_, image)) in part.frames().zip(&pages) {
                if let Ok(page) = frame.page(PAGE as u32) {
                    assert_eq!(&page, image);
                }
            }
        }
    }
}

proptest! {
    /// Whatever the bytes are, the decoder answers.
    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), real in any::<bool>()) {
        if real && bytes.len() > 2 {
            bytes[0] = VERSION;
            bytes[1] = KIND_TRANSACTION;
        }
        if let Ok(part) = Part::decode(Bytes::from(bytes)) {
            for frame in part.frames() {
                let _ = frame.page(part.page_size());
            }
        }
    }
}

/// A log in whose entries one page is written again and again.
struct History {
    log: Log,
    images: Vec<(FramePlace, u8, u64, Vec<u8>)>,
}

impl History {
    fn new() -> Self {
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let (log, _) = Log::open(Arc::new(MemBackend::new()), options).unwrap();
        Self {
            log,
            images: Vec::new(),
        }
    }

    /// Writes an image as the next entry, against the one before unless it is to be full.
    fn write(&mut self, page_no: u32, image: Vec<u8>, full: bool) -> Placed {
        let index = self.log.last_index() + 1;
        let previous = match self.images.last() {
            Some((place, depth, root, image)) if !full => Previous::Image(Base {
                place: *place,
                depth: *depth,
                root: *root,
                image,
            }),
            _ => Previous::FullImage,
        };
        let writer = PartWriter::new("x", PAGE as u32, TransactionId(1, index)).unwrap();
        let mut writer = writer.leaning(index);
        let (placed, _) = writer.push_image(page_no, &image, previous).unwrap();
        self.append(writer.finish(9));
        let root = match (placed.depth, self.images.last()) {
            (1.., Some((_, _, root, _))) => *root,
            _ => index,
        };
        let place = FramePlace {
            index,
            offset: placed.offset,
            len: placed.len,
            encoding: placed.encoding,
        };
        self.images.push((place, placed.depth, root, image));
        placed
    }

    fn append(&self, payload: Bytes) {
        let index = self.log.last_index() + 1;
        let (term, kind) = (1, 1);
        let record = Record {
            index,
            term,
            kind,
            payload,
        };
        self.log.append(&[record]).unwrap();
    }

    fn read(&self, place: FramePlace) -> Result<Vec<u8>, Error> {
        self.read_page(3, place)
    }

    fn read_page(&self, page_no: u32, place: FramePlace) -> Result<Vec<u8>, Error> {
        let mut page = vec![0x77; PAGE];
        page_at(&self.log, page_no, place, &mut page).map(|()| page)
    }

    fn resolve(&self, index: u64) -> Result<Vec<u8>, Error> {
        let part = Part::decode(self.log.entry(index).unwrap().payload).unwrap();
        let frame = part.frames().next().unwrap();
        super::resolve(&self.log, index, frame, PAGE as u32)
    }
}

/// A few changed bytes cost a few bytes, chains end where they must, and every image of a page can be read at any time.
#[test]
fn differences_are_small_and_chains_are_short() {
    let mut history = History::new();
    let mut page = image(7, false);
    for nth in 0..200_u8 {
        page[usize::from(nth) * 2] ^= 0x55;
        page[300..320].fill(nth);
        let placed = history.write(3, page.clone(), false);
        // So many differences, then a full image.
        assert_eq!(placed.depth, nth % (MAX_DEPTH + 1), "image {nth}");
        match placed.depth {
            0 => assert_eq!(placed.encoding, ENCODING_WHOLE),
            _ => assert!(placed.encoding == ENCODING_DIFFERENCE && placed.len < 35),
        }
    }
    // When the caller wants it full; and when so much changed that a difference saves too little.
    page[0] ^= 1;
    assert_eq!(history.write(3, page.clone(), true).depth, 0);
    page.iter_mut().for_each(|byte| *byte ^= 0x81);
    assert_eq!(history.write(3, page.clone(), false).depth, 0);
    // The same page again.
    let same = history.write(3, page, false);
    assert_eq!((same.depth, same.len), (1, 7));
    for (place, _, _, image) in history.images.iter().rev() {
        assert_eq!(history.read(*place).unwrap(), *image);
        assert_eq!(history.resolve(place.index).unwrap(), *image);
    }
}

/// A difference is no page by itself: who does not follow it to its base is told so, and gets nothing wrong.
#[test]
fn a_difference_needs_its_base() {
    let mut history = History::new();
    history.write(3, image(7, false), false);
    let mut page = image(7, false);
    page[5] ^= 1;
    history.write(3, page.clone(), false);
    let entry = history.log.entry(2).unwrap().payload;
    let part = Part::decode(entry.clone()).unwrap();
    let frame = part.frames().next().unwrap();
    assert_eq!(frame.encoding(), ENCODING_DIFFERENCE);
    assert!(frame.page(PAGE as u32).is_err());
    let difference = frame.difference(PAGE as u32).unwrap().unwrap();
    assert_eq!(difference.base(2).map(|base| base.index), Some(1));
    assert_eq!((difference.root(2), difference.depth()), (Some(1), 1));
    assert_eq!((difference.base(1), difference.root(1)), (None, None));
    let mut changed = image(7, false);
    frame.change(&mut changed).unwrap();
    assert_eq!(changed, page);
    let mut other = image(8, false);
    assert!(
        frame.change(&mut other).is_err(),
        "the checksum is that of the result"
    );
    let place = history.images[1].0;
    // Another page than was asked for.
    assert_eq!(history.read(place).unwrap(), page);
    assert!(history.read_page(4, place).is_err());
    // The base is gone from the log.
    history.log.reset(1, 1).unwrap();
    history.append(entry.clone());
    assert!(history.read(place).unwrap_err().is_compacted());
    // Somebody says of an anchor that it has a difference.
    let mut anchor = entry.to_vec();
    anchor[2] &= !FLAG_LEANS;
    assert!(Part::decode(Bytes::from(anchor)).is_err());
}

/// Whoever makes an anchor gets no difference, whatever the base.
#[test]
fn anchors_have_no_differences() {
    let page = image(7, false);
    let base = Base {
        place: FramePlace {
            index: 5,
            offset: 52,
            len: PAGE as u32,
            encoding: ENCODING_WHOLE,
        },
        depth: 0,
        root: 5,
        image: &page,
    };
    let write = |leans_at: Option<u64>| {
        let mut writer = PartWriter::new("x", PAGE as u32, TransactionId(1, 1)).unwrap();
        if let Some(index) = leans_at {
            writer = writer.leaning(index);
        }
        let (placed, _) = writer.push_image(3, &page, Previous::Image(base)).unwrap();
        (placed.encoding, Part::decode(writer.finish(9)).unwrap())
    };
    for (leans_at, encoding) in [
        (None, ENCODING_WHOLE),
        (Some(6), ENCODING_DIFFERENCE),
        // The base would be no earlier entry.
        (Some(5), ENCODING_WHOLE),
        (Some(4), ENCODING_WHOLE),
    ] {
        let (found, part) = write(leans_at);
        assert_eq!(found, encoding, "{leans_at:?}");
        assert_eq!(part.leans(), leans_at.is_some());
    }
    // Only the part whose index was known.
    let mut writer = PartWriter::new("x", PAGE as u32, TransactionId(1, 1))
        .unwrap()
        .leaning(6);
    assert!(Part::decode(writer.cut()).unwrap().leans());
    assert!(!Part::decode(writer.finish(9)).unwrap().leans());
}

/// Chains that no writer makes are refused, and none is followed without end.
#[test]
fn forged_chains() {
    let mut history = History::new();
    let mut page = image(7, false);
    for nth in 0..4 {
        page[nth] ^= 1;
        history.write(3, page.clone(), false);
    }
    history.write(4, page, true);
    let good = history.log.entry(4).unwrap().payload;
    let place = history.images[3].0;
    let base = history.images[2].0;
    let other = history.images[4].0;
    let (header, frame) = good.split_at(place.offset as usize - FRAME_PREFIX_BYTES);
    // Encoding and depth, both one byte, then how far back base and root are, and the base's place in its entry.
    let fixed = |encoding: u8, depth: u8, back: [u64; 2], place: [u32; 2]| {
        let mut bytes = vec![encoding, depth];
        for number in back.into_iter().chain(place.map(u64::from)) {
            put_varint(number, &mut bytes);
        }
        bytes
    };
    let runs = {
        let (_, bytes) = frame.split_at(FRAME_PREFIX_BYTES);
        &bytes[fixed(2, 3, [1, 3], [base.offset, base.len]).len()..]
    };
    let forge = |encoding: u8, depth: u8, base: u64, root: u64, at: [u32; 2]| {
        let index = history.log.last_index() + 1;
        let back = [index.wrapping_sub(base), index.wrapping_sub(root)];
        let bytes = [&fixed(encoding, depth, back, at)[..], runs].concat();
        let mut prefix = frame[..FRAME_PREFIX_BYTES].to_vec();
        prefix[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        history.append(Bytes::from([header, &prefix, &bytes].concat()));
        let len = bytes.len() as u32;
        let read = history.read(FramePlace {
            index,
            len,
            ..place
        });
        assert_eq!(history.resolve(index).is_ok(), read.is_ok(), "{bytes:?}");
        read
    };
    let at = [base.offset, base.len];
    assert!(forge(2, 3, 3, 1, at).is_ok());
    let next = history.log.last_index() + 1;
    for (what, base, root) in [
        ("the next entry", next + 1, 1),
        ("itself", next + 1, 1),
        ("no entry", 0, 1),
        ("before its root", 3, 3),
        ("another root", 3, 2),
        ("no root", 3, 0),
        ("a root before the log", 3, u64::MAX),
    ] {
        assert!(forge(2, 3, base, root, at).is_err(), "{what}");
    }
    // Less deep, deeper, not at all, too deep.
    for depth in [0, 1, 2, 4, MAX_DEPTH, MAX_DEPTH + 1, 255] {
        assert!(forge(2, depth, 3, 1, at).is_err(), "depth {depth}");
    }
    // Of an encoding that the base has not.
    for encoding in [0, 1, 3] {
        assert!(forge(encoding, 3, 3, 1, at).is_err());
        assert!(forge(encoding, 1, 3, 3, at).is_err());
    }
    // Another place.
    for at in [[0, base.len], [base.offset, 0], [u32::MAX, u32::MAX]] {
        assert!(forge(2, 3, 3, 1, at).is_err(), "{at:?}");
    }
    // Another page's frame.
    let at = [other.offset, other.len];
    let error = forge(other.encoding, 1, other.index, other.index, at).unwrap_err();
    assert!(error.to_string().contains("another frame"), "{error}");
}

/// Any flipped bit of a chain is noticed by its own checksums, or changes nothing.
#[test]
fn flipped_bits_in_chains() {
    let mut history = History::new();
    let mut page = image(7, false);
    for nth in 0..3 {
        page[nth * 100] ^= 1;
        page[nth * 100 + 50..nth * 100 + 60].fill(1);
        history.write(3, page.clone(), false);
    }
    let entries = history.log.read(1, 4, usize::MAX).unwrap();
    let place = history.images[2].0;
    for entry in [1, 2] {
        let payload = &entries[entry].payload;
        let frame = history.images[entry].0.offset as usize - FRAME_PREFIX_BYTES;
        for bit in frame * 8..payload.len() * 8 {
            let mut bytes = payload.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = History::new();
            for (nth, record) in entries.iter().enumerate() {
                let payload = if nth == entry {
                    Bytes::from(bytes.clone())
                } else {
                    record.payload.clone()
                };
                changed.append(payload);
            }
            if let Ok(found) = changed.read(place) {
                assert_eq!(found, page, "bit {bit} of entry {entry}");
            }
        }
    }
}

proptest! {
    /// Whatever changes, and whenever a full image is wanted, every image comes back.
    #[test]
    fn any_history_of_a_page(
        edits in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec((0..PAGE, any::<u8>(), 1usize..40), 0..6), 0u8..10),
            1..25,
        ),
    ) {
        let mut history = History::new();
        let mut page = image(1, false);
        for (dull, changes, full) in edits {
            if full == 9 {
                page = image(u64::from(full), dull);
            }
            for (at, byte, len) in changes {
                let end = (at + len).min(PAGE);
                page[at..end].fill(byte);
            }
            history.write(5, page.clone(), full == 0);
        }
        for (place, depth, root, image) in &history.images {
            prop_assert_eq!(&history.read_page(5, *place).unwrap(), image);
            prop_assert!(*depth <= MAX_DEPTH && *root <= place.index);
        }
    }

    /// A number comes back as it was, and in no more bytes than it needs; more bits than a number has are none.
    #[test]
    fn varints(number in any::<u64>(), shift in 0..64_u32, tail in 0x02..0x80_u8) {
        let number = number >> shift;
        let mut bytes = Vec::new();
        put_varint(number, &mut bytes);
        prop_assert_eq!(bytes.len() as u32, (64 - number.leading_zeros()).div_ceil(7).max(1));
        for cut in 0..bytes.len() {
            prop_assert_eq!(get_varint(&mut &bytes[..cut]), None);
        }
        bytes.push(7);
        let mut rest = &bytes[..];
        prop_assert_eq!(get_varint(&mut rest), Some(number));
        prop_assert_eq!(rest, &[7]);
        let long = [&[0xff; 9][..], &[tail]].concat();
        prop_assert_eq!(get_varint(&mut &long[..]), None);
        prop_assert_eq!(get_varint(&mut &[0xff; 12][..]), None);
    }

    /// Whatever the bytes are, a difference is refused or applied inside of the page.
    #[test]
    fn any_difference(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), real in any::<bool>()) {
        if real && bytes.len() > 20 {
            let len = bytes.len() - 8;
            bytes[..8].copy_from_slice(&[0, 1, 5, 5, 52, 100, 9, len as u8]);
        }
        let decoded = Difference::decode(&bytes, PAGE);
        prop_assert!(!real || bytes.len() <= 20 || decoded.is_ok());
        if let Ok(difference) = decoded {
            difference.apply(&mut vec![0; PAGE]);
            difference.apply(&mut [0; 3]);
        }
    }
}
