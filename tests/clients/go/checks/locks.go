package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/canonical/go-dqlite/driver"
)

// lockChecks is about two clients that write to the same database.
func lockChecks(s *suite) {
	// two gives a check two connections, of which the first holds the writer's lock of a table with one row.
	two := func(name string, body func(ctx context.Context, holder, other *sql.Conn) error) func(context.Context) error {
		return func(ctx context.Context) error {
			db, err := s.open(name)
			if err != nil {
				return err
			}
			defer db.Close()
			holder, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer holder.Close()
			other, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer other.Close()
			if err := execAll(ctx, holder, "CREATE TABLE t(a)", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"); err != nil {
				return err
			}
			return body(ctx, holder, other)
		}
	}

	s.check("go driver: a second writer is told that the database is busy, and goes on later", 60*time.Second, two("busy",
		func(ctx context.Context, holder, other *sql.Conn) error {
			_, err := other.ExecContext(ctx, "INSERT INTO t VALUES (2)")
			return first(
				failsWith(err, driver.ErrBusy, "locked"),
				execAll(ctx, holder, "COMMIT"),
				execAll(ctx, other, "INSERT INTO t VALUES (3)"),
				counts(ctx, other, 2, "SELECT count(*) FROM t"))
		}))

	s.better("go driver: a second writer waits for the first", 30*time.Second, two("waiting",
		func(ctx context.Context, holder, other *sql.Conn) error {
			outcome := make(chan error, 1)
			go func() {
				_, err := other.ExecContext(ctx, "INSERT INTO t VALUES (2)")
				outcome <- err
			}()
			// That the second writer got as far as waiting cannot be seen from here. If it did not, the check
			// passes without having checked; it cannot fail for that reason.
			select {
			case err := <-outcome:
				return fmt.Errorf("it did not wait: %v", err)
			case <-time.After(300 * time.Millisecond):
			}
			return first(execAll(ctx, holder, "COMMIT"), <-outcome, counts(ctx, other, 2, "SELECT count(*) FROM t"))
		}))

	s.check("go driver: a reader sees what was committed, and does not wait for a writer", 20*time.Second, two("readers",
		func(ctx context.Context, holder, other *sql.Conn) error {
			return first(
				counts(ctx, other, 0, "SELECT count(*) FROM t"),
				execAll(ctx, holder, "COMMIT"),
				counts(ctx, other, 1, "SELECT count(*) FROM t"))
		}))

	s.check("go driver: a client that vanishes in a transaction leaves no lock and no rows", 20*time.Second,
		func(ctx context.Context) error {
			vanishing, err := s.open("vanishing")
			if err != nil {
				return err
			}
			conn, err := vanishing.Conn(ctx)
			if err != nil {
				return err
			}
			if err := execAll(ctx, conn, "CREATE TABLE t(a)", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"); err != nil {
				return err
			}
			// Closes the socket at once: the driver sends no farewell.
			if err := first(conn.Close(), vanishing.Close()); err != nil {
				return err
			}
			db, err := s.open("vanishing")
			if err != nil {
				return err
			}
			defer db.Close()
			for {
				_, err = db.ExecContext(ctx, "INSERT INTO t VALUES (2)")
				if err == nil || failsWith(err, driver.ErrBusy, "") != nil {
					break
				}
			}
			return first(err, counts(ctx, db, 2, "SELECT sum(a) FROM t"))
		})

	s.check("go driver: sixteen writers lose no row", 60*time.Second, func(ctx context.Context) error {
		db, err := s.open("writers")
		if err != nil {
			return err
		}
		defer db.Close()
		if err := execAll(ctx, db, "CREATE TABLE t(writer, n, UNIQUE (writer, n))"); err != nil {
			return err
		}
		const writers, each = 16, 20
		outcome := make(chan error, writers)
		for writer := 0; writer < writers; writer++ {
			go func(writer int) {
				for n := 0; n < each; {
					_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", writer, n)
					switch {
					case err == nil:
						n++
					case failsWith(err, driver.ErrBusy, "") == nil: // Try again.
					default:
						outcome <- err
						return
					}
				}
				outcome <- nil
			}(writer)
		}
		for writer := 0; writer < writers; writer++ {
			if err := <-outcome; err != nil {
				return err
			}
		}
		return counts(ctx, db, writers*each, "SELECT count(*) FROM t")
	})
}
