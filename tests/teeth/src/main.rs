//! Puts defects into the database, one at a time, and prints what the simulator catches each of them with.
//!
//! ```text
//! cargo run -p ferrolite-teeth [-- --only NAME] [--limit SEEDS] [--list]
//! ```
//!
//! It does not link the simulator, so that it is built at once. The workspace's sources are copied to `target/teeth`, where the [mutants] are built into them: all at once, each behind a
//! question to the environment, so that one build serves them all. Then for each the simulator runs seed after seed until a
//! simulation fails. A seed that fails without any mutant proves nothing, and is passed over. Which those are is remembered
//! until the sources change.
//!
//! The exit status says whether all were caught. Interrupted, it leaves nothing but that directory, which the next run uses.

mod build;
mod mutants;
mod search;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mutants::Mutant;

/// Puts defects into the database, one at a time, and prints what the simulator catches each of them with.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only mutants whose name, or whose layer, holds this. May be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds are tried before a mutant counts as missed.
    #[arg(long, default_value_t = 200, value_name = "SEEDS")]
    limit: u64,
    /// What clients do, instead of what each seed says.
    #[arg(long)]
    workload: Option<String>,
    /// How many simulations run at a time. By default as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// A simulation that takes more seconds does not end.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u64,
    /// Print the mutants, and do nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen: Vec<(&str, &Mutant)> = mutants::all()
        .filter(|(layer, mutant)| {
            let mut words = arguments.only.iter();
            arguments.only.is_empty()
                || words.any(|word| mutant.name.contains(word.as_str()) || layer == word)
        })
        .collect();
    if arguments.list {
        for (layer, mutant) in chosen {
            println!("{:<28} {layer:<8} {}", mutant.name, mutant.defect);
        }
        return ExitCode::SUCCESS;
    }
    match try_all(&arguments, &chosen) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries the mutants, and returns how many were not caught.
fn try_all(arguments: &Arguments, chosen: &[(&str, &Mutant)]) -> Result<usize, String> {
    let built = build::simulator()?;
    let search = search::Search::new(
        &built,
        arguments.workload.clone(),
        arguments.first
            ..=arguments
                .first
                .saturating_add(arguments.limit.saturating_sub(1)),
        arguments.jobs,
        Duration::from_secs(arguments.patience),
    )?;
    println!("| layer | defect | where | asked for | caught by | seed | seeds tried |");
    println!("|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for (nth, (layer, mutant)) in chosen.iter().enumerate() {
        let place = mutant.edits.first().map_or("", |edit| edit.file);
        let asked = search.asked(mutant.name).join(" ");
        let asked = if asked.is_empty() {
            "–".to_owned()
        } else {
            format!("`{asked}`")
        };
        let head = format!("| {layer} | {} | `{place}` | {asked} |", mutant.defect);
        let progress = format!("{} of {}, {}", nth + 1, chosen.len(), mutant.name);
        match search.first_failure(mutant.name, &progress)? {
            (Some(caught), tried) => {
                println!("{head} {} | {} | {tried} |", caught.why, caught.seed);
            }
            (None, tried) => {
                println!("{head} **nothing** | – | {tried} |");
                missed.push(mutant.name);
            }
        }
    }
    println!(
        "\n{} of {} caught; {} seeds fail without any defect and were passed over: {:?}",
        chosen.len() - missed.len(),
        chosen.len(),
        search.unsound().len(),
        search.unsound(),
    );
    if !missed.is_empty() {
        println!("not caught: {}", missed.join(", "));
    }
    Ok(missed.len())
}
