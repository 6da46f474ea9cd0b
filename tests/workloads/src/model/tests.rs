//! The workloads on the toy.

use std::pin::Pin;

use super::{Fault, Toy};
use crate::check::{Anomaly, Violation};
use crate::connection::World;
use crate::history::FINISH;
use crate::work::{Length, Name, Scenario, Summary};

const CLIENTS: u64 = 5;
const OPERATIONS: u64 = 120;
const SEEDS: u64 = 8;

async fn setup(toy: &Toy, scenario: &Scenario) {
    for _ in 0..100 {
        if let Ok(mut connection) = toy.connect(FINISH).await
            && scenario.setup(&mut connection).await.is_ok()
        {
            return;
        }
    }
    panic!("no setup");
}

async fn finish(toy: &Toy, scenario: &Scenario) {
    for _ in 0..10_000 {
        if let Ok(mut connection) = toy.connect(FINISH).await
            && scenario.finish(toy, &mut connection).await.is_ok()
        {
            return;
        }
    }
    panic!("no finish");
}

/// A run, and what its history looks like.
fn run(name: Name, seed: u64, fault: Fault) -> (Result<Summary, Violation>, String) {
    let toy = Toy::new(seed, fault);
    let scenario = Scenario::new(name);
    toy.run([Box::pin(setup(&toy, &scenario)) as Pin<Box<dyn Future<Output = ()>>>]);
    toy.arm();
    let clients = (0..CLIENTS).map(|number| {
        let (toy, scenario) = (&toy, &scenario);
        let client = async move {
            let mut rng = fastrand::Rng::with_seed(seed ^ number << 32);
            let length = Length::Operations(OPERATIONS);
            scenario.client(toy, number, &mut rng, length).await;
        };
        Box::pin(client) as Pin<Box<dyn Future<Output = ()>>>
    });
    toy.run(clients);
    toy.0.armed.set(false);
    toy.run([Box::pin(finish(&toy, &scenario)) as Pin<Box<dyn Future<Output = ()>>>]);
    (scenario.check(), scenario.to_string())
}

/// A database that keeps its promises is not accused, also if connections break.
#[test]
fn clean_runs_pass() {
    for name in Name::ALL {
        let mut unknown = 0;
        for seed in 0..2 * SEEDS {
            let (verdict, history) = run(*name, seed, Fault::None);
            match verdict {
                Ok(summary) => {
                    assert!(summary.acknowledged > 200, "{name} {seed}: {summary}");
                    assert!(summary.failed > 10, "{name} {seed}: {summary}");
                    unknown += summary.unknown;
                }
                Err(violation) => panic!("{name}, seed {seed}: {violation}\n{history}"),
            }
        }
        assert!(unknown > 20, "{name}: {unknown}");
    }
}

/// The same seed is the same history.
#[test]
fn runs_are_deterministic() {
    for name in Name::ALL {
        assert_eq!(run(*name, 7, Fault::None), run(*name, 7, Fault::None));
    }
}

/// What is not decided does not pass.
#[test]
fn an_unfinished_run_does_not_pass() {
    for name in Name::ALL {
        let verdict = Scenario::new(*name).check();
        assert_eq!(
            verdict.map_err(|violation| violation.anomaly),
            Err(Anomaly::Undecided),
            "{name}"
        );
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in Name::ALL {
        assert_eq!(name.to_string().parse(), Ok(*name));
        assert_eq!(Scenario::new(*name).name(), *name);
    }
    assert!("none".parse::<Name>().is_err());
}

/// Which faults each workload has to show.
#[test]
fn faults_are_found() {
    use Fault::{Denies, Dirty, Loses, Repeats, Skew, Stale, Tears};
    let mut missed = Vec::new();
    for (name, faults) in [
        (Name::Bank, &[Loses, Tears, Dirty, Stale, Skew, Denies][..]),
        (
            Name::Append,
            &[Loses, Tears, Dirty, Stale, Skew, Denies, Repeats],
        ),
        (Name::Register, &[Loses, Tears, Stale, Denies]),
        (Name::Set, &[Loses, Tears, Dirty, Stale, Denies, Repeats]),
        (Name::LongFork, &[Loses, Tears, Dirty, Stale, Denies]),
        (
            Name::Monotonic,
            &[Loses, Tears, Dirty, Stale, Skew, Denies, Repeats],
        ),
    ] {
        for fault in faults {
            let mut anomalies = std::collections::BTreeMap::new();
            for seed in 0..SEEDS {
                let verdict = run(name, seed, *fault).0;
                let anomaly = verdict.err().map(|violation| violation.anomaly);
                *anomalies.entry(anomaly).or_insert(0) += 1;
            }
            // A dirty read or a stale write has to meet somebody to be wrong.
            let rare = matches!(fault, Dirty | Skew);
            let most = if rare { SEEDS - 1 } else { 0 };
            if anomalies.get(&None).is_some_and(|passed| *passed > most) {
                missed.push((name, *fault, anomalies));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
