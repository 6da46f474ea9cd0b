//! Fields: what bodies are made of. Words, texts and blobs, each padded to a whole word.
//!
//! A [`Reader`] walks over a body it shares; a blob that it yields is a slice of the same memory. It checks every
//! length against what is left before it uses it, and it never allocates in proportion to a number that the
//! message merely claims.

use std::ffi::CStr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::WORD_BYTES;
use crate::{Header, WireError};

/// A length in memory as it goes onto the wire.
pub(crate) fn len_u64(len: usize) -> u64 {
    // No platform has a usize wider than 64 bits.
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// How many zero bytes follow `len` bytes up to the next word.
pub(crate) fn padding(len: usize) -> usize {
    len.wrapping_neg() % WORD_BYTES
}

/// A cursor over the body of one message.
#[derive(Debug)]
pub(crate) struct Reader {
    body: Bytes,
    position: usize,
}

impl Reader {
    pub(crate) fn new(body: Bytes) -> Self {
        Self { body, position: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.body.get(self.position..).unwrap_or_default()
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.body.len().saturating_sub(self.position)
    }

    /// The next word, without moving past it.
    pub(crate) fn peek_word(&self) -> Option<[u8; WORD_BYTES]> {
        self.rest().first_chunk().copied()
    }

    /// Moves on by `len` bytes and returns where they start.
    fn advance(&mut self, len: usize, what: &'static str) -> Result<usize, WireError> {
        if len > self.remaining() {
            return Err(WireError::Truncated(what));
        }
        let start = self.position;
        self.position += len;
        Ok(start)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let bytes = *self
            .rest()
            .first_chunk::<N>()
            .ok_or(WireError::Truncated(what))?;
        self.position += N;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// `len` bytes as they are, without padding.
    pub(crate) fn bytes(&mut self, len: usize, what: &'static str) -> Result<Bytes, WireError> {
        let start = self.advance(len, what)?;
        Ok(self.body.slice(start..start + len))
    }

    /// Moves to the next whole word, counted from the start of the body.
    pub(crate) fn align(&mut self, what: &'static str) -> Result<(), WireError> {
        self.advance(padding(self.position), what).map(drop)
    }

    /// A NUL-terminated text's bytes, NUL and padding consumed.
    pub(crate) fn text_bytes(&mut self) -> Result<Bytes, WireError> {
        let text =
            CStr::from_bytes_until_nul(self.rest()).map_err(|_| WireError::UnterminatedText)?;
        let len = text.to_bytes().len();
        let bytes = self.bytes(len, "a text")?;
        self.advance(1 + padding(len + 1), "a text")?;
        Ok(bytes)
    }

    /// A text that has to be UTF-8.
    pub(crate) fn text(&mut self) -> Result<String, WireError> {
        let bytes = self.text_bytes()?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::InvalidUtf8),
        }
    }

    /// A blob: its length, its bytes (shared with the body), its padding.
    pub(crate) fn blob(&mut self) -> Result<Bytes, WireError> {
        let len = self.u64("a blob's length")?;
        let len = usize::try_from(len).map_err(|_| WireError::Truncated("a blob"))?;
        let bytes = self.bytes(len, "a blob")?;
        self.advance(padding(len), "a blob")?;
        Ok(bytes)
    }

    /// A `u64` count of things that take at least `least_bytes` each, checked against what is left.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        least_bytes: usize,
    ) -> Result<usize, WireError> {
        let count = self.u64(what)?;
        match usize::try_from(count) {
            Ok(n) if n <= self.remaining() / least_bytes => Ok(n),
            _ => Err(WireError::CountTooLarge { what, count }),
        }
    }
}

pub(crate) fn put_u32(out: &mut BytesMut, value: u32) {
    out.put_u32_le(value);
}

pub(crate) fn put_u64(out: &mut BytesMut, value: u64) {
    out.put_u64_le(value);
}

pub(crate) fn put_i64(out: &mut BytesMut, value: i64) {
    out.put_i64_le(value);
}

/// A text; fails if it holds the very byte that ends it.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) -> Result<(), WireError> {
    if holds_nul(text) {
        return Err(WireError::NulInText);
    }
    put_terminated(out, text);
    Ok(())
}

/// A text that has to go out in any case: cut at a NUL.
pub(crate) fn put_text_cut(out: &mut BytesMut, text: &str) {
    put_terminated(out, text.split('\0').next().unwrap_or_default());
}

fn put_terminated(out: &mut BytesMut, text: &str) {
    let zeros = 1 + padding(text.len() + 1);
    out.reserve(text.len() + zeros);
    out.put_slice(text.as_bytes());
    out.put_bytes(0, zeros);
}

/// Whether a text holds a NUL, found as fast as the C library would.
pub(crate) fn holds_nul(text: &str) -> bool {
    CStr::from_bytes_until_nul(text.as_bytes()).is_ok()
}

pub(crate) fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    let zeros = padding(blob.len());
    out.reserve(WORD_BYTES + blob.len() + zeros);
    put_u64(out, len_u64(blob.len()));
    out.put_slice(blob);
    out.put_bytes(0, zeros);
}

/// Appends a message whose body `write` appends, and fills in its header. On an error `out` is as it was.
pub(crate) fn put_message(
    out: &mut BytesMut,
    kind: u8,
    schema: u8,
    write: impl FnOnce(&mut BytesMut) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let start = out.len();
    out.put_bytes(0, Header::LEN_BYTES);
    let written = write(out).and_then(|()| seal_message(out, start, kind, schema));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Fills in the header of the message that starts at `start` and ends where the buffer ends.
pub(crate) fn seal_message(
    out: &mut BytesMut,
    start: usize,
    kind: u8,
    schema: u8,
) -> Result<(), WireError> {
    let body_len = out.len().saturating_sub(start + Header::LEN_BYTES);
    debug_assert_eq!(body_len % WORD_BYTES, 0, "fields are padded to words");
    let words = u32::try_from(body_len / WORD_BYTES).map_err(|_| WireError::TooLarge)?;
    let header = Header {
        words,
        kind,
        schema,
    }
    .encode();
    if let Some(place) = out.get_mut(start..start + Header::LEN_BYTES) {
        place.copy_from_slice(&header);
    }
    Ok(())
}
