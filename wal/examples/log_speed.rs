//! How fast the log appends and syncs on this disk, beside the same bytes written to a plain file.
//!
//! `cargo run --release -p ferrolite-wal --example log_speed -- DIR [ENTRY_BYTES [ENTRIES_A_SYNC [SYNCS]]]`

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrolite_wal::backend::DirBackend;
use ferrolite_wal::{Log, LogOptions, Record};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .ok_or("usage: log_speed DIR [ENTRY_BYTES [ENTRIES_A_SYNC [SYNCS]]]")?;
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse::<usize>());
    let (entry_bytes, batch, syncs) = (number(4200)?, number(16)?, number(500)?);

    let log_dir = Path::new(&dir).join("log_speed");
    let (log, _) = Log::open(Arc::new(DirBackend::open(&log_dir)?), LogOptions::default())?;
    let payload = Bytes::from(vec![0x5a; entry_bytes]);
    let mut next = log.last_index() + 1;
    let mut append = |syncs: usize| -> Result<Duration, ferrolite_wal::Error> {
        let begin = Instant::now();
        for _ in 0..syncs {
            let records: Vec<_> = (0..batch)
                .map(|_| next_record(&mut next, &payload))
                .collect();
            log.append(&records)?;
            log.sync()?;
            // As a node does after a checkpoint: keep some megabytes, give the rest up.
            if log.disk_bytes() > 32 << 20 {
                log.drop_prefix(log.first_index() + (log.last_index() - log.first_index()) / 2)?;
            }
        }
        Ok(begin.elapsed())
    };
    // The first round makes the files that later ones reuse.
    append(((48 << 20) / (batch * (entry_bytes + 48))).min(2000))?;
    let with_log = append(syncs)?;

    // The disk's own limit: one write and one fdatasync a batch, over and over in a file that is there already.
    let plain_path = Path::new(&dir).join("log_speed.plain");
    let plain = File::create(&plain_path)?;
    let bytes = vec![0x5a; (entry_bytes + 48).next_multiple_of(8) * batch];
    let span = 4usize << 20;
    plain.write_all_at(&vec![0; span + bytes.len()], 0)?;
    plain.sync_all()?;
    let begin = Instant::now();
    let mut at = 0;
    for _ in 0..syncs {
        plain.write_all_at(&bytes, at as u64)?;
        plain.sync_data()?;
        at = (at + bytes.len()) % span;
    }
    let with_file = begin.elapsed();
    std::fs::remove_file(plain_path)?;

    let report = |name: &str, time: Duration| {
        let seconds = time.as_secs_f64();
        let (syncs, bytes) = (syncs as f64, (syncs * batch * entry_bytes) as f64);
        println!(
            "{name:>10}: {:9.0} syncs/s  {:9.2} MB/s",
            syncs / seconds,
            bytes / seconds / 1e6
        );
    };
    report("log", with_log);
    report("plain file", with_file);
    println!(
        "     ratio: {:.2}",
        with_file.as_secs_f64() / with_log.as_secs_f64()
    );
    Ok(())
}

fn next_record(next: &mut u64, payload: &Bytes) -> Record {
    let record = Record {
        index: *next,
        term: 1,
        kind: 0,
        payload: payload.clone(),
    };
    *next += 1;
    record
}
