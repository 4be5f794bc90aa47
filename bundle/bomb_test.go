package bundle_test

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/bundle"
	"github.com/offk8s/offk8s/bundle/bundletest"
	"github.com/offk8s/offk8s/manifests"
)

// zeros10G is a zstd frame of 10 GiB of zeros in 320 KB: a header without
// content size, then blocks of 128 KiB as one repeated byte. window is the
// window descriptor of the header (RFC 8878, 3.1.1.1.2). The last block is of
// the reserved type: whoever decodes all of it finds another error.
func zeros10G(window byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, window}
	const blocks = 10 << 30 / (128 << 10)
	for i := range blocks {
		header := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			header |= 1 | 3<<1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}

// TestT10Bomb verifies blobs that decode to far more than they should, within
// bounded memory.
func TestT10Bomb(t *testing.T) {
	const window8M, window16M, window1G = 13 << 3, 14 << 3, 20 << 3
	content := bytes.Repeat([]byte("x"), 1000)
	tests := []struct {
		name   string
		stored []byte
		plain  manifests.Descriptor
		text   string
	}{
		{"10 GiB of zeros", zeros10G(window8M), plain(make([]byte, 1000)), "more than 1000 bytes"},
		{"empty expected", zeros10G(window8M), plain(nil), "more than 0 bytes"},
		{"window of 1 GiB", zeros10G(window1G), plain(make([]byte, 1000)), "window size"},
		{"window of 16 MiB", zeros10G(window16M), plain(make([]byte, 1000)), "window size"},
		{"one byte more", bundletest.Compress(t, append(content, 'x')), plain(content), "more than 1000 bytes"},
		{"one byte less", bundletest.Compress(t, content[1:]), plain(content), "decode: content has 999 bytes"},
		{"other content", bundletest.Compress(t, bytes.ToUpper(content)), plain(content), "decode: content has digest"},
		{"cut", bundletest.Compress(t, content)[:12], plain(content), "decode"},
		{"no zstd", []byte("hello"), plain(content), "decode"},
		{"data after the frame", append(bundletest.Compress(t, content), "hello"...), plain(content), "decode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := smallest(t)
			a := &b.Lock.Artifacts[0]
			a.Blob = b.Blob(manifests.MediaTypeFileZstd, tt.stored)
			a.Plain = tt.plain
			raw := b.Bytes(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := checkBytes(t, raw, bundletest.Options(b.Key))
			runtime.ReadMemStats(&after)
			if !errors.Is(err, bundle.ErrVerify) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), `"files/f"`) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
			// Everything ever allocated, a bound of the peak.
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("allocated %d MiB", used>>20)
			}
			if err := stored(t, raw, bundletest.Options(b.Key)); err != nil {
				t.Errorf("what is stored is what was sealed, and yet: %v", err)
			}
			refusesToExtract(t, raw, bundletest.Options(b.Key))
		})
	}
}

// stored opens a bundle and verifies its blobs as they are stored.
func stored(t *testing.T, raw []byte, o bundle.OpenOptions) error {
	t.Helper()
	b, err := bundle.OpenReader(t.Context(), bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		return err
	}
	return b.Verify(t.Context(), bundle.VerifyOptions{})
}

// refusesToExtract fails if extracting the only file of a bundle leaves anything, or does
// not report that its content is wrong.
func refusesToExtract(t *testing.T, raw []byte, o bundle.OpenOptions) {
	t.Helper()
	b, err := bundle.OpenReader(t.Context(), bytes.NewReader(raw), int64(len(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, f := range b.Files() {
		if err := b.ExtractFile(t.Context(), dir, f, 0); !errors.Is(err, bundle.ErrVerify) {
			t.Errorf("extract %s: %v, want %v", f.Label(), err, bundle.ErrVerify)
		}
		if _, err := dir.Lstat(f.Label()); err == nil {
			t.Errorf("%s was written", f.Label())
		}
	}
}

func plain(content []byte) manifests.Descriptor {
	return manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: digest.FromBytes(content), Size: int64(len(content))}
}
