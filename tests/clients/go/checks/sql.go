package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// sqlChecks is about statements, transactions and errors through database/sql.
func sqlChecks(s *suite) {
	// with gives a check its own database and one connection to it.
	with := func(name string, body func(ctx context.Context, db *sql.DB, conn *sql.Conn) error) func(context.Context) error {
		return func(ctx context.Context) error {
			db, err := s.open(name)
			if err != nil {
				return err
			}
			defer db.Close()
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return body(ctx, db, conn)
		}
	}

	s.check("go driver: last insert id and rows affected", 10*time.Second, with("results",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"); err != nil {
				return err
			}
			for _, step := range []struct {
				statement      string
				id, affected   int64
				whatIsAffected string
			}{
				{"INSERT INTO t(b) VALUES ('x')", 1, 1, "one row"},
				{"INSERT INTO t(a, b) VALUES (41, 'y'), (42, 'z')", 42, 2, "two rows"},
				{"UPDATE t SET b = b || '!' WHERE a < 42", 42, 2, "an update"},
				{"DELETE FROM t", 42, 3, "a delete"},
			} {
				result, err := conn.ExecContext(ctx, step.statement)
				if err != nil {
					return err
				}
				id, _ := result.LastInsertId()
				affected, _ := result.RowsAffected()
				if id != step.id || affected != step.affected {
					return fmt.Errorf("%s: id %d and %d rows, wanted %d and %d", step.whatIsAffected, id, affected, step.id, step.affected)
				}
			}
			return nil
		}))

	s.check("go driver: prepared statements", 10*time.Second, with("prepared",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)"); err != nil {
				return err
			}
			insert, err := conn.PrepareContext(ctx, "INSERT INTO t(a, b) VALUES (?, ?)")
			if err != nil {
				return err
			}
			query, err := conn.PrepareContext(ctx, "SELECT b FROM t WHERE a = ?")
			if err != nil {
				return err
			}
			for i := 0; i < 50; i++ {
				if _, err := insert.ExecContext(ctx, i, fmt.Sprint("value ", i)); err != nil {
					return err
				}
				var b string
				if err := query.QueryRowContext(ctx, i).Scan(&b); err != nil || b != fmt.Sprint("value ", i) {
					return fmt.Errorf("row %d: %q, %v", i, b, err)
				}
			}
			// A statement that failed can be run again.
			if _, err := insert.ExecContext(ctx, 7, "again"); err == nil {
				return errors.New("a duplicate key was accepted")
			}
			if _, err := insert.ExecContext(ctx, 50, "new"); err != nil {
				return fmt.Errorf("after a failure: %w", err)
			}
			// And the schema may change under it.
			if err := execAll(ctx, conn, "ALTER TABLE t ADD COLUMN c DEFAULT 3"); err != nil {
				return err
			}
			if _, err := insert.ExecContext(ctx, 51, "newer"); err != nil {
				return fmt.Errorf("after a change of the schema: %w", err)
			}
			return first(insert.Close(), query.Close(), counts(ctx, conn, 52, "SELECT count(*) FROM t"))
		}))

	s.check("go driver: commit and rollback", 10*time.Second, with("transactions",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn, "CREATE TABLE t(a)"); err != nil {
				return err
			}
			for _, commit := range []bool{true, false} {
				tx, err := conn.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if err := first(execAll(ctx, tx, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"),
					execAll(ctx, tx, "SAVEPOINT s", "INSERT INTO t VALUES (3)", "ROLLBACK TO s", "RELEASE s")); err != nil {
					return err
				}
				if commit {
					err = tx.Commit()
				} else {
					// What a transaction wrote it also reads; nobody else does.
					err = first(counts(ctx, tx, 4, "SELECT count(*) FROM t"), tx.Rollback())
				}
				if err != nil {
					return err
				}
				if err := counts(ctx, db, 2, "SELECT count(*) FROM t"); err != nil {
					return err
				}
			}
			return nil
		}))

	s.check("go driver: several statements in one text", 10*time.Second, with("several",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			result, err := conn.ExecContext(ctx, `
				CREATE TABLE t(a); -- a comment; with a semicolon
				INSERT INTO t VALUES ('one; two');
				INSERT INTO t VALUES (2), (3)`)
			if err != nil {
				return err
			}
			if affected, _ := result.RowsAffected(); affected != 2 {
				return fmt.Errorf("%d rows affected by the last statement", affected)
			}
			return counts(ctx, conn, 3, "SELECT count(*) FROM t")
		}))

	s.check("go driver: an error in one of several statements stops there", 10*time.Second, with("several_failing",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, "CREATE TABLE t(a); INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (2); INSERT INTO t VALUES (3)")
			return first(failsWith(err, 1, "no such table: nowhere"), counts(ctx, conn, 1, "SELECT count(*) FROM t"))
		}))

	s.check("go driver: 255 parameters", 10*time.Second, with("parameters",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			arguments := make([]interface{}, 255)
			var sum int64
			for i := range arguments {
				arguments[i] = int64(i * i)
				sum += int64(i * i)
			}
			return counts(ctx, conn, sum, "SELECT ?"+strings.Repeat(" + ?", 63)+
				" + (SELECT ?"+strings.Repeat(" + ?", 63)+") + (SELECT ?"+strings.Repeat(" + ?", 63)+
				") + (SELECT ?"+strings.Repeat(" + ?", 62)+")", arguments...)
		}))

	s.check("go driver: numbered and named parameters", 10*time.Second, with("parameters",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			return first(
				counts(ctx, conn, 21, "SELECT ?2 * 10 + ?1", 1, 2),
				counts(ctx, conn, 121, "SELECT :x * 100 + $y * 10 + :x", 1, 2))
		}))

	s.check("go driver: a failing statement keeps the connection", 20*time.Second, with("errors", failingStatements))

	s.check("go driver: a duplicate primary key is told from another duplicate", 10*time.Second, with("duplicates",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn,
				"CREATE TABLE r(a INTEGER PRIMARY KEY)", "INSERT INTO r VALUES (1)",
				"CREATE TABLE k(a TEXT PRIMARY KEY)", "INSERT INTO k VALUES ('x')",
			); err != nil {
				return err
			}
			_, rowid := conn.ExecContext(ctx, "INSERT INTO r VALUES (1)")
			_, key := conn.ExecContext(ctx, "INSERT INTO k VALUES ('x')")
			return first(
				failsWith(rowid, 1555, "UNIQUE constraint failed: r.a"),
				failsWith(key, 1555, "UNIQUE constraint failed: k.a"))
		}))

	s.check("go driver: a value of the wrong shape is refused by name", 10*time.Second, with("strictness",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn, "CREATE TABLE t(a INTEGER) STRICT"); err != nil {
				return err
			}
			_, err := conn.ExecContext(ctx, "INSERT INTO t VALUES (?)", "text")
			return first(failsWith(err, 3091, "TEXT value in INTEGER column t.a"), counts(ctx, conn, 0, "SELECT count(*) FROM t"))
		}))

	s.better("go driver: what would break replication is refused", 20*time.Second, with("refused",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			for _, statement := range []string{
				"ATTACH '/tmp/elsewhere.db' AS elsewhere",
				"PRAGMA journal_mode = DELETE",
				"PRAGMA journal_mode = mvcc",
				"PRAGMA synchronous = OFF",
				"PRAGMA locking_mode = EXCLUSIVE",
				"PRAGMA page_size = 8192",
				"PRAGMA wal_autocheckpoint = 1",
				"PRAGMA wal_checkpoint",
			} {
				if _, err := conn.ExecContext(ctx, statement); err == nil {
					return fmt.Errorf("accepted: %s", statement)
				}
			}
			return first(execAll(ctx, conn, "CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"),
				counts(ctx, conn, 1, "SELECT count(*) FROM t"))
		}))

	s.check("go driver: many databases in one cluster", 20*time.Second, func(ctx context.Context) error {
		for i := 0; i < 8; i++ {
			db, err := s.open(fmt.Sprint("many_", i))
			if err != nil {
				return err
			}
			defer db.Close()
			if err := execAll(ctx, db, "CREATE TABLE t(a)", fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
				return err
			}
		}
		for i := 0; i < 8; i++ {
			db, err := s.open(fmt.Sprint("many_", i))
			if err != nil {
				return err
			}
			defer db.Close()
			if err := counts(ctx, db, int64(i), "SELECT a FROM t"); err != nil {
				return err
			}
		}
		return nil
	})

	s.check("go driver: what is not a pure function replicates once", 30*time.Second, with("impure",
		func(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
			if err := execAll(ctx, conn,
				"CREATE TABLE t(a INTEGER PRIMARY KEY, r INTEGER DEFAULT (random()), d TEXT DEFAULT (datetime('now')), b BLOB DEFAULT (randomblob(16)))",
				"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t(a) SELECT i FROM n",
			); err != nil {
				return err
			}
			const all = "SELECT group_concat(r || d || hex(b)) FROM (SELECT * FROM t ORDER BY a)"
			var before string
			if err := conn.QueryRowContext(ctx, all).Scan(&before); err != nil {
				return err
			}
			for id := range s.servers {
				if err := s.lead(ctx, uint64(id+1)); err != nil {
					return err
				}
				var after string
				if err := db.QueryRowContext(ctx, all).Scan(&after); err != nil {
					return err
				}
				if after != before {
					return fmt.Errorf("node %d has other rows", id+1)
				}
			}
			return nil
		}))
}

func failingStatements(ctx context.Context, db *sql.DB, conn *sql.Conn) error {
	if err := execAll(ctx, conn,
		"CREATE TABLE parent(a INTEGER PRIMARY KEY)",
		"CREATE TABLE t(a INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL, c CHECK (c > 0), p REFERENCES parent(a))",
		"INSERT INTO t VALUES (1, 'u', 'n', 1, NULL)",
	); err != nil {
		return err
	}
	for _, failure := range []struct {
		statement string
		code      int
		text      string
	}{
		{"SELEKT 1", 1, "syntax error"},
		{"SELECT * FROM nowhere", 1, "no such table: nowhere"},
		{"SELECT missing FROM t", 1, "no such column: missing"},
		{"CREATE TABLE t(a)", 1, "already exists"},
		{"INSERT INTO t VALUES (2, 'u', 'n', 1, NULL)", 2067, "UNIQUE constraint failed: t.u"},
		{"INSERT INTO t VALUES (2, 'v', NULL, 1, NULL)", 1299, "NOT NULL constraint failed: t.n"},
		{"INSERT INTO t VALUES (2, 'v', 'n', 0, NULL)", 275, "CHECK constraint failed"},
		{"INSERT INTO t VALUES (2, 'v', 'n', 1, 99)", 787, "FOREIGN KEY constraint failed"},
		{"INSERT INTO t VALUES (1)", 1, "table t has 5 columns but 1 values were supplied"},
	} {
		_, err := conn.ExecContext(ctx, failure.statement)
		if err := failsWith(err, failure.code, failure.text); err != nil {
			return fmt.Errorf("%s: %w", failure.statement, err)
		}
		if err := counts(ctx, conn, 1, "SELECT count(*) FROM t"); err != nil {
			return fmt.Errorf("after %s: %w", failure.statement, err)
		}
	}
	// An error inside a transaction ends the statement and nothing else.
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := execAll(ctx, tx, "INSERT INTO t VALUES (3, 'w', 'n', 1, NULL)"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO t VALUES (4, 'w', 'n', 1, NULL)")
	return first(failsWith(err, 2067, "UNIQUE"), tx.Commit(), counts(ctx, conn, 2, "SELECT count(*) FROM t"))
}
