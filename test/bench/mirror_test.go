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
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
func mirrorURL(b *testing.B) string {
	b.Helper()
	content := make([]byte, largeSize)
	if _, err := rand.Read(content); err != nil {
		b.Fatal(err)
	}
	builder := bundletest.New(b)
	builder.AddSmall(b)
	builder.AddFile(b, "large", "large", content, false)
	builder.AddFile(b, "small", "small", content[:smallSize], false)
	opened, err := bundle.Open(b.Context(), []string{builder.Seal(b)}, bundletest.Options(builder.Key))
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
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		m.Close()
		_ = opened.Close()
	})
	return "http://" + l.Addr().String()
}

// sectionURL is the floor: http.ServeContent over an io.SectionReader, which
// never becomes a sendfile.
func sectionURL(b *testing.B, name string, size int64) string {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), name))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(f, 0, size))
	}))
	b.Cleanup(func() { server.Close(); _ = f.Close() })
	return server.URL
}

// How many bytes clients read at a time, as strace shows it: curl, skopeo (docker too:
// io.Copy has this size), containerd. A client of 8 KiB, as io.Discard and wget are, takes
// more of the two cores than any server.
const (
	curl       = 100 << 10
	skopeo     = 32 << 10
	containerd = 1 << 20
)

// download reads url into buf.
func download(b *testing.B, url string, buf []byte) {
	b.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		b.Error(err)
		return
	}
	q.Header.Set("Accept", ocispec.MediaTypeImageManifest) // or distribution finds none
	r, err := client.Do(q)
	if err != nil {
		b.Error(err)
		return
	}
	defer r.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, buf)
	if err != nil || r.StatusCode != http.StatusOK || r.ContentLength >= 0 && n != r.ContentLength {
		b.Errorf("%s: status %d, %d bytes: %v", url, r.StatusCode, n, err)
	}
}

// BenchmarkMirrorLarge: 100 MB from the tar, against http.ServeContent.
func BenchmarkMirrorLarge(b *testing.B) {
	url := mirrorURL(b)
	floor := sectionURL(b, "large", largeSize)
	compare(b, func() { many(b, url+"/files/large", 1, 1, curl) }, func() { many(b, floor, 1, 1, curl) })
}

// BenchmarkMirrorSmall: many files of 50 KB to several clients, against the same.
func BenchmarkMirrorSmall(b *testing.B) {
	url := mirrorURL(b)
	floor := sectionURL(b, "small", smallSize)
	compare(b, func() { many(b, url+"/files/small", 16, 125, curl) }, func() { many(b, floor, 16, 125, curl) })
}

// BenchmarkMirrorManifest: an image manifest by tag, against a file of 500 bytes.
func BenchmarkMirrorManifest(b *testing.B) {
	url := mirrorURL(b)
	floor := sectionURL(b, "manifest", 500)
	compare(b, func() { many(b, url+"/v2/registry.k8s.io/pause/manifests/3.10", 16, 125, curl) }, func() { many(b, floor, 16, 125, curl) })
}

// many downloads url by clients at the same time, each so many times and as many bytes
// of piece at a time.
func many(b *testing.B, url string, clients, times, piece int) {
	b.Helper()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			buf := make([]byte, piece)
			for range times {
				download(b, url, buf)
			}
		})
	}
	wg.Wait()
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
		m.Close()
		_ = opened.Close()
	}
}
