//! Results that are read as they come.

use std::sync::Arc;

use ferrolite_wire::{Response, RowsBatch, Value};

use crate::connection::check;
use crate::held::Held;
use crate::session::Call;
use crate::{Error, FromRow, Result, Row};

/// The rows of a query, one batch in memory at a time.
///
/// Dropping the stream before its end interrupts the query; the session stays usable, an open transaction stays
/// open. Dropping the future of [`next`](Self::next) loses nothing: the next call goes on where it stood.
///
/// The rows of a long result are not all sent before the first ones arrive, so an error may come after rows.
#[derive(Debug)]
pub struct RowStream<'a> {
    held: Held<'a>,
    columns: Arc<[String]>,
    batch: std::vec::IntoIter<Vec<Value>>,
    more: bool,
}

impl<'a> RowStream<'a> {
    pub(crate) fn new(held: Held<'a>, call: &Call, first: Response) -> Result<Self> {
        match first {
            Response::Rows(RowsBatch {
                columns,
                rows,
                more,
            }) => Ok(Self {
                held,
                columns: columns.into(),
                batch: rows.into_iter(),
                more,
            }),
            other => Err(call.unexpected(&other)),
        }
    }

    /// The columns' names, known before the first row.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row, or none at the end.
    ///
    /// # Errors
    /// [`Error::Server`] if the query fails on the way or is interrupted, [`Error::ConnectionLost`] and
    /// [`Error::Protocol`] if the connection is lost. After an error the stream has ended.
    pub async fn next(&mut self) -> Result<Option<Row>> {
        loop {
            if let Some(values) = self.batch.next() {
                return Ok(Some(Row::new(self.columns.clone(), values)));
            }
            if !self.more {
                return Ok(None);
            }
            let answer = self.held.connection.next_answer().await.and_then(check);
            match answer {
                Ok(Response::Rows(batch)) => {
                    self.batch = batch.rows.into_iter();
                    self.more = batch.more;
                }
                Ok(other) => {
                    self.more = false;
                    self.held.connection.close();
                    return Err(Error::UnexpectedAnswer {
                        request: "QUERY",
                        answer: other.name(),
                    });
                }
                Err(error) => {
                    self.more = false;
                    return Err(error);
                }
            }
        }
    }

    /// The next row, converted.
    ///
    /// # Errors
    /// As [`next`](Self::next), and the errors of [`FromRow`].
    pub async fn next_as<T: FromRow>(&mut self) -> Result<Option<T>> {
        self.next().await?.map(T::from_row).transpose()
    }

    /// Reads all rows that are left.
    ///
    /// # Errors
    /// As [`next_as`](Self::next_as).
    pub async fn collect<T: FromRow>(mut self) -> Result<Vec<T>> {
        let mut rows = Vec::with_capacity(self.batch.len());
        while let Some(row) = self.next_as().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Reads one row and gives up the rest.
    pub(crate) async fn into_first<T: FromRow>(mut self) -> Result<Option<T>> {
        self.next_as().await
    }

    /// Ends the query and waits until the server has let go of it.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`] if that takes too long: the session is then closed.
    pub async fn interrupt(mut self) -> Result<()> {
        self.more = false;
        self.held.connection.abandon();
        self.held.connection.settle().await
    }
}

impl Drop for RowStream<'_> {
    fn drop(&mut self) {
        if self.more {
            self.held.connection.abandon();
        }
    }
}
