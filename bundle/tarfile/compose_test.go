package tarfile

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Compose gives the bytes of a Writer, at every offset and in pieces of every size.
func TestComposeIsWhatWriterWrites(t *testing.T) {
	members := map[string]string{"oci-layout": "{}", "empty": "", "blobs/" + strings.Repeat("x", 120): strings.Repeat("y", 700), "block": strings.Repeat("z", 512), "large": strings.Repeat("y", 100_000)}
	names := []string{"oci-layout", "empty", "blobs/" + strings.Repeat("x", 120), "block", "large"}
	var want bytes.Buffer
	w := NewWriter(&want)
	var parts []Part
	for _, name := range names {
		content := members[name]
		if err := w.Add(name, int64(len(content)), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, Part{name, int64(len(content)), strings.NewReader(content)})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, size, err := Compose(parts)
	if err != nil || size != int64(want.Len()) {
		t.Fatalf("size %d, want %d, error %v", size, want.Len(), err)
	}
	if err := iotest.TestReader(io.NewSectionReader(r, 0, size), want.Bytes()); err != nil {
		t.Error(err)
	}
	if _, _, err := Compose([]Part{{"../x", 0, strings.NewReader("")}}); err == nil {
		t.Error("a name that leaves the directory is accepted")
	}
	short, _, _ := Compose([]Part{{"a", 10, strings.NewReader("short")}})
	if _, err := io.ReadAll(io.NewSectionReader(short, 0, 2048)); err != io.ErrUnexpectedEOF {
		t.Errorf("error %v, want ErrUnexpectedEOF", err)
	}
}
