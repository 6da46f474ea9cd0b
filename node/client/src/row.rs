//! Rows, and how they become Rust values.
//!
//! A conversion never loses anything: an integer that does not fit is an error, and so is a text where a number
//! is wanted. Only the protocol's presentation types are seen through: a time is also the integer or text it is
//! stored as, and a boolean also the integer 0 or 1, either way round.

use std::sync::Arc;

use bytes::Bytes;
use ferrolite_wire::Value;

use crate::{Error, Result};

/// One row of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, one per column.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values, one per column.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// The value of a column (numbered from 0), converted.
    ///
    /// # Errors
    /// [`Error::ColumnCount`] if there is no such column, [`Error::Conversion`] if its value is something else.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T> {
        let value = self.values.get(column).ok_or(Error::ColumnCount {
            expected: column.saturating_add(1),
            found: self.values.len(),
        })?;
        convert(column, value.clone())
    }

    /// The value of the first column of this name, converted.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`], and as [`get`](Self::get).
    pub fn get_named<T: FromValue>(&self, column: &str) -> Result<T> {
        match self.columns.iter().position(|name| name == column) {
            Some(index) => self.get(index),
            None => Err(Error::UnknownColumn(column.to_owned())),
        }
    }
}

fn convert<T: FromValue>(column: usize, value: Value) -> Result<T> {
    T::from_value(value).map_err(|value| Error::Conversion {
        column,
        expected: std::any::type_name::<T>(),
        found: describe(&value),
    })
}

fn describe(value: &Value) -> String {
    match value {
        Value::Integer(v) => format!("the integer {v}"),
        other => other.type_name().to_owned(),
    }
}

/// A Rust type that a single value converts to.
pub trait FromValue: Sized {
    /// Converts a value.
    ///
    /// # Errors
    /// The value itself, if it is of another type or does not fit.
    fn from_value(value: Value) -> Result<Self, Value>;
}

/// A Rust type that a row converts to: [`Row`] itself, `Vec<Value>`, tuples of up to twelve values, and for
/// results of one column the value's type alone.
pub trait FromRow: Sized {
    /// Converts a row.
    ///
    /// # Errors
    /// [`Error::ColumnCount`] and [`Error::Conversion`].
    fn from_row(row: Row) -> Result<Self>;
}

impl FromRow for Row {
    fn from_row(row: Row) -> Result<Self> {
        Ok(row)
    }
}

impl FromRow for Vec<Value> {
    fn from_row(row: Row) -> Result<Self> {
        Ok(row.values)
    }
}

macro_rules! from_value {
    ($($target:ty: $($pattern:pat $(if $guard:expr)? => $value:expr),+;)*) => {
        $(impl FromValue for $target {
            fn from_value(value: Value) -> Result<Self, Value> {
                match value {
                    $($pattern $(if $guard)? => Ok($value),)+
                    #[allow(unreachable_patterns, reason = "Value itself matches everything")]
                    other => Err(other),
                }
            }
        }

        impl FromRow for $target {
            fn from_row(row: Row) -> Result<Self> {
                <($target,)>::from_row(row).map(|(value,)| value)
            }
        })*
    };
}

from_value! {
    i64: Value::Integer(v) | Value::UnixTime(v) => v, Value::Boolean(v) => v.into();
    f64: Value::Float(v) => v;
    bool: Value::Boolean(v) => v, Value::Integer(v @ (0 | 1)) => v == 1;
    String: Value::Text(v) | Value::Iso8601(v) => v;
    Bytes: Value::Blob(v) => v;
    Vec<u8>: Value::Blob(v) => v.into();
    Value: v => v;
}

macro_rules! integers_from_value {
    ($($target:ty)*) => {
        $(impl FromValue for $target {
            fn from_value(value: Value) -> Result<Self, Value> {
                let wide = i64::from_value(value)?;
                Self::try_from(wide).map_err(|_| Value::Integer(wide))
            }
        }

        impl FromRow for $target {
            fn from_row(row: Row) -> Result<Self> {
                <($target,)>::from_row(row).map(|(value,)| value)
            }
        })*
    };
}

integers_from_value! { i8 i16 i32 u8 u16 u32 u64 usize }

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl<T: FromValue> FromRow for Option<T> {
    fn from_row(row: Row) -> Result<Self> {
        <(Option<T>,)>::from_row(row).map(|(value,)| value)
    }
}

macro_rules! tuples_from_row {
    ($($count:literal: $($name:ident $index:literal)+;)*) => {
        $(impl<$($name: FromValue),+> FromRow for ($($name,)+) {
            fn from_row(row: Row) -> Result<Self> {
                let found = row.values.len();
                let Ok(values) = <[Value; $count]>::try_from(row.values) else {
                    return Err(Error::ColumnCount { expected: $count, found });
                };
                let mut values = values.into_iter();
                Ok(($(convert::<$name>($index, values.next().unwrap_or_default())?,)+))
            }
        })*
    };
}

tuples_from_row! {
    1: A 0;
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
    5: A 0 B 1 C 2 D 3 E 4;
    6: A 0 B 1 C 2 D 3 E 4 F 5;
    7: A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
    9: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8;
    10: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9;
    11: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10;
    12: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn row(values: Vec<Value>) -> Row {
        let columns = (0..values.len()).map(|n| format!("c{n}")).collect();
        Row::new(columns, values)
    }

    /// Conversions that keep everything work, those that would lose something say which column and why.
    #[test]
    fn conversions_lose_nothing() {
        let all = row(vec![
            1.into(),
            "x".into(),
            Value::Null,
            vec![1u8].into(),
            Value::UnixTime(9),
        ]);
        let typed: (u32, String, Option<i64>, Vec<u8>, i64) =
            FromRow::from_row(all.clone()).unwrap();
        assert_eq!(typed, (1, "x".to_owned(), None, vec![1], 9));
        assert_eq!(all.get_named::<String>("c1").unwrap(), "x");
        assert!(matches!(
            all.get_named::<String>("zz"),
            Err(Error::UnknownColumn(_))
        ));

        let err = u8::from_row(row(vec![256.into()])).unwrap_err();
        assert_eq!(
            err.to_string(),
            "column 0: expected u8, found the integer 256"
        );
        assert!(bool::from_row(row(vec![2.into()])).is_err());
        assert!(bool::from_row(row(vec![1.into()])).unwrap());
        assert!(i64::from_row(row(vec![1.5.into()])).is_err());
        assert!(i64::from_row(row(vec!["1".into()])).is_err());
        assert!(i64::from_row(row(vec![Value::Null])).is_err());
        assert!(matches!(
            <(i64, i64)>::from_row(row(vec![1.into()])),
            Err(Error::ColumnCount {
                expected: 2,
                found: 1
            })
        ));
    }
}
