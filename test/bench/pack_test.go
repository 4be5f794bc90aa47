package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/fetch"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

// big are the files of the big bundle, in the shape of a real one: programs, which are
// stored compressed, layers of images and packages, which are compressed already.
var big = []struct {
	n, size int
	magic   string // the first bytes
	mask    byte   // of each byte: programs become about half as large
}{
	{n: 10, size: 48 << 20, magic: "\x7fELF", mask: 0x0f},
	{n: 20, size: 24 << 20, magic: "\x1f\x8b", mask: 0xff},
	{n: 300, size: 256 << 10, magic: "!<arch>\n", mask: 0xff},
}

// masked makes random bytes compressible.
type masked struct {
	io.Reader
	mask byte
}

func (m masked) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	for i := range p[:n] {
		p[i] &= m.mask
	}
	return n, err
}

// source is a file of the upstream.
type source struct {
	name    string
	size    int64
	digest  digest.Digest
	program bool
}

// upstream serves the files of the big bundle from disk.
func upstream(b *testing.B) (files []source, url string) {
	b.Helper()
	dir := b.TempDir()
	for _, kind := range big {
		for range kind.n {
			file := source{name: fmt.Sprintf("%03d", len(files)), size: int64(kind.size), program: kind.mask != 0xff}
			seed := [32]byte{byte(len(files)), byte(len(files) >> 8)}
			noise := masked{rand.NewChaCha8(seed), kind.mask}
			content := io.MultiReader(strings.NewReader(kind.magic), io.LimitReader(noise, file.size-int64(len(kind.magic))))
			f, err := os.Create(filepath.Join(dir, file.name))
			if err != nil {
				b.Fatal(err)
			}
			file.digest, err = digest.FromReader(io.TeeReader(content, f))
			if err := errors.Join(err, f.Close()); err != nil {
				b.Fatal(err)
			}
			files = append(files, file)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	b.Cleanup(server.Close)
	return files, server.URL
}

// bigLock starts the upstream and returns a Lock of its files, nothing fetched yet.
func bigLock(b *testing.B) (lock *manifests.Lock, files []source, url string) {
	b.Helper()
	files, url = upstream(b)
	lock = bundletest.New(b).Lock
	lock.Distros = nil // no packages, no repositories
	for _, f := range files {
		lock.Artifacts = append(lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindFile, Name: "file-" + f.name, Version: "1", Platform: "linux/amd64",
			Group: "files", Path: "big/" + f.name, Mode: 0o644,
			Source: manifests.Source{URL: url + "/" + f.name, Digest: f.digest, Size: f.size, Trust: manifests.TrustCatalog},
		})
	}
	return lock, files, url
}

func pack(b *testing.B, st *store.Store, lock *manifests.Lock, output string, readBack bool) {
	b.Helper()
	client, err := fetch.NewClient(fetch.Options{})
	if err != nil {
		b.Fatal(err)
	}
	own := *lock // Pack completes it
	own.Artifacts = slices.Clone(lock.Artifacts)
	_, err = bundle.Pack(context.WithoutCancel(b.Context()), &own, bundle.PackOptions{
		Client: client, Store: st, Key: bundletest.Key(b), Output: output, VerifyAfterWrite: readBack,
	})
	if err != nil {
		b.Fatal(err)
	}
}

func openStore(b *testing.B, dir string) *store.Store {
	b.Helper()
	st, err := store.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// modes runs f as a benchmark with and without reading the bundle back.
func modes(b *testing.B, f func(b *testing.B, readBack bool)) {
	b.Run("written", func(b *testing.B) { f(b, false) })
	b.Run("read-back", func(b *testing.B) { f(b, true) })
}

// BenchmarkPack: an empty cache, against receiving, hashing once, compressing programs
// as we do, and writing once at the final offset.
func BenchmarkPack(b *testing.B) {
	lock, files, url := bigLock(b)
	modes(b, func(b *testing.B, readBack bool) {
		out := b.TempDir()
		compare(b, func() {
			cache, err := os.MkdirTemp(out, "cache")
			if err != nil {
				b.Fatal(err)
			}
			st := openStore(b, cache)
			pack(b, st, lock, filepath.Join(out, "bundle.tar"), readBack)
			if err := errors.Join(st.Close(), os.RemoveAll(cache)); err != nil {
				b.Fatal(err)
			}
		}, func() { packFloor(b, files, url, filepath.Join(out, "floor")) })
	})
}

// packFloor does the work that no pack can avoid.
func packFloor(b *testing.B, files []source, url, output string) {
	b.Helper()
	f, err := os.Create(output)
	if err != nil {
		b.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(4)
	var at int64
	for _, file := range files {
		w := io.NewOffsetWriter(f, at)
		at += file.size
		g.Go(func() error {
			r, err := http.Get(url + "/" + file.name)
			if err != nil {
				return err
			}
			defer r.Body.Close()
			return receive(w, r.Body, file.program)
		})
	}
	if err := errors.Join(g.Wait(), f.Sync(), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// receive writes r to w, compressed if it is a program, and hashes what it receives and
// what it writes.
func receive(w io.Writer, r io.Reader, program bool) error {
	w = io.MultiWriter(w, sha256.New())
	if !program {
		_, err := io.CopyBuffer(w, r, make([]byte, 1<<20))
		return err
	}
	z, err := bundle.NewZstdWriter(w)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(io.MultiWriter(struct{ io.Writer }{z}, sha256.New()), r, make([]byte, 1<<20))
	return errors.Join(err, z.Close())
}

// packed packs the big bundle and returns it, and what packs it again from the
// full cache.
func packed(b *testing.B) (path string, again func(output string, readBack bool)) {
	b.Helper()
	lock, _, _ := bigLock(b)
	out := b.TempDir()
	st := openStore(b, filepath.Join(out, "cache"))
	b.Cleanup(func() { _ = st.Close() })
	again = func(output string, readBack bool) { pack(b, st, lock, output, readBack) }
	path = filepath.Join(out, "bundle.tar")
	again(path, false)
	return path, again
}

// BenchmarkRepack: everything is in the cache, against cp and sync of the bundle. Both
// write beside the old file, then take its place, and sync that.
func BenchmarkRepack(b *testing.B) {
	path, again := packed(b)
	modes(b, func(b *testing.B, readBack bool) {
		compare(b, func() { again(path+".again", readBack) }, func() {
			copied := path + ".copy"
			// reflink=never: a shared copy writes nothing.
			for _, argv := range [][]string{{"cp", "--reflink=never", path, copied + ".new"}, {"sync", copied + ".new"}, {"mv", copied + ".new", copied}, {"sync", filepath.Dir(copied)}} {
				if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
					b.Fatalf("%q: %v: %s", argv, err, out)
				}
			}
		})
	})
}

// BenchmarkVerify: against hashing the members by offset on all cores.
func BenchmarkVerify(b *testing.B) {
	path, _ := packed(b)
	o := bundletest.Options(bundletest.Key(b))
	compare(b, func() {
		opened, err := bundle.Open(b.Context(), []string{path}, o)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(opened.Verify(b.Context(), bundle.VerifyOptions{}), opened.Close()); err != nil {
			b.Fatal(err)
		}
	}, func() { hashMembers(b, path, o) })
}

// hashMembers hashes the members that Verify has to hash; where members begin is known already.
func hashMembers(b *testing.B, path string, o bundle.OpenOptions) {
	b.Helper()
	opened, err := bundle.Open(b.Context(), []string{path}, o)
	if err != nil {
		b.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range opened.Blobs() {
		at, err := opened.Blob(d)
		if err != nil {
			b.Fatal(err)
		}
		g.Go(func() error {
			_, err := io.CopyBuffer(sha256.New(), struct{ io.Reader }{at}, make([]byte, 1<<20))
			return err
		})
	}
	if err := errors.Join(g.Wait(), opened.Close()); err != nil {
		b.Fatal(err)
	}
}
