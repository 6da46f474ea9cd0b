//! Making a failing tape small: the fewer and the smaller its bytes, the shorter and calmer the script.

use super::{Tape, run_caught};

/// The smallest tape found within `tries` runs that still breaks `invariant`.
pub fn shrink(tape: &[u8], steps: u32, invariant: &str, tries: u32) -> Vec<u8> {
    shrink_while(tape, tries, |bytes| {
        let outcome = run_caught(Tape::from_bytes(bytes), steps, false);
        outcome
            .violation
            .is_some_and(|violation| violation.invariant == invariant)
    })
}

/// The smallest bytes found within `tries` calls for which `holds` is true, as it is for `tape`.
pub fn shrink_while(tape: &[u8], tries: u32, holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut tries = tries;
    let mut fails = |bytes: &[u8]| {
        tries = tries.checked_sub(1)?;
        Some(holds(bytes))
    };
    let mut best = tape.to_vec();
    // The end first: whatever follows the failure does not matter.
    let (mut low, mut high) = (0, best.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match fails(&best[..middle]) {
            Some(true) => high = middle,
            Some(false) => low = middle + 1,
            None => break,
        }
    }
    if fails(&best[..high]) == Some(true) {
        best.truncate(high);
    }
    // Then ever smaller pieces: left out, or put to rest (a zero byte chooses the quiet alternative).
    let mut piece = best.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let end = (at + piece).min(best.len());
            let mut without = best.clone();
            without.drain(at..end);
            let mut quiet = best.clone();
            quiet[at..end].fill(0);
            match fails(&without) {
                Some(true) => {
                    best = without;
                    continue;
                }
                None => return best,
                Some(false) => {}
            }
            if quiet != best {
                match fails(&quiet) {
                    Some(true) => best = quiet,
                    None => return best,
                    Some(false) => {}
                }
            }
            at = end;
        }
        piece /= 2;
    }
    best
}

/// The lines of a script that tell how it came to a failure: all of the rough phase, and of the second the beginning and
/// the end, between which the same is tried again and again.
pub fn essential(script: &[String]) -> Vec<String> {
    const BEGINNING: usize = 40;
    const END: usize = 20;
    let healed = script
        .iter()
        .position(|line| line.contains("---- healed"))
        .unwrap_or(script.len());
    let (first, last) = (healed + BEGINNING, script.len().saturating_sub(END));
    if first >= last {
        return script.to_vec();
    }
    let mut lines = script[..first].to_vec();
    lines.push(format!("            … {} more events …", last - first));
    lines.extend_from_slice(&script[last..]);
    lines
}
