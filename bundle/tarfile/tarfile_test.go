package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/offk8s/offk8s/test/testenv"
)

func TestRoundTrip(t *testing.T) {
	b := build(t, sample)
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenParts(t.Context(), []string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []file
	for _, m := range f.Members() {
		r, err := f.Section(m.Name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		at := f.Extents(m)
		if len(at) != 1 || at[0].File.Name() != path || string(b[at[0].Offset:at[0].Offset+at[0].Size]) != string(content) {
			t.Errorf("%q: extents %+v", m.Name, at)
		}
		got = append(got, file{m.Name, string(content)})
	}
	if diff := cmp.Diff(sample, got, cmp.AllowUnexported(file{})); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if f.Path() != path || f.Size() != int64(len(b)) {
		t.Errorf("path %q, size %d", f.Path(), f.Size())
	}
	if _, ok := f.Lookup("nothing"); ok {
		t.Error("found a member that is not there")
	}
	if _, err := f.Section("nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("section of a missing member: %v", err)
	}
}

// TestStandardReaders has archive/tar and the system's tar read what we write.
func TestStandardReaders(t *testing.T) {
	b := build(t, sample)
	r := tar.NewReader(bytes.NewReader(b))
	for _, want := range sample {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != want.name || string(content) != want.content || h.Mode != 0o644 || h.Uid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("archive/tar reads %+v, want %q", h, want.name)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}

	path, dir := filepath.Join(t.TempDir(), "x.tar"), t.TempDir()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"GNU tar": {"tar", "-xf", path, "-C"},
		"bsdtar":  {"bsdtar", "-xf", path, "-C"},
		"Python":  {"python3", "-c", "import tarfile, sys; tarfile.open(sys.argv[1]).extractall(sys.argv[2])", path},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.NeedTool(t, argv[0])
			to := filepath.Join(dir, argv[0])
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), argv[0], append(argv[1:], to)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Fatalf("%q: %v: %s", argv, err, out)
			}
			for _, f := range sample {
				if got, err := os.ReadFile(filepath.Join(to, f.name)); err != nil || string(got) != f.content {
					t.Errorf("%q has %d bytes, want %d (%v)", f.name, len(got), len(f.content), err)
				}
			}
		})
	}
}

// TestAlignment: the content of a large member begins at a unit, wherever its header
// begins, and no header is longer than it has to be.
func TestAlignment(t *testing.T) {
	long := "blobs/sha512/" + hex64 + hex64
	for _, name := range []string{"short", long} {
		for _, size := range []int64{0, alignFrom - 1, alignFrom, maxOctal + 1} {
			for off := int64(0); off < contentUnit; off += blockSize {
				h := encodeHeader(name, size, off)
				n, least := int64(len(h)), int64(len(encodeOld(name, size)))
				switch {
				case size < alignFrom && n != least:
					t.Errorf("%q, %d bytes, at %d: header of %d bytes, want %d", name, size, off, n, least)
				case size >= alignFrom && (off+n)%contentUnit != 0:
					t.Errorf("%q, %d bytes, at %d: content at %d", name, size, off, off+n)
				case n > maxHeader || n >= 3*blockSize+contentUnit || n > least && (off+least)%contentUnit == 0:
					t.Errorf("%q, %d bytes, at %d: header of %d bytes", name, size, off, n)
				}
				got, err := tar.NewReader(bytes.NewReader(h)).Next()
				if err != nil || got.Name != name || got.Size != size {
					t.Errorf("%q, %d bytes, at %d: archive/tar reads %+v, %v", name, size, off, got, err)
				}
			}
		}
	}
}

// TestOldForm: a container without aligned content is read as before, but no mixture.
func TestOldForm(t *testing.T) {
	large := strings.Repeat("x", alignFrom)
	for name, files := range map[string][]file{"sample": sample, "one large": {{"large", large}}, "none large": sample[:4]} {
		old, aligned := buildOld(files), build(t, files)
		if (name == "none large") != bytes.Equal(old, aligned) {
			t.Errorf("%s: both forms are the same, or differ", name)
		}
		x, err := index(t, old)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, m := range x.Members() {
			if m.Name != files[i].name || string(old[m.Offset:m.Offset+m.Size]) != files[i].content {
				t.Errorf("%s: member %d is %+v", name, i, m)
			}
		}
	}
	two := []file{{"a", large}, {"b", large}}
	old, aligned := buildOld(two[:1]), build(t, two[:1])
	old, aligned = old[:len(old)-trailerSize], aligned[:len(aligned)-trailerSize]
	for name, b := range map[string][]byte{
		"old, then aligned": slices.Concat(old, encodeHeader("b", alignFrom, int64(len(old))), []byte(large)),
		"aligned, then old": slices.Concat(aligned, encodeOld("b", alignFrom), []byte(large)),
	} {
		if _, err := index(t, withTrailer(b)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHeaderIsUstar compares with what archive/tar writes.
func TestHeaderIsUstar(t *testing.T) {
	for _, f := range []struct {
		name string
		size int64
	}{{"a", 0}, {"blobs/sha256/" + hex64, 12345}, {"big", maxOctal}} {
		var want bytes.Buffer
		w := tar.NewWriter(&want)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: f.size, Mode: 0o644, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Bytes(), encodeHeader(f.name, f.size, contentUnit-blockSize)); diff != "" {
			t.Errorf("header of %q (-archive/tar +ours):\n%s", f.name, diff)
		}
	}
}

// TestHugeMembers indexes members around and over the 8 GiB that a ustar header
// can say, in a file that nobody has to store.
func TestHugeMembers(t *testing.T) {
	for form, encode := range map[string]func(string, int64, int64) []byte{
		"aligned": encodeHeader,
		"old":     func(name string, size, _ int64) []byte { return encodeOld(name, size) },
	} {
		t.Run(form, func(t *testing.T) { testHugeMembers(t, encode) })
	}
}

func testHugeMembers(t *testing.T, encode func(name string, size, off int64) []byte) {
	sizes := []int64{maxOctal, maxOctal + 1, 5 << 40, 3}
	s := sparse{pieces: map[int64][]byte{}}
	var want []Member
	for i, size := range sizes {
		name := string(rune('a'+i)) + strings.Repeat("x", 60*i)
		h := encode(name, size, s.size)
		s.pieces[s.size] = h
		s.size += int64(len(h))
		want = append(want, Member{name, s.size, size})
		s.size += size + padding(size)

		// The standard reader agrees on name and size.
		got, err := tar.NewReader(bytes.NewReader(h)).Next()
		if err != nil || got.Name != name || got.Size != size {
			t.Errorf("archive/tar reads %+v, %v", got, err)
		}
	}
	s.size += trailerSize
	x, err := ReadIndex(t.Context(), s, s.size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, x.Members()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestWriterRefuses(t *testing.T) {
	tests := []struct {
		name    string
		member  string
		size    int64
		content string
		err     error
	}{
		{"bad name", "../x", 1, "x", ErrName},
		{"twice", "there", 1, "x", ErrName},
		{"file as directory", "there/x", 1, "x", ErrName},
		{"too short", "x", 2, "x", ErrSize},
		{"too long", "x", 1, "xx", ErrSize},
		{"negative", "x", -1, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWriter(io.Discard)
			if err := w.Add("there", 0, strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
			err := w.Add(tt.member, tt.size, strings.NewReader(tt.content))
			if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if w.Add("next", 0, strings.NewReader("")) == nil || w.Close() == nil {
				t.Error("the writer goes on after an error")
			}
		})
	}
}

func TestOpenFileRefuses(t *testing.T) {
	if _, err := OpenFile(t.Context(), t.TempDir()); err == nil {
		t.Error("opened a directory")
	}
	if _, err := OpenFile(t.Context(), filepath.Join(t.TempDir(), "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := OpenParts(t.Context(), nil); err == nil {
		t.Error("opened no file")
	}
}

// TestParts cuts a container at every place where a header or a member may be cut.
func TestParts(t *testing.T) {
	b := build(t, sample[:5])
	whole, err := ReadIndex(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 7, 511, 512, 513, len(b) - 1, len(b)} {
		if len(b)/size > 500 {
			size = len(b)/500 + 1
		}
		var paths []string
		dir := t.TempDir()
		for off := 0; off < len(b); off += size {
			paths = append(paths, filepath.Join(dir, fmt.Sprint(off)))
			if err := os.WriteFile(paths[len(paths)-1], b[off:min(off+size, len(b))], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f, err := OpenParts(t.Context(), paths)
		if err != nil {
			t.Fatalf("parts of %d bytes: %v", size, err)
		}
		if diff := cmp.Diff(whole.Members(), f.Members()); diff != "" || f.Size() != int64(len(b)) {
			t.Errorf("parts of %d bytes: %d bytes, members (-want +got):\n%s", size, f.Size(), diff)
		}
		for _, m := range f.Members() {
			var got []byte
			for _, e := range f.Extents(m) {
				piece := make([]byte, e.Size)
				if _, err := e.File.ReadAt(piece, e.Offset); err != nil && e.Size > 0 {
					t.Errorf("parts of %d bytes: extent of %q: %v", size, m.Name, err)
				}
				got = append(got, piece...)
			}
			if want := b[m.Offset : m.Offset+m.Size]; !bytes.Equal(got, want) {
				t.Errorf("parts of %d bytes: extents of %q have other bytes", size, m.Name)
			}
		}
		if err := iotest.TestReader(io.NewSectionReader(f, 0, f.Size()), b); err != nil {
			t.Errorf("parts of %d bytes: %v", size, err)
		}
		if n, err := f.ReadAt(make([]byte, 8), f.Size()-3); n != 3 || err != io.EOF {
			t.Errorf("read over the end: %d bytes, %v", n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
