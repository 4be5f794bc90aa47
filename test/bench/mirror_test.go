// Package bench measures offk8s against a floor in the same run.
package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/mirror"
)

const (
	largeSize = 100 << 20
	smallSize = 50 << 10
)

// mirrorURL serves a bundle with a large and a small file over plain HTTP, with
// the scrub out of the way.
func mirrorURL(b *testing.B) (url, path string) {
	b.Helper()
	content := make([]byte, largeSize)
	if _, err := rand.Read(content); err != nil {
		b.Fatal(err)
	}
	builder := bundletest.New(b)
	builder.AddSmall(b)
	builder.AddFile(b, "large", "large", content, false)
	builder.AddFile(b, "small", "small", content[:smallSize], false)
	path = builder.Seal(b)
	opened, err := bundle.Open(b.Context(), []string{path}, bundletest.Options(builder.Key))
	if err != nil {
		b.Fatal(err)
	}
	m, err := mirror.New([]*bundle.Bundle{opened}, mirror.Options{ScrubRate: 1})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- (&mirror.Server{Mirror: m, Listeners: []net.Listener{l}}).Run(ctx) }()
	b.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		_, _ = m.Close(), opened.Close()
	})
	return "http://" + l.Addr().String(), path
}

// sectionURL is the floor: http.ServeContent over an io.SectionReader, which
// never becomes a sendfile.
func sectionURL(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "large")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, largeSize); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(f, 0, largeSize))
	}))
	b.Cleanup(func() { server.Close(); _ = f.Close() })
	return server.URL
}

func download(b *testing.B, url string) {
	b.Helper()
	r, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil || r.StatusCode != http.StatusOK || n != r.ContentLength {
		b.Fatal(fmt.Errorf("status %d, %d bytes, %w", r.StatusCode, n, err))
	}
}

// BenchmarkMirrorLarge: 100 MB from the tar, against ServeContent.
func BenchmarkMirrorLarge(b *testing.B) {
	url, _ := mirrorURL(b)
	floor := sectionURL(b)
	for name, url := range map[string]string{"mirror": url + "/files/large", "servecontent": floor} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(largeSize)
			for b.Loop() {
				download(b, url)
			}
		})
	}
}

// BenchmarkMirrorSmall: 50 KB files and manifests by many clients.
func BenchmarkMirrorSmall(b *testing.B) {
	url, _ := mirrorURL(b)
	for name, path := range map[string]string{"file": "/files/small", "manifest": "/v2/registry.k8s.io/pause/manifests/3.10"} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					download(b, url+path)
				}
			})
		})
	}
}

// BenchmarkMirrorStart: from the path of a bundle to a mirror that answers.
func BenchmarkMirrorStart(b *testing.B) {
	builder := bundletest.New(b)
	builder.AddSmall(b)
	for i := range 500 {
		builder.AddFile(b, fmt.Sprintf("file-%03d", i), fmt.Sprintf("many/%03d", i), bytes.Repeat([]byte{byte(i)}, 1000+i), false)
	}
	path := builder.Seal(b)
	for b.Loop() {
		opened, err := bundle.Open(b.Context(), []string{path}, bundletest.Options(builder.Key))
		if err != nil {
			b.Fatal(err)
		}
		m, err := mirror.New([]*bundle.Bundle{opened}, mirror.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_, _ = m.Close(), opened.Close()
	}
}
