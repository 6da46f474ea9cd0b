//! What a node costs that has nothing to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bytes::Bytes;
use ferrolite_consensus::{
    Action, Body, Configuration, Entry, Event, Member, Message, Options, Raft, Recovered, Role,
    bootstrap,
};

/// Three nodes whose disks and network are done at once; node 1 leads. Returns the nodes and the last message to the
/// leader.
fn cluster() -> (Vec<Raft>, Message) {
    let members = (1..=3).map(|id| Member::new(id, Role::Voter, "").with_incarnation(id));
    let (hard, first) = bootstrap(1, &Configuration::new(members.collect()).unwrap());
    let recovered = Recovered::from_entries(hard, &[first], 0).unwrap();
    let mut nodes: Vec<Raft> = (1..=3)
        .map(|id| Raft::new(0, Options::new(id, id), recovered.clone(), id).unwrap())
        .collect();
    let mut answer = None;
    for round in 0..4 {
        match round {
            0 => nodes[0].step(10_000, Event::Tick),
            1 => drop(
                nodes[0]
                    .propose(10_000, [Bytes::from_static(b"x")])
                    .unwrap(),
            ),
            _ => {
                let at = nodes[0].deadline();
                nodes[0].step(at, Event::Tick);
            }
        }
        let mut messages = settle(&mut nodes);
        while let Some(message) = messages.pop() {
            if matches!(message.body, Body::HeartbeatResponse { .. }) {
                answer = Some(message.clone());
            }
            let to = usize::try_from(message.to).unwrap() - 1;
            nodes[to].step(10_100, Event::Message(message));
            messages.extend(settle(&mut nodes));
        }
    }
    for node in &nodes {
        assert_eq!(
            (node.last_index(), node.applied()),
            (3, 3),
            "node {}",
            node.id()
        );
    }
    (nodes, answer.unwrap())
}

/// Does what the nodes ask for but sending, and returns what they would send.
fn settle(nodes: &mut [Raft]) -> Vec<Message> {
    let mut messages = Vec::new();
    for node in nodes {
        let mut actions = node.take_actions();
        while !actions.is_empty() {
            for action in actions {
                match action {
                    Action::Send(message) => messages.push(message),
                    Action::SaveHardState { seq, .. } => {
                        node.step(10_000, Event::HardStateSaved { seq })
                    }
                    Action::Append { seq, entries } => {
                        let end = entries.last().map(Entry::position).unwrap();
                        let (index, term) = (end.index, end.term);
                        node.step(10_000, Event::Persisted { seq, index, term });
                    }
                    Action::Apply { last, .. } => node.step(10_000, Event::Applied { index: last }),
                    _ => {}
                }
            }
            actions = node.take_actions();
        }
    }
    messages
}

/// Protects: a step with nothing to do allocates nothing, whether a tick comes too early, a completion or an answer
/// comes again, or a driver merely looks.
#[test]
fn a_step_with_nothing_to_do_allocates_nothing() {
    let (mut nodes, answer) = cluster();
    let doubled = [
        Event::Tick,
        Event::Message(answer),
        Event::Persisted {
            seq: 1,
            index: 2,
            term: 2,
        },
        Event::HardStateSaved { seq: 1 },
        Event::Applied { index: 3 },
        Event::SnapshotWritten { token: 1 },
        Event::SnapshotRefused { token: 1 },
        Event::SnapshotUnavailable { token: 9 },
    ];
    for event in doubled {
        let name = format!("{event:?}");
        let counted = allocation_counter::measure(|| {
            nodes[0].step(10_250, event);
            assert!(nodes[0].take_actions().is_empty());
        });
        assert_eq!(counted.count_total, 0, "{name}");
    }
    let looked = allocation_counter::measure(|| {
        for node in &mut nodes {
            node.step(10_250, Event::Tick);
            assert!(node.take_actions().is_empty());
            let seen = (node.deadline(), node.metrics(), node.purge_limit());
            assert!(seen.0 > 10_250 && node.peers().count() <= 2);
        }
    });
    assert_eq!(looked.count_total, 0);
}

/// Protects: the processor of a node whose disk has failed. It wants no tick any more; one that wanted it at once, and did nothing
/// with it, would have its owner give it one after the other.
#[test]
fn a_halted_node_wants_no_time() {
    let (mut nodes, _) = cluster();
    for node in &mut nodes {
        assert!(node.deadline() < u64::MAX);
        node.step(20_000, Event::StorageFailed);
        assert_eq!(node.deadline(), u64::MAX);
    }
}
