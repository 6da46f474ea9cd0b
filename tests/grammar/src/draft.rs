//! The statement that is being written, from left to right.
//!
//! Whatever the grammar produces is appended here, so that parameters come in the order of their `?`. The other modules add
//! their productions as methods.

use std::fmt;

use fastrand::Rng;

use crate::names::{self, Name};
use crate::production::Production;
use crate::profile::Profile;
use crate::statement::{Kind, Statement, Value};

/// The source of decisions, and the text so far.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) rng: Rng,
    pub(crate) profile: Profile,
    sql: String,
    params: Vec<Value>,
    productions: Vec<Production>,
    /// The text goes into the schema, where there are no parameters and nothing is random.
    pub(crate) in_schema: bool,
}

impl Draft {
    pub(crate) fn new(rng: Rng, profile: Profile) -> Self {
        Self {
            rng,
            profile,
            sql: String::new(),
            params: Vec::new(),
            productions: Vec::new(),
            in_schema: false,
        }
    }

    /// Appends text.
    pub(crate) fn say(&mut self, text: impl fmt::Display) {
        use fmt::Write;
        // Writing to a String does not fail.
        let _ = write!(self.sql, "{text}");
    }

    /// Notes that something of the grammar is in the statement.
    pub(crate) fn note(&mut self, production: Production) {
        if !self.productions.contains(&production) {
            self.productions.push(production);
        }
    }

    /// Appends a parameter; in the schema, NULL in its place.
    pub(crate) fn bind(&mut self, value: Value) {
        if self.in_schema {
            self.say("NULL");
        } else {
            self.say('?');
            self.params.push(value);
        }
    }

    /// Takes out what was written.
    pub(crate) fn end(&mut self, kind: Kind, ordered: bool) -> Statement {
        self.in_schema = false;
        Statement {
            sql: std::mem::take(&mut self.sql),
            params: std::mem::take(&mut self.params),
            kind,
            ordered,
            productions: std::mem::take(&mut self.productions),
        }
    }

    /// True in so many cases of a hundred.
    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// One of `of`; the first where it is certain that there are some is what nobody sees.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        self.rng.choice(of).copied()
    }

    /// Appends one of `of`.
    pub(crate) fn say_one(&mut self, of: &[&str]) {
        let chosen = self.one(of).unwrap_or_default();
        self.say(chosen);
    }

    /// The place of a weight, drawn by how heavy it is.
    pub(crate) fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut at = self.rng.u32(0..weights.iter().sum::<u32>().max(1));
        for (place, weight) in weights.iter().enumerate() {
            if at < *weight {
                return place;
            }
            at -= weight;
        }
        0
    }

    /// One of the tables.
    pub(crate) fn table(&mut self) -> Name {
        names::table(&mut self.rng)
    }
}
