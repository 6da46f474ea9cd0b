//! Queries.
//!
//! Each says whether its rows come in a defined order. They do where the order is by `rowid`, by what they are grouped by, or
//! where there is only one of them. (A table without rowid answers with an error there.)

use crate::draft::Draft;
use crate::names;
use crate::production::Production;
use crate::statement::{Kind, Statement};

impl Draft {
    fn read(&mut self, ordered: bool) -> Statement {
        self.end(Kind::Read, ordered)
    }

    /// Any query.
    pub(crate) fn query(&mut self) -> Statement {
        match self.weighted(&[22, 24, 12, 10, 10, 5, 6, 6, 4, 4, 2]) {
            0 => self.select(),
            1 => self.select_key(),
            2 => self.join(),
            3 => self.aggregate(),
            4 => self.group(),
            5 => self.distinct(),
            6 => self.compound(),
            7 => self.common_table(),
            8 => self.window(),
            9 => self.select_view(),
            _ => self.select_schema(),
        }
    }

    fn say_results(&mut self, of: &str) {
        if of.is_empty() && self.percent(20) {
            return self.say('*');
        }
        for place in 0..self.rng.u8(1..4) {
            if place > 0 {
                self.say(", ");
            }
            self.say_expression(of);
        }
    }

    /// Appends an order that leaves nothing open, and perhaps a LIMIT. Returns whether it has.
    fn say_order(&mut self, by: &str) -> bool {
        if self.percent(30) {
            return false;
        }
        self.say(format_args!(" ORDER BY {by}"));
        if self.percent(60) {
            self.note(Production::Limit);
            let limit = self.rng.u8(0..40);
            self.say(format_args!(" LIMIT {limit}"));
            if self.percent(30) {
                let offset = self.rng.u8(0..30);
                self.say(format_args!(" OFFSET {offset}"));
            }
        }
        true
    }

    fn select(&mut self) -> Statement {
        self.note(Production::Select);
        let table = self.table();
        self.say("SELECT ");
        self.say_results("");
        self.say(format_args!(" FROM {table}"));
        if self.percent(70) {
            self.say(" WHERE ");
            self.say_condition("");
        }
        let by = self.one(&[
            "rowid",
            "rowid DESC",
            "c1, rowid",
            "c2 COLLATE NOCASE DESC, rowid",
            "c3 DESC, rowid",
            "c5, rowid",
        ]);
        let ordered = self.say_order(by.unwrap_or("rowid"));
        self.read(ordered)
    }

    fn select_key(&mut self) -> Statement {
        self.note(Production::SelectKey);
        let table = self.table();
        self.say("SELECT ");
        self.say_one(&["*", "c1", "c0, c2, c4", "count(*)", "length(c4), c5"]);
        self.say(format_args!(" FROM {table} WHERE "));
        self.say_key_condition("");
        self.read(false)
    }

    fn join(&mut self) -> Statement {
        self.note(Production::Join);
        let (left, right) = (self.table(), self.table());
        self.say("SELECT ");
        self.say_results("a");
        self.say(", ");
        self.say_expression("b");
        self.say(format_args!(" FROM {left} AS a"));
        if self.percent(40) {
            self.note(Production::LeftJoin);
            self.say(" LEFT");
        }
        self.say(format_args!(" JOIN {right} AS b ON "));
        self.say_one(&[
            "a.c0 = b.c0",
            "a.c1 = b.c0",
            "b.c0 = a.c1 AND b.c2 IS NOT NULL",
            // The engine's automatic index lacks a key that is named only as rowid (turso_core 0.8.3, `ephemeral_index_build`):
            // after ANALYZE, such a join compares with another column.
            "a.rowid = b.rowid AND a.c0 IS NOT NULL AND b.c0 IS NOT NULL",
        ]);
        if self.percent(25) {
            let third = self.table();
            self.say(format_args!(" JOIN {third} AS c ON c.c0 = b.c0"));
            return self.joined("a.rowid, b.rowid, c.rowid");
        }
        self.joined("a.rowid, b.rowid")
    }

    fn joined(&mut self, by: &str) -> Statement {
        if self.percent(60) {
            self.say(" WHERE ");
            self.say_condition("a");
        }
        let ordered = self.say_order(by);
        self.read(ordered)
    }

    fn aggregate(&mut self) -> Statement {
        self.note(Production::Aggregate);
        let table = self.table();
        self.say("SELECT ");
        self.say_one(&[
            "count(*)",
            "count(c1), count(DISTINCT c1)",
            "min(c1), max(c1)",
            "max(c2)",
            "total(c1)",
            "avg(c1 % 100)",
            "sum(length(c4))",
            "min(c3), max(rowid)",
            "sum(CASE WHEN c1 > 5 THEN 1 ELSE 0 END)",
        ]);
        self.say(format_args!(" FROM {table}"));
        if self.percent(60) {
            self.say(" WHERE ");
            self.say_condition("");
        }
        self.read(true)
    }

    fn group(&mut self) -> Statement {
        self.note(Production::GroupBy);
        let table = self.table();
        let by = self
            .one(&["c1", "typeof(c5)", "c1 % 7", "length(c2)"])
            .unwrap_or("c1");
        self.say(format_args!("SELECT {by} AS grouped, "));
        self.say_one(&[
            "count(*)",
            "max(c3)",
            "min(c2), count(c4)",
            "sum(c1 % 1000)",
        ]);
        self.say(format_args!(" FROM {table}"));
        if self.percent(40) {
            self.say(" WHERE ");
            self.say_condition("");
        }
        self.say(format_args!(" GROUP BY {by}"));
        if self.percent(30) {
            self.note(Production::Having);
            self.say_one(&[
                " HAVING count(*) > 1",
                " HAVING max(c1) > 3",
                " HAVING count(c2) < 10",
            ]);
        }
        let ordered = self.say_order("grouped");
        self.read(ordered)
    }

    fn distinct(&mut self) -> Statement {
        self.note(Production::Distinct);
        let table = self.table();
        let of = self
            .one(&["c1", "length(c2)", "typeof(c4)", "c1 > 10"])
            .unwrap_or("c1");
        self.say(format_args!("SELECT DISTINCT {of} AS chosen FROM {table}"));
        let ordered = self.say_order("chosen");
        self.read(ordered)
    }

    fn compound(&mut self) -> Statement {
        self.note(Production::Compound);
        let (one, other) = (self.table(), self.table());
        let column = self.one(&["c0", "c1", "c3"]).unwrap_or("c1");
        let set = self.weighted(&[4, 2, 2, 3]);
        self.say(format_args!("SELECT {column} AS chosen FROM {one}"));
        self.say(
            [" UNION ", " EXCEPT ", " INTERSECT ", " UNION ALL "]
                .get(set)
                .copied()
                .unwrap_or_default(),
        );
        self.say(format_args!("SELECT {column} FROM {other} WHERE "));
        self.say_condition("");
        let ordered = set < 3 && self.say_order("1");
        self.read(ordered)
    }

    fn common_table(&mut self) -> Statement {
        self.note(Production::CommonTable);
        let table = self.table();
        if self.percent(40) {
            self.note(Production::Recursive);
            let to = self.rng.u8(1..50);
            self.say(format_args!(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {to}) \
                 SELECT x, (SELECT count(*) FROM {table} WHERE c1 = x) FROM n ORDER BY x"
            ));
            return self.read(true);
        }
        self.say(format_args!(
            "WITH few AS (SELECT rowid AS r, c1, c2 FROM {table} WHERE "
        ));
        self.say_condition("");
        self.say(") SELECT r, c1, length(c2) FROM few");
        let ordered = self.say_order("r");
        self.read(ordered)
    }

    fn window(&mut self) -> Statement {
        self.note(Production::Window);
        let table = self.table();
        self.say("SELECT rowid, ");
        self.say_one(&[
            "row_number() OVER (ORDER BY rowid)",
            "sum(c1 % 100) OVER (ORDER BY rowid)",
            "count(*) OVER (PARTITION BY c1)",
            "max(c1) OVER (PARTITION BY typeof(c5) ORDER BY rowid)",
        ]);
        self.say(format_args!(" FROM {table} ORDER BY rowid LIMIT 50"));
        self.read(true)
    }

    fn select_view(&mut self) -> Statement {
        self.note(Production::SelectView);
        let view = names::view(&mut self.rng);
        match self.percent(50) {
            true => self.say(format_args!("SELECT count(*), max(k), min(a) FROM {view}")),
            false => self.say(format_args!("SELECT k, a, b FROM {view} WHERE a > 3")),
        }
        self.read(false)
    }

    fn select_schema(&mut self) -> Statement {
        self.note(Production::SelectSchema);
        match self.percent(60) {
            true => {
                self.say("SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name");
                self.read(true)
            }
            false => {
                self.say("SELECT count(*) FROM sqlite_schema");
                self.read(true)
            }
        }
    }
}
