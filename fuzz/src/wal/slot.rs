//! Small values that must survive.

use ferrolite_wal::backend::{Backend, MemBackend};
use ferrolite_wal::{SlotFile, SlotKind, inspect};

use super::files::{contents, damage, directory, flip};
use crate::tape::Tape;

const KIND: SlotKind = SlotKind {
    name: "value",
    magic: *b"FUZZSLOT",
    version: 1,
};

/// A slot file that was damaged, or never was one: what it yields was saved, and one flipped bit or one lost block
/// takes nothing away. What could be opened, whatever it held, keeps what is saved from then on.
///
/// The first byte says which of these is tried.
pub fn wal_slot(data: &[u8]) {
    let mut tape = Tape::new(data);
    match tape.byte() % 4 {
        0 | 1 => damaged(&mut tape),
        2 => any_file(tape.rest()),
        _ => any_value(tape.rest()),
    }
}

/// A file of a few saves, with damage.
fn damaged(tape: &mut Tape<'_>) {
    let backend = MemBackend::new();
    let mut saved = vec![vec![1; usize::from(tape.byte())]];
    let slots = SlotFile::create(&backend, KIND, &saved[0]).expect("memory takes it");
    for nth in 0..tape.byte() % 4 {
        let value = vec![nth + 2; usize::from(tape.byte())];
        slots.save(&value).expect("memory takes it");
        saved.push(value);
    }
    drop(slots);
    let newest = saved.last().cloned();
    let mut files = contents(&backend);
    let harmless = match tape.byte() % 3 {
        0 => {
            flip(&mut files, tape);
            true
        }
        1 => {
            let block = usize::from(tape.byte() % 4) * 4096;
            files[0].1[block..block + 4096].fill(tape.byte());
            true
        }
        _ => {
            for _ in 0..=tape.byte() % 4 {
                damage(&mut files, tape);
            }
            false
        }
    };
    let disk = directory(&files);
    look(&disk);
    match SlotFile::open(&disk, KIND) {
        Ok(Some((slots, value))) => {
            assert!(saved.contains(&value), "a value that was never saved");
            assert!(!harmless || Some(&value) == newest.as_ref(), "an old value");
            use_on(&disk, &slots);
        }
        Ok(None) => assert!(!harmless, "the file is gone"),
        Err(error) => assert!(!harmless && error.is_damaged(), "{error}"),
    }
}

/// A file of these bytes.
fn any_file(bytes: &[u8]) {
    let disk = directory(&vec![(KIND.name.to_owned(), bytes.to_vec())]);
    look(&disk);
    match SlotFile::open(&disk, KIND) {
        Ok(Some((slots, _))) => use_on(&disk, &slots),
        Ok(None) => panic!("the file is there"),
        Err(error) => assert!(error.is_damaged() || error.is_wrong_directory(), "{error}"),
    }
}

/// These bytes as the value: kept, or refused.
fn any_value(bytes: &[u8]) {
    let disk = MemBackend::new();
    match SlotFile::create(&disk, KIND, bytes) {
        Ok(slots) => {
            let (_, found) = SlotFile::open(&disk, KIND)
                .expect("it was just made")
                .expect("it is there");
            assert_eq!(found, bytes);
            use_on(&disk, &slots);
        }
        Err(error) => assert!(error.is_refused(), "{error}"),
    }
}

/// Whoever only looks sees the value that opening the file yields, and damage where there is none.
fn look(disk: &MemBackend) {
    let before = contents(disk);
    let report = inspect::slot(disk, KIND);
    match (report, SlotFile::open(disk, KIND)) {
        (Ok(Some(report)), Ok(Some((_, value)))) => assert_eq!(report.value, Some(value)),
        (Ok(Some(report)), Err(error)) => {
            assert!(error.is_damaged() && report.value.is_none(), "{error}");
            assert_eq!(report.damage().count(), 4);
        }
        (Ok(None), Ok(None)) => {}
        (Err(report), Err(error)) => assert_eq!(report.to_string(), error.to_string()),
        (report, opened) => panic!("{report:?}, {opened:?}"),
    }
    assert!(contents(disk) == before, "looking changed something");
}

/// What could be opened can be saved to, and yields what was saved last.
fn use_on(disk: &dyn Backend, slots: &SlotFile) {
    for value in [&b"again"[..], b"", &[9; 300]] {
        slots.save(value).expect("memory takes it");
        let (_, found) = SlotFile::open(disk, KIND)
            .expect("it was just saved")
            .expect("it is there");
        assert_eq!(found, value);
    }
}
