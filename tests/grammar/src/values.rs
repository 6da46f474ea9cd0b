//! Values: parameters and literals, by the kind of the column that they are for.

use crate::draft::Draft;
use crate::production::Production;
use crate::statement::Value;

/// More than this does not fit on a page, and takes overflow pages.
const PAGE_BYTES: usize = 4096;
/// The largest text or blob.
const LARGEST_BYTES: usize = 20 * 1024;
/// What a cell may hold without overflow pages, in the leaf of a table and in that of an index, is near these: what is a
/// little smaller or larger is worth more than others.
const EDGES: [usize; 4] = [489, 1002, 4061, 4096];
/// Keys that clients fight for.
const CONTENDED_KEYS: i64 = 48;
/// Keys in all.
const KEYS: i64 = 1_000_000;

const TEXTS: [&str; 8] = ["", "a", "abc", "ABC", "it's", "été", "b%_c", "line\nbreak"];
const LITERALS: [&str; 12] = [
    "0", "1", "-1", "7", "0.5", "1e3", "NULL", "''", "'abc'", "'it''s'", "x''", "x'00ff'",
];

impl Draft {
    /// How many bytes a text or a blob has.
    fn length(&mut self) -> usize {
        if self.rng.u32(0..1000) < self.profile.big_values_per_mille {
            return match self.rng.u8(0..4) {
                0 => {
                    let edge = self.one(&EDGES).unwrap_or(PAGE_BYTES);
                    (edge + self.rng.usize(0..=40)).saturating_sub(20)
                }
                1 => self.rng.usize(0..PAGE_BYTES),
                _ => self.rng.usize(PAGE_BYTES..=LARGEST_BYTES),
            };
        }
        match self.rng.u8(0..10) {
            0 => 0,
            1..=7 => self.rng.usize(1..=24),
            _ => self.rng.usize(24..=300),
        }
    }

    fn text(&mut self) -> String {
        if self.percent(50) {
            let number = self.rng.u32(0..200);
            let word = self.one(&TEXTS).unwrap_or_default();
            return match self.percent(50) {
                true => word.to_owned(),
                false => format!("{word}{number}"),
            };
        }
        let length = self.length();
        (0..length).map(|_| self.rng.lowercase()).collect()
    }

    fn blob(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.length()];
        // Some can be compressed, and some cannot.
        match self.percent(50) {
            true => self.rng.fill(&mut bytes),
            false => bytes.fill(self.rng.u8(..)),
        }
        bytes
    }

    /// A number for a key, contended or not.
    pub(crate) fn key(&mut self) -> i64 {
        match self.percent(40) {
            true => self.rng.i64(0..CONTENDED_KEYS),
            false => self.rng.i64(CONTENDED_KEYS..KEYS),
        }
    }

    fn real(&mut self) -> f64 {
        match self.rng.u8(0..8) {
            0 => 0.0,
            1 => 1e300,
            2 => -1e-300,
            _ => f64::from(self.rng.i32(-100_000..100_000)) / 8.0,
        }
    }

    /// A parameter that suits a column, or, now and then, does not.
    pub(crate) fn value(&mut self, column: u8) -> Value {
        match self.any_value(column) {
            // What is made of a text's column has to be UTF-8.
            Value::Blob(mut bytes) if column == 2 => {
                bytes.iter_mut().for_each(|byte| *byte &= 0x7f);
                Value::Blob(bytes)
            }
            value => value,
        }
    }

    fn any_value(&mut self, column: u8) -> Value {
        let suits = if self.percent(4) {
            self.rng.u8(1..6)
        } else {
            column
        };
        if column > 1 && self.percent(6) {
            return Value::Null;
        }
        match suits {
            0 => Value::Integer(self.key()),
            1 => Value::Integer(match self.rng.u8(0..40) {
                0 => i64::MAX,
                1 => i64::MIN,
                2 => self.rng.i64(..),
                _ => self.rng.i64(0..CONTENDED_KEYS),
            }),
            2 => Value::Text(self.text()),
            3 => Value::Real(self.real()),
            4 => Value::Blob(self.blob()),
            _ => match self.rng.u8(0..5) {
                0 => Value::Null,
                1 => Value::Integer(self.rng.i64(-10..10)),
                2 => Value::Real(self.real()),
                3 => Value::Text(self.text()),
                _ => Value::Blob(self.blob()),
            },
        }
    }

    /// Appends a value that suits a column: mostly a parameter.
    pub(crate) fn say_value(&mut self, column: u8) {
        match self.rng.u8(0..40) {
            0 if column == 1 && !self.in_schema => {
                self.note(Production::Random);
                self.say("random()");
            }
            0 | 1 if column == 4 && !self.in_schema => {
                self.note(Production::Random);
                let bytes = self.length();
                self.say(format_args!("randomblob({bytes})"));
            }
            2 | 3 if column == 4 => {
                self.note(Production::Zeroblob);
                let bytes = self.length();
                self.say(format_args!("zeroblob({bytes})"));
            }
            4 => self.say_literal(column),
            _ => {
                let value = self.value(column);
                let bytes = match &value {
                    Value::Text(text) => text.len(),
                    Value::Blob(bytes) => bytes.len(),
                    _ => 0,
                };
                if self.in_schema {
                    self.say_literal(column);
                } else {
                    if bytes > PAGE_BYTES {
                        self.note(Production::BigValue);
                    }
                    self.bind(value);
                }
            }
        }
    }

    /// Appends a literal that suits a column.
    pub(crate) fn say_literal(&mut self, column: u8) {
        match column {
            0 => {
                let key = self.key();
                self.say(key);
            }
            1 => {
                let number = self.rng.i64(-5..CONTENDED_KEYS);
                self.say(number);
            }
            2 => self.say_one(&["'abc'", "'it''s'", "''", "'zz'"]),
            3 => self.say_one(&["0.5", "-1.25", "1e10", "3"]),
            4 => self.say_one(&["x''", "x'00'", "x'c0ffee'"]),
            _ => self.say_one(&LITERALS),
        }
    }
}
