//! Reading pages back out of the log, through the differences that they may be.

use bytes::Bytes;

use super::difference::Difference;
use super::page::{Prefix, split};
use super::{ENCODING_DIFFERENCE, FRAME_PREFIX_BYTES, Frame, decode_page};
use crate::error::Error;
use crate::log::Log;
use crate::view::FramePlace;

/// Reads the page `page_no` at `place` into `page`, which has the size of the database's pages. Every image on the way to
/// it is checked.
///
/// # Errors
/// [`Error::Malformed`] when there is no such frame, or its chain is broken; otherwise what
/// [`Log::read_payload_at`] answers. An entry of the chain that is not in the log any more is [`Error::Compacted`].
pub fn page_at(log: &Log, page_no: u32, place: FramePlace, page: &mut [u8]) -> Result<(), Error> {
    let frame = read_frame(log, place, page.len())?;
    let (prefix, bytes) = split(&frame)?;
    if prefix.page_no != page_no {
        return Err(Error::malformed("page in the log", "it is another page"));
    }
    if prefix.encoding != ENCODING_DIFFERENCE {
        return image(prefix, bytes, page);
    }
    let difference = Difference::decode(bytes, page.len())?;
    base_of(log, place.index, page_no, &difference, page)?;
    difference.apply(page);
    checked(prefix, page)
}

/// The image of a frame of entry `index`, which was decoded already, whatever its encoding is.
///
/// # Errors
/// As [`page_at`].
pub fn resolve(log: &Log, index: u64, frame: &Frame, page_size: u32) -> Result<Vec<u8>, Error> {
    let Some(difference) = frame.difference(page_size)? else {
        return frame.page(page_size);
    };
    let mut page = vec![0; usize::try_from(page_size).unwrap_or(0)];
    base_of(log, index, frame.page_no(), &difference, &mut page)?;
    frame.change(&mut page)?;
    Ok(page)
}

/// Puts the image of the base of `last` into `page`. `last` is in entry `index`, and of page `page_no`.
fn base_of(
    log: &Log,
    index: u64,
    page_no: u32,
    last: &Difference<'_>,
    page: &mut [u8],
) -> Result<(), Error> {
    let broken = |reason| Error::malformed("chain of differences in the log", reason);
    let before_the_log = || broken("a base is before the first entry");
    let root = last.root(index).ok_or_else(before_the_log)?;
    let mut place = last.base(index).ok_or_else(before_the_log)?;
    let mut frames: Vec<Bytes> = Vec::with_capacity(last.depth().into());
    let mut depth = last.depth();
    loop {
        let frame = read_frame(log, place, page.len())?;
        let (prefix, bytes) = split(&frame)?;
        if prefix.page_no != page_no || prefix.encoding != place.encoding {
            return Err(broken(
                "a base is another frame than the one that was meant",
            ));
        }
        depth -= 1; // a decoded difference is at least one deep
        if depth == 0 {
            image(prefix, bytes, page)?;
            break;
        }
        let difference = Difference::decode(bytes, page.len())?;
        if difference.depth() != depth || difference.root(place.index) != Some(root) {
            return Err(broken("a base is of another chain"));
        }
        place = difference.base(place.index).ok_or_else(before_the_log)?;
        frames.push(frame);
    }
    for frame in frames.iter().rev() {
        let (prefix, bytes) = split(frame)?;
        Difference::decode(bytes, page.len())?.apply(page);
        checked(prefix, page)?;
    }
    Ok(())
}

/// Reads a frame with its prefix.
fn read_frame(log: &Log, place: FramePlace, page_size: usize) -> Result<Bytes, Error> {
    let wrong = |reason| Error::malformed("place of a page in the log", reason);
    let len = usize::try_from(place.len).unwrap_or(usize::MAX);
    let prefix = u32::try_from(FRAME_PREFIX_BYTES).unwrap_or(u32::MAX);
    let Some(offset) = place.offset.checked_sub(prefix) else {
        return Err(wrong("before the first frame"));
    };
    if len > page_size {
        return Err(wrong("longer than a page"));
    }
    let mut frame = vec![0; FRAME_PREFIX_BYTES + len];
    log.read_payload_at(place.index, offset, &mut frame)?;
    Ok(Bytes::from(frame))
}

fn image(prefix: Prefix, bytes: &[u8], page: &mut [u8]) -> Result<(), Error> {
    decode_page(prefix.encoding, bytes, page)?;
    checked(prefix, page)
}

fn checked(prefix: Prefix, page: &[u8]) -> Result<(), Error> {
    if crc32fast::hash(page) == prefix.crc {
        Ok(())
    } else {
        Err(Error::malformed("page in the log", "its checksum is wrong"))
    }
}
