package fetch

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
)

// sums are the digests of a file: always sha256, and sha512 if requested.
type sums struct {
	size           int64
	sha256, sha512 digest.Digest
}

func (s sums) of(a digest.Algorithm) digest.Digest {
	if a == digest.SHA512 {
		return s.sha512
	}
	return s.sha256
}

// hasher hashes a file while it is written. If it has seen no writes, it hashes
// the file on disk.
type hasher struct {
	sha256, sha512 hash.Hash
	n              int64
}

// start resets h and hashes the first have bytes of path, which an earlier run
// wrote. The rest follows by write.
func (h *hasher) start(path string, have int64, with512 bool) error {
	*h = hasher{sha256: digest.SHA256.Hash()}
	if with512 {
		h.sha512 = digest.SHA512.Hash()
	}
	if have == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(writerFunc(h.write), io.LimitReader(f, have))
	if err == nil && n != have {
		err = fmt.Errorf("part file %q has %d bytes, had %d", path, n, have)
	}
	return err
}

func (h *hasher) write(p []byte) {
	if h.sha256 == nil {
		return
	}
	h.sha256.Write(p)
	if h.sha512 != nil {
		h.sha512.Write(p)
	}
	h.n += int64(len(p))
}

// sums returns the digests of the file at path. If write has not seen all of it,
// because the file was complete already, it is read from disk.
func (h *hasher) sums(path string) (sums, error) {
	fi, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sums{}, err
	}
	if err != nil {
		return sums{}, fmt.Errorf("nothing was written: %w", err)
	}
	if h.sha256 == nil || h.n != fi.Size() {
		if err := h.start(path, fi.Size(), true); err != nil {
			return sums{}, err
		}
	}
	s := sums{size: h.n, sha256: digest.NewDigest(digest.SHA256, h.sha256)}
	if h.sha512 != nil {
		s.sha512 = digest.NewDigest(digest.SHA512, h.sha512)
	}
	return s, nil
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
