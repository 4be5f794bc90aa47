package smokeserver

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestGet(t *testing.T) {
	t.Setenv("POD_NAME", "web-1")
	t.Setenv("POD_NAMESPACE", "a")
	var asked atomic.Int32
	handler := Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"get", "--expect", "namespace=a", "--timeout", "10s", srv.URL, srv.URL + "/x"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := asked.Load(); got != 3 || !strings.Contains(out.String(), "hostname=web-1 namespace=a") {
		t.Errorf("asked %d times, said %q", got, out.String())
	}
	err := Run(t.Context(), []string{"get", "--expect", "namespace=b", "--timeout", "100ms", srv.URL}, &out)
	if err == nil || !strings.Contains(err.Error(), `want "namespace=b"`) {
		t.Errorf("wrong answer: %v", err)
	}
	srv.Close()
	err = Run(t.Context(), []string{"get", "--expect", "x", "--timeout", "100ms", srv.URL}, &out)
	if err == nil || !strings.Contains(err.Error(), "connect") {
		t.Errorf("no server: %v", err)
	}
}

// A URL that answers first and stops then is refused; one that goes on answering is not,
// and neither is any while the own one is down.
func TestRefuse(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "a")
	own := httptest.NewServer(Handler())
	defer own.Close()
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			http.Error(w, "closed", http.StatusForbidden)
		}
	}))
	defer other.Close()
	var out bytes.Buffer
	args := []string{"refuse", "--own", own.URL, "--expect", "namespace=a"}
	if err := Run(t.Context(), append(args, "--timeout", "1m", other.URL), &out); err != nil || asked.Load() != 1+refusals {
		t.Errorf("asked %d times, %v\n%s", asked.Load(), err, out.String())
	}
	err := Run(t.Context(), append(args, "--timeout", "100ms", own.URL), &out)
	if err == nil || !strings.Contains(err.Error(), "it answers") {
		t.Errorf("a URL that answers: %v", err)
	}
	own.Close()
	if err := Run(t.Context(), append(args, "--timeout", "100ms", other.URL), &out); err == nil || !strings.Contains(err.Error(), "connect") {
		t.Errorf("own is down: %v", err)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, l, &bytes.Buffer{}) }()
	body, err := once(t.Context(), http.DefaultClient, "http://"+l.Addr().String()+"/healthz")
	if err != nil || body != "ok\n" {
		t.Errorf("healthz: %q, %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"put"}, {"get"}, {"get", "--what"}, {"serve", "--listen", "nonsense"}} {
		if err := Run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
