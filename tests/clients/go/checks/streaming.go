package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

const manyRows = 1_000_000

// A query of many rows, an endless one that yields a row at every step, and one that never yields any.
const (
	longRows      = endlessRows + " LIMIT 200000"
	endlessRows   = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
	endlessSearch = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)

// streamingChecks is about results that are long, and about ending them early.
func streamingChecks(s *suite) {
	s.check("go driver: a million rows arrive, and memory stays flat on both sides", 120*time.Second, s.manyRows)

	// dqlite reads an INTERRUPT only once the query before it has ended.
	s.check("go driver: cancelling a context interrupts a query and keeps the connection", 30*time.Second,
		func(ctx context.Context) error { return s.cancelled(ctx, longRows) })
	s.better("go driver: cancelling a context interrupts an endless query", 30*time.Second,
		func(ctx context.Context) error { return s.cancelled(ctx, endlessRows) })

	s.check("go driver: closing a result early keeps the connection", 30*time.Second, func(ctx context.Context) error {
		db, err := s.open("interrupted")
		if err != nil {
			return err
		}
		defer db.Close()
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, query := range []string{longRows, "VALUES (1), (2), (3)", endlessRows + " LIMIT 5000"} {
			rows, err := conn.QueryContext(ctx, query)
			if err != nil {
				return err
			}
			if !rows.Next() {
				return fmt.Errorf("no row: %v", rows.Err())
			}
			if err := first(rows.Close(), counts(ctx, conn, 42, "SELECT 42")); err != nil {
				return fmt.Errorf("after %s: %w", query, err)
			}
		}
		return nil
	})

	s.better("go driver: a query that never yields a row ends with its client, and stops nobody else", 60*time.Second,
		func(ctx context.Context) error {
			db, err := s.open("endless")
			if err != nil {
				return err
			}
			defer db.Close()
			if err := execAll(ctx, db, "CREATE TABLE t(a)"); err != nil {
				return err
			}
			// The driver has no way to interrupt a query before its first row: it closes the connection.
			const queries = 4
			outcome := make(chan error, queries)
			inner, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			for i := 0; i < queries; i++ {
				go func() {
					var n int64
					outcome <- db.QueryRowContext(inner, endlessSearch).Scan(&n)
				}()
			}
			for i := 0; i < 20; i++ {
				if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", i); err != nil {
					return fmt.Errorf("a write beside it: %w", err)
				}
			}
			for i := 0; i < queries; i++ {
				if err := <-outcome; err == nil {
					return errors.New("the endless query came to an end")
				}
			}
			leader, err := s.leaderProcess(ctx)
			if err != nil {
				return err
			}
			return s.idle(ctx, leader)
		})
}

// cancelled reads the beginning of a query, cancels its context, and uses the connection again.
func (s *suite) cancelled(ctx context.Context, query string) error {
	db, err := s.open("interrupted")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for round := 0; round < 5; round++ {
		inner, cancel := context.WithCancel(ctx)
		rows, err := conn.QueryContext(inner, query)
		if err != nil {
			cancel()
			return err
		}
		for i := int64(1); i <= 1000 && rows.Next(); i++ {
			var got int64
			if err := rows.Scan(&got); err != nil || got != i {
				cancel()
				return fmt.Errorf("row %d is %d (%v)", i, got, err)
			}
		}
		cancel()
		for rows.Next() {
		}
		if err := rows.Err(); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the query ended with %v", err)
		}
		rows.Close()
		if err := counts(ctx, conn, 42, "SELECT 42"); err != nil {
			return fmt.Errorf("the connection afterwards: %w", err)
		}
	}
	return nil
}

// manyRows reads a long result at two speeds.
func (s *suite) manyRows(ctx context.Context) error {
	db, err := s.open("streamed")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db,
		"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)",
		fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i, 'row number ' || i FROM n", manyRows),
	); err != nil {
		return err
	}
	leader, err := s.leaderProcess(ctx)
	if err != nil {
		return err
	}
	// A first pass brings whatever the server caches into its memory.
	if err := counts(ctx, db, manyRows, "SELECT count(b) FROM t"); err != nil {
		return err
	}
	before, err := residentMiB(leader)
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT a, b FROM t ORDER BY a")
	if err != nil {
		return err
	}
	defer rows.Close()
	var n int64
	var here, there float64
	measure := func() error {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		here = max(here, float64(m.HeapAlloc)/(1<<20))
		now, err := residentMiB(leader)
		there = max(there, now-before)
		return err
	}
	for rows.Next() {
		var a int64
		var b sql.RawBytes
		if err := rows.Scan(&a, &b); err != nil {
			return err
		}
		if n++; a != n || string(b) != fmt.Sprint("row number ", n) {
			return fmt.Errorf("row %d is %d, %q", n, a, b)
		}
		if n == 1000 {
			// A client that pauses: were the server to go on without it, a million rows would pile up there.
			time.Sleep(time.Second)
		}
		if n%1000 == 0 {
			if err := measure(); err != nil {
				return err
			}
		}
	}
	switch {
	case rows.Err() != nil:
		return rows.Err()
	case n != manyRows:
		return fmt.Errorf("%d rows", n)
	case here > 32:
		return fmt.Errorf("the client held %.0f MiB", here)
	case there > 48:
		return fmt.Errorf("the server grew by %.0f MiB", there)
	}
	return nil
}

// leaderProcess is the process id of the leader.
func (s *suite) leaderProcess(ctx context.Context) (string, error) {
	c, err := s.leader(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	info, err := c.Leader(ctx)
	if err != nil {
		return "", err
	}
	return s.control("pid", fmt.Sprint(info.ID))
}

// residentMiB is the memory that a process holds.
func residentMiB(process string) (float64, error) {
	status, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024, nil
		}
	}
	return 0, errors.New("no VmRSS")
}

// idle waits until a process has stopped computing: less than a tenth of a core over half a second.
func (s *suite) idle(ctx context.Context, process string) error {
	spent := func() (ticks int64, err error) {
		stat, err := os.ReadFile("/proc/" + process + "/stat")
		if err != nil {
			return 0, err
		}
		// The program's name, in parentheses, may hold anything; times are the 12th and 13th field after it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		var user, system int64
		_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
		return user + system, err
	}
	for {
		before, err := spent()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the server goes on computing")
		case <-time.After(500 * time.Millisecond):
		}
		after, err := spent()
		if err != nil || after-before < 5 {
			return err
		}
	}
}

func max(a, b float64) float64 {
	if a > b {
		return a
	}
	return b
}
