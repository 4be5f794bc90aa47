package fetch

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestSize asks with HEAD only, and takes a server that refuses it for one that does not
// say the size.
func TestSize(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method)
		switch r.URL.Path {
		case "/known":
			w.Header().Set("Content-Length", "12345")
		case "/refused":
			w.WriteHeader(http.StatusForbidden)
		case "/chunked":
			w.(http.Flusher).Flush()
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	c, err := NewClient(Options{Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int64{"/known": 12345, "/refused": 0, "/chunked": 0} {
		if n, err := c.Size(t.Context(), server.URL+path); n != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", path, n, err, want)
		}
	}
	if _, err := c.Size(t.Context(), server.URL+"/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	for _, method := range asked {
		if method != http.MethodHead {
			t.Errorf("asked with %s", method)
		}
	}
}
