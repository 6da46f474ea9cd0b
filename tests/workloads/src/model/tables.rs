//! What the toy keeps, and what the workloads' statements do to it.

use std::collections::BTreeMap;

use crate::connection::{Failure, FailureKind};
use crate::value::Value;
use crate::work::{append, bank, long_fork, monotonic, register, set};

/// How many rows were changed, and those that were found.
pub(super) type Rows = (u64, Vec<Vec<Value>>);

/// All tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    accounts: BTreeMap<i64, i64>,
    texts: BTreeMap<i64, String>,
    rows: Vec<(i64, i64)>,
    registers: BTreeMap<i64, i64>,
    elements: Vec<(i64, i64)>,
    keys: BTreeMap<i64, i64>,
    counters: BTreeMap<i64, i64>,
}

fn constraint() -> Failure {
    Failure::new(FailureKind::Statement, "constraint failed")
}

fn one(value: Option<i64>) -> Vec<Vec<Value>> {
    value.into_iter().map(|value| vec![value.into()]).collect()
}

fn all(values: impl Iterator<Item = i64>) -> Vec<Vec<Value>> {
    values.map(|value| vec![value.into()]).collect()
}

impl Tables {
    /// Runs a statement, or leaves all as it is.
    pub(super) fn run(&mut self, sql: &str, params: &[Value]) -> Result<Rows, Failure> {
        let int = |nth: usize| params[nth].as_integer().unwrap();
        let text = |nth: usize| params[nth].as_text().unwrap();
        let found = |rows| Ok((0, rows));
        let changed = |count| Ok((count, Vec::new()));
        match sql {
            _ if sql.starts_with("CREATE") => changed(0),
            bank::OPEN => {
                self.accounts.entry(int(0)).or_insert(int(1));
                changed(1)
            }
            bank::READ => found(one(self.accounts.get(&int(0)).copied())),
            bank::READ_ALL => {
                let rows = self.accounts.iter();
                found(
                    rows.map(|(id, balance)| vec![(*id).into(), (*balance).into()])
                        .collect(),
                )
            }
            bank::WRITE => update(&mut self.accounts, int(1), int(0)),
            bank::TRANSFER => {
                let [first, then, other] = [int(0), int(1), int(2)];
                let to = if int(3) == first { int(4) } else { int(3) };
                if self.accounts[&first] + then < 0 || self.accounts[&to] + other < 0 {
                    return Err(constraint());
                }
                *self.accounts.get_mut(&first).unwrap() += then;
                *self.accounts.get_mut(&to).unwrap() += other;
                changed(2)
            }
            append::APPEND_TEXT => {
                let list = self.texts.entry(int(0)).or_default();
                if !list.is_empty() {
                    list.push(' ');
                }
                list.push_str(text(1));
                changed(1)
            }
            append::APPEND_ROW => {
                self.rows.push((int(0), int(1)));
                changed(1)
            }
            append::READ_TEXT => {
                let list = self.texts.get(&int(0)).cloned();
                found(list.into_iter().map(|list| vec![list.into()]).collect())
            }
            append::READ_ROWS => found(all(of(&self.rows, int(0)))),
            register::READ => found(one(self.registers.get(&int(0)).copied())),
            register::WRITE => {
                self.registers.insert(int(0), int(1));
                changed(1)
            }
            register::SWAP => match self.registers.get(&int(1)) == Some(&int(2)) {
                true => update(&mut self.registers, int(1), int(0)),
                false => changed(0),
            },
            set::ADD => {
                self.elements.push((int(0), int(1)));
                changed(1)
            }
            set::READ => found(all(of(&self.elements, int(0)))),
            long_fork::WRITE => {
                if self.keys.contains_key(&int(0)) {
                    return Err(constraint());
                }
                self.keys.insert(int(0), 1);
                changed(1)
            }
            long_fork::READ => found(one(self.keys.get(&int(0)).copied())),
            long_fork::READ_GROUP => {
                let rows = self.keys.range(int(0)..int(1));
                found(
                    rows.map(|(key, value)| vec![(*key).into(), (*value).into()])
                        .collect(),
                )
            }
            monotonic::OPEN => {
                self.counters.entry(int(0)).or_insert(0);
                changed(1)
            }
            monotonic::READ => found(one(self.counters.get(&int(0)).copied())),
            monotonic::WRITE => update(&mut self.counters, int(1), int(0)),
            monotonic::INCREMENT => {
                let value = self.counters[&int(0)] + 1;
                update(&mut self.counters, int(0), value)
            }
            _ => panic!("the toy does not know {sql}"),
        }
    }
}

fn update(table: &mut BTreeMap<i64, i64>, key: i64, value: i64) -> Result<Rows, Failure> {
    match table.get_mut(&key) {
        Some(found) => {
            *found = value;
            Ok((1, Vec::new()))
        }
        None => Ok((0, Vec::new())),
    }
}

fn of(rows: &[(i64, i64)], key: i64) -> impl Iterator<Item = i64> {
    rows.iter()
        .filter(move |(of, _)| *of == key)
        .map(|(_, element)| *element)
}
