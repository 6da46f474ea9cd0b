//! Directories in memory, copied and damaged.

use ferrolite_wal::backend::{Backend, MemBackend};

use crate::tape::Tape;

/// Files by name, apart from any directory.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// What a directory holds.
pub(super) fn contents(backend: &MemBackend) -> Files {
    let mut names = backend.list().expect("memory lists");
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let file = backend.open(&name, false).expect("it was listed");
            let len = usize::try_from(file.len().expect("memory has a length")).expect("in memory");
            let mut bytes = vec![0; len];
            assert_eq!(file.read_at(0, &mut bytes).expect("memory reads"), len);
            (name, bytes)
        })
        .collect()
}

/// A directory that holds these files.
pub(super) fn directory(files: &Files) -> MemBackend {
    let backend = MemBackend::new();
    for (name, bytes) in files {
        let file = backend.open(name, true).expect("memory opens");
        file.write_at(0, bytes).expect("memory writes");
    }
    backend
}

/// Damages one file in one way.
pub(super) fn damage(files: &mut Files, tape: &mut Tape<'_>) {
    if files.is_empty() {
        return;
    }
    let nth = usize::from(tape.byte()) % files.len();
    let way = tape.byte();
    let other = files[usize::from(way >> 4) % files.len()].1.clone();
    let bytes = &mut files[nth].1;
    let at = tape.place(bytes.len());
    match way & 0xf {
        // A few bytes as the input has them.
        0..=3 => {
            let piece = tape.take(usize::from(way & 3) * 4 + 1);
            put(bytes, at, piece);
        }
        4 => put(bytes, at, &[0; 512]),
        5 => put(bytes, at / 4096 * 4096, &[0; 4096]),
        6 => put(bytes, at / 512 * 512, &[0xa5; 512]),
        7 => bytes.truncate(at),
        8 => bytes.resize(bytes.len() + tape.below(8192), tape.byte()),
        9 => bytes.clear(),
        // A piece of one file in another: what a misdirected write leaves.
        10 | 11 => {
            let from = tape.place(other.len());
            let to = (from + tape.below(8192)).min(other.len());
            put(bytes, at, &other[from..to]);
        }
        12 => *bytes = other,
        13 => {
            files.remove(nth);
        }
        14 => {
            let (name, bytes) = files[nth].clone();
            files.push((format!("{name}.new"), bytes));
        }
        // A small number as the input has it, at a place where numbers stand.
        _ => {
            let number = u64::from(tape.long());
            put(bytes, at / 8 * 8, &number.to_le_bytes());
        }
    }
}

/// Turns over one bit, and says in which file, if there was one.
pub(super) fn flip(files: &mut Files, tape: &mut Tape<'_>) {
    let nth = usize::from(tape.byte()) % files.len().max(1);
    if let Some((_, bytes)) = files.get_mut(nth) {
        let at = tape.place(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (tape.byte() % 8);
        }
    }
}

/// Writes into a file, as far as it reaches.
fn put(bytes: &mut [u8], at: usize, piece: &[u8]) {
    let end = bytes.len().min(at + piece.len());
    if let Some(target) = bytes.get_mut(at..end) {
        target.copy_from_slice(&piece[..target.len()]);
    }
}
