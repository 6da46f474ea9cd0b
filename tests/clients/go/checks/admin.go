package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/go-dqlite/client"
)

// adminChecks is about the cluster itself: who is in it, who leads it, and how that is changed.
func adminChecks(s *suite) {
	s.check("go client: the leader is found from any server", 10*time.Second, func(ctx context.Context) error {
		var seen string
		for _, address := range s.servers {
			c, err := client.New(ctx, address)
			if err != nil {
				return err
			}
			info, err := c.Leader(ctx)
			c.Close()
			switch {
			case err != nil:
				return err
			case info.Address == "":
				return fmt.Errorf("%s knows no leader", address)
			case seen != "" && seen != info.Address:
				return fmt.Errorf("two leaders, %s and %s", seen, info.Address)
			}
			seen = info.Address
		}
		return nil
	})

	s.check("go client: the cluster has three voters", 10*time.Second, func(ctx context.Context) error {
		nodes, err := s.nodes(ctx)
		if err != nil {
			return err
		}
		for i, address := range s.servers {
			if err := expectRole(nodes, uint64(i+1), address, client.Voter); err != nil {
				return err
			}
		}
		if len(nodes) != len(s.servers) {
			return fmt.Errorf("%d nodes", len(nodes))
		}
		return nil
	})

	s.check("go client: describe and weight", 10*time.Second, func(ctx context.Context) error {
		for _, address := range s.servers {
			c, err := client.New(ctx, address)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Weight(ctx, 7); err != nil {
				return err
			}
			metadata, err := c.Describe(ctx)
			if err != nil {
				return err
			}
			if metadata.Weight != 7 || metadata.FailureDomain != 0 {
				return fmt.Errorf("%s: %+v", address, *metadata)
			}
			if err := c.Weight(ctx, 0); err != nil {
				return err
			}
		}
		return nil
	})

	s.check("go client: leadership is transferred to each voter", 30*time.Second, func(ctx context.Context) error {
		for id := range s.servers {
			if err := s.lead(ctx, uint64(id+1)); err != nil {
				return err
			}
		}
		return nil
	})

	s.check("go client: a transfer to an unknown node is refused", 10*time.Second, func(ctx context.Context) error {
		return s.refused(ctx, func(c *client.Client) error { return c.Transfer(ctx, 99) })
	})
	s.check("go client: removal of an unknown node is refused", 10*time.Second, func(ctx context.Context) error {
		return s.refused(ctx, func(c *client.Client) error { return c.Remove(ctx, 99) })
	})
	s.check("go client: a role for an unknown node is refused", 10*time.Second, func(ctx context.Context) error {
		return s.refused(ctx, func(c *client.Client) error { return c.Assign(ctx, 99, client.Voter) })
	})
	s.check("go client: an id that is taken is refused", 10*time.Second, func(ctx context.Context) error {
		return s.refused(ctx, func(c *client.Client) error {
			return c.Add(ctx, client.NodeInfo{ID: 2, Address: "127.0.0.1:1", Role: client.Spare})
		})
	})

	s.check("go client: a fourth node is added, given each role, and removed", 60*time.Second, s.fourthNode)
	s.check("go client: a dump opens in sqlite3", 20*time.Second, s.dump)
}

// nodes asks the leader for the members of the cluster.
func (s *suite) nodes(ctx context.Context) ([]client.NodeInfo, error) {
	c, err := s.leader(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Cluster(ctx)
}

func expectRole(nodes []client.NodeInfo, id uint64, address string, role client.NodeRole) error {
	for _, node := range nodes {
		if node.ID == id {
			if node.Address != address || node.Role != role {
				return fmt.Errorf("node %d is %s at %s, wanted %s at %s", id, node.Role, node.Address, role, address)
			}
			return nil
		}
	}
	return fmt.Errorf("node %d is missing from %v", id, nodes)
}

// lead transfers leadership to a node, unless it leads already, and checks that it took the office.
func (s *suite) lead(ctx context.Context, id uint64) error {
	c, err := s.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.Leader(ctx)
	if err != nil || info.ID == id {
		return err
	}
	if err := c.Transfer(ctx, id); err != nil {
		return fmt.Errorf("transfer from %d to %d: %w", info.ID, id, err)
	}
	next, err := s.leader(ctx)
	if err != nil {
		return err
	}
	defer next.Close()
	if info, err = next.Leader(ctx); err == nil && info.ID != id {
		err = fmt.Errorf("node %d leads after a transfer to %d", info.ID, id)
	}
	return err
}

// refused checks that the leader answers a request with an error, and that the connection is of use afterwards.
func (s *suite) refused(ctx context.Context, request func(*client.Client) error) error {
	c, err := s.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := request(c); err == nil {
		return fmt.Errorf("accepted")
	}
	nodes, err := c.Cluster(ctx)
	if err == nil && len(nodes) != len(s.servers) {
		err = fmt.Errorf("the cluster now is %v", nodes)
	}
	return err
}

func (s *suite) fourthNode(ctx context.Context) error {
	const id = 4
	address, err := s.control("address", strconv.Itoa(id))
	if err != nil {
		return err
	}
	if _, err := s.control("start", strconv.Itoa(id)); err != nil {
		return err
	}
	c, err := s.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	step := func(role client.NodeRole, request func() error) error {
		if err := request(); err != nil {
			return fmt.Errorf("to %s: %w", role, err)
		}
		nodes, err := c.Cluster(ctx)
		if err != nil {
			return err
		}
		return expectRole(nodes, id, address, role)
	}
	if err := step(client.Spare, func() error {
		return c.Add(ctx, client.NodeInfo{ID: id, Address: address, Role: client.Spare})
	}); err != nil {
		return err
	}
	for _, role := range []client.NodeRole{client.StandBy, client.Voter, client.Spare} {
		role := role
		if err := step(role, func() error { return c.Assign(ctx, id, role) }); err != nil {
			return err
		}
	}
	if err := c.Remove(ctx, id); err != nil {
		return err
	}
	nodes, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	if len(nodes) != len(s.servers) {
		return fmt.Errorf("after the removal: %v", nodes)
	}
	_, err = s.control("kill", strconv.Itoa(id))
	return err
}

// dump fetches a database's two files and lets the stock sqlite3 program read them.
func (s *suite) dump(ctx context.Context) error {
	db, err := s.open("dumped")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db,
		"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)",
		"CREATE INDEX t_by_b ON t(b)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'row ' || i FROM n",
		"DELETE FROM t WHERE a % 7 = 0",
	); err != nil {
		return err
	}
	c, err := s.leader(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	files, err := c.Dump(ctx, "dumped")
	if err != nil {
		return err
	}
	if len(files) != 2 || files[0].Name != "dumped" || files[1].Name != "dumped-wal" {
		return fmt.Errorf("%d files: %v", len(files), names(files))
	}
	directory, err := os.MkdirTemp("", "dump")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(directory, file.Name), file.Data, 0o600); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "sqlite3", filepath.Join(directory, "dumped"),
		"PRAGMA integrity_check; SELECT count(*), sum(a) FROM t;").CombinedOutput()
	if wanted := "ok\n4286|10715715\n"; err != nil || string(out) != wanted {
		return fmt.Errorf("sqlite3 says %q (%v), wanted %q", out, err, wanted)
	}
	return nil
}

func names(files []client.File) string {
	all := make([]string, len(files))
	for i, file := range files {
		all[i] = fmt.Sprintf("%s (%d bytes)", file.Name, len(file.Data))
	}
	return strings.Join(all, ", ")
}
