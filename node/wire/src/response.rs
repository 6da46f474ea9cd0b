//! Responses: what a server answers.
//!
//! The type of an answer does not always tell its layout: a list of nodes has the format that the request asked
//! for, and a LEADER answer lacks the id on a legacy connection. The server knows which, so [`Response`] can say
//! both; [`decode_response`] reads what a current client asks for (version 1, nodes in format 1), and
//! [`decode_nodes_v0`] the older list.

use bytes::{Bytes, BytesMut};

use crate::field::{
    Reader, len_u64, put_blob, put_message, put_text, put_text_cut, put_u32, put_u64,
};
use crate::rows::RowsBatch;
use crate::{ErrorCode, Header, NodeInfo, NodesFormat, WireError};

/// The response types.
pub(crate) mod kind {
    pub(crate) const FAILURE: u8 = 0;
    pub(crate) const LEADER: u8 = 1;
    pub(crate) const WELCOME: u8 = 2;
    pub(crate) const NODES: u8 = 3;
    pub(crate) const DATABASE: u8 = 4;
    pub(crate) const STATEMENT: u8 = 5;
    pub(crate) const RESULT: u8 = 6;
    pub(crate) const ROWS: u8 = 7;
    pub(crate) const EMPTY: u8 = 8;
    pub(crate) const FILES: u8 = 9;
    pub(crate) const METADATA: u8 = 10;
    pub(crate) const EXPORT_PAGES: u8 = 192;
    pub(crate) const DATABASES: u8 = 193;
    pub(crate) const STATUS: u8 = 194;
}

/// A file of a database, as DUMP returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFile {
    /// The file's name: the database's, or that with `-wal` behind it.
    pub name: String,
    /// All of its bytes.
    pub content: Bytes,
}

/// A database of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// Its size in bytes, as the pages that it has.
    pub size_bytes: u64,
}

/// A response of a server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// The request failed; the connection lives on.
    Failure {
        /// Why, as a number.
        code: ErrorCode,
        /// Why, in words.
        message: String,
    },
    /// The leader; id 0 and an empty address while there is none.
    Leader {
        /// Its id.
        id: u64,
        /// Its address.
        address: String,
    },
    /// The leader, to a client of the legacy version. Only a server encodes it; the decoder never yields it.
    LeaderLegacy {
        /// Its address.
        address: String,
    },
    /// The client is welcome.
    Welcome {
        /// How often a client of old had to send heartbeats, in milliseconds.
        heartbeat_timeout_ms: u64,
    },
    /// The cluster's nodes.
    Nodes {
        /// The layout.
        format: NodesFormat,
        /// The nodes.
        nodes: Vec<NodeInfo>,
    },
    /// A database is open.
    Database {
        /// Its id on this connection.
        id: u32,
    },
    /// A statement is prepared.
    Statement {
        /// The open database.
        db: u32,
        /// The statement's id on this connection.
        id: u32,
        /// How many parameters it has.
        params: u64,
        /// Where the unparsed rest of the text begins, in bytes, if the request asked for it (schema 1).
        tail_bytes: Option<u64>,
    },
    /// The outcome of a statement that was run for its effect.
    Result {
        /// SQLite's `last_insert_rowid()`: a signed number, sent as the same 64 bits.
        last_insert_id: u64,
        /// SQLite's `changes()`.
        rows_affected: u64,
    },
    /// Rows.
    Rows(RowsBatch),
    /// Done, nothing to say.
    Empty,
    /// A database's files.
    Files(Vec<DatabaseFile>),
    /// A node's metadata.
    Metadata {
        /// Its failure domain.
        failure_domain: u64,
        /// Its weight.
        weight: u64,
    },
    /// Pages of a database.
    ExportPages {
        /// The size of a page in bytes.
        page_size: u64,
        /// The number of pages of the whole database.
        total_pages: u64,
        /// The number of the first page here; as in SQLite a file's first page is page 1.
        first_page: u64,
        /// Whether another such message follows.
        more: bool,
        /// Whole pages, one after the other.
        pages: Bytes,
    },
    /// The databases of the cluster.
    Databases(Vec<DatabaseInfo>),
    /// A node's state.
    Status {
        /// As a JSON object.
        json: String,
    },
}

/// Decodes a response's body: version 1, nodes in format 1. Blobs share the body's memory.
///
/// # Errors
/// Any of the decoding errors of [`WireError`]; a client should then give the connection up.
pub fn decode_response(header: Header, body: Bytes) -> Result<Response, WireError> {
    header.check_body(&body)?;
    let kind = header.kind;
    match (kind, header.schema) {
        (_, 0) | (kind::STATEMENT, 1) => {}
        (kind::FAILURE..=kind::METADATA | kind::EXPORT_PAGES..=kind::STATUS, schema) => {
            return Err(WireError::UnknownSchema { kind, schema });
        }
        (other, _) => return Err(WireError::UnknownResponse(other)),
    }
    let r = &mut Reader::new(body);
    Ok(match kind {
        kind::FAILURE => Response::Failure {
            code: ErrorCode(r.u64("an error code")?),
            message: r.text()?,
        },
        kind::LEADER => Response::Leader {
            id: r.u64("a node id")?,
            address: r.text()?,
        },
        kind::WELCOME => Response::Welcome {
            heartbeat_timeout_ms: r.u64("a heartbeat timeout")?,
        },
        kind::NODES => Response::Nodes {
            format: NodesFormat::V1,
            nodes: NodesFormat::V1.decode_nodes(r)?,
        },
        kind::DATABASE => Response::Database {
            id: r.u32("a database id")?,
        },
        kind::STATEMENT => Response::Statement {
            db: r.u32("a database id")?,
            id: r.u32("a statement id")?,
            params: r.u64("a parameter count")?,
            tail_bytes: match header.schema {
                0 => None,
                _ => Some(r.u64("a tail offset")?),
            },
        },
        kind::RESULT => Response::Result {
            last_insert_id: r.u64("a rowid")?,
            rows_affected: r.u64("a row count")?,
        },
        kind::ROWS => Response::Rows(RowsBatch::decode(r)?),
        kind::EMPTY => Response::Empty,
        kind::FILES => {
            let count = r.count("files", 16)?;
            let mut files = Vec::with_capacity(count);
            for _ in 0..count {
                files.push(DatabaseFile {
                    name: r.text()?,
                    content: r.blob()?,
                });
            }
            Response::Files(files)
        }
        kind::METADATA => Response::Metadata {
            failure_domain: r.u64("a failure domain")?,
            weight: r.u64("a weight")?,
        },
        kind::EXPORT_PAGES => Response::ExportPages {
            page_size: r.u64("a page size")?,
            total_pages: r.u64("a page count")?,
            first_page: r.u64("a page number")?,
            more: r.u64("a flag")? != 0,
            pages: r.blob()?,
        },
        kind::DATABASES => {
            let count = r.count("databases", 16)?;
            let mut databases = Vec::with_capacity(count);
            for _ in 0..count {
                databases.push(DatabaseInfo {
                    name: r.text()?,
                    size_bytes: r.u64("a size")?,
                });
            }
            Response::Databases(databases)
        }
        kind::STATUS => Response::Status { json: r.text()? },
        other => return Err(WireError::UnknownResponse(other)),
    })
}

/// Decodes the answer to CLUSTER in format 0, whose nodes have no role: they are taken for voters.
///
/// # Errors
/// As [`decode_response`]; [`WireError::UnknownResponse`] if the message is no list of nodes.
pub fn decode_nodes_v0(header: Header, body: Bytes) -> Result<Vec<NodeInfo>, WireError> {
    header.check_body(&body)?;
    match header.kind {
        kind::NODES => NodesFormat::V0.decode_nodes(&mut Reader::new(body)),
        other => Err(WireError::UnknownResponse(other)),
    }
}

impl Response {
    /// Appends the response to `out`, header and body.
    ///
    /// A FAILURE's message is cut at a NUL, for the answer has to go out in any case.
    ///
    /// # Errors
    /// [`WireError::NulInText`] (in names and addresses), [`WireError::RowWidth`] and [`WireError::TooLarge`];
    /// `out` is then as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let schema = match self {
            Self::Statement {
                tail_bytes: Some(_),
                ..
            } => 1,
            _ => 0,
        };
        put_message(out, self.kind(), schema, |out| self.encode_body(out))
    }

    /// The response's type on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Failure { .. } => kind::FAILURE,
            Self::Leader { .. } | Self::LeaderLegacy { .. } => kind::LEADER,
            Self::Welcome { .. } => kind::WELCOME,
            Self::Nodes { .. } => kind::NODES,
            Self::Database { .. } => kind::DATABASE,
            Self::Statement { .. } => kind::STATEMENT,
            Self::Result { .. } => kind::RESULT,
            Self::Rows(_) => kind::ROWS,
            Self::Empty => kind::EMPTY,
            Self::Files(_) => kind::FILES,
            Self::Metadata { .. } => kind::METADATA,
            Self::ExportPages { .. } => kind::EXPORT_PAGES,
            Self::Databases(_) => kind::DATABASES,
            Self::Status { .. } => kind::STATUS,
        }
    }

    /// The response's name as the protocol's documentation writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Failure { .. } => "FAILURE",
            Self::Leader { .. } | Self::LeaderLegacy { .. } => "LEADER",
            Self::Welcome { .. } => "WELCOME",
            Self::Nodes { .. } => "NODES",
            Self::Database { .. } => "DATABASE",
            Self::Statement { .. } => "STATEMENT",
            Self::Result { .. } => "RESULT",
            Self::Rows(_) => "ROWS",
            Self::Empty => "EMPTY",
            Self::Files(_) => "FILES",
            Self::Metadata { .. } => "METADATA",
            Self::ExportPages { .. } => "EXPORT_PAGES",
            Self::Databases(_) => "DATABASES",
            Self::Status { .. } => "STATUS",
        }
    }

    fn encode_body(&self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::Failure { code, message } => {
                put_u64(out, code.0);
                put_text_cut(out, message);
            }
            Self::Leader { id, address } => {
                put_u64(out, *id);
                put_text(out, address)?;
            }
            Self::LeaderLegacy { address } => put_text(out, address)?,
            Self::Welcome {
                heartbeat_timeout_ms,
            } => put_u64(out, *heartbeat_timeout_ms),
            Self::Nodes { format, nodes } => format.encode_nodes(nodes, out)?,
            Self::Database { id } => {
                put_u32(out, *id);
                put_u32(out, 0);
            }
            Self::Statement {
                db,
                id,
                params,
                tail_bytes,
            } => {
                put_u32(out, *db);
                put_u32(out, *id);
                put_u64(out, *params);
                if let Some(tail_bytes) = tail_bytes {
                    put_u64(out, *tail_bytes);
                }
            }
            Self::Result {
                last_insert_id,
                rows_affected,
            } => {
                put_u64(out, *last_insert_id);
                put_u64(out, *rows_affected);
            }
            Self::Rows(batch) => batch.encode(out)?,
            Self::Empty => put_u64(out, 0),
            Self::Files(files) => {
                put_u64(out, len_u64(files.len()));
                for file in files {
                    put_text(out, &file.name)?;
                    put_blob(out, &file.content);
                }
            }
            Self::Metadata {
                failure_domain,
                weight,
            } => {
                put_u64(out, *failure_domain);
                put_u64(out, *weight);
            }
            Self::ExportPages {
                page_size,
                total_pages,
                first_page,
                more,
                pages,
            } => {
                put_u64(out, *page_size);
                put_u64(out, *total_pages);
                put_u64(out, *first_page);
                put_u64(out, u64::from(*more));
                put_blob(out, pages);
            }
            Self::Databases(databases) => {
                put_u64(out, len_u64(databases.len()));
                for database in databases {
                    put_text(out, &database.name)?;
                    put_u64(out, database.size_bytes);
                }
            }
            Self::Status { json } => put_text(out, json)?,
        }
        Ok(())
    }
}
