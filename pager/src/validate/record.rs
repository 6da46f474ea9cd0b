//! Records (section 2.1): a header of types, then the values.

use std::ops::Range;

/// A variable-length integer at `at` (section 1.6), and where it ends.
pub(super) fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (position, byte) in bytes.get(at..)?.iter().enumerate().take(9) {
        let end = at + position + 1;
        if position == 8 {
            return Some((value << 8 | u64::from(*byte), end));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, end));
        }
    }
    None
}

/// Most bytes of a record's header that SQLite takes: nine for each of as many columns as there can be.
const MAX_HEADER_BYTES: u64 = 98_307;

/// How many of a record's first bytes are needed for its header, when it has `total` bytes and begins with `bytes`.
pub(super) fn header_bytes(bytes: &[u8], total: u64) -> Result<usize, &'static str> {
    let (header, _) = varint(bytes, 0).ok_or("the record is shorter than its header")?;
    if header > total {
        return Err("the record is shorter than its header");
    }
    if header > MAX_HEADER_BYTES {
        return Err("the record has more columns than any");
    }
    usize::try_from(header).map_err(|_| "the record has more columns than any")
}

/// Walks the header of a record of `total` bytes, whose first ones are `bytes`, with the header at least, and calls
/// `column` with number, type and place of each value. Checks that the values fill the record.
pub(super) fn columns(
    bytes: &[u8],
    total: u64,
    mut column: impl FnMut(usize, u64, Range<u64>),
) -> Result<(), &'static str> {
    let cut_off = "the record is shorter than its header";
    let types = bytes.get(..header_bytes(bytes, total)?).ok_or(cut_off)?;
    let (header, mut at) = varint(bytes, 0).ok_or(cut_off)?;
    let mut begin = header;
    let mut number = 0;
    while at < types.len() {
        let (serial_type, end) = varint(types, at).ok_or("a type goes past the record's header")?;
        let len = value_bytes(serial_type).ok_or("a value has a type that does not exist")?;
        let end_of_value = begin
            .checked_add(len)
            .ok_or("a value goes past its record")?;
        column(number, serial_type, begin..end_of_value);
        (at, begin, number) = (end, end_of_value, number + 1);
    }
    // The length of the header counts itself, so a header shorter than that is wrong as well.
    if at != types.len() || begin != total {
        return Err("the values do not fill the record");
    }
    Ok(())
}

/// Bytes of a value; `None` for the two types that are kept for internal use.
fn value_bytes(serial_type: u64) -> Option<u64> {
    Some(match serial_type {
        0 | 8 | 9 => 0,
        1..=4 => serial_type,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        text_or_blob => (text_or_blob - 12) / 2,
    })
}

/// The integer of type `serial_type` in `bytes`; `None` for what is no integer.
pub(super) fn integer(serial_type: u64, bytes: &[u8]) -> Option<i64> {
    match serial_type {
        8 => Some(0),
        9 => Some(1),
        1..=6 => {
            let first = bytes.first()?;
            // Two's complement: the first bit is the sign.
            let sign = if first & 0x80 == 0 { 0 } else { -1 };
            Some(
                bytes
                    .iter()
                    .fold(sign, |value, byte| value << 8 | i64::from(*byte)),
            )
        }
        _ => None,
    }
}
