//! The sessions of a client: a few, each used by one call at a time.
//!
//! A session that comes back is kept unless its connection is closed. It may come back with an answer still
//! owed (a dropped stream, a rolled back transaction); the next user waits for that first. The session used last is
//! the first to be used again, so what a dropped transaction held is given back before the same client goes on.
//!
//! The sessions are with the leader, or, in the pool of a client whose reads may be [`stale`](crate::stale), with any server.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::discovery::Servers;
use crate::session::Opening;
use crate::stale::Reading;
use crate::{Error, Result, Session};

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: Config,
    pub(crate) servers: Arc<Servers>,
    pub(crate) opening: Arc<Opening>,
    /// Where it is read, if that may be stale.
    pub(crate) reading: Reading,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(config: Config, servers: Arc<Servers>, opening: Opening) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(config.max_connections));
        Arc::new(Self {
            config,
            servers,
            opening: Arc::new(opening),
            reading: Reading::default(),
            idle: Mutex::new(Vec::new()),
            permits,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        // Pushing and popping leave the list whole even if they panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session with the leader, as far as is known: one that is idle, or a new one.
    ///
    /// # Errors
    /// [`Error::NoLeader`] once the deadline has passed.
    pub(crate) async fn checkout(self: &Arc<Self>, deadline: Instant) -> Result<PooledSession> {
        self.checkout_but(&HashSet::new(), deadline).await
    }

    /// The same, or one with any server but these, if reads may be stale.
    ///
    /// # Errors
    /// [`Error::NoLeader`], or [`Error::NoServer`], once the deadline has passed or no server is left.
    pub(crate) async fn checkout_but(
        self: &Arc<Self>,
        tried: &HashSet<String>,
        deadline: Instant,
    ) -> Result<PooledSession> {
        let permit = match timeout_at(deadline, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => {
                return Err(Error::NoLeader {
                    waited: self.config.retry_deadline,
                    attempts: vec![format!(
                        "all {} connections are in use",
                        self.config.max_connections
                    )],
                });
            }
        };
        while let Some(mut session) = self.pop_idle() {
            if !tried.contains(session.address())
                && !session.connection.looks_dead()
                && session.connection.settle().await.is_ok()
            {
                return Ok(PooledSession {
                    session,
                    pool: self.clone(),
                    _permit: permit,
                });
            }
        }
        let connection = if self.opening.staleness.is_none() {
            self.servers.find_leader(&self.config, deadline).await?
        } else {
            let preferred = self.reading.server();
            let preferred = preferred.filter(|server| !tried.contains(server));
            let servers = &self.servers;
            let found = servers.find_reader(&self.config, preferred, tried, deadline);
            let found = found.await?;
            self.reading.moved_to(found.address());
            found
        };
        let session = Session::new(connection, self.opening.clone());
        Ok(PooledSession {
            session,
            pool: self.clone(),
            _permit: permit,
        })
    }

    fn pop_idle(&self) -> Option<Session> {
        self.idle().pop()
    }

    /// Forgets that a server leads, and every idle session with it.
    pub(crate) fn not_leader(&self, address: &str) {
        self.servers.not_leader(address);
        self.idle().retain(|session| session.address() != address);
    }
}

/// A session out of a pool; it goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct PooledSession {
    /// A closed one takes its place when it goes back or is detached.
    session: Session,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl PooledSession {
    /// Takes the session out of the pool for good.
    pub(crate) fn detach(mut self) -> Session {
        std::mem::replace(&mut self.session, Session::closed())
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        self.session.connection.abandon();
        if self.session.connection.is_reusable() {
            let session = std::mem::replace(&mut self.session, Session::closed());
            self.pool.idle().push(session);
        }
    }
}
