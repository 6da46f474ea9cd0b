//! Changes of the schema that fail in the middle.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ferrolite_pager::PageFile;
use ferrolite_sql::{Database, Error, Session, Step};
use ferrolite_wal::view::{FramePlace, PageSource, WalView};

struct Nowhere;

impl PageSource for Nowhere {
    fn read_from_log(&self, _: u32, _: FramePlace, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn read_from_file(&self, _: u32, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn run(database: &Arc<Database>, session: &mut Session, sql: &str) -> Result<(), Error> {
    if !session.has_turn() {
        session.take_turn(database.line().try_take().unwrap());
    }
    let ran = session.prepare(sql).and_then(|statement| {
        let mut statement = statement.unwrap();
        while session.step(&mut statement)? == Step::Row {}
        Ok(())
    });
    session.settle(drop);
    ran
}

/// Protects: that a database in which a change of the schema has failed does not stay unusable. The engine forgets to take back
/// what it has done to its own idea of the schema then; it is known for that, so that the node opens the database anew.
#[test]
fn a_failed_change_of_the_schema_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let file = Arc::new(PageFile::open(&directory.path().join("a")).unwrap());
    let view = Arc::new(WalView::new(4096, 1 << 30, Box::new(Nowhere)));
    let database = Database::open("a", file, view).unwrap();
    let mut session = database.connect().unwrap();
    for sql in [
        "CREATE TABLE a(x, y)",
        "CREATE TABLE b(x)",
        "CREATE VIEW v AS SELECT a.x FROM a JOIN b ON a.x = b.x",
        "DROP TABLE b",
    ] {
        run(&database, &mut session, sql).unwrap();
        assert!(!database.is_confused(), "{sql}");
    }
    run(&database, &mut session, "BEGIN IMMEDIATE").unwrap();
    run(&database, &mut session, "ALTER TABLE a DROP COLUMN y").unwrap_err();
    // What fails from now on depends on the engine. What counts is what others find once the transaction is over.
    drop(run(&database, &mut session, "ALTER TABLE a ADD COLUMN z"));
    run(&database, &mut session, "COMMIT").unwrap();
    let mut other = database.connect().unwrap();
    let other = run(&database, &mut other, "SELECT * FROM a");
    let is_stuck = other.is_err_and(|error| error.is_schema());
    assert_eq!(is_stuck, database.is_confused());
    assert!(
        is_stuck,
        "the engine is well: what opens the database anew can go"
    );
}
