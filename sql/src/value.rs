//! Values that cross the border to the engine, owned by neither side.

use limbo_core::{Numeric, Value};

/// A value in SQLite's five storage classes, borrowed from whoever has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// NULL.
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A double. SQLite has no NaN: it becomes NULL.
    Real(f64),
    /// Text, in UTF-8.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    pub(crate) fn to_engine(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(integer) => Value::from_i64(integer),
            Self::Real(real) => Value::from_f64(real),
            Self::Text(text) => Value::build_text(text.to_owned()),
            Self::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Numeric(Numeric::Integer(integer)) => Self::Integer(*integer),
            Value::Numeric(Numeric::Float(real)) => Self::Real(f64::from(*real)),
            Value::Text(text) => Self::Text(text.as_str()),
            Value::Blob(bytes) => Self::Blob(bytes.as_slice()),
        }
    }
}
