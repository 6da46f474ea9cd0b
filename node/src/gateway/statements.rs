//! The prepared statements of a session: those that the client prepared, and those of texts that it has sent before.
//!
//! To prepare a statement costs the engine far more than to run a small one, so what came as a text is kept as well, by its
//! text, up to a bound. The engine itself compiles a kept statement anew when the schema has changed.

use std::collections::VecDeque;
use std::sync::Arc;

use ferrolite_sql::Statement;
use ferrolite_wire::ErrorCode;

use super::failure::Failure;
use super::text::{Text, has_tail};
use super::values::Shape;

/// So many texts are remembered, the latest ones.
const TEXTS: usize = 32;
/// A longer text is not.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// What the last run of a statement has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Toll {
    /// It was never run.
    Unknown,
    /// So little that a network thread may run it.
    Light,
    /// More.
    Heavy,
}

/// A statement, and what is known about it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) statement: Statement,
    /// Its text, and nothing behind it.
    pub(super) sql: Arc<str>,
    pub(super) shape: Option<Shape>,
    pub(super) toll: Toll,
}

impl Kept {
    /// The statement that `sql` begins with.
    pub(super) fn new(statement: Statement, sql: &str) -> Self {
        Self {
            sql: Arc::from(sql.get(..statement.tail()).unwrap_or(sql)),
            statement,
            shape: None,
            toll: Toll::Unknown,
        }
    }

    /// The columns of its result, as they are since its last run began.
    pub(super) fn shape(&mut self) -> &Shape {
        let columns = self.statement.columns();
        let known = self.shape.take().filter(|shape| shape.is_of(&columns));
        self.shape
            .insert(known.unwrap_or_else(|| Shape::new(columns)))
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: Vec<Option<Kept>>,
    /// The one that was used last is the last.
    texts: VecDeque<(Arc<str>, Kept)>,
}

impl Statements {
    /// Keeps a statement that the client has prepared, and returns its number.
    pub(super) fn keep(&mut self, statement: Statement, sql: &str) -> Result<u32, Failure> {
        let kept = Some(Kept::new(statement, sql));
        let free = self.prepared.iter().position(Option::is_none);
        let free = free.unwrap_or(self.prepared.len());
        let number = u32::try_from(free)
            .map_err(|_| Failure::new(ErrorCode::NOMEM, "too many prepared statements"))?;
        match self.prepared.get_mut(free) {
            Some(slot) => *slot = kept,
            None => self.prepared.push(kept),
        }
        Ok(number)
    }

    fn slot(&mut self, number: u32) -> Option<&mut Option<Kept>> {
        self.prepared.get_mut(usize::try_from(number).ok()?)
    }

    /// Forgets a statement that the client has prepared.
    pub(super) fn finalize(&mut self, number: u32) -> Result<(), Failure> {
        match self.slot(number).and_then(Option::take) {
            Some(_) => Ok(()),
            None => Err(unknown()),
        }
    }

    fn place_of(&self, sql: &str) -> Option<usize> {
        self.texts.iter().rposition(|(text, _)| **text == *sql)
    }

    /// A statement that is known, without taking it out.
    pub(super) fn get(&self, text: &Text) -> Option<&Kept> {
        match text {
            Text::Prepared(number) => {
                let slot = self.prepared.get(usize::try_from(*number).ok()?);
                slot?.as_ref()
            }
            Text::Sql { sql, at } => {
                let place = self.place_of(sql.get(*at..)?)?;
                self.texts.get(place).map(|(_, kept)| kept)
            }
        }
    }

    /// Takes a statement out to run it. Nothing comes of a text that is not known.
    pub(super) fn take(&mut self, text: &Text) -> Result<Option<Kept>, Failure> {
        match text {
            Text::Prepared(number) => {
                let taken = self.slot(*number).and_then(Option::take);
                taken.map(Some).ok_or_else(unknown)
            }
            Text::Sql { sql, at } => {
                let place = self.place_of(sql.get(*at..).unwrap_or_default());
                let taken = place.and_then(|place| self.texts.remove(place));
                Ok(taken.map(|(_, kept)| kept))
            }
        }
    }

    /// Puts back what was taken out, or keeps what was prepared from this text.
    pub(super) fn put_back(&mut self, text: &Text, kept: Kept) {
        match text {
            Text::Prepared(number) => {
                if let Some(slot) = self.slot(*number) {
                    *slot = Some(kept);
                }
            }
            Text::Sql { sql, at } => {
                let rest = sql.get(*at..).unwrap_or_default();
                if rest.len() > MAX_TEXT_BYTES || has_tail(rest, kept.statement.tail()) {
                    return;
                }
                if self.texts.len() >= TEXTS {
                    self.texts.pop_front();
                }
                let whole = (*at == 0).then(|| Arc::clone(sql));
                self.texts
                    .push_back((whole.unwrap_or_else(|| Arc::from(rest)), kept));
            }
        }
    }
}

fn unknown() -> Failure {
    Failure::new(ErrorCode::DQLITE_NOTFOUND, "no statement with that id")
}
