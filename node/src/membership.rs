//! The configuration at the log's beginning, which the log itself no longer tells.
//!
//! When entries are dropped from the log's front, the members that they named are kept in a small file of
//! their own, written before the entries go. It may hold several configurations with their indexes: the log
//! drops whole segments, so where it will begin is known only afterwards, and the reader takes the last one
//! that is not after the log's boundary.
//!
//! ```text
//! "FRLTMEMB" · u32 version = 1 · u32 CRC-32 of what follows
//! the list, as postcard encodes it: (index, the configuration as the consensus encodes it) each
//! ```

use bytes::{Buf, BufMut};
use ferrolite_consensus::{Configuration, Index};
use ferrolite_wal::backend::{Backend, read_exact_at};

use crate::error::Error;

const FILE: &str = "membership";
const NEW: &str = "membership.new";
const MAGIC: &[u8; 8] = b"FRLTMEMB";
const VERSION: u32 = 1;

/// Replaces the file in `directory`; durable on return.
pub(crate) fn save(directory: &dyn Backend, known: &[(Index, Configuration)]) -> Result<(), Error> {
    let list: Vec<(Index, Vec<u8>)> = known
        .iter()
        .map(|(index, configuration)| (*index, configuration.encode().to_vec()))
        .collect();
    let body = postcard::to_allocvec(&list).map_err(|error| {
        Error::io(
            "saving the members of the cluster",
            std::io::Error::other(error),
        )
    })?;
    let mut out = Vec::with_capacity(body.len() + 16);
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(crc32fast::hash(&body));
    out.put_slice(&body);
    let write = || -> std::io::Result<()> {
        let file = directory.open(NEW, true)?;
        // What an earlier attempt has left.
        file.set_len(0)?;
        file.write_at(0, &out)?;
        file.sync()?;
        directory.rename(NEW, FILE)?;
        directory.sync()
    };
    write().map_err(|error| Error::io("saving the members of the cluster", error))
}

/// What [`save`] wrote last; nothing if it never did.
pub(crate) fn load(directory: &dyn Backend) -> Result<Vec<(Index, Configuration)>, Error> {
    let read = || -> std::io::Result<Option<Vec<u8>>> {
        let file = match directory.open(FILE, false) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(std::io::Error::other)?];
        read_exact_at(&*file, 0, &mut bytes)?;
        Ok(Some(bytes))
    };
    let read = read().map_err(|error| Error::io("reading the members of the cluster", error))?;
    let Some(bytes) = read else {
        return Ok(Vec::new());
    };
    decode(&bytes).ok_or_else(|| {
        ferrolite_wal::Error::Damaged {
            file: FILE.to_owned(),
            offset: 0,
            index: None,
            term: None,
        }
        .into()
    })
}

fn decode(bytes: &[u8]) -> Option<Vec<(Index, Configuration)>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let (version, crc) = (rest.try_get_u32_le().ok()?, rest.try_get_u32_le().ok()?);
    if version != VERSION || crc != crc32fast::hash(rest) {
        return None;
    }
    let (list, rest): (Vec<(Index, Vec<u8>)>, _) = postcard::take_from_bytes(rest).ok()?;
    let known: Option<Vec<_>> = list
        .into_iter()
        .map(|(index, bytes)| Some((index, Configuration::decode(&bytes).ok()?)))
        .collect();
    known.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use ferrolite_consensus::{Member, Role};
    use ferrolite_wal::backend::DirBackend;

    /// What was saved comes back; what was damaged is noticed, bit by bit.
    #[test]
    fn keeps_members() {
        let dir = tempfile::tempdir().unwrap();
        let backend = DirBackend::open(dir.path()).unwrap();
        assert!(load(&backend).unwrap().is_empty());
        let one = Configuration::new(vec![Member::new(1, Role::Voter, "a:1")]).unwrap();
        let two = Configuration::new(vec![
            Member::new(1, Role::Voter, "a:1"),
            Member::new(2, Role::Spare, "b:2"),
        ])
        .unwrap();
        let known = vec![(1, one), (17, two)];
        save(&backend, &known).unwrap();
        assert_eq!(load(&backend).unwrap(), known);
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_none(), "bit {bit}");
        }
    }
}
