package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"strings"
	"time"
)

// typeChecks is about values: what goes in through a parameter comes out of a column as the same value of the
// same type.
func typeChecks(s *suite) {
	s.check("go driver: values keep their types", 20*time.Second, func(ctx context.Context) error {
		db, err := s.open("types")
		if err != nil {
			return err
		}
		defer db.Close()
		if err := execAll(ctx, db, "CREATE TABLE t(a)"); err != nil {
			return err
		}
		everyByte := make([]byte, 256)
		for i := range everyByte {
			everyByte[i] = byte(i)
		}
		for _, value := range []interface{}{
			nil,
			int64(0), int64(1), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(1) << 53,
			0.5, -0.0, math.Pi, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), 1e300,
			"", "a", "1", "seven77", "eight888", "nine99999", "naïve", "日本語", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "👩‍👩‍👧‍👦", "e\u0301", "\u202e", "\uffff", "it's \"quoted\"; -- ?",
			strings.Repeat("long ", 30000),
			[]byte{}, []byte{0}, []byte("text in a blob"), everyByte, bytes.Repeat(everyByte, 400),
		} {
			if err := roundTrip(ctx, db, value, value); err != nil {
				return err
			}
		}
		// SQLite knows no NaN: it stores NULL.
		return roundTrip(ctx, db, math.NaN(), nil)
	})

	s.check("go driver: literals and expressions have SQLite's types", 10*time.Second, func(ctx context.Context) error {
		db, err := s.open("types")
		if err != nil {
			return err
		}
		defer db.Close()
		row := make([]interface{}, 9)
		pointers := make([]interface{}, len(row))
		for i := range row {
			pointers[i] = &row[i]
		}
		err = db.QueryRowContext(ctx, "SELECT 1, 1.0, '1', x'31', NULL, 9223372036854775807 + 1, 1 = 1, 9e999, CAST('12abc' AS INTEGER)").Scan(pointers...)
		wanted := []interface{}{int64(1), 1.0, "1", []byte("1"), nil, 9223372036854775808.0, int64(1), math.Inf(1), int64(12)}
		if err == nil && !reflect.DeepEqual(row, wanted) {
			err = fmt.Errorf("%#v, wanted %#v", row, wanted)
		}
		return err
	})

	s.check("go driver: one column holds values of every type", 10*time.Second, func(ctx context.Context) error {
		db, err := s.open("mixed")
		if err != nil {
			return err
		}
		defer db.Close()
		if err := execAll(ctx, db, "CREATE TABLE t(a)", "INSERT INTO t VALUES (NULL), (1), (2.5), ('three'), (x'04')"); err != nil {
			return err
		}
		rows, err := db.QueryContext(ctx, "SELECT a, typeof(a) FROM t ORDER BY rowid")
		if err != nil {
			return err
		}
		defer rows.Close()
		wanted := []interface{}{nil, int64(1), 2.5, "three", []byte{4}}
		for rows.Next() {
			var value interface{}
			var name string
			if err := rows.Scan(&value, &name); err != nil {
				return err
			}
			if len(wanted) == 0 || !reflect.DeepEqual(value, wanted[0]) {
				return fmt.Errorf("%#v (%s), wanted %#v", value, name, wanted)
			}
			wanted = wanted[1:]
		}
		if len(wanted) != 0 {
			return fmt.Errorf("missing: %v (%v)", wanted, rows.Err())
		}
		return rows.Err()
	})

	s.check("go driver: DATETIME, DATE and TIMESTAMP columns", 10*time.Second, func(ctx context.Context) error {
		for _, declared := range []string{"DATETIME", "DATE", "TIMESTAMP"} {
			moments := []time.Time{
				time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC),
				time.Date(1969, 7, 20, 20, 17, 40, 0, time.FixedZone("", -4*3600)),
				time.Unix(1700000000, 0), // stored as an integer below
			}
			err := s.column(ctx, declared, []interface{}{moments[0], moments[1], moments[2].Unix()}, func(i int, got interface{}) error {
				moment, is := got.(time.Time)
				if !is || !moment.Equal(moments[i]) {
					return fmt.Errorf("%#v, wanted %s", got, moments[i])
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s: %w", declared, err)
			}
		}
		return nil
	})

	s.check("go driver: BOOLEAN columns", 10*time.Second, func(ctx context.Context) error {
		wanted := []bool{true, false, true}
		return s.column(ctx, "BOOLEAN", []interface{}{true, false, int64(1)}, func(i int, got interface{}) error {
			if got != wanted[i] {
				return fmt.Errorf("%#v, wanted %v", got, wanted[i])
			}
			return nil
		})
	})

	s.better("go driver: a NULL in a BOOLEAN or DATETIME column stays a NULL", 10*time.Second, func(ctx context.Context) error {
		for _, declared := range []string{"BOOLEAN", "DATETIME"} {
			err := s.column(ctx, declared, []interface{}{nil}, func(_ int, got interface{}) error {
				if got != nil {
					return fmt.Errorf("%#v", got)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s: %w", declared, err)
			}
		}
		return nil
	})

	s.better("go driver: a value of another type in a BOOLEAN column is sent as it is", 10*time.Second, func(ctx context.Context) error {
		wanted := []interface{}{"perhaps", 0.5}
		return s.column(ctx, "BOOLEAN", wanted, func(i int, got interface{}) error {
			if got != wanted[i] {
				return fmt.Errorf("%#v, wanted %#v", got, wanted[i])
			}
			return nil
		})
	})

	s.check("go driver: a blob of 4 MB", 30*time.Second, func(ctx context.Context) error { return s.blob(ctx, 4<<20) })
	s.better("go driver: a blob of 100 MB", 90*time.Second, func(ctx context.Context) error { return s.blob(ctx, 100_000_000) })

	s.better("go driver: a row of 500 columns", 10*time.Second, func(ctx context.Context) error {
		db, err := s.open("wide")
		if err != nil {
			return err
		}
		defer db.Close()
		columns := make([]string, 500)
		for i := range columns {
			columns[i] = fmt.Sprintf("%d AS c%d", i, i)
		}
		row := make([]interface{}, len(columns))
		for i := range row {
			row[i] = new(int64)
		}
		if err := db.QueryRowContext(ctx, "SELECT "+strings.Join(columns, ", ")).Scan(row...); err != nil {
			return err
		}
		for i := range row {
			if got := *row[i].(*int64); got != int64(i) {
				return fmt.Errorf("column %d is %d", i, got)
			}
		}
		return nil
	})
}

// roundTrip writes one value into a column without a type and reads it back.
func roundTrip(ctx context.Context, db *sql.DB, value, wanted interface{}) error {
	if err := execAll(ctx, db, "DELETE FROM t"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", value); err != nil {
		return fmt.Errorf("%.40v: %w", value, err)
	}
	var got interface{}
	if err := db.QueryRowContext(ctx, "SELECT a FROM t").Scan(&got); err != nil {
		return fmt.Errorf("%.40v: %w", value, err)
	}
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("%T %.40v came back as %T %.40v", value, value, got, got)
	}
	return nil
}

// column writes values into a column of a declared type and gives each to a judge.
func (s *suite) column(ctx context.Context, declared string, values []interface{}, judge func(int, interface{}) error) error {
	db, err := s.open("declared")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db, "DROP TABLE IF EXISTS t", "CREATE TABLE t(id INTEGER PRIMARY KEY, a "+declared+")"); err != nil {
		return err
	}
	for i, value := range values {
		if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", i, value); err != nil {
			return err
		}
		var got interface{}
		if err := db.QueryRowContext(ctx, "SELECT a FROM t WHERE id = ?", i).Scan(&got); err != nil {
			return err
		}
		if err := judge(i, got); err != nil {
			return err
		}
	}
	return nil
}

// blob writes random bytes and reads them back.
func (s *suite) blob(ctx context.Context, size int) error {
	db, err := s.open("blobs")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db, "CREATE TABLE IF NOT EXISTS t(a BLOB)", "DELETE FROM t"); err != nil {
		return err
	}
	value := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(value)
	if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", value); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	if err := counts(ctx, db, int64(size), "SELECT length(a) FROM t"); err != nil {
		return err
	}
	var got []byte
	if err := db.QueryRowContext(ctx, "SELECT a FROM t").Scan(&got); err != nil {
		return fmt.Errorf("select: %w", err)
	}
	if !bytes.Equal(got, value) {
		return fmt.Errorf("%d bytes came back changed", len(got))
	}
	return execAll(ctx, db, "DROP TABLE t")
}
