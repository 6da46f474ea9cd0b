//! How fast the log appends and syncs on this disk, beside the same bytes written to a plain file.
//!
//! `cargo run --release -p ferrolite-wal --example log_speed -- DIR [ENTRY_BYTES [ENTRIES_A_SYNC [SYNCS]]]`
//!
//! The two take turns, because a disk is never equally fast for long; the medians of nine turns are shown.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ferrolite_wal::backend::DirBackend;
use ferrolite_wal::{Log, LogOptions, Record};

const TURNS: usize = 9;
/// What the log keeps, and what the plain file is written over and over in.
const KEPT_BYTES: usize = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .ok_or("usage: log_speed DIR [ENTRY_BYTES [ENTRIES_A_SYNC [SYNCS]]]")?;
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse::<usize>());
    let (entry_bytes, batch, syncs) = (number(4200)?, number(16)?, number(500)?);
    let batch_bytes = (entry_bytes + 48).next_multiple_of(8) * batch;

    let (log, _) = Log::open(
        Arc::new(DirBackend::open(Path::new(&dir).join("log_speed"))?),
        LogOptions::default(),
    )?;
    let payload = Bytes::from(vec![0x5a; entry_bytes]);
    let append = |syncs: usize| -> Result<f64, ferrolite_wal::Error> {
        let begin = Instant::now();
        for _ in 0..syncs {
            let first = log.last_index() + 1;
            let record = |index| Record {
                index,
                term: 1,
                kind: 0,
                payload: payload.clone(),
            };
            log.append(
                &(first..first + batch as u64)
                    .map(record)
                    .collect::<Vec<_>>(),
            )?;
            log.sync()?;
            // As a node does after a checkpoint: keep some megabytes, give the rest up.
            if log.disk_bytes() > KEPT_BYTES as u64 {
                log.drop_prefix(log.first_index().midpoint(log.last_index()))?;
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    };

    let path = Path::new(&dir).join("log_speed.plain");
    let plain = File::create(&path)?;
    let bytes = vec![0x5a; batch_bytes];
    let mut at = 0;
    plain.write_all_at(&vec![0; KEPT_BYTES + batch_bytes], 0)?;
    plain.sync_all()?;
    let mut write = |syncs: usize| -> std::io::Result<f64> {
        let begin = Instant::now();
        for _ in 0..syncs {
            plain.write_all_at(&bytes, at as u64)?;
            plain.sync_data()?;
            at = (at + batch_bytes) % KEPT_BYTES;
        }
        Ok(begin.elapsed().as_secs_f64())
    };

    // Until the log's files are there and are used again.
    append(2 * KEPT_BYTES / batch_bytes + 1)?;
    let (mut log_turns, mut file_turns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (of_log, of_file) = (append(syncs / TURNS + 1)?, write(syncs / TURNS + 1)?);
        log_turns.push(of_log);
        file_turns.push(of_file);
        ratios.push(of_file / of_log);
    }
    std::fs::remove_file(path)?;

    for (name, turns) in [("log", log_turns), ("plain file", file_turns)] {
        let syncs = (syncs / TURNS + 1) as f64 / median(turns);
        println!(
            "{name:>10}: {syncs:9.0} syncs/s  {:9.2} MB/s",
            syncs * (batch * entry_bytes) as f64 / 1e6
        );
    }
    println!("     ratio: {:.2}", median(ratios));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
