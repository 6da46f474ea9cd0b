//! Writes the seeds in `corpus/`: small inputs with which each target reaches the parts that random bytes do not.
//!
//! `cargo run --example seeds` replaces the seeds that it knows, for when a format has changed, and leaves others alone,
//! such as inputs that once failed.

use std::error::Error;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use ferrolite_consensus::message::codec::encode;
use ferrolite_consensus::{
    AppendOutcome, Body, Configuration, Entry, EntryKind, HardState, Member, Message, Position,
    Role, SnapshotMeta,
};
use ferrolite_wal::frames::{Base, ENCODING_WHOLE, PartWriter, Previous, TransactionId};
use ferrolite_wal::view::FramePlace;
use ferrolite_wire::{Header, RowsEncoder, ValueRef};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    wire()?;
    consensus()?;
    frames()?;
    tapes()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> Outcome {
    let dir = root().join("corpus").join(target);
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(name), bytes)?)
}

/// One message of each type out of the golden scripts, and a few of them as streams.
fn wire() -> Outcome {
    let mut stream = Vec::new();
    for script in fs::read_dir(root().join("../node/wire/testdata"))? {
        for line in fs::read_to_string(script?.path())?.lines() {
            let Some((direction @ ("request" | "response"), words)) = line.split_once(' ') else {
                continue;
            };
            let digits = words.replace(' ', "");
            let bytes = digits
                .as_bytes()
                .chunks(2)
                .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
                .collect::<Result<Vec<u8>, Box<dyn Error>>>()?;
            let Some(word) = bytes.first_chunk() else {
                continue;
            };
            let header = Header::decode(*word);
            let name = format!("{:03}-{}", header.kind, header.schema);
            if bytes.len() <= 256 {
                seed(&format!("wire_{direction}"), &name, &bytes)?;
            }
            if stream.len() < 300 {
                stream.extend_from_slice(&bytes);
            }
        }
    }
    let mut rows = RowsEncoder::new(&["i", "f", "t", "b", "n"]);
    for nth in 0..3 {
        rows.push(&[
            ValueRef::Integer(-nth),
            ValueRef::Float(f64::NAN),
            ValueRef::Text("caf\u{e9}"),
            ValueRef::Blob(&[1, 2, 3]),
            ValueRef::Null,
        ])?;
        rows.cut()?;
    }
    let rows = rows.finish()?;
    seed("wire_response", "rows", &rows)?;
    // The limit on bodies, how the stream is cut, and the stream.
    seed(
        "wire_stream",
        "whole",
        &[&[0, 4, 255], &stream[..]].concat(),
    )?;
    seed("wire_stream", "bytes", &[&[0, 4, 0], &stream[..]].concat())?;
    seed("wire_stream", "rows", &[&[255, 255, 7], &rows[..]].concat())?;
    seed(
        "wire_stream",
        "too-large",
        &[&[16, 0, 2], &stream[..]].concat(),
    )
}

/// A message of each kind, a configuration, and a hard state.
fn consensus() -> Outcome {
    let members = vec![
        Member::new(1, Role::Voter, "10.0.0.1:9001"),
        Member::new(2, Role::Standby, "10.0.0.2:9001").with_incarnation(3),
        Member::new(3, Role::Spare, ""),
    ];
    let plain = Configuration::new(members)?;
    let joint = plain.towards(vec![Member::new(2, Role::Voter, "b:1")])?;
    let position = Position::new(9, 2);
    let entry = |index, kind, payload: Bytes| Entry {
        index,
        term: 3,
        kind,
        payload,
    };
    let bodies = [
        (
            "vote-request",
            Body::VoteRequest {
                last: position,
                pre: true,
                transfer: false,
            },
        ),
        (
            "vote-response",
            Body::VoteResponse {
                pre: false,
                granted: true,
            },
        ),
        (
            "append",
            Body::Append {
                seq: 4,
                prev: position,
                commit: 8,
                entries: vec![
                    entry(10, EntryKind::Noop, Bytes::new()),
                    entry(11, EntryKind::Normal, Bytes::from_static(b"pages")),
                    entry(12, EntryKind::Config, joint.encode()),
                ],
            },
        ),
        (
            "accepted",
            Body::AppendResponse {
                seq: 4,
                outcome: AppendOutcome::Accepted { matched: 12 },
            },
        ),
        (
            "rejected",
            Body::AppendResponse {
                seq: 4,
                outcome: AppendOutcome::Rejected { hint: position },
            },
        ),
        (
            "heartbeat",
            Body::Heartbeat {
                round: 1,
                commit: 9,
            },
        ),
        (
            "heartbeat-response",
            Body::HeartbeatResponse {
                round: 1,
                seq: 4,
                received: 12,
                matched: 11,
                applied: 9,
                weight: 5,
            },
        ),
        (
            "snapshot",
            Body::Snapshot {
                meta: SnapshotMeta {
                    id: 77,
                    position,
                    configuration_index: 5,
                    configuration: plain.clone(),
                },
                offset: 4096,
                data: Bytes::from_static(b"chunk"),
                done: true,
            },
        ),
        (
            "snapshot-response",
            Body::SnapshotResponse {
                id: 77,
                next: 4101,
                installed: true,
            },
        ),
        ("timeout-now", Body::TimeoutNow),
    ];
    for (name, body) in bodies {
        let message = Message {
            cluster: 0xfeed,
            from: 1,
            incarnation: 1,
            to: 2,
            term: 3,
            body,
        };
        seed("consensus_message", name, &encode(&message))?;
    }
    seed("consensus_message", "configuration", &joint.encode())?;
    let state = HardState {
        term: 3,
        vote: Some(2),
        commit: 9,
        cluster: 0xfeed,
        claim: Some(position),
    };
    seed("consensus_message", "hard-state", &state.encode())
}

/// Parts: whole pages and squeezed ones, the last of a transaction and one that gives it up.
fn frames() -> Outcome {
    let writer = || PartWriter::new("app", 512, TransactionId(3, 8));
    let noise: Vec<u8> = (0..512_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect();
    let mut mixed = writer()?;
    mixed.push(1, &noise)?;
    mixed.push(7, &[0; 512])?;
    seed("wal_frames", "whole-and-squeezed", &mixed.finish(7))?;
    let mut squeezed = writer()?;
    squeezed.push(2, &[7; 512])?;
    seed("wal_frames", "squeezed", &squeezed.finish(2))?;
    seed("wal_frames", "empty", &writer()?.finish(1))?;
    seed("wal_frames", "abandoned", &writer()?.abandon())?;
    // A base in the entry before, of which some bytes have changed.
    let base = Base {
        place: FramePlace {
            index: 1,
            offset: 55,
            len: 512,
            encoding: ENCODING_WHOLE,
        },
        depth: 0,
        root: 1,
        image: &noise,
    };
    let mut changed = noise.clone();
    changed[40..60].fill(9);
    changed[300..302].fill(0);
    let mut difference = writer()?.leaning(2);
    difference.push_image(5, &changed, Previous::Image(base))?;
    difference.push(6, &[7; 512])?;
    seed("wal_frames", "difference", &difference.finish(9))?;
    seed("wal_frames", "leaning", &writer()?.leaning(9).finish(1))?;
    let pages = [3, 9, 4, b'n', b'a', b'm', b'e', 1, 0, 0, 0, 2, 0, 0, 0, 1];
    let pages = [&pages[..], &[1, 5, 1, 2, 3, 4, 5, 2, 0, 1, 3, 9, 9, 9]].concat();
    seed("wal_frames", "pages", &pages)?;
    // Twenty pages of 64 KiB that cannot be squeezed, and so two parts.
    let mut large = vec![7, 19, 1, b'n', 0, 0, 0, 0, 0, 0, 0, 0, 0];
    (0..20).for_each(|nth| large.extend([nth, 0]));
    seed("wal_frames", "two-parts", &large)
}

/// What targets do step by step; the meaning of the bytes stands in each target.
fn tapes() -> Outcome {
    // A flipped bit in a segment's header, and in a record.
    seed("wal_log", "flip-header", &[0, 2, 40, 0, 0, 0, 3])?;
    seed("wal_log", "flip-record", &[0, 3, 60, 16, 0, 0, 1])?;
    seed("wal_log", "flip-hint", &[0, 0, 30, 0, 0, 0, 1])?;
    // The tail overwritten, a file cut, one removed, one in place of another.
    let overwritten = [
        1, 0, 3, 3, 200, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
    ];
    seed("wal_log", "overwritten", &overwritten)?;
    seed("wal_log", "cut", &[1, 0, 4, 7, 0, 17, 0, 0])?;
    seed("wal_log", "removed", &[1, 0, 3, 13, 0, 0, 0, 0])?;
    seed(
        "wal_log",
        "swapped",
        &[1, 1, 2, 0x3c, 0, 0, 0, 0, 4, 4, 0, 16, 0, 0],
    )?;
    // Forged: a segment's number of the entry before, its position, a record's index and length.
    seed("wal_log", "forged-index", &[3, 0, 1, 0x00, 5, 1, 1])?;
    seed("wal_log", "forged-position", &[3, 0, 2, 0x40, 2, 0, 1])?;
    seed(
        "wal_log",
        "forged-record",
        &[3, 0, 0, 0x02, 2, 9, 0, 0, 0, 0, 0],
    )?;
    seed(
        "wal_log",
        "forged-length",
        &[3, 0, 0, 0x43, 0, 0, 0, 0, 0, 0, 0],
    )?;
    seed(
        "wal_slot",
        "flip",
        &[0, 9, 3, 10, 20, 30, 0, 0, 20, 16, 0, 0, 4],
    )?;
    seed("wal_slot", "block", &[0, 200, 2, 100, 0, 1, 1, 255])?;
    seed(
        "wal_slot",
        "damage",
        &[0, 5, 1, 6, 2, 1, 0, 5, 0, 0, 0, 0, 0, 4, 0, 32, 0, 0],
    )?;
    seed(
        "wal_slot",
        "file",
        &[&[2], &b"FUZZSLOT\x01\0\0\0"[..]].concat(),
    )?;
    seed("wal_slot", "value", b"\x03value")?;
    // Header; three frames with a commit; taken; bound; read; backfilled; started over.
    let life = [
        0, 0, 3, 3, 0, 1, 2, 1, 8, 10, 3, 0, 42, 13, 0, 0, 0, 8, 11, 3, 0, 13, 40, 0, 0, 4, 12, 0,
    ];
    seed("wal_view", "life", &life)?;
    // Spilled frames that are written over, and two transactions of which one is in the file.
    let spilled = [
        0, 0, 3, 5, 1, 1, 2, 3, 4, 5, 1, 2, 0, 6, 6, 8, 3, 4, 0, 1, 1, 2, 2, 9, 11, 2, 0, 10, 9, 0,
        7, 13, 0, 0, 0, 8, 0, 0, 12, 0,
    ];
    seed("wal_view", "spilled", &spilled)?;
    seed(
        "wal_view",
        "closed",
        &[0, 0, 3, 1, 0, 1, 15, 255, 8, 13, 0, 0, 9, 0, 0],
    )?;
    // Two databases; unchanged, then with each kind of change.
    let databases = [0, 2, 3, b'a', b'p', b'p', 3, 7, 1, b'b', 2, 9];
    let changed = |change: &[u8]| [&databases[..], change].concat();
    seed("pager_snapshot", "whole", &changed(&[0]))?;
    seed(
        "pager_snapshot",
        "in-chunks",
        &changed(&[0, 33, 2, 40, 70, 5]),
    )?;
    seed(
        "pager_snapshot",
        "flipped",
        &changed(&[1, 200, 0, 0, 0, 0, 3]),
    )?;
    seed("pager_snapshot", "cut", &changed(&[1, 0, 3, 0, 0, 1]))?;
    let forged_head = [1, 16, 0, 0, 0, 6, 4, 0, 4, 0, 0];
    seed("pager_snapshot", "forged-head", &changed(&forged_head))?;
    // Three pages, then no change, rot, a lost end, damaged sums, a forged block.
    let pages = [2, 1, 2, 3, 9, 0, 0, 0];
    let damaged = |change: &[u8]| [&pages[..], change].concat();
    seed("pager_sums", "whole", &damaged(&[0]))?;
    seed("pager_sums", "rot", &damaged(&[1, 0, 44, 2, 0, 0, 0, 3]))?;
    seed("pager_sums", "cut", &damaged(&[1, 0, 0, 3, 0, 0, 2, 7]))?;
    seed("pager_sums", "damaged", &damaged(&[1, 1, 0, 2, 0, 0, 0, 1]))?;
    let forged = [1, 1, 0, 2, 0, 0, 3, 4, 8, 0, 7, 7, 0, 0, 0, 0];
    seed("pager_sums", "forged", &damaged(&forged))?;
    let forged_database = [1, 0, 0, 0, 0, 7, 8, 2, 0, b'.', b'.', 0, 0, 0, 0];
    seed(
        "pager_snapshot",
        "forged-database",
        &changed(&forged_database),
    )
}
