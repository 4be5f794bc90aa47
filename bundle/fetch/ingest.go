package fetch

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/offk8s/offk8s/manifests"
)

// magic has the first bytes of formats that zstd would not make smaller, by the
// suffix of their files.
var magic = map[string]string{
	".gz": "\x1f\x8b", ".tgz": "\x1f\x8b",
	".zst": "\x28\xb5\x2f\xfd",
	".xz":  "\xfd7zXZ\x00", ".txz": "\xfd7zXZ\x00",
	".bz2": "BZh",
	".zip": "PK\x03\x04",
	".rpm": "\xed\xab\xee\xdb",
	".deb": "!<arch>\n",
}

func isCompressed(head []byte) bool {
	for _, first := range magic {
		if bytes.HasPrefix(head, []byte(first)) {
			return true
		}
	}
	return false
}

// ingest stores verified content, compressed with zstd unless it is compressed
// already, and returns the descriptors of both forms.
func (e Env) ingest(ctx context.Context, r io.Reader) (plain, blob manifests.Descriptor, err error) {
	buffered := bufio.NewReaderSize(r, 256<<10)
	head, err := buffered.Peek(16)
	if err != nil && err != io.EOF {
		return plain, blob, err
	}
	if isCompressed(head) {
		blob, err = e.Store.Add(ctx, buffered)
		blob.MediaType = manifests.MediaTypeFile
		return blob, blob, err
	}
	sum := &counter{}
	pr, pw := io.Pipe()
	go func() {
		pw.CloseWithError(e.compress(pw, io.TeeReader(buffered, sum)))
	}()
	blob, err = e.Store.Add(ctx, pr)
	// This unblocks the goroutine if Add returned early, and waits for its last
	// write.
	pr.CloseWithError(err)
	if err != nil {
		return plain, blob, err
	}
	blob.MediaType = manifests.MediaTypeFileZstd
	plain = manifests.Descriptor{MediaType: manifests.MediaTypeFile, Digest: sum.digest(), Size: sum.n}
	return plain, blob, nil
}

func (e Env) compress(w io.Writer, r io.Reader) error {
	enc, err := e.Compress(w)
	if err != nil {
		return err
	}
	if _, err := io.Copy(enc, r); err != nil {
		return err
	}
	return enc.Close()
}

// counter hashes and counts the bytes written to it.
type counter struct {
	digester digest.Digester
	n        int64
}

func (c *counter) Write(p []byte) (int, error) {
	if c.digester == nil {
		c.digester = digest.SHA256.Digester()
	}
	c.n += int64(len(p))
	return c.digester.Hash().Write(p)
}

func (c *counter) digest() digest.Digest {
	if c.digester == nil {
		return digest.SHA256.FromBytes(nil)
	}
	return c.digester.Digest()
}
