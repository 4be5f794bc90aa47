package rpm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	rpmutils "github.com/sassoftware/go-rpmutils"
)

// fixture reads a file of testdata (made by make.sh there).
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeaderAgreesWithRPMUtils(t *testing.T) {
	for _, file := range []string{"v4.rpm", "sub.rpm"} {
		b := fixture(t, file)
		p, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := rpmutils.ReadHeader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []int{rpmutils.NAME, rpmutils.VERSION, rpmutils.SUMMARY, rpmutils.BASENAMES, rpmutils.REQUIRENAME, rpmutils.PROVIDENAME} {
			theirs, err := want.GetStrings(tag)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(theirs, p.Header.Strings(uint32(tag))); diff != "" {
				t.Errorf("%s: tag %d (-go-rpmutils +ours):\n%s", file, tag, diff)
			}
		}
		for _, tag := range []int{rpmutils.EPOCH, rpmutils.SIZE, rpmutils.FILEMODES, rpmutils.REQUIREFLAGS} {
			theirs, err := want.GetUint64s(tag)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(theirs, p.Header.Ints(uint32(tag))); diff != "" {
				t.Errorf("%s: tag %d (-go-rpmutils +ours):\n%s", file, tag, diff)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"v3.rpm", "v4.rpm", "unsigned.rpm", "full.rpm"} {
		b := fixture(f, name)
		f.Add(b[:min(len(b), 4096)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if p.HeaderEnd > int64(len(b)) {
			t.Fatalf("header ends at %d of %d", p.HeaderEnd, len(b))
		}
		for _, h := range []Header{p.Signature, p.Header} {
			for _, e := range h.entries {
				h.Strings(e.tag)
				h.First(e.tag, 1)
				h.Ints(e.tag)
				h.Bytes(e.tag)
			}
		}
		p.ArchiveSize()
	})
}
