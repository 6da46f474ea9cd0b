//! How the program is linked in `profile.small`.
//!
//! A program that may be loaded anywhere has a table of all addresses in its data, 24 bytes for each on a machine of 64
//! bits. Packed (`DT_RELR` of the ELF specification) it takes a tenth of that, some 0.5 MB less. The dynamic loader has to
//! know the form, as glibc does since 2.36. Like the symbols that a program uses, this is taken from the C library of the
//! machine that builds: where that one knows, and the program is built for the same kind of machine, it is packed.

use std::env::var;

/// What the C library says of itself if it knows.
const KNOWS: &[u8] = b"GLIBC_ABI_DT_RELR";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| var(name).is_ok_and(|value| value == wanted);
    let for_itself = var("HOST").is_ok() && var("HOST") == var("TARGET");
    if is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_ENV", "gnu") && for_itself && loader_knows() {
        println!("cargo::rustc-link-arg-bins=-zpack-relative-relocs");
    }
}

/// Whether the C library with which this very script runs knows packed relocations. False if it cannot be told.
fn loader_knows() -> bool {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return false;
    };
    let library = maps
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| path.ends_with("/libc.so.6"));
    library
        .and_then(|path| std::fs::read(path).ok())
        .is_some_and(|bytes| bytes.windows(KNOWS.len()).any(|part| part == KNOWS))
}
