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

// The files of the big bundle: incompressible, and announced as gzip, so that
// what is measured is moving bytes and not zstd.
const (
	bigFiles    = 16
	bigFileSize = 48 << 20
)

// upstream serves the files of the big bundle from disk.
func upstream(b *testing.B) (dir, url string) {
	b.Helper()
	dir = b.TempDir()
	for i := range bigFiles {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		seed := [32]byte{byte(i)}
		_, err = io.Copy(f, io.MultiReader(strings.NewReader("\x1f\x8b"), io.LimitReader(rand.NewChaCha8(seed), bigFileSize-2)))
		if err := errors.Join(err, f.Close()); err != nil {
			b.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	b.Cleanup(server.Close)
	return dir, server.URL
}

// bigLock starts the upstream and returns a Lock of its files, nothing fetched yet.
func bigLock(b *testing.B) (lock *manifests.Lock, url string) {
	b.Helper()
	dir, url := upstream(b)
	lock = bundletest.New(b).Lock
	lock.Distros = nil // no packages, no repositories
	for i := range bigFiles {
		f, err := os.Open(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		d, err := digest.FromReader(f)
		if err := errors.Join(err, f.Close()); err != nil {
			b.Fatal(err)
		}
		lock.Artifacts = append(lock.Artifacts, manifests.Artifact{
			Kind: manifests.KindFile, Name: fmt.Sprint("file-", i), Version: "1", Platform: "linux/amd64",
			Group: "files", Path: fmt.Sprintf("big/%02d", i), Mode: 0o644,
			Source: manifests.Source{URL: url + "/" + fmt.Sprint(i), Digest: d, Size: bigFileSize, Trust: manifests.TrustCatalog},
		})
	}
	return lock, url
}

func pack(b *testing.B, st *store.Store, lock *manifests.Lock, output string) {
	b.Helper()
	client, err := fetch.NewClient(fetch.Options{})
	if err != nil {
		b.Fatal(err)
	}
	own := *lock // Pack completes it
	own.Artifacts = slices.Clone(lock.Artifacts)
	_, err = bundle.Pack(context.WithoutCancel(b.Context()), &own, bundle.PackOptions{
		Client: client, Store: st, Key: bundletest.Key(b), Output: output,
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

// BenchmarkPack: an empty cache and no reading back, against receiving, hashing
// once and writing once at the final offset.
func BenchmarkPack(b *testing.B) {
	lock, url := bigLock(b)
	out := b.TempDir()
	compare(b, func() {
		cache, err := os.MkdirTemp(out, "cache")
		if err != nil {
			b.Fatal(err)
		}
		st := openStore(b, cache)
		pack(b, st, lock, filepath.Join(out, "bundle.tar"))
		if err := errors.Join(st.Close(), os.RemoveAll(cache)); err != nil {
			b.Fatal(err)
		}
	}, func() { packFloor(b, url, filepath.Join(out, "floor")) })
}

// packFloor does the work that no pack can avoid.
func packFloor(b *testing.B, url, output string) {
	b.Helper()
	f, err := os.Create(output)
	if err != nil {
		b.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(4)
	for i := range bigFiles {
		g.Go(func() error {
			r, err := http.Get(url + "/" + fmt.Sprint(i))
			if err != nil {
				return err
			}
			defer r.Body.Close()
			w := io.MultiWriter(io.NewOffsetWriter(f, int64(i)*bigFileSize), sha256.New())
			_, err = io.CopyBuffer(w, r.Body, make([]byte, 1<<20))
			return err
		})
	}
	if err := errors.Join(g.Wait(), f.Sync(), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// packed packs the big bundle and returns it, and what packs it again from the
// full cache.
func packed(b *testing.B) (path string, again func(output string)) {
	b.Helper()
	lock, _ := bigLock(b)
	out := b.TempDir()
	st := openStore(b, filepath.Join(out, "cache"))
	b.Cleanup(func() { _ = st.Close() })
	again = func(output string) { pack(b, st, lock, output) }
	path = filepath.Join(out, "bundle.tar")
	again(path)
	return path, again
}

// BenchmarkRepack: everything is in the cache, against cp and sync of the bundle.
func BenchmarkRepack(b *testing.B) {
	path, again := packed(b)
	compare(b, func() { again(path + ".again") }, func() {
		copied := path + ".copy"
		// reflink=never: a shared copy writes nothing.
		for _, argv := range [][]string{{"cp", "--reflink=never", path, copied}, {"sync", copied}} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				b.Fatalf("%q: %v: %s", argv, err, out)
			}
		}
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
