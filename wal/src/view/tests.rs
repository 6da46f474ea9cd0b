//! The view as an engine and a replica use it, and as neither should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
use std::io;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::backend::{Backend, FaultBackend, MemBackend};

const PAGE: usize = 512;
const FRAME: usize = PAGE + FRAME_HEADER_BYTES;

/// A source whose answers name where they were read from.
struct Named;
impl PageSource for Named {
    fn read_from_log(&self, _: u32, place: FramePlace, page: &mut [u8]) -> std::io::Result<()> {
        page.fill(place.index as u8);
        Ok(())
    }
    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()> {
        page.fill(0xf0 | page_no as u8);
        Ok(())
    }
}

fn view() -> WalView {
    let view = WalView::new(PAGE as u32, 1 << 20, Box::new(Named));
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    view
}

fn frame(page_no: u32, db_size: u32, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; FRAME];
    bytes[..4].copy_from_slice(&page_no.to_be_bytes());
    bytes[4..8].copy_from_slice(&db_size.to_be_bytes());
    bytes
}

fn at(frame: u64) -> u64 {
    WAL_HEADER_BYTES as u64 + (frame - 1) * FRAME as u64
}

fn page_of(view: &WalView, frame: u64) -> u8 {
    let mut page = [0; PAGE];
    assert_eq!(
        view.read_at(at(frame) + FRAME_HEADER_BYTES as u64, &mut page)
            .unwrap(),
        PAGE
    );
    assert!(page.iter().all(|byte| *byte == page[0]));
    page[0]
}

/// The engine must read back exactly what it wrote, over the borders of headers and pages.
#[test]
fn reads_back_across_borders() {
    let view = view();
    let bytes = [frame(2, 0, 1), frame(3, 3, 2)].concat();
    view.write_at(at(1), &bytes).unwrap();
    let mut all = vec![0; WAL_HEADER_BYTES + bytes.len() + 9];
    let n = view.read_at(0, &mut all).unwrap();
    assert_eq!(n as u64, view.len());
    assert_eq!(all[..WAL_HEADER_BYTES], [7; WAL_HEADER_BYTES]);
    assert_eq!(all[WAL_HEADER_BYTES..n], bytes);
}

/// Protects: a machine of 32 bits. A position in the view is one in a file, which may be longer than its memory is large.
/// The frames are all of one page, and as good as none of them are in memory.
#[test]
fn reads_and_writes_beyond_4_gib() {
    const LARGE: usize = 1 << 20;
    let view = WalView::new(LARGE as u32, u64::MAX, Box::new(Named))
        .with_spill(Stub::new(LARGE as u64), 4 * LARGE as u64);
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    let mut frame = vec![1; LARGE + FRAME_HEADER_BYTES];
    frame[..4].copy_from_slice(&2_u32.to_be_bytes());
    frame[4..8].fill(0);
    while view.len() <= 1 << 32 {
        view.write_at(view.len(), &frame).unwrap();
    }
    frame[4..8].copy_from_slice(&2_u32.to_be_bytes());
    frame[FRAME_HEADER_BYTES..].fill(3);
    let pos = view.len();
    assert!(pos > 1 << 32);
    view.write_at(pos, &frame).unwrap();
    let mut page = vec![0; LARGE];
    let read = view.read_at(pos + FRAME_HEADER_BYTES as u64, &mut page);
    assert_eq!(read.unwrap(), LARGE);
    assert!(page.iter().all(|byte| *byte == 3));
    assert_eq!(view.read_at(view.len(), &mut page).unwrap(), 0);
    let taken = view.take().unwrap();
    assert_eq!((taken.last_frame, taken.db_size), (view.frame_count(), 2));
}

/// A transaction is handed out whole, once, with one image a page.
#[test]
fn takes_each_transaction_once() {
    let view = view();
    view.write_at(
        at(1),
        &[frame(2, 0, 1), frame(5, 0, 2), frame(2, 9, 3)].concat(),
    )
    .unwrap();
    let tx = view.take_transaction().unwrap();
    assert_eq!((tx.first_frame, tx.last_frame, tx.db_size), (1, 3, 9));
    let pages: Vec<_> = tx
        .pages
        .iter()
        .map(|p| (p.frame, p.page_no, p.image[0]))
        .collect();
    assert_eq!(pages, [(2, 5, 2), (3, 2, 3)]);
    assert!(view.take_transaction().is_none());
}

/// Commits are counted when they are written, not when they are taken, and a commit that is written
/// over was none.
#[test]
fn counts_commits_as_they_are_written() {
    let view = view();
    view.write_at(at(1), &frame(2, 0, 1)).unwrap();
    assert_eq!(view.commits(), 0);
    view.write_at(at(2), &frame(3, 3, 1)).unwrap();
    assert_eq!(view.commits(), 1);
    view.write_at(at(2), &frame(3, 0, 1)).unwrap();
    assert_eq!(view.commits(), 0);
    view.write_at(at(3), &frame(4, 4, 1)).unwrap();
    assert_eq!(view.take_transaction().unwrap().number, 1);
    view.write_at(at(4), &frame(5, 5, 1)).unwrap();
    assert_eq!(
        (view.commits(), view.take_transaction().unwrap().number),
        (2, 2)
    );
    view.set_backfilled(4);
    view.truncate(0).unwrap();
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    assert_eq!(
        view.commits(),
        2,
        "starting over forgets frames, not the count"
    );
}

/// A rolled-back spill leaves frames without a commit; the next transaction writes over them.
#[test]
fn rewritten_positions_drop_what_was_staged() {
    let view = view();
    view.write_at(at(1), &[frame(2, 0, 1), frame(3, 0, 1)].concat())
        .unwrap();
    assert!(view.take_transaction().is_none());
    view.write_at(at(1), &frame(4, 4, 9)).unwrap();
    let tx = view.take_transaction().unwrap();
    assert_eq!(
        (tx.last_frame, tx.pages.len(), tx.pages[0].page_no),
        (1, 1, 4)
    );
    assert_eq!(view.frame_count(), 1);
}

/// What was handed out is history: writing over it, or starting over before it is in the database
/// file, would lose a committed page.
#[test]
fn taken_frames_are_kept_until_backfilled() {
    let view = view();
    view.write_at(at(1), &frame(2, 2, 1)).unwrap();
    view.take_transaction().unwrap();
    assert!(matches!(
        view.write_at(at(1), &frame(2, 2, 8)),
        Err(ViewError::Refused(_))
    ));
    assert!(matches!(
        view.write_at(0, &[0; 32]),
        Err(ViewError::Refused(_))
    ));
    assert!(matches!(view.truncate(0), Err(ViewError::Refused(_))));
    assert_eq!(page_of(&view, 1), 1);
    view.bind([(
        1,
        FramePlace {
            index: 42,
            offset: 0,
            len: 512,
            encoding: 0,
        },
    )]);
    assert_eq!(
        (page_of(&view, 1), view.oldest_needed_index()),
        (42, Some(42))
    );
    view.set_backfilled(1);
    assert_eq!(
        (page_of(&view, 1), view.oldest_needed_index()),
        (0xf2, None)
    );
    view.truncate(0).unwrap();
    assert!(view.is_empty());
}

/// Odd writes are refused without a change.
#[test]
fn refuses_what_no_engine_writes() {
    let view = view();
    for (pos, len) in [
        (at(2), FRAME),
        (at(1) + 1, FRAME),
        (at(1), FRAME - 1),
        (0, 31),
    ] {
        assert!(matches!(
            view.write_at(pos, &vec![0; len]),
            Err(ViewError::Refused(_))
        ));
    }
    assert_eq!(view.len(), WAL_HEADER_BYTES as u64);
    let small = WalView::new(PAGE as u32, 2 * FRAME as u64, Box::new(Named));
    assert!(matches!(
        small.write_at(at(1), &frame(1, 1, 1)),
        Err(ViewError::Refused(_))
    ));
    small.write_at(0, &[0; 32]).unwrap();
    let three = [frame(1, 0, 1), frame(2, 0, 1), frame(3, 3, 1)].concat();
    assert!(matches!(
        small.write_at(at(1), &three),
        Err(ViewError::TooLarge { .. })
    ));
    assert_eq!(small.frame_count(), 0);
}

/// After a close nothing is read, so no statement sees pages that change beneath it.
#[test]
fn closed_means_closed() {
    let view = view();
    view.write_at(at(1), &frame(1, 1, 1)).unwrap();
    view.close();
    assert!(matches!(
        view.read_at(0, &mut [0; 8]),
        Err(ViewError::Closed)
    ));
    assert!(matches!(
        view.write_at(at(1), &frame(1, 1, 1)),
        Err(ViewError::Closed)
    ));
    assert!(view.take_transaction().is_none());
}

/// A file for spilled pages that keeps no more of a page than its first bytes, and makes up the rest.
#[derive(Debug)]
struct Stub {
    page_bytes: u64,
    pages: Mutex<Vec<[u8; 8]>>,
}

impl Stub {
    fn new(page_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            page_bytes,
            pages: Mutex::default(),
        })
    }
}

/// A page of 4096 bytes with a number all over it.
fn numbered(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(4096 / 8)
}

impl BackendFile for Stub {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages.lock().unwrap().len() as u64 * self.page_bytes)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let number = self.pages.lock().unwrap()[(offset / self.page_bytes) as usize];
        buf.copy_from_slice(&number.repeat(buf.len() / 8));
        Ok(buf.len())
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(self.page_bytes) && buf.len() as u64 == self.page_bytes);
        let mut pages = self.pages.lock().unwrap();
        let nth = (offset / self.page_bytes) as usize;
        let len = pages.len().max(nth + 1);
        pages.resize(len, [0; 8]);
        pages[nth].copy_from_slice(&buf[..8]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages
            .lock()
            .unwrap()
            .resize((len / self.page_bytes) as usize, [0; 8]);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        panic!("nothing of it has to be durable")
    }
}

/// A transaction of 1 GB, with a reader that is open from before to after it, takes no more than 32 MiB at any time; so
/// does the next one, while the first is still on its way into the log.
#[test]
fn a_gigabyte_takes_little_memory() {
    const BOUND: u64 = 32 << 20;
    const FRAMES: u64 = (1 << 30) / 4096;
    let file = Stub::new(4096);
    let source = Box::new(Named);
    let view = WalView::new(4096, 4 << 30, source).with_spill(file.clone(), 8 << 20);
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    let at = |frame: u64| WAL_HEADER_BYTES as u64 + (frame - 1) * (4096 + 24);
    let write = |frame: u64, page_no: u32, db_size: u32| {
        let mut bytes = vec![0; 24];
        bytes[..4].copy_from_slice(&page_no.to_be_bytes());
        bytes[4..8].copy_from_slice(&db_size.to_be_bytes());
        bytes.extend(numbered(frame));
        view.write_at(at(frame), &bytes).unwrap();
    };
    let read = |frame: u64| {
        let mut page = vec![0; 4096];
        assert_eq!(view.read_at(at(frame) + 24, &mut page).unwrap(), 4096);
        page
    };
    write(1, 1, 1);
    let mut highest = 0;
    let mut gauge = || {
        highest = highest.max(view.memory_bytes());
        assert!(highest <= BOUND, "{highest} bytes");
    };
    for frame in 2..=FRAMES {
        let last = frame == FRAMES;
        write(frame, frame as u32, if last { FRAMES as u32 } else { 0 });
        if frame % 4096 == 0 {
            gauge();
            // The writer reads its own pages back, and the reader an old one.
            assert_eq!(read(frame / 2), numbered(frame / 2));
            assert_eq!(read(1), numbered(1));
        }
    }
    assert!(view.spilled_bytes() > (1 << 30) - (9 << 20));
    let taken = view.take().unwrap();
    assert_eq!(
        (taken.first_frame, taken.last_frame, taken.pages),
        (1, FRAMES, FRAMES)
    );
    for (page, frame) in view.pages_of(&taken).zip(1_u64..) {
        let page = page.unwrap();
        assert_eq!(
            (page.frame, page.image[8..16].to_vec()),
            (frame, frame.to_le_bytes().to_vec())
        );
        if frame % 4096 == 0 {
            gauge();
        }
    }
    // Another one behind it, all of it spilled, because the first holds the memory.
    write(FRAMES + 1, 9, FRAMES as u32);
    let second = view.take().unwrap();
    assert_eq!(read(FRAMES + 1), numbered(FRAMES + 1));
    gauge();
    let place = |index| FramePlace {
        index,
        offset: 52,
        len: 4096,
        encoding: 0,
    };
    view.bind((1..=FRAMES).map(|frame| (frame, place(frame))));
    assert_eq!(view.spilled_bytes(), 4096);
    assert_eq!(read(1), vec![1; 4096], "out of the log now");
    view.bind([(second.last_frame, place(5))]);
    assert_eq!((view.spilled_bytes(), file.len().unwrap()), (0, 0));
    gauge();
    println!("1 GiB in {FRAMES} frames took at most {highest} bytes of memory");
}

/// A page that is read out of the spill file while its place is given up and used again: the reader gets the page, from
/// where it is now.
#[test]
fn spilled_pages_that_move_while_they_are_read() {
    #[derive(Debug)]
    struct Moving {
        inner: Arc<dyn BackendFile>,
        view: OnceLock<Arc<WalView>>,
    }
    impl BackendFile for Moving {
        fn len(&self) -> io::Result<u64> {
            self.inner.len()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let view = self.view.get().unwrap();
            let (index, offset_there, len, encoding) = (42, 52, 512, 0);
            let place = FramePlace {
                index,
                offset: offset_there,
                len,
                encoding,
            };
            view.bind([(2, place)]);
            // Its place in the file is another frame's now.
            view.write_at(at(3), &frame(9, 9, 0xee)).unwrap();
            self.inner.read_at(offset, buf)
        }
        fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
            self.inner.write_at(offset, buf)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.inner.set_len(len)
        }
        fn sync(&self) -> io::Result<()> {
            self.inner.sync()
        }
    }
    let file = Arc::new(Moving {
        inner: MemBackend::new().open("spill", true).unwrap(),
        view: OnceLock::new(),
    });
    let view = WalView::new(PAGE as u32, 1 << 20, Box::new(Named));
    let view = Arc::new(view.with_spill(file.clone(), PAGE as u64));
    file.view.set(Arc::clone(&view)).unwrap();
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    view.write_at(at(1), &[frame(1, 0, 1), frame(2, 2, 2)].concat())
        .unwrap();
    assert_eq!(view.spilled_bytes(), PAGE as u64);
    view.take().unwrap();
    assert_eq!(page_of(&view, 2), 42);
    view.close();
}

/// When spilling fails the write is refused, and nothing has changed.
#[test]
fn no_room_to_spill() {
    let disk = FaultBackend::new();
    let file = disk.open("spill", true).unwrap();
    let view =
        WalView::new(PAGE as u32, 1 << 20, Box::new(Named)).with_spill(file, 2 * PAGE as u64);
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    disk.set_capacity(Some(3 * PAGE as u64));
    let frames = |fills: &[u8]| -> Vec<u8> {
        fills
            .iter()
            .flat_map(|fill| frame(u32::from(*fill), 0, *fill))
            .collect()
    };
    view.write_at(at(1), &frames(&[1, 2, 3, 4])).unwrap();
    assert_eq!(view.spilled_bytes(), 2 * PAGE as u64);
    for from in [2, 5] {
        assert!(matches!(
            view.write_at(at(from), &frames(&[5, 6, 7, 8])),
            Err(ViewError::Spill(_))
        ));
        assert_eq!(
            (view.frame_count(), view.spilled_bytes()),
            (4, 2 * PAGE as u64)
        );
        assert_eq!([1, 2, 3, 4].map(|nth| page_of(&view, nth)), [1, 2, 3, 4]);
    }
    disk.set_capacity(None);
    view.write_at(at(5), &frame(9, 9, 9)).unwrap();
    let taken = view.take().unwrap();
    let pages: Vec<_> = view
        .pages_of(&taken)
        .map(|page| page.unwrap().image[0])
        .collect();
    assert_eq!(pages, [1, 2, 3, 4, 9]);
    view.close();
    assert!(
        view.pages_of(&taken)
            .all(|page| matches!(page, Err(ViewError::Closed)))
    );
    assert_eq!((view.spilled_bytes(), disk.used()), (0, 0));
}

/// Who asks for all pages at once of a transaction that does not fit into memory has made a mistake, and is told so.
#[test]
#[should_panic(expected = "the page of frame 2 was spilled")]
fn a_spilled_transaction_is_not_handed_out_at_once() {
    let file = MemBackend::new().open("spill", true).unwrap();
    let view = WalView::new(PAGE as u32, 1 << 20, Box::new(Named)).with_spill(file, PAGE as u64);
    view.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
    view.write_at(at(1), &[frame(1, 0, 1), frame(2, 2, 2)].concat())
        .unwrap();
    let _ = view.take_transaction();
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        back: u64,
        frames: Vec<(u32, bool, u8)>,
    },
    Take,
    Bind(u64),
    Backfill(u64),
    StartOver,
}

fn step() -> impl Strategy<Value = Step> {
    let frames = prop::collection::vec((1..6_u32, any::<bool>(), any::<u8>()), 1..5);
    prop_oneof![
        5 => (0..4_u64, frames).prop_map(|(back, frames)| Step::Write { back, frames }),
        3 => Just(Step::Take),
        2 => (0..8_u64).prop_map(Step::Bind),
        1 => (0..8_u64).prop_map(Step::Backfill),
        1 => Just(Step::StartOver),
    ]
}

proptest! {
    /// A view that has to spill does and shows the same as one with room for everything.
    #[test]
    fn spilling_changes_nothing(steps in prop::collection::vec(step(), 1..60), room in 0..6_usize) {
        let file = MemBackend::new().open("spill", true).unwrap();
        let limit = (room * PAGE) as u64;
        let roomy = view();
        let tight = WalView::new(PAGE as u32, 1 << 20, Box::new(Named)).with_spill(Arc::clone(&file), limit);
        tight.write_at(0, &[7; WAL_HEADER_BYTES]).unwrap();
        let mut taken_to = 0;
        for step in steps {
            match step {
                Step::Write { back, frames } => {
                    let first = (roomy.frame_count() + 1).saturating_sub(back).max(1);
                    let bytes: Vec<u8> = frames
                        .iter()
                        .flat_map(|(page_no, last, fill)| frame(*page_no, u32::from(*last) * 9, *fill))
                        .collect();
                    let (a, b) = (roomy.write_at(at(first), &bytes), tight.write_at(at(first), &bytes));
                    prop_assert_eq!(a.is_ok(), b.is_ok());
                }
                Step::Take => {
                    let all = roomy.take_transaction();
                    let one_by_one = tight.take();
                    prop_assert_eq!(all.is_some(), one_by_one.is_some());
                    if let (Some(all), Some(taken)) = (all, one_by_one) {
                        let pages: Vec<_> = tight.pages_of(&taken).map(Result::unwrap).collect();
                        prop_assert_eq!(taken.pages, pages.len() as u64);
                        prop_assert!(pages == all.pages);
                        prop_assert_eq!((taken.number, taken.last_frame, taken.db_size), (all.number, all.last_frame, all.db_size));
                        taken_to = taken.last_frame;
                    }
                }
                Step::Bind(count) => {
                    let first = taken_to.saturating_sub(count) + 1;
                    let places = (first..=taken_to).map(|frame| {
                        (frame, FramePlace { index: frame % 200, offset: 0, len: 9, encoding: 0 })
                    });
                    roomy.bind(places.clone());
                    tight.bind(places);
                }
                Step::Backfill(behind) => {
                    roomy.set_backfilled(taken_to.saturating_sub(behind));
                    tight.set_backfilled(taken_to.saturating_sub(behind));
                }
                Step::StartOver => {
                    let (a, b) = (roomy.write_at(0, &[3; 32]), tight.write_at(0, &[3; 32]));
                    prop_assert_eq!(a.is_ok(), b.is_ok());
                    if a.is_ok() {
                        taken_to = 0;
                    }
                }
            }
            prop_assert_eq!((roomy.len(), roomy.commits(), roomy.backfilled()), (tight.len(), tight.commits(), tight.backfilled()));
            prop_assert_eq!(roomy.oldest_needed_index(), tight.oldest_needed_index());
            let slots = tight.memory_bytes() - roomy.memory_bytes().min(tight.memory_bytes());
            prop_assert!(slots <= 2048, "what is held beside pages is the same, but for a list of free places");
            prop_assert!(tight.frames().image_bytes() <= limit);
            for nth in 1..=roomy.frame_count() {
                let (mut a, mut b) = ([0; FRAME], [0; FRAME]);
                let (found, expected) = (tight.read_at(at(nth), &mut b), roomy.read_at(at(nth), &mut a));
                prop_assert_eq!(found.is_ok(), expected.is_ok());
                prop_assert!(found.is_err() || a == b, "frame {}", nth);
            }
        }
        tight.close();
        prop_assert_eq!(file.len().unwrap(), 0);
    }
}
