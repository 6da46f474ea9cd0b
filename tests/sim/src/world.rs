//! A cluster in its world: machines, the network between them, and everything that is counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ferrolite_node::Options;
use ferrolite_node::simulation::{Setup, SimClock, SimNode, database_file};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::machine::{Machine, Suspension, up_to};
use crate::network::{Frame, Letterbox, Weather};
use crate::plan::{Fault, Plan};
use crate::says::Speaker;
use crate::trace::{Trace, Whose};

/// The machine whose disk rots.
pub(crate) const ROTTEN: u64 = 1;
/// How a node says that its log is damaged: a record, something in one that it has already ("malformed page in the log: …"), or a
/// page that the engine asked for.
const DAMAGED: [&str; 3] = [
    ".log is damaged at offset",
    " in the log: ",
    "read of a page from the log",
];

/// Of a page of the database that clients use.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The database that clients use.
pub(crate) const DATABASE: &str = "app";

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Messages between nodes.
    pub messages: u64,
    /// Of those, lost.
    pub lost: u64,
    /// Mishaps, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Statements of clients.
    pub statements: u64,
    /// Of those, answered with success.
    pub successes: u64,
    /// Operations that checkers judged, or transactions that were replayed.
    pub checked: u64,
    /// Entries of the log at the end.
    pub entries: u64,
    /// Database files that were held against that of another node at the same entry.
    pub compared: u64,
    /// Elections that were won.
    pub elections: u64,
    /// Answers that the engine has found the database damaged. Whether it is shows at the end.
    pub corrupt: u64,
    /// Panics of the SQL engine, which the nodes have survived.
    pub engine_panics: u64,
    /// How many statements each client had.
    pub asked: BTreeMap<u64, u64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) trace: Trace,
    pub(crate) counts: RefCell<Counts>,
    pub(crate) weather: Weather,
    machines: RefCell<BTreeMap<u64, Machine>>,
    queue: UnboundedSender<Frame>,
    failure: RefCell<Option<String>>,
    /// Every statement is said.
    statements: bool,
    start: Instant,
    /// Nothing goes wrong any more from here on.
    healed: Cell<bool>,
    /// Who had the database file first as it is at an entry, and its checksum.
    files: RefCell<BTreeMap<u64, (u64, u32)>>,
}

impl World {
    pub(crate) fn new(plan: Plan, queue: UnboundedSender<Frame>, statements: bool) -> Self {
        Self {
            weather: Weather::new(&plan),
            plan,
            trace: Trace::default(),
            counts: RefCell::default(),
            machines: RefCell::default(),
            queue,
            failure: RefCell::default(),
            statements,
            start: Instant::now(),
            healed: Cell::new(false),
            files: RefCell::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A statement was answered.
    pub(crate) fn answered(&self, client: u64, what: impl FnOnce() -> String) {
        if self.statements {
            self.say(Whose::Client(client), what());
        }
    }

    /// Counts a statement of a client. Says whether it is to be sent.
    pub(crate) fn is_sent(&self, client: u64) -> bool {
        let mut counts = self.counts.borrow_mut();
        counts.statements += 1;
        let asked = counts.asked.entry(client).or_default();
        *asked += 1;
        // The plan leaves out none of those that read what is judged.
        !self.plan.left_out.contains(&(client, *asked)) || self.is_healed()
    }

    pub(crate) fn say(&self, whose: Whose, what: impl Into<String>) {
        self.trace.say(self.now(), whose, what);
    }

    /// Something is wrong with the database. Only the first thing counts.
    pub(crate) fn fail(&self, what: impl Into<String>) {
        let what = what.into();
        if self.failure.borrow().is_none() {
            self.say(Whose::World, format!("WRONG: {what}"));
            *self.failure.borrow_mut() = Some(what);
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    pub(crate) fn count(&self, fault: Fault) {
        *self.counts.borrow_mut().faults.entry(fault).or_default() += 1;
    }

    /// Whether clients and faults are to go on.
    pub(crate) fn goes_on(&self) -> bool {
        self.now() < self.plan.time && self.failure.borrow().is_none()
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.get()
    }

    // ---- machines ----

    /// A new machine, with a number that none had before.
    pub(crate) fn add_machine(&self) -> u64 {
        let id = self.machines.borrow().keys().max().map_or(1, |id| id + 1);
        let mut rng = self.plan.dice("clock", id);
        // Of two clocks one in a hundred at most, which is what leases trust in.
        let most = if self.plan.lease { 4_000 } else { 200_000 };
        let drift = rng.i64(-most..=most);
        let drift = if self.plan.has(Fault::Drift) {
            drift
        } else {
            0
        };
        let machine = Machine::new(
            id,
            drift,
            self.plan.sync_ms,
            self.plan.dice("suspension", id),
        );
        self.machines.borrow_mut().insert(id, machine);
        id
    }

    /// All machines that are to have a node.
    pub(crate) fn machines(&self) -> Vec<u64> {
        let machines = self.machines.borrow();
        let here = machines.values().filter(|machine| !machine.is_gone);
        here.map(|machine| machine.id).collect()
    }

    pub(crate) fn with<T>(&self, id: u64, look: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        self.machines.borrow_mut().get_mut(&id).map(look)
    }

    /// The node of a machine, if it is up.
    pub(crate) fn node(&self, id: u64) -> Option<Rc<SimNode>> {
        let machines = self.machines.borrow();
        let machine = machines.get(&id)?;
        if machine.disk.has_stopped() {
            // Its power is gone, and it will be cut in a moment.
            return None;
        }
        machine.node.clone()
    }

    pub(crate) fn nodes(&self) -> Vec<Rc<SimNode>> {
        let ids = self.machines();
        ids.into_iter().filter_map(|id| self.node(id)).collect()
    }

    pub(crate) fn life(&self, id: u64) -> u64 {
        self.machines
            .borrow()
            .get(&id)
            .map_or(0, |machine| machine.life)
    }

    /// Whether and how the process of a machine is suspended.
    pub(crate) fn suspension(&self, id: u64) -> Rc<Suspension> {
        self.with(id, |machine| Rc::clone(&machine.suspension))
            .unwrap_or_default()
    }

    /// Whether a machine is still in this life, and has power.
    pub(crate) fn is_alive(&self, id: u64, life: u64) -> bool {
        self.life(id) == life && self.node(id).is_some()
    }

    /// The node that serves, as far as it knows itself; of several the one with the highest term.
    pub(crate) fn leader(&self) -> Option<Rc<SimNode>> {
        let nodes = self.nodes().into_iter();
        let serving = nodes.filter(|node| node.status().serves);
        serving.max_by_key(|node| node.status().term)
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.latency = Duration::from_millis(self.plan.latency_ms.1.max(1));
        options.busy_timeout = Duration::from_secs(2);
        options.read_lease = self.plan.lease;
        options.log_bytes = self.plan.log_bytes;
        options.checkpoint_bytes = self.plan.checkpoint_bytes;
        options.reserve_bytes = 64 << 10;
        options.max_transaction_bytes = 16 << 20;
        options
    }

    /// Starts the node of a machine. A start that fails because the machine stops again is none.
    pub(crate) fn start_node(self: &Rc<Self>, id: u64, bootstrap: bool) -> bool {
        let Some(setup) = self.with(id, |machine| {
            machine.life += 1;
            Setup {
                id,
                address: format!("node-{id}"),
                options: self.options(),
                disk: machine.disk.clone(),
                capacity: Arc::clone(&machine.capacity),
                life: machine.life,
                clock: Arc::clone(&machine.clock) as Arc<dyn SimClock>,
                seed: self.plan.dice("node", id << 32 | machine.life).u64(..),
                network: Box::new(Letterbox {
                    from: id,
                    life: machine.life,
                    queue: self.queue.clone(),
                }),
                bootstrap,
            }
        }) else {
            return false;
        };
        let life = setup.life;
        match SimNode::start(setup) {
            Ok(node) => {
                self.say(Whose::Node(id), format!("starts, for the {life}. time"));
                let node = Rc::new(node);
                let tasks = self.spawn_tasks(&node, life);
                self.with(id, |machine| {
                    machine.node = Some(node);
                    machine.tasks = tasks;
                });
                true
            }
            Err(error) => {
                let stopped = self.with(id, |machine| {
                    machine.disk.has_stopped()
                        || machine.capacity.load(Ordering::Relaxed) < crate::machine::PLENTY
                });
                if stopped == Some(true) {
                    self.say(Whose::Node(id), format!("cannot start: {error}"));
                } else {
                    self.fail(format!("node {id} cannot start: {error}"));
                }
                false
            }
        }
    }

    fn spawn_tasks(
        self: &Rc<Self>,
        node: &Rc<SimNode>,
        life: u64,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let id = node.id();
        let takes = |part: &str| {
            let mut rng = self.plan.dice(part, id << 32 | life);
            let sync_ms = self.with(id, |machine| Arc::clone(&machine.sync_ms));
            move || {
                let most = sync_ms
                    .as_ref()
                    .map_or(0, |most| most.load(Ordering::Relaxed));
                up_to(&mut rng, most)
            }
        };
        let (log, mut pages) = (takes("log"), takes("pages"));
        let stall = self.with(id, |machine| Rc::clone(&machine.stall));
        let stall = stall.unwrap_or_default();
        let pages = move |is_checkpoint: bool| {
            let longer = is_checkpoint.then(|| stall.begins());
            pages() + longer.unwrap_or_default()
        };
        let (replica, writer, checkpointer) = (Rc::clone(node), Rc::clone(node), Rc::clone(node));
        let (world, watched) = (Rc::clone(self), Rc::clone(node));
        let world_of_files = Rc::clone(self);
        let compare = move |node: &SimNode| world_of_files.compare_files(node);
        let speaker = Speaker { id, life };
        let pauses = || self.suspension(id);
        let (one, two, three) = (pauses(), pauses(), pauses());
        let replica = async move { one.holds_up(replica.run_replica()).await };
        let writer = async move { two.holds_up(writer.run_log(log)).await };
        let checkpointer =
            async move { three.holds_up(checkpointer.run_pages(pages, compare)).await };
        vec![
            tokio::task::spawn_local(speaker.runs(replica)),
            tokio::task::spawn_local(speaker.runs(writer)),
            tokio::task::spawn_local(speaker.runs(checkpointer)),
            tokio::task::spawn_local(async move { world.watch(&watched).await }),
        ]
    }

    /// Holds a database file against those of other nodes at the same entry.
    fn compare_files(&self, node: &SimNode) {
        let id = node.id();
        let rots = self.plan.has(Fault::Rot) || self.plan.has(Fault::Misdirected);
        let Some(at) = node.files_at().filter(|_| !(rots && id == ROTTEN)) else {
            return;
        };
        let file = self.with(id, |machine| database_file(&machine.disk, DATABASE));
        // Before its first transaction a database is empty on one node and not there on another.
        let Some(bytes) = file
            .flatten()
            .filter(|bytes| bytes.len() as u64 > PAGE_BYTES)
        else {
            return;
        };
        let sum = crc32fast::hash(&bytes);
        let (other, same) = *self.files.borrow_mut().entry(at).or_insert((id, sum));
        if other != id {
            self.counts.borrow_mut().compared += 1;
        }
        if same != sum {
            self.fail(format!(
                "at entry {at} the databases of nodes {other} and {id} differ"
            ));
        }
    }

    /// Notes what becomes of a node.
    async fn watch(self: &Rc<Self>, node: &SimNode) {
        let mut before = node.status();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let status = node.status();
            let id = Whose::Node(node.id());
            if status.serves && !before.serves {
                self.counts.borrow_mut().elections += 1;
                self.say(id, format!("leads in term {}", status.term));
            }
            if !status.serves && before.serves {
                self.say(id, format!("leads no more, in term {}", status.term));
            }
            let stopped = self.with(node.id(), |machine| machine.disk.has_stopped());
            if let Some(reason) = &status.halted
                && stopped == Some(false)
            {
                let is_damage = DAMAGED.iter().any(|words| reason.contains(words));
                if self.plan.has(Fault::LogRot) && node.id() == ROTTEN && is_damage {
                    // That is what it is to do. Once it is started again it knows what is lost, and fetches it.
                    self.say(id, format!("gives up: {reason}"));
                    self.start_again(node.id());
                    return;
                }
                self.fail(format!(
                    "node {} takes no further part: {reason}",
                    node.id()
                ));
                return;
            }
            before = status;
        }
    }

    /// Does what a supervisor does with a process that has ended by itself.
    fn start_again(self: &Rc<Self>, id: u64) {
        let (world, life) = (Rc::clone(self), self.life(id));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if world.life(id) == life && world.machines().contains(&id) {
                world.cut(id);
                world.start_node(id, false);
            }
        });
    }

    /// The power of a machine goes.
    pub(crate) fn cut(&self, id: u64) {
        let lost_in = self.plan.lost_in;
        let mut rng = self.plan.dice("power", id << 32 | self.life(id));
        self.with(id, |machine| {
            machine.cut(|_| match lost_in {
                0 => true,
                1 => false,
                one_in => rng.u64(..one_in) != 0,
            });
        });
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(self: &Rc<Self>) {
        self.healed.set(true);
        self.weather.clear();
        for id in self.machines() {
            self.suspension(id).end();
            let sync_ms = i64::try_from(self.plan.sync_ms).unwrap_or(0);
            self.with(id, |machine| {
                machine.disk.set_capacity(None);
                machine
                    .capacity
                    .store(crate::machine::PLENTY, Ordering::Relaxed);
                machine.sync_ms.store(sync_ms, Ordering::Relaxed);
            });
            if self.with(id, |machine| machine.disk.has_stopped()) == Some(true) {
                self.cut(id);
            }
            self.with(id, |machine| machine.disk.stop_after(u64::MAX));
            if self.node(id).is_none() {
                self.start_node(id, false);
            }
        }
        self.say(Whose::World, "nothing goes wrong any more");
    }
}
