//! What can be said of lists without knowing who came first, and the order of each list's elements.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::own::{self, Own};
use super::{Micro, Operation};
use crate::check::{Anomaly, Violation, list};

/// The operation with this index in the history.
pub(super) type Index = usize;

/// A list as a transaction found it, without what it appended itself.
#[derive(Debug)]
pub(super) struct Read<'o> {
    pub(super) by: Index,
    pub(super) list: &'o [i64],
    /// The same with what it had appended itself when it read last.
    whole: &'o [i64],
}

/// What is known of a list.
#[derive(Debug, Default)]
pub(super) struct Key<'o> {
    /// Who appended what, or tried to.
    pub(super) writers: BTreeMap<i64, Index>,
    /// All reads, one for each transaction.
    pub(super) reads: Vec<Read<'o>>,
    /// The elements in their order, as far as anybody has read them.
    pub(super) order: Vec<i64>,
    /// Elements that are in the list but that nobody has read.
    pub(super) unread: Vec<i64>,
}

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Lists<'o> {
    pub(super) keys: BTreeMap<i64, Key<'o>>,
}

/// Something that is wrong with these operations.
pub(super) fn violation<'o>(
    anomaly: Anomaly,
    why: &str,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Violation {
    Violation::new(anomaly, format!("{why}{}", crate::check::lines(operations)))
}

impl<'o> Lists<'o> {
    /// Gathers what is known.
    ///
    /// # Errors
    /// What is wrong with the lists alone.
    pub(super) fn of(operations: &'o [Operation]) -> Result<Self, Violation> {
        let mut lists = Self::default();
        let mut own = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            lists.note_writers(operations, index)?;
            let keys = own::of(operation)?;
            for (key, own) in &keys {
                if let Some((list, whole)) = own.found.zip(own.read) {
                    let read = Read {
                        by: index,
                        list,
                        whole,
                    };
                    lists.keys.entry(*key).or_default().reads.push(read);
                }
            }
            own.push(keys);
        }
        for (name, key) in &lists.keys {
            for read in &key.reads {
                key.check_read(*name, read, operations)?;
            }
        }
        // What others have seen has happened, whatever its client was told.
        let happened = lists.happened(operations);
        for (name, key) in &mut lists.keys {
            let order = key.find_order(*name, &happened, operations)?;
            let read: BTreeSet<i64> = order.iter().copied().collect();
            let appended = key.writers.iter().filter(|(_, by)| happened.contains(by));
            let unread = appended
                .map(|(element, _)| *element)
                .filter(|element| !read.contains(element));
            key.unread = unread.collect();
            key.order = order;
            for pair in key.order.windows(2) {
                key.check_pair(*name, pair, &own, operations)?;
            }
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

impl Key<'_> {
    /// Who appended an element.
    pub(super) fn writer(&self, element: i64) -> Option<Index> {
        self.writers.get(&element).copied()
    }

    fn check_read(
        &self,
        name: i64,
        read: &Read<'_>,
        operations: &[Operation],
    ) -> Result<(), Violation> {
        let reader = || operations.get(read.by);
        for element in read.list {
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

    /// The longest list that was read, of which all others must be beginnings.
    fn find_order(
        &self,
        name: i64,
        happened: &BTreeSet<Index>,
        operations: &[Operation],
    ) -> Result<Vec<i64>, Violation> {
        let reads = self
            .reads
            .iter()
            .map(|read| match happened.contains(&read.by) {
                true => (read.by, read.whole),
                false => (read.by, read.list),
            });
        let longest = reads
            .clone()
            .max_by_key(|(index, read)| (read.len(), Reverse(*index)));
        let Some((by, longest)) = longest else {
            return Ok(Vec::new());
        };
        for (other, read) in reads {
            if !longest.starts_with(read) {
                let shown = [by, other]
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

    /// Whether two elements that follow each other are in their transaction's order, if they are from the same. If there is
    /// something between them or one is missing, that is a cycle.
    fn check_pair(
        &self,
        name: i64,
        pair: &[i64],
        own: &[BTreeMap<i64, Own<'_>>],
        operations: &[Operation],
    ) -> Result<(), Violation> {
        let [first, second] = *pair else {
            return Ok(());
        };
        let (Some(writer), Some(other)) = (self.writer(first), self.writer(second)) else {
            return Ok(());
        };
        let own = own.get(writer).and_then(|keys| keys.get(&name));
        let appended = own.map(|own| own.appended.as_slice()).unwrap_or_default();
        let place = |element| appended.iter().position(|appended| *appended == element);
        if writer == other && place(first) > place(second) {
            let why = format!(
                "list {name} has {first} before {second}, which a transaction appended the other way round"
            );
            return Err(violation(
                Anomaly::IncompatibleOrders,
                &why,
                operations.get(writer),
            ));
        }
        Ok(())
    }

    /// Whether what was acknowledged is there at the end.
    fn check_last(&self, name: i64, operations: &[Operation]) -> Result<(), Violation> {
        let operation = |read: &&Read<'_>| operations.get(read.by);
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
