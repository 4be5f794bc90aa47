package mirror

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	gauges "runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"
)

// 500 clients that never finish their request do not keep others out for
// longer than the header timeout, and their connections are closed.
func TestT32SlowlorisIsBounded(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	const slow = 500
	start(t, &Server{
		Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l},
		MaxConnections: slow, HeaderTimeout: 500 * time.Millisecond,
	})
	conns := make([]net.Conn, slow)
	for i := range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: m\r\nX-Slow: ", plugins); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + l.Addr().String() + plugins)
	if err != nil {
		t.Fatalf("an honest client beside %d slow ones: %v", slow, err)
	}
	if got := body(t, r); got != "cni plugins" {
		t.Errorf("body %q", got)
	}
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a slow connection was never closed")
		}
	}
}

func TestConnectionsAreCapped(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l}, MaxConnections: 1})
	ask := func(c net.Conn) *http.Response {
		if _, err := fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(first); r.StatusCode != 200 {
		t.Fatalf("status %d", r.StatusCode)
	}
	second, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	answered := make(chan *http.Response, 1)
	go func() { answered <- ask(second) }()
	select {
	case <-answered:
		t.Error("a second connection was answered")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	if r := <-answered; r.StatusCode != 200 {
		t.Errorf("after the first was closed: status %d", r.StatusCode)
	}
}

// dialFrom connects from a loopback address.
func dialFrom(t *testing.T, from string, l net.Listener) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// One address that opens every connection it gets keeps no other address out,
// without a wait for its connections to time out.
func TestT32OneAddressKeepsNobodyOut(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	stop := start(t, &Server{
		Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l},
		MaxConnections: 20, HeaderTimeout: time.Hour, ShutdownTimeout: time.Millisecond,
	})
	for range 60 { // more than may be open and wait
		if _, err := io.WriteString(dialFrom(t, "127.0.0.2", l), "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"127.0.0.1", "127.0.0.3"} {
		c := dialFrom(t, from, l)
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != 200 {
			t.Errorf("%s: %v", from, err)
		}
	}
	_ = stop() // the slow connections are cut
}

// Many hosts behind one address take turns; none is refused.
func TestHostsBehindOneAddressTakeTurns(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{
		Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l},
		MaxConnections: 100, MaxPerAddress: 3,
	})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Get("http://" + l.Addr().String() + plugins)
			if err != nil {
				t.Error(err)
				return
			}
			if got := body(t, r); got != "cni plugins" {
				t.Errorf("body %q", got)
			}
		})
	}
	wg.Wait()
}

// With many connections less garbage waits for the collector, and only then.
func TestCrowdHasLessGarbage(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l}})
	garbage := []gauges.Sample{{Name: "/gc/gogc:percent"}}
	wait := func(want uint64) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
			if gauges.Read(garbage); garbage[0].Value.Uint64() == want {
				return
			}
		}
		t.Fatalf("%d percent, want %d", garbage[0].Value.Uint64(), want)
	}
	// As it is before the first collection of a program.
	defer debug.SetGCPercent(debug.SetGCPercent(4 * usualGarbage))
	var conns []net.Conn
	for range crowd {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	wait(crowdGarbage)
	for _, c := range conns {
		_ = c.Close()
	}
	wait(usualGarbage)
}

// The server neither waits for a request body nor reads it, whatever its length.
func TestT32BodiesAreNotRead(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l}})
	for _, head := range []string{
		"GET " + plugins + " HTTP/1.1\r\nHost: m\r\nContent-Length: 100000000\r\nContent-Encoding: gzip\r\n\r\n",
		"GET " + plugins + " HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /v2/pause/blobs/uploads/ HTTP/1.1\r\nHost: m\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
		"PUT /v2/pause/manifests/x HTTP/1.1\r\nHost: m\r\nContent-Length: 100000000\r\n\r\n",
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c) // to the end: the server closes
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") || strings.Contains(string(answer), "100 Continue") {
			t.Errorf("%.30s: %q, %v", head, answer, err)
		}
		_ = c.Close()
	}
}

func TestHeaderFloodIsRefused(t *testing.T) {
	s := newSample(t)
	l := listen(t)
	start(t, &Server{Mirror: mirrorOf(t, Options{}, s.Bundle), Listeners: []net.Listener{l}})
	r, err := http.NewRequest(http.MethodGet, "http://"+l.Addr().String()+plugins, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Flood", strings.Repeat("a", 64<<10))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return // refused so early that the client still wrote
	}
	if _ = body(t, resp); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", resp.StatusCode)
	}
}

// Requests must not leave file descriptors behind.
func TestFileDescriptorsAreBounded(t *testing.T) {
	f, _ := slowBundle(t)
	l := listen(t)
	stop := start(t, &Server{Mirror: mirrorOf(t, Options{}, f), Listeners: []net.Listener{l}})
	before := openFiles(t)
	for range 200 {
		r, err := http.Get("http://" + l.Addr().String() + "/files/large")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close() // mid-transfer
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if after := openFiles(t); after > before+6 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
