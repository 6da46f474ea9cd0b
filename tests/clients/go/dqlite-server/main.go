// A real dqlite node with the command line of `ferrolite serve`.
//
// The checks of this folder claim that what works with dqlite works with Ferrolite. This program lets them be
// run against dqlite itself, so that a check which fails there is known to be wrong. It is built from Debian's
// packages and used in no other way.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	dqlite "github.com/canonical/go-dqlite"
	"github.com/canonical/go-dqlite/client"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		log.Fatal("usage: dqlite-server serve --id N --address HOST:PORT --data-dir DIR [--bootstrap | --join HOST:PORT]")
	}
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	id := flags.Uint64("id", 0, "node id; the one that bootstraps has to be 1")
	address := flags.String("address", "", "address to listen on and to be reached at")
	directory := flags.String("data-dir", "", "data directory")
	bootstrap := flags.Bool("bootstrap", false, "be the first node of a new cluster")
	join := flags.String("join", "", "addresses of a cluster to join")
	flags.Parse(os.Args[2:])

	if *bootstrap && *id != 1 {
		log.Fatal("dqlite bootstraps node 1 only")
	}
	if err := os.MkdirAll(*directory, 0o755); err != nil {
		log.Fatal(err)
	}
	node, err := dqlite.New(*id, *address, *directory, dqlite.WithBindAddress(*address))
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Start(); err != nil {
		log.Fatal(err)
	}
	if *join != "" {
		if err := joinCluster(*id, *address, strings.Split(*join, ",")); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("ready: node %d serves on %s\n", *id, *address)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	if err := node.Close(); err != nil {
		log.Fatal(err)
	}
}

// joinCluster adds the node as a voter, unless the cluster has it already.
func joinCluster(id uint64, address string, members []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	store := client.NewInmemNodeStore()
	infos := make([]client.NodeInfo, len(members))
	for i, member := range members {
		infos[i].Address = member
	}
	if err := store.Set(ctx, infos); err != nil {
		return err
	}
	leader, err := client.FindLeader(ctx, store)
	if err != nil {
		return err
	}
	defer leader.Close()
	nodes, err := leader.Cluster(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if node.ID == id {
			return nil
		}
	}
	return leader.Add(ctx, client.NodeInfo{ID: id, Address: address, Role: client.Voter})
}
