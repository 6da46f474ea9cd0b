//! Tuples: several values with their types written before them.
//!
//! A *parameter* tuple says how many values it has, then one type byte for each. A *row* tuple needs no count,
//! for the columns give it, and packs two types into a byte, the first of the two in the low half. Both pad the
//! types to a whole word before the values start.

use bytes::{BufMut, BytesMut};

use crate::WireError;
use crate::field::{Reader, padding};
use crate::value::{Value, ValueRef};

/// How a parameter tuple writes its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParamsSchema {
    /// A `u8`: at most 255 parameters.
    Byte,
    /// A `u32`.
    Long,
}

impl ParamsSchema {
    /// The smaller schema that can hold so many parameters; the schema number is the message's.
    pub(crate) fn for_count(count: usize) -> Self {
        if count <= usize::from(u8::MAX) {
            Self::Byte
        } else {
            Self::Long
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Byte => 0,
            Self::Long => 1,
        }
    }
}

/// Reads a parameter tuple. A body that ends before it binds no parameters: that is how clients say so.
pub(crate) fn decode_params(
    schema: ParamsSchema,
    reader: &mut Reader,
) -> Result<Vec<Value>, WireError> {
    if reader.remaining() == 0 {
        return Ok(Vec::new());
    }
    let count = match schema {
        ParamsSchema::Byte => u32::from(reader.u8("a parameter count")?),
        ParamsSchema::Long => reader.u32("a parameter count")?,
    };
    let n = usize::try_from(count).unwrap_or(usize::MAX);
    // A type byte and at least one word each.
    if n > reader.remaining() / 9 {
        return Err(WireError::CountTooLarge {
            what: "parameters",
            count: count.into(),
        });
    }
    let kinds = reader.bytes(n, "parameter types")?;
    reader.align("parameter types")?;
    kinds
        .iter()
        .map(|kind| Value::decode(*kind, reader))
        .collect()
}

/// Writes a parameter tuple; nothing at all if there are no parameters.
pub(crate) fn encode_params(
    schema: ParamsSchema,
    params: &[Value],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    if params.is_empty() {
        return Ok(());
    }
    let count_len = match schema {
        ParamsSchema::Byte => {
            out.put_u8(u8::try_from(params.len()).map_err(|_| WireError::TooLarge)?);
            1
        }
        ParamsSchema::Long => {
            out.put_u32_le(u32::try_from(params.len()).map_err(|_| WireError::TooLarge)?);
            4
        }
    };
    out.extend(params.iter().map(|value| value.as_ref().kind()));
    out.put_bytes(0, padding(count_len + params.len()));
    params
        .iter()
        .try_for_each(|value| value.as_ref().encode(out))
}

/// The length of a row's type nibbles with their padding, in bytes.
fn row_header_len(columns: usize) -> usize {
    let len = columns.div_ceil(2);
    len + padding(len)
}

/// The length of a row tuple in bytes.
pub(crate) fn row_len<'a>(row: impl Iterator<Item = ValueRef<'a>>) -> usize {
    let (columns, values) = row.fold((0, 0), |(columns, values), value| {
        (columns + 1, values + value.as_cell().encoded_len())
    });
    row_header_len(columns) + values
}

/// Reads a row tuple of so many columns.
pub(crate) fn decode_row(columns: usize, reader: &mut Reader) -> Result<Vec<Value>, WireError> {
    let nibbles = reader.bytes(row_header_len(columns), "a row's types")?;
    if columns > reader.remaining() / 8 {
        return Err(WireError::Truncated("a row"));
    }
    let mut row = Vec::with_capacity(columns);
    for (_, kind) in (0..columns).zip(nibbles.iter().flat_map(|byte| [byte & 0xf, byte >> 4])) {
        row.push(Value::decode_cell(kind, reader)?);
    }
    Ok(row)
}

/// Writes a row tuple.
pub(crate) fn encode_row<'a>(
    row: impl Iterator<Item = ValueRef<'a>> + Clone,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let mut kinds = row.clone().map(|value| value.as_cell().kind());
    let mut types = 0;
    while let Some(low) = kinds.next() {
        out.put_u8(low | (kinds.next().unwrap_or(0) << 4));
        types += 1;
    }
    out.put_bytes(0, padding(types));
    let mut row = row;
    row.try_for_each(|value| value.as_cell().encode(out))
}
