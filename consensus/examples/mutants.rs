//! Puts known bugs into the core, one at a time, and prints what catches each of them.
//!
//! ```text
//! cargo run --release -p ferrolite-consensus --example mutants [-- WORD…]
//! ```
//!
//! For each mutant of `tests/mutants` whose description holds one of the words (all, without words) the crate is copied
//! to a scratch directory, edited, built, and run in the simulator: first many short runs, then fewer long ones. The exit
//! status says whether all were caught.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../tests/mutants/mod.rs"]
mod mutants;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mutants::table::IMPOSSIBLE;
use mutants::{MUTANTS, Mutant};

/// Steps of a run, and how many runs.
const ROUNDS: &[(u32, u32)] = &[(400, 300_000), (4000, 100_000)];

const MANIFEST: &str = r#"
[package]
name = "ferrolite-consensus"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
bytes = { version = "1", default-features = false }
serde = { version = "1", default-features = false, features = ["derive", "alloc"], optional = true }
[dev-dependencies]
indicatif = "0.18"
signal-hook = { version = "0.3", default-features = false }
[profile.release]
opt-level = 2
debug-assertions = true
"#;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = MUTANTS
        .iter()
        .filter(|m| words.is_empty() || words.iter().any(|word| m.bug.contains(word.as_str())));
    let scratch = std::env::temp_dir().join(format!("ferrolite-mutants-{}", std::process::id()));
    let mut missed = 0;
    println!("| bug | source | caught by | seeds |");
    println!("|---|---|---|---|");
    for mutant in chosen {
        let result = try_mutant(&scratch, mutant);
        missed += u32::from(!matches!(result, Ok(Some(_))));
        let (caught, seeds) = match result {
            Ok(Some((invariant, seeds))) => (invariant, seeds),
            Ok(None) => ("NOT CAUGHT".to_owned(), "-".to_owned()),
            Err(error) => (format!("ERROR {error}"), "-".to_owned()),
        };
        println!(
            "| {} | {} | {caught} | {seeds} |",
            mutant.bug, mutant.source
        );
    }
    if words.is_empty() {
        println!("\n| cannot exist here | source | because |\n|---|---|---|");
        for (bug, source, reason) in IMPOSSIBLE {
            println!("| {bug} | {source} | {reason} |");
        }
    }
    let _ = std::fs::remove_dir_all(&scratch);
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn try_mutant(scratch: &Path, mutant: &Mutant) -> Result<Option<(String, String)>, String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = scratch.join("crate");
    let _ = std::fs::remove_dir_all(&crate_dir);
    for part in ["src", "examples", "tests/simulator"] {
        copy(&home.join(part), &crate_dir.join(part)).map_err(|error| error.to_string())?;
    }
    std::fs::remove_file(crate_dir.join("examples/mutants.rs"))
        .map_err(|error| error.to_string())?;
    std::fs::write(crate_dir.join("Cargo.toml"), MANIFEST).map_err(|error| error.to_string())?;
    let _ = std::fs::copy(home.join("../Cargo.lock"), crate_dir.join("Cargo.lock"));
    for edit in mutant.edits {
        let path = crate_dir.join("src").join(edit.file);
        let source = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        std::fs::write(&path, mutants::apply(&source, edit)?).map_err(|error| error.to_string())?;
    }
    let target = scratch.join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--example", "simulate"])
        .current_dir(&crate_dir)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-Awarnings")
        .output()
        .map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(format!(
            "does not build: {}",
            String::from_utf8_lossy(&built.stderr)
        ));
    }
    let program: PathBuf = target.join("release/examples/simulate");
    for (steps, seeds) in ROUNDS {
        let output = Command::new(&program)
            .args(["--quiet", "--no-shrink", "--jobs", "2"])
            .args(["--steps", &steps.to_string(), "--seeds", &seeds.to_string()])
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(found) = text.lines().find_map(|line| line.strip_prefix("seed ")) {
            let (seed, rest) = found.split_once(" breaks \"").ok_or("unexpected output")?;
            let invariant = rest.split('"').next().unwrap_or("?");
            return Ok(Some((
                invariant.to_owned(),
                format!("{seed} of {steps} steps"),
            )));
        }
    }
    Ok(None)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &target)?;
        } else {
            std::fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}
