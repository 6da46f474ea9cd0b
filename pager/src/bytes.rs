//! Little-endian fields out of bytes that nobody vouches for, and the prefix that every format begins with.

/// Takes fields from the front; `None` once the bytes do not suffice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Bytes of a prefix: magic (8), version (4), checksum of these (4).
pub(crate) const PREFIX_BYTES: usize = 16;

/// The first bytes of a format. With a checksum of its own, which no version moves, it tells a newer format from a
/// damaged one.
pub(crate) fn prefix(magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The version in the prefix that `reader` is at, which it then is behind; `None` when that is no prefix of this
/// format.
pub(crate) fn version(reader: &mut Reader<'_>, magic: [u8; 8]) -> Option<u32> {
    let found = reader.take(PREFIX_BYTES)?;
    let mut fields = Reader::new(found);
    fields.take(magic.len())?;
    let version = fields.u32()?;
    (found == prefix(magic, version)).then_some(version)
}
