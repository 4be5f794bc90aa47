package tarfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

func encodeBlock(name string, size int64, typeflag byte) []byte {
	return appendBlock(nil, name, size, typeflag)
}

func TestT07PathTraversal(t *testing.T) {
	bad := []string{
		"", ".", "..", "/", "/abs", "../x", "a/../../b", "a/..", "./a", "a/./b", "a//b", "a/",
		`C:\x`, `a\b`, "C:", "a b", "a\x00b", "a\nb", "a\tb", "a\x7fb", "a\x80b", "ä", "a:b", "a*b", "a?b", "a%2fb", "~/x:",
		"con", "NUL.txt", "a/Com1", "lpt9.x/y", "aux", "PRN",
		"a.", "a./b", "a...", strings.Repeat("a", maxName+1),
	}
	for _, name := range bad {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
		if len(name) > 0 && len(name) <= maxUstarName {
			_, err := index(t, withTrailer(encodeBlock(name, 0, typeRegular)))
			refused(t, err)
		}
	}
	for _, name := range []string{
		"a", "a/b", ".a", "..a", "a..b", "console", "com10", "libstdc++-1.2~rc1^git=x@y_z-1.el9.x86_64.rpm", strings.Repeat("a", maxName),
	} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestT08OnlyRegularFiles(t *testing.T) {
	for flag := range 256 {
		b := withTrailer(spoil("member", 0, func(b []byte) { b[offType] = byte(flag) }))
		_, err := index(t, b)
		if byte(flag) == typeRegular {
			if err != nil {
				t.Errorf("regular file: %v", err)
			}
			continue
		}
		reason := "only regular files"
		if byte(flag) == typePax {
			reason = "pax header"
		}
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), reason) {
			t.Errorf("type 0x%02x: %v, want %q", flag, err, reason)
		}
	}
	// Everything else a header can say about a file.
	for name, change := range map[string]func([]byte){
		"setuid":         func(b []byte) { copy(b[offMode:], "0004755") },
		"mode":           func(b []byte) { copy(b[offMode:], "0000755") },
		"owner":          func(b []byte) { copy(b[offUID:], "0000001") },
		"group":          func(b []byte) { copy(b[offGID:], "0000001") },
		"time":           func(b []byte) { copy(b[offMtime:], "00000000001") },
		"link name":      func(b []byte) { b[157] = 'x' },
		"user name":      func(b []byte) { copy(b[265:], "root") },
		"group name":     func(b []byte) { copy(b[297:], "root") },
		"device":         func(b []byte) { copy(b[offMajor:], "0000001") },
		"prefix":         func(b []byte) { copy(b[345:], "..") },
		"gnu magic":      func(b []byte) { copy(b[offMagic:], "ustar  \x00") },
		"after the name": func(b []byte) { b[50] = 'x' },
		"reserved bytes": func(b []byte) { b[511] = 1 },
	} {
		if _, err := index(t, withTrailer(spoil("member", 0, change))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestT08PaxHeaders(t *testing.T) {
	long := "blobs/sha512/" + hex64 + hex64
	pax := func(flag byte, records string) []byte {
		b := encodeBlock(paxName, int64(len(records)), flag)
		b = append(b, records...)
		return append(b, make([]byte, padding(int64(len(records))))...)
	}
	good := paxRecord("path", long)
	last := encodeBlock(long[:maxUstarName], 0, typeRegular)
	if _, err := index(t, withTrailer(pax(typePax, good), last)); err != nil {
		t.Fatalf("the canonical form: %v", err)
	}
	for name, b := range map[string][]byte{
		"global":               append(pax('g', good), last...),
		"path that needs none": append(pax(typePax, paxRecord("path", "short")), encodeBlock("short", 0, typeRegular)...),
		"size that needs none": append(pax(typePax, paxRecord("size", "0")), encodeBlock("short", 0, typeRegular)...),
		"negative size":        append(pax(typePax, paxRecord("size", "-9999999999")), encodeBlock("short", 0, typeRegular)...),
		"xattr":                append(pax(typePax, good+paxRecord("SCHILY.xattr.x", "y")), last...),
		"sparse":               append(pax(typePax, good+paxRecord("GNU.sparse.major", "1")), last...),
		"link path":            append(pax(typePax, paxRecord("linkpath", long)), last...),
		"path twice":           append(pax(typePax, good+good), last...),
		"size before path":     append(pax(typePax, paxRecord("size", "9999999999")+good), last...),
		"traversal":            append(pax(typePax, paxRecord("path", "../"+long)), last...),
		"other short name":     append(pax(typePax, good), encodeBlock("x", 0, typeRegular)...),
		"no member":            pax(typePax, good),
		"bad length":           append(pax(typePax, "999 path="+long+"\n"), last...),
		"length zero":          append(pax(typePax, "0 path="+long+"\n"), last...),
		"no record":            append(pax(typePax, "x"), last...),
		"empty":                append(pax(typePax, ""), last...),
		"two in a row":         bytes.Join([][]byte{pax(typePax, good), pax(typePax, good), last}, nil),
	} {
		_, err := index(t, withTrailer(b))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		refused(t, err)
	}
}

// TestT08PaxComments: nothing can hide in the comment that moves content to a unit.
func TestT08PaxComments(t *testing.T) {
	content := make([]byte, alignFrom)
	pax := func(records string) []byte {
		b := append(encodeBlock(paxName, int64(len(records)), typePax), records...)
		return append(append(b, make([]byte, padding(int64(len(records))))...), encodeBlock("large", alignFrom, typeRegular)...)
	}
	comment := string(appendComment(nil, contentUnit-2*blockSize))
	if _, err := index(t, withTrailer(pax(comment), content)); err != nil {
		t.Fatalf("the canonical form: %v", err)
	}
	small := append(encodeBlock(paxName, contentUnit-2*blockSize, typePax), comment...)
	for name, b := range map[string][]byte{
		"a letter":             append(pax(strings.Replace(comment, "  ", " x", 1)), content...),
		"zeros":                append(pax(strings.ReplaceAll(comment, "  ", "\x00\x00")), content...),
		"other content at end": append(pax(comment[:len(comment)-1]+" "), content...),
		"a block less":         append(pax(string(appendComment(nil, contentUnit-3*blockSize))), content...),
		"a block more":         append(pax(string(appendComment(nil, contentUnit-blockSize))), content...),
		"a unit more":          append(pax(string(appendComment(nil, 2*contentUnit-2*blockSize))), content...),
		"shorter, padded":      append(pax(string(appendComment(nil, contentUnit-2*blockSize-1))), content...),
		"in two records":       append(pax(string(appendComment(nil, blockSize))+string(appendComment(nil, contentUnit-3*blockSize))), content...),
		"after a record":       append(pax(paxRecord("path", "large")+string(appendComment(nil, contentUnit-2*blockSize-14))), content...),
		"before a record":      append(pax(string(appendComment(nil, contentUnit-2*blockSize-14))+paxRecord("path", "large")), content...),
		"of a small member":    append(small, encodeBlock("small", 0, typeRegular)...),
	} {
		if _, err := index(t, withTrailer(b)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestT09Duplicates(t *testing.T) {
	for _, names := range [][]string{
		{"a", "a"},
		{"a", "b", "a"},
		{"a", "A"},
		{"blobs/x", "Blobs/X"},
		{"blobs/x", "Blobs/y"},
		{"a", "a/b"},
		{"a/b", "a"},
		{"a/b/c", "A/b"},
	} {
		var parts [][]byte
		for _, n := range names {
			parts = append(parts, encodeBlock(n, 0, typeRegular))
		}
		if _, err := index(t, withTrailer(parts...)); !errors.Is(err, ErrName) {
			t.Errorf("names %q: %v", names, err)
		}
	}
}

func TestT10SizeTricks(t *testing.T) {
	size := func(s string) func([]byte) { return func(b []byte) { copy(b[offSize:offSize+12], s) } }
	base256 := func(first, last byte) string { return string([]byte{first, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}) }
	for name, change := range map[string]func([]byte){
		"negative octal":     size("-0000000001\x00"),
		"base-256 of one":    size(base256(0x80, 1)),
		"base-256 negative":  size(base256(0xff, 0xff)),
		"no octal":           size("00000000009\x00"),
		"spaces":             size("          1\x00"),
		"no terminator":      size("000000000001"),
		"space as the end":   size("00000000001 "),
		"short":              size("1\x00"),
		"plus":               size("+0000000001\x00"),
		"bytes after end":    func(b []byte) { copy(b[offSize:], "00000000000\x00"); b[offSize+11] = 'x' },
		"signed checksum":    func(b []byte) {},
		"checksum zero":      func(b []byte) {},
		"eleven digits more": size("77777777777\x00"),
	} {
		h := spoil("member", 0, change)
		switch name {
		case "signed checksum":
			h[offSum+5]++
		case "checksum zero":
			copy(h[offSum:], "000000\x00 ")
		}
		_, err := index(t, withTrailer(h, make([]byte, blockSize)))
		refused(t, err)
	}
	// Sizes near the end of int64, which must neither overflow nor be waited for.
	for _, n := range []int64{1 << 40, 1 << 62, 1<<63 - 1, 1<<63 - 512, 1<<63 - 1537} {
		_, err := index(t, withTrailer(encodeHeader("member", n, 0)))
		refused(t, err)
		_, err = index(t, withTrailer(encodeOld("member", n)))
		refused(t, err)
	}
}

// TestT10ManyMembers has more members than allowed: refused early and within
// bounded memory, though the file goes on.
func TestT10ManyMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("indexes a quarter of a million members")
	}
	r := &manyMembers{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := ReadIndex(t.Context(), r, 1<<40)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "more than") {
		t.Fatalf("got %v", err)
	}
	if r.last > (maxMembers+2)*blockSize {
		t.Errorf("read on to offset %d", r.last)
	}
	if used := after.HeapSys - before.HeapSys; used > 256<<20 {
		t.Errorf("used %d MiB", used>>20)
	}
}

// manyMembers is an endless container of empty members.
type manyMembers struct{ last int64 }

func (m *manyMembers) ReadAt(p []byte, off int64) (int, error) {
	m.last = off
	return copy(p, encodeBlock(fmt.Sprintf("m%d", off/blockSize), 0, typeRegular)), nil
}

func TestT12Truncated(t *testing.T) {
	b := build(t, sample)
	for n := range len(b) {
		if n%61 != 0 && n%blockSize != 0 {
			continue
		}
		_, err := index(t, b[:n])
		if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), fmt.Sprintf("truncated at %d bytes, expected at least", n)) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	x, err := index(t, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range x.Members() {
		// What is left is too short for this member and a trailer.
		_, err := index(t, b[:m.Offset+m.Size+padding(m.Size)+trailerSize-1])
		if want := fmt.Sprintf("in member %q", m.Name); !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), want) {
			t.Errorf("cut after a content: %v, want %q", err, want)
		}
	}
	_, err = index(t, append(bytes.Clone(b), 0))
	refused(t, err)
}

func TestT01EveryByteOfTheContainerCounts(t *testing.T) {
	b := build(t, sample)
	content := map[int]bool{}
	x, err := index(t, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range x.Members() {
		for i := range m.Size {
			content[int(m.Offset+i)] = true
		}
	}
	for i := range b {
		if content[i] {
			continue
		}
		for bit := range 8 {
			b[i] ^= 1 << bit
			if y, err := index(t, b); err == nil && sameMembers(x, y) {
				t.Errorf("bit %d of byte %d changes nothing", bit, i)
			}
			b[i] ^= 1 << bit
		}
	}
}

func sameMembers(x, y *Index) bool {
	return fmt.Sprint(x.Members()) == fmt.Sprint(y.Members())
}

func TestReadErrors(t *testing.T) {
	boom := errors.New("device gone")
	_, err := ReadIndex(t.Context(), failing{boom}, 1<<20)
	if !errors.Is(err, boom) || errors.Is(err, ErrFormat) || errors.Is(err, ErrTruncated) {
		t.Errorf("a failing device: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, err := ReadIndex(ctx, bytes.NewReader(nil), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	// A file that shrinks after its size was taken.
	b := build(t, sample)
	if _, err := ReadIndex(t.Context(), bytes.NewReader(b[:len(b)-blockSize]), int64(len(b))); !errors.Is(err, ErrTruncated) {
		t.Errorf("shrunk file: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// FuzzTarIndex: whatever is accepted is exactly what the Writer writes, or wrote once.
func FuzzTarIndex(f *testing.F) {
	f.Add(build(f, sample))
	f.Add(build(f, nil))
	f.Add(buildOld(sample))
	f.Add(withTrailer(encodeHeader("member", 1<<40, 0)))
	f.Add(withTrailer(encodeHeader("blobs/sha512/"+hex64+hex64, 0, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := index(t, b)
		if err != nil {
			refused(t, err)
			return
		}
		var files []file
		for _, m := range x.Members() {
			files = append(files, file{m.Name, string(b[m.Offset : m.Offset+m.Size])})
		}
		if !bytes.Equal(build(t, files), b) && !bytes.Equal(buildOld(files), b) {
			t.Error("accepted what the writer would not write")
		}
	})
}
