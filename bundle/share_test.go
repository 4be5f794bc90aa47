package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
	"github.com/offk8s/offk8s/test/testenv"
)

// cached puts the blobs of b into a store below dir, and returns an input that reads them
// from there.
func cached(t testing.TB, b *bundletest.Builder, dir string) (bundle.SealInput, *store.Store) {
	t.Helper()
	st, err := store.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	for d, content := range b.Blobs {
		if err := st.Put(t.Context(), manifests.Descriptor{Digest: d, Size: int64(len(content))}, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	in := b.Input()
	in.Open = func(d digest.Digest) (io.ReadCloser, error) { return st.Get(d) }
	return in, st
}

// many is a bundle with blobs of many sizes, most of it in large ones.
func many(t testing.TB) *bundletest.Builder {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	for i, size := range []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000, 1 << 20, 5<<20 + 7, 40<<20 + 4095} {
		name := string(rune('a' + i))
		b.AddFile(t, name, "amd64/"+name, noisy(size, i), false)
	}
	return b
}

// TestReflinks writes bundles beside a cache on real file systems that share blocks: the
// bytes are those of any other file system, and hardly any more space is taken.
func TestReflinks(t *testing.T) {
	b := many(t)
	want := b.Bytes(t)
	for name, mkfs := range map[string][]string{
		"xfs":   {"mkfs.xfs", "-q", "-m", "reflink=1"},
		"btrfs": {"mkfs.btrfs", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testenv.FileSystem(t, 512<<20, mkfs...)
			empty := testenv.Used(t, dir)
			in, _ := cached(t, b, dir)
			path := filepath.Join(dir, "b.tar")
			for _, mode := range []struct {
				readBack bool
				split    int64
				shared   bool
			}{{true, 0, true}, {false, 0, true}, {true, 8 << 20, true}, {false, 8 << 20, true}, {true, 7_777_777, false}} {
				var peak int64
				in := in
				in.ReadBack, in.Split = mode.readBack, mode.split
				in.Check = func(context.Context, string) error {
					peak = testenv.Used(t, dir) - empty
					return nil
				}
				sealed, err := bundle.SealFile(t.Context(), path, in)
				if err != nil {
					t.Fatal(err)
				}
				ratio := float64(peak) / float64(len(want))
				t.Logf("%+v: cache and bundle take %.3f times the bundle", mode, ratio)
				if mode.shared && ratio > 1.05 {
					t.Errorf("%+v: cache and bundle take %.3f times the bundle, want 1.05", mode, ratio)
				}
				var got []byte
				for _, f := range sealed.Files {
					content := read(t, f.Path)
					if f.Digest != digest.FromBytes(content) {
						t.Errorf("%+v: %s has %s, reported %s", mode, f.Path, digest.FromBytes(content), f.Digest)
					}
					got = append(got, content...)
				}
				if !bytes.HasPrefix(got, want) || mode.split == 0 && len(got) != len(want) {
					t.Errorf("%+v: the bundle has other bytes than elsewhere", mode)
				}
				if err := verifyAt(t, path); err != nil {
					t.Errorf("%+v: %v", mode, err)
				}
				if mode.split != 0 || mode.readBack {
					continue
				}
				before, merged := testenv.Used(t, dir), filepath.Join(dir, "merged.tar")
				o := bundle.WriteOptions{Output: merged, Progress: func(done, total int64) {}}
				if _, err := bundle.Merge(t.Context(), openPaths(t, path), o); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(read(t, merged), want) || testenv.Used(t, dir)-before > int64(len(want)/20) {
					t.Errorf("merge took %d bytes more, or wrote others", testenv.Used(t, dir)-before)
				}
				if err := os.Remove(merged); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestFullReflinks: space for what can be shared is not asked for.
func TestFullReflinks(t *testing.T) {
	dir := testenv.FileSystem(t, 512<<20, "mkfs.xfs", "-q", "-m", "reflink=1")
	b := many(t)
	in, st := cached(t, b, dir)
	size := int64(len(b.Bytes(t)))
	free, _, err := bundle.Space(dir)
	if err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	fill := func(keep int64) {
		for free > keep {
			for left := (free - keep + 64<<10) / 2; left > 0; left -= 64 << 10 { // written, for a hole takes nothing
				if _, err := filler.Write(make([]byte, 64<<10)); err != nil {
					t.Fatal(err)
				}
			}
			testenv.Used(t, dir)
			if free, _, err = bundle.Space(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(size / 4)
	path := filepath.Join(dir, "b.tar")
	if _, err := bundle.SealFile(t.Context(), path, in); err == nil {
		t.Error("sealed where the space seems too small and nothing says where the blobs lie")
	}
	in = bundle.Stored(in, st.Dir())
	if _, err := bundle.SealFile(t.Context(), path, in); err != nil {
		t.Error(err)
	}
	refused := func(name string) {
		_, err := bundle.SealFile(t.Context(), path, in)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "needs") { // known before it is written
			t.Errorf("%s: %v", name, err)
		}
	}
	in.Split = 7_777_777
	refused("parts whose content cannot be shared")
	in.Split = 0
	fill(size / 200)
	refused("no space for the rest")
}

// TestBadCache seals from a cache whose file is altered, too short or too long.
func TestBadCache(t *testing.T) {
	b := large(t)
	bad := b.Lock.Artifacts[len(b.Lock.Artifacts)-1].Blob.Digest
	content := b.Blobs[bad]
	for name, alter := range map[string][]byte{
		"altered":       append(bytes.Clone(content[:len(content)-1]), content[len(content)-1]^1),
		"too short":     content[:len(content)/2],
		"empty":         nil,
		"a byte short":  content[:len(content)-1],
		"a byte longer": append(bytes.Clone(content), 0),
	} {
		for _, back := range []bool{false, true} {
			dir := t.TempDir()
			in, st := cached(t, b, dir)
			in.ReadBack = back
			file := filepath.Join(st.Dir(), "blobs", bad.Algorithm().String(), bad.Encoded())
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
			write(t, file, alter)
			path := filepath.Join(t.TempDir(), "b.tar")
			_, err := bundle.SealFile(t.Context(), path, in)
			artifact, ok := errors.AsType[*bundle.ArtifactError](err)
			if !errors.Is(err, bundle.ErrVerify) || !ok || artifact.Artifact != "files/amd64/noise" {
				t.Errorf("%s, read back is %v: %v", name, back, err)
			}
			if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
				t.Errorf("%s: left behind: %q", name, left)
			}
		}
	}
}
