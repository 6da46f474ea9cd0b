//! What a checkpoint writes for each byte that was committed, and what the sums cost.
//!
//! ```sh
//! cargo run --release -p ferrolite-pager --example checkpoint_bytes -- DIR
//! ```
//!
//! A database of 64 MiB in DIR is changed by transactions of a few pages, some of which most transactions want, and
//! carried into its file by checkpoints of several sizes. Counted are the bytes and syncs that reach the file system: of
//! the database file and of its sums. Then pages are read with and without sums, scrubbed, and sent, to see what
//! looking at all of them costs; and a snapshot is received and installed beside the same bytes written to a plain file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferrolite_pager::{
    CheckpointMark, Directory, PageFile, Scrubber, SnapshotSink, SnapshotSource, pending_install,
    write_transaction_at,
};
use ferrolite_wal::backend::{Backend, BackendFile, DirBackend, MemBackend};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAGE: u32 = 4096;
const PAGES: u32 = 16_384;
const CHUNK_BYTES: usize = 1 << 20;
/// How much larger the database is that a node receives.
const TIMES_LARGER: u32 = 16;
/// Pages of one transaction: a row in a table, its index entry, and now and then their parents.
const TRANSACTION_PAGES: u64 = 3;
const TRANSACTIONS: u64 = 20_000;

/// What was written, by name of the file.
#[derive(Debug, Default)]
struct Count {
    bytes: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct Counting {
    inner: DirBackend,
    database: Arc<Count>,
    sums: Arc<Count>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn BackendFile>,
    count: Arc<Count>,
}

impl Backend for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        let count = if name.ends_with("-sums") {
            &self.sums
        } else {
            &self.database
        };
        Ok(Arc::new(CountingFile {
            inner: self.inner.open(name, create)?,
            count: Arc::clone(count),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

impl BackendFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.count
            .bytes
            .fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.count.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.write_at(offset, buf)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.count.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync()
    }
}

/// A small deterministic generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A page: half of the time one of the hundredth of them that is hot.
    fn page_no(&mut self) -> u32 {
        let hot = self.next().is_multiple_of(2);
        let pages = u64::from(if hot { PAGES / 100 } else { PAGES });
        u32::try_from(self.next() % pages).unwrap_or_default() + 1
    }
}

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).ok_or("say a directory")?;
    let dir = Path::new(&dir).join("checkpoint-bytes");
    println!(
        "{TRANSACTIONS} transactions of {TRANSACTION_PAGES} pages of {PAGE} bytes, a database of {PAGES} pages\n"
    );
    println!("transactions   bytes written per byte committed      syncs of      time per");
    println!("a checkpoint     database       sums        both   both files    checkpoint");
    for batch in [10, 100, 1000, 10_000] {
        run(&dir, batch)?;
    }
    looking(&dir)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Checkpoints of `batch` transactions each. Of a page that several of them wrote the last image is written, as an engine
/// does it; a redo writes each.
fn run(dir: &Path, batch: u64) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    let inner = DirBackend::open(dir)?;
    let mark = Arc::new(CheckpointMark::open(&inner)?);
    let (database, sums) = (Arc::<Count>::default(), Arc::<Count>::default());
    let backend = Counting {
        inner,
        database: Arc::clone(&database),
        sums: Arc::clone(&sums),
    };
    let directory = Directory::on(Arc::new(backend), dir);
    let file = PageFile::open_checked_in(&directory, "a.sqlite", PAGE, Arc::clone(&mark))?;
    let image = vec![0x5a; PAGE as usize];
    let all = (1..=PAGES).map(|page_no| (page_no, image.as_slice()));
    write_transaction_at(&file, PAGE, all, PAGES, 1)?;
    file.sync()?;
    for count in [&database, &sums] {
        count.bytes.store(0, Ordering::Relaxed);
        count.syncs.store(0, Ordering::Relaxed);
    }

    let mut rng = Rng(1);
    let mut committed = 0;
    let mut spent = Duration::ZERO;
    let mut checkpoints = 0_u32;
    let mut index = 1;
    for _ in 0..(TRANSACTIONS / batch).min(200) {
        let mut last = BTreeMap::new();
        for _ in 0..batch {
            index += 1;
            for _ in 0..TRANSACTION_PAGES {
                last.insert(rng.page_no(), index);
                committed += u64::from(PAGE);
            }
        }
        let image = vec![u8::try_from(index % 251)?; PAGE as usize];
        let began = Instant::now();
        mark.begin(index)?;
        for (page_no, index) in last {
            let page = [(page_no, image.as_slice())];
            write_transaction_at(&file, PAGE, page.into_iter(), PAGES, index)?;
        }
        file.sync()?;
        mark.finish(index)?;
        spent += began.elapsed();
        checkpoints += 1;
    }
    let ratio = |count: &Count| share(count.bytes.load(Ordering::Relaxed), committed);
    let syncs = database.syncs.load(Ordering::Relaxed) + sums.syncs.load(Ordering::Relaxed);
    println!(
        "{batch:>12} {:>12.3} {:>10.3} {:>11.3} {:>12.1} {:>10.1} ms",
        ratio(&database),
        ratio(&sums),
        ratio(&database) + ratio(&sums),
        share(syncs, checkpoints.into()),
        (spent / checkpoints).as_secs_f64() * 1e3,
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for a person
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Reads, scrubs and sends what the last run left.
fn looking(dir: &Path) -> Result<()> {
    let backend = DirBackend::open(dir)?;
    let mark = Arc::new(CheckpointMark::open(&backend)?);
    let path = dir.join("a.sqlite");
    let bare = PageFile::open(&path)?;
    let checked = Arc::new(PageFile::open_checked(&path, PAGE, mark)?);
    println!("\nall pages, out of the system's cache:");
    let mut page = vec![0; PAGE as usize];
    let mut read = |file: &PageFile| -> Result<()> {
        for before in 0..u64::from(PAGES) {
            file.read_at(before * u64::from(PAGE), &mut page)?;
        }
        Ok(())
    };
    let files = [("a".to_owned(), Arc::clone(&checked))];
    measure("read, without sums", || read(&bare))?;
    measure("read, with sums", || read(&checked))?;
    measure("scrubbed", || {
        let found = Scrubber::new().next(&files, PAGES)?;
        assert!(found.rot.is_empty());
        Ok(())
    })?;
    measure("sent as a snapshot", || send(&files, &mut |_| Ok(())))?;
    receiving(dir)
}

/// Gives a snapshot of all pages to `to`, in chunks.
fn send(files: &[(String, Arc<PageFile>)], to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let source = SnapshotSource::since(files.to_vec(), PAGE, 0)?;
    let mut at = 0;
    loop {
        let (chunk, is_last) = source.read(at, CHUNK_BYTES)?;
        at += chunk.len() as u64;
        to(&chunk)?;
        if is_last {
            return Ok(());
        }
    }
}

/// Receives and installs a database that is larger by [`TIMES_LARGER`], in turns with a plain file of the same stream.
/// Both pay for making the stream.
fn receiving(dir: &Path) -> Result<()> {
    let mark = Arc::new(CheckpointMark::open(&MemBackend::new())?);
    let file = PageFile::open_checked(&dir.join("large.sqlite"), PAGE, mark)?;
    let (image, pages) = (vec![0xa5; PAGE as usize], PAGES * TIMES_LARGER);
    let all = (1..=pages).map(|page_no| (page_no, image.as_slice()));
    write_transaction_at(&file, PAGE, all, pages, 1)?;
    file.sync()?;
    let files = [("large".to_owned(), Arc::new(file))];
    println!("\na database of {pages} pages to the disk, in turns:");
    let (mut plain, mut received) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let began = Instant::now();
        let file = std::fs::File::create(dir.join("plain"))?;
        send(&files, &mut |chunk| Ok((&file).write_all(chunk)?))?;
        file.sync_data()?;
        plain.push(began.elapsed() / TIMES_LARGER);
        std::fs::remove_file(dir.join("plain"))?;

        let (incoming, databases) = (dir.join("incoming"), dir.join("databases"));
        std::fs::create_dir_all(&databases)?;
        let began = Instant::now();
        let mut sink = SnapshotSink::begin(&incoming, 1)?;
        send(&files, &mut |chunk| Ok(sink.write(sink.offset(), chunk)?))?;
        sink.finish(b"")?;
        let install = pending_install(&incoming)?.ok_or("it was decided")?;
        install.apply(&databases)?;
        install.clear()?;
        received.push(began.elapsed() / TIMES_LARGER);
        std::fs::remove_dir_all(&databases)?;
    }
    plain.sort();
    received.sort();
    let middle = |times: &[Duration]| times.get(2).copied().ok_or("no turn was taken");
    let (plain, received) = (middle(&plain)?, middle(&received)?);
    show("written to a plain file", plain);
    show("received and installed", received);
    let ratio = plain.as_secs_f64() / received.as_secs_f64();
    println!("  ratio {ratio:.2}");
    Ok(())
}

/// The best of five.
fn measure(what: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        work()?;
        best = best.min(began.elapsed());
    }
    show(what, best);
    Ok(())
}

fn show(what: &str, took: Duration) {
    let mib = f64::from(PAGES) * f64::from(PAGE) / f64::from(1 << 20);
    println!("  {what:<25} {:>8.0} MiB/s", mib / took.as_secs_f64());
}
