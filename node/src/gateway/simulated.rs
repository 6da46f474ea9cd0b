//! A client's session without a connection: what a simulated client has instead of the protocol.
//!
//! Everything behind the protocol's decoding is the same as for real clients: where statements run, the line of writers,
//! shared transactions, and what an answer waits for.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ferrolite_wire::{Header, Response, Value, decode_response};
use tokio::time::Instant;

use super::failure::Failure;
use super::inbox::Interrupts;
use super::seat::{BatchSink, Seat, engine_failed};
use super::session::OpenDatabase;
use super::text::Text;
use crate::handle::Handle;

/// How often it is looked whether a node serves yet.
const LOOK: Duration = Duration::from_millis(2);

/// An answer that is no success, as a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The protocol's code.
    pub code: u64,
    /// What is the matter.
    pub message: String,
    /// Whether the server hangs up.
    pub closes: bool,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code.0,
            message: failure.message,
            closes: failure.close,
        }
    }
}

/// A client's session with one database of one node. Dropped, it is as if the client's connection broke.
pub struct Session {
    seat: Seat,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("database", &self.seat.name)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Gathered(BytesMut);

impl BatchSink for Gathered {
    async fn send(&mut self, batch: Bytes) -> Result<(), Failure> {
        self.0.extend_from_slice(&batch);
        Ok(())
    }
}

impl Session {
    /// Opens the database `name`, as OPEN does.
    pub(crate) async fn open(
        handle: Handle,
        name: &str,
        busy_timeout: Duration,
    ) -> Result<Self, Refused> {
        // Looked at now and then: whom a watch wakes first is decided by chance, and not by that of the simulation.
        let deadline = Instant::now() + busy_timeout;
        loop {
            let (leads, serves) = {
                let status = handle.status.borrow();
                (status.leads, status.serves)
            };
            if serves {
                break;
            }
            if !leads || Instant::now() >= deadline {
                return Err(Failure::not_leader().into());
            }
            tokio::time::sleep(LOOK).await;
        }
        let (opener, wanted) = (handle.clone(), name.to_owned());
        let open = move || OpenDatabase::new(&opener, &wanted, || false);
        let open = handle.workers.run(open).await;
        let open = open.map_err(|_| engine_failed())??;
        let interrupts = Arc::new(Interrupts::default());
        let seat = Seat::new(name.to_owned(), handle, busy_timeout, interrupts, None);
        Ok(Self {
            seat: seat.with(open),
        })
    }

    /// Runs every statement of a text for its effect, as EXEC_SQL does, and returns how many rows the last one changed.
    ///
    /// # Errors
    /// What the client would be answered.
    pub async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<i64, Refused> {
        let effect = self.seat.exec_text(sql, params).await?;
        Ok(effect.rows_affected)
    }

    /// Runs a statement for its rows, as QUERY_SQL does.
    ///
    /// # Errors
    /// What the client would be answered.
    pub async fn query(
        &mut self,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Vec<Value>>, Refused> {
        let text = Text::Sql {
            sql: Arc::from(sql),
            at: 0,
        };
        self.seat.expect_alone(&text).await?;
        let mut gathered = Gathered::default();
        self.seat.query(text, params, &mut gathered).await?;
        Ok(rows(gathered.0.freeze())?)
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.seat.in_transaction()
    }
}

/// The rows in messages as they would go to a client.
fn rows(mut messages: Bytes) -> Result<Vec<Vec<Value>>, Failure> {
    let mut rows = Vec::new();
    while let Some(word) = messages.first_chunk() {
        let header = Header::decode(*word);
        messages.advance(Header::LEN_BYTES);
        let len = usize::try_from(header.words).unwrap_or(usize::MAX) * 8;
        let body = messages.split_to(len.min(messages.len()));
        if let Response::Rows(batch) = decode_response(header, body)? {
            rows.extend(batch.rows);
        }
    }
    Ok(rows)
}
