//! The network: frames that are lost, late, doubled or in another order, and nodes that do not hear each other.
//!
//! A node's frames go into one queue; the *postman* takes them out, decides what becomes of each, and carries it. Before a node is
//! first heard by another, it introduces itself, as when it connects; a connection that breaks is told to who used it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ferrolite_node::simulation::{Network, SimNode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::plan::{Fault, Plan};
use crate::says::Speaker;
use crate::world::World;

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) from: u64,
    /// In which of its lives the sender sent it.
    pub(crate) life: u64,
    pub(crate) to: u64,
    pub(crate) bytes: Bytes,
}

/// Where a node puts its frames.
pub(crate) struct Letterbox {
    pub(crate) from: u64,
    pub(crate) life: u64,
    pub(crate) queue: UnboundedSender<Frame>,
}

impl Network for Letterbox {
    fn send(&mut self, to: u64, bytes: Bytes) {
        let frame = Frame {
            from: self.from,
            life: self.life,
            to,
            bytes,
        };
        // At the end of a simulation there is no postman any more.
        let _ = self.queue.send(frame);
    }
}

/// The state of the network.
#[derive(Debug)]
pub(crate) struct Weather {
    rng: RefCell<Rng>,
    /// Who is not heard by whom.
    deaf: RefCell<BTreeSet<(u64, u64)>>,
    /// Who, in which life, has introduced itself to whom, in which life.
    known: RefCell<BTreeSet<(u64, u64, u64, u64)>>,
    /// When who was last told that whom cannot be reached.
    told: RefCell<BTreeMap<(u64, u64), Duration>>,
    loss_percent: u8,
    double_percent: u8,
    late_percent: u8,
    latency_ms: (u64, u64),
    calm: std::cell::Cell<bool>,
}

/// A connection that cannot be made is tried again after so long.
const RECONNECT: Duration = Duration::from_millis(20);

/// A message that comes late comes up to so much later.
const LATE_MS: u64 = 400;

impl Weather {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut rng = plan.dice("weather", 0);
        let percent = |rng: &mut Rng, fault, most| {
            let drawn = rng.u8(1..=most);
            if plan.has(fault) { drawn } else { 0 }
        };
        Self {
            loss_percent: percent(&mut rng, Fault::Loss, 20),
            double_percent: percent(&mut rng, Fault::Duplication, 20),
            late_percent: percent(&mut rng, Fault::Delay, 20),
            rng: RefCell::new(rng),
            deaf: RefCell::default(),
            known: RefCell::default(),
            told: RefCell::default(),
            latency_ms: plan.latency_ms,
            calm: std::cell::Cell::new(false),
        }
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn clear(&self) {
        self.calm.set(true);
        self.deaf.borrow_mut().clear();
    }

    pub(crate) fn set_deaf(&self, pairs: BTreeSet<(u64, u64)>) {
        *self.deaf.borrow_mut() = pairs;
    }

    fn is_deaf(&self, from: u64, to: u64) -> bool {
        self.deaf.borrow().contains(&(from, to))
    }

    /// Whether a sender notices now that a receiver cannot be reached.
    fn notices(&self, from: u64, to: u64, now: Duration) -> bool {
        let mut told = self.told.borrow_mut();
        let last = told.get(&(from, to));
        let notices = last.is_none_or(|last| *last + RECONNECT <= now);
        if notices {
            told.insert((from, to), now);
        }
        notices
    }

    fn roll(&self, percent: u8) -> bool {
        !self.calm.get() && percent > 0 && self.rng.borrow_mut().u8(..100) < percent
    }

    /// How long a message takes.
    pub(crate) fn latency(&self) -> Duration {
        let (least, most) = self.latency_ms;
        let mut ms = self.rng.borrow_mut().u64(least..=most);
        if self.roll(self.late_percent) {
            ms += self.rng.borrow_mut().u64(..LATE_MS);
        }
        Duration::from_millis(ms)
    }
}

/// Carries frames until the simulation ends.
pub(crate) async fn postman(world: Rc<World>, mut queue: UnboundedReceiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        world.trace.count(&frame.from.to_le_bytes());
        world.trace.count(&frame.to.to_le_bytes());
        world.trace.count(&frame.bytes);
        world.counts.borrow_mut().messages += 1;
        if !world.is_alive(frame.from, frame.life) {
            continue;
        }
        let weather = &world.weather;
        if weather.roll(weather.loss_percent) {
            world.counts.borrow_mut().lost += 1;
            continue;
        }
        let copies = if weather.roll(weather.double_percent) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let (world, latency) = (Rc::clone(&world), weather.latency());
            let frame = Frame {
                bytes: frame.bytes.clone(),
                ..frame
            };
            tokio::task::spawn_local(async move {
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                // Who is suspended finds it later.
                let suspension = world.suspension(frame.to);
                suspension
                    .holds_up(async { deliver(&world, frame).await })
                    .await;
            });
        }
    }
}

async fn deliver(world: &World, frame: Frame) {
    let Frame {
        from,
        life,
        to,
        bytes,
    } = frame;
    let sender = world.node(from).filter(|_| world.life(from) == life);
    let receiver = world.node(to).filter(|_| !world.weather.is_deaf(from, to));
    let Some(receiver) = receiver else {
        world.counts.borrow_mut().lost += 1;
        if let Some(sender) = sender.filter(|_| world.weather.notices(from, to, world.now())) {
            let suspension = world.suspension(from);
            suspension.holds_up(async { sender.unreachable(to) }).await;
        }
        return;
    };
    if !introduce(world, (from, life), to, sender.as_deref(), &receiver) {
        return;
    }
    let _in_its_name = Speaker {
        id: to,
        life: world.life(to),
    }
    .speaks();
    if !receiver.deliver(from, bytes) {
        world.fail(format!(
            "node {to} cannot make sense of what node {from} sent"
        ));
    }
}

/// Says whether the receiver knows the sender.
fn introduce(
    world: &World,
    (from, life): (u64, u64),
    to: u64,
    sender: Option<&SimNode>,
    receiver: &SimNode,
) -> bool {
    let pair = (from, life, to, world.life(to));
    if world.weather.known.borrow().contains(&pair) {
        return true;
    }
    // Who has died since cannot introduce itself any more.
    let Some(sender) = sender else {
        return false;
    };
    let welcome = receiver.greet(&sender.greeting());
    if welcome {
        world.weather.known.borrow_mut().insert(pair);
    }
    welcome
}
