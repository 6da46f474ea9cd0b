//! Requests: what a client asks of a server.
//!
//! The types up to 19 are dqlite's. Those from 192 on are Ferrolite's own, in a range that dqlite does not use:
//! a dqlite server answers them with a FAILURE and goes on. `docs/client-protocol.md` has the table.

use bytes::{Bytes, BytesMut};

use crate::field::{Reader, put_blob, put_message, put_text, put_u32, put_u64};
use crate::tuple::{ParamsSchema, decode_params, encode_params};
use crate::{Header, NodesFormat, Role, Value, WireError};

/// The request types.
mod kind {
    pub(super) const LEADER: u8 = 0;
    pub(super) const CLIENT: u8 = 1;
    pub(super) const OPEN: u8 = 3;
    pub(super) const PREPARE: u8 = 4;
    pub(super) const EXEC: u8 = 5;
    pub(super) const QUERY: u8 = 6;
    pub(super) const FINALIZE: u8 = 7;
    pub(super) const EXEC_SQL: u8 = 8;
    pub(super) const QUERY_SQL: u8 = 9;
    pub(super) const INTERRUPT: u8 = 10;
    pub(super) const CONNECT: u8 = 11;
    pub(super) const ADD: u8 = 12;
    pub(super) const ASSIGN: u8 = 13;
    pub(super) const REMOVE: u8 = 14;
    pub(super) const DUMP: u8 = 15;
    pub(super) const CLUSTER: u8 = 16;
    pub(super) const TRANSFER: u8 = 17;
    pub(super) const DESCRIBE: u8 = 18;
    pub(super) const WEIGHT: u8 = 19;
    pub(super) const IMPORT: u8 = 192;
    pub(super) const IMPORT_PAGES: u8 = 193;
    pub(super) const IMPORT_COMMIT: u8 = 194;
    pub(super) const EXPORT: u8 = 195;
    pub(super) const DATABASES: u8 = 196;
    pub(super) const STATUS: u8 = 197;
}

/// The bit of IMPORT's flags that lets it replace a database that exists.
const IMPORT_REPLACE: u64 = 1;

/// A request of a client.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Who leads? Answered by [`Response::Leader`](crate::Response::Leader) on any node.
    Leader,
    /// A client introduces itself. Answered by [`Response::Welcome`](crate::Response::Welcome).
    Client {
        /// A number of the client's choice.
        id: u64,
    },
    /// Opens a database, creating it if it is new. Answered by [`Response::Database`](crate::Response::Database).
    Open {
        /// The database's name in the cluster.
        name: String,
        /// SQLite's open flags; servers ignore them.
        flags: u64,
        /// The name of a VFS; servers ignore it.
        vfs: String,
    },
    /// Prepares a statement. Answered by [`Response::Statement`](crate::Response::Statement).
    Prepare {
        /// The open database.
        db: u64,
        /// The statement's text.
        sql: String,
        /// Whether the answer shall say where the text's unparsed rest begins (schema 1).
        with_tail: bool,
    },
    /// Runs a prepared statement for its effect. Answered by [`Response::Result`](crate::Response::Result).
    Exec {
        /// The open database.
        db: u32,
        /// The prepared statement.
        stmt: u32,
        /// The parameters, the first one first.
        params: Vec<Value>,
    },
    /// Runs a prepared statement for its rows. Answered by one or more [`Response::Rows`](crate::Response::Rows).
    Query {
        /// The open database.
        db: u32,
        /// The prepared statement.
        stmt: u32,
        /// The parameters, the first one first.
        params: Vec<Value>,
    },
    /// Drops a prepared statement. Answered by [`Response::Empty`](crate::Response::Empty).
    Finalize {
        /// The open database.
        db: u32,
        /// The prepared statement.
        stmt: u32,
    },
    /// Runs every statement of a text. Answered by the [`Response::Result`](crate::Response::Result) of the last.
    ExecSql {
        /// The open database.
        db: u64,
        /// One or more statements.
        sql: String,
        /// The parameters of the first statement.
        params: Vec<Value>,
    },
    /// Runs one statement for its rows. Answered by one or more [`Response::Rows`](crate::Response::Rows).
    QuerySql {
        /// The open database.
        db: u64,
        /// The statement's text.
        sql: String,
        /// The parameters, the first one first.
        params: Vec<Value>,
    },
    /// Ends the query that is running on this connection. Answered by [`Response::Empty`](crate::Response::Empty)
    /// after whatever the query still had to say.
    Interrupt {
        /// The open database.
        db: u64,
    },
    /// Turns the connection into one between peers.
    Connect {
        /// The id of the node that connects.
        id: u64,
        /// Its address.
        address: String,
    },
    /// Adds a node as a spare. Answered by [`Response::Empty`](crate::Response::Empty).
    Add {
        /// The new node's id.
        id: u64,
        /// Its address.
        address: String,
    },
    /// Gives a node a role. Answered by [`Response::Empty`](crate::Response::Empty) once that is committed.
    Assign {
        /// The node's id.
        id: u64,
        /// Its new role. An old client that sends none means a voter.
        role: Role,
    },
    /// Removes a node. Answered by [`Response::Empty`](crate::Response::Empty).
    Remove {
        /// The node's id.
        id: u64,
    },
    /// Asks for a database's files. Answered by [`Response::Files`](crate::Response::Files).
    Dump {
        /// The database's name.
        name: String,
    },
    /// Asks for the cluster's nodes. Answered by [`Response::Nodes`](crate::Response::Nodes).
    Cluster {
        /// The layout of the answer.
        format: NodesFormat,
    },
    /// Hands leadership to a node. Answered by [`Response::Empty`](crate::Response::Empty) once it leads.
    Transfer {
        /// The node's id; 0 leaves the choice to the leader.
        id: u64,
    },
    /// Asks for the connected node's metadata. Answered by [`Response::Metadata`](crate::Response::Metadata).
    Describe {
        /// The layout of the answer: 0 is all there is.
        format: u64,
    },
    /// Sets the connected node's weight. Answered by [`Response::Empty`](crate::Response::Empty).
    Weight {
        /// The new weight; among equals the lightest node is promoted first.
        weight: u64,
    },
    /// Begins to load a database by its pages. Answered by [`Response::Empty`](crate::Response::Empty).
    Import {
        /// The database's name in the cluster.
        name: String,
        /// The size of a page in bytes.
        page_size: u64,
        /// The number of pages that will come.
        pages: u64,
        /// Whether a database of that name may be replaced.
        replace: bool,
    },
    /// Brings pages of the import under way. Answered by [`Response::Empty`](crate::Response::Empty).
    ImportPages {
        /// The number of the first page; as in SQLite a file's first page is page 1.
        first_page: u64,
        /// Whole pages, one after the other.
        pages: Bytes,
    },
    /// Makes the imported pages the database. Answered by [`Response::Empty`](crate::Response::Empty) once a
    /// quorum has it.
    ImportCommit,
    /// Asks for a database's pages. Answered by one or more
    /// [`Response::ExportPages`](crate::Response::ExportPages) of one consistent snapshot.
    Export {
        /// The database's name.
        name: String,
    },
    /// Asks which databases there are. Answered by [`Response::Databases`](crate::Response::Databases).
    Databases,
    /// Asks for the node's state in words. Answered by [`Response::Status`](crate::Response::Status).
    Status,
}

/// Decodes a request's body.
///
/// Words after the last field are ignored, and so are bodies that stand in for no fields at all: a later client
/// may say more than this codec knows. Blobs share the body's memory.
///
/// # Errors
/// Any of the decoding errors of [`WireError`]; only [`WireError::BodyLength`] is fatal to the connection.
pub fn decode_request(header: Header, body: Bytes) -> Result<Request, WireError> {
    header.check_body(&body)?;
    let r = &mut Reader::new(body);
    let schema = schema_of(header)?;
    Ok(match header.kind {
        kind::LEADER => Request::Leader,
        kind::CLIENT => Request::Client {
            id: r.u64("a client id")?,
        },
        kind::OPEN => Request::Open {
            name: r.text()?,
            flags: r.u64("open flags")?,
            vfs: r.text()?,
        },
        kind::PREPARE => Request::Prepare {
            db: r.u64("a database id")?,
            sql: r.text()?,
            with_tail: schema == ParamsSchema::Long,
        },
        kind::EXEC => Request::Exec {
            db: r.u32("a database id")?,
            stmt: r.u32("a statement id")?,
            params: decode_params(schema, r)?,
        },
        kind::QUERY => Request::Query {
            db: r.u32("a database id")?,
            stmt: r.u32("a statement id")?,
            params: decode_params(schema, r)?,
        },
        kind::FINALIZE => Request::Finalize {
            db: r.u32("a database id")?,
            stmt: r.u32("a statement id")?,
        },
        kind::EXEC_SQL => Request::ExecSql {
            db: r.u64("a database id")?,
            sql: r.text()?,
            params: decode_params(schema, r)?,
        },
        kind::QUERY_SQL => Request::QuerySql {
            db: r.u64("a database id")?,
            sql: r.text()?,
            params: decode_params(schema, r)?,
        },
        kind::INTERRUPT => Request::Interrupt {
            db: r.u64("a database id")?,
        },
        kind::CONNECT => Request::Connect {
            id: r.u64("a node id")?,
            address: r.text()?,
        },
        kind::ADD => Request::Add {
            id: r.u64("a node id")?,
            address: r.text()?,
        },
        kind::ASSIGN => Request::Assign {
            id: r.u64("a node id")?,
            role: match r.remaining() {
                0 => Role::Voter,
                _ => Role::from_code(r.u64("a role")?)?,
            },
        },
        kind::REMOVE => Request::Remove {
            id: r.u64("a node id")?,
        },
        kind::DUMP => Request::Dump { name: r.text()? },
        kind::CLUSTER => Request::Cluster {
            format: NodesFormat::from_code(r.u64("a format")?)?,
        },
        kind::TRANSFER => Request::Transfer {
            id: r.u64("a node id")?,
        },
        kind::DESCRIBE => match r.u64("a format")? {
            0 => Request::Describe { format: 0 },
            other => return Err(WireError::UnknownFormat(other)),
        },
        kind::WEIGHT => Request::Weight {
            weight: r.u64("a weight")?,
        },
        kind::IMPORT => Request::Import {
            name: r.text()?,
            page_size: r.u64("a page size")?,
            pages: r.u64("a page count")?,
            replace: r.u64("import flags")? & IMPORT_REPLACE != 0,
        },
        kind::IMPORT_PAGES => Request::ImportPages {
            first_page: r.u64("a page number")?,
            pages: r.blob()?,
        },
        kind::IMPORT_COMMIT => Request::ImportCommit,
        kind::EXPORT => Request::Export { name: r.text()? },
        kind::DATABASES => Request::Databases,
        kind::STATUS => Request::Status,
        other => return Err(WireError::UnknownRequest(other)),
    })
}

/// Checks the schema of a request. Only five requests have a schema 1: for PREPARE it asks for the tail, for the
/// other four it is the parameter tuple with the wider count.
fn schema_of(header: Header) -> Result<ParamsSchema, WireError> {
    match (header.kind, header.schema) {
        (_, 0) => Ok(ParamsSchema::Byte),
        (kind::PREPARE | kind::EXEC | kind::QUERY | kind::EXEC_SQL | kind::QUERY_SQL, 1) => {
            Ok(ParamsSchema::Long)
        }
        (kind, schema) if is_request(kind) => Err(WireError::UnknownSchema { kind, schema }),
        (kind, _) => Err(WireError::UnknownRequest(kind)),
    }
}

fn is_request(kind: u8) -> bool {
    matches!(kind, kind::LEADER..=kind::CLIENT | kind::OPEN..=kind::WEIGHT | kind::IMPORT..=kind::STATUS)
}

impl Request {
    /// The type of INTERRUPT in a message's header: a server looks out for it before its turn in the queue.
    pub const INTERRUPT: u8 = kind::INTERRUPT;
    /// The type of CONNECT in a message's header: the first message of a peer.
    pub const CONNECT: u8 = kind::CONNECT;

    /// Appends the request to `out`, header and body. Statements with more than 255 parameters take schema 1.
    ///
    /// # Errors
    /// [`WireError::NulInText`] and [`WireError::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let schema = self.schema();
        put_message(out, self.kind(), schema.code(), |out| {
            self.encode_body(schema, out)
        })
    }

    /// The request's type on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Leader => kind::LEADER,
            Self::Client { .. } => kind::CLIENT,
            Self::Open { .. } => kind::OPEN,
            Self::Prepare { .. } => kind::PREPARE,
            Self::Exec { .. } => kind::EXEC,
            Self::Query { .. } => kind::QUERY,
            Self::Finalize { .. } => kind::FINALIZE,
            Self::ExecSql { .. } => kind::EXEC_SQL,
            Self::QuerySql { .. } => kind::QUERY_SQL,
            Self::Interrupt { .. } => kind::INTERRUPT,
            Self::Connect { .. } => kind::CONNECT,
            Self::Add { .. } => kind::ADD,
            Self::Assign { .. } => kind::ASSIGN,
            Self::Remove { .. } => kind::REMOVE,
            Self::Dump { .. } => kind::DUMP,
            Self::Cluster { .. } => kind::CLUSTER,
            Self::Transfer { .. } => kind::TRANSFER,
            Self::Describe { .. } => kind::DESCRIBE,
            Self::Weight { .. } => kind::WEIGHT,
            Self::Import { .. } => kind::IMPORT,
            Self::ImportPages { .. } => kind::IMPORT_PAGES,
            Self::ImportCommit => kind::IMPORT_COMMIT,
            Self::Export { .. } => kind::EXPORT,
            Self::Databases => kind::DATABASES,
            Self::Status => kind::STATUS,
        }
    }

    /// The request's name as the protocol's documentation writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Leader => "LEADER",
            Self::Client { .. } => "CLIENT",
            Self::Open { .. } => "OPEN",
            Self::Prepare { .. } => "PREPARE",
            Self::Exec { .. } => "EXEC",
            Self::Query { .. } => "QUERY",
            Self::Finalize { .. } => "FINALIZE",
            Self::ExecSql { .. } => "EXEC_SQL",
            Self::QuerySql { .. } => "QUERY_SQL",
            Self::Interrupt { .. } => "INTERRUPT",
            Self::Connect { .. } => "CONNECT",
            Self::Add { .. } => "ADD",
            Self::Assign { .. } => "ASSIGN",
            Self::Remove { .. } => "REMOVE",
            Self::Dump { .. } => "DUMP",
            Self::Cluster { .. } => "CLUSTER",
            Self::Transfer { .. } => "TRANSFER",
            Self::Describe { .. } => "DESCRIBE",
            Self::Weight { .. } => "WEIGHT",
            Self::Import { .. } => "IMPORT",
            Self::ImportPages { .. } => "IMPORT_PAGES",
            Self::ImportCommit => "IMPORT_COMMIT",
            Self::Export { .. } => "EXPORT",
            Self::Databases => "DATABASES",
            Self::Status => "STATUS",
        }
    }

    fn schema(&self) -> ParamsSchema {
        match self {
            Self::Exec { params, .. }
            | Self::Query { params, .. }
            | Self::ExecSql { params, .. }
            | Self::QuerySql { params, .. } => ParamsSchema::for_count(params.len()),
            Self::Prepare {
                with_tail: true, ..
            } => ParamsSchema::Long,
            _ => ParamsSchema::Byte,
        }
    }

    fn encode_body(&self, schema: ParamsSchema, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::Leader | Self::ImportCommit | Self::Databases | Self::Status => put_u64(out, 0),
            Self::Client { id } | Self::Remove { id } | Self::Transfer { id } => put_u64(out, *id),
            Self::Open { name, flags, vfs } => {
                put_text(out, name)?;
                put_u64(out, *flags);
                put_text(out, vfs)?;
            }
            Self::Prepare { db, sql, .. } => {
                put_u64(out, *db);
                put_text(out, sql)?;
            }
            Self::Exec { db, stmt, params } | Self::Query { db, stmt, params } => {
                put_u32(out, *db);
                put_u32(out, *stmt);
                encode_params(schema, params, out)?;
            }
            Self::Finalize { db, stmt } => {
                put_u32(out, *db);
                put_u32(out, *stmt);
            }
            Self::ExecSql { db, sql, params } | Self::QuerySql { db, sql, params } => {
                put_u64(out, *db);
                put_text(out, sql)?;
                encode_params(schema, params, out)?;
            }
            Self::Interrupt { db } => put_u64(out, *db),
            Self::Connect { id, address } | Self::Add { id, address } => {
                put_u64(out, *id);
                put_text(out, address)?;
            }
            Self::Assign { id, role } => {
                put_u64(out, *id);
                put_u64(out, role.code());
            }
            Self::Dump { name } | Self::Export { name } => put_text(out, name)?,
            Self::Cluster { format } => put_u64(out, format.code()),
            Self::Describe { format } => put_u64(out, *format),
            Self::Weight { weight } => put_u64(out, *weight),
            Self::Import {
                name,
                page_size,
                pages,
                replace,
            } => {
                put_text(out, name)?;
                put_u64(out, *page_size);
                put_u64(out, *pages);
                put_u64(out, if *replace { IMPORT_REPLACE } else { 0 });
            }
            Self::ImportPages { first_page, pages } => {
                put_u64(out, *first_page);
                put_blob(out, pages);
            }
        }
        Ok(())
    }
}
