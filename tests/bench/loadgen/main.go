// Load generator of the bench: echo server, ping-pong and connection-rate clients behind a SOCKS5 proxy.
//
//	loadgen serve    -listen 127.0.0.2:9000
//	loadgen pingpong -socks 127.0.0.1:15080 -target 127.0.0.2:9000 -connections 50 -size 1024 -seconds 3
//	loadgen connect  -socks 127.0.0.1:15080 -target 127.0.0.2:9000 -connections 8 -seconds 3
//	loadgen hold     -socks 127.0.0.1:15080 -target 127.0.0.2:9000
//	loadgen get      -url http://127.0.0.1:15021/healthz/ready
//
// pingpong and connect print one line of JSON; times are in microseconds. hold reads numbers, a line each, opens or
// closes until it holds as many connections, each proven by an octet there and back, and answers with a line.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

type result struct {
	Samples   int     `json:"samples"`
	Errors    int     `json:"errors"`
	FirstErr  string  `json:"firstError,omitempty"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	P999      float64 `json:"p999"`
	Max       float64 `json:"max"`
	// Samples from 36 to 48 ms: the mark that Nagle waiting for a delayed ACK leaves. Before counts the band
	// of the same width in front: a tail falls from one to the other, a mode rises.
	Before  int `json:"before"`
	Delayed int `json:"delayed"`
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("want serve, pingpong, connect, hold or get"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	listen := flags.String("listen", "", "address of the echo server")
	socks := flags.String("socks", "", "SOCKS5 proxy; empty goes direct")
	target := flags.String("target", "", "address of the echo server, as the proxy sees it")
	connections := flags.Int("connections", 1, "connections at once")
	size := flags.Int("size", 1024, "octets per request and per reply")
	seconds := flags.Float64("seconds", 3, "length of the measurement")
	url := flags.String("url", "", "what get asks for")
	flags.Parse(os.Args[2:])
	length := time.Duration(*seconds * float64(time.Second))
	switch os.Args[1] {
	case "serve":
		serve(*listen)
	case "pingpong":
		report(run(*connections, length, func(deadline time.Time, took func(time.Duration)) error {
			return pingPong(*socks, *target, *size, deadline, took)
		}))
	case "connect":
		report(run(*connections, length, func(deadline time.Time, took func(time.Duration)) error {
			return connectOften(*socks, *target, deadline, took)
		}))
	case "hold":
		hold(*socks, *target)
	case "get":
		get(*url)
	default:
		fail(fmt.Errorf("want serve, pingpong, connect, hold or get, got %q", os.Args[1]))
	}
}

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fail(err)
	}
	fmt.Println(listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, 64*1024)
			for {
				n, err := connection.Read(buffer)
				if n > 0 {
					if _, failed := connection.Write(buffer[:n]); failed != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

// run starts n workers that hand their samples to took and sums up what they measured.
func run(n int, length time.Duration, work func(time.Time, func(time.Duration)) error) result {
	perWorker := make([][]time.Duration, n)
	failures := make([]error, n)
	var group sync.WaitGroup
	start := time.Now()
	deadline := start.Add(length)
	for worker := 0; worker < n; worker++ {
		worker := worker // Go before 1.22 shares the variable between turns.
		group.Add(1)
		go func() {
			defer group.Done()
			failures[worker] = work(deadline, func(sample time.Duration) {
				perWorker[worker] = append(perWorker[worker], sample)
			})
		}()
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	var samples []time.Duration
	for _, some := range perWorker {
		samples = append(samples, some...)
	}
	sort.Slice(samples, func(i, j int) bool { return samples[i] < samples[j] })
	sum := result{Samples: len(samples), Seconds: elapsed, PerSecond: float64(len(samples)) / elapsed}
	for _, failure := range failures {
		if failure != nil {
			sum.Errors++
			if sum.FirstErr == "" {
				sum.FirstErr = failure.Error()
			}
		}
	}
	if len(samples) == 0 {
		return sum
	}
	at := func(share float64) float64 {
		return float64(samples[int(share*float64(len(samples)-1))].Nanoseconds()) / 1e3
	}
	sum.P50, sum.P99, sum.P999, sum.Max = at(0.5), at(0.99), at(0.999), at(1)
	for _, sample := range samples {
		if sample >= 36*time.Millisecond && sample < 48*time.Millisecond {
			sum.Delayed++
		} else if sample >= 24*time.Millisecond && sample < 36*time.Millisecond {
			sum.Before++
		}
	}
	return sum
}

func pingPong(socks, target string, size int, deadline time.Time, took func(time.Duration)) error {
	connection, err := dial(socks, target)
	if err != nil {
		return err
	}
	defer connection.Close()
	request, reply := make([]byte, size), make([]byte, size)
	for time.Now().Before(deadline) {
		start := time.Now()
		connection.SetDeadline(start.Add(10 * time.Second))
		if _, err := connection.Write(request); err != nil {
			return err
		}
		if _, err := io.ReadFull(connection, reply); err != nil {
			return err
		}
		took(time.Since(start))
	}
	return nil
}

// connectOften opens, sends one octet, reads it back and closes; a sample is the whole of it.
func connectOften(socks, target string, deadline time.Time, took func(time.Duration)) error {
	octet := make([]byte, 1)
	for time.Now().Before(deadline) {
		start := time.Now()
		connection, err := dial(socks, target)
		if err != nil {
			return err
		}
		connection.SetDeadline(start.Add(10 * time.Second))
		if _, err := connection.Write(octet); err != nil {
			return err
		}
		if _, err := io.ReadFull(connection, octet); err != nil {
			return err
		}
		connection.Close()
		took(time.Since(start))
	}
	return nil
}

// hold keeps as many connections open as the last line of standard input says; its end closes them all.
func hold(socks, target string) {
	var held []net.Conn
	octet := make([]byte, 1)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		wanted, err := strconv.Atoi(lines.Text())
		if err != nil {
			fail(err)
		}
		for len(held) > wanted {
			held[len(held)-1].Close()
			held = held[:len(held)-1]
		}
		for len(held) < wanted {
			connection, err := dial(socks, target)
			if err == nil {
				_, err = connection.Write(octet)
			}
			if err == nil {
				_, err = io.ReadFull(connection, octet)
			}
			if err != nil {
				fail(fmt.Errorf("connection %d: %w", len(held)+1, err))
			}
			connection.SetDeadline(time.Time{})
			held = append(held, connection)
		}
		fmt.Println(len(held))
	}
}

// get prints a body; any status but 200 is a failure.
func get(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		fail(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fail(fmt.Errorf("%s: %s", url, response.Status))
	}
	io.Copy(os.Stdout, response.Body)
}

// dial connects, through SOCKS5 where one is named (RFC 1928, no authentication, IPv4).
func dial(socks, target string) (net.Conn, error) {
	if socks == "" {
		return net.Dial("tcp", target)
	}
	host, portText, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	connection, err := net.DialTimeout("tcp", socks, 10*time.Second)
	if err != nil {
		return nil, err
	}
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	request := append([]byte{5, 1, 0, 1}, net.ParseIP(host).To4()...)
	request = binary.BigEndian.AppendUint16(request, uint16(port))
	reply := make([]byte, 10)
	if _, err = connection.Write([]byte{5, 1, 0}); err == nil {
		if _, err = io.ReadFull(connection, reply[:2]); err == nil {
			if _, err = connection.Write(request); err == nil {
				_, err = io.ReadFull(connection, reply)
			}
		}
	}
	if err == nil && reply[1] != 0 {
		err = fmt.Errorf("SOCKS5 refused %s: reply %d", target, reply[1])
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return connection, nil
}

func report(sum result) {
	json.NewEncoder(os.Stdout).Encode(sum)
	if sum.Samples == 0 {
		fail(fmt.Errorf("no sample: %s", sum.FirstErr))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "loadgen:", err)
	os.Exit(1)
}
