//! Properties that hold for every message, and for every sequence of bytes that is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use ferrolite_wire::{
    BATCH_BYTES, DEFAULT_MAX_BODY_BYTES, DatabaseFile, DatabaseInfo, ErrorCode, Header, NodeInfo,
    NodesFormat, Progress, Request, Response, Role, RowsBatch, RowsEncoder, Value, ValueRef,
    decode_nodes_v0, decode_request, decode_response, take_message,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,20}"
}

fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// A value that equals itself: NaN is left to the bit-exact test.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>()
            .prop_filter("NaN equals nothing", |v| !v.is_nan())
            .prop_map(Value::Float),
        text().prop_map(Value::Text),
        blob().prop_map(Value::Blob),
        any::<i64>().prop_map(Value::UnixTime),
        text().prop_map(Value::Iso8601),
        any::<bool>().prop_map(Value::Boolean),
    ]
}

fn params() -> impl Strategy<Value = Vec<Value>> {
    prop_oneof![8 => vec(value(), 0..20), 1 => vec(any::<i64>().prop_map(Value::Integer), 250..300)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Voter), Just(Role::Standby), Just(Role::Spare)]
}

fn request() -> impl Strategy<Value = Request> {
    let format = prop_oneof![Just(NodesFormat::V0), Just(NodesFormat::V1)];
    prop_oneof![
        prop_oneof![
            Just(Request::Leader),
            Just(Request::ImportCommit),
            Just(Request::Databases),
            Just(Request::Status)
        ],
        any::<u64>().prop_map(|id| Request::Client { id }),
        (text(), any::<u64>(), text()).prop_map(|(name, flags, vfs)| Request::Open {
            name,
            flags,
            vfs
        }),
        (any::<u64>(), text(), any::<bool>()).prop_map(|(db, sql, with_tail)| Request::Prepare {
            db,
            sql,
            with_tail
        }),
        (any::<u32>(), any::<u32>(), params()).prop_map(|(db, stmt, params)| Request::Exec {
            db,
            stmt,
            params
        }),
        (any::<u32>(), any::<u32>(), params()).prop_map(|(db, stmt, params)| Request::Query {
            db,
            stmt,
            params
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(db, stmt)| Request::Finalize { db, stmt }),
        (any::<u64>(), text(), params()).prop_map(|(db, sql, params)| Request::ExecSql {
            db,
            sql,
            params
        }),
        (any::<u64>(), text(), params()).prop_map(|(db, sql, params)| Request::QuerySql {
            db,
            sql,
            params
        }),
        any::<u64>().prop_map(|db| Request::Interrupt { db }),
        (any::<u64>(), text()).prop_map(|(id, address)| Request::Connect { id, address }),
        (any::<u64>(), text()).prop_map(|(id, address)| Request::Add { id, address }),
        (any::<u64>(), role()).prop_map(|(id, role)| Request::Assign { id, role }),
        any::<u64>().prop_map(|id| Request::Remove { id }),
        text().prop_map(|name| Request::Dump { name }),
        format.prop_map(|format| Request::Cluster { format }),
        any::<u64>().prop_map(|id| Request::Transfer { id }),
        Just(Request::Describe { format: 0 }),
        any::<u64>().prop_map(|weight| Request::Weight { weight }),
        (text(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(name, page_size, pages, replace)| {
                Request::Import {
                    name,
                    page_size,
                    pages,
                    replace,
                }
            }
        ),
        (any::<u64>(), blob())
            .prop_map(|(first_page, pages)| Request::ImportPages { first_page, pages }),
        text().prop_map(|name| Request::Export { name }),
    ]
}

fn rows() -> impl Strategy<Value = (Vec<String>, Vec<Vec<Value>>)> {
    (1usize..40).prop_flat_map(|width| (vec(text(), width), vec(vec(value(), width), 0..8)))
}

fn response() -> impl Strategy<Value = Response> {
    let node = (any::<u64>(), text(), role()).prop_map(|(id, address, role)| NodeInfo {
        id,
        address,
        role,
    });
    let file = (text(), blob()).prop_map(|(name, content)| DatabaseFile { name, content });
    let database =
        (text(), any::<u64>()).prop_map(|(name, size_bytes)| DatabaseInfo { name, size_bytes });
    prop_oneof![
        Just(Response::Empty),
        (any::<u64>(), text()).prop_map(|(code, message)| Response::Failure {
            code: ErrorCode(code),
            message
        }),
        (any::<u64>(), text()).prop_map(|(id, address)| Response::Leader { id, address }),
        any::<u64>().prop_map(|heartbeat_timeout_ms| Response::Welcome {
            heartbeat_timeout_ms
        }),
        vec(node, 0..5).prop_map(|nodes| Response::Nodes {
            format: NodesFormat::V1,
            nodes
        }),
        any::<u32>().prop_map(|id| Response::Database { id }),
        (
            any::<u32>(),
            any::<u32>(),
            any::<u64>(),
            any::<Option<u64>>()
        )
            .prop_map(|(db, id, params, tail_bytes)| Response::Statement {
                db,
                id,
                params,
                tail_bytes
            }),
        (any::<u64>(), any::<u64>()).prop_map(|(last_insert_id, rows_affected)| Response::Result {
            last_insert_id,
            rows_affected
        }),
        (rows(), any::<bool>()).prop_map(|((columns, rows), more)| Response::Rows(RowsBatch {
            columns,
            rows,
            more
        })),
        vec(file, 0..4).prop_map(Response::Files),
        (any::<u64>(), any::<u64>()).prop_map(|(failure_domain, weight)| Response::Metadata {
            failure_domain,
            weight
        }),
        (
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<bool>(),
            blob()
        )
            .prop_map(|(page_size, total_pages, first_page, more, pages)| {
                Response::ExportPages {
                    page_size,
                    total_pages,
                    first_page,
                    more,
                    pages,
                }
            }),
        vec(database, 0..4).prop_map(Response::Databases),
        text().prop_map(|json| Response::Status { json }),
    ]
}

fn only_message(wire: BytesMut) -> (Header, Bytes) {
    let mut buffer = wire;
    let Progress::Message(header, body) =
        take_message(&mut buffer, DEFAULT_MAX_BODY_BYTES).unwrap()
    else {
        panic!("an encoded message is whole");
    };
    assert!(buffer.is_empty(), "one message and nothing else");
    (header, body)
}

/// All ROWS messages of a stream of bytes.
fn batches(wire: &[u8]) -> Vec<(u64, RowsBatch)> {
    let mut buffer = BytesMut::from(wire);
    let mut found = Vec::new();
    while let Progress::Message(header, body) =
        take_message(&mut buffer, DEFAULT_MAX_BODY_BYTES).unwrap()
    {
        match decode_response(header, body).unwrap() {
            Response::Rows(batch) => found.push((header.body_len_bytes(), batch)),
            other => panic!("{other:?}"),
        }
    }
    assert!(buffer.is_empty());
    found
}

proptest! {
    /// What one side encodes, the other decodes to the same.
    #[test]
    fn requests_survive(request in request()) {
        let mut wire = BytesMut::new();
        request.encode(&mut wire).unwrap();
        let (header, body) = only_message(wire);
        prop_assert_eq!(header.kind, request.kind());
        prop_assert_eq!(decode_request(header, body).unwrap(), request);
    }

    /// What one side encodes, the other decodes to the same.
    #[test]
    fn responses_survive(response in response()) {
        let mut wire = BytesMut::new();
        response.encode(&mut wire).unwrap();
        let (header, body) = only_message(wire);
        prop_assert_eq!(decode_response(header, body).unwrap(), response);
    }

    /// A double's bits travel unchanged, whichever NaN they are.
    #[test]
    fn doubles_keep_their_bits(bits: u64) {
        let mut wire = BytesMut::new();
        let params = vec![Value::Float(f64::from_bits(bits))];
        Request::Exec { db: 0, stmt: 0, params }.encode(&mut wire).unwrap();
        let (header, body) = only_message(wire);
        let Request::Exec { params, .. } = decode_request(header, body).unwrap() else { panic!() };
        let [Value::Float(found)] = params[..] else { panic!() };
        prop_assert_eq!(found.to_bits(), bits);
    }

    /// No bytes make a decoder panic, under any header.
    #[test]
    fn noise_is_refused_or_read(kind: u8, schema in 0u8..3, words in vec(any::<[u8; 8]>(), 0..40)) {
        let body = Bytes::from(words.concat());
        let header = Header { words: u32::try_from(words.len()).unwrap(), kind, schema };
        let _ = decode_request(header, body.clone());
        let _ = decode_nodes_v0(header, body.clone());
        let _ = decode_response(header, body);
    }

    /// A message with a changed byte is refused or means something else; it never makes a decoder panic, and a
    /// body cut short is never read past its end.
    #[test]
    fn damage_is_refused_or_read(request in request(), response in response(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        for encoded in [
            { let mut w = BytesMut::new(); request.encode(&mut w).unwrap(); w },
            { let mut w = BytesMut::new(); response.encode(&mut w).unwrap(); w },
        ] {
            let (header, body) = only_message(encoded);
            let mut damaged = body.to_vec();
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] = to;
            }
            let _ = decode_request(header, damaged.clone().into());
            let _ = decode_response(header, damaged.into());
            let words = cut.index(body.len() / 8 + 1);
            let header = Header { words: u32::try_from(words).unwrap(), ..header };
            let short = body.slice(..words * 8);
            let _ = decode_request(header, short.clone());
            let _ = decode_response(header, short);
        }
    }

    /// A result comes out of its batches as it went in; every batch but the last says that more follows, and
    /// none but a batch of a single row is larger than a buffer.
    #[test]
    fn results_survive_batching((columns, rows) in rows(), repeat in 1usize..60) {
        let rows: Vec<_> = rows.iter().cycle().take(rows.len() * repeat).cloned().collect();
        let mut encoder = RowsEncoder::new(&columns);
        let mut wire = Vec::new();
        for row in &rows {
            encoder.push(&row.iter().map(Value::as_ref).collect::<Vec<_>>()).unwrap();
            wire.extend(encoder.take_ready().unwrap_or_default());
        }
        wire.extend(encoder.finish().unwrap());

        let batches = batches(&wire);
        for (n, (len_bytes, batch)) in batches.iter().enumerate() {
            prop_assert_eq!(&batch.columns, &columns);
            prop_assert_eq!(batch.more, n + 1 < batches.len());
            prop_assert!(batch.rows.len() <= 1 || *len_bytes <= BATCH_BYTES as u64);
        }
        let found: Vec<_> = batches.into_iter().flat_map(|(_, batch)| batch.rows).collect();
        prop_assert_eq!(found, rows);
    }
}

/// A row larger than a buffer travels alone; the rows around it are not held up with it.
#[test]
fn a_large_row_travels_alone() {
    let large = vec![1u8; 3 * BATCH_BYTES];
    let mut encoder = RowsEncoder::new(&["b"]);
    for blob in [&[0u8][..], &large, &[2]] {
        encoder.push(&[ValueRef::Blob(blob)]).unwrap();
    }
    let sizes: Vec<_> = batches(&encoder.finish().unwrap())
        .iter()
        .map(|(_, batch)| batch.rows.len())
        .collect();
    assert_eq!(sizes, [1, 1, 1]);
}

/// Cutting a batch early shows what there is, and never an empty batch.
#[test]
fn a_slow_result_can_be_cut() {
    let mut encoder = RowsEncoder::new(&["n"]);
    encoder.cut().unwrap();
    assert_eq!(encoder.take_ready(), None);
    encoder.push(&[ValueRef::Integer(1)]).unwrap();
    assert_eq!(encoder.take_ready(), None);
    encoder.cut().unwrap();
    let first = encoder.take_ready().unwrap();
    assert!(batches(&first)[0].1.more);
    let last = batches(&encoder.finish().unwrap());
    assert_eq!((last[0].1.rows.len(), last[0].1.more), (0, false));
}

/// A text with a NUL cannot go as text: a cell goes as the blob of the same bytes, a parameter is refused, and
/// then nothing is left behind in the buffer.
#[test]
fn nul_in_text_is_not_lost() {
    let mut encoder = RowsEncoder::new(&["t"]);
    encoder.push(&[ValueRef::Text("a\0b")]).unwrap();
    let batch = &batches(&encoder.finish().unwrap())[0].1;
    assert_eq!(batch.rows, [[Value::Blob(Bytes::from_static(b"a\0b"))]]);

    let mut wire = BytesMut::from(&b"before"[..]);
    let request = Request::ExecSql {
        db: 0,
        sql: "SELECT ?".into(),
        params: vec!["a\0b".into()],
    };
    assert!(request.encode(&mut wire).unwrap_err().is_encoding());
    assert_eq!(&wire[..], b"before");
}

/// A blob of a received message is a slice of it: large values are not copied.
#[test]
fn blobs_share_the_message() {
    let mut wire = BytesMut::new();
    let blob = Bytes::from(vec![7; 1 << 20]);
    Request::Exec {
        db: 0,
        stmt: 0,
        params: vec![Value::Blob(blob)],
    }
    .encode(&mut wire)
    .unwrap();
    let (header, body) = only_message(wire);
    let range = body.as_ptr_range();
    let Request::Exec { params, .. } = decode_request(header, body.clone()).unwrap() else {
        panic!()
    };
    let [Value::Blob(found)] = &params[..] else {
        panic!()
    };
    assert!(range.contains(&found.as_ptr()));
}

/// A hundred million claimed columns, nodes or parameters must fail before memory is reserved for them.
#[test]
fn claims_reserve_nothing() {
    for (kind, claim) in [
        (3u8, u64::MAX),
        (7, 1 << 40),
        (9, 1 << 60),
        (193, u64::MAX / 2),
    ] {
        let body = Bytes::from([claim.to_le_bytes(), [0; 8]].concat());
        let header = Header {
            words: 2,
            kind,
            schema: 0,
        };
        assert!(decode_response(header, body).is_err(), "type {kind}");
    }
}

/// A body that is not as long as its header says is refused by every decoder, and is fatal.
#[test]
fn a_body_must_fit_its_header() {
    let header = Header {
        words: 2,
        kind: 3,
        schema: 0,
    };
    let body = Bytes::from_static(&[0; 24]);
    let errors = [
        decode_request(header, body.clone()).unwrap_err(),
        decode_response(header, body.clone()).unwrap_err(),
        decode_nodes_v0(header, body).unwrap_err(),
    ];
    assert!(
        errors.iter().all(ferrolite_wire::WireError::is_fatal),
        "{errors:?}"
    );
}
