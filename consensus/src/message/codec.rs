//! The bytes of a [`Message`]: little-endian, led by a version.
//!
//! ```text
//! header   u8 version = 1, u8 kind, u128 cluster, u64 from, u64 incarnation, u64 to, u64 term
//! position u64 index, u64 term
//!
//! kind  body
//!  1    vote request        position last, u8 flags (1 pre, 2 transfer)
//!  2    vote response       u8 flags (1 pre, 2 granted)
//!  3    append              u64 seq, position prev, u64 commit, u32 count, count × entry
//!                           entry: u64 term, u8 kind (0 no-op, 1 normal, 2 configuration), u32 length, payload
//!  4    append response     u64 seq, u8 outcome (0 accepted, 1 rejected, 2 stale term), position
//!  5    heartbeat           u64 round, u64 commit
//!  6    heartbeat response  u64 round, u64 seq, u64 received, u64 matched, u64 applied, u32 weight
//!  7    snapshot            u64 id, position, u64 configuration index, u32 length, configuration,
//!                           u64 offset, u8 done, u32 length, data
//!  8    snapshot response   u64 id, u64 next, u8 installed
//!  9    timeout now         —
//! ```
//!
//! Entries carry no index: they follow `prev`. An accepted response carries its index in the position, with term 0; a
//! stale one carries zeros. The reader takes the header, then the body of the kind, and refuses an unknown version or
//! kind, an impossible flag, a length beyond the input, and anything left over.

use alloc::vec::Vec;
use bytes::{BufMut, Bytes};

use super::{AppendOutcome, Body, Message, SnapshotMeta};
use crate::codec::{DecodeError, Reader};
use crate::configuration::Configuration;
use crate::entry::{Entry, EntryKind, Position};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

const HEADER_BYTES: usize = 50;
/// The least that an entry takes.
const LEAST_ENTRY_BYTES: usize = 13;

const VOTE_REQUEST: u8 = 1;
const VOTE_RESPONSE: u8 = 2;
const APPEND: u8 = 3;
const APPEND_RESPONSE: u8 = 4;
const HEARTBEAT: u8 = 5;
const HEARTBEAT_RESPONSE: u8 = 6;
const SNAPSHOT: u8 = 7;
const SNAPSHOT_RESPONSE: u8 = 8;
const TIMEOUT_NOW: u8 = 9;

/// The message as bytes.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    let (mut out, data) = encode_apart(message);
    out.put_slice(&data);
    Bytes::from(out)
}

/// The message as bytes in two pieces, the second after the first: what makes a chunk of a snapshot large is not copied.
/// Behind any other message nothing comes.
#[must_use]
pub fn encode_in_two(message: &Message) -> (Bytes, Bytes) {
    let (out, data) = encode_apart(message);
    (Bytes::from(out), data)
}

fn encode_apart(message: &Message) -> (Vec<u8>, Bytes) {
    let mut out = Vec::with_capacity(encoded_len_estimate(&message.body));
    out.put_u8(VERSION);
    out.put_u8(kind(&message.body));
    out.put_u128_le(message.cluster);
    out.put_u64_le(message.from);
    out.put_u64_le(message.incarnation);
    out.put_u64_le(message.to);
    out.put_u64_le(message.term);
    let data = encode_body(&mut out, &message.body);
    (out, data)
}

/// Reads a message from borrowed bytes; payloads are copied.
///
/// # Errors
/// [`DecodeError`] if the bytes are no message. No input makes this panic or allocate more than a small multiple of
/// the input's length.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    decode_shared(Bytes::copy_from_slice(bytes))
}

/// Reads a message from shared bytes; payloads are slices of them.
///
/// # Errors
/// As [`decode`].
pub fn decode_shared(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    let kind = reader.u8()?;
    let cluster = reader.u128()?;
    let (from, incarnation, to, term) =
        (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
    let body = decode_body(kind, &mut reader)?;
    reader.finish()?;
    Ok(Message {
        cluster,
        from,
        incarnation,
        to,
        term,
        body,
    })
}

const fn kind(body: &Body) -> u8 {
    match body {
        Body::VoteRequest { .. } => VOTE_REQUEST,
        Body::VoteResponse { .. } => VOTE_RESPONSE,
        Body::Append { .. } => APPEND,
        Body::AppendResponse { .. } => APPEND_RESPONSE,
        Body::Heartbeat { .. } => HEARTBEAT,
        Body::HeartbeatResponse { .. } => HEARTBEAT_RESPONSE,
        Body::Snapshot { .. } => SNAPSHOT,
        Body::SnapshotResponse { .. } => SNAPSHOT_RESPONSE,
        Body::TimeoutNow => TIMEOUT_NOW,
    }
}

fn encoded_len_estimate(body: &Body) -> usize {
    let variable = match body {
        Body::Append { entries, .. } => entries
            .iter()
            .map(|entry| LEAST_ENTRY_BYTES.saturating_add(entry.payload.len()))
            .sum(),
        // Without its data.
        Body::Snapshot { .. } => 256,
        _ => 0,
    };
    variable.saturating_add(HEADER_BYTES + 64)
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.put_u64_le(position.index);
    out.put_u64_le(position.term);
}

/// Puts bytes led by their length.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = put_length(out, bytes);
    out.put_slice(bytes.get(..length).unwrap_or(bytes));
}

/// Puts the length of bytes that follow, and says how many are to follow. Lengths are bounded far below 4 GiB by
/// `Options::validate`; a payload beyond that is cut, so that the length and the bytes still agree.
fn put_length(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.put_u32_le(length);
    length as usize
}

fn flags(first: bool, second: bool) -> u8 {
    u8::from(first) | (u8::from(second) << 1)
}

/// Puts all of the body but the bytes that it ends with, if it ends with data; these are returned.
fn encode_body(out: &mut Vec<u8>, body: &Body) -> Bytes {
    match body {
        Body::VoteRequest {
            last,
            pre,
            transfer,
        } => {
            put_position(out, *last);
            out.put_u8(flags(*pre, *transfer));
        }
        Body::VoteResponse { pre, granted } => out.put_u8(flags(*pre, *granted)),
        Body::Append {
            seq,
            prev,
            commit,
            entries,
        } => {
            out.put_u64_le(*seq);
            put_position(out, *prev);
            out.put_u64_le(*commit);
            out.put_u32_le(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            for entry in entries {
                out.put_u64_le(entry.term);
                out.put_u8(entry.kind.to_byte());
                put_bytes(out, &entry.payload);
            }
        }
        Body::AppendResponse { seq, outcome } => {
            out.put_u64_le(*seq);
            let (byte, position) = match outcome {
                AppendOutcome::Accepted { matched } => (0, Position::new(*matched, 0)),
                AppendOutcome::Rejected { hint } => (1, *hint),
                AppendOutcome::StaleTerm => (2, Position::ZERO),
            };
            out.put_u8(byte);
            put_position(out, position);
        }
        Body::Heartbeat { round, commit } => {
            out.put_u64_le(*round);
            out.put_u64_le(*commit);
        }
        Body::HeartbeatResponse {
            round,
            seq,
            received,
            matched,
            applied,
            weight,
        } => {
            for value in [round, seq, received, matched, applied] {
                out.put_u64_le(*value);
            }
            out.put_u32_le(*weight);
        }
        Body::Snapshot {
            meta,
            offset,
            data,
            done,
        } => {
            out.put_u64_le(meta.id);
            put_position(out, meta.position);
            out.put_u64_le(meta.configuration_index);
            put_bytes(out, &meta.configuration.encode());
            out.put_u64_le(*offset);
            out.put_u8(u8::from(*done));
            let length = put_length(out, data);
            return data.slice(..length.min(data.len()));
        }
        Body::SnapshotResponse {
            id,
            next,
            installed,
        } => {
            out.put_u64_le(*id);
            out.put_u64_le(*next);
            out.put_u8(u8::from(*installed));
        }
        Body::TimeoutNow => {}
    }
    Bytes::new()
}

fn position(reader: &mut Reader) -> Result<Position, DecodeError> {
    let index = reader.u64()?;
    Ok(Position::new(index, reader.u64()?))
}

fn two_flags(reader: &mut Reader) -> Result<(bool, bool), DecodeError> {
    match reader.u8()? {
        byte @ 0..=3 => Ok((byte & 1 != 0, byte & 2 != 0)),
        _ => Err(DecodeError::Invalid("flags")),
    }
}

fn decode_body(kind: u8, reader: &mut Reader) -> Result<Body, DecodeError> {
    Ok(match kind {
        VOTE_REQUEST => {
            let last = position(reader)?;
            let (pre, transfer) = two_flags(reader)?;
            Body::VoteRequest {
                last,
                pre,
                transfer,
            }
        }
        VOTE_RESPONSE => {
            let (pre, granted) = two_flags(reader)?;
            Body::VoteResponse { pre, granted }
        }
        APPEND => decode_append(reader)?,
        APPEND_RESPONSE => {
            let seq = reader.u64()?;
            let outcome = match (reader.u8()?, position(reader)?) {
                (
                    0,
                    Position {
                        index: matched,
                        term: 0,
                    },
                ) => AppendOutcome::Accepted { matched },
                (1, hint) => AppendOutcome::Rejected { hint },
                (2, Position::ZERO) => AppendOutcome::StaleTerm,
                _ => return Err(DecodeError::Invalid("outcome")),
            };
            Body::AppendResponse { seq, outcome }
        }
        HEARTBEAT => Body::Heartbeat {
            round: reader.u64()?,
            commit: reader.u64()?,
        },
        HEARTBEAT_RESPONSE => Body::HeartbeatResponse {
            round: reader.u64()?,
            seq: reader.u64()?,
            received: reader.u64()?,
            matched: reader.u64()?,
            applied: reader.u64()?,
            weight: reader.u32()?,
        },
        SNAPSHOT => {
            let id = reader.u64()?;
            let position = position(reader)?;
            let configuration_index = reader.u64()?;
            let configuration = Configuration::decode(&reader.bytes()?)?;
            let meta = SnapshotMeta {
                id,
                position,
                configuration_index,
                configuration,
            };
            let (offset, done) = (reader.u64()?, reader.flag()?);
            Body::Snapshot {
                meta,
                offset,
                data: reader.bytes()?,
                done,
            }
        }
        SNAPSHOT_RESPONSE => Body::SnapshotResponse {
            id: reader.u64()?,
            next: reader.u64()?,
            installed: reader.flag()?,
        },
        TIMEOUT_NOW => Body::TimeoutNow,
        _ => return Err(DecodeError::Invalid("kind")),
    })
}

fn decode_append(reader: &mut Reader) -> Result<Body, DecodeError> {
    let seq = reader.u64()?;
    let prev = position(reader)?;
    let commit = reader.u64()?;
    let count = reader.count(LEAST_ENTRY_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    let mut index = prev.index;
    for _ in 0..count {
        index = index.checked_add(1).ok_or(DecodeError::Invalid("index"))?;
        let term = reader.u64()?;
        let kind = EntryKind::from_byte(reader.u8()?).ok_or(DecodeError::Invalid("entry kind"))?;
        let payload = reader.bytes()?;
        entries.push(Entry {
            index,
            term,
            kind,
            payload,
        });
    }
    Ok(Body::Append {
        seq,
        prev,
        commit,
        entries,
    })
}
