// Package addresses gives TCP addresses to the nodes of the Go client's own tests, which name abstract Unix
// sockets (`@1`) or fixed ports.
package addresses

import (
	"net"
	"sync"
)

var (
	lock  sync.Mutex
	known = map[string]string{}
)

// Of is the address that stands for a name, the same each time within one process.
func Of(name string) string {
	lock.Lock()
	defer lock.Unlock()
	if address, is := known[name]; is {
		return address
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // A test cannot go on without a port.
	}
	defer listener.Close()
	known[name] = listener.Addr().String()
	return known[name]
}
