//! Reads that fail in the middle of what the engine does with a tree.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferrolite_pager::{Directory, PageFile};
use ferrolite_sql::{Database, Error, Session, Step};
use ferrolite_wal::backend::{FaultBackend, FaultKind, Operation};
use ferrolite_wal::view::{FramePlace, PageSource, WalView};

const PAGE: u32 = 4096;

/// All pages are in the file, or in the view's memory.
struct File(Arc<PageFile>);

impl PageSource for File {
    fn read_from_log(&self, _: u32, _: FramePlace, _: &mut [u8]) -> io::Result<()> {
        Err(ErrorKind::NotFound.into())
    }

    fn read_from_file(&self, page_no: u32, page: &mut [u8]) -> io::Result<()> {
        let pos = u64::from(page_no - 1) * u64::from(PAGE);
        self.0.read_at(pos, page).map(drop)
    }
}

fn run(database: &Arc<Database>, session: &mut Session, sql: &str) -> Result<(), Error> {
    let mut statement = session.prepare(sql)?.unwrap();
    session.take_turn(database.line().try_take().unwrap());
    let ran = loop {
        match session.step(&mut statement) {
            Ok(Step::Row) => {}
            Ok(Step::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(statement);
    session.settle(drop);
    ran
}

fn fail_reads_one_by_one() {
    let disk = FaultBackend::new();
    let directory = Directory::on(Arc::new(disk.clone()), Path::new("/simulated"));
    let mut failed = 0;
    for nth in 0..60 {
        let file = Arc::new(PageFile::open_in(&directory, &format!("{nth}")).unwrap());
        let source = File(Arc::clone(&file));
        let view = Arc::new(WalView::new(PAGE, 1 << 30, Box::new(source)));
        let database = Database::open(&format!("{nth}"), file, view).unwrap();
        let mut session = database.connect().unwrap();
        run(
            &database,
            &mut session,
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)",
        )
        .unwrap();
        let fill = "INSERT INTO t SELECT value, zeroblob(900) FROM generate_series(1, 400)";
        run(&database, &mut session, fill).unwrap();
        let turn = database.line().try_take().unwrap();
        assert!(
            database.start_over(&turn).unwrap(),
            "all of it is in the file"
        );
        drop(turn);
        // Nothing in this one's cache: every page that a balance looks at is read.
        let mut session = database.connect().unwrap();
        disk.inject(Operation::Read, nth, FaultKind::Fails(ErrorKind::Other));
        let deleted = run(&database, &mut session, "DELETE FROM t WHERE a % 5 != 0");
        failed += u32::from(deleted.is_err());
    }
    assert!(
        failed > 20,
        "reads failed in only {failed} of the statements"
    );
}

/// Protects: the threads of a node. A read that fails, because a page has rotted or its database was closed when leadership was
/// lost, ends the statement; the engine must not wait for it without end, which it would do in the middle of a balance.
#[test]
fn a_failed_read_ends_the_statement() {
    let (ended, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        fail_reads_one_by_one();
        // If nobody waits any more, the test has failed.
        let _ = ended.send(());
    });
    wait.recv_timeout(Duration::from_secs(120))
        .expect("a statement ended neither well nor badly");
}
