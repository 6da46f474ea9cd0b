//! Reads that need not show the newest, from any server.
//!
//! A read by a [`Client`] goes to the leader, which makes sure that it still leads. Where a read may show what was the
//! newest a moment ago, any server can answer it: that takes load off the leader, saves the way to it, and goes on while
//! there is none. How old the answer may be at most is a promise that the server keeps, or says that it cannot.
//!
//! All connections of a [`StaleClient`] go to one server, one that does not lead if there is a choice, for as long as that
//! answers. So what it is shown does not go back, but where it has to move on to another server.
//!
//! | what happened | a call is made again |
//! |---|---|
//! | the server cannot be reached, or the connection was lost | with another server |
//! | the server is older than allowed, does not know the database, or cannot be read from now | with another server, once with each |
//! | a batch of the result was handed out already | no |
//! | any other failure | no |

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrolite_wire::{ErrorCode, Response};
use tokio::time::Instant;

use crate::config::Config;
use crate::connection::check;
use crate::discovery::{Backoff, Servers};
use crate::held::Held;
use crate::pool::{Pool, PooledSession};
use crate::session::{Call, Opening};
use crate::sql::Effect;
use crate::{Client, Error, FromRow, IntoParams, Result, RowStream, Session};

/// How old what a stale read shows may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// As old as what the server has.
    Unlimited,
    /// Everything that was committed so long before the server got the statement is shown; in whole milliseconds, up to 49
    /// days. A bound of zero makes the read linearizable, at the price of asking the leader.
    Within(Duration),
}

impl From<Duration> for Staleness {
    fn from(bound: Duration) -> Self {
        Self::Within(bound)
    }
}

impl Staleness {
    /// What a server is told in OPEN.
    pub(crate) fn vfs(self) -> String {
        match self {
            Self::Unlimited => "stale".to_owned(),
            Self::Within(bound) => {
                let milliseconds = u32::try_from(bound.as_millis()).unwrap_or(u32::MAX);
                format!("stale:{milliseconds}")
            }
        }
    }
}

/// A client whose reads may be stale; see [`Client::stale`].
///
/// ```no_run
/// # async fn example() -> ferrolite_client::Result<()> {
/// use std::time::Duration;
/// use ferrolite_client::{Client, Staleness};
///
/// let client = Client::connect(["127.0.0.1:9001", "127.0.0.1:9002"]).await?.with_database("app");
/// let recent = client.stale(Duration::from_millis(500));
/// let warm: Vec<(String, f64)> = recent.query("SELECT * FROM sensor WHERE value > ?", (70,)).await?;
///
/// // Several queries on one state of the database:
/// let mut session = client.stale(Staleness::Unlimited).session().await?;
/// session.execute("BEGIN", ()).await?;
/// let count: u64 = session.query_one("SELECT count(*) FROM sensor", ()).await?;
/// let sum: f64 = session.query_one("SELECT total(value) FROM sensor", ()).await?;
/// session.execute("COMMIT", ()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StaleClient {
    pool: Arc<Pool>,
}

/// The server that the readers of a pool have found last.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    server: Mutex<Option<String>>,
}

impl Reading {
    pub(crate) fn server(&self) -> Option<String> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.clone()
    }

    pub(crate) fn moved_to(&self, address: &str) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = Some(address.to_owned());
    }
}

impl Client {
    /// A client of the same cluster and database whose reads may be stale. They go to any server, one that does not lead if
    /// there is a choice.
    #[must_use]
    pub fn stale(&self, staleness: impl Into<Staleness>) -> StaleClient {
        let opening = Opening {
            database: self.database().to_owned(),
            staleness: Some(staleness.into()),
        };
        StaleClient {
            pool: Pool::new(self.pool.config.clone(), self.pool.servers.clone(), opening),
        }
    }
}

impl StaleClient {
    pub(crate) async fn start(
        servers: Vec<String>,
        database: String,
        config: Config,
        staleness: Staleness,
    ) -> Result<Self> {
        let opening = Opening {
            database,
            staleness: Some(staleness),
        };
        let client = Self {
            pool: Pool::new(config, Arc::new(Servers::new(servers)), opening),
        };
        // The connection goes to the pool: a cluster that cannot be reached is noticed here.
        drop(Search::new(&client.pool).checkout().await?);
        Ok(client)
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.pool.opening.database
    }

    /// How old what is read may be.
    pub fn staleness(&self) -> Staleness {
        self.pool.opening.staleness.unwrap_or(Staleness::Unlimited)
    }

    /// The server that is read from now.
    pub fn server(&self) -> Option<String> {
        self.pool.reading.server()
    }

    /// Takes a session for calls that must share a connection: several queries in one transaction, which see one state of the
    /// database. It stays with its server; when it is [closed](Session::is_closed), take another. Only queries may be run in
    /// it: a server that does not lead refuses the rest with an error for which [`Error::is_not_leader`] is true.
    ///
    /// # Errors
    /// [`Error::NoServer`] if none can be read from within the retry deadline, and else what a server said when the database
    /// was opened.
    pub async fn session(&self) -> Result<Session> {
        let mut search = Search::new(&self.pool);
        loop {
            let mut session = search.checkout().await?;
            match session.open().await {
                Ok(Ok(_)) => return Ok(session.detach()),
                Ok(Err(failure)) => {
                    search.refused(&mut session, failure)?;
                }
                Err(error) => search.lost(error.harmless()).await?,
            }
        }
    }

    /// Runs a query and collects its rows.
    ///
    /// # Errors
    /// [`Error::Server`] if the query fails; where [`Error::is_too_stale`], no server has what is new enough. [`Error::NoServer`]
    /// if none can be read from within the retry deadline; [`Error::Misuse`] for anything but a query; and the errors of
    /// [`FromRow`].
    pub async fn query<T: FromRow>(&self, sql: &str, params: impl IntoParams) -> Result<Vec<T>> {
        let mut call = Call::query(sql, params.into_params());
        let mut search = Search::new(&self.pool);
        loop {
            let (session, first) = search.run(&mut call).await?;
            let rows = RowStream::new(Held::Pooled(Box::new(session)), &call, first)?
                .collect()
                .await;
            match rows {
                // Nobody has seen the rows that did come.
                Err(error @ Error::ConnectionLost { .. }) => search.lost(error).await?,
                other => return other,
            }
        }
    }

    /// Runs a query for its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`] if there is none, and as [`query`](Self::query).
    pub async fn query_one<T: FromRow>(&self, sql: &str, params: impl IntoParams) -> Result<T> {
        self.query_optional(sql, params).await?.ok_or(Error::NoRow)
    }

    /// Runs a query for its first row, if there is one.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_optional<T: FromRow>(
        &self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<Option<T>> {
        self.query_stream(sql, params).await?.into_first().await
    }

    /// Runs a query and yields its rows as they come. They are of one state of the database.
    ///
    /// # Errors
    /// As [`query`](Self::query). A stream whose connection is lost after its first batch is not begun again.
    pub async fn query_stream(
        &self,
        sql: &str,
        params: impl IntoParams,
    ) -> Result<RowStream<'static>> {
        let mut call = Call::query(sql, params.into_params());
        let (session, first) = Search::new(&self.pool).run(&mut call).await?;
        RowStream::new(Held::Pooled(Box::new(session)), &call, first)
    }
}

/// A call on its way to a server that can answer it, by the table at the head of this module.
struct Search<'a> {
    pool: &'a Arc<Pool>,
    deadline: Instant,
    backoff: Backoff,
    /// Servers that could not, and what the last one said.
    tried: HashSet<String>,
    said: Option<Error>,
}

impl<'a> Search<'a> {
    fn new(pool: &'a Arc<Pool>) -> Self {
        Self {
            pool,
            deadline: Instant::now() + pool.config.retry_deadline,
            backoff: Backoff::new(),
            tried: HashSet::new(),
            said: None,
        }
    }

    /// A session with a server that was not tried.
    async fn checkout(&mut self) -> Result<PooledSession> {
        let session = self.pool.checkout_but(&self.tried, self.deadline).await;
        session.map_err(|error| match error {
            // What a server has said tells more than that there is no other.
            Error::NoServer { .. } => self.said.take().unwrap_or(error),
            error => error,
        })
    }

    /// Makes a call until its first answer is one to keep.
    async fn run(&mut self, call: &mut Call) -> Result<(PooledSession, Response)> {
        if call.effect != Effect::Read {
            return Err(Error::Misuse(
                "a client whose reads may be stale only reads: use the client that it was made from for the rest",
            ));
        }
        loop {
            let mut session = self.checkout().await?;
            match session.start(call).await {
                Ok(answer) => {
                    if let Some(answer) = self.refused(&mut session, answer)? {
                        return Ok((session, answer));
                    }
                }
                Err(error) => self.lost(error.harmless()).await?,
            }
        }
    }

    /// A server has answered. If another one may have a better answer, nothing is returned, and the session is closed.
    fn refused(&mut self, session: &mut Session, answer: Response) -> Result<Option<Response>> {
        let Response::Failure { code, .. } = &answer else {
            return Ok(Some(answer));
        };
        let elsewhere = match *code {
            ErrorCode::BUSY | ErrorCode::BUSY_TOO_STALE | ErrorCode::DQLITE_NOTFOUND => true,
            // A server that knows nothing of stale reads says so when the database is opened. Later, it is about a write.
            ErrorCode::IOERR_NOT_LEADER => !session.is_open(),
            _ => false,
        };
        let error = check(answer);
        if !elsewhere {
            return error.map(Some);
        }
        self.tried.insert(session.address().to_owned());
        self.said = error.err();
        session.connection.close();
        Ok(None)
    }

    /// A connection was lost, or there was none.
    async fn lost(&mut self, error: Error) -> Result<()> {
        let passes = matches!(
            error,
            Error::ConnectionLost { .. } | Error::Connect { .. } | Error::Closed
        );
        if passes && self.backoff.pause(self.deadline).await {
            Ok(())
        } else {
            Err(error)
        }
    }
}
