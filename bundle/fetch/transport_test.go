package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// silence is a TCP proxy that can stop forwarding on the connections it has,
// without closing them, as a firewall does after it forgot them.
type silence struct {
	net.Listener
	target string
	mute   atomic.Pointer[atomic.Bool] // of the newest connections
}

func newSilence(t *testing.T, target string) *silence {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &silence{Listener: l, target: target}
	s.mute.Store(&atomic.Bool{})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			mute := s.mute.Load()
			go pipe(in, out, mute)
			go pipe(out, in, mute)
		}
	}()
	return s
}

func pipe(to, from net.Conn, mute *atomic.Bool) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if mute.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// drop silences the connections there are; later ones work.
func (s *silence) drop() { s.mute.Swap(&atomic.Bool{}).Store(true) }

// A retry must not wait on the connection of HTTP/2 that died under the first try.
func TestDeadHTTP2ConnectionIsLeft(t *testing.T) {
	var proxy *silence
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("asked over %s", r.Proto)
		}
		if requests.Add(1) > 1 {
			_, _ = io.WriteString(w, "whole")
			return
		}
		_, _ = io.WriteString(w, "wh")
		_ = http.NewResponseController(w).Flush()
		proxy.drop()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.CloseClientConnections()
	proxy = newSilence(t, server.Listener.Addr().String())

	const idle = 400 * time.Millisecond
	tr := newTransport(idle)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	tr.TLSClientConfig = &tls.Config{RootCAs: roots}
	c, err := NewClient(Options{
		Transport: tr, IdleTimeout: idle, Attempts: 10,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	body, err := c.Get(ctx, "https://"+proxy.Addr().String(), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(body); err != nil || string(b) != "whole" {
		t.Errorf("got %q, %v", b, err)
	}
}
