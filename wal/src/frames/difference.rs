//! Pages as differences; [the layout](super#differences).

use bytes::Buf;

use super::writer::Base;
use super::{ENCODING_DIFFERENCE, ENCODING_LZ4, ENCODING_WHOLE};
use crate::error::Error;
use crate::view::FramePlace;

/// How many differences may stand on each other. It bounds what reading one page costs.
pub const MAX_DEPTH: u8 = 8;
/// Bytes of a difference before its runs.
pub(super) const HEADER_BYTES: usize = 28;
/// Bytes of a run before its new bytes.
const RUN_BYTES: usize = 4;

/// A difference, checked as far as it can be without its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    base: FramePlace,
    root: u64,
    depth: u8,
    runs: &'a [u8],
}

impl<'a> Difference<'a> {
    /// Reads the bytes of a frame of encoding 2, of a page of `page_size` bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they are none: a run that is empty, out of order or outside of the page, a count that is
    /// not that of the runs, or a chain that no writer makes.
    pub fn decode(bytes: &'a [u8], page_size: usize) -> Result<Difference<'a>, Error> {
        let wrong = |reason| Err(Error::malformed("difference in the log", reason));
        let Some((mut header, runs)) = bytes.split_at_checked(HEADER_BYTES) else {
            return wrong("too short");
        };
        let (index, root) = (header.get_u64_le(), header.get_u64_le());
        let (offset, len) = (header.get_u32_le(), header.get_u32_le());
        let (encoding, depth, count) = (header.get_u8(), header.get_u8(), header.get_u16_le());
        let whole = matches!(encoding, ENCODING_WHOLE | ENCODING_LZ4);
        let chain = match depth {
            1 => whole && root == index,
            2..=MAX_DEPTH => encoding == ENCODING_DIFFERENCE && root < index,
            _ => false,
        };
        if !chain || root == 0 {
            return wrong("its base makes no sense");
        }
        let (mut rest, mut end) = (runs, 0);
        for _ in 0..count {
            if rest.len() < RUN_BYTES {
                return wrong("fewer runs than announced");
            }
            let (at, len) = (
                usize::from(rest.get_u16_le()),
                usize::from(rest.get_u16_le()),
            );
            if len == 0 || at < end || at + len > page_size {
                return wrong("a run is empty, out of order, or outside of the page");
            }
            let Some(after) = rest.get(len..) else {
                return wrong("a run is cut off");
            };
            (rest, end) = (after, at + len);
        }
        if !rest.is_empty() {
            return wrong("more bytes than announced");
        }
        Ok(Difference {
            base: FramePlace {
                index,
                offset,
                len,
                encoding,
            },
            root,
            depth,
            runs,
        })
    }

    /// Where the base is.
    #[must_use]
    pub fn base(&self) -> FramePlace {
        self.base
    }

    /// Index of the entry with the whole image that the chain stands on. The log must be kept from there.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// How many differences there are from here to that image, this one counted.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Changes the base's image, in `page`, into this one. Whether that is the right one, its checksum tells.
    pub fn apply(&self, page: &mut [u8]) {
        let mut rest = self.runs;
        while rest.len() >= RUN_BYTES {
            let (at, len) = (
                usize::from(rest.get_u16_le()),
                usize::from(rest.get_u16_le()),
            );
            let (Some(new), Some(target)) = (rest.get(..len), page.get_mut(at..at + len)) else {
                return; // checked when it was decoded
            };
            target.copy_from_slice(new);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// Puts into `out` what makes `image` of the base, and says whether that is worth a thought: whether it is smaller than
/// the page.
pub(super) fn encode_into(base: &Base<'_>, image: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    out.extend_from_slice(&base.place.index.to_le_bytes());
    out.extend_from_slice(&base.root.to_le_bytes());
    out.extend_from_slice(&base.place.offset.to_le_bytes());
    out.extend_from_slice(&base.place.len.to_le_bytes());
    out.extend_from_slice(&[base.place.encoding, base.depth + 1, 0, 0]);
    let mut runs = 0_u16;
    let mut from = 0;
    while let Some((start, end)) = next_run(base.image, image, from) {
        // Longer ones do not fit their fields, and are no small difference either.
        let (Ok(at), Ok(len), Some(new)) = (
            u16::try_from(start),
            u16::try_from(end - start),
            image.get(start..end),
        ) else {
            return false;
        };
        if out.len() + RUN_BYTES + new.len() >= image.len() {
            return false;
        }
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(new);
        runs += 1;
        from = end;
    }
    for (field, byte) in out.iter_mut().skip(26).zip(runs.to_le_bytes()) {
        *field = byte;
    }
    true
}

/// The next run of bytes that differ, from `from` on. Equal bytes in between are part of it where a run more would cost
/// as much.
fn next_run(old: &[u8], new: &[u8], from: usize) -> Option<(usize, usize)> {
    let differ = |at: usize| old.get(at) != new.get(at);
    let start = first_difference(old, new, from)?;
    let mut end = start + 1;
    let mut at = end;
    while at < new.len() && at - end < RUN_BYTES {
        if differ(at) {
            end = at + 1;
        }
        at += 1;
    }
    Some((start, end))
}

/// The first place from `from` on where the two differ. Most of a page does not: it is compared in larger pieces.
fn first_difference(old: &[u8], new: &[u8], from: usize) -> Option<usize> {
    const PIECE: usize = 64;
    let mut at = from;
    while let (Some(a), Some(b)) = (old.get(at..at + PIECE), new.get(at..at + PIECE))
        && a == b
    {
        at += PIECE;
    }
    let rest = old.iter().zip(new).skip(at);
    rest.enumerate()
        .find(|(_, (a, b))| a != b)
        .map(|(nth, _)| at + nth)
}
