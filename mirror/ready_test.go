package mirror

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"
)

func TestReady(t *testing.T) {
	s := newSample(t)
	m := mirrorOf(t, Options{}, s.Bundle)
	r := get(m, "GET", "/readyz")
	if got := body(t, r); r.StatusCode != 200 || got != "ok\n" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, %q, %v", r.StatusCode, got, r.Header)
	}
	info, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.Path(), info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if r := get(m, "GET", "/readyz"); r.StatusCode != 503 {
		t.Errorf("half of the file is gone: status %d", r.StatusCode)
	}
	if r := get(m, "GET", "/healthz"); r.StatusCode != 200 {
		t.Errorf("/healthz: status %d", r.StatusCode)
	}
}

// Load balancers check by HTTP/1.0, without a Host.
func TestChecksWithoutHost(t *testing.T) {
	m := mirrorOf(t, Options{}, newSample(t).Bundle)
	for _, path := range []string{"/healthz", "/readyz", plugins, "/v2/"} {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.Host = ""
		if m.ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("%s: status %d, %q", path, w.Code, w.Body)
		}
	}
}

// The access log has every request as an object, whatever the other log shows.
func TestAccessLog(t *testing.T) {
	var out bytes.Buffer
	m := mirrorOf(t, Options{AccessLog: slog.New(slog.NewJSONHandler(&out, nil))}, newSample(t).Bundle)
	get(m, "GET", plugins, "User-Agent", "curl/8\n\"x\"")
	get(m, "HEAD", "/nothing")
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d lines of 2 requests:\n%s", len(lines), out.String())
	}
	for i, want := range []map[string]any{
		{"level": "INFO", "method": "GET", "path": plugins, "status": 200.0, "bytes": 11.0, "agent": "curl/8\n\"x\""},
		{"level": "INFO", "method": "HEAD", "path": "/nothing", "status": 404.0},
	} {
		var got map[string]any
		if err := json.Unmarshal(lines[i], &got); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("line %d: %s: %v, want %v", i, name, got[name], value)
			}
		}
		for _, name := range []string{"time", "took", "remote"} {
			if got[name] == nil {
				t.Errorf("line %d has no %s: %s", i, name, lines[i])
			}
		}
	}
}
