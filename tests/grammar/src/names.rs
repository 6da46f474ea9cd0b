//! The universe of names that all generators share.

use std::fmt;

use fastrand::Rng;

/// Tables are `t0` to `t5`.
pub(crate) const TABLES: u8 = 6;
const INDEXES: u8 = 10;
const TRIGGERS: u8 = 6;
const VIEWS: u8 = 4;

/// A name: a letter and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) char, pub(crate) u8);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

/// Where a table is renamed to for a while.
pub(crate) const SPARE_TABLE: Name = Name('t', TABLES);
/// What a column is called for a while.
pub(crate) const SPARE_COLUMN: Name = Name('c', 6);

pub(crate) fn table(rng: &mut Rng) -> Name {
    Name('t', rng.u8(0..TABLES))
}

pub(crate) fn index(rng: &mut Rng) -> Name {
    Name('i', rng.u8(0..INDEXES))
}

pub(crate) fn trigger(rng: &mut Rng) -> Name {
    Name('g', rng.u8(0..TRIGGERS))
}

pub(crate) fn view(rng: &mut Rng) -> Name {
    Name('v', rng.u8(0..VIEWS))
}
