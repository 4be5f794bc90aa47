package bundle

import (
	"crypto/sha256"

	"github.com/opencontainers/go-digest"
)

// hasher hashes what is written to it on a goroutine of its own, so that a bundle is
// written as fast as it is hashed, and not one after the other. digest must be called.
type hasher struct {
	full, empty chan []byte
	sum         chan digest.Digest
}

func newHasher() *hasher {
	h := &hasher{full: make(chan []byte, 2), empty: make(chan []byte, 2), sum: make(chan digest.Digest)}
	for range cap(h.empty) {
		h.empty <- make([]byte, 1<<20)
	}
	go func() {
		s := sha256.New()
		for p := range h.full {
			s.Write(p)
			h.empty <- p[:cap(p)]
		}
		h.sum <- digest.NewDigest(digest.SHA256, s)
	}()
	return h
}

// Write copies p and returns while it is hashed.
func (h *hasher) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		b := <-h.empty
		n := copy(b, rest)
		h.full <- b[:n]
		rest = rest[n:]
	}
	return len(p), nil
}

// digest returns the digest of everything that was written, and ends the goroutine.
func (h *hasher) digest() digest.Digest {
	close(h.full)
	return <-h.sum
}
