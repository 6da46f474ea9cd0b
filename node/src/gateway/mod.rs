//! The client protocol: what a connection asks, and who answers it.
//!
//! Each connection has two tasks. One reads: it cuts messages off the socket, queues them, and looks out
//! for the two things that cannot wait in the queue, an INTERRUPT and the end of the connection; both make
//! the statement that runs end soon. The other takes the requests one by one, in order, and writes the
//! answers. A request that fails is answered with a FAILURE and the connection lives on, unless the bytes
//! make no sense any more.
//!
//! Everything that belongs to a connection, open databases, statements, a transaction and the writer's
//! turn, is owned by the second task. When the client vanishes it is dropped, and so is all of that.
//!
//! The module `session` runs SQL, `admin` answers for the cluster, and `pages` moves whole databases.

mod admin;
mod failure;
mod pages;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrolite_wire::{
    ErrorCode, Header, Progress, Request, Response, Value, Version, decode_request, take_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use self::failure::Failure;
use self::pages::Import;
use self::session::{BatchSink, OpenDatabase, Seat, Text, has_tail};
use crate::handle::Handle;

/// Requests that a client may send ahead of the answers.
const QUEUED_REQUESTS: usize = 64;
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

/// Tells a running statement to end.
#[derive(Debug, Default)]
struct Interrupts {
    asked: AtomicUsize,
    answered: AtomicUsize,
    gone: AtomicBool,
}

impl Interrupts {
    fn pending(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
            || self.asked.load(Ordering::Relaxed) > self.answered.load(Ordering::Relaxed)
    }
}

/// Serves a client whose handshake was `version`; `received` is what came behind it already.
pub(crate) async fn serve(
    context: Arc<Context>,
    version: Version,
    received: BytesMut,
    stream: TcpStream,
) {
    let (reader, writer) = stream.into_split();
    let interrupts = Arc::new(Interrupts::default());
    let (queue, mut requests) = mpsc::channel(QUEUED_REQUESTS);
    let reading = tokio::spawn(read(
        reader,
        received,
        context.max_body_bytes,
        queue,
        Arc::clone(&interrupts),
    ));
    let mut connection = Connection {
        context,
        version,
        interrupts,
        out: Output {
            buffer: BytesMut::new(),
            writer,
        },
        databases: Vec::new(),
        import: None,
    };
    while let Some(message) = connection.next_of(&mut requests).await {
        if let Err(reason) = connection.answer(message).await {
            tracing::debug!(%reason, "a client connection ends");
            break;
        }
    }
    reading.abort();
}

/// A message, or why there will be no more.
type Received = Result<(Header, Bytes), Failure>;

async fn read(
    mut reader: OwnedReadHalf,
    mut buffer: BytesMut,
    limit_bytes: u64,
    queue: mpsc::Sender<Received>,
    interrupts: Arc<Interrupts>,
) {
    loop {
        let received = match take_message(&mut buffer, limit_bytes) {
            Ok(Progress::Message(header, body)) => {
                if header.kind == Request::INTERRUPT {
                    interrupts.asked.fetch_add(1, Ordering::Relaxed);
                }
                Ok((header, body))
            }
            Ok(Progress::Partial { reserve_bytes }) => {
                buffer.reserve(reserve_bytes);
                match reader.read_buf(&mut buffer).await {
                    Ok(1..) => continue,
                    // The end, orderly or not: nobody waits for an answer any more.
                    Ok(0) | Err(_) => break,
                }
            }
            Err(error) => Err(Failure::from(error)),
        };
        let last = received.is_err();
        if queue.send(received).await.is_err() || last {
            return;
        }
    }
    interrupts.gone.store(true, Ordering::Relaxed);
}

struct Output {
    buffer: BytesMut,
    writer: OwnedWriteHalf,
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
        self.writer.write_all(&self.buffer).await?;
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
    async fn next_of(&mut self, requests: &mut mpsc::Receiver<Received>) -> Option<Received> {
        let limit = self.context.idle_transaction;
        if limit.is_zero() || !self.holds_up_others() {
            return requests.recv().await;
        }
        match tokio::time::timeout(limit, requests.recv()).await {
            Ok(message) => message,
            Err(_) => {
                tracing::warn!(
                    limit_ms = limit.as_millis(),
                    "a client left a transaction open for too long; it is rolled back and the connection closed"
                );
                None
            }
        }
    }

    /// Whether a transaction is open, or an import under way.
    fn holds_up_others(&mut self) -> bool {
        let mut seats = self.databases.iter_mut();
        let is_open = |seat: &mut Seat| seat.here().is_ok_and(|open| open.session.in_transaction());
        self.import.is_some() || seats.any(is_open)
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
            Request::Open { name, .. } => self.open(name).await?,
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
                let open = self.seat(db.into())?.here()?;
                let slot = usize::try_from(stmt)
                    .ok()
                    .and_then(|stmt| open.statements.get_mut(stmt));
                match slot.and_then(Option::take) {
                    Some(statement) => drop(statement),
                    None => {
                        return Err(Failure::new(
                            ErrorCode::DQLITE_NOTFOUND,
                            "no statement with that id",
                        ));
                    }
                }
                Response::Empty
            }
            Request::Interrupt { .. } => {
                self.interrupts.answered.fetch_add(1, Ordering::Relaxed);
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

    async fn open(&mut self, name: String) -> Result<Response, Failure> {
        if self.databases.len() >= MAX_OPEN_DATABASES {
            return Err(Failure::new(
                ErrorCode::NOMEM,
                "too many databases open on this connection",
            ));
        }
        let open = self.open_database(name).await?;
        let id = u32::try_from(self.databases.len()).unwrap_or(u32::MAX);
        self.databases
            .push(Seat::new(open, self.context.busy_timeout));
        Ok(Response::Database { id })
    }

    async fn prepare(
        &mut self,
        db: u64,
        sql: String,
        with_tail: bool,
    ) -> Result<Response, Failure> {
        let id = u32::try_from(db).unwrap_or(u32::MAX);
        self.seat(db)?
            .run(move |open| {
                let statement = open.session.prepare(&sql)?;
                let statement =
                    statement.ok_or_else(|| Failure::new(ErrorCode::ERROR, "empty statement"))?;
                let tail = statement.tail();
                if !with_tail && has_tail(&sql, tail) {
                    return Err(Failure::new(ErrorCode::ERROR, "nonempty statement tail"));
                }
                let params = statement.parameter_count() as u64;
                Ok(Response::Statement {
                    db: id,
                    id: open.keep(statement)?,
                    params,
                    tail_bytes: with_tail.then_some(tail as u64),
                })
            })
            .await?
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
        let sql: Arc<str> = Arc::from(sql);
        let whole = Arc::clone(&sql);
        let tail = self
            .seat(db)?
            .run(move |open| Ok::<_, Failure>(open.session.prepare(&whole)?.map(|s| s.tail())))
            .await??;
        match tail {
            None => Err(Failure::new(ErrorCode::ERROR, "empty statement")),
            Some(tail) if has_tail(&sql, tail) => {
                Err(Failure::new(ErrorCode::ERROR, "nonempty statement tail"))
            }
            Some(_) => self.query(db, Text::Sql { sql, at: 0 }, params).await,
        }
    }
}

fn result(effect: session::Effect) -> Response {
    Response::Result {
        // A rowid is signed; the protocol carries its 64 bits as they are.
        last_insert_id: u64::from_le_bytes(effect.last_insert_id.to_le_bytes()),
        rows_affected: u64::try_from(effect.rows_affected).unwrap_or(0),
    }
}
