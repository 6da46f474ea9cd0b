//! Simulations that run with every test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrolite_sim::{Extent, Load, Plan, Report, note_panics, run};

/// How many seeds to run; `FERROLITE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;

fn failed(report: &Report) -> Option<String> {
    let failure = report.failure.as_ref()?;
    Some(format!(
        "{}\n  {failure}\n  cargo run --release -p ferrolite-sim -- --seed {}",
        report.plan, report.plan.seed
    ))
}

/// Runs simulations on all processors, and returns what failed.
fn run_all(plans: &[Plan]) -> Vec<String> {
    note_panics();
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(usize::try_from(place).unwrap()) else {
                        return;
                    };
                    let report = run(plan, Extent::default());
                    failures.lock().unwrap().extend(failed(&report));
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// Protects: that a failure can be looked at. The same seed gives the same simulation, down to every byte of every message.
#[test]
fn the_same_seed_is_the_same_simulation() {
    note_panics();
    for seed in [2, 9, 24, 30, 57] {
        let plan = Plan::draw(seed, None);
        let (first, second) = (run(&plan, Extent::default()), run(&plan, Extent::default()));
        let lines = |report: &Report| -> Vec<String> {
            report.lines.iter().map(ToString::to_string).collect()
        };
        assert_eq!(lines(&first), lines(&second), "{plan}");
        assert_eq!(first.sum, second.sum, "{plan}");
    }
}

/// Protects: everything that the product promises, under whatever these seeds draw.
#[test]
fn seeds() {
    let seeds = match std::env::var("FERROLITE_SIM_SEEDS") {
        Ok(text) => text.parse().expect("a number of seeds"),
        Err(_) => SEEDS,
    };
    let plans: Vec<_> = (1..=seeds).map(|seed| Plan::draw(seed, None)).collect();
    let failures = run_all(&plans);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Protects: what was found once.
#[test]
fn what_has_failed_before() {
    let list = include_str!("../regressions");
    let plans = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let seed = words.next().expect("a seed").parse().expect("a number");
            let mut words = words.peekable();
            let load: Option<Load> = words
                .next_if(|word| word.parse::<Load>().is_ok())
                .map(|word| word.parse().unwrap());
            let mut plan = Plan::draw(seed, load);
            while let Some(without) = words.next_if(|word| word.starts_with('-')) {
                let fault = without[1..].parse().expect("a fault");
                plan.faults.retain(|kept| *kept != fault);
            }
            plan
        });
    let failures = run_all(&plans.collect::<Vec<_>>());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
