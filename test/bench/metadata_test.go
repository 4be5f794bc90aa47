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
	"github.com/offk8s/offk8s/bundle/rpm"
	"github.com/offk8s/offk8s/bundle/trust"
	"github.com/offk8s/offk8s/bundle/upstreamtest"
	"github.com/offk8s/offk8s/bundle/yum"
)

// madePackage is one of the packages of BenchmarkMetadata.
type madePackage struct {
	path   string // on disk
	size   int64
	digest digest.Digest
	header *rpm.File
}

// location is the path in the repository.
func (p madePackage) location() string { return "Packages/" + filepath.Base(p.path) }

// BenchmarkMetadata: the metadata of 2,000 RPMs, against createrepo_c. As in pack, which
// has checked the digest and the signature of each package before, digests are known and
// headers are read ("known"), or packages are read and hashed too ("alone").
func BenchmarkMetadata(b *testing.B) {
	createrepo, dir := need(b, "createrepo_c"), b.TempDir()
	key, err := trust.GenerateKeys(upstreamtest.Built.Add(-time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	var all []madePackage
	for i := range 2000 {
		content, err := upstreamtest.RPM(key, fmt.Sprintf("package-%04d", i))
		if err != nil {
			b.Fatal(err)
		}
		p := madePackage{filepath.Join(dir, fmt.Sprintf("package-%04d-1.0-1.el9.x86_64.rpm", i)), int64(len(content)), digest.FromBytes(content), nil}
		if p.header, err = rpm.Read(bytes.NewReader(content), p.size); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p.path, content, 0o644); err != nil {
			b.Fatal(err)
		}
		all = append(all, p)
	}
	for name, read := range map[string]func(madePackage) (yum.PackageMeta, error){"known": madePackage.known, "alone": madePackage.alone} {
		b.Run(name, func(b *testing.B) {
			compare(b, func() { metadata(b, all, read) }, func() {
				cmd := exec.Command(createrepo, "-q", "--no-database", dir)
				if text, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%q: %v\n%s", cmd.Args, err, text)
				}
			})
		})
	}
}

func (p madePackage) known() (yum.PackageMeta, error) {
	return yum.FromHeader(p.header, p.size, p.digest, p.location())
}

func (p madePackage) alone() (yum.PackageMeta, error) {
	content, err := os.ReadFile(p.path)
	if err != nil {
		return yum.PackageMeta{}, err
	}
	return yum.FromRPM(bytes.NewReader(content), int64(len(content)), digest.FromBytes(content), p.location())
}

func metadata(b *testing.B, packages []madePackage, read func(madePackage) (yum.PackageMeta, error)) {
	b.Helper()
	var all []yum.PackageMeta
	for _, p := range packages {
		meta, err := read(p)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, meta)
	}
	if _, err := yum.WriteMetadata(all, yum.MetadataOptions{Compression: "zst", Created: bundletest.Created}); err != nil {
		b.Fatal(err)
	}
}
