//! How fast three nodes commit when disks and network cost nothing: what the core itself costs.
//!
//! `cargo bench -p ferrolite-consensus`. One thread does the work of all three nodes.

#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ferrolite_consensus::message::codec::{decode_shared, encode};
use ferrolite_consensus::{
    Action, Body, Configuration, Entry, EntryKind, Event, Member, Message, Options, Position, Raft,
    Recovered, Role, bootstrap,
};

/// Three nodes; every write is done at once, every message arrives at once.
struct Cluster {
    nodes: Vec<Raft>,
    messages: Vec<Message>,
    now: u64,
}

impl Cluster {
    fn new() -> Self {
        let members = (1..=3)
            .map(|id| Member::new(id, Role::Voter, "").with_incarnation(id))
            .collect();
        let (hard, first) = bootstrap(1, &Configuration::new(members).unwrap());
        let recovered = Recovered::from_entries(hard, &[first], 0).unwrap();
        let node = |id| Raft::new(0, Options::new(id, id), recovered.clone(), id).unwrap();
        let mut cluster = Self {
            nodes: (1..=3).map(node).collect(),
            messages: Vec::new(),
            now: 10_000,
        };
        cluster.nodes[0].step(10_000, Event::Tick);
        cluster.run();
        assert!(cluster.nodes[0].is_serving());
        cluster
    }

    /// Does everything until nothing is left to do.
    fn run(&mut self) {
        loop {
            for at in 0..self.nodes.len() {
                self.drain(at);
            }
            if self.messages.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.messages) {
                let to = usize::try_from(message.to).unwrap() - 1;
                self.nodes[to].step(self.now, Event::Message(message));
            }
        }
    }

    fn drain(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            let actions = node.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Send(message) => self.messages.push(message),
                    Action::Append { seq, entries } => {
                        let end = entries.last().map(Entry::position).unwrap();
                        node.step(
                            self.now,
                            Event::Persisted {
                                seq,
                                index: end.index,
                                term: end.term,
                            },
                        );
                    }
                    Action::SaveHardState { seq, .. } => {
                        node.step(self.now, Event::HardStateSaved { seq })
                    }
                    Action::Apply { last, .. } => {
                        node.step(self.now, Event::Applied { index: last });
                        if last % 4096 < 64 && last > 8192 {
                            node.step(self.now, Event::LogPurged { first: last - 4096 });
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn propose(&mut self, payloads: &[Bytes]) {
        let proposed = self.nodes[0]
            .propose(self.now, payloads.iter().cloned())
            .unwrap();
        self.run();
        assert!(self.nodes[0].commit() >= proposed.last);
    }
}

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("three nodes commit");
    for batch in [1_usize, 16, 256, 4096] {
        let payloads = vec![Bytes::from_static(b"sixteen bytes ok"); batch];
        let mut cluster = Cluster::new();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("entries proposed by {batch}"), |b| {
            b.iter(|| cluster.propose(&payloads))
        });
    }
    group.finish();
}

fn idle(c: &mut Criterion) {
    let mut cluster = Cluster::new();
    c.bench_function("a tick with nothing to do", |b| {
        b.iter(|| {
            cluster.nodes[0].step(cluster.now, Event::Tick);
            black_box(cluster.nodes[0].take_actions())
        });
    });
}

fn codec(c: &mut Criterion) {
    let payload = Bytes::from(vec![7; 100]);
    let entries = (1..=64).map(|index| Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        payload: payload.clone(),
    });
    let body = Body::Append {
        seq: 1,
        prev: Position::ZERO,
        commit: 0,
        entries: entries.collect(),
    };
    let message = Message {
        cluster: 1,
        from: 1,
        incarnation: 1,
        to: 2,
        term: 1,
        body,
    };
    let bytes = encode(&message);
    let mut group = c.benchmark_group("an append of 64 entries of 100 bytes");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encoded", |b| b.iter(|| encode(black_box(&message))));
    group.bench_function("decoded", |b| {
        b.iter_batched(|| bytes.clone(), decode_shared, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, commits, idle, codec);
criterion_main!(benches);
