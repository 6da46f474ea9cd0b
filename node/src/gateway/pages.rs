//! Whole databases by their pages: import, export, dump, and the list of what there is.
//!
//! An import does not pass through the engine. Its pages go into the log as they come, in parts that nothing
//! is made of until the last one commits; so a database of any size is imported with little memory, and a
//! client that vanishes in the middle leaves nothing behind. Meanwhile the import has the writer's turn. Its
//! pages are kept in a file aside as well: only when all are there can it be told whether they are a sound
//! database, and nothing else is committed.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ferrolite_sql::{Copy, SCHEMA_COOKIE, Turn, schema_cookie};
use ferrolite_wal::frames::PartWriter;
use ferrolite_wire::{DatabaseFile, DatabaseInfo, ErrorCode, Response};
use tokio::sync::{mpsc, oneshot};

use super::Connection;
use super::failure::Failure;
use super::seat::wait_for_turn;
use crate::error::Error;
use crate::handle::{Event, Handle, ImportPart};

/// Parts of an import that may be on their way to the quorum.
const PARTS_UNDER_WAY: usize = 8;
/// Pages in one message of an export, in bytes.
const EXPORT_BYTES: usize = 256 << 10;
/// Messages of an export that may be ready before the client has taken them.
const READY_CHUNKS: usize = 4;

/// An import under way.
pub(super) struct Import {
    handle: Handle,
    name: String,
    page_size: usize,
    pages: u32,
    next_page: u32,
    /// The schema's number in the database that is replaced, and then one more.
    cookie: u32,
    writer: Option<PartWriter>,
    under_way: VecDeque<oneshot::Receiver<Result<(), Error>>>,
    aside: Aside,
    _turn: Turn,
}

/// The pages of an import as the file that they will be, until it is known whether that is sound.
struct Aside {
    file: Arc<File>,
    path: PathBuf,
}

impl Aside {
    fn create(handle: &Handle) -> Result<Self, Error> {
        let path = handle.store.new_import();
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io(format!("creating {}", path.display()), error))?;
        Ok(Self {
            file: Arc::new(file),
            path,
        })
    }

    async fn write(&self, pages: Bytes, at: u64) -> Result<(), Failure> {
        let file = Arc::clone(&self.file);
        off(move || file.write_all_at(&pages, at))
            .await?
            .map_err(|error| match Error::io("keeping an import aside", error) {
                error if error.is_full() => Failure::full(0),
                error => error.into(),
            })
    }

    async fn validate(&self) -> Result<(), Failure> {
        let path = self.path.clone();
        match off(move || ferrolite_pager::validate::examine(&path)).await? {
            Ok(report) => match report.problems.first() {
                None => Ok(()),
                Some(first) => Err(refused(&format!(
                    "it is damaged: {first}; PRAGMA integrity_check lists what is wrong, and .recover saves what can be read"
                ))),
            },
            Err(error) if error.is_not_a_database() => Err(refused(&error.to_string())),
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!(
                error:%,
                path:% = self.path.display();
                "cannot remove what is left of an import"
            );
        }
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(
        ErrorCode::NOTADB,
        format!("this file cannot be imported: {why}"),
    )
}

impl Drop for Import {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // It was not finished: everyone may forget its parts.
            self.propose(writer.abandon(), false);
        }
    }
}

impl Import {
    fn propose(&mut self, payload: Bytes, last: bool) {
        let (done, answer) = oneshot::channel();
        let name = self.name.clone();
        self.handle.send(Event::Import(ImportPart {
            name,
            payload,
            last,
            done,
        }));
        self.under_way.push_back(answer);
    }

    /// Waits until at most `left` parts are on their way.
    async fn wait(&mut self, left: usize) -> Result<(), Failure> {
        while self.under_way.len() > left {
            if let Some(answer) = self.under_way.pop_front() {
                answer.await.unwrap_or(Err(Error::Stopped))?;
            }
        }
        Ok(())
    }

    fn push(&mut self, image: &[u8]) -> Result<(), Failure> {
        let (Some(writer), page_no) = (self.writer.as_mut(), self.next_page) else {
            return Err(Failure::new(ErrorCode::MISUSE, "the import has ended"));
        };
        let full = if page_no == 1 {
            writer.push(page_no, &first_page(image, self.cookie)?)
        } else {
            writer.push(page_no, image)
        };
        let (_, full) = full.map_err(Error::from)?;
        self.next_page += 1;
        if let Some(part) = full {
            self.propose(part, false);
        }
        Ok(())
    }
}

/// Page 1 as a database of a cluster has it: in WAL mode, and with another number for its schema than the database has had
/// before, so that nobody takes the one for the other. What the engine does not read is refused.
fn first_page(image: &[u8], cookie: u32) -> Result<Vec<u8>, Failure> {
    let refuse = |why: &str| Err(refused(why));
    if !image.starts_with(b"SQLite format 3\0") {
        return refuse("it is not an SQLite database, or it is encrypted");
    }
    if image.get(20) != Some(&0) {
        return refuse(
            "it reserves bytes on every page; make a copy with VACUUM INTO without that",
        );
    }
    if !matches!(image.get(56..60), Some([0, 0, 0, 0 | 1])) {
        return refuse(
            "its text is not in UTF-8; set PRAGMA encoding in a new file and copy the data",
        );
    }
    let mut page = image.to_vec();
    if let Some(versions) = page.get_mut(18..20) {
        versions.fill(2);
    }
    if let Some(stands) = page.get_mut(SCHEMA_COOKIE) {
        stands.copy_from_slice(&cookie.to_be_bytes());
    }
    Ok(page)
}

impl Connection {
    pub(super) async fn begin_import(
        &mut self,
        name: String,
        page_size: u64,
        pages: u64,
        replace: bool,
    ) -> Result<Response, Failure> {
        self.import = None;
        let ours = self.context.page_size;
        if page_size != u64::from(ours) {
            return Err(Failure::new(
                ErrorCode::MISMATCH,
                format!(
                    "the file has pages of {page_size} bytes, the cluster of {ours}; \
                     run: PRAGMA journal_mode=DELETE; PRAGMA page_size={ours}; VACUUM; on the file first"
                ),
            ));
        }
        let pages = u32::try_from(pages).ok().filter(|pages| *pages > 0);
        let pages = pages
            .ok_or_else(|| Failure::new(ErrorCode::NOTADB, "the file has no pages, or too many"))?;
        // They are kept aside, in the log, and in the end in the database.
        let bytes = u64::from(pages) * u64::from(ours) * 3;
        let store = Arc::clone(&self.context.handle.store);
        off(move || store.room.check(bytes)).await??;
        let open = self.open_database(name.clone()).await?;
        let database = Arc::clone(&open.database);
        let turn = wait_for_turn(&database, self.context.busy_timeout).await?;
        let observed = database.observable();
        database.commits.wait(observed).await?;
        let looked = Arc::clone(&database);
        let look = move || {
            let copy = looked.sql.copy()?;
            let mut first_page = vec![0; usize::try_from(ours).unwrap_or(0)];
            copy.read(1, &mut first_page)?;
            Ok::<_, ferrolite_sql::Error>((copy.pages(), schema_cookie(&first_page)))
        };
        let (pages_before, cookie) = off(look).await??;
        if !replace && pages_before > 1 {
            return Err(Failure::new(
                ErrorCode::CONSTRAINT,
                format!(
                    "a database named {name} exists already; replace it (--replace) or choose another name"
                ),
            ));
        }
        let handle = self.context.handle.clone();
        let writer =
            PartWriter::new(&name, ours, handle.store.next_transaction()).map_err(Error::from)?;
        self.import = Some(Import {
            handle,
            name,
            page_size: usize::try_from(ours).unwrap_or(usize::MAX),
            pages,
            next_page: 1,
            cookie: cookie.unwrap_or(0).wrapping_add(1),
            writer: Some(writer),
            under_way: VecDeque::new(),
            aside: Aside::create(&self.context.handle)?,
            _turn: turn,
        });
        Ok(Response::Empty)
    }

    pub(super) async fn import_pages(
        &mut self,
        first_page: u64,
        pages: &Bytes,
    ) -> Result<Response, Failure> {
        let Some(mut import) = self.import.take() else {
            return Err(Failure::new(ErrorCode::MISUSE, "no import is under way"));
        };
        // Taken out: whatever fails below drops it, and that abandons the import.
        if first_page != u64::from(import.next_page) {
            let message = format!(
                "page {} comes next, not page {first_page}",
                import.next_page
            );
            return Err(Failure::new(ErrorCode::MISUSE, message));
        }
        let images = pages.chunks_exact(import.page_size);
        let left = usize::try_from(import.pages.saturating_sub(import.next_page) + 1)
            .unwrap_or(usize::MAX);
        if !images.remainder().is_empty() || images.len() > left {
            return Err(Failure::new(
                ErrorCode::MISUSE,
                "these are not whole pages, or more than announced",
            ));
        }
        let at = first_page.saturating_sub(1) * u64::from(self.context.page_size);
        import.aside.write(pages.clone(), at).await?;
        for image in images {
            import.push(image)?;
        }
        import.wait(PARTS_UNDER_WAY).await?;
        self.import = Some(import);
        Ok(Response::Empty)
    }

    pub(super) async fn commit_import(&mut self) -> Result<Response, Failure> {
        let Some(mut import) = self.import.take() else {
            return Err(Failure::new(ErrorCode::MISUSE, "no import is under way"));
        };
        if import.next_page <= import.pages {
            let message = format!("pages from {} on are missing", import.next_page);
            return Err(Failure::new(ErrorCode::MISUSE, message));
        }
        import.aside.validate().await?;
        if let Some(writer) = import.writer.take() {
            let last = writer.finish(import.pages);
            import.propose(last, true);
        }
        import.wait(0).await?;
        Ok(Response::Empty)
    }

    async fn copy(&mut self, name: String) -> Result<Copy, Failure> {
        self.wait_until_serving().await?;
        let (handle, wanted) = (self.context.handle.clone(), name.clone());
        if !off(move || handle.has_database(&wanted)).await?? {
            return Err(Failure::no_database(&name));
        }
        let open = self.open_database(name).await?;
        let database = Arc::clone(&open.database);
        let copied = Arc::clone(&database);
        let copy = off(move || copied.sql.copy()).await??;
        // The copy may hold what no quorum holds yet.
        database.commits.wait(database.observable()).await?;
        self.context.handle.confirm().await?;
        Ok(copy)
    }

    pub(super) async fn export(&mut self, name: String) -> Result<(), Failure> {
        let copy = self.copy(name).await?;
        let page_size = self.context.page_size;
        let (chunks, mut ready) = mpsc::channel(READY_CHUNKS);
        let reading = off(move || read_all(&copy, page_size, &chunks));
        let (read, sent) = tokio::join!(reading, async {
            let mut sent = Ok(());
            while let Some(chunk) = ready.recv().await {
                sent = self.send_chunk(&chunk).await;
                if sent.is_err() {
                    break;
                }
            }
            drop(ready);
            sent
        });
        sent?;
        read??;
        Ok(())
    }

    async fn send_chunk(&mut self, chunk: &Response) -> Result<(), Failure> {
        self.out.push(chunk)?;
        self.out.flush().await.map_err(|error| super::gone(&error))
    }

    pub(super) async fn dump(&mut self, name: String) -> Result<Response, Failure> {
        let copy = self.copy(name.clone()).await?;
        let page_size = usize::try_from(self.context.page_size).unwrap_or(0);
        let content = off(move || {
            let pages = usize::try_from(copy.pages()).unwrap_or(0);
            let mut content = vec![0; pages * page_size];
            for (page_no, page) in (1..).zip(content.chunks_exact_mut(page_size.max(1))) {
                copy.read(page_no, page)?;
            }
            Ok::<_, ferrolite_sql::Error>(Bytes::from(content))
        })
        .await??;
        let wal = DatabaseFile {
            name: format!("{name}-wal"),
            content: Bytes::new(),
        };
        Ok(Response::Files(vec![DatabaseFile { name, content }, wal]))
    }

    pub(super) async fn list_databases(&mut self) -> Result<Response, Failure> {
        let handle = self.context.handle.clone();
        handle.confirm().await?;
        let store = Arc::clone(&handle.store);
        let mut sizes: std::collections::BTreeMap<String, u64> =
            off(move || store.list()).await??.into_iter().collect();
        for database in handle.registry.all() {
            let bytes = database.pages() * u64::from(self.context.page_size);
            let size = sizes.entry(database.name.clone()).or_default();
            *size = if bytes > 0 { bytes } else { *size };
        }
        let list = sizes
            .into_iter()
            .map(|(name, size_bytes)| DatabaseInfo { name, size_bytes });
        Ok(Response::Databases(list.collect()))
    }
}

/// Reads the whole copy into messages. The header says "rollback journal", so that the file opens anywhere.
fn read_all(
    copy: &Copy,
    page_size: u32,
    chunks: &mpsc::Sender<Response>,
) -> Result<(), ferrolite_sql::Error> {
    let total = copy.pages();
    let bytes_per_page = usize::try_from(page_size).unwrap_or(1);
    let per_chunk = u32::try_from(EXPORT_BYTES / bytes_per_page.max(1))
        .unwrap_or(1)
        .max(1);
    let mut first = 1;
    while first <= total {
        let count = per_chunk.min(total - first + 1);
        let mut pages = BytesMut::zeroed(usize::try_from(count).unwrap_or(0) * bytes_per_page);
        for (page_no, page) in (first..).zip(pages.chunks_exact_mut(bytes_per_page)) {
            copy.read(page_no, page)?;
            if let (1, Some(versions)) = (page_no, page.get_mut(18..20)) {
                versions.fill(1);
            }
        }
        let chunk = Response::ExportPages {
            page_size: u64::from(page_size),
            total_pages: u64::from(total),
            first_page: u64::from(first),
            more: first + count <= total,
            pages: pages.freeze(),
        };
        if chunks.blocking_send(chunk).is_err() {
            return Err(ferrolite_sql::Error::Interrupted);
        }
        first += count;
    }
    Ok(())
}

/// Runs blocking work on a thread for it.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        Failure::new(
            ErrorCode::INTERNAL,
            "the node failed on this request; see its log",
        )
    })
}
