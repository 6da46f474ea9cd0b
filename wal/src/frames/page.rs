//! Pages that are in the log whole, or compressed.

use bytes::Buf;

use super::{ENCODING_DIFFERENCE, ENCODING_LZ4, ENCODING_WHOLE, FRAME_PREFIX_BYTES};
use crate::error::Error;

/// What stands before a page's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix {
    pub page_no: u32,
    pub crc: u32,
    pub encoding: u8,
}

/// Divides a frame into its prefix and the page's bytes.
pub(super) fn split(bytes: &[u8]) -> Result<(Prefix, &[u8]), Error> {
    let wrong = |reason| Error::malformed("page in the log", reason);
    let (mut prefix, bytes) = bytes
        .split_at_checked(FRAME_PREFIX_BYTES)
        .ok_or_else(|| wrong("too short"))?;
    let (page_no, crc) = (prefix.get_u32_le(), prefix.get_u32_le());
    let (len, encoding) = (prefix.get_u32_le(), prefix.get_u32_le());
    if usize::try_from(len) != Ok(bytes.len()) {
        return Err(wrong("its length is not the announced one"));
    }
    let encoding = u8::try_from(encoding).unwrap_or(u8::MAX);
    let prefix = Prefix {
        page_no,
        crc,
        encoding,
    };
    Ok((prefix, bytes))
}

/// Turns the bytes of a frame into the page; the caller checks that it is the right one.
///
/// # Errors
/// [`Error::Malformed`] when they do not make a page of that size.
pub(super) fn decode_page(encoding: u8, bytes: &[u8], page: &mut [u8]) -> Result<(), Error> {
    let wrong = |reason| Error::malformed("page in the log", reason);
    match encoding {
        ENCODING_WHOLE if bytes.len() == page.len() => {
            page.copy_from_slice(bytes);
            Ok(())
        }
        ENCODING_WHOLE => Err(wrong("it has another size than the database's pages")),
        ENCODING_LZ4 => match lz4_flex::block::decompress_into(bytes, page) {
            Ok(len) if len == page.len() => Ok(()),
            Ok(_) => Err(wrong(
                "it unpacks to another size than the database's pages",
            )),
            Err(_) => Err(wrong("it cannot be unpacked")),
        },
        ENCODING_DIFFERENCE => Err(wrong("it is a difference, and needs its base")),
        _ => Err(wrong("its encoding is unknown to this program")),
    }
}
