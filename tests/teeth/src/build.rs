//! The simulator with all mutants built in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mutants;

/// Quick to build: nothing of it is linked into one piece, and what is not ours is compiled once.
const PROFILE: &[&str] = &[
    "profile.teeth.inherits=\"release\"",
    "profile.teeth.lto=false",
    "profile.teeth.codegen-units=16",
    "profile.teeth.incremental=true",
    "profile.teeth.opt-level=1",
    "profile.teeth.strip=\"none\"",
    "profile.teeth.package.\"*\".opt-level=1",
    "profile.teeth.package.\"*\".codegen-units=16",
];

/// Parts of the workspace that are not its source.
const NO_SOURCES: &[&str] = &["target", "fuzz"];

/// The simulator, and what it was built of.
pub struct Built {
    pub program: PathBuf,
    /// Where files may be kept until the sources change.
    pub directory: PathBuf,
    /// A checksum of the sources.
    pub sources: u32,
}

/// Builds it.
pub fn simulator() -> Result<Built, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from);
    let directory = target.join("teeth");
    let scratch = directory.join("source");
    let files = mutated(&workspace)?;
    let mut sum = crc32fast::Hasher::new();
    for (path, bytes) in &files {
        sum.update(path.as_os_str().as_encoded_bytes());
        sum.update(bytes);
    }
    refresh(&scratch, &files)
        .map_err(|error| format!("copying the sources to {}: {error}", scratch.display()))?;
    eprintln!("building the simulator with all mutants");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--locked", "-p", "ferrolite-sim"])
        .args(["--bin", "ferrolite-sim", "--profile", "teeth"])
        .current_dir(&scratch)
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .env("RUSTFLAGS", "-Awarnings");
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    let status = cargo.status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err("the simulator does not build with the mutants in it".to_owned());
    }
    Ok(Built {
        program: directory.join("target/teeth/ferrolite-sim"),
        directory,
        sources: sum.finalize(),
    })
}

/// All sources, by their paths in the workspace, with all mutants in them.
fn mutated(workspace: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    read(workspace, Path::new(""), &mut files).map_err(|error| error.to_string())?;
    let mut crates = BTreeSet::new();
    for (_, mutant) in mutants::all() {
        for edit in mutant.edits {
            let file = files
                .get_mut(Path::new(edit.file))
                .ok_or_else(|| format!("there is no {}", edit.file))?;
            let source = String::from_utf8(std::mem::take(file)).map_err(|e| e.to_string())?;
            let edited = mutants::apply(&source, mutant, edit);
            *file = edited
                .map_err(|why| format!("{}: {why}", mutant.name))?
                .into_bytes();
            let (name, _) = edit.file.split_once("/src/").unwrap_or_default();
            crates.insert(Path::new(name).join("src/lib.rs"));
        }
    }
    for root in crates {
        let root = files.get_mut(&root).ok_or("a crate has no src/lib.rs")?;
        root.extend_from_slice(mutants::ASKS.as_bytes());
    }
    Ok(files)
}

fn read(
    workspace: &Path,
    within: &Path,
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
) -> std::io::Result<()> {
    for item in std::fs::read_dir(workspace.join(within))? {
        let item = item?;
        let name = item.file_name();
        let is_source = name
            .to_str()
            .is_some_and(|name| !name.starts_with('.') && !NO_SOURCES.contains(&name));
        let path = within.join(&name);
        if !is_source {
            continue;
        }
        if item.file_type()?.is_dir() {
            read(workspace, &path, files)?;
        } else if item.file_type()?.is_file() {
            files.insert(path, std::fs::read(item.path())?);
        }
    }
    Ok(())
}

/// Makes `scratch` hold these files and no others. One that is there already is not touched, so that it is not built again.
fn refresh(scratch: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    std::fs::create_dir_all(scratch)?;
    let mut old = BTreeMap::new();
    read(scratch, Path::new(""), &mut old)?;
    for gone in old.keys().filter(|path| !files.contains_key(*path)) {
        std::fs::remove_file(scratch.join(gone))?;
    }
    for (path, bytes) in files {
        if old.get(path) != Some(bytes) {
            let path = scratch.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, bytes)?;
        }
    }
    Ok(())
}
