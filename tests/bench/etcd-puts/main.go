// Puts into an etcd cluster from so many clients at once, each waiting for its answer, as `ferrolite bench` inserts.
//
//	etcd-puts -servers A,B,C -clients N -seconds S [-bytes B]
//
// Every client has a connection of its own and writes values of B bytes under keys of its own. A line of JSON says
// what came of it. It is built from the client that comes with Debian's etcd.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func value(random *rand.Rand, length int) string {
	text := make([]byte, length)
	for i := range text {
		text[i] = letters[random.Intn(len(letters))]
	}
	return string(text)
}

func main() {
	servers := flag.String("servers", "", "client addresses, as HOST:PORT,…")
	clients := flag.Int("clients", 1, "how many at once")
	seconds := flag.Float64("seconds", 5, "how long")
	length := flag.Int("bytes", 100, "length of a value")
	flag.Parse()

	duration := time.Duration(*seconds * float64(time.Second))
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	var lock sync.Mutex
	var latencies []time.Duration
	failures := 0
	for number := 0; number < *clients; number++ {
		client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*servers, ","), DialTimeout: 5 * time.Second})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		random := rand.New(rand.NewSource(int64(number)))
		ready.Add(1)
		done.Add(1)
		go func(number int) {
			defer done.Done()
			// The first put connects; it is not measured.
			if _, err := client.Put(context.Background(), fmt.Sprintf("%d/first", number), value(random, *length)); err != nil {
				log.Fatal(err)
			}
			ready.Done()
			<-start
			var mine []time.Duration
			failed := 0
			end := time.Now().Add(duration)
			for nth := 0; ; nth++ {
				begun := time.Now()
				if !begun.Before(end) {
					break
				}
				_, err := client.Put(context.Background(), fmt.Sprintf("%d/%d", number, nth), value(random, *length))
				if err != nil {
					failed++
					continue
				}
				mine = append(mine, time.Since(begun))
			}
			lock.Lock()
			latencies = append(latencies, mine...)
			failures += failed
			lock.Unlock()
		}(number)
	}
	ready.Wait()
	begun := time.Now()
	close(start)
	done.Wait()
	elapsed := time.Since(begun)

	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	quantile := func(part float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(part*float64(len(latencies)-1))].Seconds() * 1000
	}
	result := map[string]float64{
		"per_second": float64(len(latencies)) / elapsed.Seconds(),
		"errors":     float64(failures),
		"p50":        quantile(0.5),
		"p99":        quantile(0.99),
		"max":        quantile(1),
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}
