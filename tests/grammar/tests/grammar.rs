//! What users of the grammar rely on: that a seed says all, and that nothing of the grammar is never seen.

use std::collections::BTreeSet;

use fastrand::Rng;
use ferrolite_grammar::{Generator, Kind, Production, Profile, Step, Value};

fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let profile = Profile::draw(&mut rng);
    let mut generator = Generator::new(rng, profile);
    (0..count).map(|_| generator.next_step()).collect()
}

/// A failure that a seed has shown can be shown again.
#[test]
fn the_same_seed_makes_the_same_steps() {
    for seed in 0..20 {
        assert_eq!(steps(seed, 500), steps(seed, 500), "seed {seed}");
    }
    assert_ne!(steps(1, 500), steps(2, 500));
}

/// No part of the grammar is one that no draw leads to.
#[test]
fn everything_is_produced() {
    let all = (0..40).flat_map(|seed| steps(seed, 500));
    let seen: BTreeSet<Production> = all
        .flat_map(|step| step.statements)
        .flat_map(|statement| statement.productions)
        .collect();
    let missing: Vec<_> = Production::ALL
        .iter()
        .filter(|production| !seen.contains(production))
        .collect();
    assert!(missing.is_empty(), "never produced: {missing:?}");
    for production in Production::ALL {
        assert_eq!(format!("{production:?}").parse(), Ok(*production));
    }
}

/// What runners build upon: as many parameters as there are places for, one statement in a text, transactions that end, and
/// values of all sizes that are promised.
#[test]
fn steps_are_well_formed() {
    let (mut longest, mut empty) = (0, false);
    for step in (100..120).flat_map(|seed| steps(seed, 500)) {
        for statement in &step.statements {
            let places = statement.sql.matches('?').count();
            assert_eq!(places, statement.params.len(), "{}", statement.sql);
            assert!(
                !statement.sql.trim_end().ends_with(';'),
                "{}",
                statement.sql
            );
            assert!(!statement.productions.is_empty(), "{}", statement.sql);
            for param in &statement.params {
                if let Value::Blob(bytes) = param {
                    longest = longest.max(bytes.len());
                    empty |= bytes.is_empty();
                }
            }
        }
        let ends = |statement: &str| ["COMMIT", "ROLLBACK", "RELEASE s0"].contains(&statement);
        let (Some(first), Some(last)) = (step.statements.first(), step.statements.last()) else {
            panic!("a step is empty");
        };
        assert_eq!(step.transactional, ends(&last.sql), "{}", last.sql);
        if step.transactional {
            assert_eq!(first.kind, Kind::Control, "{}", first.sql);
        }
    }
    assert!(
        empty && longest > 16 * 1024,
        "the longest blob has {longest} bytes"
    );
}

/// What the product refuses is not asked for.
#[test]
fn nothing_is_asked_for_that_is_refused() {
    let refused = [
        "ATTACH",
        "DETACH",
        "VACUUM INTO",
        "journal_mode",
        "page_size",
        "wal_checkpoint",
        "TEMP",
    ];
    for statement in (200..210)
        .flat_map(|seed| steps(seed, 500))
        .flat_map(|step| step.statements)
    {
        assert!(
            !refused.iter().any(|word| statement.sql.contains(word)),
            "{}",
            statement.sql
        );
    }
}
