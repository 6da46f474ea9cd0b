//! The bytes in `tests/golden/consensus`, which every machine has to read, and to write again just as they are.
//!
//! Nodes on machines of different kinds are one cluster, so no byte between them may depend on the order of a machine's
//! bytes or on how wide its words are. `UPDATE_GOLDENFILES=1` writes the files anew, for when a format has changed on purpose.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use ferrolite_consensus::message::codec::{decode, encode};
use ferrolite_consensus::{
    AppendOutcome, Body, Configuration, Entry, EntryKind, HardState, Member, Message, Position,
    Role, SnapshotMeta,
};

/// The file's bytes, which are those written now.
fn golden(name: &str, written: &[u8]) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/consensus");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), written).unwrap();
    }
    let bytes = std::fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes, written, "{name}");
    bytes.into()
}

/// A configuration on its way to another.
fn joint() -> Configuration {
    let members = vec![
        Member::new(1, Role::Voter, "10.0.0.1:9001"),
        Member::new(2, Role::Standby, "10.0.0.2:9001").with_incarnation(0x0102_0304_0506_0708),
        Member::new(0xfedc_ba98_7654_3210, Role::Spare, "caf\u{e9}:1"),
    ];
    let plain = Configuration::new(members).unwrap();
    plain
        .towards(vec![Member::new(2, Role::Voter, "b:1")])
        .unwrap()
}

/// A message of each kind, with numbers whose bytes are all different.
fn bodies() -> Vec<(&'static str, Body)> {
    let position = Position::new(0x0a0b_0c0d_0e0f, 0x0203);
    let entry = |nth, kind, payload: Bytes| Entry {
        index: position.index + nth,
        term: 0x0204,
        kind,
        payload,
    };
    let entries = vec![
        entry(1, EntryKind::Noop, Bytes::new()),
        entry(2, EntryKind::Normal, Bytes::from_static(b"pages")),
        entry(3, EntryKind::Config, joint().encode()),
    ];
    vec![
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
                seq: 0x1112_1314_1516_1718,
                prev: position,
                commit: 0x2122_2324,
                entries,
            },
        ),
        (
            "accepted",
            Body::AppendResponse {
                seq: 4,
                outcome: AppendOutcome::Accepted {
                    matched: 0x3132_3334_3536,
                },
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
                round: 0x4142_4344_4546_4748,
                commit: 9,
            },
        ),
        (
            "heartbeat-response",
            Body::HeartbeatResponse {
                round: 1,
                seq: 4,
                received: 0x5152_5354,
                matched: 0x6162_6364,
                applied: 0x7172_7374,
                weight: 0x8182_8384,
            },
        ),
        (
            "snapshot",
            Body::Snapshot {
                meta: SnapshotMeta {
                    id: 77,
                    position,
                    configuration_index: 5,
                    configuration: joint(),
                },
                offset: 0x0001_0000_0000,
                data: Bytes::from_static(b"chunk"),
                done: true,
            },
        ),
        (
            "snapshot-response",
            Body::SnapshotResponse {
                id: 77,
                next: 0x9192_9394_9596,
                installed: true,
            },
        ),
        ("timeout-now", Body::TimeoutNow),
    ]
}

/// Protects: messages between nodes of different kinds.
#[test]
fn messages() {
    for (name, body) in bodies() {
        let message = Message {
            cluster: 0xfeed_0000_0000_0001,
            from: 1,
            incarnation: 0xa1a2_a3a4_a5a6_a7a8,
            to: 2,
            term: 0x0204,
            body,
        };
        let bytes = golden(name, &encode(&message));
        assert_eq!(decode(&bytes).unwrap(), message, "{name}");
    }
}

/// Protects: terms, votes and configurations on a disk that moves to another machine.
#[test]
fn what_is_kept() {
    let configuration = golden("configuration", &joint().encode());
    assert_eq!(Configuration::decode(&configuration).unwrap(), joint());
    let state = HardState {
        term: 0x0102_0304_0506,
        vote: Some(0x0a0b_0c0d),
        commit: 0x1112_1314,
        cluster: 0xfeed_0000_0000_0001,
        claim: Some(Position::new(0x2122, 0x31)),
    };
    let bytes = golden("hard-state", &state.encode());
    assert_eq!(HardState::decode(&bytes).unwrap(), state);
}
