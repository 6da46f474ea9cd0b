//! What came of rounds, for the reader.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::Kind;
use crate::round::{Line, Outcome};

/// So many lines of an explanation are shown; the rest is kept with the round.
const MOST_LINES: usize = 12;

/// Says what came of a round.
pub(crate) fn describe(outcome: &Outcome, seed: u64) {
    let lines = outcome.lines.values();
    println!(
        "seed {seed}: {}; {} operations, {} faults, read to the end {:.1} s after all was healed",
        if outcome.is_good() { "good" } else { "WRONG" },
        lines.map(|line| line.operations).sum::<u64>(),
        outcome.faults.values().sum::<u64>(),
        outcome.recovered.as_secs_f64(),
    );
    for (name, line) in &outcome.lines {
        for wrong in &line.wrong {
            show_wrong(&format!("{name}: {wrong}"));
        }
    }
    for wrong in &outcome.wrong {
        show_wrong(wrong);
    }
    for known in &outcome.engine {
        show("known ", known);
    }
}

fn show_wrong(wrong: &str) {
    show("WRONG ", wrong);
}

fn show(word: &str, what: &str) {
    let lines: Vec<&str> = what.lines().take(MOST_LINES).collect();
    println!("  {word}{}", lines.join("\n        "));
}

/// What came of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rounds: usize,
    bad_rounds: usize,
    lines: BTreeMap<String, Line>,
    faults: BTreeMap<Kind, u64>,
    wrong_with_nodes: usize,
    known_of_engine: usize,
}

impl Table {
    /// Adds a round.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.rounds += 1;
        self.bad_rounds += usize::from(!outcome.is_good());
        self.wrong_with_nodes += outcome.wrong.len();
        self.known_of_engine += outcome.engine.len();
        for (name, line) in outcome.lines {
            let sum = self.lines.entry(name).or_default();
            sum.operations += line.operations;
            sum.acknowledged += line.acknowledged;
            sum.unknown += line.unknown;
            sum.wrong.extend(line.wrong);
        }
        for (kind, count) in outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    /// Prints it. Says whether all was good.
    pub(crate) fn print(&self, took: Duration) -> bool {
        println!(
            "\n{:<16} {:>10} {:>13} {:>8}  verdict",
            "workload", "operations", "acknowledged", "unknown"
        );
        for (name, line) in &self.lines {
            let verdict = verdict(line.wrong.len());
            let Line {
                operations,
                acknowledged,
                unknown,
                ..
            } = line;
            println!("{name:<16} {operations:>10} {acknowledged:>13} {unknown:>8}  {verdict}");
        }
        println!(
            "{:<16} {:>10} {:>13} {:>8}  {}",
            "nodes and files",
            "",
            "",
            "",
            verdict(self.wrong_with_nodes)
        );
        println!("\n{:<18} times", "fault");
        for (kind, count) in &self.faults {
            println!("{kind:<18} {count:>5}");
        }
        println!(
            "\n{} rounds, {} of them wrong, {} known faults of the engine survived, {:.0} s",
            self.rounds,
            self.bad_rounds,
            self.known_of_engine,
            took.as_secs_f64()
        );
        self.rounds > 0 && self.bad_rounds == 0
    }
}

fn verdict(wrong: usize) -> String {
    match wrong {
        0 => "good".to_owned(),
        wrong => format!("{wrong} WRONG"),
    }
}
