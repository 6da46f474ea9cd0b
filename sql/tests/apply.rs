//! Transactions of one engine put into another one, while that is read from.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrolite_pager::PageFile;
use ferrolite_sql::{Applier, Database, Error, Session, Statement, Step, ValueRef, schema_cookie};
use ferrolite_wal::view::{FramePlace, PageSource, TakenTransaction, WalView};

const PAGE: u32 = 4096;

/// The log that both nodes have: page images by entry and place.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<HashMap<(u64, u32), Bytes>>>);

/// Where a node's view reads from.
struct Source(Log, Arc<PageFile>);

impl PageSource for Source {
    fn read_from_log(
        &self,
        _page_no: u32,
        place: FramePlace,
        page: &mut [u8],
    ) -> std::io::Result<()> {
        page.copy_from_slice(&self.0.0.lock().unwrap()[&(place.index, place.offset)]);
        Ok(())
    }
    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()> {
        let pos = u64::from(page_no - 1) * u64::from(PAGE);
        assert_eq!(self.1.read_at(pos, page)?, page.len());
        Ok(())
    }
}

/// A transaction in the log.
struct Logged {
    db_size: u32,
    pages: Vec<(u32, Bytes, FramePlace)>,
}

/// A node that leads and one that follows with an engine of its own.
struct Pair {
    log: Log,
    index: u64,
    leader: Arc<Database>,
    session: Session,
    follower: Arc<Database>,
    applier: Applier,
    _dir: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::default();
        let open = |name: &str| {
            let file = Arc::new(PageFile::open(&dir.path().join(name)).unwrap());
            let source = Source(log.clone(), Arc::clone(&file));
            let view = WalView::new(PAGE, 1 << 30, Box::new(source));
            Database::open(name, file, Arc::new(view)).unwrap()
        };
        let (leader, follower) = (open("leader"), open("follower"));
        Self {
            log,
            index: 0,
            session: leader.connect().unwrap(),
            applier: follower.applier().unwrap(),
            leader,
            follower,
            _dir: dir,
        }
    }

    /// Runs statements on the leader, and returns what each transaction is in the log.
    fn write(&mut self, sql: &str) -> Vec<Logged> {
        let mut logged = Vec::new();
        let mut rest = sql;
        while let Some(mut statement) = self.session.prepare(rest).unwrap() {
            rest = &rest[statement.tail()..];
            if statement.needs_turn() && !self.session.has_turn() {
                let turn = self.leader.line().try_take().unwrap();
                self.session.take_turn(turn);
            }
            while self.session.step(&mut statement).unwrap() == Step::Row {}
            drop(statement);
            let mut committed = None;
            self.session
                .settle(|transaction| committed = Some(transaction));
            logged.extend(committed.map(|transaction| self.append(&transaction)));
        }
        logged
    }

    fn append(&mut self, transaction: &TakenTransaction) -> Logged {
        self.index += 1;
        let mut pages = Vec::new();
        let mut places = Vec::new();
        for (nth, page) in self.leader.view().pages_of(transaction).enumerate() {
            let page = page.unwrap();
            let place = FramePlace {
                index: self.index,
                offset: nth as u32,
                len: PAGE,
                encoding: 0,
            };
            let image = page.image.clone();
            self.log
                .0
                .lock()
                .unwrap()
                .insert((place.index, place.offset), image.clone());
            places.push((page.frame, place));
            pages.push((page.page_no, image, place));
        }
        self.leader.view().bind(places);
        Logged {
            db_size: transaction.db_size,
            pages,
        }
    }

    fn apply(&mut self, logged: &Logged) {
        apply(&self.follower, &mut self.applier, logged);
    }

    /// Runs statements on the leader, and applies what they did on the follower.
    fn go(&mut self, sql: &str) {
        for logged in self.write(sql) {
            self.apply(&logged);
        }
    }

    fn assert_same(&self, sql: &str) {
        assert_eq!(
            rows_of(&self.follower, sql),
            rows_of(&self.leader, sql),
            "{sql}"
        );
    }
}

fn apply(follower: &Arc<Database>, applier: &mut Applier, logged: &Logged) {
    let turn = follower.line().try_take().unwrap();
    let pages = logged.pages.iter();
    let pages = pages.map(|(page_no, image, _)| Ok::<_, Error>((*page_no, image.to_vec())));
    let taken = applier.apply(&turn, logged.db_size, pages).unwrap();
    assert_eq!(taken.pages as usize, logged.pages.len());
    assert_eq!(
        taken.last_frame - taken.first_frame + 1,
        taken.pages,
        "a frame a page, in their order"
    );
    let places = logged.pages.iter().map(|(_, _, place)| *place);
    follower
        .view()
        .bind((taken.first_frame..=taken.last_frame).zip(places));
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(r) => r.to_string(),
        ValueRef::Text(t) => t.into(),
        ValueRef::Blob(b) => format!("{b:?}"),
    }
}

fn rows(session: &Session, statement: &mut Statement) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    while session.step(statement)? == Step::Row {
        rows.push(statement.row().map(text).collect());
    }
    statement.reset()?;
    Ok(rows)
}

fn query(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, Error> {
    rows(session, &mut session.prepare(sql)?.unwrap())
}

fn rows_of(database: &Arc<Database>, sql: &str) -> Vec<Vec<String>> {
    query(&database.connect().unwrap(), sql).unwrap()
}

/// Whatever the leader's engine does, the follower's has the same after each transaction: rows, schema and size; through
/// checkpoints, and through the log view being started over.
#[test]
fn the_same_after_each_transaction() {
    let mut pair = Pair::new();
    let steps = [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)",
        "INSERT INTO t(a, b) SELECT random(), randomblob(900) FROM generate_series(1, 300)",
        "CREATE INDEX i ON t(a)",
        "BEGIN; UPDATE t SET b = randomblob(5000) WHERE id % 7 = 0; DELETE FROM t WHERE id % 5 = 0; COMMIT",
        "ALTER TABLE t ADD COLUMN c DEFAULT 'x'",
        "CREATE VIEW v AS SELECT a, c FROM t WHERE id < 50",
        "DELETE FROM t WHERE id > 40",
        "VACUUM",
        "DROP INDEX i",
        "CREATE TABLE u(x UNIQUE); INSERT INTO u VALUES (1), (2)",
        "DROP TABLE u",
        "INSERT INTO t(a, b) SELECT a, b FROM t",
    ];
    for (nth, sql) in steps.into_iter().enumerate() {
        pair.go(sql);
        pair.assert_same("SELECT type, name, rootpage, sql FROM sqlite_schema");
        pair.assert_same("SELECT * FROM t ORDER BY id");
        pair.assert_same("PRAGMA page_count");
        pair.assert_same("PRAGMA schema_version");
        assert_eq!(rows_of(&pair.follower, "PRAGMA integrity_check"), [["ok"]]);
        let frames = pair.follower.view().frame_count();
        if nth % 3 == 1 {
            assert_eq!(pair.follower.checkpoint(frames).unwrap(), frames);
        } else if nth % 3 == 2 {
            let turn = pair.follower.line().try_take().unwrap();
            assert!(pair.follower.start_over(&turn).unwrap());
            assert_eq!(pair.follower.view().frame_count(), 0);
        }
    }
}

/// A transaction that was begun keeps its snapshot, and the next statement outside of one has what has come; a prepared
/// statement goes on through a change of the schema.
#[test]
fn snapshots_and_prepared_statements() {
    let mut pair = Pair::new();
    pair.go("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let old = pair.follower.connect().unwrap();
    let current = pair.follower.connect().unwrap();
    let mut kept = current.prepare("SELECT * FROM t").unwrap().unwrap();
    query(&old, "BEGIN").unwrap();
    assert_eq!(query(&old, "SELECT count(*) FROM t").unwrap(), [["1"]]);
    assert_eq!(rows(&current, &mut kept).unwrap(), [["1"]]);
    pair.go("INSERT INTO t VALUES (2)");
    pair.go("ALTER TABLE t ADD COLUMN b DEFAULT 7");
    assert_eq!(
        rows(&current, &mut kept).unwrap(),
        [["1", "7"], ["2", "7"]],
        "compiled anew"
    );
    assert_eq!(query(&old, "SELECT * FROM t").unwrap(), [["1"]]);
    // The old snapshot bounds what a checkpoint may do, and nothing is lost by that.
    let frames = pair.follower.view().frame_count();
    assert!(pair.follower.checkpoint(frames).unwrap() < frames);
    {
        let turn = pair.follower.line().try_take().unwrap();
        assert!(!pair.follower.start_over(&turn).unwrap());
    }
    assert_eq!(query(&old, "SELECT * FROM t").unwrap(), [["1"]]);
    query(&old, "COMMIT").unwrap();
    assert_eq!(query(&old, "SELECT count(*) FROM t").unwrap(), [["2"]]);
    assert_eq!(pair.follower.checkpoint(frames).unwrap(), frames);
    assert_eq!(rows(&current, &mut kept).unwrap(), [["1", "7"], ["2", "7"]]);
}

/// A transaction whose pages cannot all be had is not there, and can be applied later as if nothing had been tried.
#[test]
fn a_transaction_by_halves_is_none() {
    let mut pair = Pair::new();
    pair.go("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let [logged] =
        &pair.write("INSERT INTO t SELECT randomblob(3000) FROM generate_series(1, 20)")[..]
    else {
        panic!("one statement is one transaction");
    };
    for good in 0..logged.pages.len() {
        let turn = pair.follower.line().try_take().unwrap();
        let pages = logged.pages.iter().enumerate().map(|(nth, page)| {
            if nth < good {
                Ok((page.0, page.1.to_vec()))
            } else {
                Err(Error::io("no such page"))
            }
        });
        let failed = pair.applier.apply(&turn, logged.db_size, pages);
        assert_eq!(failed.unwrap_err(), Error::io("no such page"));
        assert_eq!(rows_of(&pair.follower, "SELECT count(*) FROM t"), [["1"]]);
    }
    pair.apply(logged);
    pair.assert_same("SELECT * FROM t");
    pair.go("INSERT INTO t VALUES (2)");
    pair.assert_same("SELECT * FROM t");
}

/// Nothing is applied to a database that was closed, and nothing breaks by the attempt.
#[test]
fn a_closed_database_takes_nothing() {
    let mut pair = Pair::new();
    pair.go("CREATE TABLE t(a)");
    let logged = pair.write("INSERT INTO t VALUES (1)").remove(0);
    pair.follower.close();
    let turn = pair.follower.line().try_take().unwrap();
    let pages = logged.pages.iter();
    let pages = pages.map(|(page_no, image, _)| Ok::<_, Error>((*page_no, image.to_vec())));
    let refused = pair.applier.apply(&turn, logged.db_size, pages);
    assert!(refused.unwrap_err().is_closed());
}

/// The cookie says that the schema has changed, and nothing else changes it.
#[test]
fn cookies() {
    let mut pair = Pair::new();
    let cookie_of = |logged: &[Logged]| {
        let pages = logged.iter().flat_map(|logged| &logged.pages);
        let mut firsts = pages.filter(|(page_no, ..)| *page_no == 1);
        schema_cookie(&firsts.next_back().unwrap().1).unwrap()
    };
    let first = cookie_of(&pair.write("CREATE TABLE t(a)"));
    let second = cookie_of(&pair.write("CREATE TABLE u(a)"));
    assert!(second > first);
    let vacuumed = cookie_of(&pair.write("VACUUM"));
    assert!(vacuumed > second, "VACUUM moves the roots of tables");
    assert_eq!(schema_cookie(&[0; 43]), None);
}

/// Readers see whole transactions and never go back, while transactions are applied and checkpointed without a pause.
#[test]
fn readers_beside_the_applier() {
    const ROUNDS: usize = 300;
    let mut pair = Pair::new();
    pair.go("CREATE TABLE account(id INTEGER PRIMARY KEY, sum, version)");
    pair.go("INSERT INTO account SELECT value, 100, 0 FROM generate_series(1, 50)");
    let mut transactions = Vec::new();
    for round in 1..=ROUNDS {
        let from = round % 50 + 1;
        let to = round * 7 % 50 + 1;
        let sql = format!(
            "BEGIN; UPDATE account SET sum = sum - 1 WHERE id = {from}; UPDATE account SET sum = sum + 1 WHERE id = {to}; \
             UPDATE account SET version = {round}; COMMIT"
        );
        transactions.extend(pair.write(&sql));
        if round % 40 == 0 {
            transactions.extend(pair.write(&format!("CREATE TABLE t{round}(a)")));
        }
    }
    let done = AtomicBool::new(false);
    let Pair {
        follower,
        mut applier,
        log: _log,
        _dir,
        ..
    } = pair;
    std::thread::scope(|scope| {
        for nth in 0..3 {
            let (follower, done) = (&follower, &done);
            scope.spawn(move || {
                let session = follower.connect().unwrap();
                let sql = "SELECT sum(sum), min(version), max(version) FROM account";
                let mut kept = session.prepare(sql).unwrap().unwrap();
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let found = match nth {
                        0 => rows(&session, &mut kept),
                        _ => query(&session, sql),
                    };
                    let found = &found.unwrap()[0];
                    assert_eq!(found[0], "5000");
                    assert_eq!(found[1], found[2], "half of a transaction");
                    let version: usize = found[1].parse().unwrap();
                    assert!(version >= last, "{version} after {last}");
                    last = version;
                }
            });
        }
        for (nth, logged) in transactions.iter().enumerate() {
            apply(&follower, &mut applier, logged);
            if nth % 20 == 0 {
                // A reader may be in the way, and then it is for the next time.
                let _ = follower.checkpoint(follower.view().frame_count());
            }
            if nth % 60 == 0 {
                let turn = follower.line().try_take().unwrap();
                let _ = follower.start_over(&turn);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    let version = rows_of(&follower, "SELECT DISTINCT version FROM account");
    assert_eq!(version, [[ROUNDS.to_string()]]);
    assert_eq!(rows_of(&follower, "PRAGMA integrity_check"), [["ok"]]);
}
