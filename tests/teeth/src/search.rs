//! Seeds, one after the other, until one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::build::Built;
use super::mutants::{SWITCH, circumstances};

/// How often it is looked at whether a simulation has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Of the reason for a failure the table has so many characters.
const WHY_CHARACTERS: usize = 100;

/// A simulation that has failed.
#[derive(Debug, Clone)]
pub struct Caught {
    pub seed: u64,
    pub why: String,
}

/// A seed, and what is asked for besides.
type Simulation = (u64, String);

/// Looks for seeds that fail.
pub struct Search {
    program: PathBuf,
    workload: Option<String>,
    seeds: RangeInclusive<u64>,
    jobs: usize,
    patience: Duration,
    /// Whether a simulation passes without any mutant, where that is known.
    sound: Mutex<BTreeMap<Simulation, bool>>,
    known: PathBuf,
}

/// How far the search for one mutant is.
#[derive(Default)]
struct State {
    next: u64,
    caught: Option<Caught>,
    error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Search {
    pub fn new(
        built: &Built,
        workload: Option<String>,
        seeds: RangeInclusive<u64>,
        jobs: Option<usize>,
        patience: Duration,
    ) -> Result<Self, String> {
        let known = format!("seeds-{:08x}", built.sources);
        let known = built.directory.join(known);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let text = std::fs::read_to_string(&known).unwrap_or_default();
        let sound = text.lines().filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let (seed, said) = (words.next()?.parse().ok()?, words.next()?);
            let asked = words.next().unwrap_or_default().to_owned();
            Some(((seed, asked), said == "passes"))
        });
        Ok(Self {
            program: built.program.clone(),
            workload,
            seeds,
            jobs: jobs.unwrap_or(processors).max(1),
            patience,
            sound: Mutex::new(sound.collect()),
            known,
        })
    }

    /// Simulations that are known to fail without any mutant.
    pub fn unsound(&self) -> BTreeSet<Simulation> {
        let sound = lock(&self.sound);
        let failing = sound.iter().filter(|(_, passes)| !**passes);
        failing.map(|(simulation, _)| simulation.clone()).collect()
    }

    /// What the simulator is asked for besides the seed.
    pub fn asked(&self, mutant: &str) -> Vec<String> {
        match &self.workload {
            Some(load) => vec!["--workload".to_owned(), load.clone()],
            None => circumstances(mutant)
                .iter()
                .map(|&word| word.to_owned())
                .collect(),
        }
    }

    /// The first seed that fails because of `mutant`, if any does, and how many it took.
    pub fn first_failure(
        &self,
        mutant: &str,
        progress: &str,
    ) -> Result<(Option<Caught>, usize), String> {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(progress.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        let state = Mutex::new(State {
            next: *self.seeds.start(),
            ..State::default()
        });
        let asked = self.asked(mutant);
        let simulation = |seed| (seed, asked.join(" "));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some(seed) = self.take(&state, simulation) {
                        bar.set_message(format!("seed {seed}"));
                        let is_in_vain = || {
                            let caught = &lock(&state).caught;
                            caught.as_ref().is_some_and(|other| other.seed < seed)
                        };
                        match self.judge(mutant, seed, &asked, is_in_vain) {
                            Ok(None) => {}
                            Ok(Some(caught)) => {
                                let mut state = lock(&state);
                                if state.caught.as_ref().is_none_or(|other| seed < other.seed) {
                                    state.caught = Some(caught);
                                }
                            }
                            Err(error) => lock(&state).error = Some(error),
                        }
                    }
                });
            }
        });
        bar.finish_and_clear();
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error {
            return Err(error);
        }
        let last = state.caught.as_ref().map_or(*self.seeds.end(), |c| c.seed);
        let unsound = self.unsound();
        let tried =
            (*self.seeds.start()..=last).filter(|seed| !unsound.contains(&simulation(*seed)));
        Ok((state.caught, tried.count()))
    }

    /// The next seed that is worth a simulation.
    fn take(&self, state: &Mutex<State>, simulation: impl Fn(u64) -> Simulation) -> Option<u64> {
        let mut state = lock(state);
        if state.caught.is_some() || state.error.is_some() {
            // Those before it are all under way.
            return None;
        }
        while lock(&self.sound).get(&simulation(state.next)) == Some(&false) {
            state.next += 1;
        }
        let seed = Some(state.next).filter(|seed| self.seeds.contains(seed));
        state.next += 1;
        seed
    }

    /// Whether this seed fails with the mutant, and only with it.
    fn judge(
        &self,
        mutant: &str,
        seed: u64,
        asked: &[String],
        is_in_vain: impl Fn() -> bool,
    ) -> Result<Option<Caught>, String> {
        let Some(why) = self.simulate(Some(mutant), seed, asked, is_in_vain)? else {
            return Ok(None);
        };
        Ok(self.passes(seed, asked)?.then_some(Caught { seed, why }))
    }

    /// Whether this seed passes without any mutant.
    fn passes(&self, seed: u64, asked: &[String]) -> Result<bool, String> {
        let simulation = (seed, asked.join(" "));
        if let Some(passes) = lock(&self.sound).get(&simulation) {
            return Ok(*passes);
        }
        let passes = self.simulate(None, seed, asked, || false)?.is_none();
        let said = if passes { "passes" } else { "fails" };
        let noted = File::options()
            .create(true)
            .append(true)
            .open(&self.known)
            .and_then(|mut file| writeln!(file, "{seed} {said} {}", simulation.1));
        noted.map_err(|error| format!("{}: {error}", self.known.display()))?;
        lock(&self.sound).insert(simulation, passes);
        Ok(passes)
    }

    /// Runs a simulation, and says why it failed if it did. It is ended when it `is_in_vain`.
    fn simulate(
        &self,
        mutant: Option<&str>,
        seed: u64,
        asked: &[String],
        is_in_vain: impl Fn() -> bool,
    ) -> Result<Option<String>, String> {
        let unable = |error: std::io::Error| format!("{}: {error}", self.program.display());
        let (said, complained) = (
            tempfile::NamedTempFile::new().map_err(unable)?,
            tempfile::NamedTempFile::new().map_err(unable)?,
        );
        let mut simulator = Command::new(&self.program);
        simulator
            .args(["--seed", &seed.to_string(), "--whole"])
            .args(asked)
            .env_remove(SWITCH)
            .envs(mutant.map(|mutant| (SWITCH, mutant)))
            .stdin(Stdio::null())
            .stdout(said.reopen().map_err(unable)?)
            .stderr(complained.reopen().map_err(unable)?);
        let mut running = simulator.spawn().map_err(unable)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = running.try_wait().map_err(unable)? {
                break status;
            }
            let is_in_vain = is_in_vain();
            if is_in_vain || begun.elapsed() > self.patience {
                running
                    .kill()
                    .and_then(|()| running.wait())
                    .map_err(unable)?;
                if is_in_vain {
                    return Ok(None);
                }
                let seconds = self.patience.as_secs();
                return Ok(Some(format!(
                    "the simulation does not end within {seconds} s"
                )));
            }
            std::thread::sleep(LOOK);
        };
        if status.success() {
            return Ok(None);
        }
        let text = |file: &tempfile::NamedTempFile| -> String {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(Some(why(&text(&said), &text(&complained), status)))
    }
}

/// The reason for a failure, short enough for a table.
fn why(said: &str, complained: &str, status: ExitStatus) -> String {
    let failed = said.lines().find_map(|line| line.strip_prefix("FAILED: "));
    let crashed = || {
        format!(
            "{status}: {}",
            complained.lines().next().unwrap_or_default()
        )
    };
    let why = failed.map_or_else(crashed, str::to_owned);
    let why = why.replace('|', "\\|");
    match why.char_indices().nth(WHY_CHARACTERS) {
        Some((end, _)) => format!("{} …", why.get(..end).unwrap_or_default()),
        None => why,
    }
}
