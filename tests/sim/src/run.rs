//! One simulation, from its plan to its verdict.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ferrolite_workloads::{Length, Scenario};
use tokio::sync::mpsc::unbounded_channel;

use crate::clients::Side;
use crate::faults;
use crate::free;
use crate::network::postman;
use crate::plan::{Load, Plan};
use crate::replay::Replay;
use crate::trace::Line;
use crate::verdict;
use crate::world::{Counts, World};

/// What became of a simulation.
#[derive(Debug)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// What is wrong with the database, if anything is.
    pub failure: Option<String>,
    /// What happened, as far as people read it.
    pub lines: Vec<Line>,
    /// How many events there were, and their checksum.
    pub sum: (u64, u32),
    /// Simulated time.
    pub time: Duration,
    /// What was counted.
    pub counts: Counts,
}

thread_local! {
    /// Why something in this thread has panicked, since it was last asked.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How often the SQL engine has.
    static ENGINE_PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A panic whose place has this in it is the engine's. A node survives that, and the client is told.
const ENGINE: &str = "turso_core";

/// Has panics noted instead of printed. A panic of the database is a failure like any other.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|info| {
        let told = info.to_string();
        log::error!("{told}");
        if told.contains(ENGINE) {
            ENGINE_PANICS.set(ENGINE_PANICS.get() + 1);
            return;
        }
        PANICKED.with_borrow_mut(|panicked| {
            panicked.get_or_insert(told);
        });
    }));
}

/// How often the SQL engine has panicked in the present simulation.
pub(crate) fn engine_panics() -> u64 {
    ENGINE_PANICS.get()
}

fn take_panic() -> Option<String> {
    PANICKED.take()
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Stock SQLite looks at the database at the end.
    pub with_sqlite: bool,
    /// The trace has every statement, and its answer.
    pub statements: bool,
}

/// Runs a simulation.
///
/// # Panics
/// When the system has no memory left for an executor.
#[must_use]
pub fn run(plan: &Plan, extent: Extent) -> Report {
    take_panic();
    ENGINE_PANICS.set(0);
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let Ok(executor) = executor else {
        panic!("no executor can be made");
    };
    let report = tokio::task::LocalSet::new().block_on(&executor, simulate(plan.clone(), extent));
    // What is left of nodes and clients goes with it.
    drop(executor);
    report
}

enum Running {
    Workload(Scenario),
    Free,
    Replay(Replay),
}

async fn simulate(plan: Plan, extent: Extent) -> Report {
    let (queue, frames) = unbounded_channel();
    let world = Rc::new(World::new(plan.clone(), queue, extent.statements));
    let carrier = tokio::task::spawn_local(postman(Rc::clone(&world), frames));
    found(&world).await;
    let loads: Rc<Vec<Running>> = Rc::new(
        plan.loads
            .iter()
            .map(|load| match load {
                Load::Workload(name) => Running::Workload(Scenario::new(*name)),
                Load::Grammar => Running::Free,
                Load::Replay => Running::Replay(Replay::default()),
            })
            .collect(),
    );
    for load in loads.iter() {
        verdict::insist(&world, "setting up", async |_, connection| match load {
            Running::Workload(scenario) => scenario.setup(connection).await,
            Running::Replay(replay) => replay.setup(connection).await,
            Running::Free => Ok(()),
        })
        .await;
    }
    let mut tasks = Vec::new();
    for fault in &plan.faults {
        tasks.push(tokio::task::spawn_local(faults::reign(
            Rc::clone(&world),
            *fault,
        )));
    }
    for place in 0..loads.len() {
        for client in 0..plan.clients {
            let number = place as u64 * 100 + client + 1;
            let (world, loads) = (Rc::clone(&world), Rc::clone(&loads));
            tasks.push(tokio::task::spawn_local(async move {
                match loads.get(place) {
                    Some(Running::Workload(scenario)) => {
                        let side = Side::new(&world, number);
                        let mut rng = world.plan.dice("workload", number);
                        let until = Length::Until(world.plan.time);
                        scenario.client(&side, number, &mut rng, until).await;
                    }
                    Some(Running::Replay(replay)) => replay.client(world, number).await,
                    Some(Running::Free) => free::client(world, number).await,
                    None => {}
                }
            }));
        }
    }
    while world.goes_on() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(panic) = take_panic() {
            world.fail(panic);
        }
    }
    world.heal();
    for task in tasks {
        if world.failure().is_none() {
            // A panic has been noted.
            drop(task.await);
        } else {
            task.abort();
        }
    }
    if world.failure().is_none() {
        judge(&world, &loads, extent.with_sqlite).await;
    }
    if let Some(panic) = take_panic() {
        world.fail(panic);
    }
    carrier.abort();
    Report {
        plan,
        failure: world.failure(),
        lines: world.trace.lines(),
        sum: world.trace.sum(),
        time: world.now(),
        counts: Counts {
            engine_panics: engine_panics(),
            ..world.counts.borrow().clone()
        },
    }
}

/// Founds the cluster, and has all nodes join it.
async fn found(world: &Rc<World>) {
    let first = world.add_machine();
    world.start_node(first, true);
    for _ in 1..world.plan.nodes {
        let id = world.add_machine();
        world.start_node(id, false);
    }
    for id in world.machines() {
        if id == first {
            continue;
        }
        loop {
            if world.now() > Duration::from_secs(60) {
                world.fail("the cluster does not form");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(leader) = world.leader() else {
                continue;
            };
            let join = async {
                leader.add(id, &format!("node-{id}")).await?;
                leader.promote(id).await
            };
            // What was not done in time is tried again, by whoever leads then.
            if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(10), join).await {
                break;
            }
        }
    }
}

async fn judge(world: &Rc<World>, loads: &[Running], with_sqlite: bool) {
    verdict::progress(world).await;
    for load in loads {
        match load {
            Running::Workload(scenario) => {
                verdict::insist(world, "reading at the end", async |side, connection| {
                    scenario.finish(side, connection).await
                })
                .await;
                if world.failure().is_some() {
                    return;
                }
                match scenario.check() {
                    Ok(summary) => world.counts.borrow_mut().checked += summary.acknowledged,
                    Err(violation) => world.fail(format!("{}: {violation}", scenario.name())),
                }
            }
            Running::Replay(replay) => {
                let order = verdict::insist(world, "reading at the end", async |_, connection| {
                    replay.order(connection).await
                });
                let Some(order) = order.await else {
                    return;
                };
                match replay.check(&order) {
                    Ok(transactions) => world.counts.borrow_mut().checked += transactions,
                    Err(why) => world.fail(why),
                }
            }
            Running::Free => {}
        }
    }
    verdict::settle(world).await;
    verdict::refetched(world).await;
    verdict::scrubbed(world).await;
    if world.failure().is_none() {
        verdict::compare(world, with_sqlite);
    }
}
