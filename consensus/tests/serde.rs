//! The optional `Serialize` and `Deserialize`: `cargo test -p ferrolite-consensus --features serde`.

#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use ferrolite_consensus::{Configuration, HardState, Member, Position, Role};

/// Protects: what is serialised comes back.
#[test]
fn values_survive_serde() {
    let members = (1..=3).map(|id| Member::new(id, Role::Voter, format!("n{id}")));
    let mut fewer: Vec<Member> = members.clone().collect();
    let configuration = Configuration::new(members.collect()).unwrap();
    fewer.remove(2);
    let joint = configuration.towards(fewer).unwrap();
    assert!(joint.is_joint());
    let text = serde_json::to_string(&joint).unwrap();
    assert_eq!(serde_json::from_str::<Configuration>(&text).unwrap(), joint);
    let state = HardState {
        term: 3,
        vote: Some(2),
        claim: Some(Position::new(7, 2)),
        ..HardState::default()
    };
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<HardState>(&text).unwrap(), state);
}

/// Protects: the invariants of a configuration, which every quorum relies on, hold whichever way it comes in.
#[test]
fn a_configuration_that_breaks_its_invariants_is_refused() {
    let member = |id: u64, role: &str| {
        format!(r#"{{"id":{id},"role":"{role}","address":"a","incarnation":1}}"#)
    };
    let of = |members: &[String], outgoing: &[String]| {
        let list = |members: &[String]| members.join(",");
        format!(
            r#"{{"members":[{}],"outgoing":[{}]}}"#,
            list(members),
            list(outgoing)
        )
    };
    let voter = member(1, "Voter");
    let read = |text: String| serde_json::from_str::<Configuration>(&text);
    assert!(read(of(&[voter.clone()], &[])).is_ok());
    for bad in [
        of(&[], &[]),
        of(&[member(1, "Standby")], &[]),
        of(&[voter.clone(), voter.clone()], &[]),
        of(&[member(0, "Voter")], &[]),
        of(&[voter], &[member(2, "Standby")]),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}
