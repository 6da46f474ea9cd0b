//! Whole databases in and out, by their pages. Ferrolite extensions of the protocol.
//!
//! An import becomes visible as a whole with its commit, or not at all; an export is one consistent snapshot.
//! Neither ever holds more than a chunk in memory.

use bytes::Bytes;
use ferrolite_wire::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::client::Client;
use crate::connection::{check, is_not_leader, unexpected};
use crate::discovery::Backoff;
use crate::error::CallError;
use crate::pool::PooledSession;
use crate::{Error, Result};

/// How much an import sends at a time, in bytes; at least one page.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// What is imported, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The database's name in the cluster.
    pub database: String,
    /// The size of a page in bytes: a power of two from 512 to 65536.
    pub page_size: u64,
    /// The number of pages in the file.
    pub pages: u64,
    /// Whether a database of that name may be replaced.
    pub replace: bool,
}

/// How far an import or export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferProgress {
    /// Pages transferred.
    pub pages_done: u64,
    /// Pages in all.
    pub pages_total: u64,
    /// The size of a page in bytes.
    pub page_size: u64,
}

impl Client {
    /// Loads a database by the pages of its file, and returns once a quorum has it.
    ///
    /// Exactly `pages` times `page_size` bytes are read. `progress` is called after every chunk. Dropping the
    /// future gives the import up, unless its commit was sent.
    ///
    /// # Errors
    /// [`Error::Server`] if the cluster refuses, [`Error::LocalIo`] if reading fails or ends early,
    /// [`Error::ConnectionLost`] if nothing was imported, [`Error::OutcomeUnknown`] if the answer to the commit
    /// never came.
    pub async fn import(
        &self,
        options: &ImportOptions,
        mut source: impl AsyncRead + Unpin,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<()> {
        let &ImportOptions {
            page_size,
            pages: pages_total,
            ..
        } = options;
        if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(Error::Misuse(
                "an SQLite page has 512 to 65536 bytes, a power of two",
            ));
        }
        let begin = Request::Import {
            name: options.database.clone(),
            page_size,
            pages: pages_total,
            replace: options.replace,
        };
        let mut session = OneUse(self.begin(&begin).await?.0);
        let mut pages_done = 0;
        while pages_done < pages_total {
            let count = (CHUNK_BYTES / page_size).clamp(1, pages_total - pages_done);
            let len = usize::try_from(count * page_size)
                .map_err(|_| ferrolite_wire::WireError::TooLarge)?;
            let mut chunk = vec![0; len];
            source
                .read_exact(&mut chunk)
                .await
                .map_err(Error::LocalIo)?;
            let request = Request::ImportPages {
                first_page: pages_done + 1,
                pages: chunk.into(),
            };
            session.empty(&request).await.map_err(CallError::harmless)?;
            pages_done += count;
            progress(TransferProgress {
                pages_done,
                pages_total,
                page_size,
            });
        }
        session
            .empty(&Request::ImportCommit)
            .await
            .map_err(CallError::of_write)
    }

    /// Reads a database as a stream of its pages.
    ///
    /// # Errors
    /// [`Error::Server`] if there is no such database.
    pub async fn export(&self, database: &str) -> Result<Export> {
        let request = Request::Export {
            name: database.to_owned(),
        };
        let (session, first) = self.begin(&request).await?;
        Ok(Export {
            session: OneUse(session),
            next: Some(first),
            pages_done: 0,
        })
    }

    /// Writes a database's file. `progress` is called after every chunk; the writer is flushed at the end.
    ///
    /// # Errors
    /// As [`export`](Self::export) and [`Export::next`], and [`Error::LocalIo`] if writing fails.
    pub async fn export_to(
        &self,
        database: &str,
        mut target: impl AsyncWrite + Unpin,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<()> {
        let mut export = self.export(database).await?;
        while let Some(chunk) = export.next().await? {
            target
                .write_all(&chunk.pages)
                .await
                .map_err(Error::LocalIo)?;
            progress(chunk.progress);
        }
        target.flush().await.map_err(Error::LocalIo)
    }

    /// Sends a request that changes nothing yet to the leader.
    async fn begin(&self, request: &Request) -> Result<(PooledSession, Response)> {
        let deadline = self.deadline();
        let mut backoff = Backoff::new();
        loop {
            let mut session = self.pool.checkout(deadline).await?;
            let error = match session.connection.call(request).await {
                Ok(answer) if is_not_leader(&answer) => {
                    self.forget(&mut session);
                    unexpected(request, &answer)
                }
                Ok(answer) => return Ok((session, check(answer)?)),
                Err(error) => error.harmless(),
            };
            drop(session);
            if !error.is_retryable() || !backoff.pause(deadline).await {
                return Err(error);
            }
        }
    }
}

/// A session that is closed rather than used again, so that nothing half done stays behind on it.
#[derive(Debug)]
struct OneUse(PooledSession);

impl OneUse {
    /// Sends a request that is answered by EMPTY.
    async fn empty(&mut self, request: &Request) -> Result<(), CallError> {
        match self.0.connection.call(request).await? {
            Response::Empty => Ok(()),
            // The server has spoken: what it refused did not happen.
            other => Err(CallError::NotSent(unexpected(request, &other))),
        }
    }
}

impl Drop for OneUse {
    fn drop(&mut self) {
        self.0.connection.close();
    }
}

/// Some pages of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportChunk {
    /// The number of the first page here; a file's first page is page 1.
    pub first_page: u64,
    /// Whole pages, one after the other.
    pub pages: Bytes,
    /// How far the export has come with these pages.
    pub progress: TransferProgress,
}

/// The pages of a database, from one consistent snapshot, in order.
#[derive(Debug)]
pub struct Export {
    session: OneUse,
    /// An answer that was received and not yet handed out.
    next: Option<Response>,
    pages_done: u64,
}

impl Export {
    /// The next pages, or none after the last one.
    ///
    /// # Errors
    /// [`Error::Server`] if the export fails on the way, [`Error::ConnectionLost`], and
    /// [`Error::UnexpectedAnswer`] if the server leaves pages out.
    pub async fn next(&mut self) -> Result<Option<ExportChunk>> {
        let response = match self.next.take() {
            Some(first) => first,
            None if !self.session.0.connection.is_awaiting() => return Ok(None),
            None => self
                .session
                .0
                .connection
                .next_answer()
                .await
                .and_then(check)?,
        };
        let answer = response.name();
        if let Response::ExportPages {
            page_size,
            total_pages,
            first_page,
            more,
            pages,
        } = response
        {
            let len = u64::try_from(pages.len()).unwrap_or(u64::MAX);
            let count = len.checked_div(page_size).unwrap_or_default();
            let done = self.pages_done.saturating_add(count);
            let in_order = first_page == self.pages_done.saturating_add(1) || count == 0;
            let whole = count.checked_mul(page_size) == Some(len) && (more || done == total_pages);
            if in_order && whole {
                self.pages_done = done;
                let progress = TransferProgress {
                    pages_done: done,
                    pages_total: total_pages,
                    page_size,
                };
                return Ok(Some(ExportChunk {
                    first_page,
                    pages,
                    progress,
                }));
            }
        }
        self.session.0.connection.close();
        Err(Error::UnexpectedAnswer {
            request: "EXPORT",
            answer,
        })
    }
}
