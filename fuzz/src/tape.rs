//! Bytes as a sequence of decisions.
//!
//! A target that acts, instead of only reading, takes what to do next from the input. A tape that has run out gives
//! zeros, so that a short input is a short run and not an invalid one.

/// Reads decisions off the front of the input.
#[derive(Debug, Clone, Copy)]
pub struct Tape<'a> {
    rest: &'a [u8],
}

impl<'a> Tape<'a> {
    /// A tape of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether every decision from here on is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Fewer than `bound` bytes: the next byte, modulo the bound, says how many of those after it.
    pub fn piece(&mut self, bound: u8) -> &'a [u8] {
        let len = self.byte() % bound;
        self.take(len.into())
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a little-endian number.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next four bytes as a little-endian number.
    pub fn long(&mut self) -> u32 {
        u32::from(self.short()) | u32::from(self.short()) << 16
    }

    /// A number below `bound`, which is not 0, out of the next two bytes.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.short()) % bound
    }

    /// A place in something of `len` bytes, out of the next four bytes; 0 when it is empty.
    pub fn place(&mut self, len: usize) -> usize {
        self.long() as usize % len.max(1)
    }
}
