//! Random work on random sessions: whatever the engine commits, a follower made of pages has, and nothing
//! else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrolite_pager::PageFile;
use ferrolite_sql::{Database, Error, Session, Step, ValueRef};
use ferrolite_wal::view::{FramePlace, PageSource, WalView};
use proptest::prelude::*;

const PAGE: u32 = 4096;

#[derive(Clone)]
struct Log {
    pages: Arc<Mutex<HashMap<(u64, u32), Bytes>>>,
    file: Arc<PageFile>,
}

impl PageSource for Log {
    fn read_from_log(&self, _: u32, place: FramePlace, page: &mut [u8]) -> std::io::Result<()> {
        page.copy_from_slice(&self.pages.lock().unwrap()[&(place.index, place.offset)]);
        Ok(())
    }
    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> std::io::Result<()> {
        let pos = u64::from(page_no - 1) * u64::from(PAGE);
        assert_eq!(self.file.read_at(pos, page)?, page.len());
        Ok(())
    }
}

fn open(path: &Path) -> (Arc<Database>, Log) {
    let file = Arc::new(PageFile::open(path).unwrap());
    let log = Log {
        pages: Arc::default(),
        file: Arc::clone(&file),
    };
    let view = Arc::new(WalView::new(PAGE, 1 << 30, Box::new(log.clone())));
    (Database::open("random", file, view).unwrap(), log)
}

/// One step of one of two sessions.
#[derive(Debug, Clone)]
enum Work {
    Begin,
    Commit,
    RollBack,
    Savepoint,
    RollBackTo,
    Insert { key: u8, bytes: u16 },
    Update { from: u8, bytes: u16 },
    Delete { from: u8 },
    Index,
    DropIndex,
    Vacuum,
    Checkpoint,
    StartOver,
}

fn work() -> impl Strategy<Value = (bool, Work)> {
    let work = prop_oneof![
        3 => Just(Work::Begin),
        3 => Just(Work::Commit),
        2 => Just(Work::RollBack),
        1 => Just(Work::Savepoint),
        1 => Just(Work::RollBackTo),
        9 => (any::<u8>(), 0_u16..9000).prop_map(|(key, bytes)| Work::Insert { key, bytes }),
        4 => (any::<u8>(), 0_u16..3000).prop_map(|(from, bytes)| Work::Update { from, bytes }),
        3 => any::<u8>().prop_map(|from| Work::Delete { from }),
        1 => Just(Work::Index),
        1 => Just(Work::DropIndex),
        1 => Just(Work::Vacuum),
        3 => Just(Work::Checkpoint),
        2 => Just(Work::StartOver),
    ];
    (any::<bool>(), work)
}

impl Work {
    fn sql(&self) -> Option<String> {
        Some(match self {
            Self::Begin => "BEGIN".into(),
            Self::Commit => "COMMIT".into(),
            Self::RollBack => "ROLLBACK".into(),
            Self::Savepoint => "SAVEPOINT s".into(),
            Self::RollBackTo => "ROLLBACK TO s".into(),
            Self::Insert { key, bytes } => {
                format!("INSERT INTO t VALUES ({key}, randomblob({bytes}), random())")
            }
            Self::Update { from, bytes } => format!(
                "UPDATE t SET b = randomblob({bytes}) WHERE id BETWEEN {from} AND {from} + 20"
            ),
            Self::Delete { from } => {
                format!("DELETE FROM t WHERE id BETWEEN {from} AND {from} + 30")
            }
            Self::Index => "CREATE INDEX i ON t(r)".into(),
            Self::DropIndex => "DROP INDEX i".into(),
            Self::Vacuum => "VACUUM".into(),
            Self::Checkpoint | Self::StartOver => return None,
        })
    }
}

fn rows(database: &Arc<Database>, sql: &str) -> Vec<String> {
    let session = database.connect().unwrap();
    let mut statement = session.prepare(sql).unwrap().unwrap();
    let mut rows = Vec::new();
    while session.step(&mut statement).unwrap() == Step::Row {
        rows.push(format!(
            "{:?}",
            statement.row().collect::<Vec<ValueRef<'_>>>()
        ));
    }
    rows
}

/// Runs one statement; errors are the sessions' own business (constraints, nothing to roll back, a writer
/// before them), as long as the pages agree.
fn run(
    database: &Arc<Database>,
    session: &mut Session,
    sql: &str,
    commit: &mut impl FnMut(&ferrolite_wal::view::TakenTransaction),
) -> Result<(), Error> {
    let mut statement = session.prepare(sql)?.expect("a statement");
    if statement.needs_turn() && !session.has_turn() {
        session.take_turn(database.line().try_take().ok_or(Error::Busy)?);
    }
    let result = loop {
        match session.step(&mut statement) {
            Ok(Step::Row) => {}
            Ok(Step::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(statement);
    session.settle(|transaction| commit(&transaction));
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The follower's file, written page by page from what was committed, is at the end the database that
    /// the leader has, and sound.
    #[test]
    fn pages_are_all_there_is(steps in proptest::collection::vec(work(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let (database, log) = open(&dir.path().join("leader"));
        let follower = PageFile::open(&dir.path().join("follower")).unwrap();
        let mut index = 0;
        let mut commit = |transaction: &ferrolite_wal::view::TakenTransaction| {
            index += 1;
            let mut places = Vec::new();
            for (nth, page) in database.view().pages_of(transaction).enumerate() {
                let page = page.unwrap();
                let place = FramePlace { index, offset: nth as u32, len: PAGE, encoding: 0 };
                log.pages.lock().unwrap().insert((index, place.offset), page.image.clone());
                places.push((page.frame, place));
                follower.write_at(u64::from(page.page_no - 1) * u64::from(PAGE), &page.image).unwrap();
            }
            follower.truncate(u64::from(transaction.db_size) * u64::from(PAGE)).unwrap();
            database.view().bind(places);
        };
        let mut sessions = [database.connect().unwrap(), database.connect().unwrap()];
        let [first, _] = &mut sessions;
        run(&database, first, "CREATE TABLE t(id INTEGER PRIMARY KEY, b, r)", &mut commit).unwrap();
        for (which, work) in steps {
            match (work.sql(), &work) {
                (Some(sql), _) => {
                    // Refused statements are part of the game.
                    let _ = run(&database, &mut sessions[usize::from(which)], &sql, &mut commit);
                }
                (None, Work::Checkpoint) => {
                    // A reader or writer may be in the way; then it is for later.
                    let _ = database.checkpoint(database.view().frame_count());
                }
                (None, _) => {
                    if let Some(turn) = database.line().try_take() {
                        let _ = database.start_over(&turn);
                    }
                }
            }
        }
        drop(sessions);
        let sql = "SELECT id, hex(b), r FROM t ORDER BY id";
        let leader = rows(&database, sql);
        let (taken_over, _) = open(&dir.path().join("follower"));
        prop_assert_eq!(rows(&taken_over, sql), leader);
        prop_assert_eq!(rows(&taken_over, "PRAGMA integrity_check"), ["[Text(\"ok\")]"]);
    }
}
