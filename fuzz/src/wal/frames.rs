//! Transactions in entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use ferrolite_wal::frames::{
    Base, ENCODING_DIFFERENCE, ENCODING_WHOLE, MAX_DEPTH, Part, PartHeader, PartWriter, Previous,
    TransactionId,
};
use ferrolite_wal::view::FramePlace;

use crate::tape::Tape;

/// So many of the largest pages fill more than one part.
const MOST_PAGES: usize = 20;

/// Bytes as a part of a transaction: reading never panics, and pages that come out whole go back in and come out the
/// same. The same bytes as pages: every page that is written is read again.
pub fn wal_frames(data: &[u8]) {
    if let Ok(part) = Part::decode(Bytes::copy_from_slice(data)) {
        read_part(&part, data);
    } else if let Ok(header) = PartHeader::decode(data) {
        assert!(header.database.len() < data.len());
    }
    write_parts(&mut Tape::new(data));
}

fn read_part(part: &Part, data: &[u8]) {
    let header = PartHeader::decode(data).expect("the whole was read");
    assert_eq!(
        (part.database(), part.id(), part.number(), part.is_last()),
        (
            header.database.as_str(),
            header.id,
            header.number,
            header.last
        )
    );
    assert_eq!(
        (part.page_size(), part.db_size(), part.is_abandoned()),
        (header.page_size, header.db_size, header.abandoned)
    );
    assert!(!(part.is_last() && part.is_abandoned()));
    // A frame takes 16 bytes at least, so a count is never more than the bytes are worth.
    assert!(part.frames().len() * 16 <= data.len());

    // Differences need a base; any will do, but the result is the one that was meant or none.
    for frame in part.frames() {
        let mut page = vec![0x5a; part.page_size() as usize];
        let difference = frame.difference(part.page_size());
        if let Ok(Some(difference)) = &difference {
            assert!(part.leans(), "an anchor has no differences");
            assert!((1..=MAX_DEPTH).contains(&difference.depth()));
            for index in [1, 2, 1000, u64::MAX] {
                let base = difference.base(index).map(|base| base.index);
                assert!(base.is_none_or(|base| 0 < base && base < index));
                assert!(difference.root(index).is_none_or(|root| Some(root) <= base));
            }
            difference.apply(&mut page);
            difference.apply(&mut page[..1]);
        }
        let changed = frame.change(&mut page).is_ok();
        assert!(!changed || matches!(difference, Ok(Some(_))));
    }
    let pages: Vec<_> = part
        .frames()
        .filter_map(|frame| Some((frame.page_no(), frame.page(part.page_size()).ok()?)))
        .collect();
    let mut writer =
        PartWriter::new(part.database(), part.page_size(), part.id()).expect("the name was read");
    let mut parts = Vec::new();
    for (page_no, page) in &pages {
        assert_eq!(page.len(), part.page_size() as usize);
        parts.extend(writer.push(*page_no, page).expect("the page was read").1);
    }
    parts.push(writer.finish(part.db_size().max(1)));
    same_pages(&parts, &pages, &BTreeMap::new());
}

/// Writes the input as pages, of which some are dull enough to be squeezed.
fn write_parts(tape: &mut Tape<'_>) {
    let page_size = 512_u32 << (tape.byte() % 8);
    let db_size = u32::from(tape.byte()) + 1;
    let name = String::from_utf8_lossy(tape.piece(32)).into_owned();
    let id = TransactionId(tape.long().into(), tape.long().into());
    let mut writer = PartWriter::new(&name, page_size, id).expect("the name is short");
    let leans = tape.byte() % 4 > 0;
    if leans {
        writer = writer.leaning(2);
    }
    let (mut pages, mut parts, mut bases) = (Vec::new(), Vec::new(), BTreeMap::new());
    while !tape.is_empty() && pages.len() < MOST_PAGES {
        let page_no = u32::from(tape.byte()) + 1;
        let piece = tape.piece(u8::MAX);
        let page: Vec<u8> = if piece.is_empty() {
            noise(page_no).take(page_size as usize).collect()
        } else {
            let content = piece.iter().copied();
            content.cycle().take(page_size as usize).collect()
        };
        // Against an image of the tape's choice, in an entry before.
        let mut before = page.clone();
        for byte in tape.piece(16) {
            let at = usize::from(*byte) * 97 % before.len();
            before[at] ^= byte | 1;
        }
        let previous = match tape.byte() % 4 {
            3 => Previous::Image(base(&before)),
            _ => Previous::FullImage,
        };
        let (placed, full) = writer
            .push_image(page_no, &page, previous)
            .expect("it is a page");
        assert_eq!(placed.part as usize, parts.len());
        assert_eq!(
            u8::from(placed.encoding == ENCODING_DIFFERENCE),
            placed.depth
        );
        if placed.encoding == ENCODING_DIFFERENCE {
            assert!(leans && placed.part == 0);
            bases.insert(pages.len(), before);
        }
        parts.extend(full);
        pages.push((page_no, page));
    }
    parts.push(writer.finish(db_size));
    same_pages(&parts, &pages, &bases);
    let last = Part::decode(parts.remove(parts.len() - 1)).expect("what was written is read");
    assert_eq!(
        (last.database(), last.db_size(), last.id()),
        (name.as_str(), db_size, id)
    );
}

/// Bytes that cannot be squeezed.
fn noise(seed: u32) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[3]
    })
}

/// An image in entry 1.
fn base(image: &[u8]) -> Base<'_> {
    Base {
        place: FramePlace {
            index: 1,
            offset: 52,
            len: 512,
            encoding: ENCODING_WHOLE,
        },
        depth: 0,
        root: 1,
        image,
    }
}

/// The parts are numbered, only the last one commits, and together they hold these pages. Some are differences against
/// `bases`, by the number of the page.
fn same_pages(parts: &[Bytes], pages: &[(u32, Vec<u8>)], bases: &BTreeMap<usize, Vec<u8>>) {
    let mut found = Vec::new();
    for (nth, bytes) in parts.iter().enumerate() {
        let part = Part::decode(bytes.clone()).expect("what was written is read");
        assert_eq!(part.number() as usize, nth);
        assert_eq!(part.is_last(), nth + 1 == parts.len());
        for frame in part.frames() {
            let place = frame.place(7);
            let at = place.offset as usize;
            assert!(at + place.len as usize <= bytes.len() && at > 36);
            assert_eq!((place.index, place.encoding), (7, frame.encoding()));
        }
        for frame in part.frames() {
            let page = match bases.get(&found.len()) {
                None => frame.page(part.page_size()),
                Some(base) => {
                    let mut page = base.clone();
                    frame.change(&mut page).map(|()| page)
                }
            };
            let page = page.expect("what was written is read");
            found.push((frame.page_no(), page));
        }
    }
    assert!(found == pages, "the pages are not the ones that went in");
}
