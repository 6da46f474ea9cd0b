//! One node in a storm of events that no correct peer and no correct driver would send.
//!
//! Numbers are drawn from where arithmetic goes wrong: zero, the edges of what the node itself knows, the greatest
//! there are. The node must not panic, must stay within its bounds, and must not go back in what it has promised. What
//! it decides is not looked at: peers that lie about terms, votes and entries can mislead any Raft.

use bytes::Bytes;
use ferrolite_consensus::message::codec::{decode, encode};
use ferrolite_consensus::{
    Action, AppendOutcome, Body, Change, Configuration, Entry, EntryKind, Event, HardState, Lease,
    Member, Message, Options, Position, Raft, Recovered, Role, SnapshotMeta, TermRun, bootstrap,
};

const CLUSTER: u128 = 7;
/// A term further ahead than this is not believed.
const LEAP: u64 = 1 << 32;

/// Choices, as bytes; zeros after the end.
struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number that is likely to hurt.
    fn number(&mut self, raft: &Raft) -> u64 {
        match self.below(14) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX - 1,
            3 => raft.last_index(),
            4 => raft.last_index().saturating_add(1),
            5 => raft.commit(),
            6 => raft.first_index().saturating_sub(1),
            7 | 8 => raft.term(),
            9 => raft.term().saturating_add(1),
            10 => raft.term().saturating_add(LEAP),
            11 => raft.durable(),
            _ => u64::from(self.byte()),
        }
    }

    fn position(&mut self, raft: &Raft) -> Position {
        if self.below(3) == 0 {
            // One that fits, so that the storm gets past the first check.
            let index = raft.last_index();
            return Position::new(index, raft.term_at(index).unwrap_or(0));
        }
        Position::new(self.number(raft), self.number(raft))
    }

    fn bytes(&mut self) -> Bytes {
        let length = usize::from(self.below(40));
        Bytes::from((0..length).map(|_| self.byte()).collect::<Vec<_>>())
    }

    fn configuration(&mut self) -> Configuration {
        let count = 1 + self.below(4);
        let members = (1..=count).map(|id| {
            let role = match self.below(4) {
                0 => Role::Standby,
                1 => Role::Spare,
                _ => Role::Voter,
            };
            Member::new(u64::from(id), role, "").with_incarnation(u64::from(self.below(3)))
        });
        Configuration::new(members.collect()).unwrap_or_else(|_| founders())
    }

    fn entries(&mut self, raft: &Raft, prev: Position) -> Vec<Entry> {
        let mut index = prev.index;
        let broken = self.below(6) == 0;
        (0..self.below(5))
            .map(|_| {
                index = index.wrapping_add(1);
                let kind = EntryKind::from_byte(self.below(3)).unwrap_or(EntryKind::Noop);
                let payload = match kind {
                    EntryKind::Config if self.flag() => self.configuration().encode(),
                    _ => self.bytes(),
                };
                Entry {
                    index: if broken { self.number(raft) } else { index },
                    term: if self.flag() {
                        raft.term()
                    } else {
                        self.number(raft)
                    },
                    kind,
                    payload,
                }
            })
            .collect()
    }

    fn meta(&mut self, raft: &Raft) -> SnapshotMeta {
        SnapshotMeta {
            id: u64::from(self.below(3)),
            position: self.position(raft),
            configuration_index: self.number(raft),
            configuration: self.configuration(),
        }
    }

    fn body(&mut self, raft: &Raft) -> Body {
        match self.below(10) {
            0 => Body::VoteRequest {
                last: self.position(raft),
                pre: self.flag(),
                transfer: self.flag(),
            },
            1 => Body::VoteResponse {
                pre: self.flag(),
                granted: self.flag(),
            },
            2 | 3 => {
                let prev = self.position(raft);
                Body::Append {
                    seq: self.number(raft),
                    prev,
                    commit: self.number(raft),
                    entries: self.entries(raft, prev),
                }
            }
            4 => Body::AppendResponse {
                seq: self.number(raft),
                outcome: match self.below(3) {
                    0 => AppendOutcome::StaleTerm,
                    1 => AppendOutcome::Rejected {
                        hint: self.position(raft),
                    },
                    _ => AppendOutcome::Accepted {
                        matched: self.number(raft),
                    },
                },
            },
            5 => Body::Heartbeat {
                round: self.number(raft),
                commit: self.number(raft),
            },
            6 => Body::HeartbeatResponse {
                round: self.number(raft),
                seq: self.number(raft),
                received: self.number(raft),
                matched: self.number(raft),
                applied: self.number(raft),
                weight: u32::from(self.byte()).wrapping_mul(0x0101_0101),
            },
            7 => Body::Snapshot {
                meta: self.meta(raft),
                offset: self.number(raft),
                data: self.bytes(),
                done: self.flag(),
            },
            8 => Body::SnapshotResponse {
                id: self.number(raft),
                next: self.number(raft),
                installed: self.flag(),
            },
            _ => Body::TimeoutNow,
        }
    }

    fn message(&mut self, raft: &Raft) -> Message {
        let body = self.body(raft);
        Message {
            cluster: if self.below(12) == 0 {
                u128::MAX
            } else {
                CLUSTER
            },
            from: u64::from(self.below(5)),
            incarnation: u64::from(self.below(3)),
            to: 1,
            term: match self.below(3) {
                0 => self.number(raft),
                1 => raft.term().saturating_add(1),
                _ => raft.term(),
            },
            body,
        }
    }

    fn event(&mut self, raft: &Raft) -> Event {
        match self.below(20) {
            0..=8 => Event::Message(self.message(raft)),
            9 => Event::Tick,
            10 => Event::Read {
                token: self.number(raft),
            },
            11 => Event::Persisted {
                seq: self.number(raft),
                index: self.number(raft),
                term: self.number(raft),
            },
            12 => Event::HardStateSaved {
                seq: self.number(raft),
            },
            13 => {
                let prev = self.position(raft);
                Event::LogRead {
                    token: u64::from(self.below(8)),
                    entries: self.entries(raft, prev),
                }
            }
            14 => Event::Applied {
                index: self.number(raft),
            },
            15 => Event::LogPurged {
                first: self.number(raft),
            },
            16 => Event::SnapshotRead {
                token: u64::from(self.below(8)),
                meta: self.meta(raft),
                offset: self.number(raft),
                data: self.bytes(),
                done: self.flag(),
            },
            17 => Event::SnapshotWritten {
                token: u64::from(self.below(8)),
            },
            18 => match self.flag() {
                true => Event::SnapshotRefused {
                    token: u64::from(self.below(8)),
                },
                false => Event::SnapshotUnavailable {
                    token: u64::from(self.below(8)),
                },
            },
            _ if self.below(30) == 0 => Event::StorageFailed,
            _ => Event::PeerUnreachable {
                peer: u64::from(self.below(5)),
            },
        }
    }
}

fn founders() -> Configuration {
    let members = (1..=3).map(|id| Member::new(id, Role::Voter, "").with_incarnation(1));
    Configuration::new(members.collect()).expect("three voters")
}

fn begin(choices: &mut Choices<'_>) -> Option<Raft> {
    let mut options = Options::new(1, 1);
    options.max_message_bytes = [1, 100, 1 << 20][usize::from(choices.below(3))];
    options.tail_cache_bytes = [0, 100, 1 << 20][usize::from(choices.below(3))];
    options.max_uncommitted_bytes = [0, 200, 1 << 20][usize::from(choices.below(3))];
    options.max_pending_reads = 3;
    options.snapshot_window_chunks = 2;
    options.eager_commit = choices.flag();
    options.weight = u32::from(choices.byte()) << 24;
    if choices.flag() {
        options.lease = Some(Lease {
            drift_ppm: [0, 1000, u64::MAX][usize::from(choices.below(3))],
            jump_ms: [0, 10, u64::MAX][usize::from(choices.below(3))],
        });
    }
    let recovered = match choices.below(4) {
        0 => Recovered::empty(),
        1 => {
            // Any numbers at all: refused, or the start of a node like any other.
            let mut number = || match choices.below(4) {
                0 => u64::MAX,
                1 => u64::from(choices.byte()) << 56,
                _ => u64::from(choices.below(4)),
            };
            Recovered {
                hard_state: HardState {
                    term: number(),
                    commit: number(),
                    cluster: CLUSTER,
                    claim: (number() > 2).then(|| Position::new(number(), number())),
                    ..HardState::default()
                },
                boundary: Position::new(number(), number()),
                last_index: number(),
                terms: vec![TermRun {
                    first: number(),
                    term: number(),
                }],
                configuration: Some((number(), founders())),
                configurations: Vec::new(),
                damaged_from: (number() > 2).then(&mut number),
                applied: number(),
            }
        }
        _ => {
            let voters = if choices.flag() { 1 } else { 3 };
            let members = (1..=voters).map(|id| Member::new(id, Role::Voter, ""));
            let configuration = Configuration::new(members.collect()).ok()?;
            let (hard, first) = bootstrap(CLUSTER, &configuration);
            Recovered::from_entries(hard, &[first], 0).ok()?
        }
    };
    Raft::new(0, options, recovered, u64::from(choices.byte())).ok()
}

/// Runs one storm. Panics if the node breaks a promise.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices { bytes, at: 0 };
    let Some(mut raft) = begin(&mut choices) else {
        return;
    };
    let mut now = 0_u64;
    while choices.at < bytes.len() {
        let (term, commit, applied) = (raft.term(), raft.commit(), raft.applied());
        match choices.below(16) {
            0 => now = now.saturating_add(u64::from(choices.byte()) * 8),
            1 => now = raft.deadline().min(1 << 60),
            2 => {
                let payloads: Vec<Bytes> = (0..choices.below(4)).map(|_| choices.bytes()).collect();
                let _ = raft.propose(now, payloads);
            }
            3 => {
                let target = u64::from(choices.below(5));
                let _ = raft.transfer(now, (target != 0).then_some(target));
            }
            4 => {
                let id = u64::from(choices.below(5));
                let role = [Role::Voter, Role::Standby, Role::Spare][usize::from(choices.below(3))];
                let change = match choices.below(3) {
                    0 => Change::Add(Member::new(id, role, "")),
                    1 => Change::Remove { id },
                    _ => Change::SetRole { id, role },
                };
                let _ = raft.change_membership(now, &[change]);
            }
            _ => {
                let event = choices.event(&raft);
                if let Event::Message(message) = &event {
                    check_codec(message);
                }
                raft.step(now, event);
            }
        }
        let term_allowed = term.saturating_add(LEAP).saturating_add(1);
        assert!((term..=term_allowed).contains(&raft.term()), "term");
        assert!(raft.commit() >= commit, "commit went back");
        assert!(raft.applied() >= applied, "applied went back");
        if choices.below(3) != 0 {
            drain(&mut raft, &mut choices, now);
        }
        let metrics = raft.metrics();
        assert!(metrics.messages_held <= 4096 && metrics.saves_outstanding <= 4);
        assert!(metrics.rounds_outstanding <= 1024 && metrics.reads_pending <= 3);
        assert!(
            metrics.snapshot_chunks_outstanding <= 2 + 1
                && metrics.snapshot_chunks_inflight <= 2 * 4
        );
        assert!(metrics.commit >= metrics.applied && metrics.durable <= metrics.last_index);
        for index in [0, metrics.first_index, metrics.last_index, u64::MAX] {
            let _ = (
                raft.term_at(index),
                raft.cached_entries(index, u64::MAX, u64::MAX),
            );
            let _ = raft.snapshot_meta(1, index);
        }
        let _ = (raft.purge_limit(), raft.deadline(), raft.leader_contact());
        assert_eq!(raft.peers().count() as u64, {
            metrics.peers_probing + metrics.peers_replicating + metrics.peers_in_snapshot
        });
    }
}

/// Does some of what the node wants.
fn drain(raft: &mut Raft, choices: &mut Choices<'_>, now: u64) {
    for action in raft.take_actions() {
        let does = choices.below(4) != 0;
        match action {
            Action::Append { seq, entries } => {
                let end = entries.last().map(Entry::position).expect("not empty");
                assert!(
                    entries
                        .windows(2)
                        .all(|two| two[0].index + 1 == two[1].index)
                );
                if does {
                    let (index, term) = (end.index, end.term);
                    raft.step(now, Event::Persisted { seq, index, term });
                }
            }
            Action::SaveHardState { seq, state } => {
                assert_eq!(HardState::decode(&state.encode()), Ok(state));
                if does {
                    raft.step(now, Event::HardStateSaved { seq });
                }
            }
            Action::Apply {
                first,
                last,
                entries,
            } => {
                assert!(first <= last && last <= raft.commit());
                let expected = first..=last;
                assert!(entries.is_empty() || entries.iter().map(|e| e.index).eq(expected));
                if does {
                    raft.step(now, Event::Applied { index: last });
                }
            }
            Action::WriteSnapshot { token, .. } if does => {
                raft.step(now, Event::SnapshotWritten { token });
            }
            Action::Send(message) => check_codec(&message),
            _ => {}
        }
    }
}

/// What can be said at all survives its bytes.
fn check_codec(message: &Message) {
    if let Body::Append { prev, entries, .. } = &message.body {
        // Entries carry no index on the wire.
        let consecutive = (1_u64..)
            .zip(entries)
            .all(|(nth, entry)| prev.index.checked_add(nth) == Some(entry.index));
        if !consecutive {
            return;
        }
    }
    assert_eq!(decode(&encode(message)).as_ref(), Ok(message));
}
