//! Values between the protocol and the engine.

use std::sync::Arc;

use ferrolite_sql::{Columns, ValueRef};
use ferrolite_wire::{RowsPreamble, Value};

/// A result's columns, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    columns: Arc<Columns>,
    pub(super) preamble: RowsPreamble,
    pub(super) kinds: Arc<[Declared]>,
}

impl Shape {
    pub(super) fn new(columns: Arc<Columns>) -> Self {
        let kinds = columns.declared.iter();
        Self {
            preamble: RowsPreamble::new(&columns.names),
            kinds: kinds.map(|kind| Declared::of(kind.as_deref())).collect(),
            columns,
        }
    }

    /// Whether these are still the columns.
    pub(super) fn is_of(&self, columns: &Arc<Columns>) -> bool {
        Arc::ptr_eq(&self.columns, columns)
    }
}

/// How the declared type of a column changes the type of its values on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Plain,
    Time,
    Boolean,
}

impl Declared {
    fn of(decltype: Option<&str>) -> Self {
        let is = |name: &str| decltype.is_some_and(|decltype| decltype.eq_ignore_ascii_case(name));
        if is("DATETIME") || is("DATE") || is("TIMESTAMP") {
            Self::Time
        } else if is("BOOLEAN") {
            Self::Boolean
        } else {
            Self::Plain
        }
    }

    /// A value of such a column, as the client gets it.
    pub(super) fn wire(self, value: ValueRef<'_>) -> ferrolite_wire::ValueRef<'_> {
        use ferrolite_wire::ValueRef as Wire;
        match (self, value) {
            (Self::Time, ValueRef::Integer(seconds)) => Wire::UnixTime(seconds),
            (Self::Time, ValueRef::Text(text)) => Wire::Iso8601(text),
            (Self::Boolean, ValueRef::Integer(integer)) => Wire::Boolean(integer != 0),
            (_, ValueRef::Null) => Wire::Null,
            (_, ValueRef::Integer(integer)) => Wire::Integer(integer),
            (_, ValueRef::Real(real)) => Wire::Float(real),
            (_, ValueRef::Text(text)) => Wire::Text(text),
            (_, ValueRef::Blob(bytes)) => Wire::Blob(bytes),
        }
    }
}

/// A parameter, as the engine takes it.
pub(super) fn value_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) | Value::UnixTime(integer) => ValueRef::Integer(*integer),
        Value::Float(real) => ValueRef::Real(*real),
        Value::Text(text) | Value::Iso8601(text) => ValueRef::Text(text),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
        Value::Boolean(truth) => ValueRef::Integer(i64::from(*truth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times and truth values by declared type; NULL and values of other classes are what they are.
    #[test]
    fn declared_types() {
        use ferrolite_wire::ValueRef as Wire;
        let time = Declared::of(Some("datetime"));
        assert_eq!(time.wire(ValueRef::Integer(7)), Wire::UnixTime(7));
        assert_eq!(time.wire(ValueRef::Text("x")), Wire::Iso8601("x"));
        assert_eq!(time.wire(ValueRef::Null), Wire::Null);
        assert_eq!(time.wire(ValueRef::Real(0.5)), Wire::Float(0.5));
        let truth = Declared::of(Some("BOOLEAN"));
        assert_eq!(truth.wire(ValueRef::Integer(2)), Wire::Boolean(true));
        assert_eq!(truth.wire(ValueRef::Text("no")), Wire::Text("no"));
        assert_eq!(
            Declared::of(None).wire(ValueRef::Integer(1)),
            Wire::Integer(1)
        );
    }
}
