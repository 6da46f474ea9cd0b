// Checks of a server through the Go client of dqlite, as Debian packages it: the low-level client and the
// database/sql driver, both unmodified.
//
//	go-checks -servers A,B,C -cluster PROGRAM [-oracle] GROUP…
//
// prints one line per check, `ok - name`, `not ok - name: reason` or `skip - name: reason`, and `end` after the
// last. A line that is missing is therefore noticed even when the program dies. With -oracle the server is dqlite
// itself, and checks of what Ferrolite does better are skipped.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/canonical/go-dqlite/client"
	"github.com/canonical/go-dqlite/driver"
)

// suite is what every check needs: where the servers are and how to start and stop them.
type suite struct {
	servers []string
	cluster string
	oracle  bool
}

var groups = map[string]func(*suite){
	"admin":     adminChecks,
	"sql":       sqlChecks,
	"types":     typeChecks,
	"locks":     lockChecks,
	"streaming": streamingChecks,
	"failover":  failoverChecks,
}

func main() {
	servers := flag.String("servers", "", "addresses of the three servers, with commas")
	cluster := flag.String("cluster", "", "the program that starts and stops servers")
	oracle := flag.Bool("oracle", false, "the servers are dqlite's")
	flag.Parse()
	s := &suite{servers: strings.Split(*servers, ","), cluster: *cluster, oracle: *oracle}

	d, err := driver.New(s.store(), driver.WithLogFunc(quiet))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sql.Register("dqlite", d)
	for _, name := range flag.Args() {
		group, known := groups[name]
		if !known {
			fmt.Fprintf(os.Stderr, "no group %q\n", name)
			os.Exit(2)
		}
		group(s)
	}
	fmt.Println("end")
}

// check runs one check with a time limit, and reports it. A check that hangs or panics (the client panics when a
// message is malformed) fails alone; the others go on.
func (s *suite) check(name string, limit time.Duration, body func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- body(ctx)
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(limit + time.Second):
		err = fmt.Errorf("no end after %s", limit)
	}
	if err != nil {
		fmt.Printf("not ok - %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Printf("ok - %s\n", name)
	}
}

// better is a check of something that dqlite itself is known not to do.
func (s *suite) better(name string, limit time.Duration, body func(ctx context.Context) error) {
	if s.oracle {
		fmt.Printf("skip - %s: dqlite does not\n", name)
		return
	}
	s.check(name, limit, body)
}

func quiet(client.LogLevel, string, ...interface{}) {}

// store is a fresh list of the servers' addresses.
func (s *suite) store() client.NodeStore {
	infos := make([]client.NodeInfo, len(s.servers))
	for i, address := range s.servers {
		infos[i].Address = address
	}
	store := client.NewInmemNodeStore()
	if err := store.Set(context.Background(), infos); err != nil {
		panic(err) // A store in memory takes any list.
	}
	return store
}

// leader is a low-level client that is connected to the leader.
func (s *suite) leader(ctx context.Context) (*client.Client, error) {
	return client.FindLeader(ctx, s.store(), client.WithLogFunc(quiet))
}

// open opens a database. Every check has its own, so that one which fails leaves nothing to the next.
func (s *suite) open(name string) (*sql.DB, error) {
	return sql.Open("dqlite", name)
}

// control calls the program that starts and stops servers, and returns what it prints.
func (s *suite) control(arguments ...string) (string, error) {
	out, err := exec.Command(s.cluster, arguments...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("cluster %s: %s", strings.Join(arguments, " "), exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// failsWith checks that an error is the server's, with this SQLite result code and this text in its message.
func failsWith(err error, code int, text string) error {
	var failure driver.Error
	switch {
	case err == nil:
		return fmt.Errorf("no error, wanted %d with %q", code, text)
	case !errors.As(err, &failure):
		return fmt.Errorf("%v (%T) is not a server's error", err, err)
	case failure.Code != code:
		return fmt.Errorf("error code %d, wanted %d: %s", failure.Code, code, failure.Message)
	case !strings.Contains(failure.Message, text):
		return fmt.Errorf("error message %q, wanted %q in it", failure.Message, text)
	}
	return nil
}

// count runs a query that yields one integer.
func count(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...interface{}) *sql.Row
}, query string, arguments ...interface{}) (int64, error) {
	var n int64
	err := q.QueryRowContext(ctx, query, arguments...).Scan(&n)
	return n, err
}

// counts checks that a query yields this integer.
func counts(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...interface{}) *sql.Row
}, wanted int64, query string, arguments ...interface{}) error {
	n, err := count(ctx, q, query, arguments...)
	if err == nil && n != wanted {
		err = fmt.Errorf("%s: %d, wanted %d", query, n, wanted)
	}
	return err
}

// execAll runs statements one after another.
func execAll(ctx context.Context, q interface {
	ExecContext(context.Context, string, ...interface{}) (sql.Result, error)
}, statements ...string) error {
	for _, statement := range statements {
		if _, err := q.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%.60s: %w", statement, err)
		}
	}
	return nil
}

// first returns the first error.
func first(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}
