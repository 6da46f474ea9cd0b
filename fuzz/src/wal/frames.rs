//! Transactions in entries.

use bytes::Bytes;
use ferrolite_wal::frames::{Part, PartHeader, PartWriter, TransactionId};

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
    same_pages(&parts, &pages);
}

/// Writes the input as pages, of which some are dull enough to be squeezed.
fn write_parts(tape: &mut Tape<'_>) {
    let page_size = 512_u32 << (tape.byte() % 8);
    let db_size = u32::from(tape.byte()) + 1;
    let name = String::from_utf8_lossy(tape.piece(32)).into_owned();
    let id = TransactionId(tape.long().into(), tape.long().into());
    let mut writer = PartWriter::new(&name, page_size, id).expect("the name is short");
    let (mut pages, mut parts) = (Vec::new(), Vec::new());
    while !tape.is_empty() && pages.len() < MOST_PAGES {
        let page_no = u32::from(tape.byte()) + 1;
        let piece = tape.piece(u8::MAX);
        let page: Vec<u8> = if piece.is_empty() {
            noise(page_no).take(page_size as usize).collect()
        } else {
            let content = piece.iter().copied();
            content.cycle().take(page_size as usize).collect()
        };
        let (placed, full) = writer.push(page_no, &page).expect("it is a page");
        assert_eq!(placed.part as usize, parts.len());
        parts.extend(full);
        pages.push((page_no, page));
    }
    parts.push(writer.finish(db_size));
    same_pages(&parts, &pages);
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

/// The parts are numbered, only the last one commits, and together they hold these pages.
fn same_pages(parts: &[Bytes], pages: &[(u32, Vec<u8>)]) {
    let mut found = Vec::new();
    for (nth, bytes) in parts.iter().enumerate() {
        let part = Part::decode(bytes.clone()).expect("what was written is read");
        assert_eq!(part.number() as usize, nth);
        assert_eq!(part.is_last(), nth + 1 == parts.len());
        for frame in part.frames() {
            let page = frame
                .page(part.page_size())
                .expect("what was written is read");
            found.push((frame.page_no(), page));
        }
    }
    assert!(found == pages, "the pages are not the ones that went in");
}
