package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/canonical/go-dqlite/driver"
)

// failoverChecks is about the death of the leader. They come last: they end with other servers than they began.
func failoverChecks(s *suite) {
	s.check("go driver: after kill -9 of the leader the driver goes on, and no acknowledged row is lost", 90*time.Second, s.killedLeader)
	s.check("go driver: a transaction that was open when the leader died does not commit", 60*time.Second, s.killedTransaction)
	s.check("go driver: all servers are killed and started again, and every row is there", 90*time.Second, s.killedCluster)
}

// killLeader kills the leader and returns its number.
func (s *suite) killLeader(ctx context.Context) (string, error) {
	c, err := s.leader(ctx)
	if err != nil {
		return "", err
	}
	info, err := c.Leader(ctx)
	c.Close()
	if err != nil {
		return "", err
	}
	id := strconv.FormatUint(info.ID, 10)
	_, err = s.control("kill", id)
	return id, err
}

func (s *suite) killedLeader(ctx context.Context) error {
	db, err := s.open("failover")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db, "CREATE TABLE t(a INTEGER PRIMARY KEY)"); err != nil {
		return err
	}
	// The driver sends a statement again on a new connection when the old one broke. An insert that may already
	// have happened must therefore be one that can be repeated.
	write := func(n int) error {
		for {
			attempt, cancel := context.WithTimeout(ctx, 15*time.Second)
			_, err := db.ExecContext(attempt, "INSERT OR IGNORE INTO t VALUES (?)", n)
			cancel()
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
	}
	const before, after = 100, 200
	for n := 1; n <= before; n++ {
		if err := write(n); err != nil {
			return err
		}
	}
	dead, err := s.killLeader(ctx)
	if err != nil {
		return err
	}
	killed := time.Now()
	if err := write(before + 1); err != nil {
		return fmt.Errorf("the first write afterwards: %w", err)
	}
	fmt.Printf("note - from kill -9 to the next write through the Go driver: %.2f s\n", time.Since(killed).Seconds())
	for n := before + 2; n <= after; n++ {
		if err := write(n); err != nil {
			return err
		}
	}
	if err := counts(ctx, db, after, "SELECT count(*) FROM t"); err != nil {
		return err
	}
	// The dead one comes back, catches up and can lead: then it shows its own copy.
	if _, err := s.control("start", dead); err != nil {
		return err
	}
	id, err := strconv.ParseUint(dead, 10, 64)
	if err != nil {
		return err
	}
	for {
		if err = s.lead(ctx, id); err == nil || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return first(err, counts(ctx, db, after, "SELECT count(*) FROM t WHERE a BETWEEN 1 AND ?", after))
}

func (s *suite) killedTransaction(ctx context.Context) error {
	db, err := s.open("failover_open")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db, "CREATE TABLE t(a)"); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := execAll(ctx, tx, "INSERT INTO t VALUES (1)"); err != nil {
		return err
	}
	dead, err := s.killLeader(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (2)"); err == nil {
		return errors.New("a statement of the lost transaction succeeded")
	}
	if err := tx.Commit(); err == nil {
		return errors.New("the lost transaction committed")
	}
	// A write makes a new leader look at its own log first: dqlite's may otherwise not know the table yet.
	if err := first(execAll(ctx, db, "CREATE TABLE later(a)"), counts(ctx, db, 0, "SELECT count(*) FROM t")); err != nil {
		return err
	}
	_, err = s.control("start", dead)
	return err
}

func (s *suite) killedCluster(ctx context.Context) error {
	db, err := s.open("killed")
	if err != nil {
		return err
	}
	if err := execAll(ctx, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)"); err != nil {
		return err
	}
	const rows = 200
	for n := 1; n <= rows; n++ {
		_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?, randomblob(500))", n)
		for failsWith(err, driver.ErrBusy, "") == nil {
			_, err = db.ExecContext(ctx, "INSERT INTO t VALUES (?, randomblob(500))", n)
		}
		if err != nil {
			return err
		}
	}
	db.Close()
	for id := range s.servers {
		if _, err := s.control("kill", strconv.Itoa(id+1)); err != nil {
			return err
		}
	}
	started := make(chan error, len(s.servers))
	for id := range s.servers {
		go func(id int) {
			_, err := s.control("start", strconv.Itoa(id+1))
			started <- err
		}(id)
	}
	for range s.servers {
		if err := <-started; err != nil {
			return err
		}
	}
	if db, err = s.open("killed"); err != nil {
		return err
	}
	defer db.Close()
	return counts(ctx, db, rows, "SELECT count(*) FROM t WHERE length(b) = 500")
}
