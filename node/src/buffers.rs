//! Memory for large messages, used again and again.
//!
//! Chunks of a snapshot follow one another a thousand times a second, each in a piece of memory of its own that another
//! thread frees. What is freed in such pieces goes back to the system, which clears it before it gives it out
//! again, and that costs as much as copying the bytes does. So they come back here instead. What is kept has a bound, and goes
//! when there is no use for it: [`Buffers::shrink`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// So many are kept for later.
const MOST_KEPT: usize = 8;
/// A buffer that is smaller is not worth keeping, and one that is larger too dear.
const KEPT_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=2 << 20;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty buffer with room for `len` bytes, and not for more than twice as many: who keeps a part of it keeps all.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| (len..=2 * len).contains(&buffer.capacity());
        let mut free = self.free();
        match free.iter().rposition(fits) {
            Some(at) => free.swap_remove(at),
            None => Vec::with_capacity(len),
        }
    }

    /// What was read into a buffer. The memory comes back when the last part of it is dropped.
    pub(crate) fn lend(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        if !KEPT_BYTES.contains(&bytes.capacity()) {
            return Bytes::from(bytes);
        }
        Bytes::from_owner(Loan {
            bytes,
            home: Arc::clone(self),
        })
    }

    /// Gives back to the system what is not in use.
    pub(crate) fn shrink(&self) {
        self.free().clear();
    }
}

/// A buffer that is somewhere in use.
#[derive(Debug)]
struct Loan {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        let mut free = self.home.free();
        if free.len() >= MOST_KEPT {
            free.remove(0);
        }
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Memory is used again once nobody holds a part of it, never before, and no more of it is kept than the bound.
    #[test]
    fn come_back() {
        let buffers = Buffers::new();
        let mut buffer = buffers.take(1 << 20);
        buffer.extend_from_slice(&[7; 1 << 20]);
        let place = buffer.as_ptr();
        let lent = buffers.lend(buffer);
        let part = lent.slice(5..9);
        drop(lent);
        let other = buffers.take(1 << 20);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(part, [7; 4].as_slice());
        drop(part);
        let small = buffers.take((1 << 19) - 1);
        assert_ne!(small.as_ptr(), place);
        let again = buffers.take(1 << 19);
        assert!(again.is_empty() && again.as_ptr() == place);
        let many: Vec<_> = (0..2 * MOST_KEPT)
            .map(|_| buffers.lend(buffers.take(1 << 20)))
            .collect();
        drop(many);
        assert_eq!(buffers.free().len(), MOST_KEPT);
        buffers.shrink();
        assert!(buffers.free().is_empty());
    }

    /// What is small or huge is ordinary memory.
    #[test]
    fn of_one_size_only() {
        let buffers = Buffers::new();
        for len in [0, 100, 3 << 20] {
            let mut buffer = buffers.take(len);
            assert!(buffer.capacity() >= len);
            buffer.resize(len, 1);
            assert_eq!(buffers.lend(buffer).len(), len);
            assert!(buffers.free().is_empty());
        }
    }
}
