package mirror

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostilePaths are request targets as they stand on the wire.
var hostilePaths = []string{
	"/../etc/passwd", "/files/../../etc/passwd", "/files/cni/../cni/cni-plugins.tgz", "/./files/cni/cni-plugins.tgz",
	"/%2e%2e/etc/passwd", "/files/%2E%2e/%2e%2e/etc/passwd", "/files/..%2f..%2fetc/passwd", "/files/%252e%252e/etc/passwd",
	"/files%2fcni%2fcni-plugins.tgz", "//files/cni/cni-plugins.tgz", "/files//cni/cni-plugins.tgz", "///etc/passwd",
	"/files/cni/cni-plugins.tgz%00", "/files/cni/cni-plugins.tgz%00.rpm", "/files/..%5c..%5cetc/passwd", `/files/..\..\etc\passwd`,
	"/files/cni/cni-plugins.tgz%0a", "/files/%c0%ae%c0%ae/etc/passwd", "/files/cni/cni-plugins.tgz/..", "/files/cni/cni-plugins.tgz/.",
	"/v2/../files/cni/cni-plugins.tgz", "/v2/pause/manifests/../../../x", "/v2//manifests/3.10", "/v2/%2e%2e/manifests/3.10",
	"/bundle/blobs/../index.json", "/bundle/blobs/sha256/../../index.json", "/bundle/blobs//etc/passwd", "/config/../ca.crt",
	"/%25", "/files/%",
}

// foreignPaths are well-formed and name files that a mirror must not know.
var foreignPaths = []string{"/proc/self/environ", "/etc/passwd", "/canary", "/bundle.tar", "/filesystem", "/bundle/blobs/sha256/etc/passwd"}

func TestT31PathTraversal(t *testing.T) {
	s := newSample(t)
	server := httptest.NewServer(mirrorOf(t, Options{}, s.Bundle))
	defer server.Close()
	want := make(map[string]int)
	for _, path := range hostilePaths {
		want[path] = http.StatusBadRequest
	}
	for _, path := range foreignPaths {
		want[path] = http.StatusNotFound
	}
	for path, status := range want {
		r, err := raw(server.Listener.Addr().String(), path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", path, r.StatusCode, status)
		}
		if r.Header.Get("Location") != "" {
			t.Errorf("%s: redirected to %q", path, r.Header.Get("Location"))
		}
	}
	if r, err := raw(server.Listener.Addr().String(), "/files/cni/cni%2Dplugins.tgz"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("an encoded plain character: %v %v", r, err)
	}
	if r, err := raw(server.Listener.Addr().String(), "/"+strings.Repeat("a", maxPath)); err != nil || r.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a long path: %v %v", r, err)
	}
}

// raw sends a request target that no client library would let pass.
func raw(addr, target string) (*http.Response, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n", target); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r, err
}

// FuzzHTTPPath looks for a path that is answered with anything else than content
// of the bundle or a page, such as the canary beside the bundle.
func FuzzHTTPPath(f *testing.F) {
	for _, path := range append(hostilePaths, foreignPaths...) {
		f.Add(path)
	}
	s := newSample(f)
	for _, path := range allPaths(s) {
		f.Add(path)
	}
	const secret = "canary 6f1d"
	canary := filepath.Join(filepath.Dir(s.Path()), "canary")
	if err := os.WriteFile(canary, []byte(secret), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Add(canary)
	m := mirrorOf(f, Options{}, s.Bundle)
	checks := map[string]bool{"/healthz": true, "/readyz": true}
	for path := range checks {
		f.Add(path)
	}
	f.Add("/files/")
	f.Add("/files/" + sumsFile)
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "http://mirror/", nil)
		r.URL = u
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), secret) {
			t.Fatalf("%q answered the canary", target)
		}
		if w.Code == http.StatusOK && !strings.HasPrefix(u.Path, "/v2") && !strings.HasPrefix(u.Path, "/bundle/blobs/") &&
			m.routes.paths[u.Path] == nil && m.pages[u.Path] == nil && !checks[u.Path] && m.listings[strings.TrimSuffix(u.Path, sumsFile)] == nil {
			t.Fatalf("%q was answered with 200 but is not in the map", target)
		}
		if w.Code == http.StatusOK && !canonical(u.Path) {
			t.Fatalf("%q was answered with 200", target)
		}
	})
}
