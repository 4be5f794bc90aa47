package apiproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// Connections to a server are closed only if a check of it has failed, and another server
// has passed one since.
func TestEvict(t *testing.T) {
	p := pool{log: slog.New(slog.DiscardHandler)}
	unwatched := func(context.Context, *server) {}
	p.set(t.Context(), []string{"10.0.0.1:6443", "10.0.0.2:6443"}, unwatched)
	a, b := p.servers[0], p.servers[1]
	own, release := p.use(t.Context(), a)
	defer release()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	down := errors.New("down")
	for _, step := range []struct {
		name   string
		server *server
		second int
		err    error
		closed bool
	}{
		{"the other one is ready, this one not checked yet", b, 1, nil, false},
		{"this one fails", a, 2, down, false},
		{"the other one fails too, as in an election in etcd", b, 2, down, false},
		{"this one recovers", a, 3, nil, false},
		{"the other one recovers", b, 4, nil, false},
		{"this one fails alone", a, 5, down, false},
		{"the other one passed while this one failed", b, 6, nil, true},
	} {
		p.mark(step.server, at(step.second), step.err)
		if closed := own.Err() != nil; closed != step.closed {
			t.Fatalf("%s: closed %t, want %t", step.name, closed, step.closed)
		}
	}
	p.set(t.Context(), []string{"10.0.0.1:6443"}, unwatched)
	if late, release := p.use(t.Context(), b); late.Err() == nil {
		release()
		t.Error("a connection to a server that was removed meanwhile stays")
	}
}

// A control plane that dies without a word is noticed in less than 3 s.
func TestNoticedInTime(t *testing.T) {
	if worst := usual.check + 2*usual.answer; worst >= 3*time.Second {
		t.Errorf("noticed after %s", worst)
	}
}

// Checks of a server that accepts connections and stays silent do not add up.
func TestChecksDoNotAddUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan bool)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
				select {
				case ended <- true:
				case <-t.Context().Done():
				}
			}()
		}
	}()
	start(t, newAuthority(t), Config{Servers: []string{l.Addr().String()}}, func(p *Proxy) { p.timing.answer = 200 * time.Millisecond })
	limit := time.After(time.Minute)
	for range 4 {
		select {
		case <-ended:
		case <-limit:
			t.Fatal("connections of checks stay open")
		}
	}
}

// The cost of the proxy for one connection: bytes of a client to a server, with and without.
func BenchmarkForward(b *testing.B) {
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	go func() {
		for {
			c, err := sink.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
			}()
		}
	}()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer front.Close()
	p := &Proxy{timing: usual, pool: pool{log: slog.New(slog.DiscardHandler)}}
	p.pool.set(b.Context(), []string{sink.Addr().String()}, func(context.Context, *server) {})
	go func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			go p.forward(b.Context(), c.(*net.TCPConn))
		}
	}()
	for name, addr := range map[string]string{"direct": sink.Addr().String(), "proxy": front.Addr().String()} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			chunk := make([]byte, 64<<10)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
