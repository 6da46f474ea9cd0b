//! Changes of rows: INSERT, UPDATE, DELETE, and what hangs on them.

use crate::draft::Draft;
use crate::production::Production;
use crate::statement::{Kind, Statement};

/// The most rows in a statement.
const ROWS: u8 = 12;

impl Draft {
    fn write(&mut self, ordered: bool) -> Statement {
        self.end(Kind::Write, ordered)
    }

    /// Any change of rows.
    pub(crate) fn change(&mut self) -> Statement {
        match self.weighted(&[40, 12, 3, 10, 14, 24, 20, 1]) {
            0 => self.insert(1),
            1 => {
                let rows = self.rng.u8(2..=ROWS);
                self.insert(rows)
            }
            2 => self.insert_defaults(),
            3 => self.insert_select(),
            4 => self.upsert(),
            5 => self.update(),
            6 => self.delete(),
            _ => self.delete_all(),
        }
    }

    fn say_conflict(&mut self) {
        if self.percent(40) {
            self.note(Production::OrConflict);
            let clauses = [
                "OR REPLACE ",
                "OR IGNORE ",
                "OR ABORT ",
                "OR FAIL ",
                "OR ROLLBACK ",
            ];
            let chosen = self.weighted(&[40, 40, 10, 6, 2]);
            self.say(clauses.get(chosen).copied().unwrap_or_default());
        }
    }

    fn say_returning(&mut self, percent: u32) {
        if self.percent(percent) {
            self.note(Production::Returning);
            self.say(" RETURNING ");
            self.say_one(&[
                "c0",
                "c0, c1",
                "*",
                "c1 + 1 AS one_more, c2",
                "length(c4), typeof(c1)",
            ]);
        }
    }

    /// Columns to insert into: with the key or, mostly, without.
    fn columns(&mut self) -> Vec<u8> {
        let mut columns: Vec<u8> = (1..6).collect();
        if self.percent(60) {
            let kept = self.rng.usize(1..=5);
            self.rng.shuffle(&mut columns);
            columns.truncate(kept);
            columns.sort_unstable();
        }
        if self.percent(45) {
            columns.insert(0, 0);
        }
        columns
    }

    fn say_columns(&mut self, columns: &[u8]) {
        let named: Vec<String> = columns.iter().map(|column| format!("c{column}")).collect();
        self.say(format_args!(" ({})", named.join(", ")));
    }

    fn say_row(&mut self, columns: &[u8]) {
        self.say('(');
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                self.say(", ");
            }
            self.say_value(*column);
        }
        self.say(')');
    }

    fn say_rows(&mut self, columns: &[u8], rows: u8) {
        self.say(" VALUES ");
        for row in 0..rows {
            if row > 0 {
                self.say(", ");
            }
            self.say_row(columns);
        }
    }

    fn insert(&mut self, rows: u8) -> Statement {
        self.note(if rows == 1 {
            Production::Insert
        } else {
            Production::InsertRows
        });
        let (table, columns) = (self.table(), self.columns());
        if self.percent(5) {
            self.note(Production::OrConflict);
            self.say("REPLACE ");
        } else {
            self.say("INSERT ");
            self.say_conflict();
        }
        self.say(format_args!("INTO {table}"));
        self.say_columns(&columns);
        self.say_rows(&columns, rows);
        self.say_returning(15);
        self.write(rows == 1)
    }

    fn insert_defaults(&mut self) -> Statement {
        self.note(Production::InsertDefaults);
        let table = self.table();
        self.say(format_args!("INSERT INTO {table} DEFAULT VALUES"));
        self.say_returning(20);
        self.write(true)
    }

    fn insert_select(&mut self) -> Statement {
        self.note(Production::InsertSelect);
        let (table, from) = (self.table(), self.table());
        self.say("INSERT ");
        self.say_conflict();
        self.say(format_args!("INTO {table}"));
        match self.rng.u8(0..3) {
            0 => {
                self.say(" (c0, c1, c2) SELECT c0 + 1000, c1, substr(c2, 1, 100)");
                self.say_few_rows_of(from);
            }
            1 => {
                self.say(" (c1, c2, c3) SELECT c1, c2, c3");
                self.say_few_rows_of(from);
            }
            _ => self.say(format_args!(
                " (c1, c3) SELECT c1, count(*) FROM {from} WHERE c1 < 10 GROUP BY c1"
            )),
        }
        self.write(false)
    }

    fn upsert(&mut self) -> Statement {
        let (table, rows) = (self.table(), self.rng.u8(1..4));
        let mut columns = self.columns();
        if columns.first() != Some(&0) {
            columns.insert(0, 0);
        }
        self.say(format_args!("INSERT INTO {table}"));
        self.say_columns(&columns);
        self.say_rows(&columns, rows);
        self.say(" ON CONFLICT");
        if self.percent(30) {
            self.note(Production::UpsertNothing);
            self.say_one(&[" DO NOTHING", "(c0) DO NOTHING"]);
        } else {
            self.note(Production::UpsertUpdate);
            self.say("(c0) DO UPDATE SET ");
            match self.rng.u8(0..3) {
                0 => self.say("c1 = coalesce(c1, 0) + 1"),
                1 => self.say("c1 = excluded.c1, c2 = excluded.c2"),
                _ => {
                    self.say("c2 = ");
                    self.say_value(2);
                }
            }
            if self.percent(20) {
                self.say(" WHERE excluded.c1 IS NOT c1");
            }
        }
        self.say_returning(20);
        self.write(rows == 1)
    }

    fn update(&mut self) -> Statement {
        self.note(Production::Update);
        let table = self.table();
        self.say("UPDATE ");
        if self.percent(15) {
            self.note(Production::OrConflict);
            self.say_one(&["OR IGNORE ", "OR REPLACE ", "OR ABORT "]);
        }
        self.say(format_args!("{table} SET "));
        let columns = self.rng.u8(1..3);
        let first = self.rng.u8(1..6);
        for place in 0..columns {
            let column = (first + place - 1) % 5 + 1;
            if place > 0 {
                self.say(", ");
            }
            self.say(format_args!("c{column} = "));
            self.say_new_value(column);
        }
        if self.percent(3) {
            // A key that moves.
            self.say(", c0 = c0 + 100000");
        }
        self.say_where(70);
        self.say_returning(12);
        self.write(false)
    }

    /// Appends a condition: on keys in so many cases of a hundred.
    fn say_where(&mut self, keyed_percent: u32) {
        self.say(" WHERE ");
        if self.percent(keyed_percent) {
            self.say_key_condition("");
        } else {
            self.say_condition("");
        }
    }

    fn delete(&mut self) -> Statement {
        self.note(Production::Delete);
        let table = self.table();
        self.say(format_args!("DELETE FROM {table}"));
        // Deleting by condition keeps the tables small.
        self.say_where(45);
        self.say_returning(12);
        self.write(false)
    }

    fn delete_all(&mut self) -> Statement {
        self.note(Production::DeleteAll);
        let table = self.table();
        self.say(format_args!("DELETE FROM {table}"));
        self.write(false)
    }

    /// A part of a transaction that changes hundreds of pages: rows of which hardly more than one fits on a page.
    pub(crate) fn bulk(&mut self) -> Statement {
        let table = self.table();
        let bytes = self.rng.u16(1000..4000);
        match self.rng.u8(0..8) {
            0..=3 => {
                self.note(Production::Random);
                self.note(Production::Recursive);
                let rows = self.rng.u16(100..400);
                self.say(format_args!(
                    "INSERT INTO {table} (c1, c4) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n \
                     WHERE x < {rows}) SELECT x, randomblob({bytes}) FROM n"
                ));
            }
            4 | 5 => {
                self.note(Production::InsertRows);
                self.say(format_args!("INSERT INTO {table} (c1, c4) VALUES "));
                let rows = self.rng.u8(20..60);
                for row in 0..rows {
                    self.say(format_args!(
                        "{}({row}, zeroblob({bytes}))",
                        if row > 0 { ", " } else { "" }
                    ));
                }
            }
            6 => {
                self.note(Production::Update);
                self.note(Production::Random);
                self.say(format_args!(
                    "UPDATE {table} SET c4 = randomblob({bytes}) WHERE length(c4) > 500"
                ));
            }
            _ => {
                self.note(Production::Update);
                self.say(format_args!("UPDATE {table} SET c1 = coalesce(c1, 0) + 1"));
            }
        }
        self.write(false)
    }

    /// Deletes what large transactions have left.
    pub(crate) fn tidy(&mut self) -> Statement {
        self.note(Production::Delete);
        let (table, left) = (self.table(), self.rng.u8(20..120));
        self.say(format_args!(
            "DELETE FROM {table} WHERE rowid NOT IN (SELECT rowid FROM {table} ORDER BY rowid LIMIT {left})"
        ));
        self.write(false)
    }
}
