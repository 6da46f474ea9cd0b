//! Pages as differences; [the layout](super#differences).

use bytes::Buf;

use super::writer::Base;
use super::{ENCODING_DIFFERENCE, ENCODING_LZ4, ENCODING_WHOLE};
use crate::error::Error;
use crate::view::FramePlace;

/// How many differences may stand on each other. It bounds what reading one page costs.
pub const MAX_DEPTH: u8 = 64;
/// Equal bytes between two changes are part of one run where another run would not cost less.
const LEAST_GAP: usize = 3;
/// A number takes at most so many bytes.
const MAX_VARINT_BYTES: u32 = 10;

/// A difference, checked as far as it can be without its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// How many entries before its own the base is, and the root.
    back: (u64, u64),
    offset: u32,
    len: u32,
    encoding: u8,
    depth: u8,
    runs: &'a [u8],
}

impl<'a> Difference<'a> {
    /// Reads the bytes of a frame of encoding 2, of a page of `page_size` bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they are none: a run that is empty or outside of the page, or a chain that no writer makes.
    pub fn decode(bytes: &'a [u8], page_size: usize) -> Result<Difference<'a>, Error> {
        let wrong = |reason| Error::malformed("difference in the log", reason);
        let mut rest = bytes;
        let mut header = || -> Option<Difference<'a>> {
            Some(Difference {
                encoding: rest.try_get_u8().ok()?,
                depth: rest.try_get_u8().ok()?,
                back: (get_varint(&mut rest)?, get_varint(&mut rest)?),
                offset: u32::try_from(get_varint(&mut rest)?).ok()?,
                len: u32::try_from(get_varint(&mut rest)?).ok()?,
                runs: rest,
            })
        };
        let difference = header().ok_or_else(|| wrong("too short"))?;
        let (base, root) = difference.back;
        let is_whole = matches!(difference.encoding, ENCODING_WHOLE | ENCODING_LZ4);
        let is_chain = match difference.depth {
            1 => is_whole && root == base,
            2..=MAX_DEPTH => difference.encoding == ENCODING_DIFFERENCE && root > base,
            _ => false,
        };
        if !is_chain || base == 0 {
            return Err(wrong("its base makes no sense"));
        }
        let runs = Runs {
            rest: difference.runs,
            end: 0,
        };
        for run in runs {
            let (at, new) = run.ok_or_else(|| wrong("a run is empty or cut off"))?;
            if at.checked_add(new.len()).is_none_or(|end| end > page_size) {
                return Err(wrong("a run is outside of the page"));
            }
        }
        Ok(difference)
    }

    /// Where the base is, of a difference in entry `index`; `None` if that would be before the log's first entry.
    #[must_use]
    pub fn base(&self, index: u64) -> Option<FramePlace> {
        Some(FramePlace {
            index: before(index, self.back.0)?,
            offset: self.offset,
            len: self.len,
            encoding: self.encoding,
        })
    }

    /// Index of the entry with the whole image that the chain of a difference in entry `index` stands on; `None` as with
    /// [`base`](Self::base). The log must be kept from there.
    #[must_use]
    pub fn root(&self, index: u64) -> Option<u64> {
        before(index, self.back.1)
    }

    /// How many differences there are from here to that image, this one counted.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Changes the base's image, in `page`, into this one. Whether that is the right one, its checksum tells.
    pub fn apply(&self, page: &mut [u8]) {
        let runs = Runs {
            rest: self.runs,
            end: 0,
        };
        // That they are whole, and inside of the page, was checked when it was decoded.
        for (at, new) in runs.flatten() {
            if let Some(target) = page.get_mut(at..at.saturating_add(new.len())) {
                target.copy_from_slice(new);
            }
        }
    }
}

fn before(index: u64, back: u64) -> Option<u64> {
    index.checked_sub(back).filter(|index| *index > 0)
}

/// The runs of a difference: where each begins in the page, and its new bytes; `None` for one that is none, which is the
/// last.
struct Runs<'a> {
    rest: &'a [u8],
    /// Where the run before ended.
    end: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Option<(usize, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.read();
        if run.is_none() {
            self.rest = &[];
        }
        Some(run)
    }
}

impl<'a> Runs<'a> {
    fn read(&mut self) -> Option<(usize, &'a [u8])> {
        let skipped = usize::try_from(get_varint(&mut self.rest)?).ok()?;
        let len = usize::try_from(get_varint(&mut self.rest)?).ok()?;
        let (new, rest) = self.rest.split_at_checked(len).filter(|_| len > 0)?;
        let at = self.end.checked_add(skipped)?;
        self.rest = rest;
        self.end = at.checked_add(len)?;
        Some((at, new))
    }
}

/// Puts into `out` what makes `image` of the base, for a frame of entry `index`, and says whether that is worth a thought:
/// whether it is smaller than the page.
pub(super) fn encode_into(base: &Base<'_>, index: u64, image: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    out.extend_from_slice(&[base.place.encoding, base.depth + 1]);
    for number in [
        index - base.place.index,
        index - base.root,
        base.place.offset.into(),
        base.place.len.into(),
    ] {
        put_varint(number, out);
    }
    let mut from = 0;
    while let Some((start, end)) = next_run(base.image, image, from) {
        let Some(new) = image.get(start..end) else {
            return false;
        };
        put_varint((start - from) as u64, out);
        put_varint(new.len() as u64, out);
        if out.len() + new.len() >= image.len() {
            return false;
        }
        out.extend_from_slice(new);
        from = end;
    }
    true
}

/// The next run of bytes that differ, from `from` on.
fn next_run(old: &[u8], new: &[u8], from: usize) -> Option<(usize, usize)> {
    let differ = |at: usize| old.get(at) != new.get(at);
    let start = first_difference(old, new, from)?;
    let mut end = start + 1;
    let mut at = end;
    while at < new.len() && at - end < LEAST_GAP {
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

/// Adds a number, seven bits a byte, the lowest first; the highest bit says that more follow.
#[allow(clippy::cast_possible_truncation)] // seven bits
pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number from the beginning of `bytes`; `None` if there is none, or one of more than 64 bits.
pub(super) fn get_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for nth in 0..MAX_VARINT_BYTES {
        let byte = bytes.try_get_u8().ok()?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits.checked_shl(7 * nth)?;
        if shifted >> (7 * nth) != bits {
            return None;
        }
        number |= shifted;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
