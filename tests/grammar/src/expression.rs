//! Expressions over the columns of one table, or of several under names of their own.

use crate::draft::Draft;
use crate::names::Name;
use crate::production::Production;

/// How deep expressions are at most; a deeper one says nothing more and fails more often.
const DEPTH: u8 = 3;

impl Draft {
    /// Appends a column, with a dot and what it belongs to before it where `of` says so.
    pub(crate) fn say_column(&mut self, of: &str, column: u8) {
        match of {
            "" => self.say(format_args!("c{column}")),
            of => self.say(format_args!("{of}.c{column}")),
        }
    }

    /// Appends a scalar expression whose value stays small, for the result of a query.
    pub(crate) fn say_expression(&mut self, of: &str) {
        self.scalar(of, DEPTH);
    }

    fn scalar(&mut self, of: &str, depth: u8) {
        if depth == 0 || self.percent(35) {
            let column = self.rng.u8(0..6);
            return match self.rng.u8(0..10) {
                0 => self.say_value(column),
                1 => self.say_literal(column),
                _ => self.say_column(of, column),
            };
        }
        let depth = depth - 1;
        match self.rng.u8(0..14) {
            0 | 1 => {
                self.say('(');
                self.number(of);
                self.say_one(&[" + ", " - ", " * ", " / ", " % ", " & ", " | "]);
                self.number(of);
                self.say(')');
            }
            2 => self.call("length", of, depth),
            3 => self.call("typeof", of, depth),
            4 => {
                self.say_one(&["lower(", "upper(", "trim(", "quote("]);
                self.say_column(of, 2);
                self.say(')');
            }
            5 => {
                self.say("substr(");
                self.say_column(of, 2);
                self.say_one(&[", 1, 3)", ", -2)", ", 2, 1000)"]);
            }
            6 => {
                self.say_one(&["coalesce(", "ifnull(", "nullif("]);
                self.scalar(of, depth);
                self.say(", ");
                self.scalar(of, depth);
                self.say(')');
            }
            7 => {
                self.say("CASE WHEN ");
                self.condition(of, depth);
                self.say(" THEN ");
                self.scalar(of, depth);
                self.say(" ELSE ");
                self.scalar(of, depth);
                self.say(" END");
            }
            8 => {
                self.say("CAST(");
                self.say_column(of, 1);
                self.say_one(&[" AS TEXT)", " AS REAL)", " AS INTEGER)"]);
            }
            9 => {
                self.say("hex(");
                self.say_column(of, 4);
                self.say(')');
            }
            10 => {
                self.say_one(&["min(", "max("]);
                self.number(of);
                self.say(", ");
                self.number(of);
                self.say(')');
            }
            11 => {
                self.say_column(of, 2);
                self.say(" || ");
                self.say_literal(2);
            }
            12 if !self.in_schema => self.scalar_query(),
            _ => {
                self.say("round(");
                self.say_column(of, 3);
                self.say(", 1)");
            }
        }
    }

    fn call(&mut self, function: &str, of: &str, depth: u8) {
        self.say(function);
        self.say('(');
        self.scalar(of, depth);
        self.say(')');
    }

    fn number(&mut self, of: &str) {
        match self.rng.u8(0..4) {
            0 => self.say_literal(1),
            1 => self.say_column(of, 3),
            _ => self.say_column(of, 1),
        }
    }

    fn scalar_query(&mut self) {
        self.note(Production::Subquery);
        let table = self.table();
        self.say_one(&["(SELECT count(*)", "(SELECT max(c1)", "(SELECT min(c0)"]);
        self.say(format_args!(" FROM {table})"));
    }

    /// Appends a condition.
    pub(crate) fn say_condition(&mut self, of: &str) {
        self.condition(of, DEPTH - 1);
    }

    fn condition(&mut self, of: &str, depth: u8) {
        if depth > 0 && self.percent(30) {
            if self.percent(15) {
                self.say("NOT ");
            }
            self.say('(');
            self.condition(of, depth - 1);
            self.say_one(&[" AND ", " OR "]);
            self.condition(of, depth - 1);
            return self.say(')');
        }
        let column = self.rng.u8(0..6);
        match self.rng.u8(0..12) {
            0 => {
                self.say_column(of, column);
                self.say_one(&[" IS NULL", " IS NOT NULL"]);
            }
            1 => {
                self.say_column(of, 1);
                self.say(" BETWEEN ");
                self.say_value(1);
                self.say(" AND ");
                self.say_literal(1);
            }
            2 => {
                self.say_column(of, column);
                self.say(" IN (");
                for _ in 0..self.rng.u8(1..4) {
                    self.say_value(column);
                    self.say(", ");
                }
                self.say_literal(column);
                self.say(')');
            }
            3 => {
                self.say_column(of, 2);
                self.say_one(&[" LIKE 'a%'", " LIKE '%b%'", " GLOB 'a*'", " NOT LIKE 'z%'"]);
            }
            4 if !self.in_schema => {
                self.say_column(of, column);
                self.in_query(column);
            }
            5 if !self.in_schema => self.exists(of),
            6 => {
                self.say_column(of, 1);
                self.say_one(&[" % 3 = 0", " % 2 = 1", " & 1", " + 1 > 5"]);
            }
            7 => {
                self.say("length(");
                self.say_column(of, 4);
                self.say_one(&[") > 100", ") < 10", ") BETWEEN 5 AND 5000"]);
            }
            8 => {
                self.say_column(of, 2);
                self.say(" COLLATE NOCASE = ");
                self.say_value(2);
            }
            _ => {
                self.say_column(of, column);
                self.say_one(&[" = ", " < ", " > ", " >= ", " <> ", " IS "]);
                self.say_value(column);
            }
        }
    }

    fn in_query(&mut self, column: u8) {
        self.note(Production::Subquery);
        let table = self.table();
        self.say_one(&[" IN ", " NOT IN "]);
        self.say(format_args!("(SELECT c{column} FROM {table} WHERE "));
        self.condition("", 0);
        self.say(')');
    }

    fn exists(&mut self, of: &str) {
        self.note(Production::Exists);
        let table = self.table();
        self.say_one(&["EXISTS ", "NOT EXISTS "]);
        self.say(format_args!(
            "(SELECT 1 FROM {table} AS inner_row WHERE inner_row.c0 = "
        ));
        self.say_column(of, 1);
        self.say(')');
    }

    /// Appends `c0 = …` or a range of keys: what finds few rows.
    pub(crate) fn say_key_condition(&mut self, of: &str) {
        self.say_column(of, 0);
        match self.rng.u8(0..4) {
            0 => {
                let from = self.key();
                let to = from + self.rng.i64(0..20);
                self.say(format_args!(" BETWEEN {from} AND {to}"));
            }
            1 => {
                self.say(" IN (");
                self.say_value(0);
                self.say(", ");
                self.say_value(0);
                self.say(')');
            }
            _ => {
                self.say(" = ");
                self.say_value(0);
            }
        }
    }

    /// Appends what a column may be set to. It does not grow when it is set again and again.
    pub(crate) fn say_new_value(&mut self, column: u8) {
        if self.percent(55) {
            return self.say_value(column);
        }
        match column {
            1 => self.say_one(&[
                "c1 + 1",
                "c1 - 1",
                "abs(c1) % 1000",
                "coalesce(c1, 0) + 1",
                "length(c2)",
            ]),
            2 => self.say_one(&[
                "substr(c2 || 'xyz', 2, 1000)",
                "upper(c2)",
                "typeof(c5)",
                "coalesce(c2, 'none')",
                "CASE WHEN c1 > 5 THEN 'big' ELSE substr(c2, 1, 50) END",
            ]),
            3 => self.say_one(&["c3 / 2", "c3 + 0.25", "c1 * 0.5", "round(c3)"]),
            4 => self.say_one(&[
                "zeroblob(length(c4) % 5000)",
                "CAST(substr(c2, 1, 100) AS BLOB)",
                "c4",
            ]),
            _ => self.say_one(&["c1", "c3", "substr(c2, 1, 20)", "NULL", "length(c4)"]),
        }
    }

    /// Appends `FROM` and a few rows of a table, in the order of their rowids.
    pub(crate) fn say_few_rows_of(&mut self, table: Name) {
        let (limit, offset) = (self.rng.u8(1..20), self.rng.u8(0..10));
        self.say(format_args!(
            " FROM {table} ORDER BY rowid LIMIT {limit} OFFSET {offset}"
        ));
    }
}
