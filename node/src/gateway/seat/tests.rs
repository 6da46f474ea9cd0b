#![allow(clippy::unwrap_used)]
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ferrolite_consensus::Error as Refusal;
use ferrolite_pager::PageFile;
use ferrolite_wal::view::{FramePlace, PageSource, WalView};

use super::super::shared_session::SharedSession;
use super::*;
use crate::leading::Committed;

struct Nothing;

impl PageSource for Nothing {
    fn read_from_log(&self, _page_no: u32, _place: FramePlace, _page: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_from_file(&self, _page_no: u32, _page: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn database(directory: &std::path::Path) -> LeaderDatabase {
    let path = directory.join("main.sqlite");
    let file = Arc::new(PageFile::open(&path).unwrap());
    let view = Arc::new(WalView::new(4096, 1 << 20, Box::new(Nothing)));
    let sql = ferrolite_sql::Database::open("main", file, view).unwrap();
    LeaderDatabase::new("main".to_owned(), sql)
}

fn commit(database: &LeaderDatabase, number: u64) {
    database.committed(number, Committed::default(), number, 1);
}

/// Protects: linearizability. A leader that slept while others went on finds what they said before they did, and with it
/// commits what it had proposed; a read that waited for that is not answered before this node is known to lead still.
#[test]
fn a_commit_that_was_waited_for_does_not_confirm_a_read() {
    let directory = tempfile::tempdir().unwrap();
    let database = database(directory.path());
    let mut context = Context::from_waker(Waker::noop());
    let read = Release {
        number: 1,
        confirm: true,
    };
    let refused = async { Err(NodeError::Consensus(Refusal::NotLeader { leader: None })) };
    let mut answer = pin!(release_once(&database, read, refused));
    assert!(answer.as_mut().poll(&mut context).is_pending());
    commit(&database, 1);
    let Poll::Ready(Err(failure)) = answer.as_mut().poll(&mut context) else {
        panic!("the read was answered, though this node does not lead");
    };
    assert_eq!(failure.code, ErrorCode::IOERR_NOT_LEADER);
}

/// Protects: the memory of a node that leads again and again. The session that writes share is kept by its database, and
/// must not keep the database in turn.
#[test]
fn a_shared_session_does_not_keep_its_database() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(database(directory.path()));
    let session = SharedSession::new(&database).unwrap();
    let kept = Arc::downgrade(&database);
    drop(database);
    assert!(kept.upgrade().is_none());
    drop(session);
}

/// A write is its own proof: what it submitted was acknowledged after it was sent. And a node that leads again has
/// another engine by then.
#[test]
fn what_is_confirmed_and_by_what() {
    let directory = tempfile::tempdir().unwrap();
    let database = database(directory.path());
    let mut context = Context::from_waker(Waker::noop());
    let mut outcome = |release, confirmed: Result<(), NodeError>| {
        let released = release_once(&database, release, std::future::ready(confirmed));
        pin!(released)
            .poll(&mut context)
            .map_err(|failure| failure.code)
    };
    let of = |confirm| Release { number: 1, confirm };
    assert_eq!(outcome(of(true), Ok(())), Poll::Pending);
    commit(&database, 1);
    assert_eq!(
        outcome(of(false), Err(NodeError::Stopped)),
        Poll::Ready(Ok(()))
    );
    assert_eq!(outcome(of(true), Ok(())), Poll::Ready(Ok(())));
    database.sql.close();
    let refused = Poll::Ready(Err(ErrorCode::IOERR_NOT_LEADER));
    assert_eq!(outcome(of(true), Ok(())), refused);
}
