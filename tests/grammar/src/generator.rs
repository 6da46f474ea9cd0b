//! Steps: what a client does without a pause.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::draft::Draft;
use crate::names::{Name, TABLES};
use crate::production::Production;
use crate::profile::Profile;
use crate::statement::{Kind, Statement, Step};

/// The most savepoints within each other.
const SAVEPOINTS: u8 = 3;

/// A client. See the [crate](crate) for what it makes.
#[derive(Debug, Clone)]
pub struct Generator {
    draft: Draft,
    /// Steps that are to come first.
    planned: VecDeque<Step>,
}

impl Generator {
    /// A client that draws from `rng` all it decides. It begins with the tables, where there are none.
    #[must_use]
    pub fn new(rng: Rng, profile: Profile) -> Self {
        let mut draft = Draft::new(rng, profile);
        let tables = (0..TABLES).map(|table| single(draft.create_table(Name('t', table), true)));
        let planned = tables.collect();
        Self { draft, planned }
    }

    /// What the client does next. It never ends.
    pub fn next_step(&mut self) -> Step {
        if let Some(step) = self.planned.pop_front() {
            return step;
        }
        let draft = &mut self.draft;
        let Profile {
            reads,
            writes,
            transactions,
            schema,
            pragmas,
            large,
            vacuum,
            ..
        } = draft.profile;
        match draft.weighted(&[reads, writes, transactions, schema, pragmas, large, vacuum]) {
            0 => single(draft.query()),
            1 => single(draft.change()),
            2 => draft.transaction(),
            3 => draft.schema_step(),
            4 => single(draft.pragma()),
            5 => draft.large_transaction(),
            _ => single(draft.vacuum()),
        }
    }
}

fn single(statement: Statement) -> Step {
    Step {
        statements: vec![statement],
        transactional: false,
    }
}

impl Draft {
    fn control(&mut self, sql: &str, production: Production) -> Statement {
        self.note(production);
        self.say(sql);
        self.end(Kind::Control, false)
    }

    fn begin(&mut self) -> Statement {
        match self.percent(50) {
            true => self.control("BEGIN IMMEDIATE", Production::Immediate),
            false => self.control("BEGIN", Production::Transaction),
        }
    }

    fn finish(&mut self) -> Statement {
        let rollbacks = self.profile.rollbacks_percent;
        match self.percent(rollbacks) {
            true => self.control("ROLLBACK", Production::Rollback),
            false => self.control("COMMIT", Production::Transaction),
        }
    }

    fn in_transaction(&mut self, inner: impl IntoIterator<Item = Statement>) -> Step {
        let mut statements = vec![self.begin()];
        statements.extend(inner);
        statements.push(self.finish());
        Step {
            statements,
            transactional: true,
        }
    }

    /// Queries and changes, and savepoints around some of them.
    fn transaction(&mut self) -> Step {
        let count = self
            .rng
            .usize(1..=self.profile.transaction_statements.max(1));
        let mut inner = Vec::new();
        let mut depth = 0;
        for _ in 0..count {
            if depth < SAVEPOINTS && self.percent(15) {
                depth += 1;
                let name = format!("SAVEPOINT s{depth}");
                if depth > 1 {
                    self.note(Production::NestedSavepoint);
                }
                inner.push(self.control(&name, Production::Savepoint));
            }
            inner.push(match self.rng.u8(0..20) {
                0..=5 => self.query(),
                6 => self.schema_statement(),
                _ => self.change(),
            });
            if depth > 0 && self.percent(35) {
                depth = self.leave_savepoint(depth, &mut inner);
            }
        }
        if depth > 0 && self.percent(70) {
            // Releasing one releases those within it.
            inner.push(self.control("RELEASE s1", Production::Release));
        }
        // Now and then a savepoint is all there is around it.
        if self.percent(8) {
            let mut statements = vec![self.control("SAVEPOINT s0", Production::Savepoint)];
            statements.append(&mut inner);
            statements.push(self.control("RELEASE s0", Production::Release));
            return Step {
                statements,
                transactional: true,
            };
        }
        self.in_transaction(inner)
    }

    fn leave_savepoint(&mut self, depth: u8, inner: &mut Vec<Statement>) -> u8 {
        if self.percent(50) {
            inner.push(self.control(&format!("RELEASE s{depth}"), Production::Release));
            return depth - 1;
        }
        let to = self.rng.u8(1..=depth);
        inner.push(self.control(&format!("ROLLBACK TO s{to}"), Production::RollbackTo));
        to
    }

    fn large_transaction(&mut self) -> Step {
        if self.percent(40) {
            return single(self.tidy());
        }
        let parts = self.rng.u8(1..5);
        let mut inner: Vec<Statement> = (0..parts).map(|_| self.bulk()).collect();
        if let Some(first) = inner.first_mut() {
            first.productions.push(Production::LargeTransaction);
        }
        self.in_transaction(inner)
    }

    /// A change of the schema, or what belongs together of them.
    fn schema_step(&mut self) -> Step {
        let table = self.table();
        let pair = match self.rng.u8(0..20) {
            0 => {
                let column = self.rng.u8(3..6);
                vec![
                    self.rename_column(table, column, false),
                    self.change(),
                    self.rename_column(table, column, true),
                ]
            }
            1 => vec![
                self.rename_table(table, false),
                self.query(),
                self.rename_table(table, true),
            ],
            2 => {
                let column = self.rng.u8(3..6);
                vec![
                    self.drop_column(table, column),
                    self.add_column(table, column),
                ]
            }
            3 | 4 => vec![
                self.drop_table(table),
                self.create_table(table, true),
                self.change(),
            ],
            _ => return single(self.schema_statement()),
        };
        if self.percent(70) {
            return self.in_transaction(pair);
        }
        Step {
            statements: pair,
            transactional: false,
        }
    }

    /// A single change of the schema.
    fn schema_statement(&mut self) -> Statement {
        let (table, column) = (self.table(), self.rng.u8(3..6));
        match self.weighted(&[30, 3, 6, 40, 24, 3, 10, 14, 14, 8, 1, 1]) {
            0 => self.create_table(table, false),
            1 => self.drop_table(table),
            2 => self.add_column(table, column),
            3 => self.create_index(),
            4 => self.drop_index(),
            5 => self.rebuild(),
            6 => self.create_trigger(),
            7 => self.drop_trigger(),
            8 => self.create_view(),
            9 => self.drop_view(),
            10 => {
                let back = self.percent(70);
                self.rename_table(table, back)
            }
            _ => {
                let back = self.percent(70);
                self.rename_column(table, column, back)
            }
        }
    }

    fn pragma(&mut self) -> Statement {
        match self.weighted(&[6, 4, 1, 6]) {
            0 => {
                self.note(Production::IntegrityCheck);
                self.say_one(&["PRAGMA integrity_check", "PRAGMA quick_check"]);
                self.end(Kind::Read, true)
            }
            1 => {
                self.note(Production::SetUserVersion);
                let version = self.rng.u16(..);
                self.say(format_args!("PRAGMA user_version = {version}"));
                self.end(Kind::Write, false)
            }
            2 => {
                self.note(Production::ForeignKeysSetting);
                self.say_one(&[
                    "PRAGMA foreign_keys = ON",
                    "PRAGMA foreign_keys = ON",
                    "PRAGMA foreign_keys = OFF",
                ]);
                self.end(Kind::Control, false)
            }
            _ => {
                self.note(Production::TellingPragma);
                let table = self.table();
                match self.rng.u8(0..3) {
                    0 => self.say("PRAGMA user_version"),
                    1 => self.say(format_args!("PRAGMA table_info({table})")),
                    _ => self.say(format_args!("PRAGMA index_list({table})")),
                }
                self.end(Kind::Read, false)
            }
        }
    }
}
