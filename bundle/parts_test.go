package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
)

const partSize = 200_000

// large is a bundle of four parts of partSize bytes, most of which is one blob.
func large(t testing.TB) *bundletest.Builder {
	t.Helper()
	b := bundletest.New(t)
	b.AddSmall(t)
	noise := make([]byte, 3*partSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	b.AddFile(t, "noise", "amd64/noise", noise, false)
	return b
}

// split seals b into parts of size bytes below dir and returns the files.
func split(t testing.TB, b *bundletest.Builder, path string, size int64) []string {
	t.Helper()
	in := readBack(b.Input())
	in.Split = size
	sealed, err := bundle.SealFile(t.Context(), path, in)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range sealed.Files {
		names = append(names, f.Path)
		content := read(t, f.Path)
		if f.Size != int64(len(content)) || f.Digest != digest.FromBytes(content) {
			t.Errorf("%s has %d bytes with %s, reported %+v", f.Path, len(content), digest.FromBytes(content), f)
		}
	}
	return names
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// listDir returns the names in the directory of path, without the common start.
func listDir(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimPrefix(e.Name(), filepath.Base(path)))
	}
	return out
}

// verifyAt opens and verifies the bundle that name leads to.
func verifyAt(t testing.TB, name string) error {
	t.Helper()
	b, err := bundle.Open(t.Context(), []string{name}, bundletest.Options(bundletest.Key(t)))
	if err != nil {
		return err
	}
	return errors.Join(b.Verify(t.Context(), bundle.VerifyOptions{}), b.Close())
}

// TestPartsAreTheBundle joins the parts, and reads them as they lie.
func TestPartsAreTheBundle(t *testing.T) {
	b := large(t)
	want := b.Bytes(t)
	for _, size := range []int64{4096, 77_777, partSize, int64(len(want)) - 1} {
		path := filepath.Join(t.TempDir(), "b.tar")
		files := split(t, b, path, size)
		var joined []byte
		for _, name := range files[:len(files)-1] {
			part := read(t, name)
			if int64(len(part)) > size {
				t.Errorf("%s has %d bytes, more than %d", name, len(part), size)
			}
			joined = append(joined, part...)
		}
		if !bytes.Equal(joined, want) {
			t.Errorf("parts of %d bytes are not the bundle", size)
		}
		for _, name := range append(files, path) {
			if err := verifyAt(t, name); err != nil {
				t.Errorf("parts of %d bytes, by the name %s: %v", size, name, err)
			}
		}
		before := map[string][]byte{}
		for _, name := range files {
			before[name] = read(t, name)
		}
		for _, name := range split(t, b, path, size) {
			if !bytes.Equal(read(t, name), before[name]) {
				t.Errorf("%s differs when it is written again", name)
			}
		}
		opened, err := bundle.Open(t.Context(), []string{files[0]}, bundletest.Options(b.Key))
		if err != nil {
			t.Fatal(err)
		}
		for d, content := range b.Blobs {
			r, err := opened.Blob(d)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("parts of %d bytes: blob %s: %d bytes, %v", size, d, len(got), err)
			}
		}
		if opened.Path() != path {
			t.Errorf("path is %q, want %q", opened.Path(), path)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSmallBundleIsOneFile though it could be split, and each form replaces the other
// with all its files.
func TestSmallBundleIsOneFile(t *testing.T) {
	b := large(t)
	path := filepath.Join(t.TempDir(), "b.tar")
	steps := []struct {
		size int64
		want []string
	}{
		{partSize, []string{".part-001", ".part-002", ".part-003", ".part-004", ".parts.json"}},
		{2 * partSize, []string{".part-001", ".part-002", ".parts.json"}},
		{1 << 30, []string{""}},
		{partSize, []string{".part-001", ".part-002", ".part-003", ".part-004", ".parts.json"}},
		{0, []string{""}},
	}
	for _, s := range steps {
		write(t, path+".part-007.partial", []byte("of a run that was killed"))
		if s.size == 0 {
			if err := os.Remove(path + ".part-007.partial"); err != nil {
				t.Fatal(err)
			}
		}
		split(t, b, path, s.size)
		if diff := cmp.Diff(s.want, listDir(t, path)); diff != "" {
			t.Errorf("limit %d: files (-want +got):\n%s", s.size, diff)
		}
		if err := verifyAt(t, path); err != nil {
			t.Errorf("limit %d: %v", s.size, err)
		}
	}
}

// TestFailedSplitLeavesTheOldBundle and nothing else.
func TestFailedSplitLeavesTheOldBundle(t *testing.T) {
	b := large(t)
	path := filepath.Join(t.TempDir(), "b.tar")
	split(t, b, path, partSize)
	want := listDir(t, path)
	in := b.Input()
	in.Split = 2 * partSize
	noise := b.Lock.Artifacts[len(b.Lock.Artifacts)-1].Blob.Digest
	open := in.Open
	in.Open = func(d digest.Digest) (io.ReadCloser, error) {
		if d == noise {
			return nil, &fs.PathError{Op: "read", Path: "noise", Err: fs.ErrPermission}
		}
		return open(d)
	}
	if _, err := bundle.SealFile(t.Context(), path, in); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("sealed without a blob: %v", err)
	}
	if diff := cmp.Diff(want, listDir(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := verifyAt(t, path); err != nil {
		t.Error(err)
	}
}

// TestInterruptedCommitIsNoBundle stops while the parts get their names, over an older
// bundle in parts: a mixture of both is refused, and another run makes it whole.
func TestInterruptedCommitIsNoBundle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.tar")
	old := large(t)
	old.Lock.Sequence = 7
	split(t, old, path, partSize)
	third := path + ".part-003"
	if err := errors.Join(os.Remove(third), os.Mkdir(third, 0o755)); err != nil {
		t.Fatal(err)
	}
	b := large(t)
	in := b.Input()
	in.Split = partSize
	if _, err := bundle.SealFile(t.Context(), path, in); err == nil {
		t.Fatal("a directory was replaced")
	}
	if err := errors.Join(os.Remove(third), os.WriteFile(third, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".part-001", ".part-002", ".part-003", ".part-004"}, listDir(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	err := verifyAt(t, path)
	if !errors.Is(err, bundle.ErrPart) || !strings.Contains(err.Error(), "pack was interrupted") {
		t.Errorf("a mixture of two bundles: %v", err)
	}
	split(t, b, path, partSize)
	if err := verifyAt(t, path); err != nil {
		t.Error(err)
	}
}

// TestEveryFaultOfAPartIsNamed makes each single mistake of copying a bundle in parts,
// and a few that nobody makes by mistake.
func TestEveryFaultOfAPartIsNamed(t *testing.T) {
	source := filepath.Join(t.TempDir(), "b.tar")
	files := split(t, large(t), source, partSize)
	other := filepath.Join(t.TempDir(), "b.tar")
	b := large(t)
	b.Lock.Sequence++
	split(t, b, other, partSize)
	part := func(path string, n int) string { return fmt.Sprintf("%s.part-%03d", path, n) }
	list := func(path string) string { return path + ".parts.json" }
	change := func(name string, at int) func(string) {
		return func(string) {
			content := read(t, name)
			content[(at+len(content))%len(content)] ^= 1
			write(t, name, content)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "b.tar")
	digestOf := func(n int) string { return digest.FromBytes(read(t, part(source, n))).String() }
	type fault struct {
		name   string
		make   func(path string)
		bad    string   // the file that the error names
		expect []string // in the error
	}
	faults := []fault{
		{"list missing", func(string) { _ = os.Remove(list(path)) }, list(path), []string{"is missing"}},
		{"list of another bundle", func(string) { write(t, list(path), read(t, list(other))) }, part(path, 1), nil},
		{"list altered", func(string) {
			write(t, list(path), bytes.Replace(read(t, list(path)), []byte(`"size":200000`), []byte(`"size":200001`), 1))
		}, part(path, 1), []string{"has 200000 bytes, expected 200001"}},
		{"digest in the list altered", func(string) {
			write(t, list(path), bytes.Replace(read(t, list(path)), []byte(digestOf(2)), []byte(digest.FromString("x")), 1))
		}, list(path), []string{"expected the signature of the key"}},
		{"signature of the list removed", func(string) {
			raw := read(t, list(path))
			write(t, list(path), append(raw[:bytes.Index(raw, []byte(`,"signature"`))], '}'))
		}, list(path), []string{"not signed"}},
		{"list in another form", func(string) { write(t, list(path), append(read(t, list(path)), '\n')) }, list(path), []string{"canonical"}},
		{"part too many", func(string) { write(t, part(path, 5), read(t, part(path, 4))) }, part(path, 5), []string{"the list has 4 parts"}},
		{"1 and 2 swapped", func(string) {
			write(t, part(path, 1), read(t, part(source, 2)))
			write(t, part(path, 2), read(t, part(source, 1)))
		}, part(path, 1), []string{"has the content of part 2, expected part 1", digestOf(1)}},
		{"2 renamed to 7", func(string) { _ = os.Rename(part(path, 2), part(path, 7)) }, part(path, 2), []string{"is missing", part(path, 7), "does not belong here"}},
		{"2 renamed to another form", func(string) { _ = os.Rename(part(path, 2), path+".part-2") }, part(path, 2), []string{"is missing"}},
		{"3 there once more", func(string) { write(t, part(path, 9), read(t, part(source, 3))) }, part(path, 9), []string{"the list has 4 parts"}},
		{"2 is 3 again", func(string) { write(t, part(path, 2), read(t, part(source, 3))) }, part(path, 2), []string{"has the content of part 3, expected part 2", digestOf(2)}},
	}
	for n := 1; n <= 4; n++ {
		name := part(path, n)
		size := len(read(t, part(source, n)))
		faults = append(faults,
			fault{"missing", func(string) { _ = os.Remove(name) }, name, []string{"is missing", fmt.Sprintf("part %d of 4, %d bytes", n, size), digestOf(n)}},
			fault{"short", func(string) { write(t, name, read(t, name)[:size-1]) }, name, []string{fmt.Sprintf("has %d bytes, expected %d", size-1, size)}},
			fault{"empty", func(string) { write(t, name, nil) }, name, []string{fmt.Sprintf("has 0 bytes, expected %d", size)}},
			fault{"long", func(string) { write(t, name, append(read(t, name), 0)) }, name, []string{fmt.Sprintf("has %d bytes, expected %d", size+1, size)}},
			fault{"of another bundle", func(string) { write(t, name, noisy(size, n)) }, name, []string{"of another bundle", fmt.Sprintf("expected part %d", n), digestOf(n)}},
			fault{"first byte", change(name, 0), name, []string{"damaged", digestOf(n)}},
			fault{"a byte after those that are always compared", change(name, 70_000), name, []string{"damaged", digestOf(n)}},
			fault{"last byte", change(name, -1), name, []string{"damaged", digestOf(n)}},
		)
	}
	for _, f := range faults {
		t.Run(f.name+" "+filepath.Base(f.bad), func(t *testing.T) {
			for _, name := range files {
				write(t, filepath.Join(dir, filepath.Base(name)), read(t, name))
			}
			for _, name := range []string{part(path, 5), part(path, 7), part(path, 9)} {
				_ = os.Remove(name)
			}
			f.make(path)
			err := verifyAt(t, path)
			if !errors.Is(err, bundle.ErrPart) || !errors.Is(err, bundle.ErrVerify) {
				t.Fatalf("got %v, want a bad part", err)
			}
			for _, text := range append(f.expect, fmt.Sprintf("%q", f.bad)) {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in: %v", text, err)
				}
			}
			if n := strings.Count(err.Error(), ".part-"); slices.Contains([]string{"missing", "short", "long", "first byte"}, f.name) && n != 1 {
				t.Errorf("%d parts are named: %v", n, err)
			}
		})
	}
}

func noisy(size, seed int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), 9}).Read(b) // never fails
	return b
}

func TestLocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.tar")
	for _, suffix := range []string{".part-001", ".part-002", ".parts.json", ".part-1", ".part-001.partial", ".sha256"} {
		write(t, path+suffix, nil)
	}
	set := []string{path + ".part-001", path + ".part-002", path + ".parts.json"}
	for name, want := range map[string][]string{
		path: set, path + ".part-002": set, path + ".part-009": set, path + ".parts.json": set,
		path + ".part-1": {path + ".part-1"}, path + ".sha256": {path + ".sha256"}, path + ".other": {path + ".other"},
		path + "/x": {path + "/x"}, filepath.Dir(path): {filepath.Dir(path)},
	} {
		located, files, err := bundle.Locate(name)
		if diff := cmp.Diff(want, files); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if wantPath := map[bool]string{true: path, false: name}[len(want) == 3]; located != wantPath {
			t.Errorf("%s: path %s, want %s", name, located, wantPath)
		}
	}
	write(t, path, nil)
	if _, files, err := bundle.Locate(path); err != nil || len(files) != 1 {
		t.Errorf("a bundle beside parts of the same name: %q, %v", files, err)
	}
}

// FuzzParts puts other bytes in the place of the list of parts: what is accepted is the
// list that was signed.
func FuzzParts(f *testing.F) {
	path := filepath.Join(f.TempDir(), "b.tar")
	in := smallest(f)
	split(f, in, path, 8<<10)
	good := read(f, path+".parts.json")
	f.Add(good)
	f.Add([]byte(`{"apiVersion":"offk8s.dev/v1","kind":"Parts","bundle":"sha256:00","parts":[{"size":-1,"digest":"","start":""}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		write(t, path+".parts.json", raw)
		b, err := bundle.Open(t.Context(), []string{path}, bundletest.Options(in.Key))
		switch {
		case err == nil:
			if !bytes.Equal(raw, good) {
				t.Errorf("accepted %q", raw)
			}
			_ = b.Close()
		case !errors.Is(err, bundle.ErrPart):
			t.Errorf("refused without a class: %v", err)
		}
	})
}
