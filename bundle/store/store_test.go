package store_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle/store"
	"github.com/offk8s/offk8s/manifests"
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func describe(content string) manifests.Descriptor {
	return manifests.Descriptor{Digest: digest.FromString(content), Size: int64(len(content))}
}

func content(t *testing.T, s *store.Store, d digest.Digest) string {
	t.Helper()
	f, err := s.Get(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tree lists what lies in the store, the lock aside.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" {
			rel, _ := filepath.Rel(dir, path)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPut(t *testing.T) {
	boom := errors.New("connection cut")
	want := describe("hello")
	sha512 := manifests.Descriptor{Digest: digest.SHA512.FromString("hello"), Size: 5}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		want manifests.Descriptor
		r    io.Reader
		err  error
	}{
		{"good", t.Context(), want, strings.NewReader("hello"), nil},
		{"good sha512", t.Context(), sha512, strings.NewReader("hello"), nil},
		{"size unknown", t.Context(), manifests.Descriptor{Digest: want.Digest}, strings.NewReader("hello"), nil},
		{"empty", t.Context(), describe(""), strings.NewReader(""), nil},
		{"one byte at a time", t.Context(), want, iotest.OneByteReader(strings.NewReader("hello")), nil},
		{"other content", t.Context(), want, strings.NewReader("hullo"), store.ErrDigest},
		{"too short", t.Context(), want, strings.NewReader("hell"), store.ErrDigest},
		{"too long", t.Context(), want, strings.NewReader("hello!"), store.ErrDigest},
		{"endless", t.Context(), want, endless{}, store.ErrDigest},
		{"cut", t.Context(), want, io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(boom)), boom},
		{"cancelled", canceled, want, strings.NewReader("hello"), context.Canceled},
		{"bad digest", t.Context(), manifests.Descriptor{Digest: "sha256:../../x"}, strings.NewReader(""), digest.ErrDigestInvalidLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			err := s.Put(tt.ctx, tt.want, tt.r)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if s.Has(tt.want.Digest) != (tt.err == nil) {
				t.Errorf("has: %v", s.Has(tt.want.Digest))
			}
			if left := tree(t, dir); tt.err != nil && len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAddImport(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d, err := s.Add(t.Context(), strings.NewReader("added"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe("added"), d); diff != "" {
		t.Errorf("descriptor (-want +got):\n%s", diff)
	}
	if got := content(t, s, d.Digest); got != "added" {
		t.Errorf("got %q", got)
	}

	want := describe("downloaded")
	part, err := s.Partial(want.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, []byte("downlo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(part, want); !errors.Is(err, store.ErrDigest) {
		t.Fatalf("imported half a download: %v", err)
	}
	if _, err := os.Stat(part); err != nil {
		t.Fatalf("half a download is gone, it cannot be resumed: %v", err)
	}
	if err := os.WriteFile(part, []byte("downloaded"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(part, want); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s, want.Digest); got != "downloaded" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the download is still there: %v", err)
	}
}

func TestCrashLeavesNoBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want := describe("content")
	// What a process killed while writing leaves: a file in tmp, and a download.
	if err := os.WriteFile(filepath.Join(dir, "tmp", "put-1"), []byte("cont"), 0o600); err != nil {
		t.Fatal(err)
	}
	part, _ := s.Partial(want.Digest)
	if err := os.WriteFile(part, []byte("cont"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if s.Has(want.Digest) {
		t.Error("half a blob became a blob")
	}
	if diff := cmp.Diff([]string{"partial/sha256-" + want.Digest.Encoded()}, tree(t, dir)); diff != "" {
		t.Errorf("after the crash (-want +got):\n%s", diff)
	}
}

// TestKilledWhilePutting kills a real process in the middle of Put.
func TestKilledWhilePutting(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_PUT"); dir != "" {
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Put(t.Context(), describe("never whole"), io.MultiReader(strings.NewReader("never"), hang{}))
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhilePutting$")
	cmd.Env = append(os.Environ(), "STORE_TEST_PUT="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len(hanging))); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("opened a store that another process holds, or did not name it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s := open(t, dir)
	if s.Has(describe("never whole").Digest) || len(tree(t, dir)) != 0 {
		t.Errorf("left behind: %q", tree(t, dir))
	}
}

const hanging = "hanging"

type hang struct{}

func (hang) Read([]byte) (int, error) {
	_, _ = os.Stdout.WriteString(hanging)
	select {}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := store.Open(dir); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestTamperedBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want := describe("trusted")
	if err := s.Put(t.Context(), want, strings.NewReader("trusted")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "sha256", want.Digest.Encoded())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	overwrite := func(content string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, openErr error, bad []digest.Digest) {
		f, err := s.Open(want)
		if !errors.Is(err, openErr) {
			t.Errorf("%s: open: %v, want %v", name, err, openErr)
		}
		if err == nil {
			f.Close()
		}
		got, err := s.Verify(t.Context())
		if diff := cmp.Diff(bad, got); diff != "" || err != nil {
			t.Errorf("%s: verify: %v (-want +got):\n%s", name, err, diff)
		}
	}
	check("intact", nil, nil)
	overwrite("trusteD")
	check("changed", nil, []digest.Digest{want.Digest})
	overwrite("trust")
	check("truncated", store.ErrDigest, []digest.Digest{want.Digest})
	if err := s.Put(t.Context(), want, strings.NewReader("trusted")); err != nil {
		t.Fatal(err)
	}
	check("put again", nil, nil)
}

func TestNotFound(t *testing.T) {
	s := open(t, t.TempDir())
	for _, d := range []digest.Digest{digest.FromString("x"), "sha256:..", ""} {
		if s.Has(d) {
			t.Errorf("has %q", d)
		}
		if _, err := s.Get(d); err == nil {
			t.Errorf("got %q", d)
		}
	}
	if _, err := s.Get(digest.FromString("x")); !errors.Is(err, store.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, c := range []string{"keep", "drop", "also drop"} {
		if _, err := s.Add(t.Context(), strings.NewReader(c)); err != nil {
			t.Fatal(err)
		}
	}
	part, _ := s.Partial(digest.FromString("unfinished"))
	for _, path := range []string{part, filepath.Join(dir, "blobs", "sha256", "README")} {
		if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep := digest.FromString("keep")
	freed, err := s.Prune(t.Context(), func(d digest.Digest) bool { return d == keep })
	if err != nil || freed != int64(len("drop")+len("also drop")+5) {
		t.Errorf("freed %d, %v", freed, err)
	}
	if diff := cmp.Diff([]string{"blobs/sha256/" + keep.Encoded(), "blobs/sha256/README"}, tree(t, dir)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
