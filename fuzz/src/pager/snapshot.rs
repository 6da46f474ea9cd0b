//! A snapshot's stream, cut anywhere, damaged and forged.

use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::{
    CheckpointMark, PageFile, SnapshotSink, SnapshotSource, database_name, discard, file_name,
    pending_install,
};
use ferrolite_wal::backend::MemBackend;

use crate::tape::Tape;

const PAGE: u32 = 512;
/// Bytes of the stream's first record, with its checksum.
const HEAD_BYTES: usize = 36;

/// A stream that the input describes, changed and cut as it says.
///
/// Whatever comes, the sink does not panic, writes nothing outside of its directory, and counts only what it took. When
/// all came, the snapshot is installed, and a snapshot of what was installed is the very stream that was taken. Every page has the sum that it should have.
pub fn pager_snapshot(data: &[u8]) {
    let mut tape = Tape::new(data);
    let root = directory();
    let root = root.path();
    let (incoming, databases) = (root.join("incoming"), root.join("databases"));
    std::fs::create_dir(&databases).expect("room for a directory");

    let (valid, page_size) = stream(root, &mut tape);
    let mut stream = valid.clone();
    for _ in 0..tape.byte() % 8 {
        change(&mut stream, &mut tape);
    }
    let mut sink = SnapshotSink::begin(&incoming, 7).expect("room for a directory");
    let taken = send(&mut sink, &stream, &mut tape);
    assert_eq!(sink.offset(), taken.len() as u64);
    assert!(stream != valid || sink.is_complete() || taken.len() < valid.len());
    let beside: Vec<_> = names(root);
    assert_eq!(beside, ["databases", "incoming", "source"]);

    let complete = sink.is_complete();
    let finished = sink.finish(b"meta");
    assert_eq!(finished.is_ok(), complete, "{finished:?}");
    let pending = pending_install(&incoming).expect("what was written is read");
    let Some(pending) = pending else {
        assert!(!complete, "a complete snapshot is forgotten");
        discard(&incoming).expect("nothing waits there");
        return;
    };
    assert!(
        complete,
        "a snapshot of which something is missing is installed"
    );
    assert_eq!((pending.meta(), pending.id()), (&b"meta"[..], 7));
    let list: Vec<_> = pending
        .databases()
        .map(|(name, pages)| (name.to_owned(), pages))
        .collect();
    let found_size = pending.page_size();
    pending
        .apply(&databases)
        .expect("what was written is installed");
    pending.clear().expect("it was applied");
    // Each with its sums.
    assert_eq!(names(&databases).len(), list.len() * 2);

    let mark = CheckpointMark::open(&MemBackend::new()).expect("a mark in memory");
    let mark = Arc::new(mark);
    let files = list
        .into_iter()
        .map(|(name, pages)| {
            let file = databases.join(file_name(&name).expect("it was a name"));
            let file = PageFile::open_checked(&file, found_size, Arc::clone(&mark));
            let file = Arc::new(file.expect("it was installed"));
            for page_no in 1..=pages {
                let page = file.read_page(page_no).expect("it is what was written");
                assert!(page.sum.is_some(), "a page without a sum");
            }
            (name, file, pages)
        })
        .collect();
    let again = SnapshotSource::new(files, found_size).expect("it was a snapshot");
    assert!(
        whole(&again) == taken,
        "what was installed is not what came"
    );
    assert!(stream != valid || found_size == page_size);
}

/// A directory in memory where the system has such a place: the sink syncs what it writes.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("room for a directory")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| {
            let name = entry.expect("it is there").file_name();
            name.into_string().expect("names are plain")
        })
        .collect();
    names.sort();
    names
}

/// The stream of a few databases, with names and sizes from the tape.
fn stream(root: &Path, tape: &mut Tape<'_>) -> (Vec<u8>, u32) {
    let page_size = PAGE << (tape.byte() % 3);
    let source = root.join("source");
    std::fs::create_dir(&source).expect("room for a directory");
    let mut files = Vec::new();
    for nth in 0..tape.byte() % 4 {
        let name = String::from_utf8_lossy(tape.piece(16)).into_owned();
        let Ok(file) = file_name(&name) else {
            continue;
        };
        assert_eq!(database_name(&file).as_deref(), Some(name.as_str()));
        if files.iter().any(|(other, _, _)| *other == name) {
            continue;
        }
        let (pages, fill) = (u32::from(tape.byte() % 4), tape.byte());
        let file = PageFile::open(&source.join(file)).expect("room for a file");
        // One page fewer than announced: what is past the end reads as zeros.
        let image = vec![fill.wrapping_add(nth); (pages.saturating_sub(1) * page_size) as usize];
        file.write_at(0, &image).expect("room for a file");
        files.push((name, Arc::new(file), pages));
    }
    let source = SnapshotSource::new(files, page_size).expect("names are checked");
    (whole(&source), page_size)
}

/// All of a source's stream, in chunks of one record.
fn whole(source: &SnapshotSource) -> Vec<u8> {
    let mut stream = Vec::new();
    loop {
        let (chunk, done) = source
            .read(stream.len() as u64, 1)
            .expect("a record begins here");
        stream.extend(chunk);
        if done {
            assert_eq!(stream.len() as u64, source.len());
            return stream;
        }
    }
}

/// Changes the stream: damage, a record more or less, or a head that is forged.
fn change(stream: &mut Vec<u8>, tape: &mut Tape<'_>) {
    let at = tape.place(stream.len());
    match tape.byte() % 8 {
        0 => {
            if let Some(byte) = stream.get_mut(at) {
                *byte ^= 1 << (tape.byte() % 8);
            }
        }
        1 => stream.truncate(at),
        2 => stream.extend_from_slice(tape.take(64)),
        3 => {
            let piece = tape.take(8);
            stream.splice(at..at, piece.iter().copied());
        }
        4 => {
            let len = tape.below(1024).min(stream.len() - at);
            stream.drain(at..at + len);
        }
        5 => {
            let len = tape.below(1024).min(stream.len() - at);
            let piece = stream[at..at + len].to_vec();
            stream.extend(piece);
        }
        // Any head, and any first database, with the checksums that they should have.
        6 => {
            let piece = tape.piece(9);
            let at = at % (HEAD_BYTES - 4);
            let end = (at + piece.len()).min(HEAD_BYTES - 4).min(stream.len());
            if let Some(target) = stream.get_mut(at..end) {
                target.copy_from_slice(&piece[..target.len()]);
            }
            seal_head(stream);
        }
        _ => {
            let record = tape.piece(32);
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&0_u32.to_le_bytes());
            hasher.update(record);
            let checksum = hasher.finalize().to_le_bytes();
            stream.truncate(HEAD_BYTES);
            stream.extend_from_slice(record);
            stream.extend_from_slice(&checksum);
            // The length that follows from it, so that the sink goes on.
            let pages = record
                .last_chunk()
                .map_or(0, |pages| u32::from_le_bytes(*pages));
            if let Some(head) = stream.first_chunk_mut::<HEAD_BYTES>() {
                let size = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
                let pages = u64::from(pages).wrapping_mul(u64::from(size) + 4);
                let total = (HEAD_BYTES as u64 + record.len() as u64 + 4).wrapping_add(pages);
                head[20..24].copy_from_slice(&1_u32.to_le_bytes());
                head[24..32].copy_from_slice(&total.to_le_bytes());
            }
            seal_head(stream);
        }
    }
}

/// Puts both checksums of the first record right.
fn seal_head(stream: &mut [u8]) {
    if let Some(head) = stream.first_chunk_mut::<HEAD_BYTES>() {
        let checksum = crc32fast::hash(&head[..12]).to_le_bytes();
        head[12..16].copy_from_slice(&checksum);
        let checksum = crc32fast::hash(&head[..32]).to_le_bytes();
        head[32..].copy_from_slice(&checksum);
    }
}

/// Sends the stream in chunks of any size, goes on after a refusal as far as the sink got, and returns what it took.
fn send(sink: &mut SnapshotSink, stream: &[u8], tape: &mut Tape<'_>) -> Vec<u8> {
    let mut refusals = 0;
    while let Some(rest) = usize::try_from(sink.offset())
        .ok()
        .and_then(|offset| stream.get(offset..))
        .filter(|rest| !rest.is_empty())
    {
        let offset = sink.offset();
        assert!(sink.write(offset + 1, rest).is_err(), "a gap in the stream");
        assert_eq!(sink.offset(), offset);
        let len = match tape.byte() {
            0 => rest.len(),
            few => (usize::from(few) * 16).min(rest.len()),
        };
        match sink.write(offset, &rest[..len]) {
            Ok(()) => assert_eq!(sink.offset(), offset + len as u64),
            Err(error) => {
                assert!(!error.is_io(), "{error}");
                assert!((offset..offset + len as u64).contains(&sink.offset()));
                // A chunk that is cut in the middle of a record is refused; a longer one may not be.
                refusals += 1;
                if refusals == 8 {
                    let offset = sink.offset();
                    let rest = &stream[usize::try_from(offset).expect("in memory")..];
                    let _ = sink.write(offset, rest);
                    break;
                }
            }
        }
        if let Some(total) = sink.total() {
            // The length alone proves nothing: only when all databases are known is it compared with what they take.
            assert!(!sink.is_complete() || sink.offset() == total);
        }
    }
    let len = usize::try_from(sink.offset()).expect("in memory");
    stream[..len].to_vec()
}
