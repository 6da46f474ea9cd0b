//! Scenarios: one idea a file in `tests/scenarios`, told as commands with what the nodes do.
//!
//! Nothing happens here but what a script says, so a scenario shows one thing at a time. `UPDATE_GOLDENFILES=1` writes
//! the answers anew. The commands:
//!
//! | command | what it does |
//! |---|---|
//! | `voters 1 2 3` | the founding configuration |
//! | `start 1 [terms=1.1.2] [term=2] [applied=N] [damaged=N] [cache=BYTES] [lease] [weight=N]` | starts a node; `terms` makes its log, whose first entry is the configuration; a node that ran before starts from its disk |
//! | `fresh 4` | starts a node that knows nothing |
//! | `wait MS` | time passes |
//! | `timeout 1` | time passes until the node wants a tick, and it gets that |
//! | `deliver [from=] [to=] [only=WORD]` | the messages that wait arrive, and are shown |
//! | `drop [from=] [to=] [only=WORD]` | they are lost |
//! | `settle` | messages arrive until there are none |
//! | `cut 1 2`, `heal` | messages between the two are lost from now on |
//! | `hold 1`, `persist 1` | the node's writes are not completed; are all completed |
//! | `propose 1 a b` `read 1 TOKEN` `transfer 1 [2]` `change 1 add=4 [spare=5] [set=4.voter] [remove=2]` | requests |
//! | `crash 1`, `purge 1 N`, `fail 1` | the process ends; a prefix of the log goes; storage fails |
//! | `status`, `logs`, `peers 1` | shows nodes, logs, what a leader knows |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use ferrolite_consensus::{
    Action, Body, Change, Configuration, Entry, EntryKind, Event, HardState, Index, Lease, Member,
    Message, NodeId, Options, Position, Raft, Recovered, Role, SnapshotMeta,
};
use goldenscript::{Command, Context, Runner};

type Answer = Result<String, Box<dyn Error>>;

#[test]
fn scenarios() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "the scenarios are gone");
    for path in paths {
        if let Err(error) = goldenscript::run(&mut Scene::default(), &path) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// A node and its disk.
#[derive(Default)]
struct Machine {
    raft: Option<Raft>,
    hard: HardState,
    boundary: Position,
    base: Option<(Index, Configuration)>,
    entries: Vec<Entry>,
    applied: Index,
    /// Completions that wait for `persist`.
    held: Vec<Event>,
    holds: bool,
    options: Option<Options>,
}

impl Machine {
    fn recovered(&self, damaged_from: Option<Index>) -> Recovered {
        let mut recovered = Recovered::empty();
        recovered.hard_state = self.hard;
        recovered.boundary = self.boundary;
        recovered.last_index = self.boundary.index;
        recovered.configuration = self.base.clone();
        recovered.applied = self.applied;
        recovered.damaged_from = damaged_from;
        for entry in &self.entries {
            recovered.push(entry).unwrap();
        }
        recovered
    }

    fn write(&mut self, entries: Vec<Entry>) {
        let first = entries[0].index;
        self.entries.retain(|entry| entry.index < first);
        self.entries.extend(entries);
    }
}

#[derive(Default)]
struct Scene {
    voters: Vec<NodeId>,
    machines: BTreeMap<NodeId, Machine>,
    messages: Vec<Message>,
    cut: BTreeSet<(NodeId, NodeId)>,
    now: u64,
    out: String,
}

fn number(text: &str) -> Result<u64, Box<dyn Error>> {
    text.parse()
        .map_err(|_| format!("{text} is no number").into())
}

impl Runner for Scene {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let mut keys = BTreeMap::new();
        let mut words = Vec::new();
        let mut args = command.consume_args();
        while let Some((key, value)) = args.next_key() {
            keys.insert(key.to_owned(), value.to_owned());
        }
        while let Some(word) = args.next_pos() {
            words.push(word.to_owned());
        }
        if command.name == "voters" {
            self.voters = words
                .iter()
                .map(|word| number(word))
                .collect::<Result<_, _>>()?;
            return Ok(String::new());
        }
        self.command(&command.name, &words, &keys)?;
        Ok(std::mem::take(&mut self.out))
    }
}

impl Scene {
    fn command(
        &mut self,
        name: &str,
        words: &[String],
        keys: &BTreeMap<String, String>,
    ) -> Result<(), Box<dyn Error>> {
        let id = || {
            words
                .first()
                .ok_or("which node?")
                .map_err(Box::<dyn Error>::from)
                .and_then(|word| number(word))
        };
        match name {
            "start" => self.start(id()?, words, keys)?,
            "fresh" => {
                // In the place of a node that ran before it is that node without its disk: another incarnation.
                let mut options = Options::new(id()?, 100 + id()?);
                options.incarnation += if self.machines.contains_key(&id()?) {
                    900
                } else {
                    0
                };
                let machine = Machine {
                    options: Some(options),
                    ..Machine::default()
                };
                self.machines.insert(id()?, machine);
                self.boot(id()?, None)?;
            }
            "wait" => self.now += id()?,
            "timeout" => {
                let at = self.raft(id()?)?.deadline();
                self.now = self.now.max(at);
                self.step(id()?, Event::Tick)?;
            }
            "deliver" => {
                let (chosen, rest) = self.select(keys);
                self.messages = rest;
                for message in chosen {
                    writeln!(
                        self.out,
                        "{} -> {}: {}",
                        message.from,
                        message.to,
                        show(&message)
                    )?;
                    self.arrive(message)?;
                }
            }
            "drop" => self.messages = self.select(keys).1,
            "settle" => {
                for _ in 0..200 {
                    for message in std::mem::take(&mut self.messages) {
                        self.arrive(message)?;
                    }
                }
                if !self.messages.is_empty() {
                    return Err("this never settles".into());
                }
            }
            "cut" => {
                let (a, b) = (id()?, number(&words[1])?);
                self.cut.extend([(a, b), (b, a)]);
            }
            "heal" => self.cut.clear(),
            "hold" => self.machines.get_mut(&id()?).ok_or("no such node")?.holds = true,
            "persist" => {
                let machine = self.machines.get_mut(&id()?).ok_or("no such node")?;
                machine.holds = false;
                for event in std::mem::take(&mut machine.held) {
                    self.step(id()?, event)?;
                }
            }
            "propose" => {
                let payloads: Vec<Bytes> = words[1..]
                    .iter()
                    .map(|word| Bytes::from(word.clone()))
                    .collect();
                let now = self.now;
                let result = self.raft(id()?)?.propose(now, payloads);
                self.answer(
                    result.map(|p| format!("{}..={} in term {}", p.first, p.last, p.term)),
                )?;
                self.drain(id()?)?;
            }
            "read" => self.step(
                id()?,
                Event::Read {
                    token: number(&words[1])?,
                },
            )?,
            "transfer" => {
                let target = words.get(1).map(|word| number(word)).transpose()?;
                let now = self.now;
                let result = self.raft(id()?)?.transfer(now, target);
                self.answer(result.map(|target| format!("to {target}")))?;
                self.drain(id()?)?;
            }
            "change" => self.change(id()?, keys)?,
            "crash" => {
                let machine = self.machines.get_mut(&id()?).ok_or("no such node")?;
                machine.raft = None;
                machine.held.clear();
            }
            "fail" => self.step(id()?, Event::StorageFailed)?,
            "purge" => {
                let upto = number(&words[1])?;
                let meta = self
                    .raft(id()?)?
                    .snapshot_meta(0, upto)
                    .ok_or("not applied")?;
                let machine = self.machines.get_mut(&id()?).ok_or("no such node")?;
                machine.entries.retain(|entry| entry.index > upto);
                machine.boundary = meta.position;
                machine.base = Some((meta.configuration_index, meta.configuration));
                self.step(id()?, Event::LogPurged { first: upto + 1 })?;
            }
            "status" => self.status()?,
            "logs" => self.logs()?,
            "peers" => {
                let peers: Vec<_> = self.raft(id()?)?.peers().collect();
                for peer in peers {
                    writeln!(
                        self.out,
                        "{}: {:?} matched {} next {}",
                        peer.id, peer.mode, peer.matched, peer.next
                    )?;
                }
            }
            _ => return Err(format!("unknown command {name}").into()),
        }
        Ok(())
    }

    fn answer(
        &mut self,
        result: Result<String, ferrolite_consensus::Error>,
    ) -> Result<(), Box<dyn Error>> {
        match result {
            Ok(text) => writeln!(self.out, "{text}")?,
            Err(error) => writeln!(self.out, "refused: {error}")?,
        }
        Ok(())
    }

    fn raft(&mut self, id: NodeId) -> Result<&mut Raft, Box<dyn Error>> {
        let machine = self.machines.get_mut(&id).ok_or("no such node")?;
        machine
            .raft
            .as_mut()
            .ok_or_else(|| "the node is down".into())
    }

    fn start(
        &mut self,
        id: NodeId,
        words: &[String],
        keys: &BTreeMap<String, String>,
    ) -> Result<(), Box<dyn Error>> {
        let get = |key: &str| keys.get(key).map(|value| number(value)).transpose();
        let machine = self.machines.entry(id).or_default();
        let mut options = machine
            .options
            .clone()
            .unwrap_or(Options::new(id, 100 + id));
        options.tail_cache_bytes = get("cache")?.unwrap_or(options.tail_cache_bytes);
        options.max_message_bytes = get("message")?.unwrap_or(options.max_message_bytes);
        options.max_uncommitted_bytes =
            get("uncommitted")?.unwrap_or(options.max_uncommitted_bytes);
        options.promotion_lag_entries = get("lag")?.unwrap_or(options.promotion_lag_entries);
        options.weight = u32::try_from(get("weight")?.unwrap_or(0))?;
        if words.iter().any(|word| word == "lease") {
            options.lease = Some(Lease {
                drift_ppm: 1000,
                jump_ms: 10,
            });
        }
        machine.options = Some(options);
        if machine.entries.is_empty() && machine.boundary == Position::ZERO {
            let members = self.voters.iter().map(|&voter| {
                Member::new(voter, Role::Voter, format!("n{voter}")).with_incarnation(100 + voter)
            });
            let payload = Configuration::new(members.collect())?.encode();
            let terms = keys.get("terms").map_or("1", String::as_str);
            for (term, index) in terms.split('.').zip(1..) {
                let kind = if index == 1 {
                    EntryKind::Config
                } else {
                    EntryKind::Normal
                };
                let payload = if index == 1 {
                    payload.clone()
                } else {
                    Bytes::new()
                };
                machine.entries.push(Entry {
                    index,
                    term: number(term)?,
                    kind,
                    payload,
                });
            }
            let term = get("term")?.unwrap_or(machine.entries.last().map_or(1, |entry| entry.term));
            machine.hard = HardState {
                term,
                cluster: 7,
                ..HardState::default()
            };
            machine.applied = get("applied")?.unwrap_or(0);
        }
        self.boot(id, get("damaged")?)
    }

    fn boot(&mut self, id: NodeId, damaged: Option<Index>) -> Result<(), Box<dyn Error>> {
        let now = self.now;
        let machine = self.machines.get_mut(&id).ok_or("no such node")?;
        let options = machine
            .options
            .clone()
            .unwrap_or(Options::new(id, 100 + id));
        machine.raft = Some(Raft::new(now, options, machine.recovered(damaged), id)?);
        self.drain(id)
    }

    fn select(&mut self, keys: &BTreeMap<String, String>) -> (Vec<Message>, Vec<Message>) {
        let is = |key: &str, id: NodeId| keys.get(key).is_none_or(|value| *value == id.to_string());
        std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|message| {
                let word = keys
                    .get("only")
                    .is_none_or(|word| show(message).contains(word.as_str()));
                is("from", message.from) && is("to", message.to) && word
            })
    }

    fn arrive(&mut self, message: Message) -> Result<(), Box<dyn Error>> {
        let to = message.to;
        if self
            .machines
            .get(&to)
            .is_some_and(|machine| machine.raft.is_some())
        {
            self.step(to, Event::Message(message))?;
        }
        Ok(())
    }

    fn step(&mut self, id: NodeId, event: Event) -> Result<(), Box<dyn Error>> {
        let now = self.now;
        self.raft(id)?.step(now, event);
        self.drain(id)
    }

    fn change(
        &mut self,
        id: NodeId,
        keys: &BTreeMap<String, String>,
    ) -> Result<(), Box<dyn Error>> {
        let mut changes = Vec::new();
        for (key, value) in keys {
            for item in value.split('+') {
                let (who, role) = item.split_once('.').unwrap_or((item, "standby"));
                let who = number(who)?;
                let role = match (key.as_str(), role) {
                    ("spare", _) | (_, "spare") => Role::Spare,
                    (_, "voter") => Role::Voter,
                    _ => Role::Standby,
                };
                changes.push(match key.as_str() {
                    "set" => Change::SetRole { id: who, role },
                    "remove" => Change::Remove { id: who },
                    _ => Change::Add(Member::new(who, role, format!("n{who}"))),
                });
            }
        }
        let now = self.now;
        let result = self.raft(id)?.change_membership(now, &changes);
        self.answer(result.map(|position| format!("at {}@{}", position.index, position.term)))?;
        self.drain(id)
    }

    fn drain(&mut self, id: NodeId) -> Result<(), Box<dyn Error>> {
        loop {
            let now = self.now;
            let actions = self.raft(id)?.take_actions();
            if actions.is_empty() {
                return Ok(());
            }
            let mut events = Vec::new();
            for action in actions {
                self.act(id, action, &mut events)?;
            }
            for event in events {
                self.raft(id)?.step(now, event);
            }
        }
    }

    fn act(
        &mut self,
        id: NodeId,
        action: Action,
        events: &mut Vec<Event>,
    ) -> Result<(), Box<dyn Error>> {
        let machine = self.machines.get_mut(&id).ok_or("no such node")?;
        let mut written = |event: Event, machine: &mut Machine| {
            if machine.holds {
                machine.held.push(event)
            } else {
                events.push(event)
            }
        };
        match action {
            Action::Send(message) => {
                if !self.cut.contains(&(message.from, message.to)) {
                    self.messages.push(message);
                }
            }
            Action::Append { seq, entries } => {
                let end = entries
                    .last()
                    .map(Entry::position)
                    .ok_or("an empty append")?;
                machine.write(entries);
                written(
                    Event::Persisted {
                        seq,
                        index: end.index,
                        term: end.term,
                    },
                    machine,
                );
            }
            Action::SaveHardState { seq, state } => {
                machine.hard = state;
                written(Event::HardStateSaved { seq }, machine);
            }
            Action::Apply {
                first,
                last,
                entries,
            } => {
                machine.applied = last;
                let from = if entries.is_empty() {
                    &machine.entries
                } else {
                    &entries
                };
                let texts: Vec<String> = from
                    .iter()
                    .filter(|entry| {
                        entry.kind == EntryKind::Normal && (first..=last).contains(&entry.index)
                    })
                    .map(|entry| String::from_utf8_lossy(&entry.payload).into_owned())
                    .filter(|text| !text.is_empty())
                    .collect();
                writeln!(
                    self.out,
                    "{id} applies {first}..={last} {}",
                    texts.join(" ")
                )?;
                events.push(Event::Applied { index: last });
            }
            Action::Commit { index } => writeln!(self.out, "{id} commits {index}")?,
            Action::ReadLog {
                token,
                lo,
                hi,
                max_bytes,
                ..
            } => {
                writeln!(self.out, "{id} reads its log from {lo}")?;
                let mut bytes = 0;
                let wanted = machine
                    .entries
                    .iter()
                    .filter(|entry| (lo..=hi).contains(&entry.index));
                let entries = wanted
                    .take_while(|entry| {
                        let fits = bytes == 0 || bytes + (entry.payload.len() as u64) < max_bytes;
                        bytes += entry.payload.len() as u64 + 1;
                        fits
                    })
                    .cloned()
                    .collect();
                events.push(Event::LogRead { token, entries });
            }
            Action::ReadSnapshot {
                token,
                peer,
                id: stream,
                offset,
                ..
            } => {
                writeln!(self.out, "{id} reads a snapshot for {peer} at {offset}")?;
                let index = machine.applied;
                let meta = machine
                    .raft
                    .as_ref()
                    .and_then(|raft| raft.snapshot_meta(stream.unwrap_or(index), index));
                events.push(match meta {
                    // A stream of two chunks.
                    Some(meta) => {
                        let data = Bytes::from(index.to_le_bytes()[..4].to_vec());
                        Event::SnapshotRead {
                            token,
                            meta,
                            offset,
                            data,
                            done: offset > 0,
                        }
                    }
                    None => Event::SnapshotUnavailable { token },
                });
            }
            Action::WriteSnapshot {
                meta,
                offset,
                data,
                done,
                ..
            } => {
                writeln!(
                    self.out,
                    "{id} writes the snapshot of {} at {offset}",
                    meta.position.index
                )?;
                let event = Event::SnapshotWritten {
                    id: meta.id,
                    next: offset + data.len() as u64,
                };
                if done {
                    install(machine, meta);
                    writeln!(self.out, "{id} installs it")?;
                }
                events.push(event);
            }
            Action::StateChanged {
                state,
                term,
                leader,
            } => {
                let leader = leader.map_or("none".to_owned(), |leader| leader.to_string());
                writeln!(
                    self.out,
                    "{id} is {state:?} in term {term}, leader {leader}"
                )?;
            }
            Action::ConfigurationChanged {
                index,
                configuration,
            } => {
                writeln!(
                    self.out,
                    "{id} uses configuration {index}: {}",
                    members(&configuration)
                )?;
            }
            Action::CloseSnapshot { .. } => {}
            other => writeln!(self.out, "{id} {other:?}")?,
        }
        Ok(())
    }

    fn status(&mut self) -> Result<(), Box<dyn Error>> {
        for (id, machine) in &self.machines {
            let Some(raft) = &machine.raft else {
                writeln!(self.out, "{id}: down")?;
                continue;
            };
            let leader = raft
                .leader()
                .map_or("none".to_owned(), |leader| leader.to_string());
            writeln!(
                self.out,
                "{id}: {:?} term {} leader {leader} last {} commit {} applied {}{}{}",
                raft.state(),
                raft.term(),
                raft.last_index(),
                raft.commit(),
                raft.applied(),
                if raft.is_serving() { " serving" } else { "" },
                if raft.is_damaged() { " damaged" } else { "" },
            )?;
        }
        Ok(())
    }

    fn logs(&mut self) -> Result<(), Box<dyn Error>> {
        for (id, machine) in &self.machines {
            let Some(raft) = &machine.raft else { continue };
            let terms: Vec<String> = (raft.first_index()..=raft.last_index())
                .map(|index| {
                    raft.term_at(index)
                        .map_or("?".to_owned(), |term| term.to_string())
                })
                .collect();
            writeln!(
                self.out,
                "{id}: from {} {}",
                raft.first_index(),
                terms.join(" ")
            )?;
        }
        Ok(())
    }
}

fn install(machine: &mut Machine, meta: SnapshotMeta) {
    machine.entries.clear();
    machine.boundary = meta.position;
    machine.applied = meta.position.index;
    machine.base = Some((meta.configuration_index, meta.configuration));
}

fn members(configuration: &Configuration) -> String {
    let list = |members: &[Member]| {
        let each = members.iter().map(|member| match member.role {
            Role::Voter => member.id.to_string(),
            Role::Standby => format!("({})", member.id),
            Role::Spare => format!("[{}]", member.id),
        });
        each.collect::<Vec<_>>().join(" ")
    };
    match configuration.is_joint() {
        true => format!(
            "{}, leaving {}",
            list(configuration.members()),
            list(configuration.outgoing())
        ),
        false => list(configuration.members()),
    }
}

fn show(message: &Message) -> String {
    let term = message.term;
    let at = |position: &Position| format!("{}@{}", position.index, position.term);
    match &message.body {
        Body::VoteRequest {
            last,
            pre,
            transfer,
        } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            format!(
                "{kind} in term {term}? log ends at {}{}",
                at(last),
                if *transfer { ", by transfer" } else { "" }
            )
        }
        Body::VoteResponse { pre, granted } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            format!(
                "{kind} in term {term}: {}",
                if *granted { "yes" } else { "no" }
            )
        }
        Body::Append {
            prev,
            commit,
            entries,
            ..
        } => {
            let entries: Vec<String> = entries.iter().map(|entry| at(&entry.position())).collect();
            format!(
                "append in term {term} after {}: [{}] commit {commit}",
                at(prev),
                entries.join(" ")
            )
        }
        Body::AppendResponse { outcome, .. } => {
            format!("append answer in term {term}: {outcome:?}")
        }
        Body::Heartbeat { round, commit } => {
            format!("heartbeat {round} in term {term} commit {commit}")
        }
        Body::HeartbeatResponse { round, matched, .. } => {
            format!("heartbeat answer {round} in term {term} matched {matched}")
        }
        Body::Snapshot {
            meta, offset, done, ..
        } => {
            format!(
                "snapshot of {} at {offset}{}",
                at(&meta.position),
                if *done { ", the end" } else { "" }
            )
        }
        Body::SnapshotResponse {
            next, installed, ..
        } => format!("snapshot answer: next {next}, installed {installed}"),
        Body::TimeoutNow => format!("timeout now in term {term}"),
    }
}
