//! The prepared statements of a session: those that the client prepared, and those of texts that it has sent before.
//!
//! To prepare a statement costs the engine far more than to run a small one, so what came as a text is kept as well, by its
//! text, up to a bound. The engine itself compiles a kept statement anew when the schema has changed.

use std::collections::VecDeque;
use std::sync::Arc;

use ferrolite_sql::{Error, Statement};
use ferrolite_wire::ErrorCode;

use super::failure::Failure;
use super::staleness::Setting;
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
    pub(super) fn new(statement: Statement, sql: &str) -> Box<Self> {
        Box::new(Self {
            sql: Arc::from(sql.get(..statement.tail()).unwrap_or(sql)),
            statement,
            shape: None,
            toll: Toll::Unknown,
        })
    }

    /// The columns of its result, as they are since its last run began.
    pub(super) fn shape(&mut self) -> &Shape {
        let columns = self.statement.columns();
        let known = self.shape.take().filter(|shape| shape.is_of(&columns));
        self.shape
            .insert(known.unwrap_or_else(|| Shape::new(columns)))
    }
}

/// What the client has prepared under a number.
#[derive(Debug)]
enum Slot {
    Free,
    /// It is being run.
    Taken,
    Kept(Box<Kept>),
    /// A statement about the connection, which the engine does not know.
    Setting(Setting),
    /// It could not be prepared any more when the database was opened anew.
    Broken(Error),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: Vec<Slot>,
    /// The one that was used last is the last.
    texts: VecDeque<(Arc<str>, Box<Kept>)>,
}

impl Statements {
    /// Keeps a statement that the client has prepared, and returns its number.
    pub(super) fn keep(&mut self, statement: Statement, sql: &str) -> Result<u32, Failure> {
        self.occupy(Slot::Kept(Kept::new(statement, sql)))
    }

    /// Keeps a statement that the client has prepared, and that is about the connection.
    pub(super) fn keep_setting(&mut self, setting: Setting) -> Result<u32, Failure> {
        self.occupy(Slot::Setting(setting))
    }

    fn occupy(&mut self, content: Slot) -> Result<u32, Failure> {
        let mut slots = self.prepared.iter();
        let free = slots.position(|slot| matches!(slot, Slot::Free));
        let free = free.unwrap_or(self.prepared.len());
        let number = u32::try_from(free)
            .map_err(|_| Failure::new(ErrorCode::NOMEM, "too many prepared statements"))?;
        match self.prepared.get_mut(free) {
            Some(slot) => *slot = content,
            None => self.prepared.push(content),
        }
        Ok(number)
    }

    fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.prepared.get_mut(usize::try_from(number).ok()?)
    }

    /// Forgets a statement that the client has prepared.
    pub(super) fn finalize(&mut self, number: u32) -> Result<(), Failure> {
        match self
            .slot(number)
            .map(|slot| std::mem::replace(slot, Slot::Free))
        {
            Some(Slot::Free) | None => Err(unknown()),
            Some(_) => Ok(()),
        }
    }

    /// The statement about the connection that a text is, if it was prepared as one.
    pub(super) fn setting(&self, text: &Text) -> Option<Setting> {
        let Text::Prepared(number) = text else {
            return None;
        };
        match self.prepared.get(usize::try_from(*number).ok()?)? {
            Slot::Setting(setting) => Some(*setting),
            _ => None,
        }
    }

    /// What the client has prepared, for another session of the same database, under the same numbers.
    pub(super) fn for_another(
        self,
        prepare: impl Fn(&str) -> Result<Option<Statement>, Error>,
    ) -> Self {
        let again = |sql: &str| match prepare(sql) {
            Ok(Some(statement)) => Slot::Kept(Kept::new(statement, sql)),
            Ok(None) => Slot::Free,
            Err(error) => Slot::Broken(error),
        };
        let slots = self.prepared.into_iter().map(|slot| match slot {
            Slot::Kept(kept) => again(&kept.sql),
            other => other,
        });
        Self {
            prepared: slots.collect(),
            texts: VecDeque::new(),
        }
    }

    fn place_of(&self, sql: &str) -> Option<usize> {
        self.texts.iter().rposition(|(text, _)| **text == *sql)
    }

    /// A statement that is known, without taking it out.
    pub(super) fn get(&self, text: &Text) -> Option<&Kept> {
        match text {
            Text::Prepared(number) => match self.prepared.get(usize::try_from(*number).ok()?)? {
                Slot::Kept(kept) => Some(kept),
                _ => None,
            },
            Text::Sql { sql, at } => {
                let place = self.place_of(sql.get(*at..)?)?;
                self.texts.get(place).map(|(_, kept)| &**kept)
            }
        }
    }

    /// Takes a statement out to run it. Nothing comes of a text that is not known.
    pub(super) fn take(&mut self, text: &Text) -> Result<Option<Box<Kept>>, Failure> {
        match text {
            Text::Prepared(number) => {
                let slot = self.slot(*number).ok_or_else(unknown)?;
                match std::mem::replace(slot, Slot::Taken) {
                    Slot::Kept(kept) => Ok(Some(kept)),
                    other => {
                        let failure = match &other {
                            Slot::Broken(error) => error.clone().into(),
                            _ => unknown(),
                        };
                        *slot = other;
                        Err(failure)
                    }
                }
            }
            Text::Sql { sql, at } => {
                let place = self.place_of(sql.get(*at..).unwrap_or_default());
                let taken = place.and_then(|place| self.texts.remove(place));
                Ok(taken.map(|(_, kept)| kept))
            }
        }
    }

    /// Puts back what was taken out, or keeps what was prepared from this text.
    pub(super) fn put_back(&mut self, text: &Text, kept: Box<Kept>) {
        match text {
            Text::Prepared(number) => {
                if let Some(slot) = self.slot(*number) {
                    *slot = Slot::Kept(kept);
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
