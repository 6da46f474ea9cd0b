//! What has to be true at the end, whatever happened before.

use std::rc::Rc;
use std::time::Duration;

use ferrolite_node::simulation::{SimStatus, database_file};
use ferrolite_workloads::{Connection, Failure, World as _};

use crate::clients::{Connected, Side};
use crate::faults::stop;
use crate::plan::Fault;
use crate::trace::Whose;
use crate::world::{DATABASE, ROTTEN, World};

/// How long a healed cluster may take to have a leader whom all follow.
const PROGRESS: Duration = Duration::from_secs(60);
/// How long it may take to look at all pages, and to put back what can be.
const SCRUB: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(50);

/// Does something with a connection, as often as it takes.
pub(crate) async fn insist<T>(
    world: &Rc<World>,
    what: &str,
    mut work: impl AsyncFnMut(&Side, &mut Connected) -> Result<T, Failure>,
) -> Option<T> {
    let side = Side::new(world, u64::MAX);
    let deadline = world.now() + PROGRESS;
    let mut last = None;
    while world.now() < deadline && world.failure().is_none() {
        match side.connect(u64::MAX).await {
            Ok(mut connection) => match work(&side, &mut connection).await {
                Ok(done) => return Some(done),
                Err(failure) => last = Some(failure),
            },
            Err(failure) => last = Some(failure),
        }
        side.pause(LOOK).await;
    }
    let why = last.map_or_else(String::new, |failure| {
        format!(", at last because of: {failure}")
    });
    world.fail(format!(
        "{what} was not possible within {} s{why}",
        PROGRESS.as_secs()
    ));
    None
}

/// Waits until all members have everything.
pub(crate) async fn settle(world: &World) {
    let deadline = world.now() + PROGRESS;
    let mut seen = None;
    loop {
        let now = everywhere(world);
        if now.is_ok() && now.as_ref().ok() == seen.as_ref() {
            return;
        }
        if world.failure().is_some() {
            return;
        }
        if world.now() > deadline {
            let why = now.err().unwrap_or_default();
            for node in world.nodes() {
                world.say(Whose::Node(node.id()), format!("{:?}", node.status()));
            }
            world.fail(format!(
                "the cluster does not come to rest within {} s: {why}",
                PROGRESS.as_secs()
            ));
            return;
        }
        seen = now.ok();
        tokio::time::sleep(LOOK * 4).await;
    }
}

/// The members that keep the data.
fn keepers(status: &SimStatus) -> Vec<u64> {
    let members = status.members.iter().filter(|(_, keeps)| *keeps);
    members.map(|(id, _)| *id).collect()
}

/// The last index that all members of the cluster have applied, if that is the last there is.
fn everywhere(world: &World) -> Result<u64, String> {
    let leader = world.leader().ok_or("nobody leads")?;
    let status = leader.status();
    for id in keepers(&status) {
        let node = world.node(id).ok_or_else(|| format!("node {id} is down"))?;
        let other = node.status();
        if other.applied != status.last {
            return Err(format!(
                "node {id} has applied {} of {}, and node {} leads in term {}",
                other.applied,
                status.last,
                status.leader.unwrap_or(0),
                status.term
            ));
        }
    }
    Ok(status.last)
}

/// What of the log has rotted is fetched again, which begins when its node is started; and what that node's last checkpoint
/// could not read is in its files once it is stopped again.
pub(crate) async fn refetched(world: &Rc<World>) {
    if !world.plan.has(Fault::LogRot) || !world.machines().contains(&ROTTEN) {
        return;
    }
    for _ in 0..2 {
        world.say(Whose::Node(ROTTEN), "is started again, for its log");
        stop(world, ROTTEN);
        world.start_node(ROTTEN, false);
        settle(world).await;
    }
}

/// What has rotted is put back, if anything has.
pub(crate) async fn scrubbed(world: &World) {
    if !world.plan.has(Fault::Rot) && !world.plan.has(Fault::Misdirected) {
        return;
    }
    // Once more: a page may have rotted that the first round had passed.
    for _ in 0..2 {
        for node in world.nodes() {
            node.begin_scrub();
        }
        // A page that is written anew with the next checkpoint need not be put back before that, nor can it always be: nobody
        // may have it any more as it was. Whether all is well shows when the nodes have stopped.
        let deadline = world.now() + SCRUB;
        tokio::time::sleep(LOOK).await;
        while world.now() < deadline && !world.nodes().iter().all(|node| node.is_scrubbed()) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The cluster takes writes again.
pub(crate) async fn progress(world: &Rc<World>) {
    let written = insist(
        world,
        "a write after everything was healed",
        async |_, connection| {
            connection
                .execute("CREATE TABLE IF NOT EXISTS alive(at INTEGER)", &[])
                .await?;
            connection
                .execute("INSERT INTO alive VALUES (1)", &[])
                .await
        },
    );
    written.await;
}

/// Stops all nodes, and holds their databases against each other.
pub(crate) fn compare(world: &World, with_sqlite: bool) {
    let Some(leader) = world.leader() else {
        world.fail("nobody leads at the end");
        return;
    };
    let members = keepers(&leader.status());
    world.counts.borrow_mut().entries = leader.status().last;
    drop(leader);
    for id in world.machines() {
        let is_member = members.contains(&id);
        if !stop(world, id) && is_member {
            world.fail(format!("node {id} does not stop in order"));
        }
    }
    let mut first: Option<(u64, Vec<u8>)> = None;
    for id in members {
        let file = world.with(id, |machine| database_file(&machine.disk, DATABASE));
        let Some(bytes) = file.flatten() else {
            world.fail(format!("node {id} has no database file"));
            continue;
        };
        match &first {
            None => {
                sound(world, id, &bytes, with_sqlite);
                world.trace.count(&bytes);
                first = Some((id, bytes));
            }
            Some((other, same)) if *same != bytes => {
                let differ = same.chunks(4096).zip(bytes.chunks(4096));
                let page = differ.take_while(|(one, two)| one == two).count() + 1;
                world.fail(format!(
                    "the databases of nodes {other} and {id} differ, first in page {page}; they have {} and {} bytes",
                    same.len(),
                    bytes.len()
                ));
            }
            Some(_) => {}
        }
    }
}

fn sound(world: &World, id: u64, bytes: &[u8], with_sqlite: bool) {
    let judged = ferrolite_pager::validate::examine(bytes);
    match judged {
        Ok(report) if report.is_sound() => {}
        Ok(report) => world.fail(format!(
            "the database of node {id} is not sound: {report:?}"
        )),
        Err(error) => world.fail(format!("the database of node {id} is not sound: {error}")),
    }
    if with_sqlite {
        match sqlite(bytes) {
            Ok(said) if said == "ok" => {}
            Ok(said) => world.fail(format!("SQLite says of the database of node {id}: {said}")),
            Err(error) => world.say(Whose::World, format!("SQLite cannot be asked: {error}")),
        }
    }
}

/// What stock SQLite, as Python has it, says about a database.
fn sqlite(bytes: &[u8]) -> std::io::Result<String> {
    const ASK: &str = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])";
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let asked = std::process::Command::new("python3")
        .arg("-c")
        .arg(ASK)
        .arg(file.path())
        .output()?;
    let said = if asked.status.success() {
        asked.stdout
    } else {
        asked.stderr
    };
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}
