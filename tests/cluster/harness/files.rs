//! Database files of nodes that have stopped, read by the SQL engine alone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ferrolite_client::Value;
use ferrolite_pager::PageFile;
use ferrolite_sql::{Database, Step, ValueRef};
use ferrolite_wal::view::{FramePlace, PageSource, WalView};

const PAGE_BYTES: u32 = 4096;
const MAX_VIEW_BYTES: u64 = 64 << 20;

/// A file with no log beside it.
struct FileAlone(Arc<PageFile>);

impl PageSource for FileAlone {
    fn read_from_log(&self, _: u32, place: FramePlace, _page: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other(format!(
            "there is no log to read entry {} from",
            place.index
        )))
    }

    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> io::Result<()> {
        let pos = u64::from(page_no - 1) * u64::from(PAGE_BYTES);
        if self.0.read_at(pos, page)? == page.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The byte that says by which journal a file is written, and the one behind it by which it is read: 1 for a rollback
/// journal, 2 for a write-ahead log. <https://www.sqlite.org/fileformat2.html#file_format_version_numbers>
const JOURNAL_AT: u64 = 18;
const WRITE_AHEAD: [u8; 2] = [2, 2];

/// Runs one statement on a copy of a database file and returns its rows.
pub fn query(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(path, copy.path()).unwrap();
    let file = Arc::new(PageFile::open(copy.path()).unwrap());
    file.write_at(JOURNAL_AT, &WRITE_AHEAD).unwrap();
    let session = open(copy.path(), &file).connect().unwrap();
    let mut statement = session.prepare(sql).unwrap().unwrap();
    let mut rows = Vec::new();
    while session.step(&mut statement).unwrap() == Step::Row {
        rows.push(statement.row().map(owned).collect());
    }
    rows
}

/// Makes a database file by running statements, as a program would that knows nothing of clusters.
pub fn create(path: &Path, statements: &[&str]) {
    let file = Arc::new(PageFile::open(path).unwrap());
    let database = open(path, &file);
    let mut session = database.connect().unwrap();
    let mut committed = Vec::new();
    for sql in statements {
        let mut statement = session.prepare(sql).unwrap().unwrap();
        session.take_turn(database.line().try_take().unwrap());
        while session.step(&mut statement).unwrap() == Step::Row {}
        drop(statement);
        session.settle(|transaction| {
            let pages: Result<Vec<_>, _> = database.view().pages_of(&transaction).collect();
            committed.push((transaction.db_size, pages.unwrap()));
        });
    }
    drop(session);
    database.close();
    for (db_size, pages) in committed {
        let pages = pages.iter().map(|page| (page.page_no, page.image.as_ref()));
        ferrolite_pager::write_transaction(&file, PAGE_BYTES, pages, db_size).unwrap();
    }
    file.sync().unwrap();
}

fn open(path: &Path, file: &Arc<PageFile>) -> Arc<Database> {
    let alone = FileAlone(Arc::clone(file));
    let view = Arc::new(WalView::new(PAGE_BYTES, MAX_VIEW_BYTES, Box::new(alone)));
    Database::open(&path.display().to_string(), Arc::clone(file), view).unwrap()
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => integer.into(),
        ValueRef::Real(real) => real.into(),
        ValueRef::Text(text) => text.into(),
        ValueRef::Blob(bytes) => bytes.to_vec().into(),
    }
}

/// Checks that a database file is whole, by the engine's own check.
pub fn assert_sound(path: &Path) {
    let found = query(path, "PRAGMA integrity_check");
    assert_eq!(found, vec![vec![Value::from("ok")]], "{}", path.display());
}

/// Checks that two database files are the same, page for page.
pub fn assert_same(one: &Path, other: &Path) {
    let (left, right) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    assert_eq!(
        left.len(),
        right.len(),
        "lengths of {} and {}",
        one.display(),
        other.display()
    );
    for (number, (a, b)) in left
        .chunks(PAGE_BYTES as usize)
        .zip(right.chunks(PAGE_BYTES as usize))
        .enumerate()
    {
        assert!(
            a == b,
            "page {} of {} and {} differ",
            number + 1,
            one.display(),
            other.display()
        );
    }
}
