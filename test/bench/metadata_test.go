package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/bundle/yum"
)

// BenchmarkMetadata: the metadata of 2,000 RPMs, against createrepo_c. As in pack the
// digests are known ("known"), or packages are hashed too ("alone").
func BenchmarkMetadata(b *testing.B) {
	createrepo, dir := need(b, "createrepo_c"), b.TempDir()
	digests := map[string]digest.Digest{}
	key, err := trust.GenerateKeys(upstreamtest.Built.Add(-time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 2000 {
		content, err := upstreamtest.RPM(key, fmt.Sprintf("package-%04d", i))
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprintf("package-%04d-1.0-1.el9.x86_64.rpm", i)
		digests[name] = digest.FromBytes(content)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for _, name := range []string{"known", "alone"} {
		b.Run(name, func(b *testing.B) {
			compare(b, func() { metadata(b, dir, digests, name == "alone") }, func() {
				cmd := exec.Command(createrepo, "-q", "--no-database", dir)
				if text, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%q: %v\n%s", cmd.Args, err, text)
				}
			})
		})
	}
}

func metadata(b *testing.B, dir string, digests map[string]digest.Digest, hash bool) {
	b.Helper()
	var all []yum.PackageMeta
	for name, d := range digests {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		if hash && digest.FromBytes(content) != d {
			b.Fatalf("%s changed", name)
		}
		meta, err := yum.FromRPM(bytes.NewReader(content), int64(len(content)), d, "Packages/"+name)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, meta)
	}
	if _, err := yum.WriteMetadata(all, yum.MetadataOptions{Compression: "zst", Created: bundletest.Created}); err != nil {
		b.Fatal(err)
	}
}
