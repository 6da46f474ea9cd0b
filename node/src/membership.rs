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

use std::io::Write;
use std::path::Path;

use bytes::{Buf, BufMut};
use ferrolite_consensus::{Configuration, Index};

use crate::error::Error;
use crate::redo::sync_directory;

const FILE: &str = "membership";
const MAGIC: &[u8; 8] = b"FRLTMEMB";
const VERSION: u32 = 1;

/// Replaces the file in `directory`; durable on return.
pub(crate) fn save(directory: &Path, known: &[(Index, Configuration)]) -> Result<(), Error> {
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
    let temporary = directory.join("membership.new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&out)?;
        file.sync_all()?;
        std::fs::rename(&temporary, directory.join(FILE))
    };
    write().map_err(|error| Error::io("saving the members of the cluster", error))?;
    sync_directory(directory)
}

/// What [`save`] wrote last; nothing if it never did.
pub(crate) fn load(directory: &Path) -> Result<Vec<(Index, Configuration)>, Error> {
    let bytes = match std::fs::read(directory.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("reading the members of the cluster", error)),
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

    /// What was saved comes back; what was damaged is noticed, bit by bit.
    #[test]
    fn keeps_members() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        let one = Configuration::new(vec![Member::new(1, Role::Voter, "a:1")]).unwrap();
        let two = Configuration::new(vec![
            Member::new(1, Role::Voter, "a:1"),
            Member::new(2, Role::Spare, "b:2"),
        ])
        .unwrap();
        let known = vec![(1, one), (17, two)];
        save(dir.path(), &known).unwrap();
        assert_eq!(load(dir.path()).unwrap(), known);
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_none(), "bit {bit}");
        }
    }
}
