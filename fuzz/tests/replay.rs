//! Every target on its seeds, and on thousands of variations of them, without libFuzzer.
//!
//! The variations come from a fixed generator, so that a failure comes again. `FERROLITE_FUZZ_ROUNDS` says how many
//! there are for each target. An input that fails is kept in `artifacts/`, where libFuzzer keeps its own, and both
//! can be given to a target's program, or be put into `corpus/` to be tried by this test from then on.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ferrolite_fuzz::{Target, targets};

const DEFAULT_ROUNDS: u64 = 4000;
/// Longest input that is made up from nothing, in bytes.
const LONGEST_NEW_BYTES: u64 = 600;

/// A small deterministic generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a length")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names and contents of the files in a directory, in order.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it was listed").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).expect("it was listed");
            (path, bytes)
        })
        .collect()
}

/// A seed with a few changes, two seeds in one, or bytes from nothing.
fn variation(rng: &mut Rng, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    if seeds.is_empty() || rng.below(8) == 0 {
        let len = rng.next() % LONGEST_NEW_BYTES;
        return (0..len).map(|_| rng.byte()).collect();
    }
    let mut input = seeds[rng.below(seeds.len())].1.clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() + 1);
        match rng.below(9) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = rng.byte();
                }
            }
            3 => input.truncate(at),
            4 => input.insert(at, rng.byte()),
            5 => {
                // Numbers that lengths and counts go wrong with.
                let edges = [0, 1, 0x7f, 0x80, 0xff, 0xffff, u64::MAX >> 1, u64::MAX];
                let number = edges[rng.below(edges.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)];
                for (byte, new) in input.iter_mut().skip(at).zip(&number[..width]) {
                    *byte = *new;
                }
            }
            6 => {
                let len = rng.below(input.len() - at + 1).min(64);
                input.drain(at..at + len);
            }
            7 => {
                let len = rng.below(input.len() - at + 1).min(64);
                let piece = input[at..at + len].to_vec();
                let to = rng.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => {
                let other = &seeds[rng.below(seeds.len())].1;
                input.truncate(at);
                input.extend_from_slice(&other[rng.below(other.len() + 1)..]);
            }
        }
    }
    input
}

/// Calls the target, and keeps an input that it fails on.
fn try_input(name: &str, target: Target, input: &[u8], what: &str) {
    if catch_unwind(|| target(input)).is_err() {
        let dir = manifest_dir().join("artifacts").join(name);
        std::fs::create_dir_all(&dir).expect("room for the input");
        let path = dir.join(what);
        std::fs::write(&path, input).expect("room for the input");
        panic!("{name} fails on {}", path.display());
    }
}

fn replay(name: &str) {
    let Some((_, target)) = targets().into_iter().find(|(found, _)| *found == name) else {
        return; // its layer was not built
    };
    let seeds = files(&manifest_dir().join("corpus").join(name));
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (path, seed) in &seeds {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        try_input(name, target, seed, &format!("seed-{file}"));
    }
    let rounds = match std::env::var("FERROLITE_FUZZ_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("a number of rounds"),
        Err(_) => DEFAULT_ROUNDS,
    };
    for round in 0..rounds {
        let input = variation(&mut Rng(round << 16), &seeds);
        try_input(name, target, &input, &format!("round-{round}"));
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            /// No seed of this target, and no variation of one, breaks a promise.
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    consensus_message
    consensus_simulation
    consensus_storm
    pager_snapshot
    pager_sums
    pager_validate
    wal_frames
    wal_log
    wal_slot
    wal_view
    wire_request
    wire_response
    wire_stream
}

/// A target that has a program or seeds, but is not replayed here, would rot.
#[test]
fn every_target_is_replayed() {
    for dir in ["fuzz_targets", "corpus"] {
        let entries = std::fs::read_dir(manifest_dir().join(dir)).expect("it is there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("it was listed").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        assert_eq!(names, REPLAYED, "{dir}");
    }
    for (name, _) in targets() {
        assert!(REPLAYED.contains(&name), "{name}");
    }
}
