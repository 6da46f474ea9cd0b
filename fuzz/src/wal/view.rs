//! The view, beside a naive twin.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ferrolite_wal::backend::{Backend, MemBackend};
use ferrolite_wal::view::{
    FRAME_HEADER_BYTES, FramePlace, PageSource, ViewError, WAL_HEADER_BYTES, WalView,
};

use crate::tape::Tape;

const PAGE: usize = 512;
const FRAME: usize = FRAME_HEADER_BYTES + PAGE;
const LIMIT_BYTES: usize = 12 * FRAME;
/// Calls in one run at most.
const MOST_CALLS: usize = 400;

/// A view that is used as an engine and a replica use it, and as they never would, does and shows what its twin says.
///
/// Once with memory for everything, and once with so little that most pages are spilled.
pub fn wal_view(data: &[u8]) {
    let disk = Disk::default();
    let page_size = u32::try_from(PAGE).expect("a page is small");
    let view = || WalView::new(page_size, LIMIT_BYTES as u64, Box::new(disk.clone()));
    run(&view(), &disk, Tape::new(data));
    disk.with(|pages| *pages = Pages::default());
    let spill = MemBackend::new().open("spill", true);
    let spill = spill.expect("memory opens");
    let tight = view().with_spill(Arc::clone(&spill), 2 * PAGE as u64);
    run(&tight, &disk, Tape::new(data));
    tight.close();
    assert!(spill.len().is_ok_and(|len| len == 0));
}

fn run(view: &WalView, disk: &Disk, mut tape: Tape<'_>) {
    let mut twin = Twin::default();
    for fill in 0..MOST_CALLS {
        if tape.is_empty() {
            break;
        }
        call(view, &mut twin, disk, &mut tape, fill);
        assert_eq!(view.len(), twin.len() as u64);
        assert_eq!(view.is_empty(), twin.len() == 0);
        assert_eq!(view.frame_count(), twin.frames.len() as u64);
        assert_eq!(view.backfilled(), twin.backfilled as u64);
        assert_eq!(view.oldest_needed_index(), twin.oldest_needed_index());
    }
    // Everything is read once more, piece by piece.
    read(view, &twin, disk, 0, WAL_HEADER_BYTES);
    for nth in 0..twin.frames.len() {
        let at = WAL_HEADER_BYTES + nth * FRAME;
        read(view, &twin, disk, at, FRAME_HEADER_BYTES);
        read(view, &twin, disk, at + FRAME_HEADER_BYTES, PAGE);
    }
}

/// One call of the view, and of the twin.
fn call(view: &WalView, twin: &mut Twin, disk: &Disk, tape: &mut Tape<'_>, fill: usize) {
    match tape.byte() % 16 {
        0 => {
            let len = match tape.byte() {
                odd @ 1..=4 => WAL_HEADER_BYTES + 2 - usize::from(odd),
                _ => WAL_HEADER_BYTES,
            };
            let header = vec![seed(fill); len];
            same(view.write_at(0, &header), twin.write(0, &header));
        }
        // What an engine does: frames at the end of what is taken or staged.
        kind @ 1..=6 => {
            let first = match kind {
                1 => twin.taken,
                2 => twin.taken + tape.below(twin.frames.len() - twin.taken + 1),
                _ => twin.frames.len(),
            };
            let frames = frames(tape, fill);
            let at = WAL_HEADER_BYTES + first * FRAME;
            same(view.write_at(at as u64, &frames), twin.write(at, &frames));
        }
        // What it never does: anything anywhere.
        7 => {
            let at = tape.below(twin.len() + 2 * FRAME);
            let mut bytes = frames(tape, fill);
            bytes.truncate(tape.below(bytes.len() + 1));
            same(view.write_at(at as u64, &bytes), twin.write(at, &bytes));
            let far = u64::MAX - u64::from(tape.byte());
            assert!(view.write_at(far, &bytes).is_err());
        }
        8 | 9 => take(view, twin),
        10 => {
            let last = tape.below(twin.frames.len() + 3);
            bind(view, twin, disk, last, tape.byte());
        }
        11 => {
            let to = tape.below(twin.frames.len() + 3);
            disk.write_pages(&twin.backfill(to));
            view.set_backfilled(to as u64);
        }
        12 => {
            let len = usize::from(tape.byte()) % (2 * WAL_HEADER_BYTES);
            same(view.truncate(len as u64), twin.truncate(len));
        }
        13 | 14 => {
            let at = tape.below(twin.len() + FRAME);
            read(view, twin, disk, at, tape.below(3 * FRAME));
            let mut byte = [0];
            let far = u64::MAX - u64::from(tape.byte());
            assert!(matches!(
                view.read_at(far, &mut byte),
                Ok(0) | Err(ViewError::Closed)
            ));
        }
        _ => {
            if tape.byte() == 0xff {
                view.close();
                *twin = Twin {
                    closed: true,
                    ..Twin::default()
                };
            }
        }
    }
}

/// A byte that tells calls apart.
fn seed(fill: usize) -> u8 {
    u8::try_from(fill % 251 + 1).expect("below 252")
}

/// Some frames, the last of which may commit.
fn frames(tape: &mut Tape<'_>, fill: usize) -> Vec<u8> {
    let (count, commits) = (tape.byte() % 6, tape.byte());
    let mut bytes = Vec::new();
    for nth in 0..count {
        let page_no = u32::from(tape.byte() % 8) + 1;
        let last = nth + 1 == count;
        let db_size = u32::from(last && commits % 2 == 0 || commits == 0xff) * 9;
        let mut frame = vec![seed(fill).wrapping_add(nth); FRAME];
        frame[..4].copy_from_slice(&page_no.to_be_bytes());
        frame[4..8].copy_from_slice(&db_size.to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

fn same(found: Result<(), ViewError>, expected: Answer) {
    let found = match found {
        Ok(()) => Answer::Done,
        Err(ViewError::Closed) => Answer::Closed,
        Err(ViewError::TooLarge { .. }) => Answer::TooLarge,
        Err(ViewError::Refused(_)) => Answer::Refused,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(found, expected);
}

fn read(view: &WalView, twin: &Twin, disk: &Disk, at: usize, len: usize) {
    let mut found = vec![0; len];
    match (
        view.read_at(at as u64, &mut found),
        twin.read(disk, at, len),
    ) {
        (Ok(n), Ok(expected)) => assert!(found[..n] == expected, "{len} bytes at {at}"),
        (Err(ViewError::Closed), Err(Answer::Closed)) => {}
        (Err(ViewError::Refused(_)), Err(Answer::Refused)) => {}
        (found, expected) => panic!("{len} bytes at {at}: {found:?} instead of {expected:?}"),
    }
}

/// The transaction that is handed out is the one that was staged: the last image of each page, in order.
fn take(view: &WalView, twin: &mut Twin) {
    let found = view.take();
    let expected = twin.take();
    let Some(found) = found else {
        assert!(expected.is_none(), "a transaction is kept back");
        return;
    };
    let (first, last, pages) = expected.expect("a transaction that nobody committed");
    assert_eq!(
        (found.first_frame, found.last_frame),
        (first as u64, last as u64)
    );
    assert_eq!((found.db_size, found.page_size as usize), (9, PAGE));
    assert_eq!(found.pages, pages.len() as u64);
    let found: Vec<_> = view
        .pages_of(&found)
        .map(|page| page.expect("it is there"))
        .map(|page| (page.frame, page.page_no, page.image.to_vec()))
        .collect();
    assert!(found == pages, "other pages than were staged");
}

/// Frames up to `last` are in the log, each with the image that it had.
fn bind(view: &WalView, twin: &mut Twin, disk: &Disk, last: usize, index: u8) {
    let mut places = Vec::new();
    for nth in 1..=last {
        let place = FramePlace {
            index: u64::from(index),
            offset: u32::try_from(nth).expect("few frames"),
            len: 0,
            encoding: 0,
        };
        places.push((nth as u64, place));
        if let Some(frame) = twin.frames.get_mut(nth - 1)
            && (twin.backfilled..twin.taken).contains(&(nth - 1))
            && !frame.dead
        {
            disk.keep(place, &frame.page);
            frame.index = Some(place.index);
        }
    }
    // No frame has the number 0.
    places.push((
        0,
        FramePlace {
            index: 0,
            offset: 0,
            len: 0,
            encoding: 0,
        },
    ));
    view.bind(places);
}

/// The log and the database file that the view reads back from.
#[derive(Debug, Clone, Default)]
struct Disk {
    pages: Arc<Mutex<Pages>>,
}

#[derive(Debug, Default)]
struct Pages {
    log: HashMap<(u64, u32), Vec<u8>>,
    file: HashMap<u32, Vec<u8>>,
}

impl Disk {
    fn with<T>(&self, act: impl FnOnce(&mut Pages) -> T) -> T {
        act(&mut self.pages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, place: FramePlace, page: &[u8]) {
        self.with(|pages| pages.log.insert((place.index, place.offset), page.to_vec()));
    }

    fn write_pages(&self, images: &[(u32, Vec<u8>)]) {
        self.with(|pages| pages.file.extend(images.iter().cloned()));
    }

    fn file_page(&self, page_no: u32) -> Option<Vec<u8>> {
        self.with(|pages| pages.file.get(&page_no).cloned())
    }
}

fn copy(page: Option<Vec<u8>>, to: &mut [u8]) -> io::Result<()> {
    let page = page.ok_or_else(|| io::Error::other("a page is read that nobody wrote"))?;
    to.copy_from_slice(&page);
    Ok(())
}

impl PageSource for Disk {
    fn read_from_log(&self, _: u32, place: FramePlace, page: &mut [u8]) -> io::Result<()> {
        let found = self.with(|pages| pages.log.get(&(place.index, place.offset)).cloned());
        copy(found, page)
    }

    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> io::Result<()> {
        copy(self.file_page(page_no), page)
    }
}

/// What comes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Closed,
    TooLarge,
    Refused,
}

/// A frame as it was written.
#[derive(Debug, Clone)]
struct TwinFrame {
    header: Vec<u8>,
    page: Vec<u8>,
    /// A later frame of its transaction replaced it.
    dead: bool,
    /// The entry that the log has it in.
    index: Option<u64>,
}

impl TwinFrame {
    fn page_no(&self) -> u32 {
        u32::from_be_bytes(self.header[..4].try_into().expect("four bytes"))
    }

    fn commits(&self) -> bool {
        self.header[4..8] != [0; 4]
    }
}

/// The view, in the simplest way: all frames in memory, for ever.
#[derive(Debug, Default)]
struct Twin {
    closed: bool,
    header: Option<Vec<u8>>,
    frames: Vec<TwinFrame>,
    taken: usize,
    backfilled: usize,
}

impl Twin {
    fn len(&self) -> usize {
        match self.header {
            Some(_) => WAL_HEADER_BYTES + self.frames.len() * FRAME,
            None => 0,
        }
    }

    fn oldest_needed_index(&self) -> Option<u64> {
        let needed = self.frames.get(self.backfilled..)?;
        needed
            .iter()
            .find_map(|frame| frame.index.filter(|_| !frame.dead))
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Answer {
        if self.closed {
            return Answer::Closed;
        }
        if at == 0 {
            if bytes.len() != WAL_HEADER_BYTES || self.start_over() != Answer::Done {
                return Answer::Refused;
            }
            self.header = Some(bytes.to_vec());
            return Answer::Done;
        }
        let whole = at >= WAL_HEADER_BYTES
            && (at - WAL_HEADER_BYTES).is_multiple_of(FRAME)
            && bytes.len().is_multiple_of(FRAME);
        if self.header.is_none() || !whole {
            return Answer::Refused;
        }
        let first = (at - WAL_HEADER_BYTES) / FRAME;
        if !(self.taken..=self.frames.len()).contains(&first) {
            return Answer::Refused;
        }
        if (first - self.taken) * FRAME + bytes.len() > LIMIT_BYTES {
            return Answer::TooLarge;
        }
        self.frames.truncate(first);
        for frame in bytes.chunks(FRAME) {
            self.frames.push(TwinFrame {
                header: frame[..FRAME_HEADER_BYTES].to_vec(),
                page: frame[FRAME_HEADER_BYTES..].to_vec(),
                dead: false,
                index: None,
            });
        }
        Answer::Done
    }

    fn truncate(&mut self, len: usize) -> Answer {
        if self.closed {
            return Answer::Closed;
        }
        if len > WAL_HEADER_BYTES || self.start_over() != Answer::Done {
            return Answer::Refused;
        }
        if len < WAL_HEADER_BYTES {
            self.header = None;
        }
        Answer::Done
    }

    fn start_over(&mut self) -> Answer {
        if self.backfilled < self.taken {
            return Answer::Refused;
        }
        self.frames.clear();
        (self.taken, self.backfilled) = (0, 0);
        Answer::Done
    }

    /// First and last frame, and the pages, of the transaction that is handed out.
    #[allow(clippy::type_complexity)]
    fn take(&mut self) -> Option<(usize, usize, Vec<(u64, u32, Vec<u8>)>)> {
        let first = self.taken;
        let last = self
            .frames
            .iter()
            .rposition(TwinFrame::commits)
            .filter(|last| *last >= first)?;
        let mut pages = Vec::new();
        for nth in first..=last {
            let page_no = self.frames[nth].page_no();
            let later = &self.frames[nth + 1..=last];
            let dead = later.iter().any(|frame| frame.page_no() == page_no);
            self.frames[nth].dead = dead;
            if !dead {
                pages.push((nth as u64 + 1, page_no, self.frames[nth].page.clone()));
            }
        }
        self.taken = last + 1;
        Some((first + 1, last + 1, pages))
    }

    /// Frames up to `to` are in the file; says which pages a checkpoint writes.
    fn backfill(&mut self, to: usize) -> Vec<(u32, Vec<u8>)> {
        let to = to.min(self.taken);
        let from = self.backfilled;
        self.backfilled = to.max(from);
        let frames = self.frames.get(from..to).unwrap_or_default();
        frames
            .iter()
            .map(|frame| (frame.page_no(), frame.page.clone()))
            .collect()
    }

    fn read(&self, disk: &Disk, at: usize, len: usize) -> Result<Vec<u8>, Answer> {
        if self.closed {
            return Err(Answer::Closed);
        }
        let end = self.len().min(at.saturating_add(len));
        let mut bytes = Vec::new();
        let pieces = self.header.iter().map(|header| (header.clone(), true));
        let frames = self.frames.iter().enumerate().flat_map(|(nth, frame)| {
            let page = match nth < self.backfilled {
                true => (disk.file_page(frame.page_no()).unwrap_or_default(), true),
                false => (frame.page.clone(), !frame.dead),
            };
            [(frame.header.clone(), true), page]
        });
        let mut start = 0;
        for (piece, readable) in pieces.chain(frames) {
            let (from, to) = (at.max(start), end.min(start + piece.len()));
            if from < to {
                if !readable {
                    return Err(Answer::Refused);
                }
                bytes.extend_from_slice(&piece[from - start..to - start]);
            }
            start += piece.len();
        }
        Ok(bytes)
    }
}
