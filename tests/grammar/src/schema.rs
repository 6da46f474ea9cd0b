//! Changes of the schema: tables, indexes, triggers, views.

use crate::draft::Draft;
use crate::names::{self, Name, SPARE_COLUMN, SPARE_TABLE, TABLES};
use crate::production::Production;
use crate::statement::{Kind, Statement};

/// What columns are declared as, by their place.
const TYPES: [&str; 6] = ["INTEGER", "INTEGER", "TEXT", "REAL", "BLOB", ""];
const ACTIONS: [&str; 5] = [
    " ON DELETE CASCADE",
    " ON DELETE SET NULL",
    " ON DELETE CASCADE ON UPDATE CASCADE",
    " ON UPDATE SET NULL",
    "",
];

impl Draft {
    fn schema(&mut self) -> Statement {
        self.end(Kind::Schema, false)
    }

    fn say_if(&mut self, percent: u32, clause: &str) {
        if self.percent(percent) {
            self.say(clause);
        }
    }

    /// `CREATE TABLE`.
    pub(crate) fn create_table(&mut self, table: Name, careful: bool) -> Statement {
        self.in_schema = true;
        self.note(Production::CreateTable);
        self.say("CREATE TABLE ");
        self.say_if(if careful { 100 } else { 40 }, "IF NOT EXISTS ");
        self.say(format_args!("{table} ("));
        let without_rowid = self.percent(1);
        self.key_column(without_rowid);
        // Some lack columns, so that there is something to add and to rename.
        let columns = if self.percent(15) {
            self.rng.u8(3..6)
        } else {
            6
        };
        for column in 1..columns {
            self.say(", ");
            self.column(column);
        }
        if self.percent(8) {
            self.note(Production::Unique);
            self.say_one(&[", UNIQUE (c0, c1)", ", UNIQUE (c2, c0)"]);
        }
        if self.percent(8) {
            self.note(Production::Check);
            self.say_one(&[
                ", CHECK (length(c2) <= 20000)",
                ", CHECK (c0 <> 13)",
                ", CONSTRAINT sane CHECK (c1 IS NULL OR c2 IS NULL OR c1 <> 17)",
            ]);
        }
        self.say(')');
        if without_rowid {
            self.note(Production::WithoutRowid);
            self.say(" WITHOUT ROWID");
        }
        self.schema()
    }

    fn key_column(&mut self, without_rowid: bool) {
        match self.rng.u8(0..20) {
            _ if without_rowid => self.say("c0 INTEGER NOT NULL PRIMARY KEY"),
            0 | 1 => {
                self.note(Production::Autoincrement);
                self.say("c0 INTEGER PRIMARY KEY AUTOINCREMENT");
            }
            2 => self.say("c0 INTEGER"),
            3 => {
                self.note(Production::Unique);
                self.say("c0 INTEGER UNIQUE");
            }
            4 => self.say("c0 INT PRIMARY KEY"),
            _ => self.say("c0 INTEGER PRIMARY KEY"),
        }
    }

    fn column(&mut self, column: u8) {
        let declared = TYPES.get(usize::from(column)).copied().unwrap_or_default();
        self.say(format_args!("c{column} {declared}"));
        if self.percent(15) {
            self.note(Production::NotNull);
            self.note(Production::Default);
            self.say(" NOT NULL DEFAULT ");
            self.say_one(match column {
                1 => &["0", "(1 + 2)"],
                2 => &["''", "'none'"],
                3 => &["0.0", "1.5"],
                4 => &["x''", "x'00'"],
                _ => &["0", "'any'"],
            });
        } else if self.percent(10) {
            self.note(Production::Default);
            self.say(" DEFAULT ");
            match column {
                5 => self.say("'any'"),
                _ => self.say_literal(column),
            }
        }
        match (column, self.rng.u8(0..100)) {
            (1, 0..12) => self.reference(),
            (1, 12..20) => {
                self.note(Production::Check);
                self.say(" CHECK (c1 IS NULL OR c1 <> -3)");
            }
            (2, 0..4) => {
                self.note(Production::Unique);
                self.say(" UNIQUE");
            }
            (2, 4..14) => self.say(" COLLATE NOCASE"),
            (3, 0..8) => {
                self.note(Production::Check);
                self.say(" CHECK (c3 IS NULL OR c3 > -1e18)");
            }
            _ => {}
        }
    }

    fn reference(&mut self) {
        self.note(Production::ForeignKey);
        let parent = self.table();
        self.say(format_args!(" REFERENCES {parent}(c0)"));
        self.say_one(&ACTIONS);
        if self.percent(30) {
            self.note(Production::Deferred);
            self.say(" DEFERRABLE INITIALLY DEFERRED");
        }
    }

    /// `DROP TABLE`.
    pub(crate) fn drop_table(&mut self, table: Name) -> Statement {
        self.note(Production::DropTable);
        self.say("DROP TABLE ");
        self.say_if(60, "IF EXISTS ");
        self.say(table);
        self.schema()
    }

    /// `ALTER TABLE … ADD COLUMN`.
    pub(crate) fn add_column(&mut self, table: Name, column: u8) -> Statement {
        self.in_schema = true;
        self.note(Production::AddColumn);
        self.say(format_args!("ALTER TABLE {table} ADD COLUMN c{column} "));
        let declared = TYPES.get(usize::from(column)).copied().unwrap_or_default();
        self.say(declared);
        if self.percent(40) {
            self.note(Production::Default);
            self.say(" DEFAULT ");
            self.say_literal(if column == 5 { 2 } else { column });
        }
        self.schema()
    }

    /// `ALTER TABLE … DROP COLUMN`.
    pub(crate) fn drop_column(&mut self, table: Name, column: u8) -> Statement {
        self.note(Production::DropColumn);
        self.say(format_args!("ALTER TABLE {table} DROP COLUMN c{column}"));
        self.schema()
    }

    /// `ALTER TABLE … RENAME COLUMN`, to the spare name or back from it.
    pub(crate) fn rename_column(&mut self, table: Name, column: u8, back: bool) -> Statement {
        self.note(Production::RenameColumn);
        let (from, to) = match (back, Name('c', column)) {
            (false, column) => (column, SPARE_COLUMN),
            (true, column) => (SPARE_COLUMN, column),
        };
        self.say(format_args!(
            "ALTER TABLE {table} RENAME COLUMN {from} TO {to}"
        ));
        self.schema()
    }

    /// `ALTER TABLE … RENAME TO`, the spare name or back from it.
    pub(crate) fn rename_table(&mut self, table: Name, back: bool) -> Statement {
        self.note(Production::RenameTable);
        let (from, to) = if back {
            (SPARE_TABLE, table)
        } else {
            (table, SPARE_TABLE)
        };
        self.say(format_args!("ALTER TABLE {from} RENAME TO {to}"));
        self.schema()
    }

    /// `CREATE INDEX`.
    pub(crate) fn create_index(&mut self) -> Statement {
        self.in_schema = true;
        self.note(Production::CreateIndex);
        let (index, table) = (names::index(&mut self.rng), self.table());
        let unique = self.percent(15);
        self.say("CREATE ");
        if unique {
            self.note(Production::UniqueIndex);
            self.say("UNIQUE ");
        }
        self.say("INDEX ");
        self.say_if(50, "IF NOT EXISTS ");
        self.say(format_args!("{index} ON {table} ("));
        match self.rng.u8(0..10) {
            _ if unique => self.say_one(&["c0", "c0, c1", "c0 DESC, c2"]),
            0..=2 => {
                self.note(Production::ExpressionIndex);
                self.say_one(&[
                    "lower(c2)",
                    "c1 + 1",
                    "length(c4)",
                    "abs(c1), c0",
                    "c2 || 'x'",
                ]);
            }
            _ => self.say_one(&[
                "c1",
                "c2",
                "c1, c2",
                "c3 DESC",
                "c2 COLLATE NOCASE",
                "c5, c1",
                "c4",
                "c1 DESC, c0",
            ]),
        }
        self.say(')');
        if self.percent(20) {
            self.note(Production::PartialIndex);
            self.say(" WHERE ");
            self.say_one(&[
                "c1 > 5",
                "c2 IS NOT NULL",
                "c1 IS NOT NULL AND c3 > 0",
                "typeof(c5) = 'text'",
            ]);
        }
        self.schema()
    }

    /// `DROP INDEX`.
    pub(crate) fn drop_index(&mut self) -> Statement {
        self.note(Production::DropIndex);
        let index = names::index(&mut self.rng);
        self.say("DROP INDEX ");
        self.say_if(60, "IF EXISTS ");
        self.say(index);
        self.schema()
    }

    /// `REINDEX` or `ANALYZE`.
    pub(crate) fn rebuild(&mut self) -> Statement {
        match self.percent(50) {
            true => {
                self.note(Production::Analyze);
                self.say("ANALYZE");
            }
            false => {
                self.note(Production::Reindex);
                self.say("REINDEX");
            }
        }
        if self.percent(40) {
            let table = self.table();
            self.say(format_args!(" {table}"));
        }
        self.schema()
    }

    /// `CREATE TRIGGER`. What it does is done to a table of a higher number, so that triggers do not go round in circles.
    pub(crate) fn create_trigger(&mut self) -> Statement {
        self.in_schema = true;
        self.note(Production::CreateTrigger);
        let trigger = names::trigger(&mut self.rng);
        let on = self.rng.u8(0..TABLES - 1);
        let to = Name('t', self.rng.u8(on + 1..TABLES));
        self.say("CREATE TRIGGER ");
        self.say_if(50, "IF NOT EXISTS ");
        self.say(format_args!("{trigger} "));
        self.say_if(80, "AFTER ");
        let (event, row) = match self.rng.u8(0..4) {
            0 => ("DELETE", "OLD"),
            1 => ("UPDATE OF c1, c2", "NEW"),
            _ => ("INSERT", "NEW"),
        };
        self.say(format_args!("{event} ON {}", Name('t', on)));
        self.say_if(20, " FOR EACH ROW");
        if self.percent(40) {
            let remainder = self.rng.u8(0..4);
            self.say(format_args!(" WHEN {row}.c1 % 4 = {remainder}"));
        }
        self.say(" BEGIN ");
        match self.rng.u8(0..5) {
            0 => {
                self.note(Production::Raise);
                self.say(format_args!(
                    "SELECT RAISE(ABORT, 'not this one') WHERE {row}.c1 = 19;"
                ));
            }
            1 => self.say(format_args!(
                "UPDATE {to} SET c1 = coalesce(c1, 0) + 1 WHERE c0 = {row}.c0;"
            )),
            2 => self.say(format_args!("DELETE FROM {to} WHERE c0 = {row}.c1;")),
            3 => self.say(format_args!(
                "INSERT OR IGNORE INTO {to} (c0, c2) VALUES ({row}.c0, 'by {trigger}'); \
                 UPDATE {to} SET c3 = c3 + 1 WHERE c0 = {row}.c1;"
            )),
            _ => self.say(format_args!(
                "INSERT INTO {to} (c1, c2) VALUES ({row}.c1, substr({row}.c2, 1, 10));"
            )),
        }
        self.say(" END");
        self.schema()
    }

    /// `DROP TRIGGER`.
    pub(crate) fn drop_trigger(&mut self) -> Statement {
        self.note(Production::DropTrigger);
        let trigger = names::trigger(&mut self.rng);
        self.say("DROP TRIGGER ");
        self.say_if(70, "IF EXISTS ");
        self.say(trigger);
        self.schema()
    }

    /// `CREATE VIEW`. All views have the columns `k`, `a` and `b`.
    pub(crate) fn create_view(&mut self) -> Statement {
        self.in_schema = true;
        self.note(Production::CreateView);
        let (view, table, other) = (names::view(&mut self.rng), self.table(), self.table());
        self.say("CREATE VIEW ");
        self.say_if(60, "IF NOT EXISTS ");
        self.say(format_args!("{view} AS "));
        match self.rng.u8(0..3) {
            0 => {
                self.say(format_args!("SELECT c0 AS k, c1 AS a, c2 AS b FROM {table} WHERE "));
                self.say_condition("");
            }
            1 => self.say(format_args!("SELECT c1 AS k, count(*) AS a, max(c3) AS b FROM {table} GROUP BY c1")),
            _ => self.say(format_args!(
                "SELECT x.c0 AS k, y.c1 AS a, y.c2 AS b FROM {table} AS x JOIN {other} AS y ON x.c1 = y.c0"
            )),
        }
        self.schema()
    }

    /// `DROP VIEW`.
    pub(crate) fn drop_view(&mut self) -> Statement {
        self.note(Production::DropView);
        let view = names::view(&mut self.rng);
        self.say("DROP VIEW ");
        self.say_if(70, "IF EXISTS ");
        self.say(view);
        self.schema()
    }

    /// `VACUUM`.
    pub(crate) fn vacuum(&mut self) -> Statement {
        self.note(Production::Vacuum);
        self.say("VACUUM");
        self.schema()
    }
}
