//! The engine on a page file and a log view: what it commits is exactly what comes out as pages, and
//! pages written by hand make the same database elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrolite_pager::PageFile;
use ferrolite_sql::error::code;
use ferrolite_sql::{Database, Error, Session, Step, ValueRef};
use ferrolite_wal::view::{FramePlace, PageSource, TakenTransaction, WalView};

const PAGE: u32 = 4096;

/// A log that keeps the pages of each transaction in memory, one entry a transaction.
#[derive(Clone, Default)]
struct Log(
    Arc<Mutex<HashMap<(u64, u32), Bytes>>>,
    Option<Arc<PageFile>>,
);

impl PageSource for Log {
    fn read_from_log(&self, _: u32, place: FramePlace, page: &mut [u8]) -> std::io::Result<()> {
        page.copy_from_slice(&self.0.lock().unwrap()[&(place.index, place.offset)]);
        Ok(())
    }
    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()> {
        let pos = u64::from(page_no - 1) * u64::from(PAGE);
        let n = self.1.as_ref().unwrap().read_at(pos, page)?;
        assert_eq!(n, page.len());
        Ok(())
    }
}

/// A leader with its file, and a follower that is nothing but a file.
struct Pair {
    log: Log,
    index: u64,
    database: Arc<Database>,
    follower: PageFile,
    dir: tempfile::TempDir,
    pages: usize,
}

impl Pair {
    fn new() -> Self {
        Self::with_limit(1 << 30)
    }

    fn with_limit(limit: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(PageFile::open(&dir.path().join("leader")).unwrap());
        let log = Log(Arc::default(), Some(Arc::clone(&file)));
        let view = Arc::new(WalView::new(PAGE, limit, Box::new(log.clone())));
        let database = Database::open("test", file, view).unwrap();
        let follower = PageFile::open(&dir.path().join("follower")).unwrap();
        Self {
            log,
            index: 0,
            database,
            follower,
            dir,
            pages: 0,
        }
    }

    /// What the node does with a transaction: into the log, bound in the view, to the follower's file.
    fn replicate(&mut self, transaction: &TakenTransaction) {
        self.index += 1;
        let mut places = Vec::new();
        let view = Arc::clone(self.database.view());
        for (nth, page) in view.pages_of(transaction).enumerate() {
            let page = page.unwrap();
            let place = FramePlace {
                index: self.index,
                offset: nth as u32,
                len: PAGE,
                encoding: 0,
            };
            self.log
                .0
                .lock()
                .unwrap()
                .insert((place.index, place.offset), page.image.clone());
            places.push((page.frame, place));
            let pos = u64::from(page.page_no - 1) * u64::from(PAGE);
            self.follower.write_at(pos, &page.image).unwrap();
        }
        self.follower
            .truncate(u64::from(transaction.db_size) * u64::from(PAGE))
            .unwrap();
        self.database.view().bind(places);
        self.pages += transaction.pages as usize;
    }

    fn run(&mut self, session: &mut Session, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let mut rows = Vec::new();
        let mut rest = sql;
        while let Some(mut statement) = session.prepare(rest)? {
            rest = &rest[statement.tail()..];
            if statement.needs_turn() && !session.has_turn() {
                session.take_turn(self.database.line().try_take().ok_or(Error::Busy)?);
            }
            let result = loop {
                match session.step(&mut statement) {
                    Ok(Step::Row) => rows.push(statement.row().map(text).collect()),
                    Ok(Step::Done) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            drop(statement);
            let mut committed = None;
            session.settle(|transaction| committed = Some(transaction));
            if let Some(transaction) = committed {
                self.replicate(&transaction);
            }
            result?;
        }
        Ok(rows)
    }

    fn go(&mut self, session: &mut Session, sql: &str) -> Vec<Vec<String>> {
        self.run(session, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Opens the follower's file as a database of its own, as a node does that takes over.
    fn take_over(&self) -> Arc<Database> {
        open(&self.dir.path().join("follower"))
    }
}

fn open(path: &Path) -> Arc<Database> {
    let file = Arc::new(PageFile::open(path).unwrap());
    let log = Log(Arc::default(), Some(Arc::clone(&file)));
    Database::open(
        "again",
        file,
        Arc::new(WalView::new(PAGE, 1 << 30, Box::new(log))),
    )
    .unwrap()
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(r) => r.to_string(),
        ValueRef::Text(t) => t.into(),
        ValueRef::Blob(b) => format!("{} bytes", b.len()),
    }
}

fn rows_of(database: &Arc<Database>, sql: &str) -> Vec<Vec<String>> {
    let session = database.connect().unwrap();
    let mut statement = session.prepare(sql).unwrap().unwrap();
    let mut rows = Vec::new();
    while session.step(&mut statement).unwrap() == Step::Row {
        rows.push(statement.row().map(text).collect());
    }
    rows
}

/// Statements without a fixed result give the follower the leader's rows, because pages replicate.
#[test]
fn a_follower_is_made_of_pages() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(
        &mut session,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, r, d, b); CREATE INDEX i ON t(r)",
    );
    for _ in 0..50 {
        pair.go(
            &mut session,
            "INSERT INTO t(r, d, b) VALUES (random(), datetime('now'), randomblob(3000))",
        );
    }
    pair.go(
        &mut session,
        "DELETE FROM t WHERE id % 3 = 0; UPDATE t SET d = NULL WHERE id % 5 = 0",
    );
    let sql = "SELECT id, r, d, hex(b) FROM t ORDER BY r";
    let leader = pair.go(&mut session, sql);
    assert_eq!(leader.len(), 34);
    let follower = pair.take_over();
    assert_eq!(rows_of(&follower, sql), leader);
    assert_eq!(rows_of(&follower, "PRAGMA integrity_check"), [["ok"]]);
}

/// A rolled-back or failed transaction yields no pages, and the next one is whole.
#[test]
fn only_commits_come_out() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(a UNIQUE)");
    let before = pair.index;
    pair.go(
        &mut session,
        "BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); ROLLBACK",
    );
    assert_eq!(pair.index, before);
    assert!(!session.has_turn());
    pair.go(&mut session, "BEGIN; INSERT INTO t VALUES (3)");
    assert!(session.has_turn() && session.in_transaction());
    let error = pair
        .run(&mut session, "INSERT INTO t VALUES (3)")
        .unwrap_err();
    assert_eq!(error.code(), code::CONSTRAINT_UNIQUE, "{error}");
    assert!(
        session.in_transaction(),
        "a failed statement leaves the transaction open"
    );
    pair.go(&mut session, "COMMIT");
    assert_eq!(pair.index, before + 1);
    assert_eq!(rows_of(&pair.take_over(), "SELECT a FROM t"), [["3"]]);
}

/// A transaction that does not fit the engine's cache spills frames before it commits, and may still
/// be rolled back.
#[test]
fn spilled_transactions() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
    let many = "INSERT INTO t(b) SELECT randomblob(2000) FROM generate_series(1, 20000)";
    pair.go(&mut session, &format!("BEGIN; {many}; ROLLBACK"));
    pair.go(&mut session, "INSERT INTO t(b) VALUES (1)");
    pair.go(
        &mut session,
        &format!("BEGIN; {many}; SAVEPOINT s; {many}; ROLLBACK TO s; {many}; COMMIT"),
    );
    let sql = "SELECT count(*), sum(length(b)), max(id) FROM t";
    let leader = pair.go(&mut session, sql);
    assert_eq!(leader[0][0], "40001");
    let follower = pair.take_over();
    assert_eq!(rows_of(&follower, sql), leader);
    assert_eq!(rows_of(&follower, "PRAGMA integrity_check"), [["ok"]]);
}

/// Passing the limit is an error of the statement, nothing of it stays, and the session goes on.
#[test]
fn a_transaction_has_a_limit() {
    let mut pair = Pair::with_limit(4 << 20);
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(b)");
    let many = "INSERT INTO t SELECT randomblob(2000) FROM generate_series(1, 20000)";
    let error = pair.run(&mut session, many).unwrap_err();
    assert_eq!(error.code(), code::TOOBIG, "{error}");
    session.roll_back();
    assert!(!session.has_turn());
    pair.go(&mut session, "INSERT INTO t VALUES (7)");
    assert_eq!(pair.go(&mut session, "SELECT b FROM t"), [["7"]]);
    assert_eq!(rows_of(&pair.take_over(), "SELECT b FROM t"), [["7"]]);
}

/// A second writer cannot slip in, and a reader sees its snapshot while one writes.
#[test]
fn one_writer_many_readers() {
    let mut pair = Pair::new();
    let mut writer = pair.database.connect().unwrap();
    let mut other = pair.database.connect().unwrap();
    pair.go(&mut writer, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    pair.go(&mut writer, "BEGIN IMMEDIATE");
    assert!(writer.has_turn());
    pair.go(&mut writer, "INSERT INTO t VALUES (2)");
    assert_eq!(
        pair.run(&mut other, "INSERT INTO t VALUES (3)")
            .unwrap_err(),
        Error::Busy
    );
    assert_eq!(pair.go(&mut other, "SELECT count(*) FROM t"), [["1"]]);
    pair.go(&mut writer, "COMMIT");
    pair.go(&mut other, "INSERT INTO t VALUES (3)");
    assert_eq!(pair.go(&mut other, "SELECT count(*) FROM t"), [["3"]]);
    // Without the turn, a step that would write is refused even if the caller forgot to ask.
    let mut statement = other.prepare("INSERT INTO t VALUES (4)").unwrap().unwrap();
    assert_eq!(other.step(&mut statement).unwrap_err(), Error::Busy);
}

/// Between a commit in the engine and the moment when its pages are handed out, others can read it. What
/// they have read must be covered by the number that their answers wait for.
#[test]
fn what_can_be_read_is_counted() {
    let mut pair = Pair::new();
    let mut writer = pair.database.connect().unwrap();
    pair.go(&mut writer, "CREATE TABLE t(a)");
    let before = pair.database.view().commits();
    writer.take_turn(pair.database.line().try_take().unwrap());
    let mut statement = writer.prepare("INSERT INTO t VALUES (1)").unwrap().unwrap();
    assert_eq!(writer.step(&mut statement).unwrap(), Step::Done);
    assert_eq!(rows_of(&pair.database, "SELECT count(*) FROM t"), [["1"]]);
    assert_eq!(pair.database.view().commits(), before + 1);
    drop(statement);
    let mut number = None;
    writer.settle(|transaction| number = Some(transaction.number));
    assert_eq!(number, Some(before + 1));
}

/// Checkpointed frames are read from the database file, and the view can start over under load.
#[test]
fn checkpoints_and_starting_over() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
    for round in 0..20 {
        for _ in 0..10 {
            pair.go(&mut session, "INSERT INTO t(b) VALUES (randomblob(5000))");
        }
        let committed = pair.database.view().frame_count();
        let done = pair.database.checkpoint(committed).unwrap();
        assert_eq!(done, committed);
        assert_eq!(pair.database.view().oldest_needed_index(), None);
        if round % 4 == 3 {
            let turn = pair.database.line().try_take().unwrap();
            assert!(pair.database.start_over(&turn).unwrap());
            assert_eq!(pair.database.view().frame_count(), 0);
        }
    }
    let sql = "SELECT count(*), sum(length(b)) FROM t";
    assert_eq!(pair.go(&mut session, sql), [["200", "1000000"]]);
    assert_eq!(rows_of(&pair.take_over(), sql), [["200", "1000000"]]);
    // The leader's own file is complete as well, without its log.
    let turn = pair.database.line().try_take().unwrap();
    assert!(pair.database.start_over(&turn).unwrap());
    pair.database.close();
    assert_eq!(
        rows_of(&open(&pair.dir.path().join("leader")), sql),
        [["200", "1000000"]]
    );
}

/// A reader keeps its snapshot over checkpoints, and only holds up the part that it needs.
#[test]
fn a_long_reader_keeps_its_snapshot() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    let reader = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    pair.go(
        &mut session,
        "INSERT INTO t SELECT value, 'old' FROM generate_series(1, 5000)",
    );
    let mut statement = reader.prepare("SELECT a FROM t").unwrap().unwrap();
    assert_eq!(reader.step(&mut statement).unwrap(), Step::Row);
    pair.go(&mut session, "UPDATE t SET a = 'new'");
    let committed = pair.database.view().frame_count();
    let done = pair.database.checkpoint(committed).unwrap();
    assert!(
        done < committed,
        "the reader's snapshot would be overwritten"
    );
    assert!(
        !pair
            .database
            .start_over(&pair.database.line().try_take().unwrap())
            .unwrap()
    );
    let mut seen = 1;
    while reader.step(&mut statement).unwrap() == Step::Row {
        assert_eq!(statement.row().map(text).collect::<Vec<_>>(), ["old"]);
        seen += 1;
    }
    assert_eq!(seen, 5000);
    drop(statement);
    assert_eq!(pair.database.checkpoint(committed).unwrap(), committed);
}

/// A copy is of one moment, whatever is written meanwhile, and is a whole database.
#[test]
fn copies_are_consistent() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
    pair.go(
        &mut session,
        "INSERT INTO t(b) SELECT randomblob(1000) FROM generate_series(1, 1000)",
    );
    pair.database
        .checkpoint(pair.database.view().frame_count())
        .unwrap();
    pair.go(
        &mut session,
        "UPDATE t SET b = randomblob(1000) WHERE id % 7 = 0",
    );
    let sql = "SELECT count(*), sum(length(b)), sum(id) FROM t";
    let before = pair.go(&mut session, sql);
    let copy = pair.database.copy().unwrap();
    let to = PageFile::open(&pair.dir.path().join("copy")).unwrap();
    let mut page = vec![0; PAGE as usize];
    for page_no in 1..=copy.pages() {
        if page_no % 50 == 0 {
            pair.go(
                &mut session,
                "DELETE FROM t WHERE id % 3 = 0; INSERT INTO t(b) VALUES (randomblob(9000))",
            );
            pair.database
                .checkpoint(pair.database.view().frame_count())
                .unwrap();
        }
        copy.read(page_no, &mut page).unwrap();
        to.write_at(u64::from(page_no - 1) * u64::from(PAGE), &page)
            .unwrap();
    }
    assert_eq!(copy.read(0, &mut page).unwrap_err().code(), code::CORRUPT);
    assert_eq!(
        copy.read(copy.pages() + 1, &mut page).unwrap_err().code(),
        code::CORRUPT
    );
    let copied = open(&pair.dir.path().join("copy"));
    assert_eq!(rows_of(&copied, sql), before);
    assert_eq!(rows_of(&copied, "PRAGMA integrity_check"), [["ok"]]);
}

/// VACUUM rewrites the whole file in one transaction; the follower shrinks with it.
#[test]
fn vacuum_replicates() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
    pair.go(
        &mut session,
        "INSERT INTO t(b) SELECT randomblob(3000) FROM generate_series(1, 500)",
    );
    pair.go(&mut session, "DELETE FROM t WHERE id > 10");
    pair.go(&mut session, "VACUUM");
    pair.go(&mut session, "INSERT INTO t(b) VALUES (1)");
    let sql = "SELECT count(*), total(length(b)) FROM t";
    let leader = pair.go(&mut session, sql);
    let pages = pair.go(&mut session, "PRAGMA page_count")[0][0]
        .parse::<u64>()
        .unwrap();
    assert!(pages < 30, "{pages} pages");
    assert_eq!(pair.follower.len().unwrap(), pages * u64::from(PAGE));
    assert_eq!(rows_of(&pair.take_over(), sql), leader);
}

/// After a close, no statement gets another page, in whatever state it was.
#[test]
fn a_closed_database_answers_closed() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(&mut session, "CREATE TABLE t(b)");
    pair.go(
        &mut session,
        "INSERT INTO t SELECT randomblob(4000) FROM generate_series(1, 20000)",
    );
    let mut statement = session.prepare("SELECT b FROM t").unwrap().unwrap();
    assert_eq!(session.step(&mut statement).unwrap(), Step::Row);
    pair.go(&mut session, "BEGIN; INSERT INTO t VALUES (1)");
    pair.database.close();
    let error = loop {
        match session.step(&mut statement) {
            Ok(Step::Row) => {}
            Ok(Step::Done) => panic!("read to the end of a closed database"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Closed);
    assert_eq!(session.prepare("SELECT 1").unwrap_err(), Error::Closed);
    drop(statement);
    session.roll_back();
    assert!(!session.has_turn());
    let mut submitted = false;
    session.settle(|_| submitted = true);
    assert!(!submitted);
}

/// An interrupt ends a query that would run for ever, whether it yields rows or not; the session lives.
#[test]
fn interrupts() {
    let pair = Pair::new();
    let session = pair.database.connect().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    session.interrupt_when(move || seen.load(Ordering::SeqCst));
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
    let mut rows = session
        .prepare(&format!("{endless} SELECT x FROM c"))
        .unwrap()
        .unwrap();
    for _ in 0..10 {
        assert_eq!(session.step(&mut rows).unwrap(), Step::Row);
    }
    stop.store(true, Ordering::SeqCst);
    let error = (0..1_000_000).find_map(|_| session.step(&mut rows).err());
    assert_eq!(error, Some(Error::Interrupted));
    let mut count = session
        .prepare(&format!("{endless} SELECT count(*) FROM c"))
        .unwrap()
        .unwrap();
    assert_eq!(session.step(&mut count).unwrap_err(), Error::Interrupted);
    stop.store(false, Ordering::SeqCst);
    let mut one = session.prepare("SELECT 1").unwrap().unwrap();
    assert_eq!(session.step(&mut one).unwrap(), Step::Row);
}

/// The codes that clients look at.
#[test]
fn result_codes() {
    let mut pair = Pair::new();
    let mut session = pair.database.connect().unwrap();
    pair.go(
        &mut session,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE u(a, b, c UNIQUE, PRIMARY KEY (a, b)); \
         INSERT INTO u VALUES (1, 2, 3); CREATE TABLE s(a INTEGER) STRICT; CREATE TABLE t(a NOT NULL, b CHECK (b > 0), c REFERENCES p(id))",
    );
    pair.go(&mut session, "INSERT INTO p VALUES (1)");
    for (sql, wanted) in [
        (
            "INSERT INTO u VALUES (1, 2, 4)",
            code::CONSTRAINT_PRIMARYKEY,
        ),
        ("INSERT INTO u VALUES (1, 3, 3)", code::CONSTRAINT_UNIQUE),
        ("INSERT INTO s VALUES ('text')", code::CONSTRAINT_DATATYPE),
        ("INSERT INTO p VALUES (1)", code::CONSTRAINT_PRIMARYKEY),
        (
            "INSERT INTO t VALUES (NULL, 1, 1)",
            code::CONSTRAINT_NOTNULL,
        ),
        ("INSERT INTO t VALUES (1, 0, 1)", code::CONSTRAINT_CHECK),
        (
            "INSERT INTO t VALUES (1, 1, 2)",
            code::CONSTRAINT_FOREIGNKEY,
        ),
        ("SELEKT", code::ERROR),
        ("SELECT * FROM nowhere", code::ERROR),
        ("ATTACH 'x' AS y", code::ERROR),
    ] {
        let error = pair.run(&mut session, sql).unwrap_err();
        assert_eq!(error.code(), wanted, "{sql}: {error:?}");
        assert!(!session.has_turn(), "{sql}");
    }
}
