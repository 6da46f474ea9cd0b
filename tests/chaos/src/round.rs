//! A round: a cluster from its beginning to its end, with load and faults, and everything that is checked behind it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ferrolite_client::DEFAULT_DATABASE;
use ferrolite_grammar::Production;
use ferrolite_processes::{PATIENCE, Result, files};
use ferrolite_workloads::{Length, Name, Scenario, World};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::faults::{Faults, Kind, Record};
use crate::load::{GRAMMAR, Seen, send_what_is_drawn, write_and_read};
use crate::progress;

/// The pause before something is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// What a round is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) program: PathBuf,
    /// Where everything is that it writes.
    pub(crate) root: PathBuf,
    pub(crate) nodes: Option<u64>,
    pub(crate) lasts: Duration,
    /// Of each workload.
    pub(crate) clients: u64,
    pub(crate) disk_mib: u32,
    /// What is not drawn from the grammar.
    pub(crate) without: Vec<Production>,
}

/// What came of a workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) operations: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    /// What cannot be.
    pub(crate) wrong: Vec<String>,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lines: BTreeMap<String, Line>,
    pub(crate) faults: BTreeMap<Kind, u64>,
    /// What was wrong with nodes and files.
    pub(crate) wrong: Vec<String>,
    /// Faults that the engine has without a cluster as well, which the nodes have survived.
    pub(crate) engine: Vec<String>,
    /// From when all was healed until there was a write, and all workloads had been read to the end.
    pub(crate) recovered: Duration,
}

impl Outcome {
    /// Whether all was as it must be.
    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.lines.values().all(|line| line.wrong.is_empty())
    }

    /// Sets the engine's own faults apart from what is wrong.
    fn set_engine_apart(&mut self) {
        let lines = self.lines.values_mut().map(|line| &mut line.wrong);
        for wrong in lines.chain([&mut self.wrong]) {
            self.engine
                .extend(wrong.extract_if(.., |text| is_engines_own(text)));
        }
    }
}

/// Whether a fault is one that is known of the engine: a panic in its own code, which ends the statement and has the databases
/// opened anew; a DELETE that does not find an entry in an index, of which stock SQLite has to find at the end that it is sound;
/// a schema that it has lost track of.
fn is_engines_own(text: &str) -> bool {
    let failed = |why: &str| text.contains("SQL engine failed;") && text.contains(why);
    (text.contains("panicked at") && text.contains("turso_core"))
        || failed("panicked")
        || failed("has lost track of the schema")
        || text.contains("the SQL engine failed on this statement")
        || text.contains("IdxDelete: no matching index entry")
}

/// A workload, and the cluster as its clients see it.
struct Running {
    scenario: Rc<Scenario>,
    seen: Seen,
}

/// Runs a round.
///
/// # Errors
/// When it does not come to load: there is no cluster, or the system does not allow something.
pub(crate) async fn run(plan: &Plan, interrupted: watch::Receiver<u32>) -> Result<Outcome> {
    let mut rng = Rng::with_seed(plan.seed);
    let drawn = rng.choice([3, 3, 5, 4]).unwrap_or(3);
    let nodes = plan.nodes.unwrap_or(drawn);
    let mut cluster = Cluster::start(&plan.program, &plan.root, nodes, plan.disk_mib).await?;
    let ended = Rc::new(Cell::new(false));
    let mut running = Vec::new();
    for name in Name::ALL {
        let seen = Seen::new(nodes, &name.to_string(), plan.lasts, &ended).await?;
        let scenario = Rc::new(Scenario::new(*name));
        scenario.setup(&mut seen.connect(0).await?).await?;
        running.push(Running { scenario, seen });
    }
    let drawn = Seen::new(nodes, GRAMMAR, plan.lasts, &ended).await?;
    let (record, begun) = (Record::default(), Instant::now());
    let mut load = Load {
        plan,
        running: &running,
        drawn: &drawn,
        ended: &ended,
        record: &record,
        begun,
    };
    let mut outcome = Outcome::default();
    let mut wrong = load.run(&mut cluster, &mut rng, interrupted).await;
    let healed = Instant::now();
    let progress = within_patience(healed, "no write", async || {
        write_and_read(nodes)
            .await
            .map_err(|error| error.to_string())
    });
    wrong.extend(progress.await.err());
    let mut unread = Vec::new();
    for running in &running {
        unread.push(read_last(running, healed).await.err());
    }
    outcome.recovered = healed.elapsed();
    for (running, unread) in running.iter().zip(unread) {
        let mut line = judge(running);
        line.wrong.extend(unread);
        let name = running.scenario.name().to_string();
        outcome.lines.insert(name, line);
    }
    let tally = &drawn.tally;
    let line = Line {
        operations: tally.statements.get(),
        acknowledged: tally.acknowledged.get(),
        unknown: tally.unknown.get(),
        wrong: tally.findings(),
    };
    outcome.lines.insert(GRAMMAR.to_owned(), line);
    wrong.extend(check_nodes(&mut cluster, &plan.program).await);
    outcome.faults = record.counts();
    outcome.wrong = wrong;
    outcome.set_engine_apart();
    if !outcome.is_good() {
        keep(plan, &cluster, &running, &record).await?;
    }
    Ok(outcome)
}

/// Clients and faults at work.
struct Load<'a> {
    plan: &'a Plan,
    running: &'a [Running],
    drawn: &'a Seen,
    ended: &'a Rc<Cell<bool>>,
    record: &'a Record,
    begun: Instant,
}

impl Load<'_> {
    /// Lets clients and faults loose, and heals everything at the end. Returns what was wrong.
    async fn run(
        &mut self,
        cluster: &mut Cluster,
        rng: &mut Rng,
        mut interrupted: watch::Receiver<u32>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut clients = self.start_clients(rng);
        let mut faults = Faults {
            cluster: &mut *cluster,
            rng: rng.fork(),
            record: self.record.clone(),
            begun: self.begun,
        };
        tokio::select! {
            () = sleep(self.plan.lasts) => {}
            _ = interrupted.wait_for(|count| *count > 0) => eprintln!("\nending early"),
            () = self.show_progress() => {}
            ended = faults.run() => if let Err(error) = ended {
                wrong.push(format!("making faults: {error}"));
            }
        }
        self.ended.set(true);
        let noted = self.record.restart_ended(self.begun.elapsed(), cluster);
        wrong.extend(noted.err().map(|error| error.to_string()));
        wrong.extend(self.record.ended_by_themselves());
        if let Err(error) = cluster.heal().await {
            wrong.push(format!("healing the cluster: {error}"));
        }
        let all = async { while clients.join_next().await.is_some() {} };
        if timeout(PATIENCE, all).await.is_err() {
            let seconds = PATIENCE.as_secs();
            wrong.push(format!(
                "{} clients were not done {seconds} s after all was healed",
                clients.len()
            ));
        }
        wrong
    }

    fn start_clients(&self, rng: &mut Rng) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for number in 1..=self.plan.clients {
            for running in self.running {
                let (scenario, seen) = (Rc::clone(&running.scenario), running.seen.clone());
                let (mut rng, until) = (rng.fork(), Length::Until(self.plan.lasts));
                clients.spawn_local(async move {
                    scenario.client(&seen, number, &mut rng, until).await;
                });
            }
            let (drawn, without, rng) = (self.drawn.clone(), self.plan.without.clone(), rng.fork());
            clients.spawn_local(async move { send_what_is_drawn(&drawn, rng, &without).await });
        }
        clients
    }

    async fn show_progress(&self) {
        let tallies = self.running.iter().map(|running| &running.seen.tally);
        let tallies: Vec<_> = tallies.chain([&self.drawn.tally]).collect();
        let mut before = 0;
        let mut shown = self.begun;
        loop {
            sleep(progress::PAUSE).await;
            let total = tallies
                .iter()
                .map(|tally| tally.acknowledged.get())
                .sum::<u64>();
            let unknown = tallies.iter().map(|tally| tally.unknown.get()).sum::<u64>();
            let rate = (total - before) as f64 / shown.elapsed().as_secs_f64();
            (before, shown) = (total, Instant::now());
            progress::show(
                &format!(
                    "seed {}  {:>4.0} of {:.0} s  {total} statements acknowledged, {rate:.0} a second, {unknown} unknown  {}",
                    self.plan.seed,
                    self.begun.elapsed().as_secs_f64(),
                    self.plan.lasts.as_secs_f64(),
                    self.record.active(),
                ),
                self.begun.elapsed(),
            );
        }
    }
}

/// Tries it until it succeeds, but not for longer than patience lasts since all was healed.
///
/// # Errors
/// That there was none of it, and why the last attempt failed.
async fn within_patience(
    healed: Instant,
    none: &str,
    mut attempt: impl AsyncFnMut() -> Result<(), String>,
) -> Result<(), String> {
    while let Err(error) = attempt().await {
        if healed.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(format!(
                "{none} within {seconds} s after all was healed: {error}"
            ));
        }
        sleep(RETRY).await;
    }
    Ok(())
}

/// Does the last reads of a workload.
async fn read_last(running: &Running, healed: Instant) -> Result<(), String> {
    within_patience(healed, "no last read", async || {
        let read = async {
            let mut connection = running.seen.connect(0).await?;
            running
                .scenario
                .finish(&running.seen, &mut connection)
                .await
        };
        read.await.map_err(|error| error.to_string())
    })
    .await
}

/// Has the history of a workload judged.
fn judge(running: &Running) -> Line {
    let mut line = Line::default();
    match running.scenario.check() {
        Ok(summary) => {
            line.operations = summary.operations;
            line.acknowledged = summary.acknowledged;
            line.unknown = summary.unknown;
            if summary.acknowledged == 0 {
                line.wrong.push("nothing was acknowledged".to_owned());
            }
        }
        Err(violation) => line.wrong.push(violation.to_string()),
    }
    line.wrong.extend(running.seen.tally.findings());
    line
}

/// Stops the nodes and checks their files. Returns what was wrong.
async fn check_nodes(cluster: &mut Cluster, program: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(error) = cluster.stop().await {
        wrong.push(error.to_string());
        for node in &mut cluster.nodes {
            // What they have is looked at all the same.
            let _ = node.kill();
        }
    }
    let databases = Name::ALL.iter().map(Name::to_string);
    for name in databases.chain([GRAMMAR, DEFAULT_DATABASE].map(str::to_owned)) {
        let mut files = cluster
            .nodes
            .iter()
            .map(|node| files::database(node, &name));
        let Some(first) = files.next() else {
            continue;
        };
        for other in files {
            if let Err(error) = files::same_pages(&first, &other) {
                wrong.push(error.to_string());
            }
        }
        if let Err(error) = files::integrity_check(&first).await {
            wrong.push(format!("SQLite finds in {}: {error}", first.display()));
        }
    }
    for node in &cluster.nodes {
        if let Err(error) = files::verify(program, node).await {
            wrong.push(format!("node {}: {error}", node.id));
        }
        let errors = node.errors();
        let engine =
            |line: &&String| line.contains("panicked") || line.contains("SQL engine failed");
        wrong.extend(
            errors
                .iter()
                .filter(engine)
                .map(|line| format!("node {} logged: {line}", node.id)),
        );
    }
    wrong
}

/// Copies what nodes had to where the logs are, and writes what clients were told and what was done to the cluster.
async fn keep(plan: &Plan, cluster: &Cluster, running: &[Running], record: &Record) -> Result<()> {
    for node in &cluster.nodes {
        let to = plan.root.join(format!("node-{}", node.id));
        let copied = tokio::process::Command::new("cp")
            .arg("-r")
            .args([&node.directory, &to])
            .status()
            .await?;
        if !copied.success() {
            eprintln!("{} could not be copied", node.directory.display());
        }
    }
    for running in running {
        let file = plan
            .root
            .join(format!("{}.history", running.scenario.name()));
        std::fs::write(file, running.scenario.to_string())?;
    }
    std::fs::write(plan.root.join("faults"), record.log())?;
    Ok(())
}
