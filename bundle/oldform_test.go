package bundle_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

// oldForm returns a bundle as older offk8s wrote it: no content was moved to a multiple
// of 4096 bytes.
func oldForm(t testing.TB, b []byte) []byte {
	t.Helper()
	g := unpack(t, b)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range g.names() {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(g[name])), Mode: 0o644, Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(g[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestOldForm reads a bundle of an older offk8s, alone and as a base, and writes it in
// today's form.
func TestOldForm(t *testing.T) {
	first, second := large(t), large(t)
	second.Lock.Sequence++
	second.AddFile(t, "more", "amd64/more", noisy(100_000, 1), false)
	want := first.Bytes(t)
	old := oldForm(t, want)
	if bytes.Equal(old, want) || len(old) >= len(want) {
		t.Fatalf("the old form has %d bytes, today's %d", len(old), len(want))
	}
	path := filepath.Join(t.TempDir(), "old.tar")
	write(t, path, old)
	if err := verifyAt(t, path); err != nil {
		t.Fatal(err)
	}
	for _, merge := range []struct {
		paths []string
		want  []byte
	}{
		{[]string{path}, want},
		{[]string{delta(t, second, path), path}, second.Bytes(t)},
	} {
		merged := filepath.Join(t.TempDir(), "merged.tar")
		o := bundle.WriteOptions{Output: merged, Progress: func(done, total int64) {}}
		if _, err := bundle.Merge(t.Context(), openPaths(t, merge.paths...), o); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, merged), merge.want) {
			t.Errorf("%q: merged, it is not the bundle in today's form", merge.paths)
		}
	}

	unsigned := bundletest.New(t)
	for n := range 4 { // one alone may begin at a unit in either form
		unsigned.AddFile(t, fmt.Sprintf("noise-%d", n), fmt.Sprintf("amd64/noise-%d", n), noisy(100_000, n), false)
	}
	unsigned.Key = nil
	write(t, path, oldForm(t, unsigned.Bytes(t)))
	b, err := bundle.Open(t.Context(), []string{path}, bundle.OpenOptions{AllowUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	signed := filepath.Join(t.TempDir(), "signed.tar")
	o := bundle.WriteOptions{Key: bundletest.Key(t), Output: signed, Progress: func(done, total int64) {}}
	if _, err := bundle.Sign(t.Context(), b, o); err != nil {
		t.Fatal(err)
	}
	if got := read(t, signed); len(got)%512 != 0 || bytes.Equal(got, oldForm(t, got)) {
		t.Error("signed, it is not in today's form")
	}
	if err := verifyAt(t, signed); err != nil {
		t.Error(err)
	}
}
