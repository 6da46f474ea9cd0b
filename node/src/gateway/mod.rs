//! The client protocol: what a connection asks, and who answers it.
//!
//! Each connection has one task. It takes the requests one by one, in order, and writes the answers; while a request takes
//! longer it also looks out for what cannot wait ([`inbox`]). A request that fails is answered with a FAILURE and the
//! connection lives on, unless the bytes make no sense any more.
//!
//! Everything that belongs to a connection, open databases, statements, a transaction and the writer's turn, is owned by that
//! task. When the client vanishes it is dropped, and so is all of that.
//!
//! SQL is run by [`session`], and waits in its [`seat`], also where it may be [`stale`]; [`admin`] answers for the cluster, and [`pages`] moves whole databases.

mod admin;
mod failure;
mod inbox;
mod pages;
mod personal;
mod seat;
mod session;
mod shared;
mod shared_session;
#[cfg(feature = "simulation")]
mod simulated;
mod stale;
mod staleness;
mod statements;
mod text;
mod values;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrolite_client::socket::Socket;
use ferrolite_wire::{ErrorCode, Request, Response, Value, Version, decode_request};
use tokio::net::TcpStream;

use self::failure::Failure;
use self::inbox::{Inbox, Interrupts, Received};
use self::pages::Import;
use self::seat::{BatchSink, Seat};
use self::session::OpenDatabase;
use self::staleness::Staleness;
use self::text::{Text, has_tail};

pub(crate) use self::shared::Shared;
#[cfg(feature = "simulation")]
pub use self::simulated::{Refused, Session as SimSession};
use crate::handle::Handle;

/// Databases that one connection may have open.
const MAX_OPEN_DATABASES: usize = 256;
/// Answers are written out at the latest when so much has gathered.
const WRITE_BYTES: usize = 64 << 10;

/// What every connection needs to know about its node.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) handle: Handle,
    pub(crate) max_body_bytes: u64,
    pub(crate) busy_timeout: Duration,
    /// Zero: no limit.
    pub(crate) idle_transaction: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) failure_domain: u64,
    pub(crate) weight: AtomicU64,
    pub(crate) page_size: u32,
}

/// Serves a client whose handshake was `version`; `received` is what came behind it already.
pub(crate) async fn serve(
    context: Arc<Context>,
    version: Version,
    received: BytesMut,
    stream: TcpStream,
) {
    let socket = Arc::new(Socket::new(stream));
    let mut inbox = Inbox::new(Arc::clone(&socket), received, context.max_body_bytes);
    let mut connection = Connection {
        context,
        version,
        interrupts: inbox.interrupts(),
        out: Output {
            buffer: BytesMut::new(),
            socket,
        },
        databases: Vec::new(),
        import: None,
    };
    while let Some(message) = connection.next_of(&mut inbox).await {
        let answered = tokio::select! {
            biased;
            answered = connection.answer(message) => answered,
            never = inbox.watch() => match never {},
        };
        if let Err(reason) = answered {
            log::debug!(reason:%; "a client connection ends");
            break;
        }
    }
}

struct Output {
    buffer: BytesMut,
    socket: Arc<Socket>,
}

impl Output {
    fn push(&mut self, response: &Response) -> Result<(), Failure> {
        let before = self.buffer.len();
        response.encode(&mut self.buffer).map_err(|error| {
            self.buffer.truncate(before);
            Failure::from(error)
        })
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.buffer).await?;
        if self.buffer.capacity() > WRITE_BYTES {
            self.buffer = BytesMut::new();
        } else {
            self.buffer.clear();
        }
        Ok(())
    }
}

impl BatchSink for Output {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure> {
        self.buffer.extend_from_slice(&batch);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush().await.map_err(|error| gone(&error))?;
        }
        Ok(())
    }
}

fn gone(error: &std::io::Error) -> Failure {
    Failure::new(ErrorCode::IOERR, format!("the client is gone: {error}")).closing()
}

struct Connection {
    context: Arc<Context>,
    version: Version,
    interrupts: Arc<Interrupts>,
    out: Output,
    databases: Vec<Seat>,
    import: Option<Import>,
}

impl Connection {
    /// The next message; none when there will be no more, or none came for too long while others may be waiting for what
    /// this client keeps from them.
    async fn next_of(&mut self, inbox: &mut Inbox) -> Option<Received> {
        let limit = self.context.idle_transaction;
        if !self.holds_up_others() {
            return self.next_of_idle(inbox).await;
        }
        if limit.is_zero() {
            return inbox.next_soon().await;
        }
        match tokio::time::timeout(limit, inbox.next_soon()).await {
            Ok(message) => message,
            Err(_) => {
                log::warn!(
                    limit_ms = limit.as_millis();
                    "a client left a transaction open for too long; it is rolled back and the connection closed"
                );
                None
            }
        }
    }

    /// The next message of a client that keeps nothing from others. If it takes long, what is open here only for this client
    /// is not to stay open.
    async fn next_of_idle(&mut self, inbox: &mut Inbox) -> Option<Received> {
        if self.databases.iter().any(Seat::is_idle_follower) {
            let idle = self.context.handle.following.idle();
            if let Ok(message) = tokio::time::timeout(idle, inbox.next()).await {
                return message;
            }
            for seat in &mut self.databases {
                if seat.is_idle_follower() {
                    seat.park();
                }
            }
        }
        inbox.next().await
    }

    /// Whether a transaction is open, or an import under way.
    fn holds_up_others(&self) -> bool {
        self.import.is_some() || self.databases.iter().any(Seat::in_transaction)
    }

    /// Answers one message. An error is the reason to end the connection.
    async fn answer(&mut self, message: Received) -> Result<(), String> {
        let answered = match message {
            Ok((header, body)) => match decode_request(header, body) {
                Ok(request) => self.handle(request).await,
                Err(error) => Err(Failure::from(error)),
            },
            Err(failure) => Err(failure),
        };
        let mut end = None;
        if let Err(failure) = answered {
            if let Err(error) = self.out.push(&failure.response()) {
                return Err(error.message);
            }
            if failure.close {
                end = Some(failure.message);
            }
        }
        self.out.flush().await.map_err(|error| error.to_string())?;
        end.map_or(Ok(()), Err)
    }

    async fn handle(&mut self, request: Request) -> Result<(), Failure> {
        let response = match request {
            Request::Open { name, vfs, .. } => self.open(&name, &vfs).await?,
            Request::Prepare { db, sql, with_tail } => self.prepare(db, sql, with_tail).await?,
            Request::Exec { db, stmt, params } => {
                let (effect, _) = self
                    .seat(db.into())?
                    .exec(Text::Prepared(stmt), params)
                    .await?;
                result(effect)
            }
            Request::ExecSql { db, sql, params } => {
                result(self.seat(db)?.exec_text(&sql, params).await?)
            }
            Request::Query { db, stmt, params } => {
                return self.query(db.into(), Text::Prepared(stmt), params).await;
            }
            Request::QuerySql { db, sql, params } => return self.query_sql(db, sql, params).await,
            Request::Finalize { db, stmt } => {
                self.seat(db.into())?.statements()?.finalize(stmt)?;
                Response::Empty
            }
            Request::Interrupt { .. } => {
                self.interrupts.answered();
                Response::Empty
            }
            Request::Dump { name } => self.dump(name).await?,
            Request::Import {
                name,
                page_size,
                pages,
                replace,
            } => self.begin_import(name, page_size, pages, replace).await?,
            Request::ImportPages { first_page, pages } => {
                self.import_pages(first_page, &pages).await?
            }
            Request::ImportCommit => self.commit_import().await?,
            Request::Export { name } => return self.export(name).await,
            Request::Databases => self.list_databases().await?,
            other => self.administer(other).await?,
        };
        self.out.push(&response)
    }

    fn seat(&mut self, db: u64) -> Result<&mut Seat, Failure> {
        usize::try_from(db)
            .ok()
            .and_then(|db| self.databases.get_mut(db))
            .ok_or_else(|| {
                Failure::new(
                    ErrorCode::DQLITE_NOTFOUND,
                    "no database opened with that id",
                )
            })
    }

    /// A node that was just elected is about to serve: whoever was sent here need not search again.
    async fn wait_until_serving(&self) -> Result<(), Failure> {
        let mut status = self.context.handle.status.clone();
        let decided = status.wait_for(|status| status.serves || !status.leads);
        match tokio::time::timeout(self.context.busy_timeout, decided).await {
            Ok(Ok(status)) if status.serves => Ok(()),
            _ => Err(Failure::not_leader()),
        }
    }

    async fn open_database(&self, name: String) -> Result<OpenDatabase, Failure> {
        let handle = self.context.handle.clone();
        self.wait_until_serving().await?;
        let interrupts = Arc::clone(&self.interrupts);
        let open = move || OpenDatabase::new(&handle, &name, move || interrupts.pending());
        tokio::task::spawn_blocking(open).await.map_err(|_| {
            Failure::new(
                ErrorCode::INTERNAL,
                "opening the database failed; see the node's log",
            )
        })?
    }

    async fn open(&mut self, name: &str, vfs: &str) -> Result<Response, Failure> {
        if self.databases.len() >= MAX_OPEN_DATABASES {
            return Err(Failure::new(
                ErrorCode::NOMEM,
                "too many databases open on this connection",
            ));
        }
        let (name, by_name) = Staleness::of_name(name)?;
        let staleness = Staleness::of_vfs(vfs)?.or(by_name);
        let mut seat = Seat::new(
            name.to_owned(),
            self.context.handle.clone(),
            self.context.busy_timeout,
            Arc::clone(&self.interrupts),
            staleness,
        );
        seat = if staleness.is_some() {
            seat.open_stale().await?;
            seat
        } else {
            seat.with(self.open_database(name.to_owned()).await?)
        };
        let id = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        self.databases.push(seat);
        Ok(Response::Database { id })
    }

    async fn prepare(
        &mut self,
        db: u64,
        sql: String,
        with_tail: bool,
    ) -> Result<Response, Failure> {
        let seat = self.seat(db)?;
        let text = sql.clone();
        let (id, params, tail) = seat.prepare(sql).await?;
        if !with_tail && has_tail(&text, tail) {
            seat.statements()?.finalize(id)?;
            return Err(Failure::new(ErrorCode::ERROR, "nonempty statement tail"));
        }
        Ok(Response::Statement {
            db: u32::try_from(db).unwrap_or(u32::MAX),
            id,
            params,
            tail_bytes: with_tail.then_some(tail as u64),
        })
    }

    async fn query(&mut self, db: u64, text: Text, params: Vec<Value>) -> Result<(), Failure> {
        let seat = usize::try_from(db)
            .ok()
            .and_then(|db| self.databases.get_mut(db))
            .ok_or_else(|| {
                Failure::new(
                    ErrorCode::DQLITE_NOTFOUND,
                    "no database opened with that id",
                )
            })?;
        seat.query(text, params, &mut self.out).await
    }

    async fn query_sql(&mut self, db: u64, sql: String, params: Vec<Value>) -> Result<(), Failure> {
        let text = Text::Sql {
            sql: Arc::from(sql),
            at: 0,
        };
        self.seat(db)?.expect_alone(&text).await?;
        self.query(db, text, params).await
    }
}

fn result(effect: session::Effect) -> Response {
    Response::Result {
        // A rowid is signed; the protocol carries its 64 bits as they are.
        last_insert_id: u64::from_le_bytes(effect.last_insert_id.to_le_bytes()),
        rows_affected: u64::try_from(effect.rows_affected).unwrap_or(0),
    }
}
