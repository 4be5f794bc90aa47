package bench

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// BenchmarkServeStart: from the start of offk8s serve to the first byte, with 500 files
// in 2.4 GB.
func BenchmarkServeStart(b *testing.B) {
	const size = 48 << 20 / 10
	builder := bundletest.New(b)
	builder.AddSmall(b)
	made := map[digest.Digest]int{}
	content := func(n int) io.Reader { return io.LimitReader(hugeContent(n), size) }
	for n := range 500 {
		d, err := digest.FromReader(content(n))
		if err != nil {
			b.Fatal(err)
		}
		made[d] = n
		builder.Lock.Artifacts = append(builder.Lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindFile, Name: fmt.Sprintf("file-%d", n), Version: "1", Platform: "linux/amd64",
			Group: manifests.GroupFiles, Path: fmt.Sprintf("many/%d", n), Mode: 0o644,
			Source: manifests.Source{URL: fmt.Sprintf("https://example.invalid/%d", n), Digest: d, Size: size, Trust: manifests.TrustCatalog},
			Blob:   manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: d, Size: size},
		})
	}
	in := builder.Input()
	small := in.Open
	in.Open = func(d digest.Digest) (io.ReadCloser, error) {
		if n, ok := made[d]; ok {
			return io.NopCloser(content(n)), nil
		}
		return small(d)
	}
	path, key := filepath.Join(b.TempDir(), "bundle.tar"), keyFile(b)
	if _, err := bundle.SealFile(b.Context(), path, in); err != nil {
		b.Fatal(err)
	}
	offk8s := program(b)
	var took []cost
	for b.Loop() {
		address := freeAddress(b)
		start := time.Now()
		p := startProcess(b, "http://"+address, "/files/many/7", offk8s, "serve", "--key", key,
			"--listen", address, "--state", b.TempDir(), "--insecure-plain-http", path)
		took = append(took, cost{wall: time.Since(start).Seconds()})
		p.stop()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000*median(took, func(c cost) float64 { return c.wall }), "first-byte-ms")
}
