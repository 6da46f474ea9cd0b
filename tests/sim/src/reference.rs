//! One engine alone, which is asked what the cluster was asked, in the order in which the cluster committed it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ferrolite_pager::{Directory, PageFile};
use ferrolite_sql::{Database, Error, Session, Step, ValueRef};
use ferrolite_wal::backend::MemBackend;
use ferrolite_wal::view::{FramePlace, PageSource, WalView};
use ferrolite_workloads::Value;

const PAGE_BYTES: u32 = 4096;
const LIMIT_BYTES: u64 = 1 << 30;

/// See the [module](self).
pub(crate) struct Reference {
    session: Session,
    database: Arc<Database>,
}

/// The reference never forgets a frame, so that nothing is read from anywhere else.
struct Nowhere;

impl PageSource for Nowhere {
    fn read_from_log(&self, _: u32, _: FramePlace, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_from_file(&self, _: u32, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Reference {
    pub(crate) fn new() -> Result<Self, Error> {
        let directory = Directory::on(Arc::new(MemBackend::new()), Path::new("/reference"));
        let unable = |error: ferrolite_pager::Error| Error::io(&error.to_string());
        let file = Arc::new(PageFile::open_in(&directory, "reference").map_err(unable)?);
        let view = WalView::new(PAGE_BYTES, LIMIT_BYTES, Box::new(Nowhere));
        let database = Database::open("/reference", file, Arc::new(view))?;
        let session = database.connect()?;
        Ok(Self { session, database })
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.session.in_transaction()
    }

    /// Runs a statement. Returns its rows, and how many it has changed.
    pub(crate) fn run(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Vec<Vec<Value>>, u64), Error> {
        if !self.session.has_turn()
            && let Some(turn) = self.database.line().try_take()
        {
            self.session.take_turn(turn);
        }
        let ran = self.try_run(sql, params);
        self.session.settle(drop);
        ran
    }

    fn try_run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Vec<Value>>, u64), Error> {
        let Some(mut statement) = self.session.prepare(sql)? else {
            return Ok((Vec::new(), 0));
        };
        statement.bind(params.iter().map(lend))?;
        let mut rows = Vec::new();
        while self.session.step(&mut statement)? == Step::Row {
            rows.push(statement.row().map(own).collect());
        }
        statement.reset()?;
        let changed = u64::try_from(self.session.changes()).unwrap_or(0);
        Ok((rows, changed))
    }
}

fn lend(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(text) => ValueRef::Text(text),
        Value::Blob(blob) => ValueRef::Blob(blob),
    }
}

fn own(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        // As the protocol has it, in which texts end with a zero.
        ValueRef::Text(text) if text.contains('\0') => Value::Blob(text.as_bytes().to_vec()),
        ValueRef::Text(text) => Value::Text(text.to_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
    }
}
