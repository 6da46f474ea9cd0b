//! What goes wrong, and when.
//!
//! Every kind of mishap that the plan has is a task of its own, which lets it happen now and then until the simulation is to
//! heal. None goes beyond what a cluster has to take: rot and misdirected writes hit the database files and the log of one
//! machine, whose pages and entries the others have; a crash takes what was never synced.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use ferrolite_node::simulation::{SimNode, database_place, log_place};
use ferrolite_wal::backend::Backend;

use crate::machine::PLENTY;
use crate::plan::Fault;
use crate::trace::Whose;
use crate::world::{DATABASE, PAGE_BYTES, ROTTEN, World};

/// No more machines than this at a time.
const MOST_MACHINES: usize = 6;
/// How long a change of the members, or a handing over, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets `fault` happen now and then.
pub(crate) async fn reign(world: Rc<World>, fault: Fault) {
    let mut rng = world.plan.dice("fault", fault as u64);
    loop {
        pause(&world, &mut rng).await;
        if !world.goes_on() {
            return;
        }
        match fault {
            // These are in the weather, the clocks and the clients.
            Fault::Loss | Fault::Duplication | Fault::Delay | Fault::Drift | Fault::Clients => {
                return;
            }
            Fault::Partition => partition(&world, &mut rng).await,
            Fault::Crash => crash(&world, &mut rng).await,
            Fault::TornCrash => torn_crash(&world, &mut rng).await,
            Fault::Blackout => blackout(&world, &mut rng).await,
            Fault::SlowDisk => slow_disk(&world, &mut rng).await,
            Fault::FullDisk => full_disk(&world, &mut rng).await,
            Fault::Rot => rot(&world, &mut rng),
            Fault::Misdirected => misdirect(&world, &mut rng),
            Fault::Jump => jump(&world, &mut rng).await,
            Fault::Transfer => transfer(&world, &mut rng).await,
            Fault::Members => members(&world, &mut rng).await,
            Fault::Restart => restart(&world, &mut rng).await,
            Fault::Suspension => suspend(&world, &mut rng).await,
            Fault::LogRot => rot_log(&world, &mut rng),
            Fault::Stall => stall(&world, &mut rng).await,
        }
    }
}

/// A while, around the plan's pause.
fn a_while(world: &World, rng: &mut Rng) -> Duration {
    let most = u64::try_from(world.plan.pause.as_millis()).unwrap_or(0) * 2;
    Duration::from_millis(rng.u64(0..=most))
}

async fn pause(world: &World, rng: &mut Rng) {
    tokio::time::sleep(a_while(world, rng)).await;
}

/// Random numbers for what comes together with a mishap of this kind, another row of them each time.
fn ambush(world: &World, part: &str, fault: Fault) -> Rng {
    let happened = world.counts.borrow().faults.get(&fault).copied();
    world.plan.dice(part, happened.unwrap_or(0))
}

/// The network is cut between those who are `deaf` and those whom they do not hear, for so long.
async fn cut_network(
    world: &World,
    whose: Whose,
    deaf: BTreeSet<(u64, u64)>,
    told: impl Into<String>,
    time: Duration,
    told_after: &str,
) {
    happens(world, Fault::Partition, whose, told);
    world.weather.set_deaf(deaf);
    tokio::time::sleep(time).await;
    if !world.is_healed() {
        world.weather.set_deaf(BTreeSet::new());
        world.say(whose, told_after);
    }
}

fn happens(world: &World, fault: Fault, whose: Whose, what: impl Into<String>) {
    world.count(fault);
    world.say(whose, what);
}

async fn partition(world: &World, rng: &mut Rng) {
    let ids = world.machines();
    let Some(&alone) = rng.choice(&ids) else {
        return;
    };
    let mut deaf = BTreeSet::new();
    let shape = rng.u8(..4);
    let half: BTreeSet<u64> = ids.iter().copied().filter(|_| rng.bool()).collect();
    for &from in &ids {
        for &to in &ids {
            let cut = match shape {
                // One node neither hears nor is heard.
                0 => from == alone || to == alone,
                // It is heard and hears nothing, or the other way round.
                1 => to == alone,
                2 => from == alone,
                // Two camps, or only some pairs.
                _ if rng.u8(..10) == 0 => rng.bool(),
                _ => half.contains(&from) != half.contains(&to),
            };
            if cut && from != to {
                deaf.insert((from, to));
            }
        }
    }
    let told: Vec<_> = deaf
        .iter()
        .map(|(from, to)| format!("{from}-/->{to}"))
        .collect();
    let told = format!("the network is cut: {}", told.join(" "));
    let time = a_while(world, rng);
    let after = "the network is whole again";
    cut_network(world, Whose::World, deaf, told, time, after).await;
}

fn victim(world: &World, rng: &mut Rng) -> Option<u64> {
    let nodes = world.nodes();
    rng.choice(nodes).map(|node| node.id())
}

async fn come_back(world: &Rc<World>, rng: &mut Rng, id: u64) {
    pause(world, rng).await;
    let is_down = world.node(id).is_none() && world.machines().contains(&id);
    if is_down && !world.is_healed() {
        world.start_node(id, false);
    }
}

async fn crash(world: &Rc<World>, rng: &mut Rng) {
    let Some(id) = victim(world, rng) else {
        return;
    };
    happens(world, Fault::Crash, Whose::Node(id), "loses its power");
    world.cut(id);
    come_back(world, rng, id).await;
}

async fn torn_crash(world: &Rc<World>, rng: &mut Rng) {
    let Some(id) = victim(world, rng) else {
        return;
    };
    // Now and then again while it recovers.
    for _ in 0..3 {
        if world.is_healed() {
            return;
        }
        let changes = rng.u64(0..60);
        world.with(id, |machine| machine.disk.stop_after(changes));
        for _ in 0..200 {
            if world.is_healed()
                || world.with(id, |machine| machine.disk.has_stopped()) == Some(true)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if world.is_healed() || world.with(id, |machine| machine.disk.has_stopped()) != Some(true) {
            return;
        }
        happens(
            world,
            Fault::TornCrash,
            Whose::Node(id),
            "loses its power in the middle of a write",
        );
        world.cut(id);
        come_back(world, rng, id).await;
        if rng.u8(..3) != 0 {
            return;
        }
    }
}

async fn blackout(world: &Rc<World>, rng: &mut Rng) {
    happens(
        world,
        Fault::Blackout,
        Whose::World,
        "all machines lose their power",
    );
    let ids = world.machines();
    for &id in &ids {
        world.cut(id);
    }
    for id in ids {
        if rng.bool() {
            tokio::time::sleep(Duration::from_millis(rng.u64(..500))).await;
        }
        if world.node(id).is_none() && !world.is_healed() && world.machines().contains(&id) {
            world.start_node(id, false);
        }
    }
}

async fn slow_disk(world: &World, rng: &mut Rng) {
    let Some(id) = victim(world, rng) else {
        return;
    };
    let ms = rng.i64(50..1_000);
    happens(
        world,
        Fault::SlowDisk,
        Whose::Node(id),
        format!("its disk takes up to {ms} ms"),
    );
    world.with(id, |machine| machine.sync_ms.store(ms, Ordering::Relaxed));
    let leads = world.leader().is_some_and(|leader| leader.id() == id);
    if leads && world.plan.has(Fault::Partition) {
        cut_off(world, id).await;
    }
    pause(world, rng).await;
    let usual = i64::try_from(world.plan.sync_ms).unwrap_or(0);
    world.with(id, |machine| {
        machine.sync_ms.store(usual, Ordering::Relaxed)
    });
}

async fn full_disk(world: &World, rng: &mut Rng) {
    let Some(id) = victim(world, rng) else {
        return;
    };
    let room = rng.u64(..256 << 10);
    happens(
        world,
        Fault::FullDisk,
        Whose::Node(id),
        format!("its disk has {room} bytes left"),
    );
    world.with(id, |machine| {
        let capacity = machine.disk.used() + room;
        machine.disk.set_capacity(Some(capacity));
        machine.capacity.store(capacity, Ordering::Relaxed);
    });
    pause(world, rng).await;
    world.with(id, |machine| {
        machine.disk.set_capacity(None);
        machine.capacity.store(PLENTY, Ordering::Relaxed);
    });
    world.say(Whose::Node(id), "its disk has room again");
}

/// The database file of the machine that rots: where it is, and how many bytes it has.
fn rotting(world: &World) -> Option<(ferrolite_wal::backend::FaultBackend, String, u64)> {
    if world.plan.nodes == 1 || !world.machines().contains(&ROTTEN) {
        return None;
    }
    let disk = world.with(ROTTEN, |machine| machine.disk.clone())?;
    let (directory, name) = database_place(&disk, DATABASE)?;
    let len = directory.open(&name, false).ok()?.len().ok()?;
    (len >= 2 * PAGE_BYTES).then_some((directory, name, len))
}

fn rot(world: &World, rng: &mut Rng) {
    let Some((directory, name, len)) = rotting(world) else {
        return;
    };
    let bit = rng.u64(..len * 8);
    let page = bit / 8 / PAGE_BYTES + 1;
    happens(
        world,
        Fault::Rot,
        Whose::Node(ROTTEN),
        format!("a bit of page {page} rots"),
    );
    directory.flip_bit(&name, bit);
}

/// A bit of the log rots. Not in the newest segment: of that nobody can tell what a crash has cut short from what was lost.
fn rot_log(world: &World, rng: &mut Rng) {
    if world.plan.nodes == 1 || !world.machines().contains(&ROTTEN) {
        return;
    }
    let Some(directory) = world.with(ROTTEN, |machine| log_place(&machine.disk)) else {
        return;
    };
    let mut segments = directory.list().unwrap_or_default();
    segments.retain(|name| name.ends_with(".log"));
    segments.sort();
    segments.pop();
    let Some(name) = rng.choice(&segments) else {
        return;
    };
    let Ok(len) = directory.open(name, false).and_then(|file| file.len()) else {
        return;
    };
    let bit = rng.u64(..len.max(1) * 8);
    let what = format!("byte {} of {name} rots", bit / 8);
    happens(world, Fault::LogRot, Whose::Node(ROTTEN), what);
    directory.flip_bit(name, bit);
}

async fn suspend(world: &World, rng: &mut Rng) {
    // The leader as often as all others together.
    let leader = world.leader().map(|leader| leader.id());
    let chosen = if rng.bool() {
        leader.or_else(|| victim(world, rng))
    } else {
        victim(world, rng)
    };
    let Some(id) = chosen else {
        return;
    };
    let suspension = world.suspension(id);
    happens(world, Fault::Suspension, Whose::Node(id), "is suspended");
    suspension.begin();
    pause(world, rng).await;
    suspension.end();
    world.say(Whose::Node(id), "goes on");
}

fn misdirect(world: &World, rng: &mut Rng) {
    let Some((directory, name, len)) = rotting(world) else {
        return;
    };
    let pages = len / PAGE_BYTES;
    let (from, to) = (rng.u64(..pages), rng.u64(..pages));
    if from == to {
        return;
    }
    let copied = (|| {
        let file = directory.open(&name, false)?;
        let mut page = [0; 4096];
        file.read_at(from * PAGE_BYTES, &mut page)?;
        file.write_at(to * PAGE_BYTES, &page)
    })();
    if copied.is_ok() {
        let what = format!("page {} is written over page {}", from + 1, to + 1);
        happens(world, Fault::Misdirected, Whose::Node(ROTTEN), what);
    }
}

async fn jump(world: &World, rng: &mut Rng) {
    let Some(id) = victim(world, rng) else {
        return;
    };
    let heartbeat = world.plan.latency_ms.1.max(1) * 10;
    // As much as leases have to take, or anything.
    let ms = if world.plan.lease {
        rng.u64(..=heartbeat / 2)
    } else {
        rng.u64(..5_000)
    };
    happens(
        world,
        Fault::Jump,
        Whose::Node(id),
        format!("its clock jumps ahead by {ms} ms"),
    );
    world.with(id, |machine| machine.clock.jump(ms));
    // Once within an election timeout.
    tokio::time::sleep(Duration::from_millis(heartbeat * 16)).await;
}

async fn transfer(world: &World, rng: &mut Rng) {
    let Some(leader) = world.leader() else {
        return;
    };
    let to = if rng.bool() {
        None
    } else {
        victim(world, rng).filter(|to| *to != leader.id())
    };
    happens(
        world,
        Fault::Transfer,
        Whose::Node(leader.id()),
        format!("is to hand over to {to:?}"),
    );
    let deafens =
        world.plan.has(Fault::Partition) && ambush(world, "ambush", Fault::Transfer).bool();
    tokio::join!(hand_over(world, &leader, to), async {
        if deafens {
            deafen(world, leader.id()).await;
        }
    });
}

async fn hand_over(world: &World, leader: &SimNode, to: Option<u64>) {
    let suspension = world.suspension(leader.id());
    let transfer = suspension.holds_up(leader.transfer(to));
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, transfer).await {
        world.say(
            Whose::Node(leader.id()),
            format!("did not hand over: {error}"),
        );
    }
}

/// A leader whose disk is slow is alone from some moment on: what it was to do to its files before, it does with what no quorum
/// has on its way, and never will have.
async fn cut_off(world: &World, leader: u64) {
    let mut ambush = ambush(world, "cut off", Fault::SlowDisk);
    if ambush.bool() {
        return;
    }
    tokio::time::sleep(Duration::from_millis(ambush.u64(..600))).await;
    if world.is_healed() {
        return;
    }
    isolate(world, leader, world.plan.pause).await;
}

/// A node neither hears nor is heard, for so long.
async fn isolate(world: &World, id: u64, time: Duration) {
    let others = world.machines().into_iter().filter(|other| *other != id);
    let deaf = others
        .flat_map(|other| [(other, id), (id, other)])
        .collect();
    let (told, after) = ("is cut off from all others", "is among the others again");
    cut_network(world, Whose::Node(id), deaf, told, time, after).await;
}

/// The next checkpoint of a leader takes long, and the leader is alone from its beginning on: what it was to copy then, it copies
/// beside what no quorum has, and never will have. Afterwards it may be asked to lead again at once.
async fn stall(world: &World, rng: &mut Rng) {
    let Some(leader) = world.leader().map(|leader| leader.id()) else {
        return;
    };
    let Some(stall) = world.with(leader, |machine| Rc::clone(&machine.stall)) else {
        return;
    };
    let longer = Duration::from_millis(rng.u64(50..600));
    let (alone, leads_again) = (longer + a_while(world, rng), rng.bool());
    let begun = tokio::time::timeout(PATIENCE, stall.next(longer)).await;
    stall.give_up();
    if begun.is_err() || world.is_healed() {
        return;
    }
    let told = "its checkpoint takes long";
    happens(world, Fault::Stall, Whose::Node(leader), told);
    isolate(world, leader, alone).await;
    if leads_again && let Some(now) = world.leader() {
        hand_over(world, &now, Some(leader)).await;
    }
}

/// A leader that hands over hears nobody from that moment on: it learns of its successor as late as can be.
async fn deafen(world: &World, leader: u64) {
    let others = world.machines().into_iter().filter(|id| *id != leader);
    let deaf = others.map(|id| (id, leader)).collect();
    let (told, after) = ("hears nobody any more", "hears the others again");
    let whose = Whose::Node(leader);
    cut_network(world, whose, deaf, told, world.plan.pause, after).await;
}

async fn members(world: &Rc<World>, rng: &mut Rng) {
    let Some(leader) = world.leader() else {
        return;
    };
    let members = leader.status().members;
    let joins = members.len() < 3 || (members.len() < MOST_MACHINES && rng.bool());
    if joins && world.machines().len() < MOST_MACHINES {
        let id = world.add_machine();
        world.start_node(id, false);
        happens(world, Fault::Members, Whose::Node(id), "is to join");
        let join = async {
            leader.add(id, &format!("node-{id}")).await?;
            leader.promote(id).await
        };
        let suspension = world.suspension(leader.id());
        let ended = tokio::time::timeout(PATIENCE, suspension.holds_up(join)).await;
        world.say(
            Whose::Node(id),
            match ended {
                Ok(Ok(())) => "is a voter".to_owned(),
                Ok(Err(error)) => format!("did not join as a voter: {error}"),
                Err(_) => "did not join as a voter in time".to_owned(),
            },
        );
    } else if members.len() > 3 {
        let Some((id, _)) = rng.choice(members) else {
            return;
        };
        happens(world, Fault::Members, Whose::Node(id), "is to leave");
        let suspension = world.suspension(leader.id());
        let leave = suspension.holds_up(leader.remove(id));
        match tokio::time::timeout(PATIENCE, leave).await {
            Ok(Ok(())) => {
                world.say(Whose::Node(id), "has left");
                tokio::time::sleep(Duration::from_millis(rng.u64(..500))).await;
                world.cut(id);
                world.with(id, |machine| machine.is_gone = true);
            }
            Ok(Err(error)) => world.say(Whose::Node(id), format!("did not leave: {error}")),
            Err(_) => world.say(Whose::Node(id), "did not leave in time"),
        }
    }
}

/// Stops a node as a program is stopped. Says whether it did so in order.
pub(crate) fn stop(world: &World, id: u64) -> bool {
    let Some(node) = world.node(id) else {
        return false;
    };
    let stopped = node.stop();
    let in_order = stopped.is_ok();
    if let Err(error) = stopped {
        world.say(Whose::Node(id), format!("did not stop in order: {error}"));
    }
    world.with(id, |machine| {
        if let Some(node) = machine.node.take() {
            node.cut();
        }
        for task in machine.tasks.drain(..) {
            task.abort();
        }
    });
    in_order
}

async fn restart(world: &Rc<World>, rng: &mut Rng) {
    for id in world.machines() {
        if world.is_healed() {
            return;
        }
        // Who is suspended does not notice that it is to stop.
        let suspension = world.suspension(id);
        suspension.holds_up(async {}).await;
        if world.is_healed() || world.node(id).is_none() {
            continue;
        }
        happens(world, Fault::Restart, Whose::Node(id), "is stopped");
        stop(world, id);
        tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
        if world.node(id).is_none() && !world.is_healed() {
            world.start_node(id, false);
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..2_000))).await;
    }
}
