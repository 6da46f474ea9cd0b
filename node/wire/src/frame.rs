//! The outermost layer: the first word of a connection, and the header word before every body.
//!
//! Everything else of the protocol lives inside a body, so this is the only place where a reader has to decide
//! how many bytes to wait for. The length is the peer's word: it is checked against the caller's limit before
//! anything is reserved for it, and [`Progress::Partial`] suggests growing the buffer in steps that follow what
//! has really arrived, so that announcing much costs the announcer as much as sending it.

use bytes::{Buf, Bytes, BytesMut};

use crate::WireError;

/// The unit of the protocol's layout, in bytes.
pub const WORD_BYTES: usize = 8;

/// A limit for request bodies that lets a blob of 100 MB through, in bytes.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 128 * 1024 * 1024 + 64 * 1024;

/// The smallest step in which a buffer should grow, in bytes.
const GROWTH_STEP_BYTES: u64 = 64 * 1024;

/// The protocol version that a connection opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// Version 1, the current one.
    #[default]
    One,
    /// The version from before dqlite 1.0: LEADER is answered with an address alone.
    Legacy,
}

impl Version {
    const ONE_WORD: u64 = 1;
    const LEGACY_WORD: u64 = 0x8610_4dd7_6043_3fe5;

    /// Reads the first word of a connection.
    ///
    /// # Errors
    /// [`WireError::UnknownVersion`] for any other word: an HTTP request, noise, a client of a later protocol.
    pub fn decode(word: [u8; WORD_BYTES]) -> Result<Self, WireError> {
        match u64::from_le_bytes(word) {
            Self::ONE_WORD => Ok(Self::One),
            Self::LEGACY_WORD => Ok(Self::Legacy),
            other => Err(WireError::UnknownVersion(other)),
        }
    }

    /// The word to open a connection with.
    pub fn encode(self) -> [u8; WORD_BYTES] {
        match self {
            Self::One => Self::ONE_WORD.to_le_bytes(),
            Self::Legacy => Self::LEGACY_WORD.to_le_bytes(),
        }
    }
}

/// The word before a body: `u32` body length in words, `u8` type, `u8` schema, `u16` unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// The length of the body in words of eight bytes.
    pub words: u32,
    /// What the body is: a request type or a response type, by direction.
    pub kind: u8,
    /// The version of the body's layout.
    pub schema: u8,
}

impl Header {
    /// The length of an encoded header in bytes.
    pub const LEN_BYTES: usize = WORD_BYTES;

    /// Reads a header. Every word is one; the unused bytes are ignored, as they may mean something one day.
    pub fn decode(word: [u8; Self::LEN_BYTES]) -> Self {
        let [w0, w1, w2, w3, kind, schema, _, _] = word;
        Self {
            words: u32::from_le_bytes([w0, w1, w2, w3]),
            kind,
            schema,
        }
    }

    /// The header as it goes onto the wire.
    pub fn encode(self) -> [u8; Self::LEN_BYTES] {
        let [w0, w1, w2, w3] = self.words.to_le_bytes();
        [w0, w1, w2, w3, self.kind, self.schema, 0, 0]
    }

    /// The length of the body in bytes, at most 32 GiB.
    pub fn body_len_bytes(self) -> u64 {
        u64::from(self.words) * 8
    }

    /// Checks the body's length against a limit in bytes.
    ///
    /// # Errors
    /// [`WireError::BodyTooLarge`] if it is exceeded.
    pub fn check_limit(self, limit_bytes: u64) -> Result<(), WireError> {
        let len_bytes = self.body_len_bytes();
        if len_bytes > limit_bytes {
            return Err(WireError::BodyTooLarge {
                len_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    /// Checks that a body is as long as this header says.
    pub(crate) fn check_body(self, body: &Bytes) -> Result<(), WireError> {
        let found_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if found_bytes != self.body_len_bytes() {
            return Err(WireError::BodyLength {
                expected_bytes: self.body_len_bytes(),
                found_bytes,
            });
        }
        Ok(())
    }
}

/// What a buffer of received bytes holds at its front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A whole message; its bytes have left the buffer.
    Message(Header, Bytes),
    /// The beginning of a message, or nothing.
    Partial {
        /// How many more bytes to make room for before the next read: never more than the message still needs
        /// plus one step, and in proportion to what has arrived of it.
        reserve_bytes: usize,
    },
}

/// Takes one message off the front of a buffer.
///
/// The body is split off, not copied: it shares the buffer's memory.
///
/// # Errors
/// [`WireError::BodyTooLarge`] when the header announces more than `limit_bytes`; the buffer is left alone.
pub fn take_message(buffer: &mut BytesMut, limit_bytes: u64) -> Result<Progress, WireError> {
    let Some(word) = buffer.first_chunk::<{ Header::LEN_BYTES }>() else {
        return Ok(Progress::Partial {
            reserve_bytes: Header::LEN_BYTES - buffer.len(),
        });
    };
    let header = Header::decode(*word);
    header.check_limit(limit_bytes)?;
    let arrived_bytes = u64::try_from(buffer.len() - Header::LEN_BYTES).unwrap_or(u64::MAX);
    let missing_bytes = header.body_len_bytes().saturating_sub(arrived_bytes);
    // A body that is all here has a length that fits a usize; the conversion fails only where it is not here.
    if let (0, Ok(len)) = (missing_bytes, usize::try_from(header.body_len_bytes())) {
        buffer.advance(Header::LEN_BYTES);
        return Ok(Progress::Message(header, buffer.split_to(len).freeze()));
    }
    let step_bytes = arrived_bytes.saturating_mul(3).max(GROWTH_STEP_BYTES);
    Ok(Progress::Partial {
        reserve_bytes: usize::try_from(missing_bytes.min(step_bytes)).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// The two versions are told apart, and an HTTP request is no version.
    #[test]
    fn first_word() {
        for version in [Version::One, Version::Legacy] {
            assert_eq!(Version::decode(version.encode()), Ok(version));
        }
        let err = Version::decode(*b"GET / HT").unwrap_err();
        assert!(err.is_fatal());
    }

    /// Messages come off one after the other, however the bytes were cut.
    #[test]
    fn messages_from_any_cut() {
        let header = Header {
            words: 2,
            kind: 5,
            schema: 1,
        };
        let mut wire = Vec::new();
        for _ in 0..3 {
            wire.extend_from_slice(&header.encode());
            wire.extend_from_slice(&[7; 16]);
        }
        for cut in 1..wire.len() {
            let (mut buffer, mut found) = (BytesMut::new(), 0);
            for chunk in wire.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Progress::Message(h, body) = take_message(&mut buffer, 16).unwrap() {
                    assert_eq!((h, body.as_ref()), (header, &[7u8; 16][..]));
                    found += 1;
                }
            }
            assert_eq!((found, buffer.len()), (3, 0), "cut {cut}");
        }
    }

    /// An announced length reserves little until bytes arrive, and too large a one is refused by its header.
    #[test]
    fn announced_lengths_cost_nothing() {
        let header = Header {
            words: u32::MAX,
            kind: 0,
            schema: 0,
        };
        let mut buffer = BytesMut::from(&header.encode()[..]);
        let err = take_message(&mut buffer, DEFAULT_MAX_BODY_BYTES).unwrap_err();
        assert!(matches!(
            err,
            WireError::BodyTooLarge {
                len_bytes: 34_359_738_360,
                ..
            }
        ));
        let Progress::Partial { reserve_bytes } = take_message(&mut buffer, u64::MAX).unwrap()
        else {
            panic!("no message can be complete");
        };
        assert_eq!(reserve_bytes, 64 * 1024);
    }
}
