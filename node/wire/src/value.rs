//! Values: what parameters and rows are made of.
//!
//! SQLite has five storage classes; the protocol adds three types for columns that were declared as a time or
//! as a boolean, so that a client may hand out its language's own type. They are presentation only: a bound
//! boolean is stored as an integer, a bound ISO-8601 time as text.
//!
//! [`Value`] owns what it holds and [`ValueRef`] borrows it. A blob is a [`Bytes`], so that decoding shares the
//! memory of the received message and a blob of 100 MB is not copied on its way in.

use bytes::{Bytes, BytesMut};

use crate::WireError;
use crate::field::{Reader, holds_nul, put_blob, put_i64, put_text, put_u64};

/// The type codes that stand before values in tuples.
pub(crate) mod kind {
    pub(crate) const INTEGER: u8 = 1;
    pub(crate) const FLOAT: u8 = 2;
    pub(crate) const TEXT: u8 = 3;
    pub(crate) const BLOB: u8 = 4;
    pub(crate) const NULL: u8 = 5;
    pub(crate) const UNIX_TIME: u8 = 9;
    pub(crate) const ISO8601: u8 = 10;
    pub(crate) const BOOLEAN: u8 = 11;
}

/// A value that owns its bytes.
///
/// Two values are equal if type and content are: `Integer(1)` is neither `Float(1.0)` nor `Boolean(true)`, and a
/// NaN equals nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// SQL NULL.
    #[default]
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double. Its bits travel unchanged, NaN and infinities too.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Bytes),
    /// A time in seconds since 1970, from an integer in a column declared as a time.
    UnixTime(i64),
    /// A time as ISO-8601 text, from a text in a column declared as a time.
    Iso8601(String),
    /// A truth value, from an integer in a column declared BOOLEAN.
    Boolean(bool),
}

/// A value that borrows its bytes: what an encoder wants, so that an engine's row needs no copy before it is
/// written into the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
    /// A time in seconds since 1970.
    UnixTime(i64),
    /// A time as ISO-8601 text.
    Iso8601(&'a str),
    /// A truth value.
    Boolean(bool),
}

impl Value {
    /// Borrows the value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(v) => ValueRef::Integer(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Blob(v) => ValueRef::Blob(v),
            Self::UnixTime(v) => ValueRef::UnixTime(*v),
            Self::Iso8601(v) => ValueRef::Iso8601(v),
            Self::Boolean(v) => ValueRef::Boolean(*v),
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The type's name in lower case, for messages.
    pub fn type_name(&self) -> &'static str {
        self.as_ref().type_name()
    }

    pub(crate) fn decode(code: u8, reader: &mut Reader) -> Result<Self, WireError> {
        Ok(match code {
            kind::INTEGER => Self::Integer(reader.i64("an integer")?),
            kind::FLOAT => Self::Float(f64::from_bits(reader.u64("a float")?)),
            kind::TEXT => Self::Text(reader.text()?),
            kind::BLOB => Self::Blob(reader.blob()?),
            kind::NULL => {
                reader.u64("a null")?;
                Self::Null
            }
            kind::UNIX_TIME => Self::UnixTime(reader.i64("a time")?),
            kind::ISO8601 => Self::Iso8601(reader.text()?),
            kind::BOOLEAN => Self::Boolean(reader.u64("a boolean")? != 0),
            other => return Err(WireError::UnknownValueType(other)),
        })
    }

    /// Like `decode`, for rows: SQLite lets a text hold any bytes, and one such cell must not make a whole
    /// result unreadable, so a text that is not UTF-8 becomes a blob of the same bytes.
    pub(crate) fn decode_cell(code: u8, reader: &mut Reader) -> Result<Self, WireError> {
        if code != kind::TEXT && code != kind::ISO8601 {
            return Self::decode(code, reader);
        }
        let bytes = reader.text_bytes()?;
        Ok(match std::str::from_utf8(&bytes) {
            Ok(text) if code == kind::TEXT => Self::Text(text.to_owned()),
            Ok(text) => Self::Iso8601(text.to_owned()),
            Err(_) => Self::Blob(bytes),
        })
    }
}

impl<'a> ValueRef<'a> {
    /// Copies what the value borrows.
    pub fn to_owned(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(v) => Value::Integer(v),
            Self::Float(v) => Value::Float(v),
            Self::Text(v) => Value::Text(v.into()),
            Self::Blob(v) => Value::Blob(Bytes::copy_from_slice(v)),
            Self::UnixTime(v) => Value::UnixTime(v),
            Self::Iso8601(v) => Value::Iso8601(v.into()),
            Self::Boolean(v) => Value::Boolean(v),
        }
    }

    /// The type's name in lower case, for messages.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
            Self::UnixTime(_) => "unix time",
            Self::Iso8601(_) => "ISO-8601 time",
            Self::Boolean(_) => "boolean",
        }
    }

    pub(crate) fn kind(self) -> u8 {
        match self {
            Self::Null => kind::NULL,
            Self::Integer(_) => kind::INTEGER,
            Self::Float(_) => kind::FLOAT,
            Self::Text(_) => kind::TEXT,
            Self::Blob(_) => kind::BLOB,
            Self::UnixTime(_) => kind::UNIX_TIME,
            Self::Iso8601(_) => kind::ISO8601,
            Self::Boolean(_) => kind::BOOLEAN,
        }
    }

    /// How a cell of a row travels: a text with a NUL inside, which the text encoding would cut short, goes as
    /// a blob of the same bytes, so that nothing is lost.
    pub(crate) fn as_cell(self) -> Self {
        match self {
            Self::Text(text) | Self::Iso8601(text) if holds_nul(text) => {
                Self::Blob(text.as_bytes())
            }
            other => other,
        }
    }

    /// The length of the value in a message, in bytes.
    pub(crate) fn encoded_len(self) -> usize {
        let padded = |len: usize| len + crate::field::padding(len);
        match self {
            Self::Text(text) | Self::Iso8601(text) => padded(text.len() + 1),
            Self::Blob(blob) => 8 + padded(blob.len()),
            _ => 8,
        }
    }

    pub(crate) fn encode(self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::Null => put_u64(out, 0),
            Self::Integer(v) | Self::UnixTime(v) => put_i64(out, v),
            Self::Float(v) => put_u64(out, v.to_bits()),
            Self::Text(v) | Self::Iso8601(v) => put_text(out, v)?,
            Self::Blob(v) => put_blob(out, v),
            Self::Boolean(v) => put_u64(out, u64::from(v)),
        }
        Ok(())
    }
}

macro_rules! value_from {
    ($($source:ty => |$v:ident| $value:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($v: $source) -> Self {
                $value
            }
        })*
    };
}

value_from! {
    i64 => |v| Value::Integer(v);
    i32 => |v| Value::Integer(v.into());
    i16 => |v| Value::Integer(v.into());
    i8 => |v| Value::Integer(v.into());
    u32 => |v| Value::Integer(v.into());
    u16 => |v| Value::Integer(v.into());
    u8 => |v| Value::Integer(v.into());
    f64 => |v| Value::Float(v);
    f32 => |v| Value::Float(v.into());
    bool => |v| Value::Boolean(v);
    String => |v| Value::Text(v);
    &str => |v| Value::Text(v.to_owned());
    &String => |v| Value::Text(v.clone());
    Vec<u8> => |v| Value::Blob(v.into());
    &[u8] => |v| Value::Blob(Bytes::copy_from_slice(v));
    Bytes => |v| Value::Blob(v);
    () => |_v| Value::Null;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Blob(Bytes::copy_from_slice(value))
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_ref()
    }
}
