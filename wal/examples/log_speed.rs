//! How fast the log appends and syncs on this disk, beside the same bytes written to a plain file.
//!
//! ```sh
//! cargo run --release -p ferrolite-wal --example log_speed -- --dir DIR [--entry-bytes 4200] [--seconds 3]
//! ```
//!
//! Each line is a way of using the log: one thread that appends so many entries and syncs, or so many threads that each
//! append one entry and sync, as clients do who wait for their commits. Beside it stands a plain file, filled
//! beforehand, that is written over with as many bytes at a time and synced with `fdatasync`. The two take turns, because
//! a disk is never equally fast for long; shown are medians.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrolite_wal::backend::{Backend, BackendFile, DirBackend};
use ferrolite_wal::{Log, LogOptions, Record};

const TURNS: u32 = 9;
/// What the log keeps, and what the plain file is written over and over in.
const KEPT_BYTES: usize = 32 << 20;

/// One way of using the log.
struct Load {
    threads: usize,
    batch: u64,
}

const LOADS: [Load; 5] = [
    Load {
        threads: 1,
        batch: 1,
    },
    Load {
        threads: 1,
        batch: 16,
    },
    Load {
        threads: 1,
        batch: 128,
    },
    Load {
        threads: 16,
        batch: 1,
    },
    Load {
        threads: 64,
        batch: 1,
    },
];

/// What one turn came to.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    seconds: f64,
    entries: u64,
    syncs: u64,
    payload_bytes: f64,
    written_bytes: f64,
}

/// Counts what goes to the disk.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct Counted<T> {
    inner: T,
    counts: Arc<Counts>,
}

impl Backend for Counted<DirBackend> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn BackendFile>> {
        let inner = self.inner.open(name, create)?;
        let counts = Arc::clone(&self.counts);
        Ok(Arc::new(Counted { inner, counts }))
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

impl BackendFile for Counted<Arc<dyn BackendFile>> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.counts
            .written
            .fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.write_at(offset, buf)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync()
    }
}

struct Bench {
    log: Log,
    counts: Arc<Counts>,
    plain: File,
    plain_at: usize,
    payload: Bytes,
}

impl Bench {
    fn new(dir: &Path, entry_bytes: usize) -> Result<Bench, Box<dyn Error>> {
        let counts = Arc::new(Counts::default());
        let backend = Counted {
            inner: DirBackend::open(dir.join("log_speed"))?,
            counts: Arc::clone(&counts),
        };
        let (log, _) = Log::open(Arc::new(backend), LogOptions::default())?;
        let plain = File::create(dir.join("log_speed.plain"))?;
        plain.write_all_at(&vec![0; KEPT_BYTES], 0)?;
        plain.sync_all()?;
        Ok(Bench {
            log,
            counts,
            plain,
            plain_at: 0,
            payload: Bytes::from(vec![0x5a; entry_bytes]),
        })
    }

    /// Bytes that so many entries take in the log.
    fn stored_bytes(&self, entries: u64) -> usize {
        let record = (self.payload.len() + 48).next_multiple_of(8);
        usize::try_from(entries).map_or(usize::MAX, |entries| record * entries)
    }

    /// Appends entries behind whatever the log has, and gives up its front now and then, as a node does after a
    /// checkpoint. The caller keeps others from appending.
    fn append(&self, count: u64) -> Result<(), ferrolite_wal::Error> {
        let first = self.log.last_index() + 1;
        let record = |index| Record {
            index,
            term: 1,
            kind: 0,
            payload: self.payload.clone(),
        };
        let records: Vec<_> = (first..first + count).map(record).collect();
        self.log.append(&records)?;
        if self.log.size() > KEPT_BYTES as u64 {
            let middle = self.log.first_index().midpoint(self.log.last_index());
            self.log.drop_prefix(middle)?;
        }
        Ok(())
    }

    fn log_turn(&self, load: &Load, time: Duration) -> Result<Turn, Box<dyn Error>> {
        let (written, syncs) = (
            self.counts.written.load(Ordering::Relaxed),
            self.counts.syncs.load(Ordering::Relaxed),
        );
        let next = std::sync::Mutex::new(());
        let begin = Instant::now();
        let client = || -> Result<u64, ferrolite_wal::Error> {
            let mut entries = 0;
            while begin.elapsed() < time {
                let turn = next.lock();
                self.append(load.batch)?;
                drop(turn);
                self.log.sync()?;
                entries += load.batch;
            }
            Ok(entries)
        };
        let entries = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..load.threads).map(|_| scope.spawn(client)).collect();
            let mut entries = 0;
            for thread in threads {
                entries += thread.join().map_err(|_| "a client panicked")??;
            }
            Ok::<u64, Box<dyn Error>>(entries)
        })?;
        Ok(Turn {
            seconds: begin.elapsed().as_secs_f64(),
            entries,
            syncs: self.counts.syncs.load(Ordering::Relaxed) - syncs,
            payload_bytes: entries as f64 * self.payload.len() as f64,
            written_bytes: (self.counts.written.load(Ordering::Relaxed) - written) as f64,
        })
    }

    /// Writes as many bytes at a time as the log did, and syncs them.
    fn plain_turn(&mut self, entries_a_sync: u64, time: Duration) -> io::Result<Turn> {
        let bytes = vec![0x5a; self.stored_bytes(entries_a_sync)];
        let mut turn = Turn::default();
        let begin = Instant::now();
        while begin.elapsed() < time {
            if self.plain_at + bytes.len() > KEPT_BYTES {
                self.plain_at = 0;
            }
            self.plain.write_all_at(&bytes, self.plain_at as u64)?;
            self.plain.sync_data()?;
            self.plain_at += bytes.len();
            turn.syncs += 1;
            turn.entries += entries_a_sync;
            turn.written_bytes += bytes.len() as f64;
        }
        turn.seconds = begin.elapsed().as_secs_f64();
        turn.payload_bytes = turn.entries as f64 * self.payload.len() as f64;
        Ok(turn)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut dir, mut entry_bytes, mut seconds) = (None, 4200, 3.0);
    let mut args = std::env::args().skip(1);
    while let (Some(name), value) = (args.next(), args.next()) {
        let value = value.ok_or("each option has a value")?;
        match name.as_str() {
            "--dir" => dir = Some(value),
            "--entry-bytes" => entry_bytes = value.parse()?,
            "--seconds" => seconds = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let dir = dir.ok_or("usage: log_speed --dir DIR [--entry-bytes 4200] [--seconds 3]")?;
    let dir = Path::new(&dir);
    let mut bench = Bench::new(dir, entry_bytes)?;
    let time = Duration::from_secs_f64(seconds / f64::from(TURNS));

    // Until the log's files are there and are used again.
    for _ in 0..2 * KEPT_BYTES / bench.stored_bytes(64) + 1 {
        bench.append(64)?;
        bench.log.sync()?;
    }
    println!(
        "entries of {entry_bytes} bytes; each line {seconds} s of the log and as much of a plain file, in {TURNS} turns"
    );
    println!("threads  batch   appends/s  a sync   log MB/s  plain MB/s  ratio  written/payload");
    for load in &LOADS {
        let (mut log_turns, mut ratios, mut plain_turns) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let of_log = bench.log_turn(load, time)?;
            let entries_a_sync = (of_log.entries / of_log.syncs.max(1)).max(1);
            let of_plain = bench.plain_turn(entries_a_sync, time)?;
            ratios.push(rate(&of_log) / rate(&of_plain));
            log_turns.push(of_log);
            plain_turns.push(of_plain);
        }
        let by =
            |turns: &[Turn], value: fn(&Turn) -> f64| median(turns.iter().map(value).collect());
        println!(
            "{:7}  {:5}  {:10.0}  {:6.1}  {:9.2}  {:10.2}  {:5.2}  {:15.3}",
            load.threads,
            load.batch,
            by(&log_turns, |turn| turn.entries as f64 / turn.seconds),
            by(&log_turns, |turn| turn.entries as f64 / turn.syncs as f64),
            by(&log_turns, |turn| rate(turn) / 1e6),
            by(&plain_turns, |turn| rate(turn) / 1e6),
            median(ratios),
            by(&log_turns, |turn| turn.written_bytes / turn.payload_bytes),
        );
    }
    std::fs::remove_file(dir.join("log_speed.plain"))?;
    Ok(())
}

/// Payload bytes a second.
fn rate(turn: &Turn) -> f64 {
    turn.payload_bytes / turn.seconds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
