//! Calls one target on files, such as inputs that were kept in `artifacts/`: `cargo run --example run -- TARGET FILE…`
//!
//! It is what a target's libFuzzer program does with files, without libFuzzer.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().ok_or("which target?")?;
    let (_, target) = ferrolite_fuzz::targets()
        .into_iter()
        .find(|(name, _)| *name == wanted)
        .ok_or("there is no such target")?;
    for path in arguments.map(PathBuf::from) {
        println!("{}", path.display());
        target(&std::fs::read(&path)?);
    }
    Ok(())
}
