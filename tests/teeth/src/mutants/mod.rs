//! Defects that are put into the database, to see whether the simulator finds them.
//!
//! A checker that has never caught anything has not been tested. Each [`Mutant`] replaces a few lines of the source and so
//! brings in one defect: a sync that is left out, an answer that does not wait, an index that is one off. This program
//! builds the simulator with all of them, switches one on at a time, and prints what caught it at which seed.
//!
//! All of them are built in at once, because the build takes longer than the search: where a mutant replaces something, both
//! versions are compiled, and which of them runs is asked of [the environment](SWITCH). With none switched on it is the
//! program that it was.

mod engine;
mod log;
mod pager;
mod reads;
mod replica;

/// The mutants of all layers.
pub const LAYERS: &[(&str, &[Mutant])] = &[
    ("log", log::MUTANTS),
    ("pager", pager::MUTANTS),
    ("engine", engine::MUTANTS),
    ("replica", replica::MUTANTS),
    ("reads", reads::MUTANTS),
];

/// The variable of the environment that names the mutant which is switched on.
pub const SWITCH: &str = "FERROLITE_MUTANT";

/// What each crate with a mutant in it has at its end.
pub const ASKS: &str = r#"
pub(crate) fn mutant(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("FERROLITE_MUTANT").ok()).as_deref() == Some(name)
}
"#;

/// One defect.
pub struct Mutant {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is wrong with the program that has it.
    pub defect: &'static str,
    pub edits: &'static [Edit],
}

/// What the simulator is asked for besides the seed, for a mutant that seeds alone seldom bring to light: load and faults that
/// have to come together.
pub fn circumstances(mutant: &str) -> &'static [&'static str] {
    const DEPOSED: &[&str] = &["--workload", "register", "--with", "partition,suspension"];
    const LEASES: &[&str] = &[
        "--workload",
        "register",
        "--leases",
        "--with",
        "partition,transfer,suspension,clients,clock-drift,clock-jump",
    ];
    match mutant {
        "reads-unconfirmed" | "databases-left-open" | "old-engine-confirmed" => DEPOSED,
        "idle-writer-unconfirmed" => &["--workload", "long-fork", "--with", "partition,suspension"],
        "lease-not-taken-back" | "lease-without-end" | "lease-trusts-clocks" => LEASES,
        "torn-tail-kept" | "torn-tail-unwiped" | "superseded-terms" => {
            &["--with", "crash,torn-crash,partition"]
        }
        "mark-not-begun" => &["--with", "torn-crash,crash"],
        "snapshot-newest-too-low" => &["--with", "restart,crash,suspension"],
        "repair-takes-any" => &["--with", "rot,misdirected-write"],
        "shrink-forgotten" => &["--workload", "grammar"],
        "uncommitted-checkpointed" => &["--with", "stall"],
        _ => &[],
    }
}

/// A replacement in one file of the workspace; white space does not count in finding the place.
pub struct Edit {
    pub file: &'static str,
    pub from: &'static str,
    pub to: To,
}

/// What comes in the place.
pub enum To {
    /// Other statements, or none.
    Statements(&'static str),
    /// Another expression of the same type.
    Expression(&'static str),
    /// Text in which `ON` is whether the mutant is switched on.
    Text(&'static str),
}

const fn statements(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    let to = To::Statements(to);
    Edit { file, from, to }
}

const fn expression(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    let to = To::Expression(to);
    Edit { file, from, to }
}

const fn text(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    let to = To::Text(to);
    Edit { file, from, to }
}

/// All mutants, with their layers.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Mutant)> {
    let layers = LAYERS.iter();
    layers.flat_map(|(layer, mutants)| mutants.iter().map(|mutant| (*layer, mutant)))
}

/// Makes an edit. The text must stand in the source exactly once.
pub fn apply(source: &str, mutant: &Mutant, edit: &Edit) -> Result<String, String> {
    let solid: Vec<(usize, char)> = source
        .char_indices()
        .filter(|(_, c)| !c.is_whitespace())
        .collect();
    let wanted: Vec<char> = edit.from.chars().filter(|c| !c.is_whitespace()).collect();
    let places: Vec<usize> = (0..=solid.len().saturating_sub(wanted.len()))
        .filter(|&at| {
            let here = solid.iter().skip(at).map(|(_, c)| c);
            here.take(wanted.len()).eq(wanted.iter())
        })
        .collect();
    let [at] = places.as_slice() else {
        return Err(format!(
            "{} places instead of one in {}:\n{}",
            places.len(),
            edit.file,
            edit.from
        ));
    };
    let start = solid.get(*at).map_or(0, |(start, _)| *start);
    let last = at + wanted.len().saturating_sub(1);
    let end = solid.get(last).map_or(0, |(last, c)| last + c.len_utf8());
    let (before, rest) = source.split_at(start);
    let (from, after) = rest.split_at(end.saturating_sub(start));
    let on = format!("crate::mutant({:?})", mutant.name);
    let both = match edit.to {
        To::Statements(to) => format!("if {on} {{ {to} }} else {{ {from} }}"),
        To::Expression(to) => format!("(if {on} {{ {to} }} else {{ {from} }})"),
        To::Text(to) => to.replace("ON", &on),
    };
    Ok(format!("{before}{both}{after}"))
}
