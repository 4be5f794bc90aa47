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

// sums are the digests of a file: sha256 always, sha512 where it was asked for.
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

// hasher follows a file that is being written. The zero value follows nothing
// and then hashes the file from the disk.
type hasher struct {
	sha256, sha512 hash.Hash
	n              int64
}

// start begins anew: with the first have bytes of path, which an earlier run
// wrote, then with what write gets.
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

// sums returns the digests of the file at path. When not all of it passed
// through write, because it was complete already, it is read from the disk.
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
