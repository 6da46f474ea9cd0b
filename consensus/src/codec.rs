//! Reading bytes that may come from anyone.
//!
//! Every format of this crate is little-endian, starts with a version byte, and is read by a [`Reader`] that checks
//! each length against what is really there before it allocates or slices, so that no input can make it panic or
//! take more memory than the input itself is long.

use alloc::string::String;
use bytes::{Buf, Bytes};
use core::fmt;

/// Why some bytes are not what they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes are left over after the value.
    TrailingBytes,
    /// Written by a version of the format that this program does not know.
    Version {
        /// The version that was found.
        found: u8,
        /// The highest version that can be read.
        known: u8,
    },
    /// A field holds a value that has no meaning; the text names the field.
    Invalid(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::TrailingBytes => f.write_str("bytes are left over at the end"),
            Self::Version { found, known } => {
                write!(
                    f,
                    "format version {found} is not one this program reads (it reads up to {known})"
                )
            }
            Self::Invalid(field) => write!(f, "the field `{field}` holds an impossible value"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A cursor over shared bytes; what it hands out as [`Bytes`] is a slice of the input, not a copy.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.rest.try_get_u8().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.rest
            .try_get_u16_le()
            .map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.rest
            .try_get_u32_le()
            .map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.rest
            .try_get_u64_le()
            .map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, DecodeError> {
        self.rest
            .try_get_u128_le()
            .map_err(|_| DecodeError::Truncated)
    }

    /// A byte that must be 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("flag")),
        }
    }

    /// The leading version byte, which must be `known`.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), DecodeError> {
        match self.u8()? {
            found if found == known => Ok(()),
            found => Err(DecodeError::Version { found, known }),
        }
    }

    /// Bytes led by their length as a `u32`.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.u32()?).map_err(|_| DecodeError::Truncated)?;
        if length > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(length))
    }

    /// UTF-8 text led by its length as a `u16`.
    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let length = usize::from(self.u16()?);
        if length > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        let raw = self.rest.split_to(length);
        core::str::from_utf8(&raw)
            .map(String::from)
            .map_err(|_| DecodeError::Invalid("text"))
    }

    /// How many bytes are still unread.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A count of values that take at least `least_bytes` each; more than could be there is refused at once.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32()?).map_err(|_| DecodeError::Truncated)?;
        match count.checked_mul(least_bytes) {
            Some(least) if least <= self.remaining() => Ok(count),
            _ => Err(DecodeError::Truncated),
        }
    }

    /// The end: nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}
