// Package bindings stands in for the Go client's binding to the C library: a node is a server process.
//
// The client's own tests create nodes through it and know nothing else about the server, so with this package in
// the place of the original they test any program that has the command line of `ferrolite serve`.
package bindings

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/canonical/go-dqlite/internal/protocol"
)

// bootstrapID is what the app package gives to the first node of a cluster; the tests below it use 1.
const bootstrapID = 0x2dc171858c3155be

const startLimit = 15 * time.Second

// Node is one server process, or will be once it is started.
type Node struct {
	id            uint64
	address       string
	data          string
	failureDomain uint64
	process       *exec.Cmd
	output        *os.File
}

// SnapshotParams is part of the original's interface; the server decides on snapshots by itself.
type SnapshotParams struct {
	Threshold uint64
	Trailing  uint64
}

// NewNode prepares a node whose data is below a directory.
func NewNode(_ context.Context, id uint64, address string, directory string) (*Node, error) {
	return &Node{id: id, address: address, data: filepath.Join(directory, "node")}, nil
}

// SetBindAddress takes the address that the node has anyway.
func (n *Node) SetBindAddress(address string) error {
	if address != n.address {
		return fmt.Errorf("node %d is to be reached at %s but to listen on %s", n.id, n.address, address)
	}
	return nil
}

// SetFailureDomain is given to the server when it starts.
func (n *Node) SetFailureDomain(code uint64) error {
	n.failureDomain = code
	return nil
}

// SetDialFunc is accepted: servers connect to each other by themselves.
func (n *Node) SetDialFunc(protocol.DialFunc) error { return nil }

// SetNetworkLatency is accepted: the default suits the loopback interface.
func (n *Node) SetNetworkLatency(uint64) error { return nil }

// SetSnapshotParams is accepted and has no effect.
func (n *Node) SetSnapshotParams(SnapshotParams) error { return nil }

// GetBindAddress is the address that the server listens on.
func (n *Node) GetBindAddress() string { return n.address }

// Start runs the server. It returns when a first node leads, and any other listens.
func (n *Node) Start() error {
	_, err := os.Stat(n.data)
	first := errors.Is(err, os.ErrNotExist) && (n.id == 1 || n.id == bootstrapID)
	arguments := []string{"serve", "--id", strconv.FormatUint(n.id, 10), "--address", n.address, "--data-dir", n.data}
	if n.failureDomain != 0 {
		arguments = append(arguments, "--failure-domain", strconv.FormatUint(n.failureDomain, 10))
	}
	if first {
		arguments = append(arguments, "--bootstrap")
	}
	if n.output, err = os.CreateTemp("", "node"); err != nil {
		return err
	}
	n.process = exec.Command(os.Getenv("SERVER_PROGRAM"), arguments...)
	n.process.Stdout, n.process.Stderr = n.output, n.output
	// A test that is killed must not leave its servers behind.
	n.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.process.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if first {
			if leads(n.address) {
				return nil
			}
		} else if connection, err := net.Dial("tcp", n.address); err == nil {
			return connection.Close()
		}
	}
	written, _ := os.ReadFile(n.output.Name())
	return fmt.Errorf("node %d does not serve: %s", n.id, written)
}

// leads asks a server whether there is a leader.
func leads(address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	client, err := protocol.Handshake(ctx, connection, protocol.VersionOne)
	if err != nil {
		return false
	}
	defer client.Close()
	request, response := protocol.Message{}, protocol.Message{}
	request.Init(16)
	response.Init(512)
	protocol.EncodeLeader(&request)
	if err := client.Call(ctx, &request, &response); err != nil {
		return false
	}
	id, _, err := protocol.DecodeNode(&response)
	return err == nil && id != 0
}

// Stop ends the server as an operator would. Its status has to be zero.
func (n *Node) Stop() error {
	if n.process == nil {
		return nil
	}
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := n.process.Wait()
	if err != nil {
		written, _ := os.ReadFile(n.output.Name())
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(written)))
	}
	n.process = nil
	n.output.Close()
	os.Remove(n.output.Name())
	return err
}

// Close has nothing left to do after Stop.
func (n *Node) Close() {}

// Recover would force a configuration upon a node that is not running, which the server has no option for.
func (n *Node) Recover([]protocol.NodeInfo) error {
	return errors.New("not possible through the command line")
}

// RecoverExt is Recover with roles.
func (n *Node) RecoverExt(infos []protocol.NodeInfo) error { return n.Recover(infos) }

// ConfigSingleThread concerns the C library alone.
func ConfigSingleThread() error { return nil }

// ConfigMultiThread concerns the C library alone.
func ConfigMultiThread() error { return nil }

// GenerateID makes an id out of an address and the time, as the C library does.
func GenerateID(address string) uint64 {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s %d", address, time.Now().UnixNano())
	return hash.Sum64() >> 1
}
