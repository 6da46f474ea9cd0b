//! Sets that only grow: what `set` and `long_fork` have in common.
//!
//! Writes add elements, all of a write or none; reads see all elements there are. Then a history is in order if
//! every read lies at one moment:
//!
//! - It shows no element twice, none that nobody wrote, none of a write that failed for certain, none of a
//!   write that was invoked when the read was complete, and of each write all or nothing.
//! - A read cannot lie before its invocation, nor before the invocation of any write that it shows. So it must show every
//!   element that was *established* before that: by the completion of its write, or of a read that showed it.
//! - Of two reads, one shows all that the other does. Otherwise they saw two writes in opposite orders, which
//!   is called a long fork.
//!
//! Reads that are ordered by what they show need only be compared with the next, so apart from looking at every element
//! of every read it is a matter of sorting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::{Anomaly, Violation};
use crate::history::Operation;

/// Elements that are written together.
pub(crate) struct Write<'h> {
    pub(crate) elements: &'h [i64],
    pub(crate) start: u64,
    /// Beyond all positions if its outcome is unknown.
    pub(crate) end: u64,
    /// Whether it was acknowledged.
    pub(crate) acknowledged: bool,
    /// Whether it certainly had no effect.
    pub(crate) failed: bool,
    /// How it reads.
    pub(crate) text: &'h dyn Display,
}

/// A read of all elements.
pub(crate) struct Read<'h> {
    pub(crate) elements: &'h [i64],
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether it was done when all clients had ended.
    pub(crate) last: bool,
    /// How it reads.
    pub(crate) text: &'h dyn Display,
}

impl<'h> Write<'h> {
    pub(crate) fn new<Q: Display, A: Display>(
        operation: &'h Operation<Q, A>,
        elements: &'h [i64],
    ) -> Self {
        Self {
            elements,
            start: operation.start(),
            end: operation.end(),
            acknowledged: operation.is_ok(),
            failed: operation.is_failed(),
            text: operation,
        }
    }
}

impl<'h> Read<'h> {
    pub(crate) fn new<Q: Display, A: Display>(
        operation: &'h Operation<Q, A>,
        elements: &'h [i64],
    ) -> Self {
        Self {
            elements,
            start: operation.start(),
            end: operation.end(),
            last: operation.is_final(),
            text: operation,
        }
    }
}

/// Since when an element must be shown, and what says so.
struct Established<'h> {
    since: u64,
    by: &'h dyn Display,
    acknowledged: bool,
}

/// Judges a history.
pub(crate) fn check(writes: &[Write<'_>], reads: &[Read<'_>]) -> Result<(), Violation> {
    let mut writers = BTreeMap::new();
    for write in writes {
        for element in write.elements {
            if let Some(other) = writers.insert(*element, write) {
                let why = format!("{element} is written twice{}", both(other.text, write.text));
                return Err(Violation::new(Anomaly::Malformed, why));
            }
        }
    }
    for read in reads {
        check_read(&writers, read)?;
    }
    let established = established(&writers, reads);
    for read in reads {
        check_complete(&writers, &established, read)?;
    }
    check_order(reads)
}

fn both(one: &dyn Display, other: &dyn Display) -> String {
    format!("\n  {one}\n  {other}")
}

/// What can be said of a read by itself.
fn check_read(writers: &BTreeMap<i64, &Write<'_>>, read: &Read<'_>) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for element in read.elements {
        if !seen.insert(*element) {
            let why = format!("{element}\n  {}", read.text);
            return Err(Violation::new(Anomaly::Duplicate, why));
        }
    }
    for element in &seen {
        let Some(write) = writers.get(element) else {
            let why = format!("{element} was never written\n  {}", read.text);
            return Err(Violation::new(Anomaly::Phantom, why));
        };
        let texts = both(write.text, read.text);
        if write.failed {
            let why = format!("{element} is there, and its write failed{texts}");
            return Err(Violation::new(Anomaly::AbortedRead, why));
        }
        if write.start > read.end {
            let why = format!("{element} was there before it was written{texts}");
            return Err(Violation::new(Anomaly::RealTime, why));
        }
        if let Some(missing) = write.elements.iter().find(|other| !seen.contains(other)) {
            let why = format!("{element} is there, but {missing} is not{texts}");
            return Err(Violation::new(Anomaly::PartialWrite, why));
        }
    }
    Ok(())
}

/// Since when each element must be shown.
fn established<'h>(
    writers: &BTreeMap<i64, &'h Write<'h>>,
    reads: &'h [Read<'h>],
) -> BTreeMap<i64, Established<'h>> {
    let mut established = BTreeMap::new();
    for (element, write) in writers {
        if write.acknowledged {
            let first = Established {
                since: write.end,
                by: write.text,
                acknowledged: true,
            };
            established.insert(*element, first);
        }
    }
    for read in reads {
        for element in read.elements {
            let known = established.entry(*element).or_insert(Established {
                since: read.end,
                by: read.text,
                acknowledged: false,
            });
            if read.end < known.since {
                known.since = read.end;
                known.by = read.text;
            }
        }
    }
    established
}

/// A read must show what is established before it.
fn check_complete(
    writers: &BTreeMap<i64, &Write<'_>>,
    established: &BTreeMap<i64, Established<'_>>,
    read: &Read<'_>,
) -> Result<(), Violation> {
    let shown: BTreeSet<i64> = read.elements.iter().copied().collect();
    let writes = shown.iter().filter_map(|element| writers.get(element));
    let latest = writes.max_by_key(|write| write.start);
    // The latest moment that it certainly does not lie before.
    let after = latest.filter(|write| write.start > read.start);
    let moment = after.map_or(read.start, |write| write.start);
    for (element, known) in established {
        if known.since >= moment || shown.contains(element) {
            continue;
        }
        let mut why = format!(
            "{element} is not there, and was{}",
            both(known.by, read.text)
        );
        if let Some(write) = after.filter(|_| known.since >= read.start) {
            why = format!(
                "{why}\n  which shows what was written later still:\n  {}",
                write.text
            );
        }
        let anomaly = match read.last && known.acknowledged {
            true => Anomaly::Lost,
            false => Anomaly::StaleRead,
        };
        return Err(Violation::new(anomaly, why));
    }
    Ok(())
}

/// Of any two reads, one must show all that the other does.
fn check_order(reads: &[Read<'_>]) -> Result<(), Violation> {
    let mut ordered: Vec<(BTreeSet<i64>, &Read<'_>)> = reads
        .iter()
        .map(|read| (read.elements.iter().copied().collect(), read))
        .collect();
    ordered.sort_by_key(|(elements, read)| (elements.len(), read.start));
    for pair in ordered.windows(2) {
        let [(fewer, less), (more, other)] = pair else {
            continue;
        };
        let missing = fewer.difference(more).next();
        let missing_there = more.difference(fewer).next();
        if let (Some(missing), Some(there)) = (missing, missing_there) {
            let why = format!(
                "one read shows {missing} and not {there}, the other {there} and not {missing}{}",
                both(less.text, other.text)
            );
            return Err(Violation::new(Anomaly::LongFork, why));
        }
    }
    Ok(())
}
