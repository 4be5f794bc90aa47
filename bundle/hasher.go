package bundle

import (
	"hash"

	"github.com/opencontainers/go-digest"
)

// hashBuffer is the size of the buffers of a hasher in bytes.
const hashBuffer = 1 << 20

// hasher hashes on a goroutine of its own, so that a bundle is written as fast as it is
// hashed, and not one after the other. digest must be called.
type hasher struct {
	full, empty chan []byte
	sum         chan digest.Digest
	buf         []byte // not hashed yet
}

func newHasher(a digest.Algorithm) *hasher {
	h := &hasher{full: make(chan []byte, 2), empty: make(chan []byte, 3), sum: make(chan digest.Digest)}
	for range cap(h.empty) {
		h.empty <- hashBuffers.Get().(*[hashBuffer]byte)[:0]
	}
	h.buf = <-h.empty
	go h.run(a, a.Hash())
	return h
}

func (h *hasher) run(a digest.Algorithm, sum hash.Hash) {
	for p := range h.full {
		sum.Write(p)
		h.empty <- p[:0]
	}
	h.sum <- digest.NewDigest(a, sum)
}

// fill takes bytes of p as far as the buffer has room, and returns how many.
func (h *hasher) fill(p []byte) int {
	n := copy(h.buf[len(h.buf):cap(h.buf)], p)
	h.buf = h.buf[:len(h.buf)+n]
	return n
}

// next has the buffer hashed, and begins another one.
func (h *hasher) next() {
	h.full <- h.buf
	h.buf = <-h.empty
}

// Write copies p and returns while it is hashed.
func (h *hasher) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(h.buf) == cap(h.buf) {
			h.next()
		}
		n += h.fill(p[n:])
	}
	return len(p), nil
}

// digest returns the digest of everything that was written, and ends the goroutine.
func (h *hasher) digest() digest.Digest {
	h.full <- h.buf
	close(h.full)
	d := <-h.sum
	for range cap(h.empty) {
		b := <-h.empty
		hashBuffers.Put((*[hashBuffer]byte)(b[:hashBuffer]))
	}
	return d
}
