//! What a transaction found of each list, and whether its reads agree with each other and with what it appended itself.

use std::collections::{BTreeMap, BTreeSet};

use super::lists::violation;
use super::{Micro, Operation};
use crate::check::{Anomaly, Violation, list};

/// A list as one transaction knows it.
#[derive(Debug, Default)]
pub(super) struct Own<'o> {
    /// What it appended, in this order.
    pub(super) appended: Vec<i64>,
    /// What it found when it first read, without what it had appended.
    pub(super) found: Option<&'o [i64]>,
    /// What it read last.
    pub(super) read: Option<&'o [i64]>,
    /// How much it had appended then.
    seen: usize,
}

/// What a transaction found and appended, by list.
///
/// # Errors
/// Its reads contradict each other, or what it appended.
pub(super) fn of(operation: &Operation) -> Result<BTreeMap<i64, Own<'_>>, Violation> {
    let mut keys: BTreeMap<i64, Own<'_>> = BTreeMap::new();
    for micro in &operation.question.micros {
        match micro {
            Micro::Append { key, element } => keys.entry(*key).or_default().appended.push(*element),
            Micro::Read { list: None, .. } => {}
            Micro::Read {
                key,
                list: Some(read),
            } => keys
                .entry(*key)
                .or_default()
                .note_read(*key, read, operation)?,
        }
    }
    for (key, own) in &keys {
        let mut found = own.found.into_iter().flatten();
        if let Some(element) = found.find(|element| own.appended.contains(element)) {
            let why = format!(
                "it found {element} in {key}, which it appended itself, and not there or not yet"
            );
            return Err(violation(Anomaly::Internal, &why, [operation]));
        }
    }
    Ok(keys)
}

impl<'o> Own<'o> {
    fn note_read(
        &mut self,
        key: i64,
        read: &'o [i64],
        operation: &Operation,
    ) -> Result<(), Violation> {
        let mut elements = BTreeSet::new();
        if let Some(element) = read.iter().find(|element| !elements.insert(**element)) {
            let why = format!("{element} is in {key} more than once");
            return Err(violation(Anomaly::Duplicate, &why, [operation]));
        }
        let before = match self.read {
            Some(before) => before,
            None => {
                let Some(found) = read.strip_suffix(self.appended.as_slice()) else {
                    let why = format!("list {key} must end with {}", list(&self.appended));
                    return Err(violation(Anomaly::Internal, &why, [operation]));
                };
                self.found = Some(found);
                self.seen = self.appended.len();
                read
            }
        };
        let since = self.appended.get(self.seen..).unwrap_or_default();
        if read.strip_prefix(before) != Some(since) {
            let expected = [before, since].concat();
            let why = format!(
                "list {key} must be {} when it is read again",
                list(&expected)
            );
            return Err(violation(Anomaly::Internal, &why, [operation]));
        }
        self.read = Some(read);
        self.seen = self.appended.len();
        Ok(())
    }
}
