//! The bytes of messages, configurations and hard states: what is written can be read, and nothing else can do harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bytes::Bytes;
use ferrolite_consensus::message::codec::{decode, encode, encode_in_two};
use ferrolite_consensus::{
    AppendOutcome, Body, Configuration, Entry, EntryKind, HardState, Member, Message, Position,
    Role, SnapshotMeta,
};
use proptest::prelude::*;

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(index, term)| Position::new(index, term))
}

fn payload() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let member = (1_u64..20, 0..3, any::<u64>(), "[a-z0-9:.é]{0,12}").prop_map(
        |(id, role, incarnation, address)| {
            let role = [Role::Voter, Role::Standby, Role::Spare][role as usize];
            Member::new(id, role, address).with_incarnation(incarnation)
        },
    );
    let members = proptest::collection::vec(member, 1..8).prop_map(|mut members| {
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        members[0].role = Role::Voter;
        members
    });
    (members.clone(), members).prop_map(|(first, second)| {
        Configuration::new(first)
            .expect("valid")
            .towards(second)
            .expect("valid")
    })
}

fn entries(after: u64) -> impl Strategy<Value = Vec<Entry>> {
    let entry = (any::<u64>(), 0_u8..3, payload());
    proptest::collection::vec(entry, 0..6).prop_map(move |list| {
        let numbered = list.into_iter().zip(after + 1..);
        numbered
            .map(|((term, kind, payload), index)| Entry {
                index,
                term,
                kind: EntryKind::from_byte(kind).unwrap(),
                payload,
            })
            .collect()
    })
}

fn body() -> impl Strategy<Value = Body> {
    let outcome = prop_oneof![
        any::<u64>().prop_map(|matched| AppendOutcome::Accepted { matched }),
        position().prop_map(|hint| AppendOutcome::Rejected { hint }),
        Just(AppendOutcome::StaleTerm),
    ];
    let append = (any::<u64>(), 0_u64..1 << 60, any::<u64>(), any::<u64>()).prop_flat_map(
        |(seq, index, term, commit)| {
            entries(index).prop_map(move |entries| Body::Append {
                seq,
                prev: Position::new(index, term),
                commit,
                entries,
            })
        },
    );
    let meta = (any::<u64>(), position(), any::<u64>(), configuration()).prop_map(
        |(id, position, configuration_index, configuration)| SnapshotMeta {
            id,
            position,
            configuration_index,
            configuration,
        },
    );
    prop_oneof![
        (position(), any::<bool>(), any::<bool>()).prop_map(|(last, pre, transfer)| {
            Body::VoteRequest {
                last,
                pre,
                transfer,
            }
        }),
        (any::<bool>(), any::<bool>())
            .prop_map(|(pre, granted)| Body::VoteResponse { pre, granted }),
        append,
        (any::<u64>(), outcome).prop_map(|(seq, outcome)| Body::AppendResponse { seq, outcome }),
        (any::<u64>(), any::<u64>()).prop_map(|(round, commit)| Body::Heartbeat { round, commit }),
        (
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u32>()
        )
            .prop_map(|(round, seq, received, matched, applied, weight)| {
                Body::HeartbeatResponse {
                    round,
                    seq,
                    received,
                    matched,
                    applied,
                    weight,
                }
            }),
        (meta, any::<u64>(), payload(), any::<bool>()).prop_map(|(meta, offset, data, done)| {
            Body::Snapshot {
                meta,
                offset,
                data,
                done,
            }
        }),
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(id, next, installed)| {
            Body::SnapshotResponse {
                id,
                next,
                installed,
            }
        }),
        Just(Body::TimeoutNow),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (
        any::<u128>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        body(),
    )
        .prop_map(|(cluster, from, incarnation, to, term, body)| Message {
            cluster,
            from,
            incarnation,
            to,
            term,
            body,
        })
}

proptest! {
    /// Protects: peers of one version understand each other.
    #[test]
    fn a_message_survives_its_bytes(message in message()) {
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }

    /// Protects: the pieces that are sent one after the other are the message, and what is large is not copied.
    #[test]
    fn two_pieces_are_the_message(message in message()) {
        let (head, data) = encode_in_two(&message);
        let joined = Bytes::from([head, data.clone()].concat());
        prop_assert_eq!(encode(&message), joined);
        match &message.body {
            Body::Snapshot { data: chunk, .. } if !chunk.is_empty() => {
                prop_assert_eq!(chunk.as_ptr(), data.as_ptr());
            }
            _ => prop_assert!(data.is_empty()),
        }
    }

    /// Protects: a message that was cut short, or has bytes behind it, is refused and not half believed.
    #[test]
    fn only_the_whole_message_is_read(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&message);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert!(decode(&longer).is_err());
    }

    /// Protects: no bytes make the reader panic, and what it accepts is written back as it was read.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = decode(&bytes) {
            let again = encode(&message);
            prop_assert_eq!(again.as_ref(), bytes.as_slice());
        }
    }

    /// Protects: a flipped bit in a real message is read as another message or refused, and never panics.
    #[test]
    fn a_flipped_bit_does_no_harm(message in message(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&message).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = decode(&bytes) {
            prop_assert_ne!(other, message);
        }
    }

    /// Protects: configurations in the log and in snapshots stay readable.
    #[test]
    fn a_configuration_survives_its_bytes(configuration in configuration()) {
        prop_assert_eq!(Configuration::decode(&configuration.encode()), Ok(configuration));
    }

    /// Protects: the hard state stays readable, and a damaged one is refused.
    #[test]
    fn a_hard_state_survives_its_bytes(
        term in any::<u64>(),
        vote in any::<Option<u64>>(),
        commit in any::<u64>(),
        cluster in any::<u128>(),
        claim in proptest::option::of(position()),
    ) {
        let state = HardState { term, vote, commit, cluster, claim };
        let bytes = state.encode();
        prop_assert_eq!(HardState::decode(&bytes), Ok(state));
        prop_assert!(HardState::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}

/// Protects: the layout that other versions and other machines rely on, byte for byte.
#[test]
fn the_layout_is_the_documented_one() {
    let entry = Entry {
        index: 8,
        term: 3,
        kind: EntryKind::Normal,
        payload: Bytes::from_static(b"ab"),
    };
    let body = Body::Append {
        seq: 5,
        prev: Position::new(7, 2),
        commit: 6,
        entries: vec![entry],
    };
    let message = Message {
        cluster: 0x0102,
        from: 1,
        incarnation: 9,
        to: 2,
        term: 3,
        body,
    };
    let mut expected = vec![1, 3];
    expected.extend_from_slice(&0x0102_u128.to_le_bytes());
    for value in [1_u64, 9, 2, 3, 5, 7, 2, 6] {
        expected.extend_from_slice(&value.to_le_bytes());
    }
    expected.extend_from_slice(&[1, 0, 0, 0]);
    expected.extend_from_slice(&3_u64.to_le_bytes());
    expected.extend_from_slice(&[1, 2, 0, 0, 0, b'a', b'b']);
    assert_eq!(encode(&message).as_ref(), expected.as_slice());
}

/// Protects: a count that promises more than the message holds costs no memory.
#[test]
fn a_lying_count_is_refused_at_once() {
    let body = Body::Append {
        seq: 1,
        prev: Position::ZERO,
        commit: 0,
        entries: Vec::new(),
    };
    let message = Message {
        cluster: 1,
        from: 1,
        incarnation: 1,
        to: 2,
        term: 1,
        body,
    };
    let mut bytes = encode(&message).to_vec();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(decode(&bytes).is_err());
}
