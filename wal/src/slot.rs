//! A few hundred bytes that are replaced as a whole, and survive a crash and a rotten sector.
//!
//! Votes, the log's mark and the checkpoint mark are all the same thing: a small value, rewritten in place,
//! durable when [`SlotFile::save`] returns. The file has two *slots* that are written in turn, so that a torn
//! write only ever hits the one that is not the newest; each slot has two *copies* in different 4 KiB blocks, so
//! that one rotten block does not take the newest value away:
//!
//! ```text
//! offset 0      slot 0, first copy        4096   slot 1, first copy
//! offset 8192   slot 0, second copy       12288  slot 1, second copy
//! ```
//!
//! A reader takes the valid copy with the highest generation. If a save was torn, that is either the old value
//! or the new one, and nobody was told that the new one is durable.
//!
//! Each copy begins with a prefix of its own checksum, so that *a newer program's file* (the prefix is right, the
//! version is higher) and *a damaged file* are told apart by any version of the program.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, BackendFile};
use crate::bytes_le::{get_u32, get_u64, slice};
use crate::error::Error;
use crate::inspect::{CopyReport, CopyState, SlotReport};
use crate::segment::{MAX_NUMBER, is_no_room};

/// Distance of the copies, and so the largest sector that a torn write or a rotten spot may take at once.
const BLOCK_BYTES: u64 = 4096;
/// The last bytes of the file, which give it its length of 16384.
const LAST_AT: u64 = 4 * BLOCK_BYTES - 512;
/// Bytes read and written per copy.
const COPY_BYTES: usize = 512;
/// Magic (8), version (4), checksum of those two (4).
const PREFIX_BYTES: usize = 16;
/// After the prefix: generation (8), payload length (4).
const PAYLOAD_AT: usize = 28;
/// The largest payload in bytes.
pub const MAX_PAYLOAD_BYTES: usize = COPY_BYTES - PAYLOAD_AT - 4;

/// What kind of slot file it is: the name, and what stands in its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotKind {
    /// File name in its directory.
    pub name: &'static str,
    /// First eight bytes of every copy.
    pub magic: [u8; 8],
    /// Newest version of the payload that this program reads, and the one that it writes.
    pub version: u32,
}

/// A small value with two checksummed slots. See the [module](self).
#[derive(Debug)]
pub struct SlotFile {
    kind: SlotKind,
    file: Arc<dyn BackendFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Generation of the newest value written.
    generation: u64,
    /// The first failure; from then on the only answer.
    failed: Option<Error>,
}

impl SlotFile {
    /// Makes the file with `payload` as its first value; durable on return. A file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`] when there is no room, or what the backend answered. Then a file that has the
    /// name already is as it was.
    pub fn create(
        backend: &dyn Backend,
        kind: SlotKind,
        payload: &[u8],
    ) -> Result<SlotFile, Error> {
        let temporary = format!("{}.new", kind.name);
        let failed = |e| {
            if is_no_room(&e) {
                Error::Full {
                    file: kind.name.to_owned(),
                    needed_bytes: 4 * BLOCK_BYTES,
                }
            } else {
                Error::at("create", kind.name, e)
            }
        };
        let file = backend.open(&temporary, true).map_err(failed)?;
        // What a crash left under the temporary name is worth nothing.
        file.set_len(0).map_err(failed)?;
        // Every place that is ever written is written now, so that no later save needs room on the disk.
        for offset in [0, 1, 2, 3]
            .map(|block| block * BLOCK_BYTES)
            .into_iter()
            .chain([LAST_AT])
        {
            file.write_at(offset, &[0; COPY_BYTES]).map_err(failed)?;
        }
        let slots = SlotFile {
            kind,
            file,
            state: Mutex::new(State {
                generation: 0,
                failed: None,
            }),
        };
        slots.save(payload)?;
        backend.rename(&temporary, kind.name).map_err(failed)?;
        backend.sync().map_err(failed)?;
        Ok(slots)
    }

    /// Opens the file and reads its newest value; `None` when there is no such file.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] when a newer program wrote it, [`Error::Damaged`] when no copy is valid, or what the
    /// backend answered.
    pub fn open(
        backend: &dyn Backend,
        kind: SlotKind,
    ) -> Result<Option<(SlotFile, Vec<u8>)>, Error> {
        let file = match backend.open(kind.name, false) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::at("open", kind.name, e)),
        };
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for block in 0..4 {
            let mut copy = [0; COPY_BYTES];
            match file.read_at(block * BLOCK_BYTES, &mut copy) {
                Ok(_) => {}
                // An unreadable sector is as good as a damaged one: the other copies speak for it.
                Err(e) if newest.is_none() && block == 3 => {
                    return Err(Error::at("read", kind.name, e));
                }
                Err(_) => continue,
            }
            if let Some((generation, payload)) = decode(kind, &copy)?
                && newest.as_ref().is_none_or(|(best, _)| generation > *best)
            {
                newest = Some((generation, payload));
            }
        }
        let Some((generation, payload)) = newest else {
            return Err(Error::Damaged {
                file: kind.name.to_owned(),
                offset: 0,
                index: None,
                term: None,
            });
        };
        let state = Mutex::new(State {
            generation,
            failed: None,
        });
        Ok(Some((SlotFile { kind, file, state }, payload)))
    }

    /// Replaces the value; durable on return.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or what the backend answered; after a failed write or sync the same error for ever,
    /// because nobody knows any more what the file holds.
    pub fn save(&self, payload: &[u8]) -> Result<(), Error> {
        self.write(payload, true)
    }

    /// Replaces the value, to become durable whenever the system writes it. A hint, never a promise: on a full disk the
    /// old value stays.
    ///
    /// # Errors
    /// As [`save`](SlotFile::save).
    pub fn save_hint(&self, payload: &[u8]) -> Result<(), Error> {
        self.write(payload, false)
    }

    fn write(&self, payload: &[u8], durable: bool) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let generation = state.generation + 1;
        let mut copy = encode(self.kind, generation, payload)?;
        let slot = (generation % 2) * BLOCK_BYTES;
        let result = if durable {
            copy.resize(COPY_BYTES, 0);
            self.file
                .write_at(slot, &copy)
                .and_then(|()| self.file.write_at(slot + 2 * BLOCK_BYTES, &copy))
                .and_then(|()| self.file.sync())
        } else {
            // A hint comes with every sync of the log, and is not worth more bytes than it has, nor a second copy: when
            // it is lost, the reader does without.
            self.file.write_at(slot, &copy)
        };
        match result {
            Ok(()) => {
                state.generation = generation;
                Ok(())
            }
            // The newest value is in the other slot, and whoever has an old hint does without the new one.
            Err(e) if !durable && is_no_room(&e) => Ok(()),
            Err(e) => {
                let error = Error::at("write", self.kind.name, e);
                state.failed = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// See [`crate::inspect::slot`].
pub(crate) fn inspect(backend: &dyn Backend, kind: SlotKind) -> Result<Option<SlotReport>, Error> {
    let file = match backend.open(kind.name, false) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::at("open", kind.name, e)),
    };
    let empty = CopyReport {
        state: CopyState::Empty,
        generation: None,
    };
    let mut report = SlotReport {
        file: kind.name,
        generation: None,
        value: None,
        copies: [empty; 4],
    };
    for (copy, block) in report.copies.iter_mut().zip(0..) {
        let mut bytes = [0; COPY_BYTES];
        if file.read_at(block * BLOCK_BYTES, &mut bytes).is_err() {
            copy.state = CopyState::Unreadable;
        } else if let Some((generation, payload)) = decode(kind, &bytes)? {
            copy.state = CopyState::Valid;
            copy.generation = Some(generation);
            if report.generation.is_none_or(|newest| generation > newest) {
                (report.generation, report.value) = (Some(generation), Some(payload));
            }
        } else if bytes != [0; COPY_BYTES] {
            copy.state = CopyState::Damaged;
        }
    }
    Ok(Some(report))
}

/// A copy up to its checksum.
fn encode(kind: SlotKind, generation: u64, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::TooLarge {
            what: "slot",
            len: u64::from(len),
            max: MAX_PAYLOAD_BYTES as u64,
        });
    }
    let mut copy = prefix(kind.magic, kind.version);
    copy.extend_from_slice(&generation.to_le_bytes());
    copy.extend_from_slice(&len.to_le_bytes());
    copy.extend_from_slice(payload);
    let checksum = crc32fast::hash(&copy);
    copy.extend_from_slice(&checksum.to_le_bytes());
    Ok(copy)
}

/// Generation and payload of a valid copy; `None` for anything else but a newer format.
fn decode(kind: SlotKind, copy: &[u8]) -> Result<Option<(u64, Vec<u8>)>, Error> {
    let Some(version) = check_prefix(kind.magic, copy) else {
        return Ok(None);
    };
    if version > kind.version {
        return Err(Error::NewerFormat {
            file: kind.name.to_owned(),
            found: version,
            supported: kind.version,
        });
    }
    let parse = || {
        let generation = get_u64(copy, PREFIX_BYTES).filter(|number| *number <= MAX_NUMBER)?;
        let len = usize::try_from(get_u32(copy, PREFIX_BYTES + 8)?).ok()?;
        if len > MAX_PAYLOAD_BYTES {
            return None;
        }
        let checked = slice(copy, 0, PAYLOAD_AT + len)?;
        let checksum = get_u32(copy, PAYLOAD_AT + len)?;
        let payload = slice(copy, PAYLOAD_AT, len)?.to_vec();
        (crc32fast::hash(checked) == checksum).then_some((generation, payload))
    };
    Ok(parse())
}

/// The first sixteen bytes of every file of ours: magic, version, and a checksum of both.
pub(crate) fn prefix(magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The version in a prefix, if the prefix is whole.
pub(crate) fn check_prefix(magic: [u8; 8], bytes: &[u8]) -> Option<u32> {
    let head = slice(bytes, 0, 12)?;
    if get_u32(bytes, 12)? != crc32fast::hash(head) || slice(bytes, 0, 8)? != magic {
        return None;
    }
    get_u32(bytes, 8)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )]

    use super::*;
    use crate::backend::{Backend, FaultBackend, FaultKind, MemBackend, Operation};

    const KIND: SlotKind = SlotKind {
        name: "slots",
        magic: *b"TESTSLOT",
        version: 1,
    };

    fn reopen(backend: &MemBackend) -> Vec<u8> {
        SlotFile::open(backend, KIND).unwrap().unwrap().1
    }

    /// All of the file is written when it is made: a vote must not fail because the disk filled up in the meantime.
    #[test]
    fn later_saves_need_no_room() {
        let backend = FaultBackend::new();
        // A file that is only made longer has holes, which take room when they are written.
        backend.inject(
            Operation::SetLen,
            1,
            FaultKind::Fails(std::io::ErrorKind::Other),
        );
        let slots = SlotFile::create(&backend, KIND, b"one").unwrap();
        backend.set_capacity(Some(backend.used()));
        assert_eq!(backend.used(), 4 * BLOCK_BYTES);
        slots.save(b"two").unwrap();
        slots.save(b"three").unwrap();
        let other = SlotKind {
            name: "other",
            ..KIND
        };
        assert!(
            SlotFile::create(&backend.fork(), other, b"")
                .unwrap_err()
                .is_full()
        );
    }

    /// The newest value is read back, and a second program version is told from damage.
    #[test]
    fn saves_and_versions() {
        let backend = MemBackend::new();
        assert!(SlotFile::open(&backend, KIND).unwrap().is_none());
        let slots = SlotFile::create(&backend, KIND, b"one").unwrap();
        assert_eq!(reopen(&backend), b"one");
        slots.save(b"two").unwrap();
        slots.save(b"three").unwrap();
        assert_eq!(reopen(&backend), b"three");
        assert!(slots.save(&[0; MAX_PAYLOAD_BYTES + 1]).is_err());
        slots.save(&[7; MAX_PAYLOAD_BYTES]).unwrap();
        assert_eq!(reopen(&backend), [7; MAX_PAYLOAD_BYTES]);
        // A hint is written over a longer value, in either slot, and leaves what was behind it.
        for hint in [&b"a hint"[..], b"", b"another"] {
            slots.save_hint(hint).unwrap();
            assert_eq!(reopen(&backend), hint);
        }

        let newer = SlotKind { version: 2, ..KIND };
        SlotFile::open(&backend, newer)
            .unwrap()
            .unwrap()
            .0
            .save(b"four")
            .unwrap();
        let error = SlotFile::open(&backend, KIND).unwrap_err();
        assert!(
            matches!(
                error,
                Error::NewerFormat {
                    found: 2,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    /// A generation that nobody gets to, with a right checksum, is no copy: the next save would have no number.
    #[test]
    fn impossible_generations() {
        let backend = MemBackend::new();
        SlotFile::create(&backend, KIND, b"one").unwrap();
        let file = backend.open(KIND.name, false).unwrap();
        for generation in [u64::MAX, MAX_NUMBER + 1] {
            file.write_at(0, &encode(KIND, generation, b"forged").unwrap())
                .unwrap();
            let (slots, found) = SlotFile::open(&backend, KIND).unwrap().unwrap();
            assert_eq!(found, b"one");
            slots.save(b"one").unwrap();
        }
    }

    /// One flipped bit anywhere, or one block gone, never loses the newest value.
    #[test]
    fn survives_every_bit_flip_and_a_lost_block() {
        let backend = MemBackend::new();
        let slots = SlotFile::create(&backend, KIND, b"old").unwrap();
        slots.save(b"new").unwrap();
        let file = backend.open(KIND.name, false).unwrap();
        let len = file.len().unwrap();
        for offset in (0..len).filter(|o| o % BLOCK_BYTES < 600) {
            for bit in 0..8 {
                let mut byte = [0];
                file.read_at(offset, &mut byte).unwrap();
                file.write_at(offset, &[byte[0] ^ (1 << bit)]).unwrap();
                assert_eq!(reopen(&backend), b"new", "bit {bit} of byte {offset}");
                file.write_at(offset, &byte).unwrap();
            }
        }
        for block in 0..4 {
            let mut saved = [0; 4096];
            file.read_at(block * 4096, &mut saved).unwrap();
            file.write_at(block * 4096, &[0xff; 4096]).unwrap();
            assert_eq!(reopen(&backend), b"new", "block {block}");
            file.write_at(block * 4096, &saved).unwrap();
        }
        file.write_at(0, &[0; 16384]).unwrap();
        assert!(SlotFile::open(&backend, KIND).unwrap_err().is_damaged());
    }
}
