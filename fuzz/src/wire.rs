//! The client protocol: whole messages, and streams cut anywhere.

use bytes::{Bytes, BytesMut};
use ferrolite_wire::{
    Header, Progress, Version, WORD_BYTES, WireError, decode_nodes_v0, decode_request,
    decode_response, take_message,
};

use crate::Target;
use crate::tape::Tape;

/// The targets of this layer.
pub const TARGETS: &[(&str, Target)] = &[
    ("wire_request", wire_request),
    ("wire_response", wire_response),
    ("wire_stream", wire_stream),
];

/// Reads the input as a message. Its length is put right, for a fuzzer seldom guesses it, and decoders that are handed
/// a body of another length must say so.
fn message(data: &[u8]) -> Option<(Header, Bytes)> {
    let (word, rest) = data.split_first_chunk::<{ Header::LEN_BYTES }>()?;
    let claimed = Header::decode(*word);
    assert_eq!(Header::decode(claimed.encode()), claimed);
    let words = rest.len() / WORD_BYTES;
    let body = Bytes::copy_from_slice(&rest[..words * WORD_BYTES]);
    let header = Header {
        words: u32::try_from(words).ok()?,
        ..claimed
    };
    if claimed.words != header.words {
        assert!(decode_request(claimed, body.clone()).is_err());
        assert!(decode_response(claimed, body.clone()).is_err());
        assert!(decode_nodes_v0(claimed, body.clone()).is_err());
    }
    Some((header, body))
}

/// The only message in `wire`.
fn only_message(mut wire: BytesMut) -> (Header, Bytes) {
    match take_message(&mut wire, u64::MAX) {
        Ok(Progress::Message(header, body)) => {
            assert!(wire.is_empty(), "bytes behind an encoded message");
            (header, body)
        }
        other => panic!("what was encoded is no message: {other:?}"),
    }
}

/// What was decoded can be encoded, and means the same when it is decoded again.
///
/// Messages are compared by their text and by their bytes: a NaN does not equal itself, but its bits must stay.
fn survives<M: std::fmt::Debug>(
    message: &M,
    encode: impl Fn(&M, &mut BytesMut) -> Result<(), WireError>,
    decode: impl Fn(Header, Bytes) -> Result<M, WireError>,
) {
    let encoded = |message: &M| {
        let mut wire = BytesMut::new();
        encode(message, &mut wire).unwrap_or_else(|e| panic!("{message:?} cannot be sent: {e}"));
        wire
    };
    let wire = encoded(message);
    let (header, body) = only_message(wire.clone());
    let again =
        decode(header, body).unwrap_or_else(|e| panic!("{message:?} is sent as no message: {e}"));
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
    assert_eq!(wire, encoded(&again), "{message:?} has two encodings");
}

/// A request: decoding never panics, and what decodes survives being sent on.
pub fn wire_request(data: &[u8]) {
    let Some((header, body)) = message(data) else {
        return;
    };
    match decode_request(header, body) {
        Ok(request) => {
            assert_eq!(request.kind(), header.kind);
            assert!(!request.name().is_empty());
            survives(&request, |r, wire| r.encode(wire), decode_request);
        }
        Err(error) => assert!(!error.is_encoding(), "{error}"),
    }
}

/// A response: as [`wire_request`]; the older list of nodes besides.
pub fn wire_response(data: &[u8]) {
    let Some((header, body)) = message(data) else {
        return;
    };
    match decode_response(header, body.clone()) {
        Ok(response) => {
            assert_eq!(response.kind(), header.kind);
            assert!(!response.name().is_empty());
            survives(&response, |r, wire| r.encode(wire), decode_response);
        }
        Err(error) => assert!(!error.is_encoding(), "{error}"),
    }
    // Each node takes two words at least, whatever the message claims.
    if let Ok(nodes) = decode_nodes_v0(header, body.clone()) {
        assert!(nodes.len() * 2 * WORD_BYTES <= body.len());
    }
}

/// A stream: however it is cut, the same messages come off it, and nothing is reserved that was not announced.
///
/// The first bytes say how large a body may be, and how the rest is cut.
pub fn wire_stream(data: &[u8]) {
    let mut tape = Tape::new(data);
    let limit_bytes = u64::from(tape.short());
    let cut = usize::from(tape.byte()) + 1;
    let stream = tape.rest();
    if let Some(word) = stream.first_chunk() {
        // Whatever the first word says, only the two versions are versions.
        if let Ok(version) = Version::decode(*word) {
            assert_eq!(version.encode(), *word);
        }
    }

    let whole = messages([stream], limit_bytes);
    let pieces = messages(stream.chunks(cut), limit_bytes);
    assert_eq!(
        whole, pieces,
        "cutting the stream every {cut} bytes changes it"
    );

    // Put together again, the messages are the front of the stream.
    let mut front = Vec::new();
    for (header, body) in &whole.0 {
        assert!(header.body_len_bytes() <= limit_bytes);
        assert_eq!(header.body_len_bytes(), body.len() as u64);
        front.extend_from_slice(&header.encode());
        front.extend_from_slice(body);
    }
    assert_eq!(
        front.len() + whole.1,
        stream.len(),
        "bytes are lost or made up"
    );
    // Two bytes of a header are not used, and are not kept.
    let mut at = 0;
    for (_, body) in &whole.0 {
        let len = Header::LEN_BYTES + body.len();
        assert_eq!(front[at..at + 6], stream[at..at + 6]);
        assert_eq!(front[at + 8..at + len], stream[at + 8..at + len]);
        at += len;
    }
}

/// The messages of a stream, how many bytes were left over, and why no more came.
type Received = (Vec<(Header, Bytes)>, usize, Option<WireError>);

fn messages<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limit_bytes: u64) -> Received {
    let (mut buffer, mut found, mut refused) = (BytesMut::new(), Vec::new(), None);
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while refused.is_none() {
            let before = buffer.len();
            match take_message(&mut buffer, limit_bytes) {
                Ok(Progress::Message(header, body)) => found.push((header, body)),
                Ok(Progress::Partial { reserve_bytes }) => {
                    assert_eq!(buffer.len(), before, "a partial message is left alone");
                    assert!(reserve_bytes > 0, "a reader that makes no room never ends");
                    assert!(reserve_bytes as u64 <= limit_bytes.max(Header::LEN_BYTES as u64));
                    break;
                }
                Err(error) => {
                    assert_eq!(buffer.len(), before, "a refused message is left alone");
                    assert!(error.is_fatal(), "{error}: the stream cannot go on");
                    refused = Some(error);
                }
            }
        }
    }
    (found, buffer.len(), refused)
}
