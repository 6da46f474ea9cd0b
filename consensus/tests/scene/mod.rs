//! A few nodes, the messages between them, and the commands that a scenario gives.

mod machine;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use ferrolite_consensus::{
    Change, Configuration, Entry, EntryKind, Event, HardState, Index, Lease, Member, Message,
    NodeId, Options, Position, Raft, Role, force_configuration,
};
use goldenscript::{Command, Context, Runner};

use machine::Machine;
use show::show;

type Answer = Result<String, Box<dyn Error>>;

#[derive(Default)]
pub struct Scene {
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
            "next" => {
                let running = |(id, machine): (&NodeId, &Machine)| {
                    machine.raft.as_ref().map(|raft| (raft.deadline(), *id))
                };
                let first = self.machines.iter().filter_map(running).min();
                let (at, id) = first.ok_or("no node runs")?;
                self.now = self.now.max(at);
                writeln!(self.out, "{id} ticks")?;
                self.step(id, Event::Tick)?;
            }
            "force" => {
                let machine = self.machines.get_mut(&id()?).ok_or("no such node")?;
                if machine.raft.is_some() {
                    return Err("the node runs".into());
                }
                let survivor = Member::new(id()?, Role::Voter, format!("n{}", id()?))
                    .with_incarnation(100 + id()?);
                let cluster = u128::from(number(&words[1])?);
                match force_configuration(&machine.recovered(None), cluster, survivor) {
                    Ok((hard, entry)) => {
                        writeln!(self.out, "forced at {}@{}", entry.index, entry.term)?;
                        machine.hard = hard;
                        machine.entries.push(entry);
                    }
                    Err(error) => writeln!(self.out, "refused: {error}")?,
                }
            }
            "limit" => {
                let limit = self.raft(id()?)?.purge_limit();
                writeln!(self.out, "up to {limit}")?;
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
            "refuse" => {
                let machine = self.machines.get_mut(&id()?).ok_or("no such node")?;
                machine.holds = false;
                for event in std::mem::take(&mut machine.held) {
                    let event = match event {
                        Event::SnapshotWritten { token } => Event::SnapshotRefused { token },
                        other => other,
                    };
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
            "tell" => {
                let peer = number(&words[1])?;
                self.raft(id()?)?.tell_commit(peer);
                self.drain(id()?)?;
            }
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
        options.trailing_entries = get("trailing")?.unwrap_or(options.trailing_entries);
        options.snapshot_chunk_bytes = get("chunk_bytes")?.unwrap_or(options.snapshot_chunk_bytes);
        options.snapshot_window_bytes =
            get("chunks_bytes")?.unwrap_or(options.snapshot_window_bytes);
        if let Some(window) = get("chunks_window")? {
            options.snapshot_window_chunks = usize::try_from(window)?;
        }
        machine.chunks = get("chunks")?.unwrap_or(2);
        if let Some(window) = get("window")? {
            options.max_inflight_messages = usize::try_from(window)?;
        }
        options.weight = u32::try_from(get("weight")?.unwrap_or(0))?;
        if words.iter().any(|word| word == "lease") {
            options.lease = Some(Lease {
                drift_ppm: get("drift")?.unwrap_or(1000),
                jump_ms: get("jump")?.unwrap_or(10),
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
        // What leaves goes first.
        let (leaving, rest): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| *key == "remove");
        for (key, value) in leaving.into_iter().chain(rest) {
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
