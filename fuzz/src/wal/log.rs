//! The log's files, damaged and forged.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ferrolite_wal::backend::MemBackend;
use ferrolite_wal::{Log, LogOptions, Record, inspect};

use super::files::{Files, contents, damage, directory, flip};
use crate::tape::Tape;

/// The salt of the log: known here, so that records can be forged.
const SALT: u64 = 42;
/// Where records begin in a segment.
const RECORDS_AT: usize = 4096;

/// A log whose files were damaged: opening it does not panic, no entry comes out of it that was not written, and it can
/// be used on.
///
/// The first byte says what is done to the files: one bit turned over (then what is lost must be *reported*), damage
/// of any kind, or forgery, which puts the checksums right again (then anything may come out, but no panic).
pub fn wal_log(data: &[u8]) {
    let mut tape = Tape::new(data);
    let valid = valid_log();
    let mut files = valid.files.clone();
    match tape.byte() % 4 {
        0 => {
            flip(&mut files, &mut tape);
            check(&directory(&files), valid, Holds::AllOrReported);
        }
        1 | 2 => {
            for _ in 0..=tape.byte() % 8 {
                damage(&mut files, &mut tape);
            }
            check(&directory(&files), valid, Holds::OnlyWritten);
        }
        _ => {
            for _ in 0..=tape.byte() % 8 {
                forge(&mut files, &mut tape);
            }
            check(&directory(&files), valid, Holds::Anything);
        }
    }
}

/// What a log holds after what was done to its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Every entry, or a report that it is damaged.
    AllOrReported,
    /// No entry that was never appended.
    OnlyWritten,
    /// Whatever was forged.
    Anything,
}

fn options() -> LogOptions {
    let mut options = LogOptions::default();
    options.segment_bytes = 64 << 10;
    options.spares = 0;
    options.salt = Some(SALT);
    options
}

/// A log that was written without a fault.
struct ValidLog {
    files: Files,
    /// What it holds, by index.
    entries: BTreeMap<u64, Record>,
    /// What it held, and that was superseded.
    superseded: Vec<Record>,
}

fn record(index: u64, term: u64, len: usize) -> Record {
    let seed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ term << 32;
    let payload: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(len).collect();
    Record {
        index,
        term,
        kind: 1,
        payload: Bytes::from(payload),
    }
}

/// Three segments: the second supersedes the end of the first, the third begins because the second is full.
fn valid_log() -> &'static ValidLog {
    static VALID: OnceLock<ValidLog> = OnceLock::new();
    VALID.get_or_init(|| {
        let backend = MemBackend::new();
        let (log, _) = Log::open(Arc::new(backend.clone()), options()).expect("an empty log");
        let mut valid = ValidLog {
            files: Vec::new(),
            entries: BTreeMap::new(),
            superseded: Vec::new(),
        };
        for (first, last, term, len) in [
            (1, 4, 1, 50),
            (3, 6, 2, 200),
            (7, 7, 2, 61_000),
            (8, 9, 3, 0),
            (10, 14, 3, 90),
        ] {
            let records: Vec<_> = (first..=last).map(|n| record(n, term, len)).collect();
            log.append(&records).expect("memory takes it");
            log.sync().expect("memory takes it");
            valid
                .superseded
                .extend(valid.entries.split_off(&first).into_values());
            valid
                .entries
                .extend(records.into_iter().map(|r| (r.index, r)));
        }
        drop(log);
        valid.files = contents(&backend);
        valid
    })
}

fn check(disk: &MemBackend, valid: &ValidLog, holds: Holds) {
    let before = contents(disk);
    let report = inspect::log(disk);
    assert!(contents(disk) == before, "looking changed something");
    let (log, recovery) = match Log::open(Arc::new(disk.clone()), options()) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(
                holds != Holds::AllOrReported,
                "one bit, and the log is gone: {error}"
            );
            return;
        }
    };
    assert_eq!(
        (recovery.first_index, recovery.last_index),
        (log.first_index(), log.last_index())
    );
    // Nobody can forge more entries than fit into these files.
    assert!(holds == Holds::Anything || log.last_index() <= 14);
    // Whoever only looks is told the same.
    let report = report.expect("the log can be opened");
    assert_eq!(
        (report.first_index, report.last_index, report.torn_bytes),
        (
            recovery.first_index,
            recovery.last_index,
            recovery.torn_bytes
        )
    );
    assert_eq!(report.damaged, recovery.damaged);
    assert_eq!((report.base, &report.terms), (log.base(), &log.term_runs()));
    let readable = readable(&log);
    for entry in readable.values() {
        let known = valid.entries.get(&entry.index) == Some(entry);
        let old = holds == Holds::OnlyWritten && valid.superseded.contains(entry);
        assert!(
            known || old || holds == Holds::Anything,
            "an entry that nobody wrote: {entry:?}"
        );
    }
    if holds == Holds::AllOrReported {
        for index in valid.entries.keys() {
            let reported = recovery
                .damaged
                .iter()
                .any(|range| range.first <= *index && range.last.is_none_or(|last| *index <= last));
            assert!(
                readable.contains_key(index) || reported,
                "entry {index} is missing and not reported: {recovery:?}"
            );
        }
    }
    go_on(disk, log, readable, holds);
}

/// The entries that can be read, each by itself and as part of a range.
fn readable(log: &Log) -> BTreeMap<u64, Record> {
    let (first, last) = (log.first_index(), log.last_index());
    // Forged headers may claim any number of entries; the first and the last hundred speak for them.
    let ends = (first..=last)
        .take(100)
        .chain(last.saturating_sub(99).max(first)..=last);
    let mut found = BTreeMap::new();
    for index in ends {
        match log.entry(index) {
            Ok(entry) => {
                assert_eq!(entry.index, index);
                // No entry is of term 0, but a forged one: there it says that the term is not known.
                assert_eq!(log.term(index).unwrap_or(0), entry.term);
                assert_eq!(
                    log.payload_len(index).ok().map(|len| len as usize),
                    Some(entry.payload.len())
                );
                let range = log
                    .read(index, index.saturating_add(1), usize::MAX)
                    .unwrap_or_default();
                assert_eq!(range.as_slice(), std::slice::from_ref(&entry));
                found.insert(index, entry);
            }
            Err(error) => assert!(error.is_damaged(), "entry {index}: {error}"),
        }
    }
    assert!(
        log.failure().is_none(),
        "what cannot be read stops the log: {:?}",
        log.failure()
    );
    found
}

/// A log that was opened takes new entries, and keeps them and the old ones, also when its end was lost.
fn go_on(disk: &MemBackend, log: Log, mut readable: BTreeMap<u64, Record>, holds: Holds) {
    let (last, term) = (
        log.last_index(),
        readable.values().map(|entry| entry.term).max().unwrap_or(0),
    );
    let Some(next) = last.checked_add(1) else {
        return;
    };
    let new = record(next, term.max(3).saturating_add(1), 300);
    if let Err(error) = log.append(std::slice::from_ref(&new)) {
        assert!(holds == Holds::Anything, "no more entries: {error}");
        return;
    }
    if let Err(error) = log.sync() {
        assert!(holds == Holds::Anything, "no more entries: {error}");
        return;
    }
    drop(log);
    readable.insert(next, new);
    let again = Log::open(Arc::new(disk.clone()), options());
    if holds == Holds::Anything {
        return;
    }
    let (again, recovery) = again.expect("it was open a moment ago");
    for (index, entry) in &readable {
        match again.entry(*index) {
            Ok(found) => assert_eq!(found, *entry),
            Err(error) => panic!("entry {index} is lost: {error}; {recovery:?}"),
        }
    }
}

/// Changes a header of a segment or of a record, and puts its checksum right.
fn forge(files: &mut Files, tape: &mut Tape<'_>) {
    let mut segments: Vec<_> = files
        .iter_mut()
        .filter(|(name, bytes)| name.ends_with(".log") && bytes.len() > RECORDS_AT)
        .collect();
    let nth = usize::from(tape.byte()) % segments.len().max(1);
    let Some((_, bytes)) = segments.get_mut(nth) else {
        return;
    };
    let (what, field) = (tape.byte(), usize::from(tape.byte()));
    let number = match what >> 6 {
        0 => u64::from(tape.short()),
        1 => (u64::MAX >> (tape.byte() % 64)).wrapping_sub(tape.byte().into()),
        2 => u64::from(tape.long()),
        _ => u64::from(tape.long()) << 32 | u64::from(tape.long()),
    };
    if what & 2 == 0 {
        // Both copies of the segment's header; all fields but the last two have eight bytes.
        for copy in [0, 2048] {
            let header = &mut bytes[copy..copy + 92];
            let at = 8 + field % 10 * 8;
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
            seal(header, 12);
            seal(header, 88);
        }
    } else {
        // At one of the first places of a record, or at any.
        let places = (bytes.len() - RECORDS_AT) / 8 - 8;
        let place = tape.place(if what & 4 == 0 { 64 } else { places });
        let offset = RECORDS_AT + place.min(places) * 8;
        let segment = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
        let header = &mut bytes[offset..offset + 48];
        let at = field % 11 * 4;
        let number = &number.to_le_bytes()[..if what & 1 == 0 { 8 } else { 4 }];
        let end = 44.min(at + number.len());
        header[at..end].copy_from_slice(&number[..end - at]);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&SALT.to_le_bytes());
        hasher.update(&segment.to_le_bytes());
        hasher.update(
            &u32::try_from(offset)
                .expect("a segment is small")
                .to_le_bytes(),
        );
        hasher.update(&header[..44]);
        header[44..].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

/// Puts the checksum of the first `len` bytes behind them.
fn seal(bytes: &mut [u8], len: usize) {
    let checksum = crc32fast::hash(&bytes[..len]);
    bytes[len..len + 4].copy_from_slice(&checksum.to_le_bytes());
}
