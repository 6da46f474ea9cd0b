//! What can be said of lists without knowing who came first, and the order of each list's elements.

use std::collections::{BTreeMap, BTreeSet};

use super::{Micro, Operation};
use crate::check::{Anomaly, Violation, list};

/// The operation with this index in the history.
pub(super) type Index = usize;

/// A list as a transaction found it, without what it appended itself.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) by: Index,
    pub(super) list: Vec<i64>,
}

/// What is known of a list.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// Who appended what, or tried to.
    pub(super) writers: BTreeMap<i64, Index>,
    /// All reads, one for each transaction.
    pub(super) reads: Vec<Read>,
    /// The elements in their order, as far as anybody has read them.
    pub(super) order: Vec<i64>,
    /// Elements that are in the list but that nobody has read.
    pub(super) unread: Vec<i64>,
}

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) keys: BTreeMap<i64, Key>,
}

/// What a transaction found and left, list by list.
#[derive(Debug, Default)]
struct Own {
    /// What it appended until now.
    appended: Vec<i64>,
    /// What it found when it first read.
    found: Option<Vec<i64>>,
    /// What it must find if it reads again.
    expected: Option<Vec<i64>>,
    /// What it has read that was longest.
    read: Vec<i64>,
}

fn violation<'o>(
    anomaly: Anomaly,
    why: &str,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Violation {
    Violation::new(anomaly, format!("{why}{}", crate::check::lines(operations)))
}

impl Lists {
    /// Gathers what is known.
    ///
    /// # Errors
    /// What is wrong with the lists alone.
    pub(super) fn of(operations: &[Operation]) -> Result<Self, Violation> {
        let mut lists = Self::default();
        let mut own = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            lists.note_writers(operations, index)?;
            own.push(in_itself(operation)?);
        }
        for (index, own) in own.iter().enumerate() {
            for (key, own) in own {
                if let Some(found) = &own.found {
                    let key = lists.keys.entry(*key).or_default();
                    key.reads.push(Read {
                        by: index,
                        list: found.clone(),
                    });
                }
            }
        }
        for (name, key) in &lists.keys {
            for read in &key.reads {
                key.check_read(*name, read, operations)?;
            }
        }
        // What others have seen has happened, whatever its client was told.
        let happened = lists.happened(operations);
        for (name, key) in &mut lists.keys {
            let whole = own
                .iter()
                .enumerate()
                .filter(|(index, _)| happened.contains(index));
            let whole = whole
                .filter_map(|(index, own)| own.get(name).map(|own| (index, own.read.as_slice())));
            let found = key.reads.iter().map(|read| (read.by, read.list.as_slice()));
            let order = order(*name, whole.chain(found), operations)?;
            let read: BTreeSet<i64> = order.iter().copied().collect();
            let appended = key.writers.iter().filter(|(_, by)| happened.contains(by));
            let unread = appended
                .map(|(element, _)| *element)
                .filter(|element| !read.contains(element));
            key.unread = unread.collect();
            key.order = order;
            key.check_last(*name, operations)?;
        }
        Ok(lists)
    }

    fn note_writers(&mut self, operations: &[Operation], index: Index) -> Result<(), Violation> {
        let micros = operations
            .get(index)
            .map(|operation| operation.question.micros.as_slice());
        for micro in micros.unwrap_or_default() {
            let Micro::Append { key, element } = micro else {
                continue;
            };
            let writers = &mut self.keys.entry(*key).or_default().writers;
            if let Some(other) = writers.insert(*element, index) {
                let shown = [other, index]
                    .into_iter()
                    .filter_map(|index| operations.get(index));
                let why = format!("{element} is appended to {key} more than once");
                return Err(violation(Anomaly::Malformed, &why, shown));
            }
        }
        Ok(())
    }

    /// Which transactions have certainly happened.
    fn happened(&self, operations: &[Operation]) -> BTreeSet<Index> {
        let acknowledged = operations.iter().enumerate();
        let acknowledged = acknowledged.filter(|(_, operation)| operation.is_ok());
        let mut happened: BTreeSet<Index> = acknowledged.map(|(index, _)| index).collect();
        for key in self.keys.values() {
            // Lists are beginnings of each other, which is checked later: the longest has all.
            for read in &key.reads {
                happened.extend(
                    read.list
                        .iter()
                        .filter_map(|element| key.writers.get(element)),
                );
            }
        }
        happened
    }
}

/// Whether a transaction's reads agree with each other and with what it appended, and what it found.
fn in_itself(operation: &Operation) -> Result<BTreeMap<i64, Own>, Violation> {
    let micros = &operation.question.micros;
    let mut keys: BTreeMap<i64, Own> = BTreeMap::new();
    for micro in micros {
        match micro {
            Micro::Append { key, element } => {
                let own = keys.entry(*key).or_default();
                own.appended.push(*element);
                if let Some(expected) = &mut own.expected {
                    expected.push(*element);
                }
            }
            Micro::Read { list: None, .. } => {}
            Micro::Read {
                key,
                list: Some(read),
            } => {
                let own = keys.entry(*key).or_default();
                own.note_read(*key, read, operation)?;
            }
        }
    }
    for (key, own) in &keys {
        let found = own.found.iter().flatten();
        if let Some(element) = found
            .into_iter()
            .find(|element| own.appended.contains(element))
        {
            let why = format!(
                "it found {element} in {key}, which it appended itself, and later or elsewhere"
            );
            return Err(violation(Anomaly::Internal, &why, [operation]));
        }
    }
    Ok(keys)
}

impl Own {
    fn note_read(
        &mut self,
        key: i64,
        read: &[i64],
        operation: &Operation,
    ) -> Result<(), Violation> {
        let mut seen = BTreeSet::new();
        if let Some(element) = read.iter().find(|element| !seen.insert(**element)) {
            let why = format!("{element} is in {key} more than once");
            return Err(violation(Anomaly::Duplicate, &why, [operation]));
        }
        match &self.expected {
            Some(expected) if expected != read => {
                let why = format!(
                    "list {key} must be {} when it is read again",
                    list(expected)
                );
                return Err(violation(Anomaly::Internal, &why, [operation]));
            }
            Some(_) => {}
            None => {
                let Some(found) = read.strip_suffix(self.appended.as_slice()) else {
                    let why = format!("list {key} must end with {}", list(&self.appended));
                    return Err(violation(Anomaly::Internal, &why, [operation]));
                };
                self.found = Some(found.to_vec());
                self.expected = Some(read.to_vec());
            }
        }
        self.read = read.to_vec();
        Ok(())
    }
}

impl Key {
    /// Who appended an element.
    pub(super) fn writer(&self, element: i64) -> Option<Index> {
        self.writers.get(&element).copied()
    }

    fn check_read(
        &self,
        name: i64,
        read: &Read,
        operations: &[Operation],
    ) -> Result<(), Violation> {
        let reader = || operations.get(read.by);
        for element in &read.list {
            let Some(writer) = self.writer(*element) else {
                let why = format!("nobody appended {element} to {name}");
                return Err(violation(Anomaly::Phantom, &why, reader()));
            };
            let writer = operations.get(writer);
            if writer.is_some_and(Operation::is_failed) {
                let why = format!("{element} is in {name}, and its transaction failed");
                return Err(violation(
                    Anomaly::AbortedRead,
                    &why,
                    writer.into_iter().chain(reader()),
                ));
            }
        }
        let last = read.list.last();
        let Some(writer) = last.and_then(|last| self.writer(*last)) else {
            return Ok(());
        };
        let writer = operations.get(writer);
        let micros = writer
            .map(|writer| writer.question.micros.as_slice())
            .unwrap_or_default();
        let final_append = micros.iter().rev().find_map(|micro| match micro {
            Micro::Append { key, element } if *key == name => Some(element),
            _ => None,
        });
        if final_append != last {
            let why = format!("list {name} was read when a transaction was not done with it");
            return Err(violation(
                Anomaly::IntermediateRead,
                &why,
                writer.into_iter().chain(reader()),
            ));
        }
        Ok(())
    }

    /// Whether what was acknowledged is there at the end.
    fn check_last(&self, name: i64, operations: &[Operation]) -> Result<(), Violation> {
        let operation = |read: &&Read| operations.get(read.by);
        let mut last = self.reads.iter();
        let is_last = |operation: &Operation| operation.is_final() && operation.is_ok();
        let Some(last) = last.rfind(|read| operation(read).is_some_and(is_last)) else {
            return Ok(());
        };
        let there: BTreeSet<i64> = last.list.iter().copied().collect();
        for (element, writer) in &self.writers {
            let writer = operations.get(*writer);
            if writer.is_some_and(Operation::is_ok) && !there.contains(element) {
                let why = format!(
                    "{element} was acknowledged to be in {name}, and is not there in the end"
                );
                return Err(violation(
                    Anomaly::Lost,
                    &why,
                    writer.into_iter().chain(operation(&last)),
                ));
            }
        }
        Ok(())
    }
}

/// The longest list that was read, of which all others must be beginnings.
fn order<'r>(
    name: i64,
    reads: impl Iterator<Item = (Index, &'r [i64])>,
    operations: &[Operation],
) -> Result<Vec<i64>, Violation> {
    let reads: Vec<(Index, &[i64])> = reads.collect();
    let longest = reads
        .iter()
        .max_by_key(|(index, read)| (read.len(), std::cmp::Reverse(*index)));
    let Some((by, longest)) = longest else {
        return Ok(Vec::new());
    };
    for (other, read) in &reads {
        if !longest.starts_with(read) {
            let shown = [*by, *other]
                .into_iter()
                .filter_map(|index| operations.get(index));
            let why = format!(
                "list {name} was {}, and it was {}",
                list(longest),
                list(read)
            );
            return Err(violation(Anomaly::IncompatibleOrders, &why, shown));
        }
    }
    Ok(longest.to_vec())
}
