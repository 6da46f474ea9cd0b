//! A session that something holds for a while: borrowed from its owner, or checked out of a client's pool.

use std::ops::{Deref, DerefMut};

use crate::Session;
use crate::pool::PooledSession;

#[derive(Debug)]
pub(crate) enum Held<'a> {
    Borrowed(&'a mut Session),
    Pooled(Box<PooledSession>),
}

impl Held<'_> {
    /// Lends the session on.
    pub(crate) fn reborrow(&mut self) -> Held<'_> {
        Held::Borrowed(self)
    }
}

impl Deref for Held<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Borrowed(session) => session,
            Self::Pooled(session) => session,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        match self {
            Self::Borrowed(session) => session,
            Self::Pooled(session) => session,
        }
    }
}
